//! The sources of the file change while the daemon runs.

use std::sync::atomic::Ordering::Relaxed;

use super::Sources;
use super::known::{KnownSource, Origin};
use crate::domain::inbound::Source;

impl Sources {
    /// Other sources of the file are in force, and another bound for those that say nothing.
    pub async fn go_by(&self, configured: &[Source], longest_event: u64) {
        let mut retired = self.turn().await;
        self.longest_event.store(longest_event, Relaxed);
        let of_file = |known: &KnownSource| matches!(known.origin, Origin::File);
        for known in self.registry.all() {
            let is_gone = !configured.iter().any(|source| source.id == *known.id());
            if is_gone && of_file(&known) {
                tracing::warn!(source = %known.id(), "source is gone from the configuration; its calls are answered 404");
                retired.insert(known.id().clone(), known.tally.clone());
                self.registry.remove(known.id());
            }
        }
        for source in configured {
            let tally = match self.registry.find(&source.id) {
                Some(known) => {
                    if !of_file(&known) {
                        tracing::error!(
                            source = %source.id,
                            "the configuration file has a source of the same id; the one made by the API is left out"
                        );
                    }
                    known.tally.clone()
                }
                None => retired.remove(&source.id).unwrap_or_default(),
            };
            let known = KnownSource::new(source.clone(), Origin::File, tally);
            self.registry.put(known);
        }
    }
}
