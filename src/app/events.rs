//! Events: accepted, read and erased.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::counters::Counters;
use super::error::Error;
use super::rate_limit::EventRateLimit;
use super::reader::Reader;
use crate::dispatch::tail::{Tail, Unaccepted};
use crate::domain::endpoint::Rate;
use crate::domain::event::{EventId, NewEvent, Tenant};
use crate::outbox::{
    Action, Cursor, EventFilter, EventSummary, EventView, Filters, Judged, Outbox, Page, Receipt,
};

pub struct Events {
    outbox: Outbox,
    reader: Reader,
    rate_limit: Mutex<RateLimit>,
    counters: Arc<Counters>,
    tail: Tail,
}

/// `ingest.rate_limit`. `None`: as many events as there is room for.
struct RateLimit {
    rate: Option<Rate>,
    bucket: Option<EventRateLimit>,
}

impl RateLimit {
    fn new(rate: Option<Rate>) -> RateLimit {
        RateLimit {
            rate,
            bucket: rate.map(|rate| EventRateLimit::new(rate, Instant::now())),
        }
    }
}

impl Events {
    pub fn new(
        outbox: Outbox,
        reader: Reader,
        rate_limit: Option<Rate>,
        counters: Arc<Counters>,
        tail: Tail,
    ) -> Events {
        Events {
            outbox,
            reader,
            rate_limit: Mutex::new(RateLimit::new(rate_limit)),
            counters,
            tail,
        }
    }

    /// Makes the events durable, all of them or none; a receipt for each, in order.
    pub async fn accept(&self, events: Vec<NewEvent>) -> Result<Vec<Receipt>, Error> {
        let expected = events.len();
        self.take_from_rate_limit(expected)?;
        let heard = self.tail.is_heard();
        let told = heard.then(|| events.iter().map(Unaccepted::of).collect());
        let filters = self.outbox.filters(&events);
        let (events, filters) = judge(events, filters).await?;
        let accepted = self.outbox.accept_judged(events, filters).await;
        let receipts = accepted.inspect_err(|refused| self.counters.count_refused(refused))?;
        if receipts.len() != expected {
            tracing::error!("the outbox gave another number of receipts than of events");
            return Err(Error::Internal("the outbox gave no receipt"));
        }
        let duplicates = receipts.iter().filter(|receipt| receipt.duplicate).count() as u64;
        let accepted = (expected as u64).saturating_sub(duplicates);
        self.counters.count_accepted(accepted, duplicates);
        if let Some(told) = told {
            self.tail.accepted(told, &receipts);
        }
        Ok(receipts)
    }

    /// Puts another rate in force. If the rate is the same, the bucket stays as it is.
    pub fn set_rate_limit(&self, rate: Option<Rate>) {
        let mut limit = self
            .rate_limit
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if limit.rate != rate {
            *limit = RateLimit::new(rate);
        }
    }

    fn take_from_rate_limit(&self, events: usize) -> Result<(), Error> {
        // The bucket is consistent even if a thread panicked while it held the lock.
        let mut limit = self
            .rate_limit
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(bucket) = &mut limit.bucket else {
            return Ok(());
        };
        bucket.take(events, Instant::now()).map_err(|wait| {
            self.counters.count_rate_limited();
            Error::RateLimited { wait }
        })
    }

    /// The event, as `show` renders it, on the thread that reads it: a body may be large.
    pub async fn show<T: Send + 'static>(
        &self,
        id: EventId,
        show: impl FnOnce(&EventView) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let read = self.reader.read(move |outbox| Ok(show(&outbox.event(id)?)));
        read.await
    }

    /// The tenant of an event.
    pub async fn tenant(&self, id: EventId) -> Result<Tenant, Error> {
        let read = move |outbox: &Outbox| Ok(outbox.summary(id)?.tenant);
        self.reader.read(read).await
    }

    /// A page of events, newest first.
    pub async fn list(
        &self,
        filter: EventFilter,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<EventSummary>, Error> {
        let read = move |outbox: &Outbox| outbox.events(&filter, cursor.as_ref(), limit);
        self.reader.read(read).await
    }

    /// From now on nothing shows the event's body and attempts. Erasing it again changes
    /// nothing.
    pub async fn erase(&self, event: EventId) -> Result<(), Error> {
        Ok(self.outbox.act(Action::Erase { event }).await?)
    }
}

/// Asks the filters; beside the runtime's thread if that takes long.
async fn judge(events: Vec<NewEvent>, filters: Filters) -> Result<(Vec<NewEvent>, Judged), Error> {
    if filters.is_empty() {
        return Ok((events, Judged::default()));
    }
    if !filters.is_heavy(&events) {
        let judged = filters.judge(&events);
        return Ok((events, judged));
    }
    let judging = tokio::task::spawn_blocking(move || {
        let judged = filters.judge(&events);
        (events, judged)
    });
    judging.await.map_err(|error| {
        tracing::error!(%error, "evaluating filters failed");
        Error::Internal("the filters could not be evaluated; see the log")
    })
}
