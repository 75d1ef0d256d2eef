//! Counts of accepted events and of attempts, over time.

use super::error::Error;
use super::reader::Reader;
use crate::domain::counts::Counts;
use crate::outbox::{StatsOf, Steps};

pub struct Stats {
    reader: Reader,
}

impl Stats {
    pub fn new(reader: Reader) -> Stats {
        Stats { reader }
    }

    /// The counts of each step.
    pub async fn read(&self, of: StatsOf, steps: Steps) -> Result<Vec<Counts>, Error> {
        self.reader
            .read(move |outbox| outbox.stats(&of, steps))
            .await
    }
}
