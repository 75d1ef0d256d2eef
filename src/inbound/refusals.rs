//! Limits how often the calls of one address are refused at one source.
//!
//! Anybody can call the public listener. An address whose calls are often refused, because it guesses
//! signatures or names of sources, gets 429 until the second is over, before the body of its call is
//! read. Accepted calls do not count, so a provider is never slowed down. Each source is counted by
//! itself: a provider calls many from one address, and one of them may have the wrong secret. Where an
//! address finds no source, all names count together. The limit does not apply to callers behind a
//! proxy that nobody has named: one of them must not silence all others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::inbound::SourceId;
use crate::server::remote::network_of;

/// So many calls of one caller may be refused in a second.
const MOST: u32 = 100;
/// The most callers that are remembered; beyond it all are forgotten.
const CALLERS: usize = 8192;
const SECOND: Duration = Duration::from_secs(1);

/// Who calls, and at which source.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    network: IpAddr,
    source: Option<SourceId>,
}

impl Caller {
    /// `source`: the one that the address finds, if it finds one.
    pub fn new(address: IpAddr, source: Option<SourceId>) -> Caller {
        Caller {
            network: network_of(address),
            source,
        }
    }
}

/// See the module.
pub struct Refusals {
    began: Instant,
    /// Of the second that is running.
    counted: Mutex<Counted>,
}

#[derive(Default)]
struct Counted {
    second: u64,
    refused: HashMap<Caller, u32>,
}

impl Refusals {
    /// Nobody was refused yet, at `now`.
    pub fn new(now: Instant) -> Refusals {
        Refusals {
            began: now,
            counted: Mutex::default(),
        }
    }

    /// Whether a call is looked at.
    ///
    /// # Errors
    /// How long until it is again.
    pub fn admit(&self, caller: &Caller, now: Instant) -> Result<(), Duration> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let left = self.begin_second(&mut counted, now);
        match counted.refused.get(caller) {
            Some(refused) if *refused >= MOST => Err(left),
            _ => Ok(()),
        }
    }

    /// A call was refused.
    pub fn note(&self, caller: Caller, now: Instant) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        self.begin_second(&mut counted, now);
        if counted.refused.len() >= CALLERS {
            counted.refused.clear();
        }
        let refused = counted.refused.entry(caller).or_default();
        *refused = refused.saturating_add(1);
    }

    /// Forgets what was counted in another second; returns what is left of this one.
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
    fn an_address_that_is_refused_at_one_source_is_heard_at_another() {
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
    fn what_is_remembered_is_bounded() {
        let now = Instant::now();
        let refusals = Refusals::new(now);
        for n in 0..3 * CALLERS as u32 {
            refusals.note(Caller::new(IpAddr::from(n.to_be_bytes()), None), now);
        }
        let counted = refusals.counted.lock().unwrap();
        assert!(counted.refused.len() <= CALLERS);
    }
}
