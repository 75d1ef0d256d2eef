//! What an answer means where its status alone does not say (docs/shaping.md, "Answer rules").
//!
//! Many services answer 200 to what they refuse, or write into the body when to come again. A
//! rule is judged in a fixed order, and what applies first decides: `success`, 410, the delay that
//! is asked for, `permanent`. An answer that asks for a delay is therefore never permanent.
//!
//! `success` is a filter over this document:
//!
//! ```json
//! {"status": 200, "headers": {"content-type": "application/json"}, "body": {"ok": true}}
//! ```
//!
//! Names of headers are in lower case. A header that came once is a string, one that came several
//! times an array of them. A body that is not JSON is a string without the whitespace around it, so
//! that `ok` and `ok\n` are the same; so is one that is cut at [`BODY_LIMIT`] or nested too deeply.
//!
//! Nothing of an answer's body is ever repeated in a message.

mod delay;
#[cfg(test)]
mod tests;

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use indexmap::IndexMap;

use super::filter::{BadFilter, Failed, Filter};
use super::json::Json;
use super::time::Timestamp;

pub use delay::{LONGEST_WAIT, header_delay};

/// The most bytes of a body that are read for a rule.
pub const BODY_LIMIT: usize = 64 * 1024;
/// The most entries of `permanent`.
pub const MAX_PERMANENT: usize = 64;
/// The most bytes of the path `retry_after`.
pub const MAX_PATH_BYTES: usize = 256;

/// Statuses that a class leaves out unless they are named: they ask to come again, or are the
/// end of the endpoint.
const NEVER_BY_CLASS: [u16; 4] = [408, 410, 425, 429];
/// Characters of an expected value that a message repeats.
const SHOWN: usize = 64;

/// The key `answer` of an endpoint. The default is: 2xx is success, 410 is gone.
#[derive(Clone, Debug, Default)]
pub struct AnswerRule {
    success: Option<Filter>,
    permanent: Vec<Permanent>,
    retry_after: Option<Box<str>>,
}

/// An entry of `permanent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Permanent {
    Status(u16),
    /// The first digit.
    Class(u16),
}

/// Why a rule was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BadAnswerRule {
    #[error("this is {found}; write an object such as {{\"permanent\": [400]}}")]
    NotAnObject { found: &'static str },
    #[error("unknown key; those of `answer` are `success`, `permanent` and `retry_after`")]
    UnknownKey { key: Box<str> },
    #[error("{}", .0.reason())]
    Success(#[from] BadFilter),
    #[error("this is {found}; write a list such as [400, \"4xx\"]")]
    NotAList { found: &'static str },
    #[error("more than {MAX_PERMANENT} entries; name a class such as \"4xx\"")]
    TooManyEntries,
    #[error(
        "`{found}` is neither a status from 300 to 599 nor \"3xx\", \
         \"4xx\" or \"5xx\"; write a status as a number"
    )]
    Entry { index: usize, found: Box<str> },
    #[error(
        "this is no path into the body; join names by dots, such as \
         \"parameters.retry_after\", in 1 to {MAX_PATH_BYTES} bytes"
    )]
    RetryAfter,
}

impl BadAnswerRule {
    /// Where the fault is: `success`, `permanent[2]`; empty if it is the rule as a whole.
    pub fn path(&self) -> String {
        match self {
            BadAnswerRule::NotAnObject { .. } => String::new(),
            BadAnswerRule::UnknownKey { key } => key.to_string(),
            BadAnswerRule::Success(_) => "success".to_owned(),
            BadAnswerRule::NotAList { .. } | BadAnswerRule::TooManyEntries => {
                "permanent".to_owned()
            }
            BadAnswerRule::Entry { index, .. } => format!("permanent[{index}]"),
            BadAnswerRule::RetryAfter => "retry_after".to_owned(),
        }
    }
}

/// What an answer means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// It is delivered; then nothing below is set.
    pub success: bool,
    /// The endpoint is gone for good: 410.
    pub gone: bool,
    /// The answer asks to be left alone for so long, at most [`LONGEST_WAIT`].
    pub retry_after: Option<Duration>,
    /// Another attempt is useless.
    pub permanent: bool,
    /// What the rule has found, where the status alone would mean something else.
    pub why: Option<String>,
}

/// Two rules are equal if they were given as the same.
impl PartialEq for AnswerRule {
    fn eq(&self, other: &AnswerRule) -> bool {
        self.success.as_ref().map(Filter::source) == other.success.as_ref().map(Filter::source)
            && self.permanent == other.permanent
            && self.retry_after == other.retry_after
    }
}

