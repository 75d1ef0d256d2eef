//! outboxd: a durable webhook outbox in one binary.
//!
//! The modules stand on each other from the floor up: each may import only what is
//! named before it, and siblings never import each other. `ARCHITECTURE.md` is the map.
#![forbid(unsafe_code)]

pub mod domain;

pub mod clock;

pub mod config;

pub mod outbox;

pub mod transport;

pub mod dispatch;

pub mod app;

pub mod api;

pub mod daemon;

pub mod cli;
