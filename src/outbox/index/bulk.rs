//! What records say of many deliveries at once, and of what is erased.

use crate::domain::endpoint::EndpointNo;
use crate::domain::event::EventId;
use crate::outbox::record::{ErasedRow, JobRow, Moved, MovedStep};

use super::apply::EventFacts;
use super::keys;
use super::pages::PagesError;
use super::rows::{self, DeliveryEntry, ErasedEntry};
use super::state::State;

impl State {
    pub(super) fn moved(&mut self, moved: &Moved) -> Result<(), PagesError> {
        let no = EndpointNo(moved.endpoint);
        for id in moved.ids.iter().copied().map(EventId) {
            let Some((entry, facts)) = self.known_delivery(id, no)? else {
                continue;
            };
            match moved.step {
                MovedStep::Take(step) => self.stepped(id, no, step, entry, facts)?,
                MovedStep::Remove => self.removed(id, no, entry, facts)?,
            }
        }
        Ok(())
    }

    /// One delivery goes. `EventRow.deliveries` stays as it is: it says how the event's
    /// open deliveries are counted.
    fn removed(
        &mut self,
        id: EventId,
        no: EndpointNo,
        entry: DeliveryEntry,
        facts: EventFacts,
    ) -> Result<(), PagesError> {
        self.note_finish(id, facts.accepted_at, false)?;
        self.count(id, no, &entry.row, facts, false)?;
        self.unlist(id, no, &entry.row, facts);
        self.unlist_all_attempts((id, no), &entry)?;
        self.entries.remove(keys::delivery(id, no));
        self.note_finish(id, facts.accepted_at, true)
    }

    pub(super) fn job(&mut self, row: &JobRow<'_>) {
        let key = keys::job(row.no);
        if row.done {
            self.entries.remove(key);
        } else {
            self.entries.put(key, rows::encode(row));
        }
        self.sums.may_have_bulk_work = true;
    }

    pub(super) fn erased(&mut self, lsn: u64, row: &ErasedRow) -> Result<(), PagesError> {
        let id = EventId(row.id);
        self.remove_event(id)?;
        self.meta.last_id = self.meta.last_id.max(row.id);
        let key = keys::erased(id);
        match self.erased_entry(id)? {
            Some(known) => self.segments.remove(known.lsn),
            None => self.meta.erased += 1,
        }
        self.segments.add(lsn);
        let entry = ErasedEntry {
            lsn,
            at: row.at,
            done: row.done,
        };
        self.entries.put(key, rows::encode(&entry));
        if row.done {
            self.sums.erasing.remove(&id);
        } else {
            self.sums.erasing.insert(id);
        }
        Ok(())
    }

    /// What is known of an erased event.
    pub fn erased_entry(&self, id: EventId) -> Result<Option<ErasedEntry>, PagesError> {
        let bytes = self.entries.get(&keys::erased(id))?;
        let entry = bytes.map(|bytes| rows::decode(&bytes).map_err(|_| PagesError::Damaged));
        entry.transpose()
    }
}
