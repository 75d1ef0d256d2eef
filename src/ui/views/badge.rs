//! States: a sign, a word, and a colour that only repeats them.

use crate::app::{KnownEndpoint, ListedEndpoint};
use crate::dispatch::LaneView;
use crate::domain::delivery::{Reason, Status};
use crate::domain::endpoint::DisabledReason;
use crate::domain::time::Timestamp;
use crate::domain::when;

/// How a state looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Badge {
    /// `good`, `bad`, `warn` or `plain`: a class of the style sheet.
    pub tone: &'static str,
    pub sign: &'static str,
    pub text: String,
}

impl Badge {
    pub fn good(text: impl Into<String>) -> Badge {
        Badge {
            tone: "good",
            sign: "✓",
            text: text.into(),
        }
    }

    pub fn bad(text: impl Into<String>) -> Badge {
        Badge {
            tone: "bad",
            sign: "✕",
            text: text.into(),
        }
    }

    pub fn warn(text: impl Into<String>) -> Badge {
        Badge {
            tone: "warn",
            sign: "!",
            text: text.into(),
        }
    }

    pub fn plain(text: impl Into<String>) -> Badge {
        Badge {
            tone: "plain",
            sign: "…",
            text: text.into(),
        }
    }

    /// The status of a delivery.
    pub fn of_status(status: Status) -> Badge {
        match status {
            Status::Delivered => Badge::good("delivered"),
            Status::Dead => Badge::bad("dead"),
            Status::Held => Badge::warn("held"),
            Status::Pending => Badge::plain("pending"),
        }
    }

    /// An endpoint in a list.
    pub fn of_listed(listed: &ListedEndpoint) -> Badge {
        match disabled(&listed.known) {
            Some(badge) => badge,
            None if listed.standing.breaker_open => Badge::bad("breaker open"),
            None => idle(&listed.known),
        }
    }

    /// An endpoint on its own page, with what the dispatcher knows.
    pub fn of_endpoint(known: &KnownEndpoint, lane: Option<&LaneView>, now: Timestamp) -> Badge {
        if let Some(badge) = disabled(known) {
            return badge;
        }
        let Some(lane) = lane else {
            return idle(known);
        };
        let until = |at: Timestamp| when::relative(at, now);
        if lane.breaker_open {
            let next = lane.probe_at.map_or("under way".to_owned(), until);
            return Badge::bad(format!("breaker open; next probe {next}"));
        }
        if let Some(at) = lane.paused_until {
            return Badge::warn(format!("asked for a pause; goes on {}", until(at)));
        }
        if let Some(at) = lane.local_until {
            return Badge::warn(format!(
                "this machine could not make its attempts; goes on {}",
                until(at)
            ));
        }
        match lane.rate_limited_until {
            Some(at) => Badge::warn(format!("rate limited; goes on {}", until(at))),
            None => idle(known),
        }
    }
}

/// An endpoint that nothing stops. It is not well while something of it lies there.
fn idle((_, state): &KnownEndpoint) -> Badge {
    match (state.held, state.dead, state.pending) {
        (1.., _, _) => Badge::warn("holds deliveries"),
        (0, 1.., _) => Badge::warn("has dead letters"),
        (0, 0, 0) => Badge::good("ok"),
        (0, 0, _) => Badge::good("delivering"),
    }
}

fn disabled((endpoint, state): &KnownEndpoint) -> Option<Badge> {
    let why = match state.disabled {
        _ if !endpoint.enabled => "disabled in the configuration file",
        None => return None,
        Some(DisabledReason::Manual) => "paused by hand",
        Some(DisabledReason::Gone) => "disabled: it answered 410",
        Some(DisabledReason::Failing) => "disabled: every attempt failed for days",
    };
    Some(Badge::warn(why))
}

/// A reason in a few words.
pub fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::Disabled => "the endpoint is disabled",
        Reason::EndpointMissing => "the endpoint is gone from the configuration file",
        Reason::Backlog => "the endpoint's backlog is over its share",
        Reason::Template => "the request cannot be rendered",
        Reason::Exhausted => "all attempts failed, the retry budget is used up",
        Reason::Gone => "the endpoint answered 410",
        Reason::Rejected => "the endpoint's answer says that trying again is of no use",
        Reason::Cancelled => "cancelled",
        Reason::EndpointDeleted => "the endpoint was deleted",
        Reason::HeldTooLong => "held for too long",
        Reason::Space => "its space was needed while it was held",
        Reason::Damaged => "the stored event is damaged",
    }
}
