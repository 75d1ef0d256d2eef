//! The budget of idle connections: how many may be kept open, over all hosts together.
//!
//! reqwest bounds idle connections for one host, never for all: ten thousand endpoints
//! with an event a minute would hold ten thousand sockets, and a daemon without file
//! descriptors can neither accept events nor open its log. Connections to a host that
//! are kept are at most those that were in use at once within its last minute or two,
//! so it is enough to count these. A host for which there is no room is still served:
//! its attempts use connections that close after them.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::account::Total as _;
use tokio::time::Instant;
use url::Url;

/// How long an idle connection is kept. Below the 60 s after which many proxies and load
/// balancers drop theirs, so that we close first and do not send into a closing one.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(55);

/// After this long, hosts are charged for what they used since the last time only.
/// Longer than connections are kept.
const WINDOW: Duration = Duration::from_secs(60);

/// The connections that are kept or may come to be.
pub(super) struct IdleBudget {
    budget: usize,
    hash: RandomState,
    state: Mutex<State>,
}

struct State {
    /// By hash of scheme, host, port and pool. Two hosts with one hash share a charge.
    hosts: HashMap<u64, Host>,
    /// The sum over `hosts`; at most `budget`, but for hosts that are in use.
    charged: usize,
    window_began: Instant,
}

#[derive(Default)]
struct Host {
    in_use: usize,
    /// The most in use at once: in this window, and what the host is charged for.
    recent: usize,
    charged: usize,
}

/// A reservation: the attempt may use a connection that is kept afterwards.
pub(super) struct Reservation<'a> {
    owner: &'a IdleBudget,
    host: u64,
}

impl IdleBudget {
    /// At most `budget` connections are kept over all hosts.
    pub(super) fn new(budget: usize) -> Self {
        IdleBudget {
            budget,
            hash: RandomState::new(),
            state: Mutex::new(State {
                hosts: HashMap::new(),
                charged: 0,
                window_began: Instant::now(),
            }),
        }
    }

    /// Reserves a kept connection to the host of `url`, to use and to leave open; `None` if
    /// there is no room for one more. `pool` tells apart pools that are not shared.
    pub(super) fn reserve(&self, url: &Url, pool: u64, now: Instant) -> Option<Reservation<'_>> {
        let key = (url.scheme(), url.host_str(), url.port(), pool);
        let host = self.hash.hash_one(key);
        let mut state = self.state();
        state.turn_window(now);
        let has_room = state.charged < self.budget;
        let known = state.hosts.get_mut(&host);
        match known {
            Some(known) if known.in_use < known.charged => known.take(),
            _ if !has_room => return None,
            _ => {
                let grown = state.hosts.entry(host).or_default();
                grown.charged += 1;
                grown.take();
                state.charged += 1;
            }
        }
        Some(Reservation { owner: self, host })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host {
    fn take(&mut self) {
        self.in_use += 1;
        self.recent = self.recent.max(self.in_use);
    }
}

impl State {
    /// Once a window: charges each host for what it used in the last one.
    fn turn_window(&mut self, now: Instant) {
        if now.saturating_duration_since(self.window_began) < WINDOW {
            return;
        }
        self.window_began = now;
        self.hosts.retain(|_, host| {
            host.charged = host.recent.max(host.in_use);
            host.recent = host.in_use;
            host.charged > 0
        });
        self.charged = self.hosts.values().map(|host| host.charged).sum();
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if let Some(host) = self.owner.state().hosts.get_mut(&self.host) {
            host.in_use.take_off(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(n: usize) -> Url {
        format!("https://host{n}.example/hook").parse().unwrap()
    }

    #[test]
    fn hosts_share_a_budget_that_idle_ones_give_back() {
        let (budget, mut now) = (IdleBudget::new(3), Instant::now());
        let first: Vec<_> = (0..2).map(|_| budget.reserve(&url(1), 0, now)).collect();
        assert!(first.iter().all(Option::is_some));
        drop(first);
        assert!(budget.reserve(&url(2), 0, now).is_some());
        assert!(
            budget.reserve(&url(3), 0, now).is_none(),
            "three are charged"
        );
        // What a host has been charged for it may use again.
        let again = [
            budget.reserve(&url(1), 0, now),
            budget.reserve(&url(1), 0, now),
        ];
        assert!(again.iter().all(Option::is_some));
        assert!(budget.reserve(&url(1), 0, now).is_none(), "but no more");
        drop(again);
        now += WINDOW;
        assert!(
            budget.reserve(&url(3), 0, now).is_none(),
            "their connections may still be open"
        );
        now += WINDOW;
        assert!(budget.reserve(&url(3), 0, now).is_some());
        assert_eq!(budget.state().hosts.len(), 1);
    }

    #[test]
    fn a_host_in_use_stays_charged() {
        let (budget, mut now) = (IdleBudget::new(1), Instant::now());
        let held = budget.reserve(&url(1), 0, now);
        for _ in 0..3 {
            now += WINDOW;
            assert!(budget.reserve(&url(2), 0, now).is_none());
        }
        drop(held);
        for _ in 0..2 {
            now += WINDOW;
            let _ = budget.reserve(&url(1), 0, now);
        }
        assert_eq!(budget.state().charged, 1);
    }

    #[test]
    fn pools_do_not_share_connections() {
        let (budget, now) = (IdleBudget::new(2), Instant::now());
        assert!(
            budget.reserve(&url(1), 0, now).is_some() && budget.reserve(&url(1), 1, now).is_some()
        );
        assert_eq!(budget.state().hosts.len(), 2);
    }
}
