//! Keys that are taken and checked while the work behind them comes in a later release.
//!
//! Saying nothing would let an operator believe in a limit that is not there. A line of
//! the table goes when its work has landed, and this file goes with the last one.

use std::fmt;

use serde::Serialize;

use super::Config;
use crate::domain::endpoint::{Endpoint, Ordering};

/// A remark on a key that was set and has no effect yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// The dotted path, such as `endpoint[2].ordering`.
    pub key: String,
    /// What that means for whoever set it.
    pub text: &'static str,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.text)
    }
}

/// Whether the key was set to something else than its default.
enum IsSet {
    Once(fn(&Config) -> bool),
    PerEndpoint(fn(&Endpoint) -> bool),
}

const LATER: [(&str, IsSet, &str); 3] = [
    (
        "outbox.endpoint_share",
        IsSet::Once(|config| {
            config.outbox.endpoint_share != super::OutboxLimits::default().endpoint_share
        }),
        "one endpoint may take the whole outbox yet",
    ),
    (
        "retention.held",
        IsSet::Once(|config| config.retention.held != super::Retention::default().held),
        "held deliveries are kept without end yet",
    ),
    (
        "ordering",
        IsSet::PerEndpoint(|endpoint| endpoint.ordering != Ordering::None),
        "deliveries go out in no fixed order yet",
    ),
];

/// The notes on a configuration.
pub(super) fn of(config: &Config) -> Vec<Note> {
    let mut notes = Vec::new();
    for (key, is_set, text) in &LATER {
        match is_set {
            IsSet::Once(is_set) if is_set(config) => notes.push(Note {
                key: (*key).to_owned(),
                text,
            }),
            IsSet::Once(_) => {}
            IsSet::PerEndpoint(is_set) => {
                let endpoints = config.endpoints.iter().enumerate();
                notes.extend(
                    endpoints
                        .filter(|(_, endpoint)| is_set(endpoint))
                        .map(|(n, _)| Note {
                            key: format!("endpoint[{n}].{key}"),
                            text,
                        }),
                );
            }
        }
    }
    notes
}
