//! One reqwest client for each set of addresses that may be dialled.
//!
//! A connection in a pool was judged by the rule it was dialled under, so endpoints
//! under different rules never share a pool: an endpoint with a grant of its own must
//! not leave behind a connection that an endpoint without it could reuse. Nor do those
//! that are to speak HTTP/1.1 only.
//!
//! A pool is replaced when it is as old as a connection may become, so that a name that moves
//! is followed however busy its connections are: those of the old pool end with the attempts
//! under way on them.
//!
//! A proxy resolves names and dials itself, so only literal addresses can be checked here, and
//! its own configuration decides what it may reach. The operator chose its address; it is not
//! checked.

use std::sync::{Arc, Mutex, PoisonError};

use ipnet::IpNet;
use reqwest::redirect::Policy;
use reqwest::{Client, Proxy};
use rustls::ClientConfig;
use tokio::time::Instant;
use url::Url;

use super::error::TransportError;
use super::hosts::Hosts;
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

/// Bytes of the headers of an HTTP/2 answer.
const HTTP2_HEADER_BYTES: u32 = 64 * 1024;
/// Headers of an HTTP/1 answer, within hyper's buffer of about 400 KiB.
const HTTP1_HEADERS: usize = 256;

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
    http1: bool,
    /// When `keeping` was made.
    since: Instant,
    /// Of the host's own pool (see `hosts`); 0: it has none.
    generation: u64,
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
    https: Mutex<ClientPair>,
    http: Mutex<ClientPair>,
    others: Mutex<Others>,
    pub(super) hosts: Hosts,
}

/// The clients of endpoints with grants of their own, and of those that speak HTTP/1.1 only.
struct Others {
    /// The last used last.
    pairs: Vec<(Key, ClientPair)>,
    next_id: u64,
}

#[derive(PartialEq, Eq)]
struct Key {
    grants: Vec<IpNet>,
    plain: bool,
    http1: bool,
}

impl Clients {
    pub(super) fn new(limits: &DeliveryLimits) -> Result<Self, TransportError> {
        let builder = Builder {
            tls: tls::client_config(limits.ca_file.as_deref())?,
            lookups: Arc::new(Lookups::new()),
            limits: limits.clone(),
        };
        Ok(Clients {
            https: Mutex::new(builder.build(0, &[], false, false)?),
            http: Mutex::new(builder.build(1, &[], true, false)?),
            others: Mutex::new(Others {
                pairs: Vec::new(),
                next_id: 2,
            }),
            hosts: Hosts::default(),
            builder,
        })
    }

    /// The clients of an endpoint: what its scheme, the configuration's grants and its
    /// own allow, and the version of HTTP that it is to speak.
    pub(super) fn of(&self, endpoint: &Endpoint) -> Result<ClientPair, TransportError> {
        let mut pair = self.shared_of(endpoint)?;
        let max_age = self.builder.limits.connection_max_age;
        if endpoint.url.scheme() == "https"
            && let Some(own) = self.hosts.pool(&endpoint.url, pair.id, max_age)
        {
            (pair.keeping, pair.generation) = own;
        }
        Ok(pair)
    }

    fn shared_of(&self, endpoint: &Endpoint) -> Result<ClientPair, TransportError> {
        // In plain text nothing but HTTP/1.1 is spoken anyway.
        let plain = endpoint.url.scheme() != "https";
        let http1 = !plain && (!endpoint.http2 || self.hosts.wants_http1(&endpoint.url));
        let grants = endpoint.allow_networks.as_slice();
        if grants.is_empty() && !http1 {
            let common = if plain { &self.http } else { &self.https };
            let mut common = common.lock().unwrap_or_else(PoisonError::into_inner);
            self.builder.renew(&mut common)?;
            return Ok(common.clone());
        }
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |(key, _): &(Key, ClientPair)| {
            key.plain == plain && key.http1 == http1 && key.grants == grants
        };
        let mut entry = match others.pairs.iter().position(is_it) {
            Some(at) => others.pairs.remove(at),
            None => {
                let id = others.next_id;
                let key = Key {
                    grants: grants.to_vec(),
                    plain,
                    http1,
                };
                let entry = (key, self.builder.build(id, grants, plain, http1)?);
                others.next_id = id.wrapping_add(1);
                if others.pairs.len() >= MAX_GRANTED {
                    others.pairs.remove(0);
                }
                entry
            }
        };
        self.builder.renew(&mut entry.1)?;
        let pair = entry.1.clone();
        others.pairs.push(entry);
        Ok(pair)
    }

