//! Which `Host` and `Origin` values are accepted over TCP.
//!
//! A page in a browser can send requests to loopback, either through a name of its own that
//! resolves to it (DNS rebinding) or directly. The first shows in `Host`, the second in
//! `Origin`. Neither is a secret, so this check does not replace a token.

use std::net::IpAddr;

use http::header::{self, HeaderValue};
use http::{Request, Version};

use super::problem::{Kind, Problem};

/// How much of a refused value is repeated in an answer, in characters.
const SHOWN: usize = 100;

/// A host as a header names it, without its port.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Address(IpAddr),
    /// Lower case, without a dot at its end.
    Name(String),
}

impl Host {
    /// Reads `host[:port]`. IPv6 stands in brackets.
    fn of_authority(text: &str) -> Option<Host> {
        if let Some(rest) = text.strip_prefix('[') {
            let (address, after) = rest.split_once(']')?;
            let port = after.strip_prefix(':').unwrap_or(after);
            let is_port = after.is_empty() || after.starts_with(':') && is_port(port);
            let address = address.parse().ok().filter(|_| is_port)?;
            return Some(Host::Address(IpAddr::V6(address).to_canonical()));
        }
        let (host, port) = text.split_once(':').unwrap_or((text, ""));
        is_port(port).then(|| Host::bare(host))?
    }

    /// Reads a host that stands alone: a name, or an IPv4 address.
    fn bare(text: &str) -> Option<Host> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if let Ok(address) = text.parse() {
            return Some(Host::Address(IpAddr::V4(address)));
        }
        let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.';
        let is_name = !text.is_empty() && text.len() <= 253 && text.bytes().all(fits);
        is_name.then(|| Host::Name(text.to_ascii_lowercase()))
    }
}

/// Digits or nothing (RFC 3986, section 3.2.3).
fn is_port(text: &str) -> bool {
    text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit())
}

/// The hosts that are let in beside localhost, its literals and the address that a
/// connection arrived at.
#[derive(Debug)]
pub struct Hosts(Vec<Host>);

impl Hosts {
    /// `further`: `listen.hosts` as the configuration keeps them, IPv6 in brackets.
    pub fn new(further: &[String]) -> Self {
        let read = |text: &String| Host::of_authority(text);
        Hosts(further.iter().filter_map(read).collect())
    }

    fn let_in(&self, host: &Host, arrived_at: Option<IpAddr>) -> bool {
        let own = match host {
            Host::Address(address) => {
                address.is_loopback() || arrived_at.is_some_and(|at| at.to_canonical() == *address)
            }
            Host::Name(name) => name == "localhost",
        };
        own || self.0.contains(host)
    }

    /// Judges whom a request says it is for, and which page it says it comes from.
    /// `arrived_at` is the address of ours that its connection was made to.
    ///
    /// # Errors
    /// 400 for none or several `Host` headers (RFC 9112, section 3.2), 403 for one, or an
    /// `Origin`, that is not let in.
    pub fn judge<B>(
        &self,
        request: &Request<B>,
        arrived_at: Option<IpAddr>,
    ) -> Result<(), Problem> {
        let headers = request.headers();
        let mut hosts = headers.get_all(header::HOST).iter();
        let (host, more) = (hosts.next(), hosts.next());
        if more.is_some() {
            return Err(Problem::bad_request("there is more than one Host header"));
        }
        // The absolute form of HTTP/1.1 and `:authority` of HTTP/2.
        let authority = request.uri().authority().map(|part| part.as_str());
        if host.is_none() && authority.is_none() && request.version() >= Version::HTTP_11 {
            return Err(Problem::bad_request("the Host header is missing"));
        }
        let refused = |what: &str, detail: &str| {
            let shown: String = what.chars().take(SHOWN).collect();
            Err(Problem::new(
                Kind::HostRefused,
                format!("{shown:?} {detail}"),
            ))
        };
        for named in host.map(text).into_iter().chain(authority) {
            let read = Host::of_authority(named);
            if !read.is_some_and(|host| self.let_in(&host, arrived_at)) {
                let detail = "is not a Host that is let in here; if it is this daemon's name, \
                              add it to listen.hosts";
                return refused(named, detail);
            }
        }
        for origin in headers.get_all(header::ORIGIN).iter().map(text) {
            let read = origin
                .split_once("://")
                .and_then(|(_, rest)| Host::of_authority(rest));
            if !read.is_some_and(|host| self.let_in(&host, arrived_at)) {
                return refused(origin, "is not an Origin that is let in here");
            }
        }
        Ok(())
    }
}

