//! The daemon as a black box: the real binary over its real interfaces, one file an area.

#[path = "../harness/mod.rs"]
mod harness;

mod acting;
mod adaptive;
mod answers;
mod batch;
mod breaker;
mod commands;
mod delivery;
mod guard;
mod hostile_clients;
mod hostile_receivers;
mod idempotency;
mod life;
mod ordering;
mod rate;
mod reading;
mod refusals;
mod signing;
