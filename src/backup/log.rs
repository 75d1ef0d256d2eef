//! The log as shipping sees it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::names::Part;
use super::plan::Segment;
use crate::outbox::{CopiedSegment, CopyError, Copying, Lsn, Outbox};

/// A segment in which bodies were overwritten is shipped again at most once in so many intervals,
const ERASURES_INTERVALS: u32 = 50;
/// and need not wait longer than this.
const ERASURES_MAX: Duration = Duration::from_secs(60);

/// What is remembered of the segments, so that each is looked at once.
#[derive(Debug, Default)]
pub struct Log {
    /// The used bytes of full segments.
    used: BTreeMap<u64, u64>,
    /// The erasures that count of each segment, and when they last changed.
    erasures: BTreeMap<u64, (u64, Option<Instant>)>,
    /// How long a change has to be ago before the next counts.
    erasures_every: Duration,
}

/// The log at one moment; nothing is erased while it lives.
pub struct View {
    pub segments: Vec<Segment>,
    pub end: u64,
    pub start: u64,
    copying: Copying,
}

impl Log {
    /// How often what is new is shipped.
    pub fn set_interval(&mut self, interval: Duration) {
        let every = interval.saturating_mul(ERASURES_INTERVALS);
        self.erasures_every = every.min(ERASURES_MAX);
    }

    /// Looks at the log. Blocks for reads of the disk.
    pub fn look(&mut self, outbox: &Outbox) -> Result<View, CopyError> {
        let copying = outbox.copy_log();
        // Before the end: the frame that moved it is below the end then.
        let start = outbox.log_start().0;
        let end = outbox.log_end();
        let mut segments = Vec::new();
        for found in copying.segments(end)? {
            segments.push(self.segment(&copying, &found)?);
        }
        let first = segments.first().map_or(0, |segment: &Segment| segment.base);
        self.used.retain(|base, _| *base >= first);
        self.erasures.retain(|base, _| *base >= first);
        Ok(View {
            segments,
            end: end.0,
            start,
            copying,
        })
    }

    fn segment(&mut self, copying: &Copying, found: &CopiedSegment) -> Result<Segment, CopyError> {
        let base = found.base.0;
        let used = match (found.is_full, self.used.get(&base)) {
            (false, _) => found.used,
            (true, Some(known)) => *known,
            (true, None) => {
                let used = copying.used(found.base)?;
                self.used.insert(base, used);
                used
            }
        };
        let counts = self.erasures.entry(base).or_insert((found.erasures, None));
        let every = self.erasures_every;
        let is_time = |changed: Instant| changed.elapsed() >= every;
        if found.erasures != counts.0 && counts.1.is_none_or(is_time) {
            *counts = (found.erasures, Some(Instant::now()));
        }
        Ok(Segment {
            base,
            used,
            is_full: found.is_full,
            erasures: counts.0,
            has_more_erasures: found.erasures != counts.0,
        })
    }
}

impl View {
    /// The bytes of a part as they are now.
    pub fn read(&self, part: &Part) -> Result<Bytes, CopyError> {
        // A part has at most `plan::PART` bytes.
        let len = usize::try_from(part.to - part.from).unwrap_or(0);
        let mut bytes = vec![0; len];
        // What a file that was cut off does not have stays zero, and is damage there as here.
        self.copying.read(Lsn(part.base), part.from, &mut bytes)?;
        Ok(bytes.into())
    }
}
