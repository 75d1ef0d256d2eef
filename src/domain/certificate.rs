//! A server's certificate (RFC 5280), as it is shown to an operator. Nothing is verified here.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::time::Timestamp;

/// Names that are shown of a certificate; the others are counted.
const NAMES: usize = 8;
/// Characters of a name that are shown.
const NAME: usize = 120;

/// What a certificate says of itself. Whoever made it chose the texts: control characters are left
/// out, and what is too long is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The names and addresses that it is valid for.
    pub names: Vec<String>,
    pub issuer: String,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

impl Certificate {
    /// Reads DER; `None` if it is not a certificate.
    pub fn read(der: &[u8]) -> Option<Certificate> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        // Nothing is before 1970 and useful.
        let moment = |seconds: i64| {
            let seconds = u64::try_from(seconds).unwrap_or(0);
            Timestamp::from_millis(seconds.saturating_mul(1000))
        };
        let validity = certificate.validity();
        Some(Certificate {
            names: names(&certificate),
            issuer: shown(&certificate.issuer().to_string()),
            not_before: moment(validity.not_before.timestamp()),
            not_after: moment(validity.not_after.timestamp()),
        })
    }
}

/// Whom it is for, and who issued it.
impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.names.get(..NAMES).unwrap_or(&self.names);
        match shown {
            [] => write!(f, "a certificate without a name")?,
            names => write!(f, "a certificate for {}", names.join(", "))?,
        }
        match self.names.len() - shown.len() {
            0 => {}
            more => write!(f, " and {more} more")?,
        }
        match self.issuer.is_empty() {
            true => write!(f, ", issuer not named"),
            false => write!(f, ", issued by {}", self.issuer),
        }
    }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let all = alternative.map_or(&[][..], |names| &names.value.general_names);
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(shown(name)),
        GeneralName::IPAddress(bytes) => address(bytes),
        _ => None,
    };
    all.iter().filter_map(name).collect()
}

fn address(bytes: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|it| Ipv4Addr::from(it).to_string());
    let v6 = || <[u8; 16]>::try_from(bytes).map(|it| Ipv6Addr::from(it).to_string());
    v4.or_else(|_| v6()).ok()
}

fn shown(text: &str) -> String {
    let fit = text.chars().filter(|one| !one.is_control());
    fit.take(NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    fn made(names: &[String], common_name: &str) -> Certificate {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 1, 1);
        Certificate::read(params.self_signed(&key).unwrap().der()).unwrap()
    }

    #[test]
    fn a_certificate_is_shown_with_its_names_and_issuer() {
        let names = ["a.example", "*.b.example", "192.0.2.1", "2001:db8::1"].map(str::to_owned);
        let read = made(&names, "Some \u{1b}[31mCA");
        assert_eq!(read.names, names);
        assert_eq!(read.not_before.to_string(), "2026-01-01T00:00:00.000Z");
        assert_eq!(read.not_after.to_string(), "2027-01-01T00:00:00.000Z");
        assert_eq!(
            read.to_string(),
            "a certificate for a.example, *.b.example, 192.0.2.1, 2001:db8::1, \
             issued by CN=Some [31mCA"
        );
    }

    #[test]
    fn many_names_are_counted_and_long_ones_are_cut() {
        let names: Vec<String> = (0..20).map(|n| format!("n{n}.example")).collect();
        let read = made(&names, &"x".repeat(1000));
        let text = read.to_string();
        assert!(text.contains("n7.example and 12 more"), "{text}");
        assert!(text.len() < 400, "{text}");
        let read = made(&[], "");
        assert!(read.to_string().starts_with("a certificate without a name"));
        assert_eq!(Certificate::read(b"0"), None);
    }
}
