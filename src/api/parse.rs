//! Events as clients write them: one JSON object, or one on each line.
//!
//! `data` is never parsed into a tree and never written again: it is a slice of the
//! request, so it stays byte for byte what it was, and its depth costs no stack. The
//! slices keep the whole request in memory; code that keeps an event for long copies it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::config::request;
use crate::domain::event::{EventType, Key, NewEvent, Payload, Tenant};
use crate::domain::extras::{self, Channel, Extras};
use crate::domain::time::Timestamp;

const FIELDS: &str = "`type`, `data`, `tenant`, `key`, `idempotency_key`, `deliver_at`, \
                      `channels`, `headers`";

/// Why a request holds no event. `Display` names the field and the position.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("{0}")]
    Malformed(String),
    #[error("line {line}: the event is over ingest.max_event_size ({limit} bytes)")]
    LineTooLarge { line: usize, limit: u64 },
    #[error("line {line}: more events than ingest.max_batch_events ({limit})")]
    TooMany { line: usize, limit: usize },
}

/// Types that begin with `outboxd.` are the daemon's own.
pub const RESERVED: &str = "types that begin with `outboxd.` are the daemon's own";

/// The events of an NDJSON request, and the line that each stood on, counted from 1.
#[derive(Debug)]
pub struct Batch {
    pub events: Vec<NewEvent>,
    pub lines: Vec<usize>,
}

/// Bounds of an NDJSON request.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    pub events: usize,
    /// Bytes of each line.
    pub event_size: u64,
}

/// Reads one event. `header_key` is the `Idempotency-Key` header, which must not differ
/// from the field.
pub fn event(bytes: &Bytes, header_key: Option<Key>) -> Result<NewEvent, Fault> {
    let text = utf8(bytes)?;
    let written = written(text, 1)?;
    let idempotency_key = match (header_key, written.idempotency_key) {
        (Some(header), Some(field)) if header != field => {
            return Err(Fault::Malformed(
                "field `idempotency_key` and the header `Idempotency-Key` differ".into(),
            ));
        }
        (header, field) => header.or(field),
    };
    Ok(NewEvent {
        idempotency_key,
        // `data` borrows from `text`, which is `bytes`.
        payload: Payload::Json(bytes.slice_ref(written.data.get().as_bytes())),
        tenant: written.tenant.unwrap_or_default(),
        event_type: written.event_type,
        key: written.key,
        deliver_at: written.deliver_at,
        extras: written.extras.map(Arc::new),
    })
}

/// Reads one event a line. Blank lines are skipped, but counted.
pub fn batch(bytes: &Bytes, limits: BatchLimits) -> Result<Batch, Fault> {
    let text = utf8(bytes)?;
    let mut batch = Batch {
        events: Vec::new(),
        lines: Vec::new(),
    };
    for (index, content) in text.split('\n').enumerate() {
        let line = index.saturating_add(1);
        if content.trim_ascii().is_empty() {
            continue;
        }
        if content.len() as u64 > limits.event_size {
            return Err(Fault::LineTooLarge {
                line,
                limit: limits.event_size,
            });
        }
        if batch.events.len() >= limits.events {
            return Err(Fault::TooMany {
                line,
                limit: limits.events,
            });
        }
        let written = written(content, line)?;
        batch.events.push(NewEvent {
            // `data` borrows from `text`, which is `bytes`.
            payload: Payload::Json(bytes.slice_ref(written.data.get().as_bytes())),
            tenant: written.tenant.unwrap_or_default(),
            event_type: written.event_type,
            key: written.key,
            idempotency_key: written.idempotency_key,
            deliver_at: written.deliver_at,
            extras: written.extras.map(Arc::new),
        });
        batch.lines.push(line);
    }
    if batch.events.is_empty() {
        return Err(Fault::Malformed("the body holds no event".into()));
    }
    Ok(batch)
}

fn utf8(bytes: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(bytes).map_err(|error| {
        let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        let column = 1 + good.iter().rev().take_while(|byte| **byte != b'\n').count();
        Fault::Malformed(format!(
            "the body is not UTF-8 at line {line} column {column}"
        ))
    })
}

