//! The JSON event format and its batch format.
//!
//! An event is read in two passes: the first finds its members, the second reads them one by
//! one. `datacontenttype`, which says how `data` is meant, may stand after it.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::attribute::{BadAttribute, MAX_EXTENSIONS, Value};
use super::draft::{DEFINED, Draft, REQUIRED};
use super::event::{CloudEvent, Data, SPECVERSION};
use super::fault::{BadCloudEvent, Place, Position, Problem, shown, split_position};
use super::media;
use crate::domain::json::write_string;

/// The content type of [`structured`].
pub const STRUCTURED: &str = "application/cloudevents+json; charset=UTF-8";

/// Members that are not extension attributes; the two others are `data` and `data_base64`.
const NAMED: usize = DEFINED.len() + 2;

/// Reads one event, `application/cloudevents+json`. Its data is a slice of `body` and keeps it in
/// memory.
///
/// # Errors
/// The member at fault, and its line and column.
pub fn parse_structured(body: &Bytes) -> Result<CloudEvent, BadCloudEvent> {
    let text = utf8(body)?;
    event(body, text, 0).map_err(|(place, problem)| BadCloudEvent {
        index: None,
        place,
        problem,
    })
}

/// Reads a batch of at most `limit` events, `application/cloudevents-batch+json`. It may be empty.
///
/// # Errors
/// The event at fault by its index from 0, its member, and the line and column.
pub fn parse_batch(body: &Bytes, limit: usize) -> Result<Vec<CloudEvent>, BadCloudEvent> {
    let text = utf8(body)?;
    let mut found = Vec::new();
    let (mut index, mut full) = (None, false);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let elements = Elements {
        found: &mut found,
        index: &mut index,
        full: &mut full,
        limit,
    };
    let read = deserializer
        .deserialize_seq(elements)
        .and_then(|()| deserializer.end());
    if let Err(error) = read {
        let (message, position) = split_position(&error);
        return Err(BadCloudEvent {
            index: index.filter(|_| !full),
            place: Place::Body(position),
            problem: match full {
                true => Problem::TooManyEvents { limit },
                false => Problem::Syntax(message),
            },
        });
    }
    let read = |(index, raw): (usize, &RawValue)| {
        let start = offset(text, raw.get());
        event(body, raw.get(), start).map_err(|(place, problem)| BadCloudEvent {
            index: Some(index),
            place,
            problem,
        })
    };
    found.into_iter().enumerate().map(read).collect()
}

/// Writes an event in the JSON event format, to be sent as [`STRUCTURED`].
///
/// JSON data stands in it byte for byte, `text/*` in UTF-8 as a string, all else in base64.
pub fn structured(event: &CloudEvent) -> Vec<u8> {
    let mut out = String::from("{");
    member(&mut out, "specversion", SPECVERSION);
    member(&mut out, "id", &event.id);
    member(&mut out, "source", &event.source);
    member(&mut out, "type", &event.event_type);
    for (name, value) in [
        ("subject", &event.subject),
        ("time", &event.time),
        ("datacontenttype", &event.datacontenttype),
        ("dataschema", &event.dataschema),
    ] {
        if let Some(value) = value {
            member(&mut out, name, value);
        }
    }
    for (name, value) in &event.extensions {
        match value {
            Value::String(text) => member(&mut out, name.as_str(), text),
            other => {
                key(&mut out, name.as_str());
                out.push_str(&other.to_string());
            }
        }
    }
    match &event.data {
        Data::None => {}
        Data::Json(json) => {
            key(&mut out, "data");
            let mut out = out.into_bytes();
            out.extend_from_slice(json);
            out.push(b'}');
            return out;
        }
        Data::Opaque(bytes) => match text_of(event, bytes) {
            Some(text) => member(&mut out, "data", text),
            None => {
                key(&mut out, "data_base64");
                out.push('"');
                STANDARD.encode_string(bytes, &mut out);
                out.push('"');
            }
        },
    }
    out.push('}');
    out.into_bytes()
}

