//! The lists of attempts of many endpoints as one, newest first.
//!
//! Each endpoint has a list of its own. To merge them, the one whose newest attempt may be the latest is
//! read first, so that of a hundred thousand endpoints only those with recent attempts are read. Blocks
//! without what is looked for are passed over.

use std::collections::{BinaryHeap, HashMap};
use std::ops::Bound;

use crate::domain::endpoint::{EndpointNo, TypePattern};
use crate::domain::event::EventId;
use crate::domain::time::Timestamp;
use crate::outbox::index::rows::{self, AttemptEntry};
use crate::outbox::index::{Hold, Outcome, PagesError, StoredEndpoint, count_row, keys};
use crate::outbox::record::error_number;
use crate::outbox::views::{AttemptFilter, EventFilter, ReadError, StatusFilter};

use super::parts::{Met, Wanted};
use super::range::{Piece, Range, Row};

/// The most entries of one list that are read at once.
const AHEAD: usize = 64;

/// The position of an attempt among those of all endpoints; later ones in the list are smaller.
pub(super) type Place = (u64, EventId, EndpointNo);

impl AttemptFilter {
    fn wants_endpoint(&self, stored: &StoredEndpoint) -> bool {
        let (endpoint, tenant) = (self.endpoint.as_ref(), self.tenant.as_ref());
        endpoint.is_none_or(|id| *id == stored.id)
            && tenant.is_none_or(|tenant| *tenant == stored.tenant)
    }

    pub(super) fn wants(&self, outcome: Outcome) -> bool {
        let kind = self.kind.map(error_number);
        kind.is_none_or(|kind| kind == outcome.error)
            && self.status.is_none_or(|wanted| match wanted {
                StatusFilter::Exact(status) => status == outcome.status,
                StatusFilter::Class(hundreds) => hundreds == outcome.status / 100,
            })
    }

    /// Whether all attempts pass by their outcomes and the types of their events.
    fn wants_any(&self) -> bool {
        let all_types = matches!(self.event_type, None | Some(TypePattern::Any));
        self.kind.is_none() && self.status.is_none() && all_types
    }

    /// The first position that matches.
    fn floor(&self) -> u64 {
        self.since.map_or(0, Timestamp::as_millis)
    }

    /// All attempts that match are before this position.
    pub(super) fn ceiling(&self) -> Place {
        let until = self.until.map_or(u64::MAX, Timestamp::as_millis);
        (until, EventId(0), EndpointNo(0))
    }
}

/// The lists of the endpoints that match a filter, merged.
pub(super) struct Lists<'a> {
    filter: &'a AttemptFilter,
    before: Place,
    /// The last endpoint that was visited; `None` once all were.
    met: Option<Bound<EndpointNo>>,
    /// Sorted by the position of the next attempt of each list, or an upper bound of it.
    heads: BinaryHeap<(Place, bool)>,
    walks: HashMap<EndpointNo, Walk>,
    /// The events of the attempts.
    pub events: Met,
    /// How many blocks were passed over, without the first of each list: so that a page which ends for
    /// it ends below where it began.
    pub passed: usize,
}

/// One endpoint's list.
struct Walk {
    /// Attempts that were read ahead, the newest last.
    ahead: Vec<(Place, AttemptEntry)>,
    /// What is left of the block that is being read.
    part: Option<Range>,
    /// The blocks below it.
    rest: Range,
    at_once: usize,
    has_passed: bool,
}

/// `Some(None)`: there are no more. `None`: the hold is spent.
pub(super) type Next = Option<Option<(Place, AttemptEntry)>>;

