//! Which deliveries a replay or purge is about, and the walk over them by age.

use crate::domain::delivery::Status;
use crate::domain::endpoint::{EndpointNo, TypePattern};
use crate::domain::event::{EventId, EventType};
use crate::domain::time::Timestamp;
use crate::outbox::record::{JobRow, status_of};

use super::hold::Hold;
use super::keys::{self, Key, List};
use super::pages::PagesError;
use super::rows::{self, EventRow};
use super::shown::status_shown;
use super::state::State;
use super::stored_endpoint::StoredEndpoint;

/// Deliveries of one endpoint, by how they are shown and the types of their events.
#[derive(Clone, Debug)]
pub struct Choice {
    pub no: EndpointNo,
    pub statuses: Vec<Status>,
    /// Empty: all.
    pub types: Vec<TypePattern>,
    /// When their events were accepted: from `since` on and before `until`.
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// The last event that counts.
    pub last: u128,
}

impl Choice {
    pub fn of(row: &JobRow<'_>) -> Result<Choice, PagesError> {
        let statuses = row.statuses.iter().map(|number| status_of(*number));
        let types = row.types.iter().map(|text| TypePattern::parse(text).ok());
        Ok(Choice {
            no: EndpointNo(row.endpoint),
            statuses: statuses.collect::<Option<_>>().ok_or(PagesError::Damaged)?,
            types: types.collect::<Option<_>>().ok_or(PagesError::Damaged)?,
            since: row.since.map(Timestamp::from_millis),
            until: row.until.map(Timestamp::from_millis),
            last: row.last,
        })
    }

    fn wants_status(&self, status: Status) -> bool {
        self.statuses.contains(&status)
    }

    /// Adds chosen ones to `found`, by age from `position` on, until there are `wanted`.
    /// Where to go on; `None` at the end. Reads until the hold is spent.
    pub fn walk(
        &self,
        state: &Hold<'_>,
        stored: &StoredEndpoint,
        position: u128,
        wanted: usize,
        found: &mut Vec<EventId>,
    ) -> Result<Option<u128>, PagesError> {
        let mut walks: Vec<_> = self
            .ranges(stored, position)
            .into_iter()
            .map(|(list, from, to)| {
                // With those that were removed: a walk over many of them lets go, too.
                let mut scan = state.entries.scan(&from, &to, false);
                (list, std::iter::from_fn(move || scan.step()).peekable())
            })
            .collect();
        // Of one event the rows of other endpoints may still come: it is done with all the same.
        let mut done = position;
        loop {
            let mut first: Option<(EventId, usize)> = None;
            for (at, (_, walk)) in walks.iter_mut().enumerate() {
                let id = match walk.peek() {
                    None => continue,
                    Some(Err(_)) => return Err(PagesError::Damaged),
                    Some(Ok((key, _))) => id_of(key)?,
                };
                if first.is_none_or(|(least, _)| id < least) {
                    first = Some((id, at));
                }
            }
            let Some((id, at)) = first else {
                return Ok(None);
            };
            if found.len() >= wanted {
                return Ok(Some(id.0.max(done)));
            }
            let Some((list, walk)) = walks.get_mut(at) else {
                return Ok(None);
            };
            let (list, entry) = (*list, walk.next());
            let is_there = matches!(&entry, Some(Ok((_, Some(_)))));
            let whose = match (list, entry) {
                (None, Some(Ok((key, _)))) => keys::endpoint_of(&key).ok_or(PagesError::Damaged)?,
                _ => self.no,
            };
            // Past its own place there is nothing of it in this event.
            if whose >= self.no {
                done = id.0.saturating_add(1);
            }
            if is_there && whose == self.no && self.wants(state, stored, list, id)? {
                found.push(id);
            }
            if state.is_spent() {
                break;
            }
        }
        let next = walks
            .iter_mut()
            .filter_map(|(_, walk)| match walk.peek() {
                Some(Ok((key, _))) => Some(id_of(key)),
                Some(Err(_)) => Some(Err(PagesError::Damaged)),
                None => None,
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(next.into_iter().min().map(|id| id.0.max(done)))
    }

    /// The lists to walk; `None` is all deliveries of all endpoints.
    fn ranges(&self, stored: &StoredEndpoint, position: u128) -> Vec<(Option<List>, Key, Key)> {
        let (from, to) = (EventId(position), EventId(self.last.saturating_add(1)));
        if self.wants_status(Status::Delivered) {
            // Of the first event not before its own place, so that any fan-out is passed.
            let all = (None, keys::delivery(from, self.no), keys::deliveries(to));
            return vec![all];
        }
        let mut lists = Vec::new();
        if self.wants_status(Status::Pending) || !stored.is_taking() {
            lists.push(List::Open);
        } else if self.wants_status(Status::Held) {
            lists.push(List::Held);
        }
        if self.wants_status(Status::Dead) {
            lists.push(List::Dead);
        }
        let range = |list| {
            let key = |id| keys::listed(list, self.no, id);
            (Some(list), key(from), key(to))
        };
        lists.into_iter().map(range).collect()
    }

    /// Whether this delivery is among the chosen.
    fn wants(
        &self,
        state: &State,
        stored: &StoredEndpoint,
        list: Option<List>,
        id: EventId,
    ) -> Result<bool, PagesError> {
        // What stands among the dead is dead, and what is held for itself is held.
        let status = match list {
            Some(List::Dead) => Some(Status::Dead),
            Some(List::Held) => Some(Status::Held),
            _ => self.status(state, stored, id)?,
        };
        if !status.is_some_and(|status| self.wants_status(status)) {
            return Ok(false);
        }
        self.wants_event(state, id)
    }

    fn status(
        &self,
        state: &State,
        stored: &StoredEndpoint,
        id: EventId,
    ) -> Result<Option<Status>, PagesError> {
        let Some(row) = state.delivery_row(id, self.no)? else {
            return Ok(None);
        };
        status_shown(&row, stored).map(Some)
    }

    fn wants_event(&self, state: &State, id: EventId) -> Result<bool, PagesError> {
        if self.types.is_empty() && self.since.is_none() && self.until.is_none() {
            return Ok(true);
        }
        let Some(bytes) = state.entries.get(&keys::event(id))? else {
            return Ok(false);
        };
        let row: EventRow<'_> = rows::decode(&bytes).map_err(|_| PagesError::Damaged)?;
        let at = Timestamp::from_millis(row.accepted_at);
        let in_time =
            self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at < until);
        let name = EventType::new(row.event_type).map_err(|_| PagesError::Damaged)?;
        let mut types = self.types.iter();
        Ok(in_time && (self.types.is_empty() || types.any(|pattern| pattern.matches(&name))))
    }
}

/// The event in the key of any of the lists.
fn id_of(key: &[u8]) -> Result<EventId, PagesError> {
    let id = match key.first() {
        Some(b'd') => keys::event_of_delivery(key),
        _ => keys::event_of(key),
    };
    id.ok_or(PagesError::Damaged)
}