/// The data as a text, if its content type lets a reader take it for one.
fn text_of<'a>(event: &CloudEvent, bytes: &'a [u8]) -> Option<&'a str> {
    let content_type = event.datacontenttype.as_deref()?;
    let is_text = media::is_utf8_text(content_type) && !media::is_json(content_type);
    std::str::from_utf8(bytes).ok().filter(|_| is_text)
}

fn key(out: &mut String, name: &str) {
    if out.len() > 1 {
        out.push(',');
    }
    write_string(name, out);
    out.push(':');
}

fn member(out: &mut String, name: &str, value: &str) {
    key(out, name);
    write_string(value, out);
}

fn utf8(body: &[u8]) -> Result<&str, BadCloudEvent> {
    std::str::from_utf8(body).map_err(|error| BadCloudEvent {
        index: None,
        place: Place::Body(position(body, error.valid_up_to())),
        problem: Problem::NotUtf8,
    })
}

/// Where byte `offset` of `body` is.
fn position(body: &[u8], offset: usize) -> Position {
    let before = body.get(..offset).unwrap_or(body);
    Position {
        line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
        column: 1 + before.iter().rev().take_while(|b| **b != b'\n').count(),
    }
}

/// Where `part`, a slice of `text`, begins in it.
fn offset(text: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize)
}

type Fault = (Place, Problem);

/// One event, whose text begins at byte `start` of `body`.
fn event(body: &Bytes, text: &str, start: usize) -> Result<CloudEvent, Fault> {
    let at = |part: &str| position(body, start.saturating_add(offset(text, part)));
    let field = |name: &str, value: &str| Place::Field(shown(name).into(), at(value));
    let mut draft = Draft::default();
    let (mut data, mut base64) = (None, None);
    let found = members(text).map_err(|(position, problem)| {
        // The position counts from the beginning of the event.
        let first = at(text);
        let column = match position.line {
            1 => first
                .column
                .saturating_add(position.column)
                .saturating_sub(1),
            _ => position.column,
        };
        let line = first.line.saturating_add(position.line).saturating_sub(1);
        (Place::Body(Position { line, column }), problem)
    })?;
    for (n, (name, raw)) in found.iter().enumerate() {
        let raw = raw.get();
        let fault = |problem| (field(name, raw), problem);
        if found.iter().take(n).any(|(earlier, _)| earlier == name) {
            return Err(fault(Problem::Repeated));
        }
        match &**name {
            "data" => data = Some(raw),
            "data_base64" if raw == "null" => {}
            "data_base64" => base64 = Some(raw),
            required if raw == "null" && REQUIRED.contains(&required) => {
                return Err(fault(BadAttribute::Null.into()));
            }
            _ if raw == "null" => {}
            defined if DEFINED.contains(&defined) && !raw.starts_with('"') => {
                let found = kind(raw);
                return Err(fault(BadAttribute::NotString { found }.into()));
            }
            name => {
                let value = value(raw).map_err(|bad| fault(bad.into()))?;
                draft.set(name, value).map_err(fault)?;
            }
        }
    }
    let mut event = draft
        .finish()
        .map_err(|(name, problem)| (field(name, text), problem))?;
    let content_type = event.datacontenttype.as_deref();
    event.data = match (data, base64) {
        (None, None) => Data::None,
        (Some(_), Some(raw)) => return Err((field("data_base64", raw), Problem::TwoData)),
        (Some(raw), None) => {
            plain(body, raw, content_type).map_err(|problem| (field("data", raw), problem))?
        }
        (None, Some(raw)) => {
            encoded(raw, content_type).map_err(|problem| (field("data_base64", raw), problem))?
        }
    };
    Ok(event)
}

/// The data of the member `data` (JSON event format, 3.1.2).
fn plain(body: &Bytes, raw: &str, content_type: Option<&str>) -> Result<Data, Problem> {
    let content_type = match content_type {
        Some(content_type) if !media::is_json(content_type) => content_type,
        // `raw` borrows from `body`.
        _ => return Ok(Data::Json(body.slice_ref(raw.as_bytes()))),
    };
    if raw == "null" {
        return Ok(Data::None);
    }
    if !raw.starts_with('"') {
        let found = kind(raw);
        return Err(Problem::DataNotText { found });
    }
    if !media::is_utf8(content_type) {
        return Err(Problem::DataCharset);
    }
    Ok(Data::Opaque(string(raw)?.into()))
}