/// One event object that stands on line `line`.
fn written(text: &str, line: usize) -> Result<Written<'_>, Fault> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let malformed = |error: serde_json::Error| {
        let message = error.to_string();
        let position = format!(" at line {} column {}", error.line(), error.column());
        let message = message.strip_suffix(&position).unwrap_or(&message);
        // A line of a batch has no line breaks of its own.
        let line = error.line().max(1).saturating_add(line).saturating_sub(1);
        Fault::Malformed(format!(
            "{message} at line {line} column {}",
            error.column()
        ))
    };
    let written = deserializer
        .deserialize_map(EventObject)
        .map_err(malformed)?;
    deserializer.end().map_err(malformed)?;
    Ok(written)
}

/// An event object, each field checked.
struct Written<'a> {
    event_type: EventType,
    data: &'a RawValue,
    tenant: Option<Tenant>,
    key: Option<Key>,
    idempotency_key: Option<Key>,
    deliver_at: Option<Timestamp>,
    extras: Option<Extras>,
}

struct EventObject;

impl<'de> Visitor<'de> for EventObject {
    type Value = Written<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Written<'de>, A::Error> {
        let (mut event_type, mut data, mut tenant) = (None, None, None);
        let (mut key, mut idempotency_key, mut deliver_at) = (None, None, None);
        let (mut channels, mut headers) = (None, None);
        while let Some(name) = map.next_key_seed(FieldName)? {
            match name {
                Name::Type => {
                    once("type", &event_type)?;
                    let read = Text("type", |text| {
                        let name = EventType::new(text).map_err(|e| e.to_string())?;
                        if name.is_reserved() {
                            Err(RESERVED.to_owned())
                        } else {
                            Ok(name)
                        }
                    });
                    event_type = Some(map.next_value_seed(read)?);
                }
                Name::Data => {
                    once("data", &data)?;
                    let value = map.next_value::<&RawValue>();
                    data = Some(value.map_err(|e| in_field("data", e))?);
                }
                Name::Tenant => {
                    once("tenant", &tenant)?;
                    let read = |text: &str| Tenant::new(text).map_err(|e| e.to_string());
                    tenant = Some(map.next_value_seed(Optional(Text("tenant", read)))?);
                }
                Name::Key => {
                    once("key", &key)?;
                    key = Some(map.next_value_seed(Optional(Text("key", read_key)))?);
                }
                Name::IdempotencyKey => {
                    once("idempotency_key", &idempotency_key)?;
                    let read = Optional(Text("idempotency_key", read_idempotency_key));
                    idempotency_key = Some(map.next_value_seed(read)?);
                }
                Name::DeliverAt => {
                    once("deliver_at", &deliver_at)?;
                    let read = |text: &str| text.parse::<Timestamp>().map_err(|e| e.to_string());
                    deliver_at = Some(map.next_value_seed(Optional(Text("deliver_at", read)))?);
                }
                Name::Channels => {
                    once("channels", &channels)?;
                    channels = Some(read_channels(map.next_value())?);
                }
                Name::Headers => {
                    once("headers", &headers)?;
                    headers = Some(read_headers(map.next_value())?);
                }
            }
        }
        Ok(Written {
            event_type: event_type.ok_or_else(|| de::Error::missing_field("type"))?,
            data: data.ok_or_else(|| de::Error::missing_field("data"))?,
            tenant: tenant.flatten(),
            key: key.flatten(),
            idempotency_key: idempotency_key.flatten(),
            deliver_at: deliver_at.flatten(),
            extras: extras(channels.unwrap_or_default(), headers.unwrap_or_default()),
        })
    }
}

fn extras(channels: Vec<Channel>, headers: Vec<(HeaderName, HeaderValue)>) -> Option<Extras> {
    let extras = Extras {
        channels,
        headers,
        ..Extras::default()
    };
    (!extras.is_empty()).then_some(extras)
}

fn read_channels<E: de::Error>(
    names: Result<Option<Vec<Cow<'_, str>>>, E>,
) -> Result<Vec<Channel>, E> {
    let names = names.map_err(|e| in_field("channels", e))?;
    let names = names.unwrap_or_default();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let channels = extras::read_channels(names.iter().map(|name| &**name));
    channels.map_err(|e| in_field("channels", E::custom(e)))
}

