//! What responses hold, as JSON: one file a noun. Their fields are part of the API.

pub mod attempt;
pub mod changes;
pub mod delivery;
pub mod diagnosis;
pub mod endpoint;
pub mod event;
pub mod explanation;
pub mod job;
pub mod preview;
pub mod received;
pub mod source;
pub mod stats;
pub mod status;
pub mod tail;
