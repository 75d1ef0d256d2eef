//! What the transport knows of the hosts that attempts go to: which version of HTTP they speak,
//! and the pool of its own that a host has after a fault.
//!
//! A connection of HTTP/2 carries the requests of all endpoints on its host, and would swallow
//! them if its peer stopped answering. After a fault the host gets a pool of its own, without the
//! connections so far. Attempts under way on these go on.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::{Client, Version};
use tokio::time::Instant;
use url::{Position, Url};

/// Hosts that are remembered; one more, and all are forgotten.
const MAX_HOSTS: usize = 4096;
/// Pools of hosts of their own; one more, and all are dropped.
const MAX_POOLS: usize = 256;

#[derive(Default)]
pub(super) struct Hosts(Mutex<HashMap<Box<str>, Host>>);

#[derive(Default)]
struct Host {
    /// It asked for HTTP/1.1 (RFC 9113, 7: HTTP_1_1_REQUIRED).
    wants_http1: bool,
    /// It answers over HTTP/1: a connection carries one request at a time, and a fault ends it.
    speaks_http1: bool,
    pools: Vec<Pool>,
}

struct Pool {
    /// The pair of clients that it stands in for.
    pair: u64,
    client: Client,
    generation: u64,
    since: Instant,
}

impl Hosts {
    pub(super) fn wants_http1(&self, url: &Url) -> bool {
        let hosts = self.lock();
        let host = hosts.get(authority(url));
        host.is_some_and(|host| host.wants_http1)
    }

    /// The host asked for HTTP/1.1. Whether that is news.
    pub(super) fn use_http1(&self, url: &Url) -> bool {
        let mut hosts = self.lock();
        !std::mem::replace(&mut entry(&mut hosts, url).wants_http1, true)
    }

    /// The host answered over this version.
    pub(super) fn answered(&self, url: &Url, version: Version) {
        let mut hosts = self.lock();
        let over_http1 = version != Version::HTTP_2;
        match hosts.get_mut(authority(url)) {
            Some(host) => host.speaks_http1 = over_http1,
            None if over_http1 => entry(&mut hosts, url).speaks_http1 = true,
            // Nothing is to be remembered of most hosts.
            None => {}
        }
    }

    /// The client of the host's own pool in place of the pair's, and its generation. After
    /// `max_age` the pair has a new pool as well.
    pub(super) fn pool(&self, url: &Url, pair: u64, max_age: Duration) -> Option<(Client, u64)> {
        let mut hosts = self.lock();
        let host = hosts.get_mut(authority(url))?;
        host.pools.retain(|pool| pool.since.elapsed() < max_age);
        let pool = host.pools.iter().find(|pool| pool.pair == pair)?;
        Some((pool.client.clone(), pool.generation))
    }

    /// There was a fault on a connection of this generation, 0 if the host has no pool of its
    /// own: gives it the pool that `make` makes, unless it has a newer one already.
    pub(super) fn replace_pool<E>(
        &self,
        url: &Url,
        pair: u64,
        generation: u64,
        make: impl FnOnce() -> Result<Client, E>,
    ) -> Result<(), E> {
        let mut hosts = self.lock();
        let host = entry(&mut hosts, url);
        let at = host.pools.iter().position(|pool| pool.pair == pair);
        let current = at.and_then(|at| host.pools.get(at));
        if host.speaks_http1 || current.map_or(0, |pool| pool.generation) != generation {
            return Ok(());
        }
        let pool = Pool {
            pair,
            client: make()?,
            generation: generation.saturating_add(1),
            since: Instant::now(),
        };
        host.pools.retain(|pool| pool.pair != pair);
        host.pools.push(pool);
        if hosts.values().map(|host| host.pools.len()).sum::<usize>() > MAX_POOLS {
            hosts.values_mut().for_each(|host| host.pools.clear());
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Host>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn entry<'a>(hosts: &'a mut HashMap<Box<str>, Host>, url: &Url) -> &'a mut Host {
    let name = authority(url);
    if hosts.len() >= MAX_HOSTS && !hosts.contains_key(name) {
        hosts.clear();
    }
    hosts.entry(name.into()).or_default()
}

/// Host and port, as the URL has them.
fn authority(url: &Url) -> &str {
    &url[Position::BeforeHost..Position::AfterPort]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(n: usize) -> Url {
        format!("https://host{n}.example:8443/a?b").parse().unwrap()
    }

    fn made() -> Result<Client, ()> {
        static ONE: std::sync::OnceLock<Client> = std::sync::OnceLock::new();
        let provider = rustls::crypto::ring::default_provider();
        let tls = rustls::ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let make = || Client::builder().tls_backend_preconfigured(tls).build();
        Ok(ONE.get_or_init(|| make().unwrap()).clone())
    }

    #[test]
    fn a_pool_is_replaced_once_for_the_attempts_that_failed_on_it() {
        let (hosts, age) = (Hosts::default(), Duration::from_secs(60));
        let generation = |pair| {
            hosts
                .pool(&url(1), pair, age)
                .map(|(_, generation)| generation)
        };
        for _ in 0..3 {
            hosts.replace_pool(&url(1), 0, 0, made).unwrap();
        }
        assert_eq!((generation(0), generation(7)), (Some(1), None));
        hosts.replace_pool(&url(1), 0, 1, made).unwrap();
        assert_eq!(generation(0), Some(2));
        // With the age of the pair's own pool it is as new as any.
        assert!(hosts.pool(&url(1), 0, Duration::ZERO).is_none());
        assert_eq!(generation(0), None);
        // A connection of HTTP/1 is its attempt's alone.
        hosts.answered(&url(1), Version::HTTP_11);
        hosts.replace_pool(&url(1), 0, 0, made).unwrap();
        assert_eq!(generation(0), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (hosts, age) = (Hosts::default(), Duration::from_secs(60));
        for n in 0..=MAX_POOLS {
            hosts.replace_pool(&url(n), 0, 0, made).unwrap();
        }
        assert!(hosts.pool(&url(0), 0, age).is_none());
        for n in 0..=MAX_HOSTS {
            assert!(hosts.use_http1(&url(n)));
            assert!(!hosts.use_http1(&url(n)) && hosts.wants_http1(&url(n)));
        }
        assert!(!hosts.wants_http1(&url(0)));
        assert_eq!(hosts.lock().len(), 1);
        hosts.answered(&url(0), Version::HTTP_2);
        assert_eq!(hosts.lock().len(), 1);
    }
}
