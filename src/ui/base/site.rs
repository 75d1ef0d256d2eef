//! Where a browser sees the daemon: scheme, host and port of a request. Its cookies and the origin of
//! its forms follow from that.

use std::net::IpAddr;

use axum::extract::Request;
use http::header::{self, HeaderMap};

use crate::api::access::{Arrival, Peer};
use crate::server::remote::{Remote, TrustedProxies, network_of};

/// From where a browser may send a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Within {
    /// Pages of this site alone.
    Site,
    /// Also by following a link of another site.
    Links,
    /// Also from a frame in a page of another site, for that site alone.
    Frames,
}

/// How a request reached the daemon, as its browser sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Over TLS up to a proxy that is trusted.
    pub https: bool,
    /// Lower case; IPv6 in brackets.
    host: String,
    port: u16,
    /// The request never left this machine, by its addresses and by its `Host`.
    is_local: bool,
    /// The network of the caller; `None` on a Unix socket.
    pub network: Option<IpAddr>,
}

impl Site {
    /// Reads a request whose `Host` was judged before.
    ///
    /// A proxy that `proxies` contains says whether the browser came over https. So does one that is
    /// connected to the Unix socket, whose permissions let it in.
    pub fn of(arrival: Arrival, request: &Request, proxies: &TrustedProxies) -> Site {
        let headers = request.headers();
        let (https, caller, arrived_locally) = match (arrival.peer, arrival.remote) {
            (Peer::Unix, _) => (says_https(headers), None, true),
            (Peer::Tcp(at), Some(peer)) => {
                let remote = proxies.remote(peer, false, headers);
                let is_local = at.is_some_and(|at| at.to_canonical().is_loopback());
                (
                    remote.https,
                    Some(remote.ip),
                    is_local && remote.ip.is_loopback(),
                )
            }
            (Peer::Tcp(_), None) => (false, None, false),
        };
        let (host, port) = split(named(request));
        Site {
            is_local: arrived_locally && is_loopback(&host),
            port: port.unwrap_or(if https { 443 } else { 80 }),
            https,
            host,
            network: caller.map(network_of),
        }
    }

    /// Reads a request of the public listener. Any `Host` is taken there: what it says is compared with
    /// the `Origin` of forms, and a login over plain HTTP needs it to name this machine.
    pub fn of_remote(remote: Remote, request: &Request) -> Site {
        let (host, port) = split(named(request));
        Site {
            is_local: remote.ip.to_canonical().is_loopback() && is_loopback(&host),
            port: port.unwrap_or(if remote.https { 443 } else { 80 }),
            https: remote.https,
            host,
            network: Some(network_of(remote.ip)),
        }
    }

    /// Whether an `Origin` is this site's own: scheme, host and port.
    pub fn is_origin(&self, origin: &str) -> bool {
        let Some((scheme, authority)) = origin.split_once("://") else {
            return false;
        };
        let default = match (scheme, self.https) {
            ("https", true) => 443,
            ("http", false) => 80,
            _ => return false,
        };
        let (host, port) = split(authority);
        host == self.host && port.unwrap_or(default) == self.port
    }

    /// Whether a login may be made here: nobody on the way can read it.
    pub fn is_private(&self) -> bool {
        self.https || self.is_local
    }

    /// The name of a cookie of this site. Browsers send the cookies of one port to all ports of a
    /// host, so over plain HTTP the port is part of the name.
    pub fn cookie_name(&self, name: &str) -> String {
        match self.https {
            true => format!("__Host-{name}"),
            false => format!("{name}-{}", self.port),
        }
    }

    /// `Set-Cookie` for a cookie that scripts cannot read. An empty value removes it. One for frames
    /// needs HTTPS.
    pub fn set_cookie(&self, name: &str, value: &str, within: Within) -> String {
        let name = self.cookie_name(name);
        let secure = if self.https { "; Secure" } else { "" };
        let same_site = match within {
            Within::Site => "Strict",
            Within::Links => "Lax",
            Within::Frames => "None",
        };
        let apart = match within {
            Within::Frames => "; Partitioned",
            Within::Site | Within::Links => "",
        };
        let gone = if value.is_empty() { "; Max-Age=0" } else { "" };
        format!("{name}={value}; Path=/; HttpOnly; SameSite={same_site}{secure}{apart}{gone}")
    }

    /// The value of a cookie of this site.
    pub fn cookie<'a>(&self, name: &str, headers: &'a HeaderMap) -> Option<&'a str> {
        let name = self.cookie_name(name);
        let values = headers.get_all(header::COOKIE).iter();
        let mut pairs = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'));
        pairs.find_map(|pair| pair.trim().strip_prefix(name.as_str())?.strip_prefix('='))
    }
}

/// Whom a request says it is for.
fn named(request: &Request) -> &str {
    let host = request.headers().get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok());
    let authority = request.uri().authority().map(|part| part.as_str());
    host.or(authority).unwrap_or("localhost")
}

