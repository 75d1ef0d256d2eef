//! What holds for all events and all bytes.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::super::binary::{decode, encode};
use super::super::*;
use super::{binary_with, bytes, extension, text, with};
use crate::domain::json::Json;

fn attribute_text() -> impl Strategy<Value = String> {
    let any = any::<char>().prop_filter("allowed", |c| {
        let code = *c as u32;
        !c.is_control() && !(0xFDD0..=0xFDEF).contains(&code) && code & 0xFFFE != 0xFFFE
    });
    let plain = prop_oneof![any, Just('%'), Just('"'), Just('\\'), Just(' '), Just('a')];
    proptest::collection::vec(plain, 1..20).prop_map(String::from_iter)
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::Boolean),
        any::<i32>().prop_map(Value::Integer),
        attribute_text().prop_map(|text| Value::String(text.into())),
        Just(Value::String("".into())),
    ]
}

fn data() -> impl Strategy<Value = (Option<Box<str>>, Data)> {
    let json = prop_oneof![
        Just("null"),
        Just("{ \"a\" :1e400,\"a\":[\t]}"),
        Just("\"\\ud83d\\ude00 text\""),
        Just("12.50"),
    ];
    let json_type = prop_oneof![
        Just(None),
        Just(Some("application/json")),
        Just(Some("application/x+json; charset=utf-8")),
    ];
    let other = prop_oneof![
        Just("text/plain"),
        Just("text/xml; charset=utf-16"),
        Just("application/octet-stream"),
    ];
    let bytes = prop_oneof![
        ".{1,20}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 1..20),
    ];
    prop_oneof![
        Just((None, Data::None)),
        Just((Some("text/plain".into()), Data::None)),
        (json_type, json).prop_map(|(declared, json)| {
            let data = Data::Json(Bytes::from_static(json.as_bytes()));
            (declared.map(Into::into), data)
        }),
        (other, bytes)
            .prop_map(|(declared, bytes)| (Some(declared.into()), Data::Opaque(bytes.into()))),
    ]
}

prop_compose! {
    fn cloud_event()(
        id in attribute_text(),
        source in "(/|https://a\\.example/|urn:x:)[a-z%]?(%20)?[A-Za-z0-9._~!$&'()*+,;=-]{0,8}"
            .prop_filter("a URI reference", |text| check_source(text).is_ok()),
        event_type in attribute_text(),
        subject in proptest::option::of(attribute_text()),
        time in proptest::option::of(Just("2026-01-01T00:00:00.123456789+01:00")),
        dataschema in proptest::option::of(Just("https://a.example/schema?a=%20#b")),
        extensions in proptest::collection::btree_map("e[a-z0-9]{1,15}", value(), 0..6),
        (datacontenttype, data) in data(),
    ) -> CloudEvent {
        CloudEvent {
            id: id.into(),
            source: source.into(),
            event_type: event_type.into(),
            subject: subject.map(Into::into),
            time: time.map(Into::into),
            datacontenttype,
            dataschema: dataschema.map(Into::into),
            extensions: extensions.into_iter().map(|(name, value)| extension(&name, value)).collect(),
            data,
        }
    }
}

/// What the binary mode keeps: it writes the implied content type, and all values are strings.
fn as_binary(event: &CloudEvent) -> CloudEvent {
    let mut event = event.clone();
    event.datacontenttype = event.content_type().map(Into::into);
    for (_, value) in &mut event.extensions {
        *value = text(&value.to_string());
    }
    event
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn structured_is_read_as_it_was_written(event in cloud_event()) {
        let sent = Bytes::from(structured(&event));
        prop_assert!(Json::parse(&sent).is_ok());
        prop_assert_eq!(parse_structured(&sent), Ok(event.clone()));
        let batch = [b"[", &sent[..], b" ,", &sent[..], b"]"].concat();
        prop_assert_eq!(parse_batch(&batch.into(), 2), Ok(vec![event.clone(), event]));
    }

    #[test]
    fn binary_is_read_as_it_was_written(event in cloud_event()) {
        let sent = binary(&event).unwrap();
        let visible = |value: &HeaderValue| value.as_bytes().iter().all(|b| (b'!'..=b'~').contains(b));
        prop_assert!(sent.headers.iter().all(|(_, value)| visible(value)));
        let mut headers = HeaderMap::from_iter(sent.headers);
        if let Some(content_type) = sent.content_type {
            headers.insert("content-type", content_type);
        }
        let mut again = parse_binary(&headers, &sent.body).unwrap();
        again.extensions.sort_by(|a, b| a.0.as_str().cmp(b.0.as_str()));
        prop_assert_eq!(again, as_binary(&event));
    }

    #[test]
    fn every_text_is_decoded_as_it_was_encoded(text in any::<String>()) {
        prop_assert_eq!(decode(encode(&text).as_bytes()), Ok(text));
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
        let bytes = Bytes::from(bytes);
        let _ = parse_structured(&bytes);
        let _ = parse_batch(&bytes, 2);
        let _ = binary_with(&[("content-type", "application/json")], "x").map(|event| structured(&event));
    }

    #[test]
    fn no_text_like_an_event_panics(text in "[\\[\\]{}\",:a-z0-9\\\\ \n\u{e4}]{0,80}") {
        let texts = [with(&text), with(&format!("\"data\":{text}")), with(&format!("\"x\":\"{text}\""))];
        for text in texts {
            let _ = parse_structured(&bytes(&text));
            let _ = parse_batch(&bytes(&format!("[{text},\n{text}")), 2);
        }
    }

    #[test]
    fn what_is_read_can_be_sent_in_both_modes(members in "(\"[a-z]{1,3}\":(\"[ -~]{0,5}\"|7|true|null),){0,4}\"data\":1") {
        if let Ok(event) = parse_structured(&bytes(&with(&members))) {
            prop_assert!(binary(&event).is_ok());
            prop_assert_eq!(parse_structured(&structured(&event).into()), Ok(event));
        }
    }
}
