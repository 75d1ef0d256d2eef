//! Sources: the providers whose webhooks come in. This module keeps sources in force, creates,
//! changes and removes them, and receives and counts their calls. The last refused calls are kept.
//!
//! A source of the API is stored as the definition that was given, which each start reads again.
//! Changes are made one after the other, so each one applies to the newest definition.

mod aside;
mod call;
mod definition;
mod dry_run;
mod expiry;
mod known;
mod outcomes;
mod receive;
mod registry;
mod reload;
mod tally;
#[cfg(test)]
mod tests;
mod to_the_end;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use tokio::sync::{Mutex, Notify, OwnedMutexGuard};

use super::error::Error;
use super::events::Events;
use super::random::random_bytes;
use super::reader::Reader;
use crate::clock;
use crate::domain::event::{EventId, Tenant};
use crate::domain::inbound::{self, Answer, EARLIER_SECRETS, Given, Source, SourceId, read_stored};
use crate::domain::json::Json;
use crate::domain::time::Timestamp;
use crate::outbox::{Action, KeyBytes, Outbox, Page, Receipt, SourceDefinition, StoredSource};
use aside::{Aside, warn_of_shadowed};
use definition::{fresh_secret, new_id, overlay, stored_source};
use outcomes::Outcomes;
use registry::Registry;
use to_the_end::to_the_end;

pub use call::{CallRefused, InboundCall};
pub use definition::Written;
pub use known::{KnownSource, Origin};
pub use tally::{Counts, RejectedCall, Tally};

/// How long the earlier secrets stay valid after a rotation that does not say.
const OVERLAP: Duration = Duration::from_secs(24 * 3600);
/// The most sources that may exist.
const MAX_SOURCES: usize = 10_000;
/// The shortest time between two writes of the counts.
const STORE_EVERY: Duration = Duration::from_secs(1);

/// The result of a sample call.
#[derive(Debug)]
pub struct Tested {
    /// The status that the provider would have got.
    pub status: StatusCode,
    pub events: Vec<EventId>,
    /// Why the call was refused, and a sentence about the reason.
    pub refused: Option<(&'static str, String)>,
}

/// See the module.
pub struct Sources {
    outbox: Outbox,
    reader: Reader,
    events: Arc<Events>,
    registry: Arc<Registry>,
    changing: Arc<Mutex<Aside>>,
    /// Notified when counts have to be stored soon. A refused call does not notify: anybody can
    /// make one, and must not be able to cause a write. Its count is stored with the next accepted
    /// call, or at the stop.
    counted: Notify,
    /// Notified when a source was stored, which may have secrets for a while only.
    defined: Notify,
    outcomes: Outcomes,
    /// How the public listener is reached, without a slash at its end.
    public_url: Option<String>,
    /// Where the public listener is, shown where `public_url` is not set.
    listens_at: OnceLock<String>,
    /// The longest body, in bytes, of sources that set no limit.
    longest_event: AtomicU64,
}

impl Sources {
    /// The sources of the file, and those that are stored.
    pub fn new(
        outbox: Outbox,
        reader: Reader,
        events: Arc<Events>,
        configured: &[Source],
        stored: Vec<StoredSource>,
        public_url: Option<String>,
        longest_event: u64,
    ) -> Sources {
        let of_file = configured.iter().map(|source| source.id.as_str());
        let of_file: HashSet<&str> = of_file.collect();
        let mut tallies = HashMap::new();
        let mut known = Vec::new();
        let mut aside = Aside::default();
        for stored in stored {
            let counts = stored.counts.as_deref().map(serde_json::from_slice);
            let tally = Arc::new(Tally::new(counts.and_then(Result::ok).unwrap_or_default()));
            tallies.insert(stored.id.clone(), tally.clone());
            let Some(definition) = stored.definition else {
                continue;
            };
            let Some(source) = stored_source(&stored.id, &definition.bytes) else {
                tracing::error!(
                    source = stored.id,
                    "a damaged definition is left out; the source's calls are answered 404"
                );
                continue;
            };
            let changed_at = definition.changed_at;
            let of_api = KnownSource::new(source, Origin::Api { changed_at }, tally);
            match of_file.contains(stored.id.as_str()) {
                true => {
                    warn_of_shadowed(&stored.id);
                    let id = of_api.id().clone();
                    aside.shadowed.insert(id, Arc::new(of_api));
                }
                false => known.push(of_api),
            }
        }
        for source in configured {
            let tally = tallies.remove(source.id.as_str()).unwrap_or_default();
            known.push(KnownSource::new(source.clone(), Origin::File, tally));
        }
        Sources {
            registry: Arc::new(Registry::new(outbox.clone(), known)),
            outbox,
            reader,
            events,
            changing: Arc::new(Mutex::new(aside)),
            counted: Notify::new(),
            defined: Notify::new(),
            outcomes: Outcomes::default(),
            public_url,
            listens_at: OnceLock::new(),
            longest_event: AtomicU64::new(longest_event),
        }
    }

