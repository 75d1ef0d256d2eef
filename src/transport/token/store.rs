//! The tokens of the whole process: a slot for each endpoint, and one fetch at a time for each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderValue;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

use super::super::fault::Fault;
use super::super::lock::lock;
use super::grant::Grant;
use crate::domain::auth::Auth;
use crate::domain::endpoint::{Endpoint, EndpointId};
use crate::domain::identity::{Authorities, Identity};

/// Endpoints whose tokens are kept; with more, those that no attempt uses are dropped. A token has
/// up to 8 KiB.
const MAX_SLOTS: usize = 16_384;
/// For how long a failure serves all attempts of an endpoint.
const FAILURE_KEPT: Duration = Duration::from_secs(1);

/// The tokens of the whole process.
#[derive(Default)]
pub struct Tokens(Mutex<HashMap<EndpointId, Arc<Slot>>>);

impl Tokens {
    /// The slot of an endpoint. When its definition has changed, that is a new one.
    pub fn slot(&self, endpoint: &Endpoint) -> Arc<Slot> {
        let definition = Definition::of(endpoint);
        let mut slots = lock(&self.0);
        if let Some(slot) = slots.get(&endpoint.id)
            && slot.definition.is_same(&definition)
        {
            return slot.clone();
        }
        if slots.len() >= MAX_SLOTS {
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        let slot = Arc::new(Slot {
            definition,
            state: Mutex::default(),
            changed: Notify::new(),
        });
        slots.insert(endpoint.id.clone(), slot.clone());
        slot
    }
}

/// What a token depends on. A server may tie one to the client certificate (RFC 8705, 3).
struct Definition {
    auth: Option<Arc<Auth>>,
    identity: Option<Arc<Identity>>,
    authorities: Option<Arc<Authorities>>,
}

impl Definition {
    fn of(endpoint: &Endpoint) -> Definition {
        let shaping = endpoint.shaping.as_deref();
        Definition {
            auth: shaping.and_then(|shaping| shaping.auth.clone()),
            identity: shaping.and_then(|shaping| shaping.identity.clone()),
            authorities: shaping.and_then(|shaping| shaping.authorities.clone()),
        }
    }

    fn is_same(&self, other: &Definition) -> bool {
        self.auth == other.auth
            && self.identity == other.identity
            && self.authorities == other.authorities
    }
}

/// The token of an endpoint.
pub struct Slot {
    definition: Definition,
    state: Mutex<State>,
    /// Notified when a fetch has ended.
    changed: Notify,
}

#[derive(Default)]
struct State {
    token: Option<Arc<Token>>,
    /// The last failure, and until when it serves.
    failure: Option<(Fault, Instant)>,
    is_fetching: bool,
}

pub struct Token {
    /// The `Authorization` header, marked sensitive.
    pub header: HeaderValue,
    pub fetched: Instant,
    refresh_at: Instant,
    expires_at: Instant,
}

/// What an attempt does next to get a token.
pub(super) enum Step {
    Use(Arc<Token>),
    Fail(Fault),
    /// Another attempt fetches it.
    Wait,
    Fetch(Fetching),
}

impl Slot {
    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    pub(super) fn step(self: &Arc<Self>, now: Instant) -> Step {
        let mut state = lock(&self.state);
        let failure = state.failure.clone().filter(|(_, until)| now < *until);
        let token = state.token.clone().filter(|token| now < token.expires_at);
        let has_old = token.is_some();
        match (token, failure) {
            (Some(token), failure) => {
                if now < token.refresh_at || state.is_fetching || failure.is_some() {
                    return Step::Use(token);
                }
            }
            (None, Some((fault, _))) => return Step::Fail(fault),
            (None, None) if state.is_fetching => return Step::Wait,
            (None, None) => {}
        }
        state.is_fetching = true;
        Step::Fetch(Fetching {
            slot: self.clone(),
            has_old,
        })
    }

    /// The receiver has refused the token.
    pub fn drop_token(&self, refused: &Arc<Token>) {
        let mut state = lock(&self.state);
        if state
            .token
            .as_ref()
            .is_some_and(|token| Arc::ptr_eq(token, refused))
        {
            state.token = None;
        }
    }
}

/// An attempt is fetching the token. When it is dropped, another may.
pub(super) struct Fetching {
    slot: Arc<Slot>,
    has_old: bool,
}

impl Fetching {
    /// Whether there is a token that can still be used.
    pub(super) fn has_old(&self) -> bool {
        self.has_old
    }

    /// Keeps the token of a fetch that began at `began`. `dice` is from 0 to 1.
    pub(super) fn succeed(self, grant: &Grant, began: Instant, dice: f64) -> Arc<Token> {
        let token = Arc::new(Token {
            header: grant.header.clone(),
            fetched: Instant::now(),
            refresh_at: began + grant.refresh_after(dice),
            expires_at: began + grant.lifetime,
        });
        let mut state = lock(&self.slot.state);
        state.token = Some(token.clone());
        state.failure = None;
        drop(state);
        token
    }

    /// Keeps the failure. One of which the reason is that the attempt's time `is_over` says nothing
    /// about attempts that have more. Returns the old token if it can still be used.
    pub(super) fn fail(self, fault: Fault, is_over: bool) -> Result<Arc<Token>, Fault> {
        let now = Instant::now();
        let mut state = lock(&self.slot.state);
        let old = state.token.clone().filter(|token| now < token.expires_at);
        if old.is_some() || !is_over {
            state.failure = Some((fault.clone(), now + FAILURE_KEPT));
        }
        drop(state);
        old.ok_or(fault)
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        lock(&self.slot.state).is_fetching = false;
        self.slot.changed.notify_waiters();
    }
}
