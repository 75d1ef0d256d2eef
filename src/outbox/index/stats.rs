//! How many events were accepted and how attempts ended, by minute and by quarter of an hour.
//!
//! The counts of the current minute are kept in memory and stored with each freeze: those of an
//! endpoint in the endpoint's row, those of a tenant and the total in rows of their own. When a
//! record of another minute arrives, the counts are added to the rows of their minute and quarter,
//! and are passed on from an endpoint to its tenant, and from a tenant to the total. So a record
//! costs a few additions, and a row is written once a minute.
//!
//! Rows are sorted by time: those of one minute are next to each other, and the oldest, which are
//! removed first, are at the beginning. All counts follow from the records, so a crash loses none.
//! An index that is rebuilt counts the records that the log still has.

use crate::domain::counts::Counts;
use crate::domain::endpoint::EndpointNo;
use crate::domain::event::Tenant;
use crate::outbox::record::{AttemptRow, Rewritten};

use super::bucket::{Bucket, BucketRow, Open};
use super::keys::{self, Span, Subject};
use super::pages::PagesError;
use super::rows;
use super::state::State;

/// For how many minutes rows of minutes are kept, and rows of quarters of an hour.
const MINUTES_BACK: u32 = 120;
const QUARTERS_BACK: u32 = 7 * 24 * 60;
const QUARTER: u32 = 15;
/// How many old rows at most are removed when one is added.
const GO_AT_ONCE: usize = 4;
const MINUTE_MS: u64 = 60_000;

fn minute_of(at: u64) -> u32 {
    u32::try_from(at / MINUTE_MS).unwrap_or(u32::MAX)
}

impl State {
    /// Begins to count a tenant, which has an endpoint.
    pub(super) fn count_tenant(&mut self, tenant: &Tenant) {
        if !self.stats.tenants.contains_key(tenant.as_str()) {
            let name = tenant.as_str().to_owned();
            // The stored row makes the tenant known after a restart.
            let open = Open {
                is_touched: true,
                ..Open::default()
            };
            self.stats.tenants.insert(name, open);
        }
    }

    /// Counts an event that was accepted for these endpoints.
    pub(super) fn count_accepted(
        &mut self,
        at: u64,
        tenant: &str,
        endpoints: impl Iterator<Item = EndpointNo>,
    ) -> Result<(), PagesError> {
        let minute = minute_of(at);
        for no in endpoints {
            self.count_at(no, minute, Counts::accept)?;
        }
        let mut one = Counts::default();
        one.accept();
        self.count_of_tenant(tenant, minute, &one)
    }

    /// Counts an attempt that ended at `at`.
    pub(super) fn count_attempt(
        &mut self,
        no: EndpointNo,
        at: u64,
        attempt: &AttemptRow<'_>,
    ) -> Result<(), PagesError> {
        let error = attempt.error_kind();
        let took = attempt.duration_ms;
        self.count_at(no, minute_of(at), |counts| counts.attempt(error, took))
    }

    /// Counts an event with its attempts.
    pub(super) fn count_rewritten(&mut self, rewritten: &Rewritten<'_>) -> Result<(), PagesError> {
        let (event, deliveries) = (&rewritten.event, &rewritten.deliveries);
        let endpoints = deliveries.iter().map(|one| EndpointNo(one.endpoint));
        self.count_accepted(event.accepted_at, event.tenant, endpoints)?;
        for delivery in deliveries {
            for attempt in &delivery.attempts {
                let ended_at = attempt.at.saturating_add(attempt.duration_ms.into());
                self.count_attempt(EndpointNo(delivery.endpoint), ended_at, attempt)?;
            }
        }
        Ok(())
    }

    fn count_at(
        &mut self,
        no: EndpointNo,
        minute: u32,
        count: impl FnOnce(&mut Counts),
    ) -> Result<(), PagesError> {
        let Some(stored) = self.endpoints.get_mut(&no) else {
            return Ok(());
        };
        let closed = stored.open_stats.turn(minute);
        count(&mut stored.open_stats.counts);
        self.touched.insert(no);
        match closed {
            Some(closed) => self.close_endpoint(no, &closed),
            None => Ok(()),
        }
    }

