//! A source, its secrets masked, and what became of its calls.

use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

use crate::app::sources::{Counts, KnownSource, Origin, RejectedCall, Tested};
use crate::domain::event::EventId;
use crate::domain::inbound::SourceId;
use crate::domain::json::Json;
use crate::domain::time::Timestamp;

#[derive(Serialize)]
pub struct Source<'a> {
    id: &'a SourceId,
    /// What to give to the provider; `null` if the daemon cannot know how it is reached. A token in
    /// it is masked.
    url: Option<String>,
    /// The definition, each key that may be given.
    #[serde(flatten)]
    definition: BTreeMap<Box<str>, Box<RawValue>>,
    /// Where it is defined: `toml` or `api`.
    source: &'static str,
    /// Whether the source was made by `endpoints apply`.
    applied: bool,
    changed_at: Option<Timestamp>,
    last_received_at: Option<Timestamp>,
    last_handshake_at: Option<Timestamp>,
    counts: ShownCounts,
    #[serde(skip_serializing_if = "Option::is_none")]
    recent_rejected: Option<Vec<Rejected>>,
    /// A new secret that the daemon made, in the clear for once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<&'a str>,
}

#[derive(Serialize)]
struct ShownCounts {
    accepted: u64,
    duplicate: u64,
    handshakes: u64,
    rejected: BTreeMap<String, u64>,
}

/// A call that was refused.
#[derive(Serialize)]
struct Rejected {
    at: Timestamp,
    remote: String,
    method: String,
    reason: &'static str,
    detail: String,
    content_type: Option<String>,
    user_agent: Option<String>,
    /// `null` if the body was not read and its length not announced.
    body_bytes: Option<u64>,
}

impl From<RejectedCall> for Rejected {
    fn from(call: RejectedCall) -> Self {
        Rejected {
            at: call.at,
            remote: call.remote.to_string(),
            method: call.method,
            reason: call.reason,
            detail: call.detail,
            content_type: call.content_type,
            user_agent: call.user_agent,
            body_bytes: call.body_bytes,
        }
    }
}

impl<'a> Source<'a> {
    /// As a list shows it.
    pub fn in_list(known: &'a KnownSource, url: Option<String>) -> Source<'a> {
        let Counts {
            accepted,
            duplicate,
            handshakes,
            rejected,
            last_received_at,
            last_handshake_at,
        } = known.tally.counts();
        Source {
            id: known.id(),
            url,
            definition: definition(&known.source.shown()),
            source: match known.origin {
                Origin::File => "toml",
                Origin::Api { .. } => "api",
            },
            applied: known.source.applied,
            changed_at: match known.origin {
                Origin::File => None,
                Origin::Api { changed_at } => Some(changed_at),
            },
            last_received_at,
            last_handshake_at,
            counts: ShownCounts {
                accepted,
                duplicate,
                handshakes,
                rejected,
            },
            recent_rejected: None,
            secret: None,
        }
    }

    /// With the calls that were refused last.
    pub fn whole(known: &'a KnownSource, url: Option<String>) -> Source<'a> {
        let rejected = known.tally.recent_rejected();
        Source {
            recent_rejected: Some(rejected.into_iter().map(Rejected::from).collect()),
            ..Source::in_list(known, url)
        }
    }
}

/// The fields of a definition as they are written; the id stands beside them.
fn definition(shown: &Json) -> BTreeMap<Box<str>, Box<RawValue>> {
    let Json::Object(fields) = shown else {
        return BTreeMap::new();
    };
    let written = fields.iter().filter(|(name, _)| &***name != "id");
    let written = written.filter_map(|(name, value)| {
        let raw = RawValue::from_string(value.to_string()).ok()?;
        Some((name.clone(), raw))
    });
    written.collect()
}

/// What became of a sample.
#[derive(Serialize)]
pub struct TestedSource<'a> {
    /// What the provider would have been answered.
    status: u16,
    events: Vec<EventId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

impl<'a> From<&'a Tested> for TestedSource<'a> {
    fn from(tested: &'a Tested) -> Self {
        TestedSource {
            status: tested.status.as_u16(),
            events: tested.events.clone(),
            reason: tested.refused.as_ref().map(|(reason, _)| *reason),
            detail: tested.refused.as_ref().map(|(_, detail)| detail.as_str()),
        }
    }
}
