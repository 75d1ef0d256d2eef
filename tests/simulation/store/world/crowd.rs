//! A crowd: one request of so many events that its batch takes many frames, and that no read
//! may walk over them under one lock.

use bytes::Bytes;
use outboxd::domain::event::{EventType, NewEvent, Payload, Tenant};
use outboxd::outbox::EventFilter;
use outboxd::outbox::index::HOLD_ROWS;
use outboxd::outbox::request::Request;
use rand::RngExt;
use tokio::sync::oneshot;

use super::{Crowd, ROOM, Violation, World};
use crate::store::disk::Fault;

/// More than reads may take under one lock.
const CROWD: usize = 2 * HOLD_ROWS as usize + 200;

fn tenant() -> Tenant {
    Tenant::new("crowd").unwrap()
}

impl World {
    /// Hands them in, has them stored and lists them.
    pub(super) fn meet_crowd(&mut self) -> Result<(), Violation> {
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        let (reply, answer) = oneshot::channel();
        let event = |n: usize| NewEvent {
            tenant: tenant(),
            event_type: EventType::new("crowd").unwrap(),
            payload: Payload::Json(Bytes::from(n.to_string())),
            key: None,
            idempotency_key: None,
            deliver_at: None,
            extras: None,
        };
        let events = (0..CROWD).map(event).collect();
        let request = Request::Accept {
            events,
            filters: Default::default(),
            reply,
        };
        process.store.writer.enqueue(request);
        self.crowd = Crowd::Asked(answer);
        self.counts.crowds += 1;
        let (is_torn, calls) = (self.rng.random_bool(0.3), self.rng.random_range(0..2));
        // Otherwise nothing keeps it from being accepted and listed.
        self.machine.disk.heal();
        self.machine.disk.set_room(ROOM);
        if is_torn && !self.without.has("kill") {
            self.machine.disk.plan(Fault::CrashInWrite, calls);
        }
        self.turn()?;
        if matches!(self.crowd, Crowd::Accepted) && !self.machine.disk.is_harmed() {
            let count = self.count_crowd()?;
            ensure!(count == CROWD, "{count} of a crowd of {CROWD} are listed");
            // A list of the other events passes over all of them.
            self.all_events()?;
        }
        Ok(())
    }

    /// Takes the answer, if there is one.
    pub(super) fn crowd_answered(&mut self) -> Result<(), Violation> {
        let Crowd::Asked(reply) = &mut self.crowd else {
            return Ok(());
        };
        match reply.try_recv() {
            Ok(Ok(receipts)) => {
                self.crowd = Crowd::Accepted;
                let count = receipts.len();
                ensure!(count == CROWD, "a crowd of {CROWD} has {count} receipts");
            }
            Ok(Err(_)) => self.crowd = Crowd::Absent,
            Err(_) => {}
        }
        Ok(())
    }

    /// What a crash left unanswered is there whole, or not at all.
    pub(super) fn resolve_crowd(&mut self) -> Result<(), Violation> {
        if !matches!(self.crowd, Crowd::Doubtful) {
            return Ok(());
        }
        let count = self.count_crowd()?;
        self.crowd = match count {
            0 => Crowd::Absent,
            _ => Crowd::Accepted,
        };
        ensure!(
            count == 0 || count == CROWD,
            "a request of {CROWD} events is there with {count} of them after a crash"
        );
        Ok(())
    }

    fn count_crowd(&self) -> Result<usize, Violation> {
        let filter = EventFilter {
            tenant: Some(tenant()),
            ..EventFilter::default()
        };
        let (mut count, mut cursor) = (0, None);
        while let Some(process) = &self.process {
            let page = process.store.outbox.events(&filter, cursor.as_ref(), 1000);
            let page = page.map_err(|error| format!("events cannot be listed: {error}"))?;
            count += page.items.len();
            match page.next {
                Some(next) => cursor = Some(next),
                None => break,
            }
        }
        Ok(count)
    }
}
