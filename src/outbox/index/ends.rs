//! The list of events with nothing open: by what became of them, and when.

use crate::domain::delivery::Status;
use crate::domain::event::EventId;
use crate::outbox::record::DeliveryRow;

use super::keys::{self, End};
use super::pages::PagesError;
use super::state::State;

impl State {
    /// Lists an event with nothing open by when that was, or takes it off the list. Does
    /// nothing for an event with something open.
    pub(super) fn note_finish(
        &mut self,
        id: EventId,
        accepted_at: u64,
        add: bool,
    ) -> Result<(), PagesError> {
        let mut end = Some((End::Delivered, 0));
        for (_, row) in self.delivery_rows(id)? {
            end = match (end, end_of(&row)) {
                (Some((End::Delivered, at)), Some((end, other))) => Some((end, at.max(other))),
                (Some((End::Dead, at)), Some((_, other))) => Some((End::Dead, at.max(other))),
                _ => None,
            };
        }
        self.note_end(id, accepted_at, end, add);
        Ok(())
    }

    pub(super) fn note_end(
        &mut self,
        id: EventId,
        accepted_at: u64,
        end: Option<(End, u64)>,
        add: bool,
    ) {
        let Some((end, at)) = end else { return };
        let key = keys::finished(end, at.max(accepted_at), id);
        if add {
            self.entries.put_new(key, Vec::new());
        } else {
            self.entries.remove(key);
        }
    }

    /// Whether an event with several deliveries has an open one.
    pub(super) fn is_open(&self, id: EventId) -> Result<bool, PagesError> {
        Ok(self.entries.get(&keys::open_count(id))?.is_some())
    }
}

/// How and when a delivery came to its end; `None` while it is open.
pub(super) fn end_of(row: &DeliveryRow) -> Option<(End, u64)> {
    match row.delivery()?.status {
        Status::Pending | Status::Held => None,
        Status::Delivered => Some((End::Delivered, row.finished_at)),
        Status::Dead => Some((End::Dead, row.finished_at)),
    }
}
