//! A source in force, with what belongs to it while the daemon runs.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::call::CallRefused;
use super::tally::Tally;
use crate::app::rate_limit::EventRateLimit;
use crate::domain::inbound::{Rejection, Source, SourceId};
use crate::domain::time::Timestamp;

/// Where a source was defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the configuration file: read-only through the API.
    File,
    /// Through the API, at this moment for the last time.
    Api { changed_at: Timestamp },
}

/// See the module.
#[derive(Debug)]
pub struct KnownSource {
    pub source: Arc<Source>,
    pub origin: Origin,
    /// It outlives changes of the definition.
    pub tally: Arc<Tally>,
    rate: Option<Mutex<EventRateLimit>>,
}

impl KnownSource {
    pub fn new(source: Source, origin: Origin, tally: Arc<Tally>) -> KnownSource {
        let rate = source.rate_limit;
        let rate = rate.map(|rate| Mutex::new(EventRateLimit::new(rate, Instant::now())));
        KnownSource {
            source: Arc::new(source),
            origin,
            tally,
            rate,
        }
    }

    pub fn id(&self) -> &SourceId {
        &self.source.id
    }

    /// Whether this address may call at all. One that may not is answered as if there were no such
    /// source.
    ///
    /// # Errors
    /// The source is disabled, or the address may not call.
    pub fn lets_in(&self, remote: IpAddr) -> Result<(), Rejection> {
        match (self.source.enabled, self.source.allows(remote)) {
            (false, _) => Err(Rejection::Disabled),
            (true, false) => Err(Rejection::NotAllowed),
            (true, true) => Ok(()),
        }
    }

    /// Whether a call from this address may come now.
    ///
    /// # Errors
    /// As [`lets_in`](Self::lets_in), or there are too many calls.
    pub fn admit(&self, remote: IpAddr) -> Result<(), CallRefused> {
        self.lets_in(remote).map_err(CallRefused::Rejected)?;
        let limited = self.take_from_rate_limit();
        limited.map_err(|wait| CallRefused::RateLimited { wait })
    }

    /// Takes a call out of the source's `rate_limit`.
    ///
    /// # Errors
    /// How long until one can be taken again.
    fn take_from_rate_limit(&self) -> Result<(), Duration> {
        let Some(limit) = &self.rate else {
            return Ok(());
        };
        // The bucket is consistent even if a thread panicked while it held the lock.
        let mut limit = limit.lock().unwrap_or_else(PoisonError::into_inner);
        limit.take(1, Instant::now())
    }
}
