//! Where attempts go: scheme, host and port, and what may be dialled there.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::Uri;
use ipnet::IpNet;
use url::{Host, Position, Url};

use crate::config::DeliveryLimits;
use crate::domain::address::DialRule;
use crate::domain::identity::{Authorities, Identity};

/// Why a name is not dialled through the proxy without TLS.
pub(super) const HTTP_BY_PROXY: &str = "plain http through the proxy needs delivery.allow_http";

/// Host and port. `Display` never shows path or query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) host: Host<String>,
    pub(super) port: u16,
}

impl Target {
    /// The IP address that the URL spells out.
    pub(super) fn literal(&self) -> Option<IpAddr> {
        match self.host {
            Host::Ipv4(ip) => Some(ip.into()),
            Host::Ipv6(ip) => Some(ip.into()),
            Host::Domain(_) => None,
        }
    }

    /// The address, if it is known, and host and port otherwise.
    pub(super) fn describe(&self, address: Option<SocketAddr>) -> String {
        match address {
            Some(address) => address.to_string(),
            None => self.to_string(),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.host, self.port)
    }
}

/// An origin as endpoints with the same policy dial it. A connection was judged by the rule
/// it was dialled under, so endpoints with different grants never share one: an endpoint with a
/// grant of its own must not leave behind a connection that another one could use. The same holds
/// for endpoints with different client certificates or authorities: the receiver takes what comes on
/// a connection for its identity's.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) is_https: bool,
    pub(super) target: Target,
    /// HTTP/1.1 only.
    pub(super) http1: bool,
    pub(super) rule: Arc<DialRule>,
    grants: Vec<IpNet>,
    identity: Option<Arc<Identity>>,
    authorities: Option<Arc<Authorities>>,
    /// `scheme://host:port/`.
    pub(super) root: Uri,
}

/// What sets destinations of one origin apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DialPolicy<'a> {
    /// The endpoint's own.
    pub(super) grants: &'a [IpNet],
    /// HTTP/1.1 only.
    pub(super) http1: bool,
    pub(super) identity: Option<&'a Arc<Identity>>,
    pub(super) authorities: Option<&'a Arc<Authorities>>,
}

impl Destination {
    /// The error says why outboxd never sends anything there.
    pub(super) fn new(
        url: &Url,
        policy: DialPolicy<'_>,
        limits: &DeliveryLimits,
    ) -> Result<Destination, String> {
        let destination = Destination::unjudged(url, policy, limits)?;
        let (target, rule) = (&destination.target, &destination.rule);
        // IP literals never meet the resolver. (`url` has parsed `0x7f.1` and the like into
        // addresses by now.)
        match target.literal() {
            Some(ip) => rule.judge(ip).map_err(|refusal| refusal.to_string())?,
            None if limits.proxy.is_some() && !rule.public => {
                return Err(HTTP_BY_PROXY.to_owned());
            }
            None => {}
        }
        Ok(destination)
    }

    /// The same without a look at its address. The error says what is wrong with the URL.
    pub(super) fn unjudged(
        url: &Url,
        policy: DialPolicy<'_>,
        limits: &DeliveryLimits,
    ) -> Result<Destination, String> {
        let is_https = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err("only http and https URLs are dialled".to_owned()),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err("URLs with user info are refused".to_owned());
        }
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err("URLs without a host are refused".to_owned());
        };
        let rule = DialRule {
            grants: [&limits.allow_networks, policy.grants].concat(),
            public: is_https || limits.allow_http,
        };
        let target = Target {
            host: host.to_owned(),
            port,
        };
        let root = format!("{}://{target}/", url.scheme()).parse();
        Ok(Destination {
            is_https,
            target,
            http1: policy.http1,
            rule: Arc::new(rule),
            grants: policy.grants.to_vec(),
            identity: policy.identity.cloned(),
            authorities: policy.authorities.cloned(),
            root: root.map_err(|error| format!("the URL cannot be dialled: {error}"))?,
        })
    }

    pub(super) fn policy(&self) -> DialPolicy<'_> {
        DialPolicy {
            grants: &self.grants,
            http1: self.http1,
            identity: self.identity.as_ref(),
            authorities: self.authorities.as_ref(),
        }
    }
}

/// Scheme, host and port, as the URL has them.
pub(super) fn origin(url: &Url) -> &str {
    &url[..Position::BeforePath]
}
