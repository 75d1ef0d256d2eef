//! Resolves a name to the addresses that may be dialled.
//!
//! The connector asks here whenever it opens a connection to a name, so nothing that a name
//! resolves to is dialled unjudged, and what was judged is what is dialled: there is no
//! second look-up in between for a name server to answer differently. A pooled
//! connection was judged when it was dialled. IP literals never come by here; the
//! attempt judges them itself before it sends.
//!
//! The system's resolver (`getaddrinfo`: `/etc/hosts`, search domains, nsswitch and all) blocks
//! a thread for as long as it likes, minutes with name servers that hang. So its look-ups are few
//! at a time, and have places of three kinds: a look-up that takes long gives its place back and
//! goes on in one for slow names, where names that took long before begin; names that nothing is
//! known of share half of the fast places; and names that lately were fast have all of them. So
//! whatever names a tenant thinks of, the names that work are looked up at once. outboxd uses an
//! answer again for 2 ms.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::client::legacy::connect::dns::Name;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tower_service::Service;

use super::figures::{Phase, TransportFigures};
use super::local::is_our_own;
use super::lock::lock;
use super::progress::Progress;
use crate::domain::address::{DialRule, Refusal};

/// Fast look-ups at once. Each may hold a thread.
const FAST: usize = 64;
/// Of these, for names that nothing is known of.
const UNKNOWN: usize = FAST / 2;
/// Slow look-ups at once, each with a thread.
const SLOW: usize = 128;
/// A look-up that takes longer is slow.
const SLOW_AFTER: Duration = Duration::from_secs(1);
/// Names remembered as fast or slow, of each; then all of these are forgotten.
const NAMES: usize = 16_384;
/// How long an answer is used again, so that thousands of connections a second to one name do not
/// cost a look-up each. As short as a look-up, so that a name that moves is followed at once.
const FRESH: Duration = Duration::from_millis(2);
/// Names whose answers are kept; one more, and all are dropped.
const ANSWERS: usize = 1024;
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

/// How a name was lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    Fast,
    Unknown,
    Slow,
}

/// The names that are known, and how the last look-up of each was.
#[derive(Default)]
struct Paces {
    fast: HashSet<Box<str>>,
    /// With the domains that they are in: the owner of one hanging name can make many.
    slow: HashSet<Box<str>>,
}

impl Paces {
    fn of(&self, name: &str) -> Pace {
        if self.fast.contains(name) {
            return Pace::Fast;
        }
        let is_slow = |name: &str| self.slow.contains(name);
        match is_slow(name) || parent(name).is_some_and(is_slow) {
            true => Pace::Slow,
            false => Pace::Unknown,
        }
    }

    fn note(&mut self, name: &str, slow: bool) {
        let (to, from) = match slow {
            true => (&mut self.slow, &mut self.fast),
            false => (&mut self.fast, &mut self.slow),
        };
        from.remove(name);
        if to.len() >= NAMES {
            to.clear();
        }
        to.insert(name.into());
        if let Some(parent) = parent(name) {
            match slow {
                true => drop(self.slow.insert(parent.into())),
                false => drop(self.slow.remove(parent)),
            }
        }
    }
}

/// The domain that a name is in, unless that is a top-level one.
fn parent(name: &str) -> Option<&str> {
    let (_, parent) = name.split_once('.')?;
    parent.trim_end_matches('.').contains('.').then_some(parent)
}

/// What a look-up holds while it runs.
type Places = Arc<Mutex<Vec<OwnedSemaphorePermit>>>;

/// The look-ups of the whole process.
pub(super) struct Lookups {
    fast: Arc<Semaphore>,
    unknown: Arc<Semaphore>,
    slow: Arc<Semaphore>,
    paces: Mutex<Paces>,
    answers: Mutex<HashMap<Box<str>, Answer>>,
}

struct Answer {
    at: Instant,
    addresses: Vec<SocketAddr>,
}