    fn close_endpoint(&mut self, no: EndpointNo, closed: &Bucket) -> Result<(), PagesError> {
        self.add_to_rows(Subject::Endpoint(no), closed)?;
        let Some(stored) = self.endpoints.get(&no) else {
            return Ok(());
        };
        let tenant = stored.tenant.clone();
        // `accepted` counts deliveries here, but events for a tenant.
        self.count_of_tenant(tenant.as_str(), closed.minute, &closed.counts.of_attempts())
    }

    fn count_of_tenant(
        &mut self,
        tenant: &str,
        minute: u32,
        counts: &Counts,
    ) -> Result<(), PagesError> {
        let Some(open) = self.stats.tenants.get_mut(tenant) else {
            return self.count_of_all(minute, counts);
        };
        match open.count(minute, counts) {
            Some(closed) => {
                self.add_to_rows(Subject::Tenant(tenant), &closed)?;
                self.count_of_all(closed.minute, &closed.counts)
            }
            None => Ok(()),
        }
    }

    fn count_of_all(&mut self, minute: u32, counts: &Counts) -> Result<(), PagesError> {
        match self.stats.all.count(minute, counts) {
            Some(closed) => self.add_to_rows(Subject::All, &closed),
            None => Ok(()),
        }
    }

    /// Adds the counts of a minute to its row and to that of its quarter, and removes a few of the
    /// oldest rows.
    fn add_to_rows(&mut self, subject: Subject<'_>, closed: &Bucket) -> Result<(), PagesError> {
        let quarter = closed.minute - closed.minute % QUARTER;
        let spans = [(Span::Minute, closed.minute), (Span::Quarter, quarter)];
        for (span, start) in spans {
            let key = keys::stats(span, start, subject);
            let mut counts = counts_in(self, &key)?;
            counts.merge(&closed.counts);
            self.entries
                .put(key, rows::encode(&counts.slots().to_vec()));
            let floor = closed.minute.saturating_sub(span.minutes_back());
            self.drop_stats(span, floor)?;
        }
        Ok(())
    }

    fn drop_stats(&mut self, span: Span, floor: u32) -> Result<(), PagesError> {
        let (from, to) = keys::stats_before(span, floor);
        let mut old = Vec::new();
        for entry in self.entries.scan(&from, &to, false).take(GO_AT_ONCE) {
            old.push(entry?.0.into_owned());
        }
        old.into_iter().for_each(|key| self.entries.remove(key));
        Ok(())
    }

    /// Writes the current minute of the tenants and of the total, for a freeze.
    pub(super) fn settle_stats(&mut self) {
        let all = std::iter::once(("", &mut self.stats.all));
        let tenants = self.stats.tenants.iter_mut();
        for (name, open) in all.chain(tenants.map(|(name, open)| (name.as_str(), open))) {
            if std::mem::take(&mut open.is_touched) {
                let row = BucketRow::from(&open.bucket);
                self.entries.put(keys::open_stats(name), rows::encode(&row));
            }
        }
    }

    /// Reads what [`settle_stats`](Self::settle_stats) wrote.
    pub(super) fn restore_stats(&mut self) -> Result<(), PagesError> {
        let end = keys::end_of(keys::OPEN_STATS);
        for entry in self.entries.scan(keys::OPEN_STATS, &end, false) {
            let (key, value) = entry?;
            let row: BucketRow = rows::decode(&value).map_err(|_| PagesError::Damaged)?;
            let name = keys::open_stats_of(&key).ok_or(PagesError::Damaged)?;
            let open = Open {
                bucket: row.into(),
                is_touched: false,
            };
            match name {
                "" => self.stats.all = open,
                name => drop(self.stats.tenants.insert(name.to_owned(), open)),
            }
        }
        Ok(())
    }