impl AnswerRule {
    /// Reads a rule; keys that are null count as absent.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(json: &Json) -> Result<AnswerRule, BadAnswerRule> {
        let Json::Object(fields) = json else {
            return Err(BadAnswerRule::NotAnObject {
                found: json.a_kind(),
            });
        };
        let mut rule = AnswerRule::default();
        for (key, value) in fields {
            match (&**key, value) {
                ("success" | "permanent" | "retry_after", Json::Null) => {}
                ("success", filter) => rule.success = Some(Filter::parse(filter)?),
                ("permanent", list) => rule.permanent = parse_permanent(list)?,
                ("retry_after", path) => {
                    let path = path.as_str().filter(|path| is_path(path));
                    rule.retry_after = Some(path.ok_or(BadAnswerRule::RetryAfter)?.into());
                }
                (unknown, _) => {
                    let key = short(unknown).into();
                    return Err(BadAnswerRule::UnknownKey { key });
                }
            }
        }
        Ok(rule)
    }

    /// The rule as [`AnswerRule::parse`] reads it.
    pub fn show(&self) -> Json {
        let mut fields = IndexMap::new();
        if let Some(success) = &self.success {
            fields.insert("success".into(), success.source().clone());
        }
        if !self.permanent.is_empty() {
            let entry = |entry: &Permanent| match entry {
                Permanent::Status(status) => Json::Number(status.to_string().into()),
                Permanent::Class(class) => Json::String(format!("{class}xx").into()),
            };
            let entries = self.permanent.iter().map(entry).collect();
            fields.insert("permanent".into(), Json::Array(entries));
        }
        if let Some(path) = &self.retry_after {
            fields.insert("retry_after".into(), Json::String(path.clone()));
        }
        Json::Object(fields)
    }

    /// Whether it says nothing: the status alone decides.
    pub fn is_default(&self) -> bool {
        self.success.is_none() && self.permanent.is_empty() && self.retry_after.is_none()
    }

    /// Whether up to [`BODY_LIMIT`] of the body are needed.
    pub fn reads_body(&self) -> bool {
        self.success.is_some() || self.retry_after.is_some()
    }

    /// Judges an answer that came at `now`. Of `body` no more than [`BODY_LIMIT`] counts.
    ///
    /// The header `Retry-After` counts for 429 and 503 (docs/behaviour.md), the delay in the
    /// body for every answer that is not a success. If both ask, the longer one holds.
    pub fn judge(&self, status: u16, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Judged {
        if self.success.is_none() && (200..300).contains(&status) {
            return Judged {
                success: true,
                ..Judged::default()
            };
        }
        let body = match self.reads_body() {
            true => read_body(body),
            false => Json::Null,
        };
        let delay = self
            .retry_after
            .as_deref()
            .and_then(|path| delay::body_delay(&body, path));
        let mut judged = Judged::default();
        if let Some(filter) = &self.success {
            match filter.judge(&document(status, headers, body)) {
                Ok(()) => {
                    judged.success = true;
                    return judged;
                }
                Err(failed) => judged.why = Some(refused(status, &failed)),
            }
        }
        judged.gone = status == 410;
        if judged.gone {
            return judged;
        }
        let header = match status {
            429 | 503 => header_delay(headers, now),
            _ => None,
        };
        judged.retry_after = delay.max(header);
        judged.permanent = judged.retry_after.is_none() && self.is_permanent(status);
        if judged.permanent && judged.why.is_none() {
            judged.why = Some(format!(
                "answered {}, which `answer.permanent` names",
                named(status)
            ));
        }
        judged
    }

    fn is_permanent(&self, status: u16) -> bool {
        let by_class = !NEVER_BY_CLASS.contains(&status);
        self.permanent.iter().any(|entry| match *entry {
            Permanent::Status(named) => named == status,
            Permanent::Class(class) => by_class && class == status / 100,
        })
    }
}

fn parse_permanent(list: &Json) -> Result<Vec<Permanent>, BadAnswerRule> {
    let Json::Array(items) = list else {
        return Err(BadAnswerRule::NotAList {
            found: list.a_kind(),
        });
    };
    if items.len() > MAX_PERMANENT {
        return Err(BadAnswerRule::TooManyEntries);
    }
    let entry = |(index, item): (usize, &Json)| {
        let entry = match item {
            Json::Number(number) => number
                .parse()
                .ok()
                .filter(|status| (300..=599).contains(status))
                .map(Permanent::Status),
            Json::String(text) => match &**text {
                "3xx" => Some(Permanent::Class(3)),
                "4xx" => Some(Permanent::Class(4)),
                "5xx" => Some(Permanent::Class(5)),
                _ => None,
            },
            _ => None,
        };
        entry.ok_or_else(|| BadAnswerRule::Entry {
            index,
            found: short(&item.to_string()).into(),
        })
    };
    items.iter().enumerate().map(entry).collect()
}

fn is_path(path: &str) -> bool {
    path.len() <= MAX_PATH_BYTES && path.split('.').all(|name| !name.is_empty())
}

fn read_body(body: &[u8]) -> Json {
    let kept = body.get(..BODY_LIMIT).unwrap_or(body);
    let json = match kept.len() < body.len() {
        true => None,
        false => Json::parse(kept).ok(),
    };
    json.unwrap_or_else(|| String::from_utf8_lossy(kept.trim_ascii()).as_ref().into())
}

fn document(status: u16, headers: &HeaderMap, body: Json) -> Json {
    let values = |name| {
        let mut values: Vec<Json> = headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).as_ref().into())
            .collect();
        match values.len() {
            1 => values.pop().unwrap_or(Json::Null),
            _ => Json::Array(values),
        }
    };
    let headers = headers
        .keys()
        .map(|name| (name.as_str().into(), values(name)))
        .collect();
    Json::Object(IndexMap::from([
        ("status".into(), Json::Number(status.to_string().into())),
        ("headers".into(), Json::Object(headers)),
        ("body".into(), body),
    ]))
}

/// A status and what it is called.
fn named(status: u16) -> String {
    let known = StatusCode::from_u16(status).ok();
    match known.and_then(|known| known.canonical_reason()) {
        Some(reason) => format!("{status} {reason}"),
        None => status.to_string(),
    }
}

/// Names the condition of `success` that failed. It shows the endpoint's own operand, and only
/// the type of the value that the response had.
fn refused(status: u16, failed: &Failed) -> String {
    let status = named(status);
    let (path, operator, found) = (&failed.path, &*failed.operator, failed.found);
    if path.is_empty() {
        return format!("answered {status}, but `answer.success` failed as a whole ({operator})");
    }
    let value = short(&failed.expected.to_string());
    let expected = match operator {
        "$eq" => value,
        operator => format!("{operator} {value}"),
    };
    format!(
        "answered {status}, but `answer.success` failed at {path}: expected {expected}, \
         found {found}"
    )
}

fn short(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
