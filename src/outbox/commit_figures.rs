//! How long commits of the log take, and how much each makes durable.

use std::time::Duration;

use crate::domain::histogram::{Histogram, HistogramView};

/// The commits since the start. The writer adds to these figures, any thread may read them.
#[derive(Debug)]
pub struct CommitFigures {
    /// Writing a batch and `fdatasync`.
    duration: Histogram,
    /// Events that a batch accepts.
    events: Histogram,
    /// All records of a batch: events, outcomes and any others.
    records: Histogram,
}

/// [`CommitFigures`] at one moment.
#[derive(Clone, Debug, Default)]
pub struct CommitFiguresView {
    pub duration: HistogramView,
    pub events: HistogramView,
    pub records: HistogramView,
}

impl Default for CommitFigures {
    fn default() -> Self {
        CommitFigures {
            duration: Histogram::of_short_durations(),
            events: Histogram::of_counts(),
            records: Histogram::of_counts(),
        }
    }
}

impl CommitFigures {
    /// Counts a batch that is durable. A batch without events does not count in the histogram of
    /// events.
    pub fn count(&self, took: Duration, records: usize, events: usize) {
        self.duration.took(took);
        self.records.counted(records);
        if events > 0 {
            self.events.counted(events);
        }
    }

    pub fn view(&self) -> CommitFiguresView {
        CommitFiguresView {
            duration: self.duration.view(),
            events: self.events.view(),
            records: self.records.view(),
        }
    }
}
