//! What the outbox answers: receipts, refusals and views of what it holds.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::domain::attempt::{Attempt, AttemptId, ErrorKind};
use crate::domain::delivery::{Reason, Status};
use crate::domain::endpoint::{
    DisabledReason, Endpoint, EndpointChange, EndpointId, EndpointNo, EndpointSpec, TypePattern,
};
use crate::domain::event::{EventId, EventType, Key, Payload, Tenant};
use crate::domain::extras::Extras;
use crate::domain::job::JobId;
use crate::domain::shaping::Shaping;
use crate::domain::signature::Secret;
use crate::domain::time::Timestamp;
use crate::outbox::commit_figures::CommitFiguresView;
use crate::outbox::index::HoldsView;
use crate::outbox::record::{JobWork, KeyBytes};

/// The answer to an event that was accepted and is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub id: EventId,
    pub event_type: EventType,
    pub accepted_at: Timestamp,
    /// How many endpoints it goes to.
    pub deliveries: u32,
    /// The first answer again: the idempotency key was known, nothing was stored.
    pub duplicate: bool,
}

/// Why events were not accepted. Nothing of the request was stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// `index` counts the events of the request from 0.
    #[error("the idempotency key was used with other content")]
    KeyReused { index: usize },
    #[error("the outbox is full: pending bodies have reached outbox.max_size")]
    Full,
    /// The request can never fit, whatever the outbox holds. `most`: how many of its events
    /// do, from the first on.
    #[error("the request makes too many deliveries or bytes at once: split it, {} events of it fit into one request", most.max(&1))]
    TooLarge { most: usize },
    #[error("disk is low: less than outbox.min_free_disk is free")]
    DiskLow,
    #[error(
        "disk is low: the file system of data_dir has no free inode (file entry) for the next \
         segment of the log; delete files there, or give it more inodes"
    )]
    NoInodes,
    #[error(
        "disk is low: there is no room for the next segment of the log (outbox.segment_size), \
         though outbox.min_free_disk is free; look for a quota"
    )]
    NoSpare,
    #[error("the index on the disk cannot keep up or cannot be written")]
    IndexBehind,
    #[error("the store has failed; outboxd is about to restart and recover")]
    Failed,
    #[error("outboxd is shutting down")]
    ShuttingDown,
}

/// A change of what is stored, as a client asks for it.
#[derive(Clone, Debug)]
pub enum Action {
    /// Pending: now; delivered or dead: again with a fresh retry budget.
    Retry {
        event: EventId,
        endpoint: EndpointId,
    },
    /// Pending or held becomes dead, reason `cancelled`.
    Cancel {
        event: EventId,
        endpoint: EndpointId,
    },
    Enable {
        endpoint: EndpointId,
    },
    Disable {
        endpoint: EndpointId,
        reason: DisabledReason,
    },
    /// A new endpoint, defined through the API.
    Create {
        endpoint: EndpointId,
        spec: Box<EndpointSpec>,
        enabled: bool,
    },
    /// A change that was made over this definition; refused if it is no longer that.
    Change {
        endpoint: EndpointId,
        change: Box<EndpointChange>,
        over: Arc<Endpoint>,
    },
    /// Its open deliveries are dead from then on, reason `endpoint_deleted`.
    Delete {
        endpoint: EndpointId,
    },
    /// A new secret; those before it sign for `overlap` more.
    Rotate {
        endpoint: EndpointId,
        secret: Secret,
        overlap: Duration,
        /// What shapes its requests from then on, if a signing key there is new too.
        shaping: Option<Arc<Shaping>>,
        /// The definition that this was made over; refused if it is no longer that.
        over: Arc<Endpoint>,
    },
    /// From then on no answer shows the event's body or attempts; what is open is cancelled.
    Erase {
        event: EventId,
    },
    /// Cancels a job. Deliveries that it has not processed stay as they are.
    CancelJob {
        id: JobId,
    },
    /// The definition of a source made by the API, which replaces the one before. The store does
    /// not read it.
    PutSource {
        id: String,
        definition: SourceDefinition,
    },
    /// Forgets a source's definition and counts; its events stay.
    RemoveSource {
        id: String,
    },
    /// What sources have counted, by their ids: replaces what was stored for them. Refused while no
    /// event would be accepted for want of room.
    PutSourceCounts {
        counts: Vec<(String, Vec<u8>)>,
    },
}

/// A source as it is stored. One of the configuration file has nothing but counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSource {
    pub id: String,
    pub definition: Option<SourceDefinition>,
    pub counts: Option<Vec<u8>>,
}

/// The definition of a source as it was given, and when that was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceDefinition {
    pub changed_at: Timestamp,
    pub bytes: KeyBytes,
}

/// What a test of an endpoint sends.
#[derive(Clone, Debug, Default)]
pub struct TestEvent {
    /// `None`: `outboxd.test`.
    pub event_type: Option<EventType>,
    /// `None`: a sample.
    pub data: Option<Bytes>,
}

