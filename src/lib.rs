//! outboxd: a durable webhook outbox in one binary.
//!
//! The modules stand in layers: each may import only the modules named before it here, and
//! no two files import each other in a circle. `ARCHITECTURE.md` is the map.
#![forbid(unsafe_code)]
// Tests may do these things, so they do not stand in Cargo.toml.
#![cfg_attr(
    not(test),
    deny(
        clippy::allow_attributes,
        clippy::disallowed_methods,
        clippy::exit,
        clippy::panic,
        clippy::print_stderr,
        clippy::print_stdout,
        clippy::too_many_lines,
        clippy::unreachable,
        clippy::unwrap_used,
    )
)]

pub mod domain;

pub mod clock;

pub mod stderr;

pub mod config;

pub mod server;

pub mod outbox;

pub mod backup;

pub mod transport;

pub mod dispatch;

#[cfg(feature = "otlp")]
pub mod otlp;

pub mod app;

pub mod inbound;

pub mod api;

pub mod ui;

pub mod daemon;

pub mod cli;