    /// There was a fault on a connection of this pair: the next attempt to the host is made on
    /// another one.
    pub(super) fn distrust(&self, pair: &ClientPair, url: &Url) -> Result<(), TransportError> {
        self.hosts
            .replace_pool(url, pair.id, pair.generation, || self.builder.keeping(pair))
    }

    /// Whether a proxy does the dialling.
    pub(super) fn proxied(&self) -> bool {
        self.builder.limits.proxy.is_some()
    }
}

impl Builder {
    fn build(
        &self,
        id: u64,
        own: &[IpNet],
        plain: bool,
        http1: bool,
    ) -> Result<ClientPair, TransportError> {
        let common = &self.limits.allow_networks;
        let rule = Arc::new(DialRule {
            grants: common.iter().chain(own).copied().collect(),
            public: !plain || self.limits.allow_http,
        });
        Ok(ClientPair {
            id,
            keeping: self.client(&rule, self.limits.max_in_flight, http1)?,
            closing: self.client(&rule, 0, http1)?,
            rule,
            http1,
            since: Instant::now(),
            generation: 0,
        })
    }

    /// Replaces the pool of kept connections if it is too old.
    fn renew(&self, pair: &mut ClientPair) -> Result<(), TransportError> {
        if pair.since.elapsed() >= self.limits.connection_max_age {
            pair.keeping = self.keeping(pair)?;
            pair.since = Instant::now();
        }
        Ok(())
    }

    /// A pool such as the pair's, and empty.
    fn keeping(&self, pair: &ClientPair) -> Result<Client, TransportError> {
        self.client(&pair.rule, self.limits.max_in_flight, pair.http1)
    }

    /// A client that keeps at most `idle` connections a host. For the keeping one that is
    /// `max_in_flight`, which is not a bound of its own: with less, a host that is sent to
    /// as fast as that allows would have its connections closed and opened all the time.
    /// What bounds them over all hosts is [`super::idle_budget`].
    fn client(
        &self,
        rule: &Arc<DialRule>,
        idle: usize,
        http1: bool,
    ) -> Result<Client, TransportError> {
        let limits = &self.limits;
        let mut tls = self.tls.clone();
        if http1 {
            tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        }
        let resolver = Resolver {
            lookups: self.lookups.clone(),
            rule: limits.proxy.is_none().then(|| rule.clone()),
        };
        let mut client = Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(resolver)
            .connector_layer(ProgressLayer)
            .connect_timeout(limits.connect_timeout)
            .redirect(Policy::none())
            .referer(false)
            .no_proxy()
            .user_agent(limits.user_agent.as_str())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(idle)
            .http2_max_header_list_size(HTTP2_HEADER_BYTES)
            // An answer that cannot be read repeats the delivery, and its headers hardly matter.
            // So what RFC 9112 lets a client accept is accepted.
            .http1_max_headers(HTTP1_HEADERS)
            .http1_allow_obsolete_multiline_headers_in_responses(true)
            .http1_allow_spaces_after_header_name_in_responses(true)
            .http1_ignore_invalid_headers_in_responses(true);
        if http1 {
            client = client.http1_only();
        }
        if let Some(proxy) = &limits.proxy {
            client = client.proxy(Proxy::all(proxy.clone()).map_err(TransportError::proxy)?);
        }
        client.build().map_err(TransportError::client)
    }
}