impl<'a> Lists<'a> {
    pub fn new(filter: &'a AttemptFilter, before: Place) -> Lists<'a> {
        let of_event = EventFilter {
            event_type: filter.event_type.clone(),
            ..EventFilter::default()
        };
        Lists {
            filter,
            before,
            met: Some(Bound::Unbounded),
            heads: BinaryHeap::new(),
            walks: HashMap::new(),
            events: Met::new(Wanted::new(&of_event, None)),
            passed: 0,
        }
    }

    /// A place behind all that are still to come.
    pub fn bound(&self) -> Option<Place> {
        let ((at, id, no), is_known) = *self.heads.peek()?;
        match is_known {
            true => Some((at, id, EndpointNo(no.0.saturating_add(1)))),
            false => Some((at, id, no)),
        }
    }

    pub fn next(&mut self, hold: &Hold<'_>) -> Result<Next, ReadError> {
        if !self.meet(hold) {
            return Ok(None);
        }
        loop {
            let Some(((_, _, no), is_known)) = self.heads.peek().copied() else {
                return Ok(Some(None));
            };
            let walk = self.walks.entry(no);
            let walk = walk.or_insert_with(|| Walk::new(self.filter, self.before, no));
            if is_known && let Some(found) = walk.ahead.pop() {
                self.heads.pop();
                match walk.ahead.last() {
                    Some((place, _)) => self.heads.push((*place, true)),
                    // All other attempts are before it.
                    None => self.heads.push((found.0, false)),
                }
                return Ok(Some(Some(found)));
            }
            if hold.is_spent() {
                return Ok(None);
            }
            let is_passed = walk.pass_block(hold, no, self.filter, &mut self.events)?;
            self.passed += usize::from(is_passed && walk.has_passed);
            walk.has_passed |= is_passed;
            walk.read(hold, no)?;
            self.heads.pop();
            match walk.ahead.last() {
                Some((place, _)) => self.heads.push((*place, true)),
                None if walk.is_at_end() => {}
                // Other lists may have later ones now.
                None => self.heads.push((walk.bound(no)?, false)),
            }
        }
    }

    /// Visits the endpoints that match. Returns whether all were visited.
    fn meet(&mut self, hold: &Hold<'_>) -> bool {
        let Some(met) = self.met else { return true };
        if let Some(id) = &self.filter.endpoint {
            // One of them has the name.
            if let Some((no, stored)) = hold.endpoint_named(id)
                && self.filter.wants_endpoint(stored)
            {
                self.begin(no, stored);
            }
            self.met = None;
            return true;
        }
        for (no, stored) in hold.endpoints.range((met, Bound::Unbounded)) {
            count_row();
            if self.filter.wants_endpoint(stored) {
                self.begin(*no, stored);
            }
            if hold.is_spent() {
                self.met = Some(Bound::Excluded(*no));
                return false;
            }
        }
        self.met = None;
        true
    }

    fn begin(&mut self, no: EndpointNo, stored: &StoredEndpoint) {
        let newest = stored.newest_attempt.min(self.before.0);
        if stored.newest_attempt >= self.filter.floor() {
            self.heads.push(((newest, EventId(u128::MAX), no), false));
        }
    }
}

impl Walk {
    fn new(filter: &AttemptFilter, before: Place, no: EndpointNo) -> Walk {
        // Of one moment and event the endpoints below `before`'s are still to come.
        let end = match no < before.2 {
            true => before.1.0.saturating_add(1),
            false => before.1.0,
        };
        Walk {
            ahead: Vec::new(),
            part: None,
            rest: Range::backward(
                keys::attempt(no, filter.floor(), EventId(0)),
                keys::attempt(no, before.0, EventId(end)),
            ),
            at_once: 1,
            has_passed: false,
        }
    }

    fn is_at_end(&self) -> bool {
        self.part.is_none() && self.rest.from >= self.rest.to
    }

    /// Goes to the next block, if none is being read, and passes it over if nothing in it can match.
    /// Returns whether it did.
    fn pass_block(
        &mut self,
        hold: &Hold<'_>,
        no: EndpointNo,
        filter: &AttemptFilter,
        events: &mut Met,
    ) -> Result<bool, ReadError> {
        if self.part.is_some() || self.is_at_end() {
            return Ok(false);
        }
        let (start, is_read) = match last_place(&self.rest.to)? {
            _ if filter.wants_any() => (0, true),
            Some(at) => {
                let block = hold.outcomes_at(no, at, |row| {
                    match row.may_have(|outcome| filter.wants(outcome)) {
                        true => events.may_be_in(hold, row.events()),
                        false => Ok(false),
                    }
                })?;
                match block {
                    Some((start, is_read)) => (start, is_read?),
                    None => (0, false),
                }
            }
            None => (0, false),
        };
        let from = keys::attempt(no, start, EventId(0)).max(self.rest.from.clone());
        let to = std::mem::replace(&mut self.rest.to, from.clone());
        self.part = is_read.then(|| Range::backward(from, to));
        Ok(!is_read)
    }