    /// The source in force that has this id.
    pub fn find(&self, id: &SourceId) -> Result<Arc<KnownSource>, Error> {
        self.registry.find(id).ok_or(Error::NoSuchSource)
    }

    /// A page of sources in order of their ids, past `after`, as `show` writes it.
    pub async fn list<T: Send + 'static>(
        &self,
        tenant: Option<Tenant>,
        after: Option<SourceId>,
        limit: usize,
        show: impl FnOnce(Page<Arc<KnownSource>>) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let registry = self.registry.clone();
        let page = move || registry.page(tenant.as_ref(), after.as_ref(), limit);
        self.reader.read(move |_| Ok(show(page()))).await
    }

    /// Sets the address of the public listener, once: `http://127.0.0.1:8080`.
    pub fn listens_at(&self, url: String) {
        // A second address would be another listener's; the first one is enough.
        let _ = self.listens_at.set(url);
    }

    /// How others reach the public listener: its `public_url`, or else its address.
    pub fn base(&self) -> Option<&str> {
        let listens_at = self.listens_at.get().map(String::as_str);
        self.public_url.as_deref().or(listens_at)
    }

    /// The URL to give to the provider, its token masked: under `public_url`, or else at the
    /// address of the listener. `None` if neither is known.
    pub fn url_of(&self, known: &KnownSource) -> Option<String> {
        let base = self.base()?;
        let token = match known.source.has_url_token() {
            true => "?token=…",
            false => "",
        };
        Some(format!("{base}/in/{}{token}", known.id()))
    }

    /// The longest body that a source takes, in bytes.
    pub fn longest(&self, known: &KnownSource) -> u64 {
        let limit = known.source.max_event_size;
        limit.unwrap_or_else(|| self.longest_event.load(Relaxed))
    }

    /// Makes a source.
    pub async fn create(
        &self,
        id: Option<SourceId>,
        written: Written,
        applied: bool,
    ) -> Result<Arc<KnownSource>, Error> {
        let id = match id {
            Some(id) => id,
            None => new_id()?,
        };
        let mut given = Given::new();
        overlay(&mut given, written);
        let mut source = inbound::read(id, &given).map_err(Error::Source)?;
        source.applied = applied;
        definition::check(&source, self.public_url.is_some())?;
        let turn = self.turn().await;
        if self.registry.find(&source.id).is_some() {
            return Err(Error::SourceExists);
        }
        if self.registry.len() >= MAX_SOURCES {
            return Err(Error::TooManySources);
        }
        self.put(turn, source, Arc::default()).await
    }

    /// Changes the fields that are given, and no others.
    pub async fn change(&self, id: &SourceId, written: Written) -> Result<Arc<KnownSource>, Error> {
        let turn = self.turn().await;
        let known = self.own(id)?;
        let mut given = known.source.definition();
        if written.iter().any(|(key, _)| *key == "secrets") {
            given.shift_remove(EARLIER_SECRETS);
        }
        overlay(&mut given, written);
        let source = read_stored(id.clone(), &given).map_err(Error::Source)?;
        definition::check(&source, self.public_url.is_some())?;
        self.put(turn, source, known.tally.clone()).await
    }

