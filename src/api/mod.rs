//! The HTTP API, the same on TCP and on the Unix socket.
//!
//! A handler parses a request, calls the [`app`](crate::app) and writes the result as a response;
//! it decides nothing. No handler ever answers 202 before the event is durable.

mod access;
mod acted;
mod attempts;
mod backup;
mod bulk;
mod cloudevents_in;
mod definition;
mod deliveries;
mod diagnosis;
mod dto;
mod endpoints;
mod events;
mod explain;
mod fields;
mod hosts;
mod id_cursor;
mod jobs;
mod media;
mod metrics;
mod openapi;
mod parse;
mod path;
mod preview;
mod problem;
mod query;
mod reply;
mod router;
mod secrets;
pub mod serve;
mod sources;
mod stats;
mod status;
mod tail;
mod trace;

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::app::App;
use crate::config::{Config, Ingest};
use crate::server::body::Budget;
use access::Access;

pub use router::router;

/// The smallest budget, in bytes, for the bodies of all requests under way.
const MIN_BODY_BUDGET: u64 = 64 * 1024 * 1024;

/// What the handlers work with.
pub struct Api {
    app: App,
    rules: ArcSwap<Rules>,
}

/// The settings of the configuration that apply to every request.
struct Rules {
    access: Access,
    /// The bounds of requests that hand in events.
    ingest: Ingest,
    bodies: Arc<Budget>,
}

impl Rules {
    fn new(config: &Config) -> Rules {
        Rules {
            access: Access::new(&config.auth, &config.listen.hosts),
            ingest: config.ingest.clone(),
            bodies: Budget::new(body_room(config)),
        }
    }

    /// The rules of a new configuration.
    fn replaced(&self, config: &Config) -> Rules {
        let room = body_room(config);
        Rules {
            access: self.access.replaced(&config.auth, &config.listen.hosts),
            ingest: config.ingest.clone(),
            bodies: match self.bodies.room() == room {
                true => self.bodies.clone(),
                false => Budget::new(room),
            },
        }
    }
}

fn body_room(config: &Config) -> usize {
    let room = MIN_BODY_BUDGET.max(config.ingest.max_batch_size.saturating_mul(4));
    usize::try_from(room).unwrap_or(usize::MAX)
}

impl Api {
    pub fn new(app: App, config: &Config) -> Arc<Self> {
        let rules = ArcSwap::from_pointee(Rules::new(config));
        Arc::new(Api { app, rules })
    }

    /// Puts a new configuration in force. Requests that were admitted before are finished.
    pub async fn reconfigure(&self, config: &Config) {
        let rules = self.rules.load().replaced(config);
        self.rules.store(Arc::new(rules));
        self.app.reconfigure(config).await;
    }

    fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }
}
