//! What the daemon can be asked: accept, read, explain, act, status. In the words of the
//! domain, over the outbox and the dispatcher.
//!
//! Every interface (the HTTP API, and others beside it) only translates: it parses a request,
//! calls one function here and writes down the result. Each noun has a file and a type of its
//! own, which holds what it needs. Nothing here touches the disk on the runtime's thread.

mod backup;
pub mod bulk;
mod changes;
mod counters;
pub mod definition;
mod deliveries;
mod doctor;
mod endpoints;
mod error;
mod events;
mod explain;
mod health;
mod preview;
mod process;
mod random;
mod rate_limit;
mod reader;
pub mod sources;
mod stats;
mod status;
mod troubled;
pub mod verdict;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::config::Config;
use crate::dispatch::{DispatchGauges, Questions, Tail};
use crate::outbox::{Outbox, StoredSource};
use backup::Backups;
use bulk::Bulk;
use counters::Counters;
use deliveries::Deliveries;
use doctor::Doctor;
use endpoints::Endpoints;
use events::Events;
use explain::Explainer;
use health::Health;
use preview::Previews;
use reader::Reader;
use stats::Stats;
use status::Monitor;
use troubled::Troubled;

pub use doctor::Diagnosis;
pub use endpoints::{KnownEndpoint, MAX_OVERLAP};
pub use error::Error;
pub use explain::Explanation;
pub use health::{CAUSES_OF, DeadOfEndpoint, ListedEndpoint};
pub use preview::{Preview, Sample};
pub use process::ProcessFigures;
pub use random::random_bytes;
pub use sources::Sources;
pub use status::{Figures, Status};
pub use troubled::EndpointFigures;

/// The front of the daemon.
pub struct App {
    pub events: Arc<Events>,
    pub deliveries: Deliveries,
    pub endpoints: Endpoints,
    pub doctor: Doctor,
    pub bulk: Bulk,
    pub explainer: Explainer,
    pub health: Health,
    pub previews: Previews,
    pub troubled: Troubled,
    pub monitor: Monitor,
    pub stats: Stats,
    pub sources: Arc<Sources>,
    pub tail: Tail,
    pub backups: Backups,
}

impl App {
    /// `ready` is set once the outbox is recovered and the daemon listens, and unset when
    /// the shutdown begins.
    pub fn new(
        outbox: Outbox,
        config: &Config,
        gauges: Arc<DispatchGauges>,
        questions: Questions,
        ready: Arc<AtomicBool>,
        stored: Vec<StoredSource>,
        tail: Tail,
    ) -> App {
        let reader = Reader::new(outbox.clone());
        let counters = Arc::new(Counters::default());
        let events = Arc::new(Events::new(
            outbox.clone(),
            reader.clone(),
            config.ingest.rate_limit,
            counters.clone(),
            tail.clone(),
        ));
        let sources = Sources::new(
            outbox.clone(),
            reader.clone(),
            events.clone(),
            &config.sources,
            stored,
            config.listen.public_url.clone(),
            config.ingest.max_event_size,
        );
        App {
            events,
            deliveries: Deliveries::new(outbox.clone(), reader.clone()),
            endpoints: Endpoints::new(outbox.clone(), reader.clone(), config.retry.clone()),
            doctor: Doctor::new(
                outbox.clone(),
                reader.clone(),
                questions.clone(),
                tail.clone(),
            ),
            bulk: Bulk::new(outbox.clone(), reader.clone()),
            backups: Backups::new(outbox.clone()),
            health: Health::new(outbox.clone(), reader.clone(), questions.clone()),
            explainer: Explainer::new(outbox, reader.clone(), questions.clone()),
            previews: Previews::new(reader.clone(), &config.delivery),
            stats: Stats::new(reader.clone()),
            troubled: Troubled::new(reader.clone(), questions, config.metrics.per_endpoint),
            monitor: Monitor::new(reader, gauges, counters, ready, config.outbox.min_free_disk),
            sources: Arc::new(sources),
            tail,
        }
    }

    /// Puts another configuration in force.
    pub async fn reconfigure(&self, config: &Config) {
        self.events.set_rate_limit(config.ingest.rate_limit);
        self.endpoints.set_base_retry(config.retry.clone());
        self.previews.set_limits(&config.delivery);
        self.troubled.set_most(config.metrics.per_endpoint);
        self.monitor.set_min_free_disk(config.outbox.min_free_disk);
        let longest_event = config.ingest.max_event_size;
        self.sources
            .reconfigure(&config.sources, longest_event)
            .await;
    }
}
