//! What became of a source's calls: counted, and the last that were refused.
//!
//! The counts are stored now and then, see [`Sources::keep_counts`](super::Sources::keep_counts); the
//! refused calls are in memory alone.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::domain::time::Timestamp;

/// How many refused calls are remembered.
const REMEMBERED: usize = 20;

/// How many calls ended how. Their form is what is stored, too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Events made durable.
    pub accepted: u64,
    /// Events whose delivery id was known.
    pub duplicate: u64,
    /// Calls that were answered and not stored.
    pub handshakes: u64,
    /// Calls that were refused, by reason.
    pub rejected: BTreeMap<String, u64>,
    pub last_received_at: Option<Timestamp>,
    pub last_handshake_at: Option<Timestamp>,
}

/// A call that was refused, without its body, query and headers, which may hold secrets.
#[derive(Clone, Debug)]
pub struct RejectedCall {
    pub at: Timestamp,
    pub remote: IpAddr,
    pub method: String,
    pub reason: &'static str,
    /// For a person; never holds a secret.
    pub detail: String,
    pub content_type: Option<String>,
    pub user_agent: Option<String>,
    /// See [`InboundCall::body_bytes`](super::InboundCall::body_bytes).
    pub body_bytes: Option<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    counts: Counts,
    rejected: VecDeque<RejectedCall>,
    /// The counts changed since they were last stored.
    changed: bool,
}

impl Kept {
    fn count_refused(&mut self, reason: &'static str) {
        match self.counts.rejected.get_mut(reason) {
            Some(count) => *count = count.saturating_add(1),
            None => drop(self.counts.rejected.insert(reason.to_owned(), 1)),
        }
        self.changed = true;
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Kept>);

impl Tally {
    pub fn new(counts: Counts) -> Tally {
        Tally(Mutex::new(Kept {
            counts,
            ..Kept::default()
        }))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn received(&self, accepted: u64, duplicate: u64, at: Timestamp) {
        let mut kept = self.kept();
        kept.counts.accepted = kept.counts.accepted.saturating_add(accepted);
        kept.counts.duplicate = kept.counts.duplicate.saturating_add(duplicate);
        kept.counts.last_received_at = Some(at);
        kept.changed = true;
    }

    pub fn handshake(&self, at: Timestamp) {
        let mut kept = self.kept();
        kept.counts.handshakes = kept.counts.handshakes.saturating_add(1);
        kept.counts.last_handshake_at = Some(at);
        kept.changed = true;
    }

    /// Counts and records a refused call.
    pub fn rejected(&self, call: RejectedCall) {
        let mut kept = self.kept();
        kept.count_refused(call.reason);
        kept.rejected.truncate(REMEMBERED - 1);
        kept.rejected.push_front(call);
    }

    /// Counts a refused call without recording it.
    pub fn refused(&self, reason: &'static str) {
        self.kept().count_refused(reason);
    }

    pub fn counts(&self) -> Counts {
        self.kept().counts.clone()
    }

    /// Newest first.
    pub fn recent_rejected(&self) -> Vec<RejectedCall> {
        self.kept().rejected.iter().cloned().collect()
    }

    /// The counts, if they changed since they were last taken.
    pub fn take_changed(&self) -> Option<Counts> {
        let mut kept = self.kept();
        std::mem::take(&mut kept.changed).then(|| kept.counts.clone())
    }

    /// They could not be stored.
    pub fn put_back(&self) {
        self.kept().changed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(reason: &'static str, second: u64) -> RejectedCall {
        RejectedCall {
            at: Timestamp::from_millis(second * 1000),
            remote: IpAddr::from([127, 0, 0, 1]),
            method: "POST".to_owned(),
            reason,
            detail: String::new(),
            content_type: None,
            user_agent: None,
            body_bytes: None,
        }
    }

    #[test]
    fn the_last_refused_calls_are_remembered_newest_first() {
        let tally = Tally::default();
        for second in 0..50 {
            tally.rejected(call(
                ["stale", "bad_signature"][second as usize % 2],
                second,
            ));
        }
        let recent = tally.recent_rejected();
        let seconds: Vec<u64> = recent.iter().map(|call| call.at.as_secs()).collect();
        assert_eq!(seconds, (30..50).rev().collect::<Vec<u64>>());
        let counts = tally.counts();
        assert_eq!(counts.rejected["stale"], 25);
        assert_eq!(counts.rejected["bad_signature"], 25);
    }

    #[test]
    fn counts_are_taken_to_be_stored_once() {
        let tally = Tally::new(Counts {
            accepted: 7,
            ..Counts::default()
        });
        assert_eq!(tally.take_changed(), None);
        tally.received(2, 1, Timestamp::from_millis(5));
        tally.handshake(Timestamp::from_millis(6));
        let taken = tally.take_changed().unwrap();
        assert_eq!(
            (taken.accepted, taken.duplicate, taken.handshakes),
            (9, 1, 1)
        );
        assert_eq!(tally.take_changed(), None);
        tally.put_back();
        assert_eq!(tally.take_changed(), Some(taken.clone()));
        let stored = serde_json::to_string(&taken).unwrap();
        assert_eq!(
            stored,
            r#"{"accepted":9,"duplicate":1,"handshakes":1,"rejected":{},"last_received_at":"1970-01-01T00:00:00.005Z","last_handshake_at":"1970-01-01T00:00:00.006Z"}"#
        );
        assert_eq!(serde_json::from_str::<Counts>(&stored).unwrap(), taken);
        assert_eq!(
            serde_json::from_str::<Counts>("{}").unwrap(),
            Counts::default()
        );
    }
}
