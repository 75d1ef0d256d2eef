//! The HTTP API, the same on TCP and on the Unix socket.
//!
//! A handler parses a request, calls the [`app`](crate::app) and writes the result as a response;
//! it decides nothing. No handler ever answers 202 before the event is durable.

pub mod access;
pub mod acted;
mod attempts;
mod backup;
pub mod bulk;
mod cloudevents_in;
pub mod definition;
mod deliveries;
mod diagnosis;
pub mod dto;
pub mod endpoints;
mod events;
mod explain;
pub mod fields;
mod hosts;
pub mod id_cursor;
mod jobs;
mod login_codes;
mod logins;
mod media;
mod metrics;
mod openapi;
pub mod parse;
pub mod path;
mod portal;
pub mod portal_links;
mod preview;
pub mod problem;
pub mod query;
pub mod reply;
mod router;
mod secrets;
pub mod serve;
pub mod sources;
mod stats;
mod status;
pub mod tail;
mod trace;

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::app::App;
use crate::clock;
use crate::config::{Config, Ingest};
use crate::server::body::Budget;
use access::{Access, Caller};
use login_codes::LoginCodes;
use portal_links::PortalLinks;

pub use openapi::document;
pub use router::{Answered, Pages, router};

/// The smallest budget, in bytes, for the bodies of all requests under way.
const MIN_BODY_BUDGET: u64 = 64 * 1024 * 1024;

/// What the handlers work with.
pub struct Api {
    app: App,
    rules: ArcSwap<Rules>,
    logins: LoginCodes,
    portal_links: PortalLinks,
}

/// The settings of the configuration that apply to every request.
struct Rules {
    access: Access,
    /// The bounds of requests that post events.
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
        let logins = LoginCodes::new(config.listen.ui);
        Arc::new(Api {
            app,
            rules,
            logins,
            portal_links: PortalLinks::default(),
        })
    }

    pub fn app(&self) -> &App {
        &self.app
    }

    /// Sets the addresses where the pages are, once they are known.
    pub fn listens_at(&self, addresses: &[SocketAddr]) {
        self.logins.listens_at(addresses);
    }

    /// The caller that a link to log in was made for. A link works once.
    pub fn take_login(&self, code: &str) -> Option<Caller> {
        self.logins.take(code, clock::now())
    }

    /// The links that let customers in.
    pub fn portal_links(&self) -> &PortalLinks {
        &self.portal_links
    }

    /// The scheme and authority at which customers reach the portal, as far as that is known.
    fn portal_base(&self) -> Option<&str> {
        self.app.sources.base().or_else(|| self.logins.base())
    }

    /// Puts a new configuration in force. Requests that were admitted before are finished.
    pub async fn reconfigure(&self, config: &Config) {
        let rules = self.rules.load().replaced(config);
        self.rules.store(Arc::new(rules));
        self.app.reconfigure(config).await;
    }

    /// Judges a request by the rules of access in force.
    pub fn with_access<T>(&self, judge: impl FnOnce(&Access) -> T) -> T {
        judge(&self.rules.load().access)
    }

    /// The bounds of requests that post events, and the room for bodies.
    pub fn body_rules(&self) -> (Ingest, Arc<Budget>) {
        let rules = self.rules.load();
        (rules.ingest.clone(), rules.bodies.clone())
    }

    fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }
}
