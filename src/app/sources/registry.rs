//! The sources in force, by id.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use super::known::KnownSource;
use crate::domain::event::Tenant;
use crate::domain::inbound::SourceId;
use crate::outbox::{Cursor, Outbox, Page};

/// The sources in force. Each change passes the deduplication windows of all sources to the outbox.
pub struct Registry {
    outbox: Outbox,
    sources: RwLock<BTreeMap<SourceId, Arc<KnownSource>>>,
}

impl Registry {
    pub fn new(outbox: Outbox, sources: Vec<KnownSource>) -> Registry {
        let sources = sources.into_iter();
        let sources = sources.map(|known| (known.id().clone(), Arc::new(known)));
        let registry = Registry {
            outbox,
            sources: RwLock::new(sources.collect()),
        };
        registry.tell_windows();
        registry
    }

    pub fn find(&self, id: &SourceId) -> Option<Arc<KnownSource>> {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
        sources.get(id).cloned()
    }

    /// Puts a source in force. It replaces the source of the same id.
    pub fn put(&self, known: KnownSource) -> Arc<KnownSource> {
        let known = Arc::new(known);
        let mut sources = self.sources.write().unwrap_or_else(PoisonError::into_inner);
        sources.insert(known.id().clone(), known.clone());
        drop(sources);
        self.tell_windows();
        known
    }

    /// Puts these in force, and no others.
    pub fn replace(&self, known: impl Iterator<Item = Arc<KnownSource>>) {
        let known = known.map(|known| (known.id().clone(), known));
        let known: BTreeMap<_, _> = known.collect();
        let mut sources = self.sources.write().unwrap_or_else(PoisonError::into_inner);
        *sources = known;
        drop(sources);
        self.tell_windows();
    }

    pub fn remove(&self, id: &SourceId) {
        let mut sources = self.sources.write().unwrap_or_else(PoisonError::into_inner);
        sources.remove(id);
        drop(sources);
        self.tell_windows();
    }

    pub fn len(&self) -> usize {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
        sources.len()
    }

    /// A page in order of the ids, past `after`.
    pub fn page(
        &self,
        tenant: Option<&Tenant>,
        after: Option<&SourceId>,
        limit: usize,
    ) -> Page<Arc<KnownSource>> {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut found = sources
            .range::<SourceId, _>((from, Bound::Unbounded))
            .map(|(_, known)| known)
            .filter(|known| tenant.is_none_or(|tenant| *tenant == known.source.tenant));
        let items: Vec<_> = found.by_ref().take(limit).cloned().collect();
        let more = found.next().is_some();
        let last = items.last().filter(|_| more);
        let next = last.map(|known| Cursor(known.id().to_string()));
        Page { items, next }
    }

    /// All sources in force.
    pub fn all(&self) -> Vec<Arc<KnownSource>> {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
        sources.values().cloned().collect()
    }

    fn tell_windows(&self) {
        let window = |known: Arc<KnownSource>| {
            let window = known.source.idempotency_window;
            (known.id().to_string(), window)
        };
        let windows: HashMap<_, _> = self.all().into_iter().map(window).collect();
        self.outbox.set_source_windows(windows);
    }
}
