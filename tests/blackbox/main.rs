//! The daemon as a black box: the real binary over its real interfaces, one file an area.

#[path = "../harness/mod.rs"]
mod harness;

mod access;
mod acting;
mod answers;
mod batch;
mod breaker;
mod cloudevents;
mod commands;
mod commands_endpoints;
mod concurrency_limit;
mod connections;
mod delivery;
mod diagnostics;
mod endpoint_api;
mod environment;
mod erasing;
mod explain;
mod guard;
mod hostile_clients;
mod hostile_receivers;
mod hosts;
mod idempotency;
mod ingest_rate;
mod isolation;
mod life;
mod local_faults;
mod ordering;
mod previews;
mod public_listener;
mod rate;
mod reading;
mod refusals;
mod replay;
mod reports;
mod resolving;
mod rotation;
mod shaping;
mod signing;
mod sockets;
mod source_example;
mod sources;
mod tail;
mod threads;
mod wide_reads;
