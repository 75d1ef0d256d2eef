//! What has to be true: the model against the store.

use std::collections::BTreeMap;

use outboxd::domain::delivery::{Reason, Status};
use outboxd::domain::endpoint::EndpointId;
use outboxd::domain::event::{EventId, Payload};
use outboxd::outbox::index::HOLD_ROWS;
use outboxd::outbox::request::Request;
use outboxd::outbox::{Action, DeliveryFilter, DeliveryView, EventView, Outbox, ReadError};
use tokio::sync::oneshot;

use super::sources::check_received;
use super::{Expected, Known, ROOM, Violation, World};

/// Of the events one in so many is read by a check that reads a sample.
const SAMPLE: u64 = 10;
/// Of the checks that read a sample one in so many counts everything anew.
const RECOUNT: u64 = 4;

/// What a check reads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Looks {
    /// Some of the events, others each time.
    Sample,
    /// Every event, and the lists.
    All,
}

type Listed = BTreeMap<(EventId, EndpointId), Status>;

impl World {
    /// Holds the model against the store, unless the disk is about to fail a read.
    pub(super) fn check(&mut self, what: Looks) -> Result<(), Violation> {
        if self.machine.disk.is_harmed() {
            return Ok(());
        }
        let Some(process) = &self.process else {
            return Ok(());
        };
        let outbox = &process.store.outbox;
        self.checks += 1;
        {
            // Not as a reader, whose holds are measured.
            let index = process.store.shared.index.of_writer();
            let state = index.read();
            let unknown = state.unknown - process.unknown;
            ensure!(unknown == 0, "{unknown} records are unknown");
            // A recount reads everything.
            if what == Looks::All || self.checks.is_multiple_of(RECOUNT) {
                state.check().map_err(|error| error.to_string())?;
            }
        }
        let status = outbox.status();
        ensure!(
            status.damaged_records == 0,
            "{} records count as damaged",
            status.damaged_records
        );
        ensure!(
            status.holds.most_rows <= 2 * HOLD_ROWS,
            "a read held the index for {} rows",
            status.holds.most_rows
        );
        self.check_sources(outbox)?;
        self.check_secrets(outbox)?;
        let mut listed = BTreeMap::new();
        for (id, known) in &self.known {
            if what == Looks::Sample && !(known.number + self.checks).is_multiple_of(SAMPLE) {
                continue;
            }
            let found = outbox.event(*id);
            if let Ok(view) = &found {
                let found = view.deliveries.iter().filter(|found| is_listed(found));
                listed.extend(found.map(|at| ((*id, at.endpoint.clone()), at.status)));
            }
            check_event(*id, known, found)?;
        }
        match what {
            Looks::Sample => Ok(()),
            Looks::All => self.check_lists(outbox, &listed),
        }
    }

    /// The lists of deliveries say what the events themselves say.
    fn check_lists(&self, outbox: &Outbox, events_say: &Listed) -> Result<(), Violation> {
        let statuses = [
            None,
            Some(Status::Pending),
            Some(Status::Held),
            Some(Status::Dead),
        ];
        for status in statuses {
            let mut expected = events_say.clone();
            expected.retain(|_, found| status.is_none_or(|status| status == *found));
            let listed = self.listed(outbox, status)?;
            ensure!(
                listed == expected,
                "the list of deliveries ({status:?}) says {listed:?}, the events say \
                 {expected:?}"
            );
        }
        Ok(())
    }

    /// What is listed of the events that the model knows.
    fn listed(&self, outbox: &Outbox, status: Option<Status>) -> Result<Listed, Violation> {
        let filter = DeliveryFilter {
            status,
            ..DeliveryFilter::default()
        };
        let (mut listed, mut cursor) = (BTreeMap::new(), None);
        loop {
            let page = outbox.deliveries(&filter, cursor.as_ref(), 100);
            let page = page.map_err(|error| format!("deliveries cannot be listed: {error}"))?;
            for found in page.items {
                if self.known.contains_key(&found.event) && is_listed(&found) {
                    listed.insert((found.event, found.endpoint), found.status);
                }
            }
            match page.next {
                Some(next) => cursor = Some(next),
                None => return Ok(listed),
            }
        }
    }

