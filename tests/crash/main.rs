//! What crashes, damage and full disks do to the real daemon: it is killed, its files are
//! flipped, cut and deleted, its disk is filled, and what was acknowledged is asked for.
//!
//! The log alone is tried far more finely in `src/outbox/log/tests`, and power cuts in
//! `tests/crashcheck`. A test that needs a right it does not have says SKIPPED.

#[path = "../harness/mod.rs"]
mod harness;

mod bit_rot;
mod bulk;
mod cleaning;
mod clock;
mod damage;
mod faults;
mod files;
mod forgotten_secrets;
mod full_disk;
mod index_faults;
mod kills;
mod ordering;
mod populated;
mod pressure;
mod quota;
mod recovery;
mod space;
mod tracer;
mod verify_store;
mod wide_events;
