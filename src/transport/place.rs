//! Where attempts go: scheme, host and port, and what may be dialled there.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::Uri;
use ipnet::IpNet;
use url::{Host, Position, Url};

use crate::config::DeliveryLimits;
use crate::domain::address::DialRule;

/// Host and port.
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
}

/// For a person: never path or query.
impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.host, self.port)
    }
}

/// A host as it is dialled for endpoints with the same grants. A connection was judged by the rule
/// it was dialled under, so endpoints with different grants never share one: one with a grant of
/// its own must not leave behind a connection that one without it could use. Nor do those
/// that are to speak HTTP/1.1 only.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) is_https: bool,
    pub(super) target: Target,
    pub(super) http1: bool,
    pub(super) rule: Arc<DialRule>,
    grants: Vec<IpNet>,
    /// `scheme://host:port/`.
    root: Uri,
}

/// What tells places of one origin apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Manner<'a> {
    /// The endpoint's own.
    pub(super) grants: &'a [IpNet],
    pub(super) http1: bool,
}

impl Place {
    /// An error says why nothing is ever sent there.
    pub(super) fn new(
        url: &Url,
        manner: Manner<'_>,
        limits: &DeliveryLimits,
    ) -> Result<Place, String> {
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
            grants: [&limits.allow_networks, manner.grants].concat(),
            public: is_https || limits.allow_http,
        };
        let target = Target {
            host: host.to_owned(),
            port,
        };
        // IP literals never meet the resolver. (`url` has read `0x7f.1` and the like as what
        // they are by now.)
        match target.literal() {
            Some(ip) => rule.judge(ip).map_err(|refusal| refusal.to_string())?,
            None if limits.proxy.is_some() && !rule.public => {
                return Err("plain http through the proxy needs delivery.allow_http".to_owned());
            }
            None => {}
        }
        let root = format!("{}://{target}/", url.scheme()).parse();
        Ok(Place {
            is_https,
            target,
            http1: manner.http1,
            rule: Arc::new(rule),
            grants: manner.grants.to_vec(),
            root: root.map_err(|error| format!("the URL cannot be dialled: {error}"))?,
        })
    }

    pub(super) fn manner(&self) -> Manner<'_> {
        Manner {
            grants: &self.grants,
            http1: self.http1,
        }
    }

    pub(super) fn dialled_uri(&self) -> &Uri {
        &self.root
    }
}

/// Scheme, host and port, as the URL has them.
pub(super) fn origin(url: &Url) -> &str {
    &url[..Position::BeforePath]
}
