//! What opening or reading the log may find: damage to what was acknowledged, and tails
//! that never were.

use std::fmt;

use super::position::Lsn;

/// What opening the log found.
#[derive(Clone, Debug)]
pub struct Found {
    pub store_id: [u8; 16],
    /// The log was not there and was made.
    pub created: bool,
    /// First position that counts.
    pub start: Lsn,
    /// End of the last good frame. An index that reflects more than this is ahead of the
    /// log: acknowledged data is missing.
    pub end: Lsn,
    /// All below was proven durable by what was found on disk, before it was made so.
    pub proven: Lsn,
    /// Damage seen so far: in the order of files everywhere, in frames from the last
    /// used segment on. A replay meets all from where it begins; see [`Found::damage_below`].
    pub damage: Vec<Damage>,
    /// What was cut off as never acknowledged.
    pub torn: Option<Torn>,
}

impl Found {
    /// Damage that a replay from `from` will not report again.
    pub fn damage_below(&self, from: Lsn) -> impl Iterator<Item = &Damage> {
        self.damage.iter().filter(move |damage| damage.to <= from)
    }
}

/// Acknowledged data that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    pub from: Lsn,
    /// Exclusive.
    pub to: Lsn,
    /// Records known to be harmed. More may be, except with [`DamageKind::Body`]; 0 where
    /// files are damaged and it cannot be said.
    pub records: u64,
    pub kind: DamageKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DamageKind {
    /// Whole frames, or what cannot be recognised as frames.
    Frames,
    /// Records inside a frame.
    Record,
    /// The body of a record whose head is intact and is delivered.
    Body,
    /// A segment is missing, short or has a bad header. Frames in it may still be good;
    /// those that are not are reported as well.
    Segment,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            DamageKind::Frames => "frames",
            DamageKind::Record => "record",
            DamageKind::Body => "body",
            DamageKind::Segment => "segment",
        };
        write!(f, "damaged {what} at {} to {}", self.from, self.to)
    }
}

/// A tail that was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn {
    pub at: Lsn,
    /// From the cut to the last byte that was not zero.
    pub bytes: u64,
}
