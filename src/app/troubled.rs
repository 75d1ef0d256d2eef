//! The endpoints with the most trouble, for the metrics of single endpoints.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use super::error::Error;
use super::reader::Reader;
use crate::clock;
use crate::dispatch::{Questions, Standing};
use crate::domain::endpoint::EndpointId;

/// The figures of one endpoint.
#[derive(Clone, Debug)]
pub struct EndpointFigures {
    pub id: EndpointId,
    pub pending: u64,
    pub held: u64,
    pub dead: u64,
    /// The age of its oldest pending delivery.
    pub oldest_pending: Option<Duration>,
    /// Whether it is disabled, or missing from the file with deliveries left.
    pub is_disabled: bool,
    pub standing: Standing,
}

pub struct Troubled {
    reader: Reader,
    questions: Questions,
    /// How many endpoints are shown.
    most: AtomicUsize,
}

impl Troubled {
    pub fn new(reader: Reader, questions: Questions, most: usize) -> Troubled {
        Troubled {
            reader,
            questions,
            most: AtomicUsize::new(most),
        }
    }

    /// Sets how many endpoints are shown.
    pub fn set_most(&self, most: usize) {
        self.most.store(most, Relaxed);
    }

    /// The endpoints with most trouble, worst first; none if the configuration asks for none.
    pub async fn endpoints(&self) -> Result<Vec<EndpointFigures>, Error> {
        match self.most.load(Relaxed) {
            0 => Ok(Vec::new()),
            most => self.worst(most).await,
        }
    }

    /// The `most` endpoints with most trouble, worst first; those without any come last.
    pub async fn worst(&self, most: usize) -> Result<Vec<EndpointFigures>, Error> {
        let breakers = self.questions.open_breakers().await;
        let read = self.reader.read(move |outbox| {
            let worst = outbox.most_troubled(most, &breakers);
            Ok(worst)
        });
        let worst = read.await?;
        let numbers = worst.iter().map(|endpoint| endpoint.no).collect();
        let standings = self.questions.standings(numbers).await.unwrap_or_default();
        let standings = standings
            .into_iter()
            .chain(std::iter::repeat_with(Standing::default));
        let now = clock::now();
        let figures = worst.into_iter().zip(standings);
        let figures = figures.map(|(endpoint, standing)| EndpointFigures {
            id: endpoint.id,
            pending: endpoint.state.pending,
            held: endpoint.state.held,
            dead: endpoint.state.dead,
            oldest_pending: endpoint.oldest_pending.map(|at| now.since(at)),
            is_disabled: endpoint.state.disabled.is_some() || endpoint.is_missing,
            standing,
        });
        Ok(figures.collect())
    }
}
