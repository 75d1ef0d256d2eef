//! Blocks of an endpoint's list of attempts, and the outcomes and events in each: a list of the attempts
//! with one outcome, or for events of one type, passes over blocks that have none.
//!
//! A block is about 1,024 attempts with neighbouring positions, from its own position up to that of the
//! next block. It may have more than its attempts, because attempts go with their events, but never less: the reader of a block still looks at each attempt. Each attempt is in a block.
//!
//! Attempts are listed as they happen, so nearly all go to an endpoint's last block. The block in use is
//! kept in memory and written with each freeze. An attempt with an earlier position, as a rebuild meets
//! them after cleaning, puts the block of that position in use. Whenever a new last block begins, a few
//! others are looked at, and those without attempts are removed.

use crate::domain::endpoint::EndpointNo;
use crate::domain::event::EventId;

use super::keys::{self, Key};
use super::outcome::{BlockRow, Outcome, OutcomeBlock};
use super::pages::PagesError;
use super::rows;
use super::state::State;
use super::stored_endpoint::StoredEndpoint;

/// How many blocks are looked at when one begins.
const LOOKED_AT: usize = 4;
/// How many removed attempts are passed to find one that is there.
const REMOVED_PASSED: usize = 256;

impl State {
    /// Adds an attempt to the block of its position.
    pub(super) fn add_outcome(
        &mut self,
        (id, no): (EventId, EndpointNo),
        at: u64,
        outcome: Outcome,
    ) -> Result<(), PagesError> {
        let stored = self.endpoints.get(&no);
        let in_use = stored.and_then(|stored| stored.outcomes.as_ref());
        if !in_use.is_some_and(|block| block.takes(at)) {
            self.use_outcomes_of(no, at)?;
        }
        let stored = self.endpoints.get_mut(&no);
        if let Some(block) = stored.and_then(|stored| stored.outcomes.as_mut())
            && block.add(at, id, outcome)
        {
            self.touched.insert(no);
        }
        Ok(())
    }

    /// Puts the block of a position in use; it is a new one where there is none with room.
    fn use_outcomes_of(&mut self, no: EndpointNo, at: u64) -> Result<(), PagesError> {
        self.settle_outcomes(no);
        let mut after = keys::outcomes(no, at);
        after.push(0);
        let mut later = self.entries.scan(&after, &end_of(no), false);
        let end = match later.next() {
            Some(entry) => Some(keys::time_of(&entry?.0).ok_or(PagesError::Damaged)?),
            None => None,
        };
        drop(later);
        let known = self.stored_outcomes(no, at)?;
        let before = known.as_ref().and_then(|(start, _)| start.checked_sub(1));
        let is_first = match before {
            Some(before) => self.stored_outcomes(no, before)?.is_none(),
            None => true,
        };
        let is_first_of_all = known.is_none();
        let known = known.map(|(start, row)| OutcomeBlock {
            start,
            end,
            is_first,
            row,
            is_stored: true,
        });
        let is_last = end.is_none();
        let (block, is_new) = match known {
            Some(block) if block.takes(at) => (block, false),
            Some(block) if block.has_given(at) => (block.split_at(at), true),
            _ => (OutcomeBlock::new(at, end, is_first_of_all), true),
        };
        let stored = self.endpoints.entry(no);
        let stored = stored.or_insert_with(|| Box::new(StoredEndpoint::nameless(no)));
        stored.outcomes = Some(Box::new(block));
        match is_new && is_last {
            true => self.sweep_outcomes(no, at),
            false => Ok(()),
        }
    }

    /// Writes the block in use, if it has changed.
    pub(super) fn settle_outcomes(&mut self, no: EndpointNo) {
        let stored = self.endpoints.get_mut(&no);
        let in_use = stored.and_then(|stored| stored.outcomes.as_mut());
        if let Some(block) = in_use
            && let Some(row) = block.unwritten()
        {
            let value = rows::encode(row);
            self.entries.put(keys::outcomes(no, block.start), value);
        }
    }

