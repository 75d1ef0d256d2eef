//! Limits how often the calls of one address are refused.
//!
//! Anybody can call the public listener. An address whose calls are often refused, because it guesses
//! signatures or names of sources, gets 429 until the second is over, before the body of its call is
//! read. Accepted calls do not count, so a provider is never slowed down. The limit does not apply to
//! a proxy that is not in `trusted_proxies`: one caller behind it must not silence all others.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many calls of one address may be refused in a second.
const MOST: u32 = 100;
/// The most addresses that are remembered; beyond it all are forgotten.
const ADDRESSES: usize = 8192;
const SECOND: Duration = Duration::from_secs(1);

/// See the module.
pub struct Refusals {
    began: Instant,
    /// Of the second that is running.
    counted: Mutex<Counted>,
}

#[derive(Default)]
struct Counted {
    second: u64,
    refused: HashMap<IpAddr, u32>,
}

impl Refusals {
    /// Nobody was refused yet, at `now`.
    pub fn new(now: Instant) -> Refusals {
        Refusals {
            began: now,
            counted: Mutex::default(),
        }
    }

    /// Whether a call of an address is looked at.
    ///
    /// # Errors
    /// How long until it is again.
    pub fn admit(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let left = self.begin_second(&mut counted, now);
        match counted.refused.get(&whole(address)) {
            Some(refused) if *refused >= MOST => Err(left),
            _ => Ok(()),
        }
    }

    /// A call of that address was refused.
    pub fn note(&self, address: IpAddr, now: Instant) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        self.begin_second(&mut counted, now);
        if counted.refused.len() >= ADDRESSES {
            counted.refused.clear();
        }
        let refused = counted.refused.entry(whole(address)).or_default();
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

/// The network that one caller has: of IPv6 that is a /64.
fn whole(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_that_is_refused_often_waits_for_the_next_second() {
        let began = Instant::now();
        let refusals = Refusals::new(began);
        let bad = address("203.0.113.1");
        let at = began + Duration::from_millis(2300);
        for _ in 0..MOST {
            assert_eq!(refusals.admit(bad, at), Ok(()));
            refusals.note(bad, at);
        }
        assert_eq!(refusals.admit(bad, at), Err(Duration::from_millis(700)));
        assert_eq!(refusals.admit(address("203.0.113.2"), at), Ok(()));
        let next = began + Duration::from_secs(3);
        assert_eq!(refusals.admit(bad, next), Ok(()));
    }

    #[test]
    fn a_network_of_ipv6_is_one_caller() {
        let now = Instant::now();
        let refusals = Refusals::new(now);
        for host in 0..MOST {
            refusals.note(address(&format!("2001:db8::{host:x}")), now);
        }
        assert!(refusals.admit(address("2001:db8::ffff"), now).is_err());
        assert!(refusals.admit(address("2001:db8:0:1::1"), now).is_ok());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let now = Instant::now();
        let refusals = Refusals::new(now);
        for n in 0..3 * ADDRESSES as u32 {
            refusals.note(IpAddr::from(n.to_be_bytes()), now);
        }
        let counted = refusals.counted.lock().unwrap();
        assert!(counted.refused.len() <= ADDRESSES);
    }
}
