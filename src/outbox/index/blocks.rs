//! Blocks of events, and the attributes of the events in each: a list passes over blocks that have
//! nothing it looks for.
//!
//! A block (`block`) is about 1,024 events with neighbouring ids, from its first id up to the first id
//! of the next block. Its row has a Bloom filter with the tenants, types, prefixes of types, keys,
//! idempotency keys and endpoints of its events. A filter may have more attributes than the events,
//! because bits coincide and events are forgotten, but never fewer: the reader of a block still
//! looks at each event.
//!
//! Ids rise as events are accepted, so nearly all events go to the last block. The block in use is
//! kept in memory and written with each freeze. An event with a lower id, as a rebuild meets them
//! after cleaning, puts the block of that id in use. Whenever a new last block begins, a few older
//! blocks are looked at, and those without events are removed. That rests once all were looked at and
//! no event was removed meanwhile: a load of events reads nothing from the pages.

use crate::domain::endpoint::EndpointNo;
use crate::domain::event::EventId;
use crate::outbox::record::EventHead;

use super::block::{Block, Place, filter_in};
use super::keys;
use super::pages::PagesError;
use super::state::State;

/// How many blocks are looked at when one begins.
const LOOKED_AT: usize = 4;

impl State {
    /// Adds an event that the index did not have to its block.
    pub(super) fn add_to_block(
        &mut self,
        head: &EventHead<'_>,
        endpoints: impl Iterator<Item = EndpointNo>,
    ) -> Result<(), PagesError> {
        let id = EventId(head.id);
        let in_use = self.blocks.in_use.as_ref();
        if !in_use.is_some_and(|block| block.takes(id)) {
            self.use_block_of(id)?;
        }
        let Some(block) = &mut self.blocks.in_use else {
            return Ok(());
        };
        block.add(head, endpoints);
        Ok(())
    }

    /// Puts the block of an event in use; it is a new one where there is none with room.
    fn use_block_of(&mut self, id: EventId) -> Result<(), PagesError> {
        self.settle_block();
        // The usual case, without a look into the pages.
        let in_use = self.blocks.in_use.as_ref();
        if in_use.is_some_and(|block| block.ends_before(id)) {
            self.blocks.in_use = Some(Block::new(id, None));
            return self.sweep_blocks(id);
        }
        let after = keys::block(EventId(id.0.saturating_add(1)));
        let mut later = self
            .entries
            .scan(&after, &keys::end_of(keys::BLOCKS), false);
        let end = match later.next() {
            Some(entry) => Some(keys::event_of(&entry?.0).ok_or(PagesError::Damaged)?),
            None => None,
        };
        drop(later);
        let known = self.stored_block(&after, end)?;
        let known = known.filter(|block| block.takes(id));
        let is_new_and_last = known.is_none() && end.is_none();
        self.blocks.in_use = Some(known.unwrap_or_else(|| Block::new(id, end)));
        match is_new_and_last {
            true => self.sweep_blocks(id),
            false => Ok(()),
        }
    }

    /// The last stored block before a key.
    fn stored_block(
        &self,
        before: &[u8],
        end: Option<EventId>,
    ) -> Result<Option<Block>, PagesError> {
        let mut stored = self.entries.scan(keys::BLOCKS, before, true);
        let Some(entry) = stored.next() else {
            return Ok(None);
        };
        let (key, value) = entry?;
        Block::read(&key, &value, end).map(Some)
    }

    /// Removes blocks without events among the next few before `open`. After the last one it
    /// begins again with the first.
    fn sweep_blocks(&mut self, open: EventId) -> Result<(), PagesError> {
        if self.blocks.are_swept {
            return Ok(());
        }
        let from = keys::block(EventId(self.meta.swept));
        let mut starts = Vec::new();
        let blocks = self.entries.scan(&from, &keys::block(open), false);
        for entry in blocks.take(LOOKED_AT + 1) {
            starts.push(keys::event_of(&entry?.0).ok_or(PagesError::Damaged)?);
        }
        for pair in starts.windows(2) {
            let [start, end] = pair else { continue };
            let (from, to) = (keys::event(*start), keys::event(*end));
            if self.entries.scan(&from, &to, false).next().is_none() {
                self.entries.remove(keys::block(*start));
            }
        }
        let has_more = starts.len() > LOOKED_AT;
        if !has_more {
            self.blocks.are_swept = !std::mem::take(&mut self.blocks.have_lost);
        }
        let next = starts.last().filter(|_| has_more);
        self.meta.swept = next.map_or(0, |start| start.0);
        Ok(())
    }

    /// Writes the block in use, for a freeze.
    pub(super) fn settle_block(&mut self) {
        let unwritten = self.blocks.in_use.as_mut().and_then(Block::unwritten);
        if let Some((key, value)) = unwritten {
            self.entries.put(key, value);
        }
    }

