//! Keys that are taken and checked while the work behind them comes in a later release.
//!
//! Saying nothing would let an operator believe in a limit that is not there. A line of
//! the table goes when its work has landed, and this file goes with the last one.

use std::fmt;

use serde::Serialize;

use super::Config;

/// A remark on a key that was set and has no effect yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// The dotted path, such as `listen.hosts`.
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
type IsSet = fn(&Config) -> bool;

const LATER: [(&str, IsSet, &str); 2] = [
    (
        "outbox.endpoint_share",
        |config| config.outbox.endpoint_share != super::OutboxLimits::default().endpoint_share,
        "one endpoint may take the whole outbox yet",
    ),
    (
        "retention.held",
        |config| config.retention.held != super::Retention::default().held,
        "held deliveries are kept without end yet",
    ),
];

/// The notes on a configuration.
pub(super) fn of(config: &Config) -> Vec<Note> {
    let set = LATER.iter().filter(|(_, is_set, _)| is_set(config));
    set.map(|(key, _, text)| Note {
        key: (*key).to_owned(),
        text,
    })
    .collect()
}
