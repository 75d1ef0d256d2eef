//! One reqwest client for each set of addresses that may be dialled.
//!
//! A connection in a pool was judged by the rule it was dialled under, so endpoints
//! under different rules never share a pool: an endpoint with a grant of its own must
//! not leave behind a connection that an endpoint without it could reuse.
//!
//! A proxy resolves names and dials itself, so only literal addresses can be checked here, and
//! its own configuration decides what it may reach. The operator chose its address; it is not
//! checked.

use std::sync::{Arc, Mutex, PoisonError};

use ipnet::IpNet;
use reqwest::redirect::Policy;
use reqwest::{Client, Proxy};
use rustls::ClientConfig;

use super::error::TransportError;
use super::idle_budget::IDLE_TIMEOUT;
use super::progress::ProgressLayer;
use super::resolve::{Lookups, Resolver};
use super::tls;
use crate::config::DeliveryLimits;
use crate::domain::address::DialRule;
use crate::domain::endpoint::Endpoint;

/// How many pairs of clients are kept for endpoints with grants of their own; the one not
/// used for longest goes first.
const MAX_GRANTED: usize = 64;

/// Bytes of the headers of an HTTP/2 answer. HTTP/1 has hyper's bounds: 100 headers
/// within a buffer of about 400 KiB.
const HTTP2_HEADER_BYTES: u32 = 64 * 1024;

/// A rule and the two clients that keep to it.
#[derive(Clone)]
pub(super) struct ClientPair {
    /// Tells pools apart.
    pub(super) id: u64,
    pub(super) rule: Arc<DialRule>,
    /// Keeps connections for later.
    pub(super) keeping: Client,
    /// Closes each connection after its attempt.
    pub(super) closing: Client,
}

/// What clients are built from.
struct Builder {
    tls: ClientConfig,
    lookups: Arc<Lookups>,
    limits: DeliveryLimits,
}

/// The clients in use.
pub(super) struct Clients {
    builder: Builder,
    https: ClientPair,
    http: ClientPair,
    granted: Mutex<Granted>,
}

struct Granted {
    /// The last used last.
    pairs: Vec<(Key, ClientPair)>,
    next_id: u64,
}

#[derive(PartialEq, Eq)]
struct Key {
    grants: Vec<IpNet>,
    plain: bool,
}

impl Clients {
    pub(super) fn new(limits: &DeliveryLimits) -> Result<Self, TransportError> {
        let builder = Builder {
            tls: tls::client_config(limits.ca_file.as_deref())?,
            lookups: Arc::new(Lookups::new()),
            limits: limits.clone(),
        };
        Ok(Clients {
            https: builder.build(0, &[], false)?,
            http: builder.build(1, &[], true)?,
            granted: Mutex::new(Granted {
                pairs: Vec::new(),
                next_id: 2,
            }),
            builder,
        })
    }

    /// The clients of an endpoint: what its scheme, the configuration's grants and its
    /// own allow.
    pub(super) fn of(&self, endpoint: &Endpoint) -> Result<ClientPair, TransportError> {
        let plain = endpoint.url.scheme() != "https";
        let grants = endpoint.allow_networks.as_slice();
        if grants.is_empty() {
            let common = if plain { &self.http } else { &self.https };
            return Ok(common.clone());
        }
        let mut granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |(key, _): &(Key, ClientPair)| key.plain == plain && key.grants == grants;
        let entry = match granted.pairs.iter().position(is_it) {
            Some(at) => granted.pairs.remove(at),
            None => {
                let id = granted.next_id;
                let key = Key {
                    grants: grants.to_vec(),
                    plain,
                };
                let entry = (key, self.builder.build(id, grants, plain)?);
                granted.next_id = id.wrapping_add(1);
                if granted.pairs.len() >= MAX_GRANTED {
                    granted.pairs.remove(0);
                }
                entry
            }
        };
        let pair = entry.1.clone();
        granted.pairs.push(entry);
        Ok(pair)
    }

    /// Whether a proxy does the dialling.
    pub(super) fn proxied(&self) -> bool {
        self.builder.limits.proxy.is_some()
    }
}

impl Builder {
    fn build(&self, id: u64, own: &[IpNet], plain: bool) -> Result<ClientPair, TransportError> {
        let common = &self.limits.allow_networks;
        let rule = Arc::new(DialRule {
            grants: common.iter().chain(own).copied().collect(),
            public: !plain || self.limits.allow_http,
        });
        Ok(ClientPair {
            id,
            keeping: self.client(&rule, self.limits.max_in_flight)?,
            closing: self.client(&rule, 0)?,
            rule,
        })
    }

    /// A client that keeps at most `idle` connections a host. For the keeping one that is
    /// `max_in_flight`, which is not a bound of its own: with less, a host that is sent to
    /// as fast as that allows would have its connections closed and opened all the time.
    /// What bounds them over all hosts is [`super::idle_budget`].
    fn client(&self, rule: &Arc<DialRule>, idle: usize) -> Result<Client, TransportError> {
        let limits = &self.limits;
        let resolver = Resolver {
            lookups: self.lookups.clone(),
            rule: limits.proxy.is_none().then(|| rule.clone()),
        };
        let mut client = Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .dns_resolver(resolver)
            .connector_layer(ProgressLayer)
            .connect_timeout(limits.connect_timeout)
            .redirect(Policy::none())
            .referer(false)
            .no_proxy()
            .user_agent(limits.user_agent.as_str())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(idle)
            .http2_max_header_list_size(HTTP2_HEADER_BYTES);
        if let Some(proxy) = &limits.proxy {
            client = client.proxy(Proxy::all(proxy.clone()).map_err(TransportError::proxy)?);
        }
        client.build().map_err(TransportError::client)
    }
}