    /// Reads ahead in the block.
    fn read(&mut self, hold: &Hold<'_>, no: EndpointNo) -> Result<(), ReadError> {
        let Some(part) = &mut self.part else {
            return Ok(());
        };
        let (ahead, at_once) = (&mut self.ahead, self.at_once);
        let piece = part.advance(hold, |key, value| {
            let at = keys::time_of(key).ok_or(PagesError::Damaged)?;
            let id = keys::event_of(key).ok_or(PagesError::Damaged)?;
            let entry = rows::decode(value).map_err(|_| PagesError::Damaged)?;
            ahead.push(((at, id, no), entry));
            Ok(match ahead.len() < at_once {
                true => Row::Taken,
                false => Row::Last,
            })
        })?;
        self.ahead.reverse();
        self.at_once = (self.at_once * 2).min(AHEAD);
        if piece == Piece::End {
            self.part = None;
        }
        Ok(())
    }

    /// What is left is not after this.
    fn bound(&self, no: EndpointNo) -> Result<Place, PagesError> {
        let to = self.part.as_ref().map_or(&self.rest.to, |part| &part.to);
        let place = keys::time_of(to).zip(keys::event_of(to));
        let (at, id) = place.ok_or(PagesError::Damaged)?;
        Ok((at, id, no))
    }
}

/// The last position of an attempt before this key of the list.
fn last_place(to: &[u8]) -> Result<Option<u64>, PagesError> {
    let at = keys::time_of(to).ok_or(PagesError::Damaged)?;
    let id = keys::event_of(to).ok_or(PagesError::Damaged)?;
    Ok(match id.0 {
        0 => at.checked_sub(1),
        _ => Some(at),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::outbox::index::{Index, Readers, State, pieces};
    use crate::outbox::record::{
        Accepted, AttemptRow, Attempted, EndpointRow, EventHead, NextRow, Record, samples,
    };

    /// Begun at `at` for one of two endpoints, and what became of it.
    #[derive(Clone, Copy, Debug)]
    struct Try {
        no: u32,
        at: u64,
        status: u16,
        /// Of its event.
        event_type: &'static str,
        is_forgotten: bool,
    }

    fn tries() -> impl Strategy<Value = Vec<Try>> {
        let status = prop_oneof![30 => Just(200u16), 3 => Just(503u16), 1 => Just(404u16)];
        // Mostly one after the other; the clock of some was behind.
        let step = prop_oneof![20 => 0..3u64, 1 => Just(0)];
        let event_type = prop_oneof![20 => Just("usual"), 1 => Just("rare.kind")];
        let one = (1..=2u32, step, any::<bool>(), status, event_type, 0..4u8);
        proptest::collection::vec(one, 1..120).prop_map(|all| {
            let mut now = 100;
            let tries =
                all.into_iter()
                    .map(|(no, step, is_late, status, event_type, forgotten)| {
                        now += step;
                        Try {
                            no,
                            at: if is_late && step == 0 { now / 2 } else { now },
                            status,
                            event_type,
                            is_forgotten: forgotten == 0,
                        }
                    });
            tries.collect()
        })
    }

    fn place((index, one): (usize, &Try)) -> Place {
        (one.at, EventId(index as u128 + 1), EndpointNo(one.no))
    }

    fn state_of(tries: &[Try]) -> State {
        let mut state = State::new(None, [0; 16]);
        for (no, id) in [(1, "one"), (2, "two")] {
            let row = EndpointRow {
                no,
                id,
                tenant: "t",
                state: Default::default(),
            };
            state.apply(1, &Record::Endpoint(row)).unwrap();
        }
        for (at, id, no) in tries.iter().enumerate().map(place) {
            let accepted = Accepted {
                event: EventHead {
                    event_type: tries[id.0 as usize - 1].event_type,
                    ..samples::event(id.0, at)
                },
                due: at,
                endpoints: vec![no.0],
                extras_len: 0,
            };
            state.apply(2, &Record::Accepted(accepted)).unwrap();
            let status = tries[id.0 as usize - 1].status;
            let attempt = AttemptRow {
                at,
                duration_ms: 1,
                status: Some(status),
                error: (status != 200).then_some((7, "no")),
                response: 0,
                address: None,
            };
            let attempted = Attempted {
                id: id.0,
                endpoint: no.0,
                ended_at: at,
                attempt,
                next: NextRow::Delivered,
                previous: 0,
            };
            state.apply(3, &Record::Attempted(attempted)).unwrap();
        }
        let forgotten = tries.iter().enumerate().filter(|(_, one)| one.is_forgotten);
        let forgotten = forgotten.map(|one| place(one).1.0).collect();
        state.apply(4, &Record::Forgotten(forgotten)).unwrap();
        state
    }

    /// What a list has, and how many attempts it looks at.
    fn listed(readers: &Readers, filter: &AttemptFilter, rows: u64) -> (Vec<Place>, usize) {
        let mut lists = Lists::new(filter, filter.ceiling());
        let (mut found, mut looked_at) = (Vec::new(), 0);
        pieces::of(
            rows,
            |_| (),
            || {
                loop {
                    let hold = readers.read();
                    while let Some(next) = lists.next(&hold).unwrap() {
                        let Some((place, entry)) = next else { return };
                        looked_at += 1;
                        found.extend(filter.wants(entry.outcome).then_some(place));
                    }
                }
            },
        );
        (found, looked_at)
    }

    /// What pages have that end after few blocks.
    fn paged(readers: &Readers, filter: &AttemptFilter) -> Vec<Place> {
        let (mut found, mut before) = (Vec::new(), filter.ceiling());
        loop {
            let mut lists = Lists::new(filter, before);
            let next = pieces::of(
                1,
                |_| (),
                || {
                    loop {
                        let hold = readers.read();
                        if lists.passed > 0 {
                            return lists.bound();
                        }
                        while let Some(next) = lists.next(&hold).unwrap() {
                            let (place, entry) = next?;
                            found.extend(filter.wants(entry.outcome).then_some(place));
                        }
                    }
                },
            );
            let Some(next) = next else { return found };
            assert!(next < before, "{next:?} is not below {before:?}");
            before = next;
        }
    }

    fn of_status(status: u16) -> AttemptFilter {
        AttemptFilter {
            status: Some(StatusFilter::Exact(status)),
            ..AttemptFilter::default()
        }
    }

    fn of_type(pattern: &str) -> AttemptFilter {
        AttemptFilter {
            event_type: Some(TypePattern::parse(pattern).unwrap()),
            ..AttemptFilter::default()
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Blocks are passed over only where no attempt matches.
        #[test]
        fn attempts_with_an_outcome_are_those_of_all_that_have_it(tries in tries(), rows in 1..40u64) {
            let state = state_of(&tries);
            state.check().unwrap();
            let readers = Readers::new(Index::new(state));
            for status in [200, 503, 404, 500] {
                let kept = tries.iter().enumerate().filter(|(_, one)| !one.is_forgotten);
                let wanted = kept.filter(|(_, one)| one.status == status);
                let mut wanted: Vec<Place> = wanted.map(place).collect();
                wanted.sort_by(|a, b| b.cmp(a));
                prop_assert_eq!(&listed(&readers, &of_status(status), rows).0, &wanted);
                prop_assert_eq!(paged(&readers, &of_status(status)), wanted);
            }
            for (pattern, event_type) in [("rare.*", "rare.kind"), ("usual", "usual")] {
                let kept = tries.iter().enumerate().filter(|(_, one)| !one.is_forgotten);
                let wanted = kept.filter(|(_, one)| one.event_type == event_type);
                let mut wanted: Vec<Place> = wanted.map(place).collect();
                wanted.sort_by(|a, b| b.cmp(a));
                let mut found = listed(&readers, &of_type(pattern), rows).0;
                found.retain(|place| wanted.contains(place));
                prop_assert_eq!(found, wanted);
            }
        }
    }

    #[test]
    fn what_is_rare_is_found_without_looking_at_the_attempts_of_other_blocks() {
        let tries: Vec<Try> = (0..4000)
            .map(|n| Try {
                no: 1,
                at: 100 + n,
                status: if n == 17 { 503 } else { 200 },
                event_type: if n == 33 { "rare.kind" } else { "usual" },
                is_forgotten: false,
            })
            .collect();
        let readers = Readers::new(Index::new(state_of(&tries)));
        let (found, looked_at) = listed(&readers, &of_status(503), 1000);
        assert_eq!(found.len(), 1);
        // A block has eight here.
        assert_eq!(looked_at, 8);
        let kind = AttemptFilter {
            kind: Some(crate::domain::attempt::ErrorKind::Dns),
            ..AttemptFilter::default()
        };
        assert_eq!(listed(&readers, &kind, 1000), (Vec::new(), 0));
        assert_eq!(listed(&readers, &of_status(200), 1000).1, 4000);
        let (found, looked_at) = listed(&readers, &of_type("rare.*"), 1000);
        assert!(found.iter().any(|(_, id, _)| *id == EventId(34)));
        assert_eq!(looked_at, 8);
        assert_eq!(listed(&readers, &of_type("none"), 1000), (Vec::new(), 0));
        assert_eq!(listed(&readers, &of_type("usual"), 1000).1, 4000);
    }
}
