//! How a TLS handshake is told: what was agreed on, and what to do about what went wrong.

use std::fmt;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError, ClientConnection, Error, ProtocolVersion};

use super::fault::refuses_client;
use super::observed::Seen;
use crate::clock;
use crate::domain::certificate::Certificate;
use crate::domain::endpoint::{Endpoint, Source};
use crate::domain::time::Timestamp;

/// A certificate that expires sooner is a concern.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// A handshake that succeeded.
#[derive(Debug)]
pub(super) struct Handshake {
    version: &'static str,
    http: &'static str,
    certificate: Option<Certificate>,
    /// Whether the server asked for a client certificate.
    asks_for_client: bool,
    /// When the endpoint's client certificate expires, if it has one.
    client_not_after: Option<Timestamp>,
    at: Timestamp,
}

impl Handshake {
    pub(super) fn new(
        connection: &ClientConnection,
        seen: &Seen,
        client_not_after: Option<Timestamp>,
    ) -> Handshake {
        Handshake {
            version: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
                Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
                _ => "TLS",
            },
            http: match connection.alpn_protocol() {
                Some(b"h2") => "HTTP/2",
                Some(_) => "HTTP/1.1",
                None => "HTTP/1.1 (without ALPN)",
            },
            certificate: seen.certificate().cloned(),
            asks_for_client: seen.asks_for_client(),
            client_not_after,
            at: clock::now(),
        }
    }

    /// What somebody should act on although deliveries go on.
    pub(super) fn concern(&self) -> Option<String> {
        let is_soon = |until: &Timestamp| until.since(self.at) < SOON;
        let server = self.certificate.as_ref().map(|one| one.not_after);
        if let Some(until) = server.filter(is_soon) {
            let days = days(until.since(self.at));
            return Some(format!(
                "the receiver's certificate expires in {days}, and deliveries fail from then on: \
                 have it renewed"
            ));
        }
        let client = self.client_not_after.filter(is_soon)?;
        Some(match client <= self.at {
            true => "the endpoint's client certificate has expired: renew it".to_owned(),
            false => {
                let days = days(client.since(self.at));
                format!("the endpoint's client certificate expires in {days}: renew it")
            }
        })
    }
}

impl fmt::Display for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.version, self.http)?;
        if let Some(certificate) = &self.certificate {
            let left = days(certificate.not_after.since(self.at));
            let until = certificate.not_after;
            write!(f, "; {certificate}, valid until {until} ({left})")?;
        }
        match (self.asks_for_client, self.client_not_after) {
            (false, None) => Ok(()),
            (true, None) => f.write_str(
                "; the server asks for a client certificate, and does without: the endpoint has none",
            ),
            (true, Some(until)) => write!(
                f,
                "; the server asked for the endpoint's client certificate, valid until {until}"
            ),
            (false, Some(until)) => write!(
                f,
                "; the server does not ask for the endpoint's client certificate, valid until {until}"
            ),
        }
    }
}

fn days(left: Duration) -> String {
    match left.as_secs() / (24 * 3600) {
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

/// What to do about a handshake that failed; `error`: as TLS has it, if it was a fault of TLS.
pub(super) fn how_to_secure(error: Option<&Error>, endpoint: &Endpoint) -> String {
    let in_file = endpoint.source == Source::Toml;
    let (ca, client) = match in_file {
        true => ("ca_file", "`client_cert_file` and `client_key_file`"),
        false => ("ca", "`client_cert` and `client_key`"),
    };
    let Some(error) = error else {
        return "check that the port speaks TLS, and the receiver's own log".to_owned();
    };
    match error {
        Error::InvalidCertificate(fault) => match fault {
            CertificateError::UnknownIssuer => format!(
                "have the receiver send its whole chain; if a private authority signed it, trust \
                 that: put its certificate, in PEM, into the endpoint's `{ca}` or into the file of \
                 `delivery.ca_file`"
            ),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the host in the URL has to be one of the certificate's names: correct the URL, or \
                 have the receiver use a certificate for that host"
                    .to_owned()
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "have the receiver renew its certificate; deliveries fail until then".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "check the clock of this machine, and from when the receiver's certificate is valid"
                    .to_owned()
            }
            _ => "have the receiver use a certificate that is valid".to_owned(),
        },
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            format!("give the endpoint a client certificate that the receiver trusts: {client}")
        }
        alert if refuses_client(alert) => {
            format!("the receiver has to trust the endpoint's client certificate: see {client}")
        }
        Error::InvalidMessage(_) => {
            "what answers does not speak TLS: check the port in the URL, or use http:// where the \
             network is trusted"
                .to_owned()
        }
        Error::PeerIncompatible(_) | Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            "the receiver has to offer TLS 1.2 or 1.3 with a current cipher suite".to_owned()
        }
        _ => "check the TLS settings of the receiver, and its log".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn handshake(server: Duration, client: Option<Duration>) -> Handshake {
        let at: Timestamp = "2026-06-01T00:00:00Z".parse().unwrap();
        Handshake {
            version: "TLS 1.3",
            http: "HTTP/2",
            certificate: Some(Certificate {
                names: vec!["a.example".to_owned()],
                issuer: "CN=Some CA".to_owned(),
                not_before: at,
                not_after: at + server,
            }),
            asks_for_client: client.is_some(),
            client_not_after: client.map(|left| at + left),
            at,
        }
    }

    #[test]
    fn a_handshake_is_told_with_the_days_that_are_left() {
        assert_eq!(
            handshake(40 * DAY, None).to_string(),
            "TLS 1.3, HTTP/2; a certificate for a.example, issued by CN=Some CA, \
             valid until 2026-07-11T00:00:00.000Z (40 days)"
        );
        let both = handshake(40 * DAY, Some(30 * DAY));
        let told = both.to_string();
        assert!(told.contains("asked for the endpoint's client certificate"));
        assert_eq!(both.concern(), None);
    }

    #[test]
    fn a_certificate_that_expires_within_two_weeks_is_a_concern() {
        let concern = |server, client| handshake(server, client).concern();
        assert_eq!(concern(14 * DAY, None), None);
        let soon = concern(DAY + DAY / 2, None).unwrap();
        assert!(soon.contains("expires in 1 day, "), "{soon}");
        let client = concern(40 * DAY, Some(13 * DAY)).unwrap();
        assert!(client.contains("client certificate expires in 13 days"));
        let expired = concern(40 * DAY, Some(Duration::ZERO)).unwrap();
        assert!(expired.contains("has expired"), "{expired}");
    }
}
