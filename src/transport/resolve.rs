//! Resolves a name to the addresses that may be dialled.
//!
//! reqwest asks here whenever it opens a connection to a name, so nothing that a name
//! resolves to is dialled unjudged, and what was judged is what is dialled: there is no
//! second look-up in between for a name server to answer differently. A pooled
//! connection was judged when it was dialled. IP literals never come by here; the
//! attempt judges them itself before it sends.
//!
//! The system's resolver blocks a thread for as long as it likes (minutes, with name
//! servers that hang), so its look-ups are few at a time, and names that lately took
//! long share half of those places: a customer's hung name server must not stop the
//! look-ups of others.

use std::collections::HashSet;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

use super::local::is_our_own;
use super::progress;
use crate::domain::address::{DialRule, Refusal};

/// Look-ups at once. Each may hold a thread.
const LOOKUPS: usize = 64;
/// Of these, for names that lately took long.
const SLOW_LOOKUPS: usize = LOOKUPS / 2;
/// A look-up that takes longer makes its name slow.
const SLOW: Duration = Duration::from_secs(1);
/// Slow names remembered; then all are forgotten.
const SLOW_NAMES: usize = 4096;
/// Addresses of one name that are dialled. More is no use within `connect_timeout`.
const ADDRESSES: usize = 16;

/// Why a name gave no address to dial.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResolveFault {
    #[error("cannot resolve {name}: {source}")]
    NotFound { name: String, source: io::Error },
    #[error("{name} resolves to no address")]
    Empty { name: String },
    /// The first of its addresses and what is wrong with it.
    #[error("{name} resolves to {of} that may not be dialled: {first}", of = addresses(*count))]
    Blocked {
        name: String,
        count: usize,
        first: Refusal,
    },
    #[error("the resolver stopped")]
    Stopped,
}

fn addresses(count: usize) -> String {
    match count {
        1 => "an address".to_owned(),
        many => format!("{many} addresses"),
    }
}

/// The look-ups of the whole process.
pub(super) struct Lookups {
    places: Arc<Semaphore>,
    slow_places: Arc<Semaphore>,
    slow: Mutex<HashSet<Box<str>>>,
}

impl Lookups {
    pub(super) fn new() -> Self {
        Lookups {
            places: Arc::new(Semaphore::new(LOOKUPS)),
            slow_places: Arc::new(Semaphore::new(SLOW_LOOKUPS)),
            slow: Mutex::new(HashSet::new()),
        }
    }

    /// Asks the system. The places are given back when the system's resolver returns,
    /// not when the attempt stops waiting for it.
    async fn addresses(&self, name: &str) -> Result<Vec<SocketAddr>, ResolveFault> {
        let stopped = |_| ResolveFault::Stopped;
        let slow_place = match self.is_slow(name) {
            true => Some(
                self.slow_places
                    .clone()
                    .acquire_owned()
                    .await
                    .map_err(stopped)?,
            ),
            false => None,
        };
        let place = self.places.clone().acquire_owned().await.map_err(stopped)?;
        let host = name.to_owned();
        let mut asking = tokio::task::spawn_blocking(move || {
            let _places = (place, slow_place);
            let found = (host.as_str(), 0).to_socket_addrs();
            let found = found.map(|all| all.take(ADDRESSES).collect::<Vec<_>>());
            found.map_err(|error| starved().unwrap_or(error))
        });
        let answer = match tokio::time::timeout(SLOW, &mut asking).await {
            Ok(answer) => {
                self.mark(name, false);
                answer
            }
            Err(_) => {
                self.mark(name, true);
                asking.await
            }
        };
        let answer = answer.map_err(|_| ResolveFault::Stopped)?;
        answer.map_err(|source| ResolveFault::NotFound {
            name: name.to_owned(),
            source,
        })
    }

    fn is_slow(&self, name: &str) -> bool {
        let slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        slow.contains(name)
    }

    fn mark(&self, name: &str, slow_now: bool) {
        let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        if !slow_now {
            slow.remove(name);
            return;
        }
        if slow.len() >= SLOW_NAMES {
            slow.clear();
        }
        slow.insert(name.into());
    }
}

