//! Templates over arbitrary sources: they are refused, stopped or rendered, and never more. The
//! text up to the first zero byte is the template, the rest is the event's data if it is JSON.

#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use outboxd::domain::json::Json;
use outboxd::domain::template::{EventFields, Names, Output};
use outboxd_fuzz::{escape, render_within_bounds};

const DATA: &[u8] = br#"{"n":1.50,"s":"a*b","l":[1,[2,{"a":null}],"x"],"o":{"a":{"b":true}},
    "big":99999999999999999999}"#;

static USUAL: LazyLock<Names> = LazyLock::new(|| names(DATA).expect("it is JSON"));

fn names(data: &[u8]) -> Option<Names> {
    let data = Json::parse(data).ok().map(Arc::new)?;
    let names = Names::of_event(EventFields::default(), Some(data));
    Some(names.with_endpoint("ep", "acme", None, &[]))
}

fuzz_target!(|text: &str| {
    let (source, data) = text.split_once('\0').unwrap_or((text, ""));
    let names = names(data.as_bytes()).unwrap_or_else(|| USUAL.clone());
    let outputs = [Output::Text, Output::Json, Output::Escaped(escape)];
    render_within_bounds(source, &names, &outputs);
});
