//! What a store was found to be, in the domain's words and in places on the disk.

use crate::domain::event::EventId;

/// A place in a file of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Below the data directory.
    pub file: String,
    /// In the file, in bytes.
    pub offset: u64,
    /// In the log, in bytes; `None` for other files.
    pub position: Option<u64>,
}

/// A part of an event that is harmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The record of the event itself.
    Acceptance,
    Body,
    Attempt,
    /// What a receiver answered.
    Response,
    /// A retry, a cancel and the like.
    Step,
    /// The record that the event was erased.
    Erasure,
}

impl Part {
    pub fn as_str(self) -> &'static str {
        match self {
            Part::Acceptance => "acceptance",
            Part::Body => "body",
            Part::Attempt => "attempt",
            Part::Response => "response",
            Part::Step => "step",
            Part::Erasure => "erasure",
        }
    }
}

/// What has become of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    Damaged,
    /// A record refers to it, and it is nowhere.
    Missing,
    /// It is whole, in a frame that is damaged: the daemon does not read it, a salvage does.
    Stray,
}

impl Harm {
    pub fn as_str(self) -> &'static str {
        match self {
            Harm::Damaged => "damaged",
            Harm::Missing => "missing",
            Harm::Stray => "stray",
        }
    }
}

/// Something that is wrong with an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    pub part: Part,
    pub harm: Harm,
    /// Of an attempt or a step: the endpoint's id, or its number if no record has the id.
    pub endpoint: Option<String>,
    /// Where it stands; of what is missing, where it is referred to.
    pub place: Place,
}

/// What later records say of an event that has been hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Later {
    Nothing,
    /// It was written again, whole.
    Whole,
    Erased,
    /// It was past its retention: nothing of it is wanted any more.
    Forgotten,
}

/// An event of which something is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedEvent {
    pub id: EventId,
    pub event_type: Option<String>,
    pub tenant: Option<String>,
    /// At least one, in the order of the log.
    pub hits: Vec<Hit>,
    pub later: Later,
}

/// What kind of damage no event is known for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceKind {
    Format,
    /// A segment is missing, short, or has a bad header.
    Segment,
    /// Whole frames, or what cannot be recognised as frames.
    Frames,
    Record,
    /// The disk does not give it.
    Unreadable,
}

impl PlaceKind {
    pub fn as_str(self) -> &'static str {
        match self {
            PlaceKind::Format => "format",
            PlaceKind::Segment => "segment",
            PlaceKind::Frames => "frames",
            PlaceKind::Record => "record",
            PlaceKind::Unreadable => "unreadable",
        }
    }
}

/// Damage by its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedPlace {
    pub kind: PlaceKind,
    pub place: Place,
    pub bytes: u64,
    /// What it is, for people.
    pub detail: String,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub segments: u64,
    pub frames: u64,
    pub records: u64,
    pub events: u64,
    /// Of all segments.
    pub bytes: u64,
    /// Bodies that were overwritten on purpose.
    pub erased: u64,
    /// Events whose body was lost to damage that the daemon has dealt with: their open deliveries
    /// are dead.
    pub lost: u64,
}

/// All that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub counts: Counts,
    /// Where the log begins and ends.
    pub start: u64,
    pub end: u64,
    /// Where a write was cut short that was never acknowledged, and how many bytes of it there are.
    pub torn: Option<(u64, u64)>,
    /// In the order in which they were met.
    pub events: Vec<DamagedEvent>,
    pub places: Vec<DamagedPlace>,
    /// All damage is below this position.
    pub damaged_below: Option<u64>,
    /// Bytes of the last segment.
    pub segment_size: u64,
}

impl Report {
    pub fn is_whole(&self) -> bool {
        self.events.is_empty() && self.places.is_empty()
    }
}