    /// Makes a new secret valid; the earlier ones stay valid during `overlap`. Returns the source,
    /// and the secret if it was generated here.
    pub async fn rotate(
        &self,
        id: &SourceId,
        secret: Option<String>,
        overlap: Option<Duration>,
    ) -> Result<(Arc<KnownSource>, Option<String>), Error> {
        let turn = self.turn().await;
        let known = self.own(id)?;
        let (secret, is_made) = match secret {
            Some(secret) => (secret, false),
            None => (fresh_secret(&known.source)?, true),
        };
        let overlap = overlap.unwrap_or(OVERLAP);
        let rotated = known.source.rotated(&secret, clock::now(), overlap);
        let source = rotated.map_err(Error::Source)?;
        let known = self.put(turn, source, known.tally.clone()).await?;
        Ok((known, is_made.then_some(secret)))
    }

    /// Removes a source. Its events stay.
    pub async fn remove(&self, id: &SourceId) -> Result<(), Error> {
        let turn = self.turn().await;
        self.own(id)?;
        let (outbox, registry, id) = (self.outbox.clone(), self.registry.clone(), id.clone());
        to_the_end(async move {
            let id_text = id.to_string();
            outbox.act(Action::RemoveSource { id: id_text }).await?;
            registry.remove(&id);
            drop(turn);
            Ok(())
        })
        .await
    }