/// The host in lower case, and the port.
fn split(authority: &str) -> (String, Option<u16>) {
    let after_host = match authority.rfind(']') {
        Some(at) => at + 1,
        None => 0,
    };
    let colon = authority.get(after_host..).and_then(|rest| rest.find(':'));
    let (host, port) = match colon {
        Some(at) => authority.split_at(after_host + at),
        None => (authority, ""),
    };
    let port = port.strip_prefix(':').and_then(|port| port.parse().ok());
    (host.to_ascii_lowercase(), port)
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address: Option<IpAddr> = bare.parse().ok();
    let name = bare.strip_suffix('.').unwrap_or(bare);
    name == "localhost" || address.is_some_and(|ip| ip.to_canonical().is_loopback())
}

fn says_https(headers: &HeaderMap) -> bool {
    let mut said = headers.get_all("x-forwarded-proto").iter();
    let last = said.next_back().and_then(|value| value.to_str().ok());
    last.is_some_and(|said| said.trim().eq_ignore_ascii_case("https"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn site(local: &str, remote: &str, headers: &[(&'static str, &'static str)]) -> Site {
        let mut request = Request::get("/ui/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let arrival = Arrival {
            peer: Peer::Tcp(Some(local.parse().unwrap())),
            remote: Some(remote.parse().unwrap()),
        };
        let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
        Site::of(arrival, &request.body(Body::empty()).unwrap(), &proxies)
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let plain = site("127.0.0.1", "127.0.0.1", &[("host", "LOCALHOST:7717")]);
        assert!(plain.is_origin("http://localhost:7717"));
        for other in [
            "https://localhost:7717",
            "http://localhost:7718",
            "http://localhost",
            "http://127.0.0.1:7717",
            "null",
            "",
        ] {
            assert!(!plain.is_origin(other), "{other}");
        }
        let six = site("::1", "::1", &[("host", "[::1]:81")]);
        assert!(six.is_origin("http://[::1]:81") && !six.is_origin("http://[::1]"));
        let proxied = [("host", "ui.example"), ("x-forwarded-proto", "https")];
        let proxied = site("10.0.0.2", "10.0.0.1", &proxied);
        assert!(proxied.is_origin("https://ui.example"));
        assert!(proxied.is_origin("https://ui.example:443"));
        assert!(!proxied.is_origin("http://ui.example"));
    }

    #[test]
    fn a_login_is_private_on_this_machine_and_over_https() {
        let host = ("host", "localhost:7717");
        assert!(site("127.0.0.1", "127.0.0.1", &[host]).is_private());
        assert!(!site("192.0.2.1", "192.0.2.9", &[("host", "192.0.2.1")]).is_private());
        // A proxy on this machine that nobody trusts passes a name on.
        assert!(!site("127.0.0.1", "127.0.0.1", &[("host", "ui.example")]).is_private());
        let said = ("x-forwarded-proto", "https");
        assert!(!site("127.0.0.1", "127.0.0.1", &[("host", "ui.example"), said]).is_private());
        let trusted = site("10.0.0.2", "10.0.0.1", &[("host", "ui.example"), said]);
        assert!(trusted.is_private() && trusted.https);
        let forwarded = [("host", "ui.example"), ("x-forwarded-for", "203.0.113.1")];
        assert!(!site("10.0.0.2", "10.0.0.1", &forwarded).is_private());
    }

    #[test]
    fn cookies_are_named_and_flagged_by_the_scheme() {
        let plain = site("127.0.0.1", "127.0.0.1", &[("host", "localhost:7717")]);
        assert_eq!(
            plain.set_cookie("outboxd", "x", Within::Site),
            "outboxd-7717=x; Path=/; HttpOnly; SameSite=Strict"
        );
        let proxied = [("host", "ui.example"), ("x-forwarded-proto", "https")];
        let proxied = site("10.0.0.2", "10.0.0.1", &proxied);
        assert_eq!(
            proxied.set_cookie("outboxd", "", Within::Site),
            "__Host-outboxd=; Path=/; HttpOnly; SameSite=Strict; Secure; Max-Age=0"
        );
        assert_eq!(
            proxied.set_cookie("p", "x", Within::Frames),
            "__Host-p=x; Path=/; HttpOnly; SameSite=None; Secure; Partitioned"
        );
        assert_eq!(
            plain.set_cookie("p", "x", Within::Links),
            "p-7717=x; Path=/; HttpOnly; SameSite=Lax"
        );
        let mut headers = HeaderMap::new();
        let sent = "outboxd-77=a; outboxd-7717=b; outboxd-77171=c";
        headers.insert(header::COOKIE, sent.parse().unwrap());
        assert_eq!(plain.cookie("outboxd", &headers), Some("b"));
        assert_eq!(proxied.cookie("outboxd", &headers), None);
    }
}