    /// The last stored block that begins at or before a position.
    fn stored_outcomes(
        &self,
        no: EndpointNo,
        at: u64,
    ) -> Result<Option<(u64, BlockRow)>, PagesError> {
        let (from, mut to) = (keys::outcomes_of(no), keys::outcomes(no, at));
        to.push(0);
        let Some(entry) = self.entries.scan(&from, &to, true).next() else {
            return Ok(None);
        };
        let (key, value) = entry?;
        let start = keys::time_of(&key).ok_or(PagesError::Damaged)?;
        let row = rows::decode(&value).map_err(|_| PagesError::Damaged)?;
        Ok(Some((start, row)))
    }

    /// Removes blocks without attempts among a few before `open`, from some place on.
    fn sweep_outcomes(&mut self, no: EndpointNo, open: u64) -> Result<(), PagesError> {
        let (all, end) = (keys::outcomes_of(no), keys::outcomes(no, open));
        let oldest = match self.entries.scan(&all, &end, false).next() {
            Some(entry) => keys::time_of(&entry?.0).ok_or(PagesError::Damaged)?,
            None => return Ok(()),
        };
        let spread = open.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
        let place = oldest + spread % (open - oldest).max(1);
        let from = self.stored_outcomes(no, place)?;
        let from = keys::outcomes(no, from.map_or(oldest, |(start, _)| start));
        let mut starts = Vec::new();
        let blocks = self.entries.scan(&from, &end, false);
        for entry in blocks.take(LOOKED_AT + 1) {
            starts.push(keys::time_of(&entry?.0).ok_or(PagesError::Damaged)?);
        }
        for pair in starts.windows(2) {
            let [start, end] = pair else { continue };
            let from = keys::attempt(no, *start, EventId(0));
            let to = keys::attempt(no, *end, EventId(0));
            if !self.may_have_attempts(&from, &to)? {
                self.entries.remove(keys::outcomes(no, *start));
            }
        }
        Ok(())
    }