    /// Everything is healed: all that can finish does, within bounded work.
    pub(super) fn settle(&mut self) -> Result<(), Violation> {
        self.calm = true;
        self.up.clear();
        self.machine.disk.heal();
        self.machine.disk.set_room(64 * ROOM);
        self.machine.index.set_disk_broken(false);
        for round in 0.. {
            ensure!(round < 4000, "not all comes to its end: {}", self.stuck());
            if self.process.is_none() {
                self.start()?;
                continue;
            }
            if round % 50 == 0 {
                self.enable_all();
            }
            self.turn()?;
            self.crash_if_due()?;
            while self
                .process
                .as_ref()
                .is_some_and(|process| !process.in_flight.is_empty())
            {
                self.end_attempt(1);
            }
            self.turn()?;
            self.look_after(if round % 2 == 0 { 3 } else { 1 })?;
            if self.is_done() {
                break;
            }
            let wake = self
                .process
                .as_ref()
                .and_then(|process| process.engine.next_wake());
            let mono = self.now().mono;
            let wait = wake.map_or(1000, |at| at.saturating_sub(mono).as_millis() as u64 + 1);
            self.pass(wait.clamp(1, 3_600_000));
        }
        self.check(Looks::All)?;
        self.forget_secrets()?;
        self.stop(true)?;
        self.start()?;
        ensure!(self.process.is_some(), "a healed machine does not start");
        self.check(Looks::All)?;
        let left = self.leftover()?;
        ensure!(left.is_empty(), "a start brings back the secrets {left:?}");
        Ok(())
    }

    fn enable_all(&mut self) {
        for endpoint in self.endpoints.clone() {
            let Some(process) = &mut self.process else {
                return;
            };
            let (reply, _) = oneshot::channel();
            let action = Action::Enable { endpoint };
            process.store.writer.enqueue(Request::Act { action, reply });
        }
    }

    fn is_done(&self) -> bool {
        let Some(process) = &self.process else {
            return false;
        };
        let open = process.store.outbox.status().deliveries;
        let busy = !process.in_flight.is_empty() || !process.asked.is_empty();
        let state = process.store.shared.index.read();
        let open_still = state
            .endpoints
            .values()
            .filter(|lane| lane.deleted.is_some());
        let mut open_still = open_still.map(|lane| lane.totals.pending + lane.totals.held);
        let working = open_still.any(|open| open > 0) || state.has_jobs();
        open.pending + open.held == 0 && !busy && !working
    }

    fn stuck(&self) -> String {
        let Some(process) = &self.process else {
            return "there is no process".into();
        };
        let stats = process.engine.stats();
        format!("{:?}, {stats:?}", process.store.outbox.status().deliveries)
    }
}

/// What is open at a deleted endpoint is shown as dead at once, and listed as such only once it
/// was made so.
fn is_listed(delivery: &DeliveryView) -> bool {
    delivery.reason != Some(Reason::EndpointDeleted)
}

fn check_event(
    id: EventId,
    known: &Known,
    found: Result<EventView, ReadError>,
) -> Result<(), Violation> {
    let number = known.number;
    let over = |expected: &Expected| {
        expected.successes > 0 || expected.may_be_dead || expected.may_be_gone
    };
    let view = match found {
        Ok(view) => view,
        Err(ReadError::Erased) => {
            ensure!(
                known.erase_asked,
                "{number} counts as erased without a request"
            );
            return Ok(());
        }
        Err(ReadError::NoSuchEvent) => {
            let finished = known.deliveries.values().all(over) || known.erase_asked;
            ensure!(
                finished,
                "{number} ({id}) was accepted, is not finished, and is gone"
            );
            return Ok(());
        }
        Err(error) => return Err(format!("{number} ({id}) cannot be read: {error}")),
    };
    ensure!(!known.erased, "{number} was erased and is shown");
    let (Payload::Json(data) | Payload::Opaque { body: data, .. }) = &view.payload;
    ensure!(*data == known.body, "{number} has another body");
    check_received(known.key.as_deref(), &view)?;
    ensure!(
        view.summary.accepted_at == known.accepted_at,
        "{number} was accepted at {} and says {}",
        known.accepted_at,
        view.summary.accepted_at
    );
    for delivery in &view.deliveries {
        let at = &delivery.endpoint;
        let Some(expected) = known.deliveries.get(at) else {
            return Err(format!("{number} goes to {at} and did not at first"));
        };
        let status = delivery.status;
        ensure!(
            status != Status::Delivered || expected.successes > 0,
            "{number} counts as delivered at {at}, which never took it"
        );
        ensure!(
            status != Status::Dead || expected.may_be_dead,
            "{number} is dead at {at} ({:?}) without a reason",
            delivery.reason
        );
        ensure!(
            (expected.stored..=expected.attempts).contains(&delivery.attempt_count),
            "{number} at {at} counts {} attempts; {} ended and {} were said to be stored",
            delivery.attempt_count,
            expected.attempts,
            expected.stored
        );
    }
    for (endpoint, expected) in &known.deliveries {
        let there = view
            .deliveries
            .iter()
            .any(|found| found.endpoint == *endpoint);
        ensure!(
            there || expected.may_be_gone,
            "{number} had a delivery to {endpoint} that is gone"
        );
    }
    Ok(())
}
