//! The links that let a customer in at the portal: for one tenant, with some capabilities, until a time.
//!
//! A link has a code, which works once and opens a session, and a token, which works until the link
//! ends. Only their digests are kept, in memory: a restart ends all links. A link ends at its time, by
//! `DELETE /v1/portal/links`, and with the rule that admitted the caller who made it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::access::{Access, Caller};
use crate::clock;
use crate::domain::event::Tenant;
use crate::domain::time::Timestamp;

/// Links that have not ended.
pub const MOST: usize = 100_000;
/// Live tails of one link at once.
const TAILS: usize = 4;
/// Live tails of all links at once: the others are the operator's.
const ALL_TAILS: usize = 32;
/// How often links whose time is over are forgotten.
const SWEEP: Duration = Duration::from_secs(60);
/// How often a tail looks at the clock, which may have been set.
const LOOK: Duration = Duration::from_secs(30);
/// What a token begins with.
const PREFIX: &str = "portal_";

type Id = [u8; 32];

/// What a link lets its holder do, besides looking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    pub manage: bool,
    pub replay: bool,
    pub secrets: bool,
}

/// What a link is asked to be.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub tenant: Tenant,
    pub capabilities: Capabilities,
    pub session: Option<String>,
    pub return_url: Option<Arc<str>>,
    pub expires_at: Timestamp,
}

/// A link that was made.
#[derive(Debug)]
pub struct PortalLink {
    pub wanted: Wanted,
    /// As the log names its holder.
    name: String,
    maker: Caller,
    end: watch::Sender<bool>,
    tails: Arc<Semaphore>,
    all_tails: Arc<Semaphore>,
}