    /// Many that were removed may be passed before one is found, so after some the answer is yes.
    fn may_have_attempts(&self, from: &[u8], to: &[u8]) -> Result<bool, PagesError> {
        let mut scan = self.entries.scan(from, to, false);
        for _ in 0..REMOVED_PASSED {
            match scan.step() {
                None => return Ok(false),
                Some(entry) => {
                    if entry?.1.is_some() {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(true)
    }

    /// Removes all blocks of an endpoint that is forgotten, which has no attempts.
    pub(super) fn forget_outcomes(&mut self, no: EndpointNo) -> Result<(), PagesError> {
        let mut found = Vec::new();
        for entry in self
            .entries
            .scan(&keys::outcomes_of(no), &end_of(no), false)
        {
            found.push(entry?.0.into_owned());
        }
        for key in found {
            self.entries.remove(key);
        }
        Ok(())
    }

    /// The block of a position: where it begins, and what `look` finds in it.
    /// `None`: there is no attempt at that position or before it.
    pub fn outcomes_at<T>(
        &self,
        no: EndpointNo,
        at: u64,
        look: impl FnOnce(&BlockRow) -> T,
    ) -> Result<Option<(u64, T)>, PagesError> {
        let stored = self.endpoints.get(&no);
        if let Some(block) = stored.and_then(|stored| stored.outcomes.as_ref()) {
            if block.has(at) {
                return Ok(Some((block.start, look(&block.row))));
            }
            if block.is_first && at < block.start {
                return Ok(None);
            }
        }
        let found = self.stored_outcomes(no, at)?;
        Ok(found.map(|(start, row)| (start, look(&row))))
    }
}

/// What comes after every block of an endpoint.
fn end_of(no: EndpointNo) -> Key {
    keys::end_of(&keys::outcomes_of(no))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: EndpointNo = EndpointNo(1);
    const GOOD: Outcome = Outcome {
        error: 0,
        status: 200,
    };

    /// The positions at which blocks begin that may have an outcome, the newest first.
    fn blocks_with(state: &State, wanted: Outcome) -> Vec<u64> {
        let (mut found, mut at) = (Vec::new(), Some(u64::MAX));
        while let Some(place) = at
            && let Some((start, may_have)) = state
                .outcomes_at(ONE, place, |row| row.may_have(|one| one == wanted))
                .unwrap()
        {
            found.extend(may_have.then_some(start));
            at = start.checked_sub(1);
        }
        found
    }

    fn list(state: &mut State, at: u64, outcome: Outcome) {
        state
            .entries
            .put(keys::attempt(ONE, at, EventId(1)), Vec::new());
        state.add_outcome((EventId(1), ONE), at, outcome).unwrap();
    }

    #[test]
    fn an_earlier_attempt_goes_to_the_block_of_its_position() {
        let bad = |status| Outcome { error: 7, status };
        let mut state = State::default();
        for at in 100..124 {
            list(&mut state, at * 2, GOOD);
        }
        assert_eq!(blocks_with(&state, GOOD), [232, 216, 200]);
        // Between two attempts of a full block, after its last one, and before all blocks.
        for (at, status) in [(203, 500), (215, 501), (20, 502), (300, 503)] {
            list(&mut state, at, bad(status));
        }
        let found = [500, 501, 502, 503].map(|status| blocks_with(&state, bad(status)));
        assert_eq!(found, [[200], [215], [20], [300]]);
        // Those of another endpoint are others.
        assert_eq!(state.outcomes_at(EndpointNo(2), 203, |_| ()).unwrap(), None);
    }

    #[test]
    fn an_attempt_begun_while_the_clock_was_ahead_does_not_keep_a_block_open() {
        let bad = |status| Outcome { error: 7, status };
        let mut state = State::default();
        list(&mut state, 100, bad(500));
        list(&mut state, 1_000_000, bad(501));
        for at in 101..500 {
            list(&mut state, at, GOOD);
        }
        list(&mut state, 500, bad(502));
        assert!(blocks_with(&state, GOOD).len() > 10);
        // The parts of the block that was split have all that it had.
        assert!(blocks_with(&state, bad(501)).len() > 10);
        assert_eq!(blocks_with(&state, bad(502)).len(), 1);
        for at in 100..=500 {
            let outcome = match at {
                100 => bad(500),
                500 => bad(502),
                _ => GOOD,
            };
            let block = state
                .outcomes_at(ONE, at, |row| row.may_have(|other| other == outcome))
                .unwrap();
            assert!(block.is_some_and(|(_, has_it)| has_it), "{at}");
        }
    }

    #[test]
    fn a_block_with_many_different_outcomes_may_have_any() {
        let mut state = State::default();
        // At one position a block has no end.
        for status in 0..=MOST_IN_TESTS {
            assert_eq!(blocks_with(&state, GOOD), [0; 0], "{status}");
            let outcome = Outcome { error: 7, status };
            state.add_outcome((EventId(1), ONE), 5, outcome).unwrap();
        }
        assert_eq!(blocks_with(&state, GOOD), [5]);
    }

    /// As many as a block keeps.
    const MOST_IN_TESTS: u16 = 64;

    #[test]
    fn blocks_without_attempts_are_removed_as_others_begin() {
        let mut state = State::default();
        // No attempt is listed at all, so each block that is looked at goes.
        for at in 0..8 * 200 {
            state
                .add_outcome((EventId(1), ONE), 1000 + at, GOOD)
                .unwrap();
        }
        let left = blocks_with(&state, GOOD);
        assert!(left.len() < 20, "{left:?}");
        state.forget_outcomes(ONE).unwrap();
        state.endpoints.clear();
        assert_eq!(blocks_with(&state, GOOD), [0; 0]);
    }
}
