//! What filters say of events that are posted, found out before the writer sees them: it must
//! not wait while thousands of filters are judged.
//!
//! A verdict counts for the very definition that gave it. Should an endpoint have changed before
//! the writer gets to the event, the writer judges that one filter itself. So it does for filters
//! that look at `id` or `time`, which an event has only once the writer has accepted it.

use std::sync::Arc;

use crate::domain::endpoint::{Endpoint, EndpointNo};
use crate::domain::event::{EventId, NewEvent};
use crate::domain::shaping::Root;
use crate::domain::time::Timestamp;
use crate::outbox::endpoints::Endpoints;

/// Work that takes so many bytes times filters or more is not for the runtime's thread.
const HEAVY: usize = 256 * 1024;

/// The filters that some events have to pass.
#[derive(Debug, Default)]
pub struct Filters {
    /// For each event; empty if there are none at all.
    of_event: Vec<Vec<(EndpointNo, Arc<Endpoint>)>>,
}

/// What they said, for each event; empty if there was nothing to ask.
#[derive(Debug, Default)]
pub struct Judged(Vec<Option<Verdicts>>);

/// What filters said of one event.
#[derive(Debug)]
pub struct Verdicts {
    root: Root,
    /// In order of the numbers. `None`: it cannot be said before the event is accepted.
    filters: Vec<(EndpointNo, Arc<Endpoint>, Option<bool>)>,
}

impl Filters {
    /// Those that these events have to pass.
    pub fn of(endpoints: &Endpoints, events: &[NewEvent]) -> Filters {
        let is_asked = |event: &NewEvent| endpoints.has_filters(&event.tenant);
        if !events.iter().any(is_asked) {
            return Filters::default();
        }
        let of_event = events.iter().map(|event| {
            if !is_asked(event) {
                return Vec::new();
            }
            let matching = endpoints.matching(event).into_iter();
            let known = matching.filter_map(|no| Some((no, endpoints.get(no)?.clone())));
            known
                .filter(|(_, endpoint)| endpoint.has_filter())
                .collect()
        });
        Filters {
            of_event: of_event.collect(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.of_event.is_empty()
    }

    /// Whether judging takes longer than a moment.
    pub fn is_heavy(&self, events: &[NewEvent]) -> bool {
        let of_event = self.of_event.iter().zip(events);
        let work = of_event.map(|(filters, event)| match filters.len() {
            0 => 0,
            count => event.payload.len() + count * 64,
        });
        work.sum::<usize>() >= HEAVY
    }

    /// Judges; takes time, see [`is_heavy`](Self::is_heavy).
    pub fn judge(self, events: &[NewEvent]) -> Judged {
        let of_event = self.of_event.into_iter().zip(events);
        let verdicts = of_event.map(|(filters, event)| {
            if filters.is_empty() {
                return None;
            }
            let mut filters = filters;
            filters.sort_unstable_by_key(|(no, _)| *no);
            let with_data = filters.iter().any(|(_, one)| looks_at(one, "data"));
            let root = Root::of_new(event, with_data);
            let verdict = |endpoint: &Endpoint| {
                let is_early = looks_at(endpoint, "id") || looks_at(endpoint, "time");
                (!is_early).then(|| passes(endpoint, &root))
            };
            let filters = filters.into_iter().map(|(no, endpoint)| {
                let verdict = verdict(&endpoint);
                (no, endpoint, verdict)
            });
            let filters = filters.collect();
            Some(Verdicts { root, filters })
        });
        Judged(verdicts.collect())
    }
}

impl Judged {
    pub fn of(&self, index: usize) -> Option<&Verdicts> {
        self.0.get(index)?.as_ref()
    }
}

/// Whether the event, accepted then under this id, passes the endpoint's filter.
pub fn wants(
    endpoint: &Arc<Endpoint>,
    no: EndpointNo,
    event: &NewEvent,
    known: Option<&Verdicts>,
    id: EventId,
    now: Timestamp,
) -> bool {
    if filter_of(endpoint).is_none() {
        return true;
    }
    let Some(known) = known else {
        return passes(endpoint, &Root::of_new(event, true).accepted(id, now));
    };
    let at = known.filters.binary_search_by_key(&no, |(no, ..)| *no);
    let found = at.ok().and_then(|at| known.filters.get(at));
    match found.filter(|(_, judged, _)| Arc::ptr_eq(judged, endpoint)) {
        Some((.., Some(verdict))) => *verdict,
        Some((.., None)) => passes(endpoint, &known.root.clone().accepted(id, now)),
        None => passes(endpoint, &Root::of_new(event, true).accepted(id, now)),
    }
}

fn filter_of(endpoint: &Endpoint) -> Option<&crate::domain::filter::Filter> {
    endpoint.shaping.as_ref()?.filter.as_ref()
}

fn looks_at(endpoint: &Endpoint, field: &str) -> bool {
    filter_of(endpoint).is_some_and(|filter| filter.looks_at(field))
}

fn passes(endpoint: &Endpoint, root: &Root) -> bool {
    filter_of(endpoint).is_none_or(|filter| filter.matches(root.json()))
}
