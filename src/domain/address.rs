//! Which addresses may be dialled: the rule that keeps endpoint URLs, which customers
//! choose, from reaching into the operator's own network.
//!
//! Public means globally reachable unicast by the IANA special-purpose address
//! registries (RFC 6890 and its updates). Everything else needs a grant: a network of
//! `allow_networks`. An IPv6 address that carries an IPv4 one is judged by what it
//! carries too, because a translator or tunnel on the way would deliver it there.
//!
//! Only addresses are judged, never names: a name says nothing about where it leads.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// What an address that is not public is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Special {
    Unspecified,
    Loopback,
    Private,
    /// 169.254/16 and fe80::/10, where clouds keep their metadata.
    LinkLocal,
    /// 100.64/10, RFC 6598.
    CarrierNat,
    Multicast,
    Broadcast,
    Documentation,
    Benchmarking,
    /// Anything else that the registries keep from the public internet.
    Reserved,
    /// An IPv6 address that carries this IPv4 address, which is not public.
    Embeds(Ipv4Addr),
}

impl fmt::Display for Special {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Special::Unspecified => "the unspecified address",
            Special::Loopback => "a loopback address",
            Special::Private => "a private address",
            Special::LinkLocal => "a link-local address",
            Special::CarrierNat => "a carrier-grade NAT address",
            Special::Multicast => "a multicast address",
            Special::Broadcast => "the broadcast address",
            Special::Documentation => "a documentation address",
            Special::Benchmarking => "a benchmarking address",
            Special::Reserved => "a reserved address",
            Special::Embeds(inner) => {
                return match special_v4(*inner) {
                    Some(special) => write!(f, "an address that embeds {inner}, {special}"),
                    None => write!(f, "an address that embeds {inner}"),
                };
            }
        })
    }
}

/// What keeps `ip` from being public; `None` if it is globally reachable unicast.
pub fn special(ip: IpAddr) -> Option<Special> {
    match ip {
        IpAddr::V4(ip) => special_v4(ip),
        IpAddr::V6(ip) => special_v6(ip),
    }
}

/// The IANA IPv4 special-purpose registry. The two anycast addresses in 192.0.0.0/24
/// that it calls reachable are blocked with the rest: they are not unicast.
fn special_v4(ip: Ipv4Addr) -> Option<Special> {
    match ip.octets() {
        [0, 0, 0, 0] => Some(Special::Unspecified),
        [0, ..] => Some(Special::Reserved),
        [10, ..] => Some(Special::Private),
        [100, 64..=127, ..] => Some(Special::CarrierNat),
        [127, ..] => Some(Special::Loopback),
        [169, 254, ..] => Some(Special::LinkLocal),
        [172, 16..=31, ..] => Some(Special::Private),
        [192, 0, 0, _] => Some(Special::Reserved),
        [192, 0, 2, _] => Some(Special::Documentation),
        [192, 88, 99, _] => Some(Special::Reserved),
        [192, 168, ..] => Some(Special::Private),
        [198, 18..=19, ..] => Some(Special::Benchmarking),
        [198, 51, 100, _] => Some(Special::Documentation),
        [203, 0, 113, _] => Some(Special::Documentation),
        [224..=239, ..] => Some(Special::Multicast),
        [255, 255, 255, 255] => Some(Special::Broadcast),
        [240..=255, ..] => Some(Special::Reserved),
        _ => None,
    }
}

/// The IANA IPv6 special-purpose registry; outside 2000::/3 nothing is global unicast.
fn special_v6(ip: Ipv6Addr) -> Option<Special> {
    let embeds_special = || {
        let mut inner = embedded(ip).into_iter().flatten();
        inner
            .find(|v4| special_v4(*v4).is_some())
            .map(Special::Embeds)
    };
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some(Special::Unspecified),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some(Special::Loopback),
        // IPv4-mapped and NAT64: only as good as what they carry.
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => embeds_special(),
        // IPv4-compatible is given up; not even a public one leads anywhere.
        [0, 0, 0, 0, 0, 0, ..] => embeds_special().or(Some(Special::Reserved)),
        // Teredo and 6to4.
        [0x2001, 0, ..] | [0x2002, ..] => embeds_special(),
        [0x2001, second, third, ..] if second < 0x200 => protocol_assignment(second, third),
        [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => Some(Special::Documentation),
        [0x2000..=0x3fff, ..] => None,
        [0xfc00..=0xfdff, ..] => Some(Special::Private),
        [0xfe80..=0xfebf, ..] => Some(Special::LinkLocal),
        [0xfec0..=0xfeff, ..] => Some(Special::Private),
        [0xff00..=0xffff, ..] => Some(Special::Multicast),
        _ => Some(Special::Reserved),
    }
}