fn read_headers<E: de::Error>(
    pairs: Result<Option<Pairs>, E>,
) -> Result<Vec<(HeaderName, HeaderValue)>, E> {
    let pairs = pairs.map_err(|e| in_field("headers", e))?;
    let Pairs(pairs) = pairs.unwrap_or_default();
    request::event_headers(&pairs).map_err(|(name, bad)| {
        let at = if name.is_empty() {
            String::new()
        } else {
            format!("`{}`: ", short(&name))
        };
        in_field("headers", E::custom(format_args!("{at}{bad}")))
    })
}

/// An object of strings, in its order.
#[derive(Default)]
struct Pairs(Vec<(String, String)>);

impl<'de> de::Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pairs, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    if pairs.len() > extras::MAX_HEADERS {
                        return Err(de::Error::custom(request::BadEventHeader::TooMany));
                    }
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

fn short(name: &str) -> Cow<'_, str> {
    match name.char_indices().nth(64) {
        Some((end, _)) => format!("{}…", name.get(..end).unwrap_or_default()).into(),
        None => name.into(),
    }
}

/// Reads an idempotency key that a client gave.
pub fn read_idempotency_key(text: &str) -> Result<Key, String> {
    match text.starts_with('\0') {
        true => Err("an idempotency key does not begin with U+0000".to_owned()),
        false => read_key(text),
    }
}

fn read_key(text: &str) -> Result<Key, String> {
    Key::new(text).map_err(|error| error.to_string())
}

fn once<T, E: de::Error>(name: &'static str, seen: &Option<T>) -> Result<(), E> {
    match seen {
        None => Ok(()),
        Some(_) => Err(E::duplicate_field(name)),
    }
}

/// `error` with the field's name before it. serde_json keeps the position that the
/// message ends with.
fn in_field<E: de::Error>(name: &str, error: E) -> E {
    E::custom(format_args!("field `{name}`: {error}"))
}

enum Name {
    Type,
    Data,
    Tenant,
    Key,
    IdempotencyKey,
    DeliverAt,
    Channels,
    Headers,
}

struct FieldName;

impl<'de> DeserializeSeed<'de> for FieldName {
    type Value = Name;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Name, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for FieldName {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Name, E> {
        match name {
            "type" => Ok(Name::Type),
            "data" => Ok(Name::Data),
            "tenant" => Ok(Name::Tenant),
            "key" => Ok(Name::Key),
            "idempotency_key" => Ok(Name::IdempotencyKey),
            "deliver_at" => Ok(Name::DeliverAt),
            "channels" => Ok(Name::Channels),
            "headers" => Ok(Name::Headers),
            _ => Err(E::custom(format_args!(
                "unknown field `{}`, expected one of {FIELDS}",
                short(name)
            ))),
        }
    }
}

/// A string field and how it is read.
struct Text<T>(&'static str, fn(&str) -> Result<T, String>);

impl<'de, T> DeserializeSeed<'de> for Text<T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        let name = self.0;
        deserializer
            .deserialize_str(self)
            .map_err(|error| in_field(name, error))
    }
}

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.1)(text).map_err(E::custom)
    }
}

/// A field that may be `null`, which is as good as not there.
struct Optional<T>(Text<T>);

