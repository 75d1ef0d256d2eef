//! Templates over arbitrary sources: they are refused, stopped or rendered, and never more. The
//! text up to the first zero byte is the template, the rest is the event's data if it is JSON.

#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use outboxd::domain::json::Json;
use outboxd::domain::template::{EventFields, Limits, Names, Output, Template};
use outboxd_fuzz::Bound;

const DATA: &[u8] = br#"{"n":1.50,"s":"a*b","l":[1,[2,{"a":null}],"x"],"o":{"a":{"b":true}},
    "big":99999999999999999999}"#;

static USUAL: LazyLock<Names> = LazyLock::new(|| context(DATA).expect("it is JSON"));

fn context(data: &[u8]) -> Option<Names> {
    let data = Json::parse(data).ok().map(Arc::new)?;
    let context = Names::of_event(EventFields::default(), Some(data));
    Some(context.with_endpoint("ep", "acme", None, &[]))
}

fn escape(text: &str, out: &mut String) {
    out.push_str(&text.replace('*', "\\*"));
}

fuzz_target!(|text: &str| {
    let (source, data) = text.split_once('\0').unwrap_or((text, ""));
    let context = context(data.as_bytes()).unwrap_or_else(|| USUAL.clone());
    let bound = Bound::new();
    for output in [Output::Text, Output::Json, Output::Escaped(escape)] {
        let Ok(template) = bound.hold("reading", || Template::parse(source, output)) else {
            continue;
        };
        let limits = Limits {
            steps: Limits::STEPS,
            output: 1 << 20,
        };
        match bound.hold("rendering", || template.render(&context, limits)) {
            Ok(text) => assert!(text.len() <= limits.output),
            Err(fault) => assert!(fault.message.len() <= 300),
        }
    }
});
