//! The codes of links that log a person in at the pages. Each works once, and for a short time.
//!
//! outboxd keeps only digests, in memory. A browser that opens the link is admitted as the caller who
//! asked for the code, as long as that caller is admitted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::access::Caller;
use crate::domain::time::Timestamp;

/// How long a link works.
const LIFETIME: Duration = Duration::from_secs(120);
/// Links that wait to be opened; beyond that the oldest one ends.
const MOST: usize = 64;

/// See the module.
#[derive(Debug)]
pub struct LoginCodes {
    waiting: Mutex<Vec<Waiting>>,
    /// Whether there are pages to log in at.
    is_on: bool,
    /// Where the pages are for a browser on this machine.
    listens_at: OnceLock<String>,
}

#[derive(Debug)]
struct Waiting {
    sha256: [u8; 32],
    caller: Caller,
    expires_at: Timestamp,
}

/// A code that was made.
#[derive(Debug)]
pub struct MadeCode {
    pub code: String,
    pub expires_at: Timestamp,
}

impl LoginCodes {
    pub fn new(is_on: bool) -> LoginCodes {
        LoginCodes {
            waiting: Mutex::default(),
            is_on,
            listens_at: OnceLock::new(),
        }
    }

    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Sets where the pages are. Over plain HTTP one logs in on the machine itself, so only addresses
    /// that lead there count.
    pub fn listens_at(&self, addresses: &[SocketAddr]) {
        let local = addresses.iter().find_map(|address| local(*address));
        if let Some(address) = local {
            // A second call would name the same addresses.
            let _ = self.listens_at.set(format!("http://{address}"));
        }
    }

    /// The scheme and authority of the pages; `None` if no listener is on this machine's loopback.
    pub fn base(&self) -> Option<&str> {
        self.listens_at.get().map(String::as_str)
    }

    /// Makes a code of these random bytes.
    pub fn make(&self, caller: Caller, random: [u8; 32], now: Timestamp) -> MadeCode {
        let code = URL_SAFE_NO_PAD.encode(random);
        let expires_at = now + LIFETIME;
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|one| one.expires_at > now);
        if waiting.len() >= MOST {
            waiting.remove(0);
        }
        waiting.push(Waiting {
            sha256: Sha256::digest(code.as_bytes()).into(),
            caller,
            expires_at,
        });
        MadeCode { code, expires_at }
    }

    /// The caller for whom the code was made. The code does not work again.
    pub fn take(&self, code: &str, now: Timestamp) -> Option<Caller> {
        let given: [u8; 32] = Sha256::digest(code.as_bytes()).into();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // How long the comparison of digests takes says nothing about a code.
        let at = waiting.iter().position(|one| one.sha256 == given)?;
        let found = waiting.remove(at);
        (found.expires_at > now).then_some(found.caller)
    }
}

/// The loopback address that leads to a listener.
fn local(address: SocketAddr) -> Option<SocketAddr> {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let is_local = ip.to_canonical().is_loopback();
    is_local.then(|| SocketAddr::new(ip, address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn a_code_works_once_and_for_a_short_time() {
        let codes = LoginCodes::new(true);
        let made = codes.make(Caller::Socket, [7; 32], at(1000));
        assert_eq!(made.expires_at, at(1120));
        assert!(codes.take("another", at(1000)).is_none());
        assert!(codes.take(&made.code, at(1119)).is_some());
        assert!(codes.take(&made.code, at(1119)).is_none());
        let late = codes.make(Caller::Socket, [8; 32], at(1000));
        assert!(codes.take(&late.code, at(1120)).is_none());
    }

    #[test]
    fn the_oldest_codes_make_room() {
        let codes = LoginCodes::new(true);
        let made: Vec<MadeCode> = (0..=64)
            .map(|n| codes.make(Caller::Socket, [n; 32], at(1)))
            .collect();
        assert!(codes.take(&made[0].code, at(1)).is_none());
        assert!(codes.take(&made[1].code, at(1)).is_some());
    }

    #[test]
    fn links_lead_to_this_machine() {
        for (listened, base) in [
            ("127.0.0.1:7717", Some("http://127.0.0.1:7717")),
            ("0.0.0.0:80", Some("http://127.0.0.1:80")),
            ("[::]:80", Some("http://[::1]:80")),
            ("192.0.2.1:80", None),
        ] {
            let codes = LoginCodes::new(true);
            codes.listens_at(&[listened.parse().unwrap()]);
            assert_eq!(codes.base(), base, "{listened}");
        }
    }
}
