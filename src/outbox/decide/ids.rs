//! Event ids: ULIDs that only ever rise, whatever the clock does.

use crate::domain::event::EventId;
use crate::domain::time::Timestamp;

const RANDOM_BITS: u32 = 80;

/// The id after `last` for an event accepted now: a ULID of this moment, or `last` plus
/// one if the clock has not moved on (or went back).
pub fn next_id(last: u128, now: Timestamp, random: u128) -> EventId {
    let fresh = first_of(now).0 | (random & ((1 << RANDOM_BITS) - 1));
    EventId(fresh.max(last.saturating_add(1)))
}

/// The lowest id of that moment.
pub fn first_of(moment: Timestamp) -> EventId {
    EventId(u128::from(moment.as_millis()) << RANDOM_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_only_ever_rise() {
        let at = Timestamp::from_millis(5);
        let first = next_id(0, at, 9);
        assert_eq!(first.timestamp(), at);
        assert_eq!(next_id(first.0, at, 3).0, first.0 + 1);
        assert_eq!(
            next_id(first.0, Timestamp::from_millis(1), u128::MAX).0,
            first.0 + 1
        );
        assert_eq!(
            next_id(first.0, Timestamp::from_millis(6), 0).timestamp(),
            Timestamp::from_millis(6)
        );
    }
}
