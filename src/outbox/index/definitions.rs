//! Where the definitions of endpoints and sources stand in the log, and which of them were
//! replaced.

use crate::domain::endpoint::EndpointNo;
use crate::outbox::record::Defined;

use super::keys;
use super::pages::PagesError;
use super::rows::{self, SpecEntry};
use super::state::State;

impl State {
    /// Where the record of a definition that is in force is.
    pub fn definition_at(&self, defined: &Defined) -> Result<Option<u64>, PagesError> {
        match defined {
            Defined::Endpoint(no) => {
                let Some(bytes) = self.entries.get(&keys::spec(EndpointNo(*no)))? else {
                    return Ok(None);
                };
                let entry: SpecEntry = rows::decode(&bytes).map_err(|_| PagesError::Damaged)?;
                Ok(Some(entry.lsn))
            }
            Defined::Source(id) => Ok(self.source_entry(id)?.map(|entry| entry.lsn)),
        }
    }

    /// Whether another definition, or none, is in force instead of the whole one in the record at
    /// `lsn`, which was applied.
    pub fn is_replaced(&self, defined: &Defined, lsn: u64) -> Result<bool, PagesError> {
        Ok(match (self.definition_at(defined)?, defined) {
            (Some(at), _) => lsn < at,
            (None, Defined::Source(_)) => true,
            (None, Defined::Endpoint(no)) => {
                let stored = self.endpoints.get(&EndpointNo(*no));
                stored.is_none_or(|stored| stored.deleted.is_some())
            }
        })
    }
}
