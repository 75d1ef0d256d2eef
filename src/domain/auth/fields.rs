//! Reads the fields of an `auth` object, and says which one is wrong and how to fix it.
//!
//! No fault repeats a value: most of them are secrets.

use indexmap::IndexMap;

use crate::domain::json::Json;
use crate::domain::nearest::nearest;

/// What reads show instead of a secret.
pub(super) const MASK: &str = "…";
/// The longest secret, name or text, in bytes.
const MAX_TEXT: usize = 4 * 1024;

/// Why an `auth` was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}; {fix}")]
pub struct BadAuth {
    /// Such as `auth.token_url`.
    pub path: String,
    pub problem: String,
    /// How to fix it.
    pub fix: String,
}

/// The fields of an `auth` object.
pub(super) struct Fields<'a>(&'a Json);

impl<'a> Fields<'a> {
    pub(super) fn new(json: &'a Json) -> Result<Fields<'a>, BadAuth> {
        match json {
            Json::Object(_) => Ok(Fields(json)),
            other => Err(BadAuth {
                path: "auth".to_owned(),
                problem: format!("expected an object, found {}", other.a_kind()),
                fix: "write one such as {\"type\": \"bearer\", \"token\": \"…\"}".to_owned(),
            }),
        }
    }

    pub(super) fn bad(&self, name: &str, problem: &str, fix: &str) -> BadAuth {
        BadAuth {
            path: format!("auth.{name}"),
            problem: problem.to_owned(),
            fix: fix.to_owned(),
        }
    }

    /// Refuses every field that is not among `known`.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), BadAuth> {
        let Json::Object(fields) = self.0 else {
            return Ok(());
        };
        let Some(name) = fields.keys().find(|name| !known.contains(&&***name)) else {
            return Ok(());
        };
        let meant = name.strip_suffix("_file");
        if let Some(meant) = meant.filter(|meant| known.contains(meant)) {
            let fix = format!("give {meant:?} itself");
            return Err(self.bad(name, "only the TOML file can name files", &fix));
        }
        let fix = match nearest(name, known.iter().copied()) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => format!("remove it; the keys here are {}", known.join(", ")),
        };
        Err(self.bad(name, "this key is unknown", &fix))
    }

    /// A text without control characters; `null` is as good as absent.
    pub(super) fn optional(&self, name: &str) -> Result<Option<&'a str>, BadAuth> {
        self.bounded(name, MAX_TEXT, |c| !c.is_control())
    }

    pub(super) fn required(&self, name: &str) -> Result<&'a str, BadAuth> {
        let missing = || self.bad(name, "this is missing", "add it");
        self.optional(name)?.ok_or_else(missing)
    }

    /// A text that is not empty.
    pub(super) fn filled(&self, name: &str) -> Result<&'a str, BadAuth> {
        match self.required(name)? {
            "" => Err(self.bad(name, "this is empty", "fill it in")),
            text => Ok(text),
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        !matches!(self.0.get(name), None | Some(Json::Null))
    }

    /// A text in PEM, of up to `most` bytes.
    pub(super) fn pem(&self, name: &str, most: usize) -> Result<&'a str, BadAuth> {
        let missing = || self.bad(name, "this is missing", "add it");
        let found = self.bounded(name, most, |c| !c.is_control() || c.is_ascii_whitespace())?;
        found.ok_or_else(missing)
    }

    fn bounded(
        &self,
        name: &str,
        most: usize,
        may_hold: impl Fn(char) -> bool,
    ) -> Result<Option<&'a str>, BadAuth> {
        let text = match self.0.get(name) {
            None | Some(Json::Null) => return Ok(None),
            Some(Json::String(text)) => text,
            Some(other) => {
                let problem = format!("expected a string, found {}", other.a_kind());
                return Err(self.bad(name, &problem, "write it in quotes"));
            }
        };
        if text.len() > most {
            let problem = format!("this is longer than {most} bytes");
            return Err(self.bad(name, &problem, "shorten it"));
        }
        if !text.chars().all(may_hold) {
            let problem = "this holds a control character, such as a line break";
            return Err(self.bad(name, problem, "remove it"));
        }
        if &**text == MASK {
            let fix = "give the secret itself, or leave auth out to keep it";
            return Err(self.bad(name, "this is what reads show instead of a secret", fix));
        }
        Ok(Some(text))
    }
}

/// An object of the fields that there are.
pub(super) fn object<'a>(
    fields: impl IntoIterator<Item = (&'static str, Option<&'a str>)>,
) -> Json {
    let known = fields.into_iter().filter_map(|(name, value)| {
        let value = value?;
        Some((name.into(), Json::from(value)))
    });
    Json::Object(known.collect::<IndexMap<_, _>>())
}
