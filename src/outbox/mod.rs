//! The durable store of events, deliveries and attempts.

pub mod log;