    /// The block of the last id below `before`: its first id, and whether its events may have all
    /// that is wanted. `None`: there are no events below `before`.
    pub fn block_below(
        &self,
        before: EventId,
        wanted: &[Place],
    ) -> Result<Option<(EventId, bool)>, PagesError> {
        let has = |filter: &[u8]| wanted.iter().all(|place| place.is_in(filter));
        let in_use = self.blocks.in_use.as_ref();
        let in_use = in_use.filter(|block| block.start < before);
        let mut stored = self.entries.scan(keys::BLOCKS, &keys::block(before), true);
        let Some(entry) = stored.next() else {
            return Ok(in_use.map(|block| (block.start, has(&block.filter))));
        };
        let (key, value) = entry?;
        let start = keys::event_of(&key).ok_or(PagesError::Damaged)?;
        // Its row may be older than the block in memory.
        if let Some(block) = in_use.filter(|block| block.start >= start) {
            return Ok(Some((block.start, has(&block.filter))));
        }
        Ok(Some((start, has(filter_in(&value)?))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::index::block::{Attribute, EVENTS};
    use crate::outbox::record::{Accepted, EndpointRow, Record, samples};

    fn accept(state: &mut State, id: u128, event_type: &str, key: Option<&str>) {
        let event = EventHead {
            event_type,
            key,
            ..samples::event(id, 1)
        };
        let accepted = Accepted {
            event,
            due: 1,
            endpoints: vec![1],
            extras_len: 0,
        };
        state.apply(id as u64, &Record::Accepted(accepted)).unwrap();
    }

    fn state() -> State {
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

    /// The first ids of the blocks that may have the attribute, newest first.
    fn blocks_with(state: &State, attribute: Attribute<'_>) -> Vec<u128> {
        let (mut found, mut before) = (Vec::new(), EventId(u128::MAX));
        let wanted = [attribute.place()];
        while let Some((start, may_have)) = state.block_below(before, &wanted).unwrap() {
            found.extend(may_have.then_some(start.0));
            before = start;
        }
        found
    }

    #[test]
    fn a_block_has_the_attributes_of_its_events_and_others_hardly_ever() {
        let mut state = state();
        for id in 100..180 {
            match id {
                117 => accept(&mut state, id, "rare.kind.a", Some("k")),
                _ => accept(&mut state, id, "usual", None),
            }
        }
        let all: Vec<u128> = (0..10)
            .rev()
            .map(|n| 100 + n * u128::from(EVENTS))
            .collect();
        assert_eq!(blocks_with(&state, Attribute::Type("usual")), all);
        assert_eq!(blocks_with(&state, Attribute::Tenant("t")), all);
        assert_eq!(blocks_with(&state, Attribute::Endpoint(EndpointNo(1))), all);
        for rare in [
            Attribute::Type("rare.kind.a"),
            Attribute::Prefix("rare."),
            Attribute::Prefix("rare.kind."),
            Attribute::Key("k"),
        ] {
            assert_eq!(blocks_with(&state, rare), [116], "{rare:?}");
        }
        for none in [
            Attribute::Type("rare"),
            Attribute::Prefix("rare.kind.a."),
            Attribute::IdempotencyKey("k"),
            Attribute::Endpoint(EndpointNo(2)),
        ] {
            assert_eq!(blocks_with(&state, none), [0; 0], "{none:?}");
        }
    }

    #[test]
    fn an_older_event_goes_to_the_block_of_its_id() {
        let mut state = state();
        for id in 100..140 {
            accept(&mut state, id * 2, "usual", None);
        }
        // Between two events of a full block, and before all blocks.
        accept(&mut state, 203, "late", None);
        accept(&mut state, 20, "late", None);
        accept(&mut state, 280, "usual", None);
        assert_eq!(blocks_with(&state, Attribute::Type("late")), [200, 20]);
        state.check().unwrap();
    }

    #[test]
    fn blocks_without_events_are_removed_as_others_begin() {
        let mut state = state();
        let mut id = 100;
        let mut accept_many = |state: &mut State, blocks: u32| {
            for _ in 0..blocks * EVENTS {
                accept(state, id, "usual", None);
                id += 1;
            }
        };
        accept_many(&mut state, 20);
        let gone = (100..100 + 18 * u128::from(EVENTS)).collect();
        state.apply(1, &Record::Forgotten(gone)).unwrap();
        // Each that begins has four others looked at, and there are never more than 40.
        accept_many(&mut state, 20);
        let left = blocks_with(&state, Attribute::Tenant("t"));
        assert!(left.len() <= 23, "{left:?}");
        state.check().unwrap();
    }

    #[test]
    fn a_block_that_loses_its_events_after_it_was_looked_at_is_looked_at_again() {
        let mut state = state();
        let block = |n: u128| 100 + n * u128::from(EVENTS);
        let accept_blocks = |state: &mut State, blocks: std::ops::Range<u128>| {
            for id in block(blocks.start)..block(blocks.end) {
                accept(state, id, "usual", None);
            }
        };
        let forget_blocks = |state: &mut State, blocks: std::ops::Range<u128>| {
            let gone = (block(blocks.start)..block(blocks.end)).collect();
            state.apply(1, &Record::Forgotten(gone)).unwrap();
        };
        // The first are looked at because of one at the end, and then lose their events.
        accept_blocks(&mut state, 0..20);
        forget_blocks(&mut state, 15..16);
        accept_blocks(&mut state, 20..21);
        forget_blocks(&mut state, 0..3);
        accept_blocks(&mut state, 21..40);
        let left = blocks_with(&state, Attribute::Tenant("t"));
        let wanted = (0..40).rev().filter(|n| !(0..3).contains(n) && *n != 15);
        assert_eq!(left, wanted.map(block).collect::<Vec<_>>());
        state.check().unwrap();
    }

    #[test]
    fn the_places_of_attributes_are_stored_and_stay() {
        let bits: Vec<_> = Attribute::Type("order.created").place().bits().collect();
        assert_eq!(bits, [(1315, 128), (747, 128), (2024, 128), (1758, 1)]);
    }
}