    /// The current minute of the total, without what the tenants have not passed on yet.
    pub fn open_stats_of_all(&self) -> &Bucket {
        &self.stats.all.bucket
    }

    /// The current minute of a tenant, without what its endpoints have not passed on yet.
    pub fn open_stats_of(&self, tenant: &str) -> Option<&Bucket> {
        self.stats.tenants.get(tenant).map(|open| &open.bucket)
    }

    /// The current minutes of all tenants.
    pub fn open_stats_of_tenants(&self) -> impl Iterator<Item = &Bucket> {
        self.stats.tenants.values().map(|open| &open.bucket)
    }

    /// The stored counts of the span that begins with this minute.
    pub fn stored_stats(
        &self,
        span: Span,
        start: u32,
        subject: Subject<'_>,
    ) -> Result<Counts, PagesError> {
        counts_in(self, &keys::stats(span, start, subject))
    }
}

fn counts_in(state: &State, key: &[u8]) -> Result<Counts, PagesError> {
    let Some(bytes) = state.entries.get(key)? else {
        return Ok(Counts::default());
    };
    let slots = rows::decode(&bytes).map_err(|_| PagesError::Damaged)?;
    Ok(Counts::of_slots(slots))
}

impl Span {
    pub fn minutes(self) -> u32 {
        match self {
            Span::Minute => 1,
            Span::Quarter => QUARTER,
        }
    }

    /// For how long its rows are kept.
    pub fn minutes_back(self) -> u32 {
        match self {
            Span::Minute => MINUTES_BACK,
            Span::Quarter => QUARTERS_BACK,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::record::{
        Accepted, Attempted, EndpointRow, EventHead, NextRow, Record, RewrittenDelivery, samples,
    };

    const MINUTE: u64 = MINUTE_MS;
    /// A quarter of an hour begins here.
    const START: u64 = 1_800_000 * MINUTE;

    fn head(id: u128, accepted_at: u64, tenant: &str) -> EventHead<'_> {
        EventHead {
            tenant,
            ..samples::event(id, accepted_at)
        }
    }

    fn attempt(at: u64, error: Option<(u8, &str)>) -> AttemptRow<'_> {
        AttemptRow {
            at,
            duration_ms: 40,
            status: None,
            error,
            response: 0,
            address: None,
        }
    }

    /// An index with endpoint 1 of tenant `t`.
    fn known() -> State {
        let mut state = State::new(None, [0; 16]);
        let row = EndpointRow {
            no: 1,
            id: "one",
            tenant: "t",
            state: Default::default(),
        };
        state.apply(1, &Record::Endpoint(row)).unwrap();
        state
    }

    /// Accepts an event at `at` and delivers it then.
    fn delivered(state: &mut State, id: u128, at: u64) {
        let accepted = Accepted {
            event: head(id, at, "t"),
            due: at,
            endpoints: vec![1],
            extras_len: 0,
        };
        state.apply(2, &Record::Accepted(accepted)).unwrap();
        let attempted = Attempted {
            id,
            endpoint: 1,
            ended_at: at,
            attempt: attempt(at, None),
            next: NextRow::Delivered,
            previous: 0,
        };
        state.apply(3, &Record::Attempted(attempted)).unwrap();
    }

    fn stored(state: &State, span: Span, at: u64, subject: Subject<'_>) -> (u64, u64) {
        let counts = state.stored_stats(span, minute_of(at), subject).unwrap();
        (counts.accepted(), counts.delivered())
    }

