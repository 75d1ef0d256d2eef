//! CloudEvents in all modes: nothing panics, and what is read goes out and comes back the same.

#![no_main]

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use outboxd::domain::cloudevents::{
    CloudEvent, Mode, binary, parse_batch, parse_binary, parse_structured, structured,
};

fuzz_target!(|input: &[u8]| {
    let body = Bytes::copy_from_slice(input);
    if let Ok(event) = parse_structured(&body) {
        comes_back(&event);
    }
    for event in parse_batch(&body, 16).unwrap_or_default() {
        comes_back(&event);
    }
    let (headers, body) = request(input);
    let _ = Mode::of(&headers);
    if let Ok(event) = parse_binary(&headers, &Bytes::copy_from_slice(body)) {
        assert!(binary(&event).is_ok());
        assert!(parse_structured(&structured(&event).into()).is_ok());
    }
});

fn comes_back(event: &CloudEvent) {
    let sent = Bytes::from(structured(event));
    assert_eq!(parse_structured(&sent).as_ref(), Ok(event));
    let sent = binary(event).expect("what is read can be sent");
    let mut headers = HeaderMap::from_iter(sent.headers);
    if let Some(content_type) = sent.content_type {
        headers.insert("content-type", content_type);
    }
    let again = parse_binary(&headers, &sent.body).expect("what is sent can be read");
    assert_eq!(again.identity(), event.identity());
    assert_eq!(again.data.bytes(), event.data.bytes());
}

/// Lines of `name:value` until an empty one, and the rest.
fn request(input: &[u8]) -> (HeaderMap, &[u8]) {
    let mut headers = HeaderMap::new();
    let mut rest = input;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, after) = rest.split_at(end);
        rest = &after[1..];
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            break;
        };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(&line[colon + 1..]);
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    (headers, rest)
}