/// Not visible ASCII: the empty text, which is not a host.
fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&'static str, &'static str)]) -> Request<()> {
        let mut request = Request::get("/v1/status");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    fn status(request: &Request<()>) -> u16 {
        let further = [
            "outbox.internal",
            "xn--bcher-kva.example",
            "[2001:db8::1]",
            "192.0.2.9",
        ];
        let hosts = Hosts::new(&further.map(str::to_owned));
        let at: IpAddr = "10.1.2.3".parse().unwrap();
        match hosts.judge(request, Some(at)) {
            Ok(()) => 200,
            Err(Problem {
                kind: Kind::HostRefused,
                ..
            }) => 403,
            Err(Problem {
                kind: Kind::BadRequest,
                ..
            }) => 400,
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn our_own_hosts_are_let_in_however_they_are_spelled() {
        for host in [
            "localhost",
            "LocalHost:7717",
            "localhost.",
            "localhost:",
            "127.0.0.1",
            "127.9.9.9:80",
            "[::1]",
            "[::1]:7717",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]:1",
            "10.1.2.3",
            "10.1.2.3:7717",
            "outbox.internal",
            "OUTBOX.internal.:443",
            "xn--bcher-kva.example",
            "[2001:DB8:0::1]:9",
            "192.0.2.9",
        ] {
            assert_eq!(status(&request(&[("host", host)])), 200, "{host}");
        }
    }

    #[test]
    fn other_hosts_are_not() {
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "evil.localhost",
            "localhost..",
            "0.0.0.0",
            "[::]",
            "10.1.2.4",
            "127.1",
            "2130706433",
            "0x7f.0.0.1",
            "::1",
            "[::1",
            "[::1]x",
            "[127.0.0.1]",
            "localhost:80:80",
            "localhost:x",
            "localhost:123456",
            "a@localhost",
            "localhost, evil.example",
            "localhost/",
            "localhost evil",
            "b\u{fc}cher.example",
            "internal",
            ".",
        ] {
            assert_eq!(status(&request(&[("host", host)])), 403, "{host:?}");
        }
    }

    #[test]
    fn no_host_and_several_are_malformed() {
        assert_eq!(status(&request(&[])), 400);
        assert_eq!(
            status(&request(&[("host", "localhost"), ("host", "localhost")])),
            400
        );
        let mut old = request(&[]);
        *old.version_mut() = Version::HTTP_10;
        assert_eq!(status(&old), 200);
    }

    #[test]
    fn the_authority_of_the_target_is_judged_too() {
        let to = |uri: &'static str, host: Option<&'static str>| {
            let mut made = request(
                &host
                    .map(|host| ("host", host))
                    .into_iter()
                    .collect::<Vec<_>>(),
            );
            *made.uri_mut() = uri.parse().unwrap();
            status(&made)
        };
        assert_eq!(to("http://evil.example/v1/status", Some("localhost")), 403);
        assert_eq!(to("http://localhost/v1/status", Some("evil.example")), 403);
        assert_eq!(to("http://LOCALHOST:1/v1/status", Some("localhost")), 200);
        assert_eq!(to("http://user@localhost/", Some("localhost")), 403);
        assert_eq!(to("http://localhost/v1/status", None), 200);
        assert_eq!(to("http://evil.example/v1/status", None), 403);
    }

    #[test]
    fn origins_are_those_of_our_own_pages() {
        let from = |origin| status(&request(&[("host", "localhost"), ("origin", origin)]));
        for good in [
            "http://localhost:3000",
            "https://OUTBOX.internal",
            "http://[::1]:1",
            "http://127.0.0.1",
        ] {
            assert_eq!(from(good), 200, "{good}");
        }
        for bad in [
            "null",
            "",
            "http://evil.example",
            "http://localhost.evil.example",
            "localhost",
            "http://",
            "file://",
            "http://localhost/",
            "http://localhost@evil.example",
            "http://evil.example:7717",
            "http://localhost http://evil.example",
        ] {
            assert_eq!(from(bad), 403, "{bad}");
        }
        let two = [
            ("host", "localhost"),
            ("origin", "http://localhost"),
            ("origin", "http://evil.example"),
        ];
        assert_eq!(status(&request(&two)), 403);
    }
}