    /// Signs a sample as the provider does and hands it in.
    pub async fn test(&self, id: &SourceId, body: Option<Bytes>) -> Result<Tested, Error> {
        let known = self.find(id)?;
        let base = self.public_url.as_deref();
        let url = base.map(|base| format!("{base}/in/{id}"));
        let nonce = random_bytes()?;
        let sample = known
            .source
            .sample(body, nonce, clock::now(), url.as_deref());
        let sample = sample.map_err(Error::Unsampled)?;
        let url = url.map(|url| match sample.query.is_empty() {
            true => url,
            false => format!("{url}?{}", sample.query),
        });
        let call = InboundCall {
            method: sample.method,
            query: sample.query,
            headers: sample.headers,
            body: sample.body,
            url,
            remote: IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        let received = match call.body.len() as u64 > self.longest(&known) {
            true => {
                self.note_refused(&known, &CallRefused::TooLarge, &call);
                Err(CallRefused::TooLarge)
            }
            false => self.take(&known, call).await,
        };
        Ok(match received {
            Ok((answer, receipts)) => Tested {
                status: answer.status,
                events: receipts.iter().map(|receipt| receipt.id).collect(),
                refused: None,
            },
            Err(refused) => Tested {
                status: refused.status(),
                events: Vec::new(),
                refused: Some((refused.reason(), refused.detail())),
            },
        })
    }

    /// The source of this id, if an address may find out that it exists.
    pub fn found_by(&self, remote: IpAddr, id: &SourceId) -> Option<Arc<KnownSource>> {
        let known = self.registry.find(id)?;
        known.lets_in(remote).is_ok().then_some(known)
    }

    /// The source that a call is for, if it may be received.
    ///
    /// # Errors
    /// Why the call is refused before its body is read.
    pub fn admit(
        &self,
        call: &InboundCall,
        id: &SourceId,
    ) -> Result<Arc<KnownSource>, CallRefused> {
        let known = self.registry.find(id);
        let Some(known) = known else {
            self.outcomes.refused(&CallRefused::NoSuchSource);
            return Err(CallRefused::NoSuchSource);
        };
        let refused = match known.admit(call.remote) {
            Ok(()) => return Ok(known),
            Err(refused) => refused,
        };
        self.note_refused(&known, &refused, call);
        Err(refused)
    }

    /// Records that a call was refused before it came to [`receive`](Self::receive).
    pub fn note_refused(&self, known: &KnownSource, refused: &CallRefused, call: &InboundCall) {
        receive::note_refused(known, &self.outcomes, refused, call, clock::now());
    }

    /// Counts a call that was refused unread, so that there is nothing to record but the count.
    /// `known`: the source that the call named, if the caller may know that the source exists.
    pub fn count_refused(&self, known: Option<&KnownSource>, refused: &CallRefused) {
        self.outcomes.refused(refused);
        if let Some(known) = known {
            known.tally.refused(refused.reason());
        }
    }

    /// Verifies a call and stores its events; returns the answer that the provider expects.
    ///
    /// # Errors
    /// Why the call was refused. Only a count of it is kept then.
    pub async fn receive(
        &self,
        known: &Arc<KnownSource>,
        mut call: InboundCall,
    ) -> Result<Answer, CallRefused> {
        call.url = self
            .public_url
            .as_deref()
            .map(|base| match call.query.is_empty() {
                true => format!("{base}/in/{}", known.id()),
                false => format!("{base}/in/{}?{}", known.id(), call.query),
            });
        self.take(known, call).await.map(|(answer, _)| answer)
    }

    async fn take(
        &self,
        known: &Arc<KnownSource>,
        call: InboundCall,
    ) -> Result<(Answer, Vec<Receipt>), CallRefused> {
        let received = receive::receive(known, &self.events, &self.outcomes, call).await;
        if received.is_ok() {
            self.counted.notify_one();
        }
        received
    }

    /// How many calls of all sources ended since the start, by result.
    pub fn outcomes(&self) -> Vec<(&'static str, u64)> {
        self.outcomes.snapshot()
    }

    /// Stores counts within a second after each accepted call, for as long as the future is polled.
    pub async fn keep_counts(&self) {
        loop {
            self.counted.notified().await;
            tokio::time::sleep(STORE_EVERY).await;
            self.store_counts().await;
        }
    }

    /// Stores counts that have changed.
    pub async fn store_counts(&self) {
        // Counts of a source that is removed meanwhile must not be stored after that.
        let aside = self.turn().await;
        let in_force = self.registry.all().into_iter();
        let in_force = in_force.map(|known| (known.id().clone(), known.tally.clone()));
        let retired = aside.retired.iter();
        let retired = retired.map(|(id, tally)| (id.clone(), tally.clone()));
        let mut counts = Vec::new();
        let mut taken = Vec::new();
        for (id, tally) in in_force.chain(retired) {
            let Some(changed) = tally.take_changed() else {
                continue;
            };
            // Numbers and strings always serialise.
            let bytes = serde_json::to_vec(&changed).unwrap_or_default();
            counts.push((id.to_string(), bytes));
            taken.push(tally);
        }
        if counts.is_empty() {
            return;
        }
        let stored = self.outbox.act(Action::PutSourceCounts { counts }).await;
        if let Err(error) = stored {
            tracing::debug!(%error, "counts of sources could not be stored; outboxd tries again");
            taken.iter().for_each(|tally| tally.put_back());
            self.counted.notify_one();
        }
    }

    /// Waits for the lock under which sources are changed.
    async fn turn(&self) -> OwnedMutexGuard<Aside> {
        self.changing.clone().lock_owned().await
    }

    /// Puts a source of the API in force once it is stored.
    async fn put(
        &self,
        turn: OwnedMutexGuard<Aside>,
        source: Source,
        tally: Arc<Tally>,
    ) -> Result<Arc<KnownSource>, Error> {
        let (outbox, registry) = (self.outbox.clone(), self.registry.clone());
        let put = to_the_end(async move {
            let changed_at = clock::now();
            outbox.act(stored_by(&source, changed_at)).await?;
            let known = registry.put(KnownSource::new(source, Origin::Api { changed_at }, tally));
            drop(turn);
            Ok(known)
        })
        .await;
        self.defined.notify_one();
        put
    }

    /// A source that the API may change.
    fn own(&self, id: &SourceId) -> Result<Arc<KnownSource>, Error> {
        let known = self.find(id)?;
        match known.origin {
            Origin::File => Err(Error::SourceReadOnly),
            Origin::Api { .. } => Ok(known),
        }
    }
}

/// What stores the definition of a source.
fn stored_by(source: &Source, changed_at: Timestamp) -> Action {
    let definition = Json::Object(source.definition()).to_string().into_bytes();
    Action::PutSource {
        id: source.id.to_string(),
        definition: SourceDefinition {
            changed_at,
            bytes: KeyBytes(definition),
        },
    }
}