impl Lookups {
    pub(super) fn new() -> Self {
        Lookups {
            fast: Arc::new(Semaphore::new(FAST)),
            unknown: Arc::new(Semaphore::new(UNKNOWN)),
            slow: Arc::new(Semaphore::new(SLOW)),
            paces: Mutex::default(),
            answers: Mutex::default(),
        }
    }

    /// What the system answers, or answered within the last [`FRESH`].
    pub(super) async fn addresses(&self, name: &str) -> Result<Vec<SocketAddr>, ResolveFault> {
        let now = Instant::now();
        if let Some(answer) = lock(&self.answers).get(name)
            && now.saturating_duration_since(answer.at) < FRESH
        {
            return Ok(answer.addresses.clone());
        }
        let addresses = self.ask(name).await?;
        let mut answers = lock(&self.answers);
        if answers.len() >= ANSWERS {
            answers.clear();
        }
        let answer = Answer {
            at: now,
            addresses: addresses.clone(),
        };
        answers.insert(name.into(), answer);
        Ok(addresses)
    }

    /// Asks the system.
    async fn ask(&self, name: &str) -> Result<Vec<SocketAddr>, ResolveFault> {
        let host = name.to_owned();
        let ask = move || {
            let found = (host.as_str(), 0).to_socket_addrs();
            let found = found.map(|all| all.take(ADDRESSES).collect::<Vec<_>>());
            found.map_err(|error| starved().unwrap_or(error))
        };
        let answer = self.answer(name, ask).await?;
        answer.map_err(|source| ResolveFault::NotFound {
            name: name.to_owned(),
            source,
        })
    }

    /// Runs `ask` on a thread, in a place for the name. A place is given back when `ask` returns,
    /// not when the attempt stops waiting for it.
    async fn answer<T: Send + 'static>(
        &self,
        name: &str,
        ask: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ResolveFault> {
        let places = self.places(name).await?;
        let held = places.clone();
        let mut asking = tokio::task::spawn_blocking(move || {
            let answer = ask();
            lock(&held).clear();
            answer
        });
        let answer = match tokio::time::timeout(SLOW_AFTER, &mut asking).await {
            Ok(answer) => {
                self.note(name, false);
                answer
            }
            Err(_) => {
                self.note(name, true);
                self.make_slow(&places);
                asking.await
            }
        };
        answer.map_err(|_| ResolveFault::Stopped)
    }

    /// Waits for places: of the order that no two wait for each other.
    async fn places(&self, name: &str) -> Result<Places, ResolveFault> {
        let pace = self.paces().of(name);
        let wanted: &[&Arc<Semaphore>] = match pace {
            Pace::Fast => &[&self.fast],
            Pace::Unknown => &[&self.unknown, &self.fast],
            Pace::Slow => &[&self.slow],
        };
        let mut held = Vec::with_capacity(wanted.len());
        for places in wanted {
            let place = (*places).clone().acquire_owned().await;
            held.push(place.map_err(|_| ResolveFault::Stopped)?);
        }
        Ok(Arc::new(Mutex::new(held)))
    }

    /// Moves a look-up that runs to a place for slow ones. Without one it stays where it is: then
    /// names that nothing is known of may have to wait, and the known ones have their own.
    fn make_slow(&self, places: &Places) {
        let mut held = lock(places);
        if held.is_empty() {
            // It has come back meanwhile.
            return;
        }
        if let Ok(place) = self.slow.clone().try_acquire_owned() {
            *held = vec![place];
        }
    }

    fn note(&self, name: &str, slow: bool) {
        self.paces().note(name, slow);
    }

    fn paces(&self) -> MutexGuard<'_, Paces> {
        lock(&self.paces)
    }
}

/// The system's resolver reads files and opens sockets, and says "not found" when it could
/// do neither. Whether there are no descriptors just now.
fn starved() -> Option<io::Error> {
    let opened = std::fs::File::open("/dev/null");
    opened.err().filter(is_our_own)
}

