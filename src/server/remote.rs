//! The caller of the public listener: the peer, or the address that a trusted proxy names.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A caller of the public listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// The caller's address; never an IPv4 address mapped to IPv6.
    pub ip: IpAddr,
    /// Whether the request came over https.
    pub https: bool,
    /// Whether many callers probably share the address: the peer sends `X-Forwarded-For` but the
    /// configuration trusts no proxy, so the peer is probably a proxy that is not configured.
    pub is_shared: bool,
}

/// The networks of the proxies whose forwarding headers are used.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// The networks that the configuration names.
    pub fn new(networks: Vec<IpNet>) -> TrustedProxies {
        TrustedProxies(networks)
    }

    /// Whether an address belongs to a trusted proxy.
    pub fn contain(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|network| network.contains(&ip))
    }

    /// The caller whose request came from `peer` with these headers; `tls`: whether the peer's own
    /// connection uses TLS.
    ///
    /// `X-Forwarded-For` and `X-Forwarded-Proto` of a trusted peer are used. Each proxy adds the
    /// address of its own peer on the right, so the caller is the right-most address that does not
    /// belong to a trusted proxy: the caller may have forged everything to the left of it. If an
    /// entry is not an address, the peer is the caller.
    pub fn remote(&self, peer: IpAddr, tls: bool, headers: &HeaderMap) -> Remote {
        let peer = peer.to_canonical();
        if !self.contain(peer) {
            return Remote {
                ip: peer,
                https: tls,
                is_shared: self.0.is_empty() && headers.contains_key(FORWARDED_FOR),
            };
        }
        Remote {
            ip: self.forwarded_for(headers).unwrap_or(peer),
            https: tls || is_https(headers),
            is_shared: false,
        }
    }

    fn forwarded_for(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let mut outermost = None;
        for value in headers.get_all(FORWARDED_FOR).iter().rev() {
            for entry in value.to_str().ok()?.rsplit(',') {
                let ip = address(entry.trim())?;
                if !self.contain(ip) {
                    return Some(ip);
                }
                outermost = Some(ip);
            }
        }
        // All entries are trusted proxies: the first one is the caller.
        outermost
    }
}

/// The network of one caller: an IPv4 address, or a /64 of IPv6, all of which one host may use.
pub fn network_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into(),
        v4 => v4,
    }
}

/// Whether the nearest proxy was called over https, according to its header.
fn is_https(headers: &HeaderMap) -> bool {
    let values = headers.get_all("x-forwarded-proto");
    let last = values
        .iter()
        .next_back()
        .and_then(|value| value.to_str().ok());
    let nearest = last.and_then(|value| value.rsplit(',').next());
    nearest.is_some_and(|word| word.trim().eq_ignore_ascii_case("https"))
}