/// Which deliveries of an endpoint a replay or purge is about. `since` is inclusive,
/// `until` exclusive; both judge when the event was accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// As they are shown: a disabled endpoint's pending deliveries are held.
    pub statuses: Vec<Status>,
    /// Empty: all types.
    pub types: Vec<TypePattern>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

/// Why an action was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActRefused {
    #[error("there is no such event")]
    NoSuchEvent,
    #[error("there is no such endpoint")]
    NoSuchEndpoint,
    #[error("the event does not go to that endpoint")]
    NoSuchDelivery,
    #[error("there is no such job under way; it may have ended")]
    NoSuchJob,
    #[error("the event was erased")]
    Erased,
    /// The move is not possible from the delivery's status.
    #[error("the delivery is {}", .0.as_str())]
    Conflict(Status),
    #[error("the endpoint comes from the configuration file and is read-only here")]
    ReadOnly,
    #[error("there is an endpoint with this id already")]
    EndpointExists,
    #[error("an endpoint was applied under this name already")]
    AppliedAlready,
    #[error("the endpoint was changed by others at the same time; try again")]
    ChangedMeanwhile,
    #[error("too many replays and purges are under way; try again when some have ended")]
    TooManyJobs,
    /// `enabled = false` in the TOML file wins.
    #[error("the endpoint is disabled by `enabled = false` in the configuration file")]
    DisabledInFile,
    /// There was no room to store it, for the same reason as events are refused.
    #[error("{0}")]
    NoRoom(Refused),
    #[error("the store has failed; outboxd is about to restart and recover")]
    Failed,
    #[error("outboxd is shutting down")]
    ShuttingDown,
}

/// A selection of attempts by the time when they began: `since` is inclusive, `until` exclusive.
#[derive(Clone, Debug, Default)]
pub struct AttemptFilter {
    pub endpoint: Option<EndpointId>,
    pub tenant: Option<Tenant>,
    pub event_type: Option<TypePattern>,
    pub kind: Option<ErrorKind>,
    pub status: Option<StatusFilter>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

/// The status of a response, as a filter names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusFilter {
    Exact(u16),
    /// A class of statuses, by the first digit.
    Class(u16),
}

/// An attempt on its own.
#[derive(Clone, Debug)]
pub struct AttemptView {
    pub id: AttemptId,
    pub event: EventId,
    pub endpoint: EndpointId,
    pub tenant: Tenant,
    pub event_type: EventType,
    pub attempt: Attempt,
}

/// What counts are asked for.
#[derive(Clone, Debug)]
pub enum StatsOf {
    All,
    Tenant(Tenant),
    Endpoint(EndpointId),
}

/// Steps of equal length, in minutes since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    pub since_min: u32,
    /// Exclusive.
    pub until_min: u32,
    pub step_min: u32,
}

impl Steps {
    pub fn count(&self) -> usize {
        let minutes = self.until_min.saturating_sub(self.since_min);
        minutes.div_ceil(self.step_min.max(1)) as usize
    }

    /// Whether each step is made of quarters of an hour.
    pub fn has_quarters(&self) -> bool {
        self.step_min.is_multiple_of(15) && self.since_min.is_multiple_of(15)
    }

    /// The step that a minute belongs to.
    pub fn place(&self, minute: u32) -> Option<usize> {
        let is_within = (self.since_min..self.until_min).contains(&minute);
        is_within.then(|| ((minute - self.since_min) / self.step_min.max(1)) as usize)
    }
}

/// The beginning of a replay or purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// How many deliveries.
    pub matched: u64,
    /// `None`: there was nothing to do.
    pub job: Option<JobId>,
}

/// A job under way.
#[derive(Clone, Debug, PartialEq)]
pub struct JobView {
    pub id: JobId,
    pub work: JobWork,
    pub endpoint: EndpointId,
    pub tenant: Tenant,
    /// Which deliveries.
    pub selection: Selection,
    /// Deliveries in a second; `None` means no limit.
    pub rate: Option<f64>,
    /// How many deliveries matched when it began, and how many it has processed.
    pub matched: u64,
    pub done: u64,
}

/// An event without its body.
#[derive(Clone, Debug)]
pub struct EventSummary {
    pub id: EventId,
    pub tenant: Tenant,
    pub event_type: EventType,
    pub key: Option<Key>,
    pub idempotency_key: Option<Key>,
    pub accepted_at: Timestamp,
    pub deliver_at: Option<Timestamp>,
    /// How many deliveries it has in each status.
    pub counts: StatusCounts,
}

/// Deliveries by status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatusCounts {
    pub pending: u64,
    pub held: u64,
    pub delivered: u64,
    pub dead: u64,
}

/// An event with its body and its deliveries.
#[derive(Clone, Debug)]
pub struct EventView {
    pub summary: EventSummary,
    pub payload: Payload,
    pub extras: Option<Arc<Extras>>,
    pub deliveries: Vec<DeliveryView>,
}