/// The resolver for one connection.
#[derive(Clone)]
pub(super) struct Resolver {
    pub(super) lookups: Arc<Lookups>,
    /// `None` lets everything through: for the name of the operator's own proxy.
    pub(super) rule: Option<Arc<DialRule>>,
    pub(super) progress: Arc<Progress>,
    pub(super) figures: Arc<TransportFigures>,
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = ResolveFault;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ResolveFault>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ResolveFault>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Resolver {
            lookups,
            rule,
            progress,
            figures,
        } = self.clone();
        Box::pin(async move {
            progress.set_resolving();
            let resolving = Phase::begin(&figures.dns);
            let mut found = lookups.addresses(name.as_str()).await?;
            drop(resolving);
            if let Some(rule) = rule {
                found = judged(name.as_str(), found, &rule)?;
            }
            progress.set_connecting(match found.as_slice() {
                [only] => Some(only.ip()),
                _ => None,
            });
            Ok(found.into_iter())
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
    fn names_are_remembered_within_a_bound() {
        let mut paces = Paces::default();
        for n in 0..NAMES + 1 {
            paces.note(&format!("a.{n}.example"), true);
            paces.note(&format!("b{n}.example"), false);
        }
        assert!(paces.slow.len() <= 2 && paces.fast.len() <= 2);
        let last = format!("a.{NAMES}.example");
        assert_eq!(paces.of(&last), Pace::Slow);
        paces.note(&last, false);
        assert_eq!(paces.of(&last), Pace::Fast);
    }

    #[test]
    fn a_hanging_name_makes_its_neighbours_slow_and_no_other() {
        let mut paces = Paces::default();
        paces.note("a.evil.example", true);
        assert_eq!(paces.of("b.evil.example"), Pace::Slow);
        assert_eq!(paces.of("evil.example"), Pace::Slow);
        assert_eq!(paces.of("c.b.evil.example"), Pace::Unknown);
        assert_eq!(paces.of("good.example"), Pace::Unknown);
        paces.note("www.evil.example", false);
        assert_eq!(paces.of("b.evil.example"), Pace::Unknown);
        assert_eq!(paces.of("www.evil.example"), Pace::Fast);
        assert_eq!(paces.of("a.evil.example"), Pace::Slow);
    }

    /// Look-ups that hang until the sender is dropped.
    async fn hang(lookups: &Arc<Lookups>, names: usize) -> std::sync::mpsc::Sender<()> {
        let (release, hung) = std::sync::mpsc::channel::<()>();
        let hung = Arc::new(Mutex::new(hung));
        for n in 0..names {
            let (lookups, hung) = (lookups.clone(), hung.clone());
            tokio::spawn(async move {
                let ask = move || hung.lock().unwrap().recv().is_ok();
                lookups.answer(&format!("x.{n}.test"), ask).await
            });
        }
        release
    }

    /// Waits until all places of a kind are taken.
    async fn taken(places: &Semaphore) {
        let begin = std::time::Instant::now();
        while places.available_permits() > 0 {
            assert!(begin.elapsed() < Duration::from_secs(20), "they stay free");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn names_that_hang_leave_places_to_others() {
        let lookups = Arc::new(Lookups::new());
        lookups.answer("known.example", || ()).await.unwrap();
        // More than there are places of any kind.
        let release = hang(&lookups, FAST + SLOW + UNKNOWN).await;
        taken(&lookups.slow).await;
        taken(&lookups.unknown).await;
        lookups.answer("known.example", || ()).await.unwrap();
        drop(release);
        lookups.answer("fresh.example", || ()).await.unwrap();
    }

    #[tokio::test]
    async fn fresh_names_that_hang_give_their_places_back() {
        let lookups = Arc::new(Lookups::new());
        let release = hang(&lookups, FAST).await;
        taken(&lookups.unknown).await;
        lookups.answer("fresh.example", || ()).await.unwrap();
        assert!(lookups.slow.available_permits() < SLOW);
        drop(release);
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
        let all = lookups.fast.acquire_many(FAST as u32);
        let all = tokio::time::timeout(Duration::from_secs(20), all).await;
        assert!(all.is_ok());
    }
}
