//! How many logins an address may try.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Tries of one network within [`SPAN`].
const TRIES: usize = 5;
const SPAN: Duration = Duration::from_secs(60);
/// Networks that are remembered; while there are more, each try of a new one is refused.
const MOST: usize = 4096;

/// The tries of the last minute, by the network of the caller.
#[derive(Debug, Default)]
pub struct LoginRate(Mutex<HashMap<IpAddr, Vec<Instant>>>);

impl LoginRate {
    /// Counts a try.
    ///
    /// # Errors
    /// How long to wait for the next one. A try that is refused does not count.
    pub fn take(&self, network: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut tries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent = |at: &Instant| now.duration_since(*at) < SPAN;
        if tries.len() >= MOST {
            tries.retain(|_, tries| tries.iter().any(is_recent));
            if tries.len() >= MOST && !tries.contains_key(&network) {
                return Err(SPAN);
            }
        }
        let own = tries.entry(network).or_default();
        own.retain(is_recent);
        match own.first() {
            Some(first) if own.len() >= TRIES => Err(SPAN - now.duration_since(*first)),
            _ => {
                own.push(now);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_in_a_minute_and_address() {
        let (rate, start) = (LoginRate::default(), Instant::now());
        let (one, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let after = |seconds| start + Duration::from_secs(seconds);
        for second in 0..5 {
            assert_eq!(rate.take(one, after(second)), Ok(()));
        }
        assert_eq!(rate.take(one, after(10)), Err(Duration::from_secs(50)));
        assert_eq!(rate.take(other, after(10)), Ok(()));
        assert_eq!(rate.take(one, after(60)), Ok(()));
        assert_eq!(rate.take(one, after(60)), Err(Duration::from_secs(1)));
    }

    #[test]
    fn the_memory_is_bounded() {
        let (rate, now) = (LoginRate::default(), Instant::now());
        for n in 0..MOST as u32 {
            assert_eq!(rate.take(IpAddr::V4(n.into()), now), Ok(()));
        }
        let new = "203.0.113.1".parse().unwrap();
        assert!(rate.take(new, now).is_err());
        assert_eq!(rate.take(IpAddr::V4(1.into()), now), Ok(()));
        assert_eq!(rate.take(new, now + SPAN), Ok(()));
    }
}