/// 2001::/23 but for Teredo: reserved except the parts registered as reachable, which
/// are AMT, AS112, ORCHIDv2 and drone tags. Its anycast addresses are not unicast.
fn protocol_assignment(second: u16, third: u16) -> Option<Special> {
    match (second, third) {
        (2, 0) => Some(Special::Benchmarking),
        (3, _) | (4, 0x112) | (0x20..=0x3f, _) => None,
        _ => Some(Special::Reserved),
    }
}

/// The IPv4 addresses that `ip` carries: one, or two for Teredo (its client, behind an
/// obfuscating NOT, and its server; RFC 4380).
fn embedded(ip: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match ip.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            [Some(v4(high, low)), None]
        }
        [0x2002, high, low, ..] => [Some(v4(high, low)), None],
        [0x2001, 0, high, low, _, _, client_high, client_low] => {
            [Some(v4(!client_high, !client_low)), Some(v4(high, low))]
        }
        _ => [None, None],
    }
}

/// Where one endpoint's attempts may go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DialRule {
    /// Networks that may be dialled although they are not public.
    pub grants: Vec<IpNet>,
    /// Whether public addresses may be dialled: not by plain `http` without `allow_http`.
    pub public: bool,
}

/// Why an address may not be dialled. `Display` is a sentence for the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{0} is {1} and no allow_networks holds it")]
    Special(IpAddr, Special),
    #[error("plain http to a public address ({0}) needs delivery.allow_http")]
    PlainHttp(IpAddr),
}

impl DialRule {
    /// Whether `ip` may be dialled.
    pub fn judge(&self, ip: IpAddr) -> Result<(), Refusal> {
        if self.granted(ip) {
            return Ok(());
        }
        match special(ip) {
            Some(special) => Err(Refusal::Special(ip, special)),
            None if self.public => Ok(()),
            None => Err(Refusal::PlainHttp(ip)),
        }
    }

    /// The network of `grants` because of which `ip` may be dialled; `None` if it needs none or there
    /// is none.
    pub fn grant(&self, ip: IpAddr) -> Option<IpNet> {
        let granted = self.granted(ip);
        let of = |ip: IpAddr| self.grants.iter().find(|net| net.contains(&ip)).copied();
        let carried = || match ip {
            IpAddr::V4(_) => None,
            IpAddr::V6(ip) => embedded(ip)
                .into_iter()
                .flatten()
                .find_map(|v4| of(v4.into())),
        };
        of(ip).or_else(carried).filter(|_| granted)
    }