/// The data of the member `data_base64`. JSON is kept as JSON, so that it can be delivered as that.
fn encoded(raw: &str, content_type: Option<&str>) -> Result<Data, Problem> {
    if !raw.starts_with('"') {
        return Err(Problem::Base64);
    }
    let text = string(raw)?;
    let bytes = STANDARD.decode(text).map_err(|_| Problem::Base64)?;
    if !content_type.is_some_and(media::is_json) {
        return Ok(Data::Opaque(bytes.into()));
    }
    match media::check_json(&bytes) {
        Ok(()) => Ok(Data::Json(bytes.into())),
        Err(error) => Err(Problem::DataNotJson(error.to_string())),
    }
}

/// The value of an attribute that is not null.
fn value(raw: &str) -> Result<Value, BadAttribute> {
    match kind(raw) {
        "string" => Ok(Value::String(string(raw)?.into())),
        "boolean" => Ok(Value::Boolean(raw == "true")),
        "number" => {
            let number = raw.parse().map_err(|_| BadAttribute::NotInteger)?;
            Ok(Value::Integer(number))
        }
        found => Err(BadAttribute::NotScalar { found }),
    }
}

fn string(raw: &str) -> Result<String, BadAttribute> {
    serde_json::from_str(raw).map_err(|error| BadAttribute::Escape(split_position(&error).0))
}

/// What kind of value a valid JSON text is.
fn kind(raw: &str) -> &'static str {
    match raw.bytes().next() {
        Some(b'"') => "string",
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b't' | b'f') => "boolean",
        Some(b'n') | None => "null",
        Some(_) => "number",
    }
}

type Member<'a> = (Cow<'a, str>, &'a RawValue);

/// The members of a JSON object. The position of a fault counts from the beginning of `text`.
fn members(text: &str) -> Result<Vec<Member<'_>>, (Position, Problem)> {
    let mut found = Vec::new();
    let mut full = false;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = deserializer.deserialize_map(Members {
        found: &mut found,
        full: &mut full,
    });
    match read.and_then(|()| deserializer.end()) {
        Ok(()) => Ok(found),
        Err(error) => {
            let (message, position) = split_position(&error);
            let problem = match full {
                true => Problem::TooManyExtensions,
                false => Problem::Syntax(message),
            };
            Err((position, problem))
        }
    }
}

struct Members<'a, 'de> {
    found: &'a mut Vec<Member<'de>>,
    full: &'a mut bool,
}

impl<'de> Visitor<'de> for Members<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a CloudEvent object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(Name)? {
            if self.found.len() >= NAMED + MAX_EXTENSIONS {
                *self.full = true;
                return Err(de::Error::custom(Problem::TooManyExtensions));
            }
            let value = map.next_value::<&RawValue>().map_err(|error| {
                // serde_json keeps the position that the message ends with.
                let name = shown(&name);
                de::Error::custom(format_args!("field `{name}`: {error}"))
            })?;
            self.found.push((name, value));
        }
        Ok(())
    }
}

struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(name.into())
    }

    fn visit_str<E>(self, name: &str) -> Result<Cow<'de, str>, E> {
        Ok(name.to_owned().into())
    }
}

struct Elements<'a, 'de> {
    found: &'a mut Vec<&'de RawValue>,
    /// That of the event that is being read.
    index: &'a mut Option<usize>,
    full: &'a mut bool,
    limit: usize,
}

impl<'de> Visitor<'de> for Elements<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of CloudEvent objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut events: A) -> Result<(), A::Error> {
        *self.index = Some(0);
        while let Some(event) = events.next_element::<&RawValue>()? {
            if self.found.len() >= self.limit {
                *self.full = true;
                return Err(de::Error::custom("too many events"));
            }
            self.found.push(event);
            *self.index = Some(self.found.len());
        }
        *self.index = None;
        Ok(())
    }
}
