//! What can be wrong with the keys that shape requests.

use http::header::HeaderName;

use crate::domain::answer_rule::BadAnswerRule;
use crate::domain::cloudevents;
use crate::domain::extras;
use crate::domain::filter::BadFilter;
use crate::domain::identity::{BadAuthorities, BadIdentity};
use crate::domain::signature::{self, BadKeys};
use crate::domain::template::BadTemplate;

/// Why a definition was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{problem}")]
pub struct BadShaping {
    /// The key at fault, such as `answer.permanent[2]`.
    pub key: String,
    pub problem: Problem,
}

/// What is wrong with a key, and how to fix it. Never repeats a secret.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Problem {
    #[error("this is {found}; write {wanted}")]
    Type {
        found: &'static str,
        wanted: &'static str,
    },
    #[error("{given:?} is not known here; {hint}")]
    Unknown { given: String, hint: String },
    #[error("{}", .0.reason())]
    Filter(#[from] BadFilter),
    #[error("{0}")]
    Channels(#[from] extras::BadChannels),
    #[error("{0}")]
    Template(#[from] BadTemplate),
    #[error("{0}")]
    Answer(#[from] BadAnswerRule),
    #[error("{0}")]
    Style(signature::StyleProblem),
    #[error("{0}; {1}")]
    Auth(String, String),
    #[error("{0}; {1}")]
    Identity(BadIdentity, &'static str),
    #[error("{0}; {1}")]
    Authorities(BadAuthorities, &'static str),
    #[error("{0}")]
    Unsignable(String),
    #[error("{0}")]
    Keys(#[from] BadKeys),
    #[error("{0}; make one with `outboxd keygen --ed25519`")]
    SigningKey(#[from] signature::BadSecret),
    #[error("{0}")]
    Source(cloudevents::BadAttribute),
    #[error("this is not a content type; write one such as \"application/json\"")]
    ContentType,
    #[error("{0}")]
    Conflict(&'static str),
    #[error("the header {0} is set by `signatures`; remove it")]
    Header(HeaderName),
}

impl Problem {
    /// What is wrong, and how to fix it. Where others' text could hold a semicolon, the two are known
    /// apart; the other messages have one between them.
    pub fn what_and_fix(&self) -> (String, String) {
        match self {
            Problem::Unknown { given, hint } => {
                (format!("{given:?} is not known here"), hint.clone())
            }
            Problem::Auth(what, fix) => (what.clone(), fix.clone()),
            Problem::Identity(what, fix) => (what.to_string(), (*fix).to_owned()),
            Problem::Authorities(what, fix) => (what.to_string(), (*fix).to_owned()),
            Problem::Template(bad) => (bad.what(), bad.fix.clone()),
            other => {
                let text = other.to_string();
                let halves = text.split_once("; ");
                let (what, fix) = halves.unwrap_or((&text, "see docs/shaping.md"));
                (what.to_owned(), fix.to_owned())
            }
        }
    }
}