    /// A grant holds the address itself, or every IPv4 address that it carries and that
    /// needs a grant.
    fn granted(&self, ip: IpAddr) -> bool {
        let holds = |ip: IpAddr| self.grants.iter().any(|net| net.contains(&ip));
        if holds(ip) {
            return true;
        }
        let IpAddr::V6(ip) = ip else { return false };
        let inner = embedded(ip);
        let mut carried = inner.iter().flatten().copied();
        let needs_none = |v4: Ipv4Addr| self.public && special_v4(v4).is_none();
        inner.iter().flatten().any(|v4| holds((*v4).into()))
            && carried.all(|v4| holds(v4.into()) || needs_none(v4))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Special::*;
    use proptest::prelude::*;

    fn of(text: &str) -> Option<Special> {
        special(text.parse().unwrap())
    }

    /// First and last address of each range, and the public neighbours on both sides.
    #[test]
    fn every_edge_of_the_ipv4_registry() {
        #[rustfmt::skip]
        let ranges = [
            (None, "0.0.0.0", "0.0.0.0", None, Unspecified),
            (None, "0.0.0.1", "0.255.255.255", Some("1.0.0.0"), Reserved),
            (Some("9.255.255.255"), "10.0.0.0", "10.255.255.255", Some("11.0.0.0"), Private),
            (Some("100.63.255.255"), "100.64.0.0", "100.127.255.255", Some("100.128.0.0"), CarrierNat),
            (Some("126.255.255.255"), "127.0.0.0", "127.255.255.255", Some("128.0.0.0"), Loopback),
            (Some("169.253.255.255"), "169.254.0.0", "169.254.255.255", Some("169.255.0.0"), LinkLocal),
            (Some("172.15.255.255"), "172.16.0.0", "172.31.255.255", Some("172.32.0.0"), Private),
            (Some("191.255.255.255"), "192.0.0.0", "192.0.0.255", Some("192.0.1.0"), Reserved),
            (Some("192.0.1.255"), "192.0.2.0", "192.0.2.255", Some("192.0.3.0"), Documentation),
            (Some("192.88.98.255"), "192.88.99.0", "192.88.99.255", Some("192.88.100.0"), Reserved),
            (Some("192.167.255.255"), "192.168.0.0", "192.168.255.255", Some("192.169.0.0"), Private),
            (Some("198.17.255.255"), "198.18.0.0", "198.19.255.255", Some("198.20.0.0"), Benchmarking),
            (Some("198.51.99.255"), "198.51.100.0", "198.51.100.255", Some("198.51.101.0"), Documentation),
            (Some("203.0.112.255"), "203.0.113.0", "203.0.113.255", Some("203.0.114.0"), Documentation),
            (Some("223.255.255.255"), "224.0.0.0", "239.255.255.255", None, Multicast),
            (None, "240.0.0.0", "255.255.255.254", None, Reserved),
            (None, "255.255.255.255", "255.255.255.255", None, Broadcast),
        ];
        for (before, first, last, after, expected) in ranges {
            assert_eq!(of(first), Some(expected), "{first}");
            assert_eq!(of(last), Some(expected), "{last}");
            for public in [before, after].into_iter().flatten() {
                assert_eq!(of(public), None, "{public}");
            }
        }
    }

    #[test]
    fn every_edge_of_the_ipv6_registry() {
        #[rustfmt::skip]
        let ranges = [
            ("::", "::", Unspecified),
            ("::1", "::1", Loopback),
            ("::1:0:0:0", "64:ff9a:ffff::", Reserved),
            ("::ffff:0:10.0.0.1", "::ffff:0:8.8.8.8", Reserved),
            ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", Reserved),
            ("64:ff9b:1::8.8.8.8", "64:ff9b:1:abcd::a00:1", Reserved),
            ("100::", "100::ffff:ffff:ffff:ffff", Reserved),
            ("100:0:0:1::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Reserved),
            ("2001:1::", "2001:1::3", Reserved),
            ("2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff", Benchmarking),
            ("2001:2:1::", "2001:2:ffff::", Reserved),
            ("2001:4:111::", "2001:4:113::", Reserved),
            ("2001:5::", "2001:1f:ffff::", Reserved),
            ("2001:40::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", Reserved),
            ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", Documentation),
            ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", Documentation),
            ("4000::", "5f00::1", Reserved),
            ("5f00:ffff::", "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Reserved),
            ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Private),
            ("fe00::", "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Reserved),
            ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", LinkLocal),
            ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Private),
            ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Multicast),
        ];
        for (first, last, expected) in ranges {
            assert_eq!(of(first), Some(expected), "{first}");
            assert_eq!(of(last), Some(expected), "{last}");
        }
        #[rustfmt::skip]
        let public = [
            "2000::", "2000:ffff::", "2001:3::", "2001:3:ffff::", "2001:4:112::", "2001:20::",
            "2001:2f:ffff::", "2001:30::", "2001:3f:ffff::", "2001:200::", "2001:db7:ffff::",
            "2001:db9::", "2001:ffff::", "2003::", "2606:4700::1111", "2620:4f:8000::1",
            "3ffe:ffff::", "3fff:1000::", "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        ];
        for text in public {
            assert_eq!(of(text), None, "{text}");
        }
    }

    /// The five ways in which an IPv6 address carries `v4`.
    fn carriers(v4: Ipv4Addr) -> [(&'static str, Ipv6Addr); 6] {
        let [a, b, c, d] = v4.octets().map(u16::from);
        let (high, low) = (a << 8 | b, c << 8 | d);
        let six = |s: [u16; 8]| Ipv6Addr::from(s);
        [
            ("mapped", six([0, 0, 0, 0, 0, 0xffff, high, low])),
            ("compatible", six([0, 0, 0, 0, 0, 0, high, low])),
            ("nat64", six([0x64, 0xff9b, 0, 0, 0, 0, high, low])),
            ("6to4", six([0x2002, high, low, 0, 0, 0, 0, 1])),
            (
                "teredo client",
                six([0x2001, 0, 0x0808, 0x0808, 0, 0, !high, !low]),
            ),
            (
                "teredo server",
                six([0x2001, 0, high, low, 0, 0, !0x0808, !0x0808]),
            ),
        ]
    }

    #[test]
    fn what_an_ipv6_address_carries_is_judged() {
        for text in [
            "10.0.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "224.0.0.1",
            "192.0.2.1",
        ] {
            let v4: Ipv4Addr = text.parse().unwrap();
            for (form, v6) in carriers(v4) {
                assert_eq!(special(v6.into()), Some(Embeds(v4)), "{form} {v6}");
            }
        }
        for (form, v6) in carriers("93.184.216.34".parse().unwrap()) {
            let expected = (form == "compatible").then_some(Reserved);
            assert_eq!(special(v6.into()), expected, "{form} {v6}");
        }
        assert_eq!(
            special("::ffff:10.0.0.1".parse().unwrap())
                .unwrap()
                .to_string(),
            "an address that embeds 10.0.0.1, a private address"
        );
    }

    #[test]
    fn a_grant_holds_the_address_or_what_it_carries() {
        let rule = |net: &str, public| DialRule {
            grants: vec![net.parse().unwrap()],
            public,
        };
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let loopback = rule("127.0.0.0/8", true);
        assert_eq!(loopback.judge(ip("127.0.0.1")), Ok(()));
        assert!(loopback.judge(ip("10.0.0.1")).is_err() && loopback.judge(ip("::1")).is_err());
        for (form, v6) in carriers("127.0.0.1".parse().unwrap()) {
            assert_eq!(loopback.judge(v6.into()), Ok(()), "{form}");
            assert_eq!(loopback.grant(v6.into()), Some(loopback.grants[0]));
            assert!(rule("10.0.0.0/8", true).judge(v6.into()).is_err(), "{form}");
        }
        assert_eq!(rule("::1/128", true).judge(ip("::1")), Ok(()));
        assert_eq!(
            rule("64:ff9b::/96", true).judge(ip("64:ff9b::10.0.0.1")),
            Ok(())
        );
        // A private Teredo client is not let in by a grant for its server.
        let teredo = ip("2001:0:7f00:1:0:0:f5ff:fffe");
        assert!(loopback.judge(teredo).is_err());
        assert_eq!(loopback.grant(teredo), None);
        assert_eq!(loopback.grant(ip("127.9.9.9")), Some(loopback.grants[0]));
        assert_eq!(loopback.grant(ip("93.184.216.34")), None);
    }

    #[test]
    fn plain_http_goes_to_granted_addresses_only() {
        let rule = DialRule {
            grants: vec!["127.0.0.0/8".parse().unwrap()],
            public: false,
        };
        let public: IpAddr = "93.184.216.34".parse().unwrap();
        assert_eq!(rule.judge(public), Err(Refusal::PlainHttp(public)));
        assert_eq!(rule.judge("127.0.0.1".parse().unwrap()), Ok(()));
        assert!(matches!(
            rule.judge("10.0.0.1".parse().unwrap()),
            Err(Refusal::Special(_, Private))
        ));
    }

    proptest! {
        #[test]
        fn no_form_of_a_special_ipv4_address_passes(bits: u32) {
            let v4 = Ipv4Addr::from(bits);
            let rule = DialRule { grants: Vec::new(), public: true };
            prop_assert_eq!(rule.judge(v4.into()).is_err(), special_v4(v4).is_some());
            if special_v4(v4).is_some() {
                for (form, v6) in carriers(v4) {
                    prop_assert!(rule.judge(v6.into()).is_err(), "{} {}", form, v6);
                }
            }
        }

        #[test]
        fn only_2000_3_and_translated_ipv4_pass(bits: u128) {
            let v6 = Ipv6Addr::from(bits);
            if special(v6.into()).is_none() {
                let global = v6.segments()[0] >> 13 == 1;
                let translated = embedded(v6)[0].is_some();
                prop_assert!(global || translated);
            }
        }
    }
}
