//! The consent of a receiver to get CloudEvents, as long as the process lives (HTTP 1.1 Web Hooks for
//! Event Delivery 1.0.2, 4).

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use url::Url;

use crate::domain::cloudevents::{Consent, Rate as Allowed};
use crate::domain::rate::Rate;

/// What a receiver consented to, and for which URL.
#[derive(Debug, Default)]
pub struct Consents {
    given: Mutex<Option<(Url, Consent)>>,
    is_news: AtomicBool,
}

impl Consents {
    pub fn is_given(&self, url: &Url) -> bool {
        self.of(url).is_some()
    }

    pub fn give(&self, url: &Url, consent: Consent) {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        *given = Some((url.clone(), consent));
        self.is_news.store(true, Relaxed);
    }

    /// Whether a consent came since this was asked last.
    pub fn take_news(&self) -> bool {
        self.is_news.load(Relaxed) && self.is_news.swap(false, Relaxed)
    }

    /// The rate that was consented to, if it is bounded.
    pub fn rate(&self, url: &Url) -> Option<Rate> {
        match self.of(url)?.rate? {
            Allowed::Unlimited => None,
            Allowed::PerMinute(count) => Some(Rate {
                per_second: f64::from(count.get()) / 60.0,
            }),
        }
    }

    fn of(&self, url: &Url) -> Option<Consent> {
        let given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, consent) = given.as_ref()?;
        (known == url).then_some(*consent)
    }
}