/// A delivery with its attempts, oldest first; the last 50 are kept.
#[derive(Clone, Debug)]
pub struct DeliveryView {
    pub event: EventId,
    pub endpoint: EndpointId,
    pub tenant: Tenant,
    pub event_type: EventType,
    pub status: Status,
    pub reason: Option<Reason>,
    pub attempts: Vec<Attempt>,
    /// There are some that this answer leaves out; a read of the delivery alone has them.
    pub attempts_omitted: bool,
    pub attempt_count: u32,
    pub next_attempt_at: Option<Timestamp>,
    pub accepted_at: Timestamp,
    pub finished_at: Option<Timestamp>,
}

/// What an endpoint has open, and whether it is taking deliveries.
#[derive(Clone, Debug, Default)]
pub struct EndpointState {
    pub pending: u64,
    pub held: u64,
    pub dead: u64,
    pub disabled: Option<DisabledReason>,
    pub disabled_at: Option<Timestamp>,
}

/// Which events to list. `since` is inclusive, `until` exclusive; both judge `accepted_at`.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    pub tenant: Option<Tenant>,
    pub event_type: Option<TypePattern>,
    pub key: Option<Key>,
    pub idempotency_key: Option<Key>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

/// Which deliveries to list.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    pub events: EventFilter,
    pub status: Option<Status>,
    pub endpoint: Option<EndpointId>,
}

/// Where a list goes on. URL-safe text; meaningless to anyone else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(pub String);

/// A part of a list, newest first.
#[derive(Clone, Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next: Option<Cursor>,
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("there is no such event")]
    NoSuchEvent,
    #[error("there is no such endpoint")]
    NoSuchEndpoint,
    #[error("the event does not go to that endpoint")]
    NoSuchDelivery,
    #[error("there is no such job under way; it may have ended")]
    NoSuchJob,
    #[error("the event was erased")]
    Erased,
    #[error("the cursor is not one that a list gave")]
    BadCursor,
    /// The bytes on disk failed their checksum, or are not there.
    #[error("the stored record is damaged: {0}")]
    Damaged(String),
    /// The store could not be read just now; trying again may help.
    #[error("the store cannot be read just now: {0}")]
    Unreadable(String),
    /// The process ends, and its next start builds the index anew.
    #[error("the index is damaged and has to be built anew: {0}")]
    Index(String),
    #[error("outboxd is shutting down")]
    ShuttingDown,
}

/// How the last start found the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryKind {
    /// There was no store.
    Created,
    /// A clean stop: nothing to replay.
    Clean,
    /// The index opened; the log after it was replayed.
    Replayed,
    /// The index was built anew from the log.
    Rebuilt,
    /// The store was restored from what was shipped, and this is its first start.
    Restored,
}

impl RecoveryKind {
    pub fn as_str(self) -> &'static str {
        match self {
            RecoveryKind::Created => "created",
            RecoveryKind::Clean => "clean",
            RecoveryKind::Replayed => "replayed",
            RecoveryKind::Rebuilt => "rebuilt",
            RecoveryKind::Restored => "restored",
        }
    }
}

/// An endpoint, for the metrics of single endpoints.
#[derive(Clone, Debug)]
pub struct TroubledEndpoint {
    pub no: EndpointNo,
    pub id: EndpointId,
    pub state: EndpointState,
    /// The endpoint is gone from the file but has deliveries.
    pub is_missing: bool,
    /// When its oldest pending delivery was accepted.
    pub oldest_pending: Option<Timestamp>,
}

/// The outbox at a glance.
#[derive(Clone, Debug)]
pub struct OutboxStatus {
    /// Over all endpoints.
    pub deliveries: StatusCounts,
    pub oldest_pending: Option<Timestamp>,
    pub log_bytes: u64,
    pub index_bytes: u64,
    pub free_bytes: u64,
    pub endpoints: u64,
    pub endpoints_disabled: u64,
    pub damaged_records: u64,
    /// Held deliveries that died to make room (reason `space`), since the start.
    pub held_dropped: u64,
    /// Events with dead letters that were removed to make room, since the start.
    pub dead_dropped: u64,
    /// Passes of the cleaner since the start, and those of them that were given up.
    pub cleaning_passes: u64,
    pub cleaning_cut_short: u64,
    /// Batches that found no room in the log, since the start.
    pub refused_batches: u64,
    /// Records about something unknown, since the start.
    pub unknown_records: u64,
    /// Times a total was found to be less than what was taken off it, since the start.
    pub accounting_faults: u64,
    pub recovery: RecoveryKind,
    pub recovery_took: Duration,
    /// Endpoints with deliveries that cannot be rendered.
    pub endpoints_unrendered: u64,
    /// Until when client certificates are valid; of the first endpoints.
    pub certificates: Vec<(EndpointId, Timestamp)>,
    /// How reads have held the index.
    pub holds: HoldsView,
    /// The commits since the start.
    pub commits: CommitFiguresView,
}