/// An address as proxies write it: bare, in brackets, or with a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let ip = match (text.parse(), bare, text.parse::<SocketAddr>()) {
        (Ok(ip), _, _) => ip,
        (_, Some(bare), _) => IpAddr::V6(bare.parse().ok()?),
        (_, _, Ok(with_port)) => with_port.ip(),
        _ => return None,
    };
    Some(ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    fn proxies() -> TrustedProxies {
        let networks = ["10.0.0.0/8", "fd00::/8", "127.0.0.1/32"];
        TrustedProxies::new(networks.iter().map(|text| text.parse().unwrap()).collect())
    }

    fn headers(name: &'static str, values: &[&[u8]]) -> HeaderMap {
        let values = values.iter().map(|value| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_bytes(value).unwrap(),
            )
        });
        values.collect()
    }

    fn ip_of(peer: &str, values: &[&str]) -> String {
        let values: Vec<&[u8]> = values.iter().map(|value| value.as_bytes()).collect();
        let headers = headers("x-forwarded-for", &values);
        let remote = proxies().remote(peer.parse().unwrap(), false, &headers);
        remote.ip.to_string()
    }

    #[test]
    fn a_peer_that_is_not_trusted_is_the_caller_whatever_its_headers() {
        assert_eq!(ip_of("203.0.113.9", &["198.51.100.1"]), "203.0.113.9");
        assert_eq!(ip_of("::ffff:203.0.113.9", &[]), "203.0.113.9");
        let forwarding = headers("x-forwarded-for", &[b"198.51.100.1"]);
        let nobody = TrustedProxies::default();
        for (trusted, peer, headers, is_shared) in [
            (&nobody, "203.0.113.9", &forwarding, true),
            (&nobody, "203.0.113.9", &HeaderMap::new(), false),
            // Proxies are configured and this peer is not one of them, so it calls for itself.
            (&proxies(), "203.0.113.9", &forwarding, false),
            (&proxies(), "10.1.1.1", &forwarding, false),
        ] {
            let remote = trusted.remote(peer.parse().unwrap(), false, headers);
            assert_eq!(remote.is_shared, is_shared, "{peer}");
        }
        let headers = headers("x-forwarded-proto", &[b"https"]);
        let remote = proxies().remote("203.0.113.9".parse().unwrap(), false, &headers);
        assert!(!remote.https);
    }

    #[test]
    fn the_caller_is_the_right_most_address_that_is_not_a_proxy() {
        for (values, expected) in [
            (&[][..], "10.1.1.1"),
            (&["203.0.113.9"], "203.0.113.9"),
            (&["198.51.100.1, 203.0.113.9"], "203.0.113.9"),
            (&["198.51.100.1", "203.0.113.9"], "203.0.113.9"),
            (
                &["203.0.113.9, 10.2.2.2", "fd00::1,10.3.3.3"],
                "203.0.113.9",
            ),
            (&["junk, 203.0.113.9 , 10.2.2.2"], "203.0.113.9"),
            (&["10.4.4.4, 10.2.2.2"], "10.4.4.4"),
            (&["[2001:db8::1]"], "2001:db8::1"),
            (&["[2001:db8::1]:443"], "2001:db8::1"),
            (&["203.0.113.9:5000"], "203.0.113.9"),
            (&["::ffff:203.0.113.9"], "203.0.113.9"),
            (&["203.0.113.9, ::ffff:10.1.2.3"], "203.0.113.9"),
        ] {
            assert_eq!(ip_of("10.1.1.1", values), expected, "{values:?}");
            assert_eq!(ip_of("::ffff:10.1.1.1", values), expected, "{values:?}");
        }
    }

    #[test]
    fn an_entry_that_is_not_an_address_makes_the_peer_the_caller() {
        for values in [
            &[""][..],
            &["unknown"],
            &["203.0.113.9, junk"],
            &["203.0.113.9,"],
            &["203.0.113.9", ""],
            &["203.0.113.9, junk, 10.2.2.2"],
            &["203.0.113.9:x"],
            &["[203.0.113.9]"],
            &["2001:db8::1]"],
            &["203.0.113.9 198.51.100.1"],
            &["0x7f.1"],
        ] {
            assert_eq!(ip_of("10.1.1.1", values), "10.1.1.1", "{values:?}");
        }
        let headers = headers("x-forwarded-for", &[b"203.0.113.9, \xff"]);
        let remote = proxies().remote("10.1.1.1".parse().unwrap(), false, &headers);
        assert_eq!(remote.ip.to_string(), "10.1.1.1");
    }

    #[test]
    fn https_is_tls_of_the_peer_or_the_header_of_the_nearest_proxy() {
        let https = |tls, values: &[&[u8]]| {
            let headers = headers("x-forwarded-proto", values);
            proxies()
                .remote("10.1.1.1".parse().unwrap(), tls, &headers)
                .https
        };
        assert!(https(true, &[]) && https(true, &[b"http"]));
        assert!(https(false, &[b"https"]) && https(false, &[b"HTTPS "]));
        assert!(https(false, &[b"http, https"]) && https(false, &[b"http", b"https"]));
        assert!(!https(false, &[]) && !https(false, &[b"http"]));
        assert!(!https(false, &[b"https, http"]) && !https(false, &[b"https", b"\xff"]));
    }

    proptest! {
        /// No header of an untrusted caller, and nothing to the left of the address that the
        /// nearest proxy added, changes who the caller is.
        #[test]
        fn a_caller_cannot_name_another(claimed in "[ -~]{0,60}", v6 in any::<bool>()) {
            let caller = if v6 { "2001:db8::7" } else { "203.0.113.9" };
            prop_assert_eq!(ip_of(caller, &[&claimed]), caller);
            prop_assert_eq!(ip_of("10.1.1.1", &[&claimed, caller]), caller);
            prop_assert_eq!(ip_of("10.1.1.1", &[&format!("{claimed}, {caller}")]), caller);
            // Whatever a proxy passes on is read without a panic.
            ip_of("10.1.1.1", &[&claimed]);
        }
    }
}
