//! Secrets of sources that are past their time leave the stored definitions: the store overwrites
//! a definition when another one replaces it.

use std::sync::Arc;
use std::time::Duration;

use super::known::{KnownSource, Origin};
use super::to_the_end::to_the_end;
use super::{Sources, stored_by};
use crate::app::error::Error;
use crate::clock;
use crate::domain::inbound::SourceId;
use crate::domain::time::Timestamp;

/// The longest time between two looks: the wall clock may be set meanwhile.
const LOOK_MAX: Duration = Duration::from_secs(3600);
/// The shortest one.
const LOOK_MIN: Duration = Duration::from_secs(1);
/// How long it is left alone when it could not be stored.
const REST: Duration = Duration::from_secs(60);

impl Sources {
    /// Stores sources again when secrets of theirs are past their time, for as long as the future
    /// is polled.
    pub async fn forget_expired(&self) {
        loop {
            let wait = match self.expire(clock::now()).await {
                Ok(None) => LOOK_MAX,
                Ok(Some(next)) => next.since(clock::now()).clamp(LOOK_MIN, LOOK_MAX),
                Err(error) => {
                    tracing::debug!(%error, "secrets of sources that are past their time could not be forgotten; outboxd tries again");
                    REST
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.defined.notified() => {}
            }
        }
    }

    /// Stores the sources that have secrets past their time again without these, and says when the
    /// next secret is past its time.
    async fn expire(&self, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        let mut failed = None;
        for id in self.expired(now).await {
            failed = self.expire_one(&id, now).await.err().or(failed);
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let expiries = self.of_api().await;
        let expiries = expiries
            .iter()
            .filter_map(|known| known.source.next_expiry());
        Ok(expiries.min())
    }

    async fn expired(&self, now: Timestamp) -> Vec<SourceId> {
        let is_expired =
            |known: &Arc<KnownSource>| known.source.next_expiry().is_some_and(|at| at <= now);
        let all = self.of_api().await.into_iter();
        all.filter(is_expired)
            .map(|known| known.id().clone())
            .collect()
    }

    /// All sources that are stored, those that the file shadows too.
    async fn of_api(&self) -> Vec<Arc<KnownSource>> {
        let aside = self.turn().await;
        let in_force = self.registry.all().into_iter();
        let in_force = in_force.filter(|known| matches!(known.origin, Origin::Api { .. }));
        in_force.chain(aside.shadowed.values().cloned()).collect()
    }

    async fn expire_one(&self, id: &SourceId, now: Timestamp) -> Result<(), Error> {
        let mut aside = self.turn().await;
        let in_force = self.registry.find(id);
        let shadowed = aside.shadowed.get(id).cloned();
        let is_shadowed = shadowed.is_some();
        let Some(known) = shadowed.or(in_force) else {
            return Ok(());
        };
        let Origin::Api { changed_at } = known.origin else {
            return Ok(());
        };
        let source = known.source.without_expired(now).map_err(Error::Source)?;
        let (outbox, registry) = (self.outbox.clone(), self.registry.clone());
        to_the_end(async move {
            outbox.act(stored_by(&source, changed_at)).await?;
            tracing::info!(source = %source.id, "secrets of the source are past their time, and forgotten");
            let known = KnownSource::new(source, Origin::Api { changed_at }, known.tally.clone());
            match is_shadowed {
                true => drop(aside.shadowed.insert(known.id().clone(), Arc::new(known))),
                false => drop(registry.put(known)),
            }
            Ok(())
        })
        .await
    }
}
