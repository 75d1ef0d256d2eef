//! The sources of the file change while the daemon runs.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::Sources;
use super::aside::warn_of_shadowed;
use super::known::{KnownSource, Origin};
use super::tally::Tally;
use crate::domain::inbound::{Source, SourceId};

impl Sources {
    /// Puts the sources of a new configuration in force, and another bound for those that set none.
    /// A source whose definition is the same goes on as it is.
    pub async fn reconfigure(&self, configured: &[Source], longest_event: u64) {
        let mut aside = self.turn().await;
        self.longest_event.store(longest_event, Relaxed);
        let mut in_force: HashMap<SourceId, Arc<KnownSource>> = HashMap::new();
        for source in configured {
            let known = match self.registry.find(&source.id) {
                Some(known) if is_of_file(&known) && is_same(&known.source, source) => known,
                Some(known) => {
                    let tally = known.tally.clone();
                    if !is_of_file(&known) {
                        warn_of_shadowed(known.id().as_str());
                        aside.shadowed.insert(known.id().clone(), known);
                    }
                    of_file(source, tally)
                }
                None => of_file(source, aside.retired.remove(&source.id).unwrap_or_default()),
            };
            in_force.insert(source.id.clone(), known);
        }
        for known in self.registry.all() {
            let id = known.id();
            if in_force.contains_key(id) {
                continue;
            }
            if !is_of_file(&known) {
                in_force.insert(id.clone(), known);
                continue;
            }
            match aside.shadowed.remove(id) {
                Some(shadowed) => {
                    tracing::warn!(source = %id, "source is gone from the configuration; the one made by the API is in force");
                    in_force.insert(id.clone(), shadowed);
                }
                None => {
                    tracing::warn!(source = %id, "source is gone from the configuration; its calls are answered 404");
                    aside.retired.insert(id.clone(), known.tally.clone());
                }
            }
        }
        self.registry.replace(in_force.into_values());
    }
}

fn is_of_file(known: &KnownSource) -> bool {
    matches!(known.origin, Origin::File)
}

fn is_same(one: &Source, other: &Source) -> bool {
    one.definition() == other.definition()
}

fn of_file(source: &Source, tally: Arc<Tally>) -> Arc<KnownSource> {
    Arc::new(KnownSource::new(source.clone(), Origin::File, tally))
}
