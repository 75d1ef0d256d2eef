//! How many deliveries each endpoint has, by status, and the bytes that are open.

use crate::domain::account::Total as _;
use crate::domain::delivery::{Reason, Status};
use crate::domain::endpoint::EndpointNo;
use crate::domain::event::EventId;
use crate::outbox::record::DeliveryRow;

use super::apply::EventFacts;
use super::keys;
use super::pages::PagesError;
use super::rows;
use super::rows::DELIVERY_COST;
use super::state::State;

impl State {
    /// Adds a delivery to the totals, or takes it out of them.
    pub(super) fn count(
        &mut self,
        id: EventId,
        no: EndpointNo,
        row: &DeliveryRow,
        facts: EventFacts,
        add: bool,
    ) -> Result<(), PagesError> {
        let Some(delivery) = row.delivery() else {
            return Ok(());
        };
        let step = |total: &mut u64, by: u64| {
            if add {
                *total += by;
            } else {
                total.take_off(by);
            }
        };
        let cost = DELIVERY_COST + u64::from(row.attempt_bytes);
        step(&mut self.meta.attempt_bytes, cost);
        self.touched.insert(no);
        self.unweigh(no);
        if let Some(stored) = self.endpoints.get_mut(&no) {
            let totals = &mut stored.totals;
            let sole = if facts.deliveries < 2 {
                facts.body_len
            } else {
                0
            };
            match delivery.status {
                Status::Pending => {
                    step(&mut totals.pending, 1);
                    step(&mut totals.pending_bytes, facts.body_len);
                    step(&mut totals.sole_pending_bytes, sole);
                }
                Status::Held => {
                    step(&mut totals.held, 1);
                    let is_unrendered = delivery.reason == Some(Reason::Template);
                    step(&mut totals.unrendered, u64::from(is_unrendered));
                    step(&mut totals.sole_held_bytes, sole);
                }
                Status::Delivered => step(&mut totals.delivered, 1),
                Status::Dead => step(&mut totals.dead, 1),
            }
        }
        self.weigh(no);
        if !matches!(delivery.status, Status::Pending | Status::Held) {
            return Ok(());
        }
        let first_or_last = facts.deliveries < 2 || self.count_open(id, add)?;
        if first_or_last {
            step(&mut self.meta.open_bytes, facts.body_len);
            step(&mut self.meta.open_events, 1);
        }
        Ok(())
    }

    /// Counts an open delivery of an event with several; whether it is the first to
    /// come or the last to go.
    fn count_open(&mut self, id: EventId, add: bool) -> Result<bool, PagesError> {
        let key = keys::open_count(id);
        let open: u32 = match self.entries.get(&key)? {
            Some(bytes) => rows::decode(&bytes).map_err(|_| PagesError::Damaged)?,
            None => 0,
        };
        let mut now = open;
        if add {
            now += 1;
        } else {
            now.take_off(1);
        }
        match (open, now) {
            (_, 0) => self.entries.remove(key),
            (0, _) => self.entries.put_new(key, rows::encode(&now)),
            _ => self.entries.put(key, rows::encode(&now)),
        }
        Ok(open == 0 || now == 0)
    }
}
