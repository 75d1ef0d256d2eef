//! Limits how often the calls of one address are refused at one source.
//!
//! Anybody can call the public listener. An address whose calls are often refused, because it guesses
//! signatures or names of sources, gets 429 until the current second ends, before the body of its
//! call is read. Accepted calls do not count, so a provider is never slowed down. Each source is
//! counted separately: a provider may call several from one address, and one of them may have the
//! wrong secret. The calls of an address that name no source it may call are counted together. The
//! limit does not apply to callers behind a proxy that is not configured, which share an address:
//! one of them must not block the others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::inbound::SourceId;
use crate::server::remote::network_of;

/// How many calls of one caller may be refused in a second before it is limited.
const MOST: u32 = 100;
/// The most callers that are counted; beyond that the counts of all are cleared.
const CALLERS: usize = 8192;
const SECOND: Duration = Duration::from_secs(1);

/// A caller at one source.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    network: IpAddr,
    source: Option<SourceId>,
}

impl Caller {
    /// `source`: the source that is called, if it exists and accepts calls of this address.
    pub fn new(address: IpAddr, source: Option<SourceId>) -> Caller {
        Caller {
            network: network_of(address),
            source,
        }
    }
}

/// Counts refused calls and refuses callers over the limit.
pub struct Refusals {
    began: Instant,
    /// The counts of the current second.
    counted: Mutex<Counted>,
}

#[derive(Default)]
struct Counted {
    second: u64,
    refused: HashMap<Caller, u32>,
}

impl Refusals {
    /// Begins at `now`, with no refused call counted.
    pub fn new(now: Instant) -> Refusals {
        Refusals {
            began: now,
            counted: Mutex::default(),
        }
    }

    /// Checks whether a call may be processed.
    ///
    /// # Errors
    /// How long the caller has to wait.
    pub fn admit(&self, caller: &Caller, now: Instant) -> Result<(), Duration> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let left = self.begin_second(&mut counted, now);
        match counted.refused.get(caller) {
            Some(refused) if *refused >= MOST => Err(left),
            _ => Ok(()),
        }
    }

    /// Counts a refused call.
    pub fn note(&self, caller: Caller, now: Instant) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        self.begin_second(&mut counted, now);
        if counted.refused.len() >= CALLERS {
            counted.refused.clear();
        }
        let refused = counted.refused.entry(caller).or_default();
        *refused = refused.saturating_add(1);
    }

    /// Clears the counts of an earlier second; returns the time until the current one ends.
    fn begin_second(&self, counted: &mut Counted, now: Instant) -> Duration {
        let since = now.saturating_duration_since(self.began);
        if counted.second != since.as_secs() {
            counted.second = since.as_secs();
            counted.refused.clear();
        }
        SECOND.saturating_sub(Duration::from_nanos(since.subsec_nanos().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(address: &str) -> Caller {
        Caller::new(address.parse().unwrap(), None)
    }

    fn at(address: &str, source: &str) -> Caller {
        Caller::new(
            address.parse().unwrap(),
            Some(SourceId::new(source).unwrap()),
        )
    }

    #[test]
    fn a_caller_that_is_refused_often_waits_for_the_next_second() {
        let began = Instant::now();
        let refusals = Refusals::new(began);
        let bad = caller("203.0.113.1");
        let moment = began + Duration::from_millis(2300);
        for _ in 0..MOST {
            assert_eq!(refusals.admit(&bad, moment), Ok(()));
            refusals.note(bad.clone(), moment);
        }
        assert_eq!(
            refusals.admit(&bad, moment),
            Err(Duration::from_millis(700))
        );
        assert_eq!(refusals.admit(&caller("203.0.113.2"), moment), Ok(()));
        let next = began + Duration::from_secs(3);
        assert_eq!(refusals.admit(&bad, next), Ok(()));
    }

    #[test]
    fn an_address_that_is_limited_at_one_source_may_call_another() {
        let now = Instant::now();
        let refusals = Refusals::new(now);
        for _ in 0..MOST {
            refusals.note(at("203.0.113.1", "a"), now);
        }
        assert!(refusals.admit(&at("203.0.113.1", "a"), now).is_err());
        assert_eq!(refusals.admit(&at("203.0.113.1", "b"), now), Ok(()));
        assert_eq!(refusals.admit(&caller("203.0.113.1"), now), Ok(()));
    }

    #[test]
    fn a_network_of_ipv6_is_one_caller() {
        let now = Instant::now();
        let refusals = Refusals::new(now);
        for host in 0..MOST {
            refusals.note(caller(&format!("2001:db8::{host:x}")), now);
        }
        assert!(refusals.admit(&caller("2001:db8::ffff"), now).is_err());
        assert!(refusals.admit(&caller("2001:db8:0:1::1"), now).is_ok());
    }

    #[test]
    fn the_number_of_counted_callers_is_bounded() {
        let now = Instant::now();
        let refusals = Refusals::new(now);
        for n in 0..3 * CALLERS as u32 {
            refusals.note(Caller::new(IpAddr::from(n.to_be_bytes()), None), now);
        }
        let counted = refusals.counted.lock().unwrap();
        assert!(counted.refused.len() <= CALLERS);
    }
}