impl<'de, T> DeserializeSeed<'de> for Optional<T> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de, T> Visitor<'de> for Optional<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or null")
    }

    fn visit_none<E: de::Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
        self.0.deserialize(deserializer).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: BatchLimits = BatchLimits {
        events: 3,
        event_size: 100,
    };

    fn read(text: &str) -> Result<NewEvent, Fault> {
        event(&Bytes::copy_from_slice(text.as_bytes()), None)
    }

    fn fault(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    fn data(event: &NewEvent) -> &[u8] {
        match &event.payload {
            Payload::Json(data) => data,
            Payload::Opaque { .. } => panic!("opaque"),
        }
    }

    #[test]
    fn all_fields_are_read() {
        let event = read(
            r#" {"deliver_at":"2030-01-01T00:00:00Z", "key":"order-7", "idempotency_key":"a\u00311",
               "data": {"id": 7,  "x":[1.0e0]} , "tenant":"t1", "type":"order.created"} "#,
        )
        .unwrap();
        assert_eq!(event.event_type.as_str(), "order.created");
        assert_eq!(event.tenant.as_str(), "t1");
        assert_eq!(event.key.as_ref().unwrap().as_str(), "order-7");
        assert_eq!(event.idempotency_key.as_ref().unwrap().as_str(), "a11");
        assert_eq!(event.deliver_at.unwrap().as_millis(), 1_893_456_000_000);
        assert_eq!(data(&event), br#"{"id": 7,  "x":[1.0e0]}"#);
    }

    #[test]
    fn only_type_and_data_are_needed_and_null_is_not_given() {
        let event = read(r#"{"type":"a","data":null,"key":null,"tenant":null}"#).unwrap();
        assert_eq!(data(&event), b"null");
        assert_eq!(event.tenant, Tenant::default());
        assert!(event.key.is_none() && event.idempotency_key.is_none());
    }

    #[test]
    fn faults_name_field_and_position() {
        let cases = [
            (
                r#"{"type":"a"}"#,
                "missing field `data` at line 1 column 12",
            ),
            (r#"{"data":1}"#, "missing field `type` at line 1 column 10"),
            (
                r#"{"type":"a","dat":1}"#,
                "unknown field `dat`, expected one of",
            ),
            (r#"{"type":"a","dat":1}"#, "at line 1 column 17"),
            (
                r#"{"type":7,"data":1}"#,
                "field `type`: invalid type: integer `7`, expected a string at line 1 column 9",
            ),
            (
                "{\"type\":\"a b\",\n\"data\":1}",
                "field `type`: a type name is 1 to 128",
            ),
            (
                r#"{"type":null,"data":1}"#,
                "field `type`: invalid type: null",
            ),
            (
                r#"{"type":"outboxd.test","data":1}"#,
                "field `type`: types that begin with `outboxd.`",
            ),
            (
                r#"{"type":"a","type":"b","data":1}"#,
                "duplicate field `type` at line 1 column",
            ),
            (
                r#"{"type":"a","data":1,"key":""}"#,
                "field `key`: a key is 1 to 256 bytes at line 1 column",
            ),
            (
                r#"{"type":"a","data":1,"tenant":["x"]}"#,
                "field `tenant`: invalid type: sequence, expected a string",
            ),
            (
                r#"{"type":"a","data":1,"deliver_at":"soon"}"#,
                "field `deliver_at`: not an RFC 3339 time",
            ),
            (
                "{\n\"type\":\"a\",\n\"data\":{]}",
                "field `data`: key must be a string at line 3 column",
            ),
            (
                r#"["a"]"#,
                "invalid type: sequence, expected an event object",
            ),
            (
                r#"{"type":"a","data":1} x"#,
                "trailing characters at line 1 column 23",
            ),
            ("", "EOF while parsing a value at line 1 column 0"),
            (
                r#"{"type":"a","data":"#,
                "EOF while parsing a value at line 1",
            ),
        ];
        for (text, expected) in cases {
            let fault = fault(text);
            assert!(fault.contains(expected), "{text}: {fault}");
            assert_eq!(fault.matches(" at line ").count(), 1, "{fault}");
        }
    }

    #[test]
    fn bytes_that_are_no_utf_8_are_located() {
        let bytes = Bytes::from_static(b"{\"type\":\"a\",\n\"data\":\"\xff\"}");
        let fault = event(&bytes, None).unwrap_err().to_string();
        assert_eq!(fault, "the body is not UTF-8 at line 2 column 9");
    }

    #[test]
    fn a_header_does_the_same_as_the_field_and_may_not_differ() {
        let key = |text: &str| Some(Key::new(text).unwrap());
        let with = Bytes::from_static(br#"{"type":"a","data":1,"idempotency_key":"k"}"#);
        let without = Bytes::from_static(br#"{"type":"a","data":1}"#);
        assert_eq!(event(&without, key("k")).unwrap().idempotency_key, key("k"));
        assert_eq!(event(&with, key("k")).unwrap().idempotency_key, key("k"));
        let fault = event(&with, key("l")).unwrap_err().to_string();
        assert!(fault.contains("`Idempotency-Key` differ"), "{fault}");
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = 1024 * 1024;
        let open = format!(r#"{{"type":"a","data":{}"#, "[".repeat(deep));
        assert!(fault(&open).contains("field `data`: EOF"));
        let closed = format!("{open}{}}}", "]".repeat(deep));
        assert_eq!(data(&read(&closed).unwrap()).len(), 2 * deep);
        assert!(fault(&"[".repeat(deep)).contains("expected an event object"));
        assert!(fault(&r#"{"type":"#.repeat(deep / 8)).contains("field `type`"));
    }

    #[test]
    fn batches_skip_blank_lines_and_name_the_line_of_a_fault() {
        let good = r#"{"type":"a","data":[1]}"#;
        let bytes = |text: String| Bytes::from(text);
        let batch_of = |text: String| batch(&bytes(text), LIMITS);
        let read = batch_of(format!("\n{good}\r\n \n{good}\n")).unwrap();
        assert_eq!(read.lines, [2, 4]);
        assert_eq!(data(&read.events[1]), b"[1]");
        let bad = batch_of(format!("{good}\n\n{{\"type\":\"a\"}}\n")).unwrap_err();
        assert_eq!(bad.to_string(), "missing field `data` at line 3 column 12");
        let two = batch_of(format!("{good} {good}")).unwrap_err();
        assert!(two.to_string().contains("trailing characters at line 1"));
        for empty in ["", "\n", " \r\n\n"] {
            assert!(batch_of(empty.into()).is_err());
        }
        let many = batch_of(format!("{good}\n").repeat(4)).unwrap_err();
        assert_eq!(many, Fault::TooMany { line: 4, limit: 3 });
        let large = format!(r#"{{"type":"a","data":"{}"}}"#, "x".repeat(100));
        let large = batch_of(format!("{good}\n{large}")).unwrap_err();
        assert_eq!(
            large,
            Fault::LineTooLarge {
                line: 2,
                limit: 100
            }
        );
    }

    /// JSON as people write it: any spacing, any nesting.
    fn json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("-1.50e+3".to_owned()),
            Just(" 1234567890123456789012345678901234567890".to_owned()),
            "[a-z \u{e4}\u{1f600}]{0,8}".prop_map(|text| format!("\"{text}\\u00e4\\n\"")),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4)
                    .prop_map(|items| format!("[ {} ]", items.join(" ,\t"))),
                proptest::collection::vec(inner, 0..4).prop_map(|items| {
                    let fields: Vec<_> = items.iter().map(|v| format!("\"k\" :{v}")).collect();
                    format!("{{{}\r\n}}", fields.join(","))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn data_is_kept_byte_for_byte(value in json(), before in "[ \t\r\n]{0,3}", after in "[ \t\r\n]{0,3}") {
            let text = format!(r#"{{"data":{before}{value}{after},"type":"a"}}"#);
            let event = read(&text).unwrap();
            prop_assert_eq!(data(&event), value.trim().as_bytes());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let bytes = Bytes::from(bytes);
            let _ = event(&bytes, None);
            let _ = batch(&bytes, LIMITS);
        }

        #[test]
        fn arbitrary_json_like_text_never_panics(text in "[\\[\\]{}\",:a-z0-9\\\\ \n]{0,80}") {
            let _ = read(&text);
            let _ = read(&format!("{{\"type\":{text}"));
            let _ = read(&format!("{{\"type\":\"a\",\"data\":{text}"));
        }

        #[test]
        fn a_fault_in_a_batch_names_its_line(good in 0_usize..3, blank in 0_usize..5) {
            let text = format!("{}{}{{\"type\":1}}\n",
                "{\"type\":\"a\",\"data\":1}\n".repeat(good), "\n".repeat(blank));
            let fault = batch(&Bytes::from(text), LIMITS).unwrap_err().to_string();
            let expected = format!("at line {} column", good + blank + 1);
            prop_assert!(fault.contains(&expected), "{}", fault);
        }
    }
}
