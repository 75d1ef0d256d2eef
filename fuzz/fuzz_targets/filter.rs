//! A filter and an event from the same bytes: neither reading nor judging may panic, and the
//! two ways of judging agree. The text up to the first zero byte is the filter.

#![no_main]

use libfuzzer_sys::fuzz_target;
use outboxd::domain::filter::Filter;
use outboxd::domain::json::Json;
use outboxd_fuzz::Bound;

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (filter, event) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    let Ok(text) = std::str::from_utf8(filter) else {
        return;
    };
    let bound = Bound::new();
    let filter = match bound.hold("reading", || Filter::parse_text(text)) {
        Ok(filter) => filter,
        Err(fault) => {
            let _ = fault.to_string();
            return;
        }
    };
    let again = Filter::parse_text(&filter.source().to_string()).expect("it was accepted before");
    assert_eq!(again.source(), filter.source());
    let Ok(event) = Json::parse(event) else {
        return;
    };
    let matches = bound.hold("matching", || filter.matches(&event));
    let judged = bound.hold("judging", || filter.judge(&event));
    assert_eq!(matches, judged.is_ok());
    assert_eq!(matches, again.matches(&event));
});
