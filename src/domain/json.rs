//! JSON as it was written: numbers keep their digits, objects their order.
//!
//! serde_json would make doubles of numbers, and ids over 2^53 and amounts such as `12.50` would
//! come out as others. Follows RFC 8259. Of a key that is repeated the last value counts.

use std::fmt::Write;

use indexmap::IndexMap;
use json_event_parser::{JsonEvent, LowLevelJsonParser};

/// The deepest nesting that is read.
pub const MAX_DEPTH: usize = 128;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    /// As it was written, such as `12.50` or `1e3`.
    Number(Box<str>),
    String(Box<str>),
    Array(Vec<Json>),
    Object(IndexMap<Box<str>, Json>),
}

/// The text is not JSON, or is nested too deeply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at line {line} column {column}")]
pub struct BadJson {
    pub problem: String,
    /// From 1.
    pub line: u64,
    /// From 1, in characters.
    pub column: u64,
}

impl Json {
    /// Reads a value that fills `text`, whitespace around it excepted.
    ///
    /// # Errors
    /// What is wrong with the text, and where.
    pub fn parse(text: &[u8]) -> Result<Json, BadJson> {
        let mut parser = LowLevelJsonParser::new().with_max_stack_size(2 * MAX_DEPTH);
        let mut rest = text;
        let mut open = Vec::new();
        let mut root = None;
        loop {
            let step = parser.parse_next(rest, true);
            rest = rest.get(step.consumed_bytes..).unwrap_or_default();
            let event = match step.event {
                None => continue,
                Some(Ok(JsonEvent::Eof)) => break,
                Some(Ok(event)) => event,
                Some(Err(error)) => {
                    let place = error.location().start;
                    return Err(BadJson {
                        problem: error.message().to_owned(),
                        line: place.line + 1,
                        column: place.column + 1,
                    });
                }
            };
            let value = match event {
                JsonEvent::StartArray | JsonEvent::StartObject if open.len() == MAX_DEPTH => {
                    return Err(BadJson {
                        problem: format!("it is nested deeper than {MAX_DEPTH}"),
                        line: 1,
                        column: 1,
                    });
                }
                JsonEvent::StartArray => {
                    open.push(Open::Array(Vec::new()));
                    continue;
                }
                JsonEvent::StartObject => {
                    open.push(Open::Object(IndexMap::new(), None));
                    continue;
                }
                JsonEvent::ObjectKey(name) => {
                    if let Some(Open::Object(_, key)) = open.last_mut() {
                        *key = Some(name.into());
                    }
                    continue;
                }
                JsonEvent::EndArray | JsonEvent::EndObject => match open.pop() {
                    Some(Open::Array(items)) => Json::Array(items),
                    Some(Open::Object(fields, _)) => Json::Object(fields),
                    // The parser has matched them.
                    None => continue,
                },
                JsonEvent::Null => Json::Null,
                JsonEvent::Boolean(value) => Json::Bool(value),
                JsonEvent::Number(text) => Json::Number(text.into()),
                JsonEvent::String(text) => Json::String(text.into()),
                JsonEvent::Eof => break,
            };
            match open.last_mut() {
                None => root = Some(value),
                Some(Open::Array(items)) => items.push(value),
                Some(Open::Object(fields, key)) => {
                    if let Some(key) = key.take() {
                        fields.insert(key, value);
                    }
                }
            }
        }
        root.ok_or_else(|| BadJson {
            problem: "there is no value".to_owned(),
            line: 1,
            column: 1,
        })
    }

    /// The field of an object.
    pub fn get(&self, name: &str) -> Option<&Json> {
        match self {
            Json::Object(fields) => fields.get(name),
            _ => None,
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Json::String(text) => Some(text),
            _ => None,
        }
    }

    /// What kind of value it is: `null`, `boolean`, `number`, `string`, `array` or `object`.
    pub fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "boolean",
            Json::Number(_) => "number",
            Json::String(_) => "string",
            Json::Array(_) => "array",
            Json::Object(_) => "object",
        }
    }

    /// The same with its article, for a sentence: `a number`, `null`.
    pub fn a_kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "a boolean",
            Json::Number(_) => "a number",
            Json::String(_) => "a string",
            Json::Array(_) => "an array",
            Json::Object(_) => "an object",
        }
    }

    /// Appends it without whitespace, numbers as they were written.
    pub fn write(&self, out: &mut String) {
        match self {
            Json::Null => out.push_str("null"),
            Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Json::Number(text) => out.push_str(text),
            Json::String(text) => write_string(text, out),
            Json::Array(items) => {
                out.push('[');
                for (n, item) in items.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Json::Object(fields) => {
                out.push('{');
                for (n, (name, value)) in fields.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    write_string(name, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

impl std::fmt::Display for Json {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = String::new();
        self.write(&mut out);
        f.write_str(&out)
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Json {
        Json::String(text.into())
    }
}

/// Checks that `text` is one value, without building it.
///
/// # Errors
/// What is wrong with the text, and where.
pub fn check(text: &[u8]) -> Result<(), BadJson> {
    let mut parser = LowLevelJsonParser::new().with_max_stack_size(2 * MAX_DEPTH);
    let mut rest = text;
    let mut depth = 0;
    loop {
        let step = parser.parse_next(rest, true);
        rest = rest.get(step.consumed_bytes..).unwrap_or_default();
        match step.event {
            Some(Ok(JsonEvent::Eof)) => return Ok(()),
            Some(Ok(JsonEvent::StartArray | JsonEvent::StartObject)) if depth == MAX_DEPTH => {
                return Err(BadJson {
                    problem: format!("it is nested deeper than {MAX_DEPTH}"),
                    line: 1,
                    column: 1,
                });
            }
            Some(Ok(JsonEvent::StartArray | JsonEvent::StartObject)) => depth += 1,
            Some(Ok(JsonEvent::EndArray | JsonEvent::EndObject)) => depth -= 1,
            Some(Ok(_)) | None => {}
            Some(Err(error)) => {
                let place = error.location().start;
                return Err(BadJson {
                    problem: error.message().to_owned(),
                    line: place.line + 1,
                    column: place.column + 1,
                });
            }
        }
    }
}

/// Appends a JSON string (RFC 8259, 7).
pub fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", c as u32); // To a String: cannot fail.
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

enum Open {
    Array(Vec<Json>),
    Object(IndexMap<Box<str>, Json>, Option<Box<str>>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_order_stay_as_they_were_written() {
        let text = r#"{"b":12.50,"a":[1e3,-0,123456789012345678901234567890],"ä\n":"\"\\\u0001"}"#;
        assert_eq!(Json::parse(text.as_bytes()).unwrap().to_string(), text);
    }

    #[test]
    fn the_last_of_a_repeated_key_counts() {
        let json = Json::parse(br#" {"a":1,"a":2} "#).unwrap();
        assert_eq!(json.get("a"), Some(&Json::Number("2".into())));
    }

    #[test]
    fn faults_have_a_place() {
        for (text, line) in [
            ("", 1),
            ("{\n\"a\":}", 2),
            ("[1,]", 1),
            ("01", 1),
            ("1 2", 1),
        ] {
            let fault = Json::parse(text.as_bytes()).unwrap_err();
            assert_eq!(fault.line, line, "{text}: {fault}");
        }
        let deep = "[".repeat(MAX_DEPTH + 1) + &"]".repeat(MAX_DEPTH + 1);
        assert!(Json::parse(deep.as_bytes()).is_err());
        assert!(Json::parse(b"\"\xff\"").is_err());
    }
}
