//! The disk dies: what the real daemon ships and copies, and what comes back from there.
//!
//! Stores are a directory, and a real S3 server where it can be had (`tests/backup/s3.rs`); without
//! it those tests say SKIPPED.

#[path = "../harness/mod.rs"]
mod harness;

mod copies;
mod directory;
mod drill;
mod restoring;
mod rounds;
mod s3;
mod secrets;
mod shop;