    #[test]
    fn a_minute_is_stored_when_another_begins_and_late_records_count_for_the_new_one() {
        let mut state = known();
        let one = Subject::Endpoint(EndpointNo(1));
        for (id, at) in [
            (1, START),
            (2, START + 5),
            (3, START + MINUTE),
            (4, START + 7),
        ] {
            delivered(&mut state, id, at);
        }
        assert_eq!(stored(&state, Span::Minute, START, one), (2, 2));
        assert_eq!(stored(&state, Span::Minute, START + MINUTE, one), (0, 0));
        delivered(&mut state, 5, START + 20 * MINUTE);
        assert_eq!(stored(&state, Span::Minute, START + MINUTE, one), (2, 2));
        assert_eq!(stored(&state, Span::Quarter, START, one), (4, 4));
        delivered(&mut state, 6, START + 40 * MINUTE);
        assert_eq!(
            stored(&state, Span::Quarter, START + 15 * MINUTE, one),
            (1, 1)
        );
        for subject in [Subject::Tenant("t"), Subject::All] {
            assert_eq!(stored(&state, Span::Quarter, START, subject).0, 4);
        }
    }

    #[test]
    fn old_rows_are_removed_and_a_jump_of_the_clock_removes_only_some() {
        let mut state = known();
        for n in 0..200 {
            delivered(&mut state, n.into(), START + n * MINUTE);
        }
        let rows = |state: &State, span| {
            let (from, to) = keys::stats_before(span, u32::MAX);
            state.entries.scan(&from, &to, false).count()
        };
        // Rows of the endpoint, its tenant and the total, without those of the current minute.
        let minutes = rows(&state, Span::Minute);
        assert!((3 * 118..=3 * 122).contains(&minutes), "{minutes}");
        assert_eq!(rows(&state, Span::Quarter), 3 * 14);
        let far = START + 400 * 24 * 60 * MINUTE;
        delivered(&mut state, 1000, far);
        delivered(&mut state, 1001, far + 2 * MINUTE);
        delivered(&mut state, 1002, START + 201 * MINUTE);
        assert!(rows(&state, Span::Minute) > minutes - 40);
        delivered(&mut state, 1003, START + 203 * MINUTE);
        let one = Subject::Endpoint(EndpointNo(1));
        assert_eq!(
            stored(&state, Span::Minute, START + 201 * MINUTE, one),
            (1, 1)
        );
    }

    #[test]
    fn a_rewritten_event_is_counted_once_if_its_own_records_are_gone() {
        let mut state = known();
        let rewritten = |id| Rewritten {
            event: head(id, START, "t"),
            deliveries: vec![RewrittenDelivery {
                endpoint: 1,
                state: crate::outbox::record::DeliveryRow::new(
                    crate::domain::delivery::Delivery::new(
                        crate::domain::time::Timestamp::from_millis(START),
                    ),
                    false,
                    (0, 0),
                ),
                attempts: vec![attempt(START, Some((4, "late"))), attempt(START + 1, None)],
            }],
            extras_len: 0,
        };
        state.apply(4, &Record::Rewritten(rewritten(1))).unwrap();
        state.apply(5, &Record::Rewritten(rewritten(1))).unwrap();
        delivered(&mut state, 2, START);
        state.apply(6, &Record::Rewritten(rewritten(2))).unwrap();
        let counts = &state.endpoints[&EndpointNo(1)].open_stats.counts;
        assert_eq!((counts.accepted(), counts.delivered()), (2, 2));
        assert_eq!(counts.failed(crate::domain::attempt::ErrorKind::Timeout), 1);
    }

    #[test]
    fn tenants_without_an_endpoint_count_only_in_the_total() {
        let mut state = known();
        for n in 0..100u64 {
            let name = format!("stranger-{n}");
            let accepted = Accepted {
                event: head(n.into(), START + n * MINUTE, &name),
                due: 0,
                endpoints: Vec::new(),
                extras_len: 0,
            };
            state.apply(7, &Record::Accepted(accepted)).unwrap();
        }
        assert!(state.open_stats_of("stranger-0").is_none());
        assert_eq!(stored(&state, Span::Minute, START, Subject::All).0, 1);
        let stranger = Subject::Tenant("stranger-0");
        assert_eq!(stored(&state, Span::Minute, START, stranger).0, 0);
    }
}