/// The system's resolver reads files and opens sockets, and says "not found" when it could
/// do neither. Whether there are no descriptors just now.
fn starved() -> Option<io::Error> {
    let opened = std::fs::File::open("/dev/null");
    opened.err().filter(is_our_own)
}

/// reqwest's resolver for one [`DialRule`].
pub(super) struct Resolver {
    pub(super) lookups: Arc<Lookups>,
    /// `None` lets everything through: for the name of the operator's own proxy.
    pub(super) rule: Option<Arc<DialRule>>,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (lookups, rule) = (self.lookups.clone(), self.rule.clone());
        Box::pin(async move {
            progress::resolving();
            let mut found = lookups.addresses(name.as_str()).await?;
            if let Some(rule) = rule {
                found = judged(name.as_str(), found, &rule)?;
            }
            progress::dialling(match found.as_slice() {
                [only] => Some(only.ip()),
                _ => None,
            });
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// The addresses that the rule lets through; a fault if it is none.
fn judged(
    name: &str,
    found: Vec<SocketAddr>,
    rule: &DialRule,
) -> Result<Vec<SocketAddr>, ResolveFault> {
    let (count, mut first) = (found.len(), None);
    let mut allowed = found;
    allowed.retain(|address| match rule.judge(address.ip()) {
        Ok(()) => true,
        Err(refusal) => {
            first.get_or_insert(refusal);
            false
        }
    });
    let name = || name.to_owned();
    match first {
        _ if !allowed.is_empty() => Ok(allowed),
        Some(first) => Err(ResolveFault::Blocked {
            name: name(),
            count,
            first,
        }),
        None => Err(ResolveFault::Empty { name: name() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter()
            .map(|ip| SocketAddr::new(ip.parse().unwrap(), 0))
            .collect()
    }

    #[test]
    fn of_several_addresses_only_the_allowed_ones_are_dialled() {
        let public = DialRule {
            grants: Vec::new(),
            public: true,
        };
        let mixed = addresses(&[
            "10.0.0.1",
            "93.184.216.34",
            "::ffff:127.0.0.1",
            "2606:4700::1111",
        ]);
        let kept = judged("mixed.example", mixed, &public).unwrap();
        assert_eq!(kept, addresses(&["93.184.216.34", "2606:4700::1111"]));
        let fault = judged("in.example", addresses(&["10.0.0.1", "127.0.0.1"]), &public);
        assert_eq!(
            fault.unwrap_err().to_string(),
            "in.example resolves to 2 addresses that may not be dialled: \
             10.0.0.1 is a private address and no allow_networks holds it"
        );
        let fault = judged("none.example", Vec::new(), &public).unwrap_err();
        assert!(matches!(fault, ResolveFault::Empty { .. }));
    }

    #[test]
    fn plain_http_keeps_only_granted_addresses() {
        let rule = DialRule {
            grants: vec!["10.0.0.0/8".parse().unwrap()],
            public: false,
        };
        let kept = judged("x", addresses(&["93.184.216.34", "10.1.2.3"]), &rule).unwrap();
        assert_eq!(kept, addresses(&["10.1.2.3"]));
        assert!(judged("x", addresses(&["93.184.216.34"]), &rule).is_err());
    }

    #[test]
    fn slow_names_are_remembered_within_a_bound() {
        let lookups = Lookups::new();
        for n in 0..SLOW_NAMES + 1 {
            lookups.mark(&format!("{n}.example"), true);
        }
        assert_eq!(lookups.slow.lock().unwrap().len(), 1);
        let last = format!("{SLOW_NAMES}.example");
        assert!(lookups.is_slow(&last));
        lookups.mark(&last, false);
        assert!(!lookups.is_slow(&last));
    }

    #[tokio::test]
    async fn an_abandoned_lookup_gives_its_place_back_when_the_system_answers() {
        let lookups = Arc::new(Lookups::new());
        {
            let mut asking = Box::pin(lookups.addresses("localhost"));
            // One poll starts the thread, then nobody waits any more.
            let waker = std::task::Waker::noop();
            let _ = asking
                .as_mut()
                .poll(&mut std::task::Context::from_waker(waker));
        }
        let all = lookups.places.acquire_many(LOOKUPS as u32);
        let all = tokio::time::timeout(Duration::from_secs(20), all).await;
        assert!(all.is_ok());
    }
}
