//! What has to be true: the model against the store.

use outboxd::domain::delivery::Status;
use outboxd::domain::event::{EventId, Payload};
use outboxd::outbox::index::HOLD_ROWS;
use outboxd::outbox::request::Request;
use outboxd::outbox::{Action, EventView, ReadError};
use tokio::sync::oneshot;

use super::{Expected, Known, ROOM, Violation, World};

impl World {
    /// Holds the model against the store, unless the disk is about to fail a read.
    pub(super) fn check(&mut self) -> Result<(), Violation> {
        if self.machine.disk.is_harmed() {
            return Ok(());
        }
        let Some(process) = &self.process else {
            return Ok(());
        };
        let outbox = &process.store.outbox;
        {
            let state = process.store.shared.index.read();
            state.check().map_err(|error| error.to_string())?;
            let unknown = state.unknown - process.unknown;
            ensure!(unknown == 0, "{unknown} records are unknown");
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
        for (id, known) in &self.known {
            check_event(*id, known, outbox.event(*id))?;
        }
        Ok(())
    }

    /// Everything is healed: all that can finish does, within bounded work.
    pub(super) fn settle(&mut self) -> Result<(), Violation> {
        self.calm = true;
        self.up.clear();
        self.machine.disk.heal();
        self.machine.disk.set_room(64 * ROOM);
        self.machine.index.set_broken(false);
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
        self.check()?;
        self.stop(true)?;
        self.start()?;
        ensure!(self.process.is_some(), "a healed machine does not start");
        self.check()
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
                "{number} counts as erased and nobody asked for it"
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
    let Payload::Json(data) = &view.payload else {
        return Err(format!("{number} is no JSON any more"));
    };
    ensure!(*data == known.body, "{number} has another body");
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
