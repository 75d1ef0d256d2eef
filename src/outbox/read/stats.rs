//! Counts of accepted events and of attempts, step by step.
//!
//! They are read in pieces, the current minutes last. A minute that ends in between may be missing
//! from that one answer.

use std::ops::Bound;

use crate::domain::counts::Counts;
use crate::domain::endpoint::EndpointNo;
use crate::outbox::handle::Outbox;
use crate::outbox::index::keys::{Span, Subject};
use crate::outbox::index::{Bucket, Hold, count_row};
use crate::outbox::views::{ReadError, StatsOf, Steps};

impl Outbox {
    /// The counts of each step. Reads the index: callers on the runtime use `spawn_blocking`.
    pub fn stats(&self, of: &StatsOf, steps: Steps) -> Result<Vec<Counts>, ReadError> {
        self.reliably(|| self.stats_of(of, steps))
    }

    fn stats_of(&self, of: &StatsOf, steps: Steps) -> Result<Vec<Counts>, ReadError> {
        let endpoint = match of {
            StatsOf::Endpoint(id) => {
                let hold = self.shared.index.read();
                let known = hold.endpoint_named(id);
                let known = known.filter(|(_, stored)| stored.deleted.is_none());
                Some(known.ok_or(ReadError::NoSuchEndpoint)?.0)
            }
            StatsOf::Tenant(_) | StatsOf::All => None,
        };
        let subject = match (of, endpoint) {
            (StatsOf::Tenant(tenant), _) => Subject::Tenant(tenant.as_str()),
            (_, Some(no)) => Subject::Endpoint(no),
            _ => Subject::All,
        };
        let mut found = vec![Counts::default(); steps.count()];
        let span = match steps.has_quarters() {
            true => Span::Quarter,
            false => Span::Minute,
        };
        let mut start = steps.since_min;
        while start < steps.until_min {
            let hold = self.shared.index.read();
            while start < steps.until_min {
                let stored = hold.stored_stats(span, start, subject)?;
                add(&mut found, steps, start, &stored);
                start = start.saturating_add(span.minutes());
                if hold.is_spent() {
                    break;
                }
            }
        }
        self.add_open(&mut found, steps, subject);
        Ok(found)
    }

    /// Adds the current minutes.
    fn add_open(&self, found: &mut [Counts], steps: Steps, subject: Subject<'_>) {
        let hold = self.shared.index.read();
        let mut put = |bucket: &Bucket| add(found, steps, bucket.minute, &bucket.counts);
        match subject {
            Subject::Endpoint(no) => {
                if let Some(stored) = hold.endpoints.get(&no) {
                    put(&stored.open_stats);
                }
                return;
            }
            Subject::Tenant(tenant) => hold.open_stats_of(tenant).into_iter().for_each(&mut put),
            Subject::All => {
                put(hold.open_stats_of_all());
                hold.open_stats_of_tenants().for_each(&mut put);
            }
        }
        drop(hold);
        let mut met = Bound::Unbounded;
        loop {
            let hold = self.shared.index.read();
            match add_endpoints(&hold, met, found, steps, subject) {
                Some(last) => met = Bound::Excluded(last),
                None => return,
            }
        }
    }
}

/// Adds the counts that endpoints have not passed on. Returns the last endpoint that was visited,
/// if there are more.
fn add_endpoints(
    hold: &Hold<'_>,
    met: Bound<EndpointNo>,
    found: &mut [Counts],
    steps: Steps,
    subject: Subject<'_>,
) -> Option<EndpointNo> {
    for (no, stored) in hold.endpoints.range((met, Bound::Unbounded)) {
        count_row();
        let open = &stored.open_stats;
        let is_meant = match subject {
            Subject::Tenant(tenant) => stored.tenant.as_str() == tenant,
            _ => true,
        };
        if is_meant && !open.counts.is_empty() {
            add(found, steps, open.minute, &open.counts.of_attempts());
        }
        if hold.is_spent() {
            return Some(*no);
        }
    }
    None
}

fn add(found: &mut [Counts], steps: Steps, minute: u32, counts: &Counts) {
    if let Some(at) = steps.place(minute)
        && let Some(step) = found.get_mut(at)
    {
        step.merge(counts);
    }
}