/// The places of a live tail; they are free again when this is dropped.
#[derive(Debug)]
pub struct TailPlace {
    _own: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl PortalLink {
    /// As the log names its holder: `portal acme/user-17`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the link is in force, by the rules of access in force.
    pub fn is_valid(&self, access: &Access, now: Timestamp) -> bool {
        !self.is_over(now) && access.still_admits(&self.maker)
    }

    fn is_over(&self, now: Timestamp) -> bool {
        self.wanted.expires_at <= now || *self.end.borrow()
    }

    /// A place for a live tail; `None` if there are as many as there may be.
    pub fn tail_place(&self) -> Option<TailPlace> {
        Some(TailPlace {
            _own: self.tails.clone().try_acquire_owned().ok()?,
            _of_all: self.all_tails.clone().try_acquire_owned().ok()?,
        })
    }

    /// Waits until the link ends.
    pub async fn ended(&self) {
        let mut end = self.end.subscribe();
        let its_time = async {
            loop {
                let left = self.wanted.expires_at.since(clock::now());
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(LOOK)).await;
            }
        };
        tokio::select! {
            // The sender is this link's own.
            _ = end.wait_for(|ended| *ended) => {}
            () = self.maker.clone().refused() => {}
            () = its_time => {}
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct PortalLinks {
    state: Mutex<State>,
    all_tails: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct State {
    /// Codes that were not used yet.
    codes: HashMap<Id, Arc<PortalLink>>,
    tokens: HashMap<Id, Arc<PortalLink>>,
    swept_at: Timestamp,
}

/// What a link is used with.
#[derive(Debug)]
pub struct Made {
    pub code: String,
    pub token: String,
}

impl Default for PortalLinks {
    fn default() -> Self {
        PortalLinks {
            state: Mutex::default(),
            all_tails: Arc::new(Semaphore::new(ALL_TAILS)),
        }
    }
}

impl PortalLinks {
    /// Makes a link, its code and its token of these random bytes. `None`: there are too many.
    pub fn make(
        &self,
        wanted: Wanted,
        maker: Caller,
        random: [[u8; 32]; 2],
        now: Timestamp,
    ) -> Option<Made> {
        let [code, token] = random.map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
        let token = format!("{PREFIX}{token}");
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.tokens.len() >= MOST || now.since(state.swept_at) >= SWEEP {
            state.forget(|link| link.is_over(now));
            state.swept_at = now;
        }
        if state.tokens.len() >= MOST {
            return None;
        }
        let tenant = &wanted.tenant;
        let link = Arc::new(PortalLink {
            name: match &wanted.session {
                Some(session) => format!("portal {tenant}/{session}"),
                None => format!("portal {tenant}"),
            },
            wanted,
            maker,
            end: watch::Sender::new(false),
            tails: Arc::new(Semaphore::new(TAILS)),
            all_tails: self.all_tails.clone(),
        });
        state.codes.insert(id(&code), link.clone());
        state.tokens.insert(id(&token), link);
        Some(Made { code, token })
    }

    /// The link of a code. The code does not work again.
    pub fn take(&self, code: &str) -> Option<Arc<PortalLink>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.codes.remove(&id(code))
    }

    /// The link of a token.
    pub fn of_token(&self, token: &str) -> Option<Arc<PortalLink>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.tokens.get(&id(token)).cloned()
    }

    /// Ends the links of a tenant, or those of one of its sessions, with all that they opened.
    pub fn end(&self, tenant: &Tenant, session: Option<&str>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.forget(|link| {
            let wanted = &link.wanted;
            let is_named = wanted.tenant == *tenant
                && session.is_none_or(|session| wanted.session.as_deref() == Some(session));
            if is_named {
                link.end.send_replace(true);
            }
            is_named
        });
    }
}

impl State {
    fn forget(&mut self, is_gone: impl Fn(&PortalLink) -> bool) {
        self.tokens.retain(|_, link| !is_gone(link));
        self.codes.retain(|_, link| !is_gone(link));
    }
}

/// How long the comparison of digests takes says nothing about what they are of.
fn id(secret: &str) -> Id {
    Sha256::digest(secret.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(tenant: &str, session: Option<&str>, until: u64) -> Wanted {
        Wanted {
            tenant: tenant.parse().unwrap(),
            capabilities: Capabilities::default(),
            session: session.map(str::to_owned),
            return_url: None,
            expires_at: Timestamp::from_millis(until),
        }
    }

    fn make(links: &PortalLinks, wanted: Wanted, n: u8, now: u64) -> Made {
        let random = [[n; 32], [n + 100; 32]];
        let now = Timestamp::from_millis(now);
        links.make(wanted, Caller::Socket, random, now).unwrap()
    }

    #[test]
    fn a_code_works_once_and_a_token_until_the_end() {
        let links = PortalLinks::default();
        let made = make(&links, wanted("a", None, 10_000), 1, 0);
        assert!(links.take(&made.token).is_none() && links.of_token(&made.code).is_none());
        let link = links.take(&made.code).unwrap();
        assert!(links.take(&made.code).is_none());
        assert!(links.of_token(&made.token).is_some());
        assert!(!link.is_over(Timestamp::from_millis(9_999)));
        assert!(link.is_over(Timestamp::from_millis(10_000)));
    }

    #[tokio::test]
    async fn a_tenant_or_a_session_ends() {
        let links = PortalLinks::default();
        let far = clock::now().as_millis() + 100_000;
        let one = make(&links, wanted("a", Some("x"), far), 1, 0);
        let two = make(&links, wanted("a", Some("y"), far), 2, 0);
        let other = make(&links, wanted("b", Some("x"), far), 3, 0);
        let link = links.of_token(&one.token).unwrap();
        assert_eq!(link.name(), "portal a/x");
        links.end(&"a".parse().unwrap(), Some("x"));
        link.ended().await;
        assert!(links.of_token(&one.token).is_none() && links.take(&one.code).is_none());
        assert!(links.of_token(&two.token).is_some());
        links.end(&"a".parse().unwrap(), None);
        assert!(links.take(&two.code).is_none());
        assert!(links.take(&other.code).is_some());
    }

    #[tokio::test]
    async fn a_link_ends_at_its_time() {
        let links = PortalLinks::default();
        let soon = clock::now().as_millis() + 50;
        let made = make(&links, wanted("a", None, soon), 1, 0);
        links.of_token(&made.token).unwrap().ended().await;
        assert!(clock::now().as_millis() >= soon);
    }

    #[test]
    fn what_is_over_is_forgotten() {
        let links = PortalLinks::default();
        for n in 0..10 {
            make(&links, wanted("a", None, 1_000), n, 0);
        }
        make(&links, wanted("a", None, 200_000), 11, 100_000);
        let state = links.state.lock().unwrap();
        assert_eq!((state.codes.len(), state.tokens.len()), (1, 1));
    }

    #[test]
    fn a_link_has_few_tails() {
        let links = PortalLinks::default();
        let made = make(&links, wanted("a", None, 1_000), 1, 0);
        let link = links.of_token(&made.token).unwrap();
        let places: Vec<_> = (0..TAILS).map(|_| link.tail_place().unwrap()).collect();
        assert!(link.tail_place().is_none());
        drop(places);
        assert!(link.tail_place().is_some());
    }
}
