//! The durable store of events, deliveries and attempts.
//!
//! `log` is the truth, `index` is derived from it. One `writer` thread owns both: `decide`
//! says what a batch holds, the log makes it durable, the index takes it in, and then it is
//! answered and told. `maintain` are the threads that look and ask, `read` answers
//! questions, `open` and `recovery` open the store, `renewal` builds an index that failed
//! anew while reads wait at `renewals`, `handle` is how the rest of the daemon reaches it, in
//! the domain's words only.
//!
//! Nothing outside this folder knows the log, sled, or a record's bytes.

pub mod commit_figures;
pub mod committer;
pub mod copies;
pub mod copying;
pub mod decide;
pub mod directory;
pub mod disk;
pub mod endpoints;
pub mod handle;
pub mod index;
mod judged;
pub mod log;
pub mod maintain;
pub mod open;
mod read_ahead;
pub mod record;
pub mod recovery;
pub mod request;
pub mod restored;
pub mod rules;
pub mod salvage;
pub mod verify;
pub mod views;
pub mod waiting;
pub mod writer;

mod clock_watch;
mod disk_watch;
mod leftovers;
mod read;
mod reconfigure;
mod renewal;
mod renewals;
mod steps;

#[cfg(test)]
mod bulk_tests;
#[cfg(test)]
mod source_tests;

pub use commit_figures::CommitFiguresView;
pub use copying::{
    BackupHold, CopiedSegment, CopyError, Copying, HEADER_USED, Lsn, header_len, segment_len,
};
pub use decide::envelope::content as content_of;
pub use directory::{FORMAT, OpenError, mark_unfinished, write_format};
pub use handle::{Outbox, StoreFailure};
pub use index::forbid_reads_here;
pub use judged::{Filters, Judged};
pub use open::{EndpointStart, Opened, Options};
pub use read::{Cause, DeadCauses};
pub use record::{JobWork, KeyBytes};
pub use request::{Changed, Commit, Commits, Notice, Outcome, Settings};
pub use rules::{Defaults, Keep, LimitRules};
pub use views::*;
