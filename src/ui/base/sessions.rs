//! Sessions: who has logged in, by the cookie that the login gave.
//!
//! They are in memory alone, by the digests of their cookies: a restart ends them all. A session ends
//! after 8 hours without a request, and after 7 days in any case.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

/// Without a request for this long, a session ends.
const IDLE: Duration = Duration::from_secs(8 * 3600);
/// The longest session.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);
/// Sessions at once, if nothing else is said; beyond that the one that was idle longest ends.
const MOST: usize = 1024;

type Id = [u8; 32];

/// See the module. `W` says who has logged in.
#[derive(Debug)]
pub struct Sessions<W> {
    open: Mutex<HashMap<Id, Session<W>>>,
    most: usize,
}

#[derive(Debug)]
struct Session<W> {
    who: W,
    began: Instant,
    used: Instant,
    /// Dropped with the session, which ends what is open in it.
    open: watch::Sender<()>,
}

/// Resolves when a session has ended.
#[derive(Clone, Debug)]
pub struct Ended(watch::Receiver<()>);

impl Ended {
    pub async fn wait(mut self) {
        // Nothing is ever sent: this is the end of the sender.
        let _ = self.0.changed().await;
    }
}

impl<W> Session<W> {
    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.used) >= IDLE || now.duration_since(self.began) >= LONGEST
    }
}

impl<W> Default for Sessions<W> {
    fn default() -> Self {
        Sessions::with_room(MOST)
    }
}

impl<W> Sessions<W> {
    /// As many sessions at once as `most` says.
    pub fn with_room(most: usize) -> Sessions<W> {
        Sessions {
            open: Mutex::default(),
            most,
        }
    }
}

impl<W: Clone> Sessions<W> {
    /// Begins a session. Returns the value of its cookie, which is made of these random bytes.
    pub fn begin(&self, who: W, random: [u8; 32], now: Instant) -> String {
        let cookie = URL_SAFE_NO_PAD.encode(random);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, session| !session.is_over(now));
        if open.len() >= self.most {
            let idle = open.iter().min_by_key(|(_, session)| session.used);
            if let Some(id) = idle.map(|(id, _)| *id) {
                open.remove(&id);
            }
        }
        let session = Session {
            who,
            began: now,
            used: now,
            open: watch::Sender::default(),
        };
        open.insert(id(&cookie), session);
        cookie
    }

    /// Who is there with this cookie. A session of somebody whom `is_admitted` refuses ends.
    pub fn find(
        &self,
        cookie: &str,
        now: Instant,
        is_admitted: impl FnOnce(&W) -> bool,
    ) -> Option<W> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let id = id(cookie);
        let session = open.get_mut(&id)?;
        if session.is_over(now) || !is_admitted(&session.who) {
            open.remove(&id);
            return None;
        }
        session.used = now;
        Some(session.who.clone())
    }

    /// When the session of this cookie ends; `None` if there is none.
    pub fn ended(&self, cookie: &str) -> Option<Ended> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let session = open.get(&id(cookie))?;
        Some(Ended(session.open.subscribe()))
    }

    /// Ends the session of this cookie.
    pub fn end(&self, cookie: &str) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(&id(cookie));
    }
}

fn id(cookie: &str) -> Id {
    Sha256::digest(cookie.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_idle_old_or_by_logout() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        let hours = |hours: u64| start + Duration::from_secs(hours * 3600);
        let find = |cookie: &str, at| sessions.find(cookie, at, |_| true);
        let idle = sessions.begin("a", [1; 32], start);
        assert_eq!(find(&idle, hours(7)), Some("a"));
        assert_eq!(find(&idle, hours(14)), Some("a"));
        assert_eq!(find(&idle, hours(22)), None);
        let old = sessions.begin("a", [2; 32], start);
        for at in (0..168).step_by(6) {
            assert!(find(&old, hours(at)).is_some(), "{at}");
        }
        assert_eq!(find(&old, hours(168)), None);
        let left = sessions.begin("a", [3; 32], start);
        sessions.end(&left);
        assert_eq!(find(&left, start), None);
        assert_eq!(find("", start), None);
    }

    #[test]
    fn a_session_ends_with_what_admitted_it() {
        let sessions = Sessions::default();
        let now = Instant::now();
        let cookie = sessions.begin("a", [1; 32], now);
        assert_eq!(sessions.find(&cookie, now, |_| false), None);
        assert_eq!(sessions.find(&cookie, now, |_| true), None);
    }

    #[test]
    fn the_one_that_was_idle_longest_makes_room() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        let second = |n: u64| start + Duration::from_secs(n);
        let cookies: Vec<String> = (0..=MOST as u64)
            .map(|n| {
                let mut random = [0; 32];
                random[..8].copy_from_slice(&n.to_be_bytes());
                sessions.begin(n, random, second(n))
            })
            .collect();
        assert!(sessions.find(&cookies[0], second(2000), |_| true).is_none());
        assert!(sessions.find(&cookies[1], second(2000), |_| true).is_some());
    }
}
