//! HTTP in: the same API on TCP and on the Unix socket.
//!
//! Handlers translate: they parse a request, call the [`app`](crate::app) and write down what
//! it returned; they decide nothing. No handler ever answers 202 before the event is durable.

mod access;
mod bulk;
mod cloudevents_in;
mod definition;
mod deliveries;
mod dto;
mod endpoints;
mod events;
mod explain;
mod fields;
mod hosts;
mod id_cursor;
mod media;
mod metrics;
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
mod status;
mod tail;
mod trace;

use std::sync::Arc;

use crate::app::App;
use crate::config::{Config, Ingest};
use crate::server::body::Budget;
use access::Access;

pub use router::router;

/// Room for the bodies of all requests under way, at least.
const MIN_BODY_BUDGET: u64 = 64 * 1024 * 1024;

/// What the handlers work with.
pub struct Api {
    app: App,
    access: Access,
    /// The bounds of requests that hand in events.
    ingest: Ingest,
    bodies: Arc<Budget>,
}

impl Api {
    pub fn new(app: App, config: &Config) -> Arc<Self> {
        let ingest = config.ingest.clone();
        let room = MIN_BODY_BUDGET.max(ingest.max_batch_size.saturating_mul(4));
        Arc::new(Api {
            app,
            access: Access::new(&config.auth, &config.listen.hosts),
            ingest,
            bodies: Budget::new(usize::try_from(room).unwrap_or(usize::MAX)),
        })
    }
}
