//! CloudEvents 1.0.2: events of others that are posted, and events of outboxd that go out.
//!
//! Follows the core specification, the JSON event format, the HTTP protocol binding and the
//! webhook specification of <https://github.com/cloudevents/spec>. An event is read in the
//! structured, batched and binary modes ([`parse_structured`], [`parse_batch`],
//! [`parse_binary`]) and written in the first and the last ([`structured()`], [`binary()`]): a batch
//! must not be sent to a receiver that has not asked for one.
//!
//! JSON data is never written again: it stays byte for byte as it was posted, numbers and
//! spacing included. `time` stays a text for the same reason, since a [`Timestamp`] holds
//! milliseconds and many producers write nanoseconds.
//!
//! Nothing here says that an event's `type` is one that outboxd takes, nor is its `source`
//! ever fetched.
//!
//! [`Timestamp`]: super::time::Timestamp

mod attribute;
mod binary;
mod draft;
mod event;
mod fault;
mod handshake;
mod media;
mod mode;
mod outgoing;
mod structured;
#[cfg(test)]
mod tests;

pub use attribute::{
    AttributeName, BadAttribute, MAX_EXTENSION_BYTES, MAX_EXTENSIONS, MAX_IDENTITY_BYTES,
    MAX_NAME_BYTES, MAX_TEXT_BYTES, Value, check_source,
};
pub use binary::{Binary, Unsendable, binary, parse_binary};
pub use event::{CloudEvent, Data, SPECVERSION, identity};
pub use fault::{BadCloudEvent, Place, Position, Problem};
pub use handshake::{
    BadOrigin, Consent, REQUEST_ORIGIN, Rate, Refusal, RequestOrigin, judge, request_headers,
};
pub use mode::{Mode, UnknownFormat};
pub use outgoing::{Accepted, outgoing};
pub use structured::{STRUCTURED, parse_batch, parse_structured, structured};
