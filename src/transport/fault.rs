//! Maps the errors of hyper, rustls and the system to a kind and a sentence.
//!
//! The chain of sources is walked by type: our resolver's own error, rustls's, hyper's,
//! the system's. What a text may hold came from outside and is cut and cleaned.

use std::error::Error;
use std::io;
use std::net::SocketAddr;

use rustls::CertificateError;

use super::local::is_our_own;
use super::resolve::ResolveFault;
use crate::domain::attempt::{AttemptError, ErrorKind};

/// Characters of a detail.
const DETAIL: usize = 300;
/// Errors of a chain that are looked at.
const CHAIN: usize = 24;

/// Why an attempt got no answer.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) kind: ErrorKind,
    pub(super) detail: String,
    /// The peer of the connection, or the address that was dialled.
    pub(super) address: Option<SocketAddr>,
}

impl Fault {
    pub(super) fn new(kind: ErrorKind, detail: &str) -> Self {
        Fault {
            kind,
            detail: detail.to_owned(),
            address: None,
        }
    }
}

/// What an error interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Resolving the name and opening the TCP connection.
    Connect,
    /// TLS.
    Handshake,
    /// Sending the request and reading the response.
    Exchange,
}

/// An [`AttemptError`] whose detail is fit to be shown.
pub(super) fn attempt_error(kind: ErrorKind, detail: &str) -> AttemptError {
    // Some errors end with a link to the manual of the library that they come from.
    let told = detail.split(": https://docs.rs/").next().unwrap_or(detail);
    let shown = told.chars().take(DETAIL);
    let clean = shown.map(|c| if c.is_control() { ' ' } else { c });
    AttemptError {
        kind,
        detail: clean.collect(),
    }
}

/// Reads `error`, of an attempt at `target` (an address or `host:port`).
pub(super) fn read(
    error: &(dyn Error + 'static),
    stage: Stage,
    target: &str,
    address: Option<SocketAddr>,
) -> Fault {
    let (kind, detail) = Found::in_chain(error).judge(stage, target);
    let dialled = !matches!(kind, ErrorKind::Dns | ErrorKind::Blocked | ErrorKind::Local);
    Fault {
        kind,
        detail,
        address: address.filter(|_| dialled),
    }
}

/// The error of TLS in a chain.
pub(super) fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    Found::in_chain(error).tls
}

/// The error of HTTP/2 in a chain.
fn http2_error(error: &hyper::Error) -> Option<&h2::Error> {
    let mut next = error.source();
    for _ in 0..CHAIN {
        let link = next?;
        if let Some(h2) = link.downcast_ref::<h2::Error>() {
            return Some(h2);
        }
        next = inner(link);
    }
    None
}

/// Whether the peer has not processed the request and wants it over HTTP/1.1 (RFC 9113, 7).
pub(super) fn wants_http1(error: &hyper::Error) -> bool {
    http2_error(error).is_some_and(|h2| h2.reason() == Some(h2::Reason::HTTP_1_1_REQUIRED))
}

/// Whether the peer says that it has not processed the request (RFC 9113, 6.8 and 8.7).
pub(super) fn is_unprocessed(error: &hyper::Error) -> bool {
    http2_error(error).is_some_and(|h2| {
        let refused = h2.is_reset() && h2.reason() == Some(h2::Reason::REFUSED_STREAM);
        let leaves = h2.is_go_away() && h2.reason() == Some(h2::Reason::NO_ERROR);
        h2.is_remote() && (refused || leaves)
    })
}

/// The errors in a chain that tell something, the outermost of each type.
#[derive(Default)]
struct Found<'a> {
    resolve: Option<&'a ResolveFault>,
    tls: Option<&'a rustls::Error>,
    hyper: Option<&'a hyper::Error>,
    io: Option<&'a io::Error>,
    last: Option<&'a (dyn Error + 'static)>,
}

impl<'a> Found<'a> {
    fn in_chain(error: &'a (dyn Error + 'static)) -> Self {
        let mut found = Found::default();
        let mut next = Some(error);
        for _ in 0..CHAIN {
            let Some(link) = next else { break };
            next = inner(link);
            found.look_at(link);
            found.last = Some(link);
        }
        found
    }

    fn look_at(&mut self, link: &'a (dyn Error + 'static)) {
        self.resolve = self.resolve.or_else(|| link.downcast_ref());
        self.tls = self.tls.or_else(|| link.downcast_ref());
        self.hyper = self.hyper.or_else(|| link.downcast_ref());
        // The innermost: it is the system's own, the outer ones wrap it.
        self.io = link.downcast_ref().or(self.io);
    }

    fn judge(&self, stage: Stage, target: &str) -> (ErrorKind, String) {
        if let Some(fault) = self.resolve {
            let kind = match fault {
                ResolveFault::Blocked { .. } => ErrorKind::Blocked,
                ResolveFault::Stopped => ErrorKind::Local,
                ResolveFault::NotFound { source, .. } if is_our_own(source) => ErrorKind::Local,
                _ => ErrorKind::Dns,
            };
            return (kind, fault.to_string());
        }
        if let Some(io) = self.io.filter(|io| is_our_own(io)) {
            let detail = format!("outboxd cannot use a connection to {target}: {io}");
            return (ErrorKind::Local, detail);
        }
        if let Some(fault) = self.tls {
            return (
                ErrorKind::Tls,
                format!("TLS with {target}: {}", tls_fault(fault)),
            );
        }
        let gave_up = self
            .io
            .is_some_and(|io| io.kind() == io::ErrorKind::TimedOut);
        match stage {
            Stage::Exchange if gave_up => (ErrorKind::Timeout, format!("{target} went silent")),
            Stage::Connect | Stage::Handshake if gave_up => {
                let detail = format!("no connection to {target}: it does not answer");
                (ErrorKind::Timeout, detail)
            }
            Stage::Connect => (ErrorKind::Connect, self.no_connection(target)),
            Stage::Handshake => {
                let detail = format!("{target} broke off the TLS handshake{}", self.because());
                (ErrorKind::Tls, detail)
            }
            Stage::Exchange => (ErrorKind::Protocol, self.no_answer(target)),
        }
    }

    fn no_connection(&self, target: &str) -> String {
        use io::ErrorKind::*;
        match self.io.map(io::Error::kind) {
            Some(ConnectionRefused) => format!("connection refused by {target}"),
            Some(ConnectionReset) => format!("connection reset by {target}"),
            Some(HostUnreachable) => format!("no route to {target}"),
            Some(NetworkUnreachable) => format!("no network to {target}"),
            _ => match (self.io, self.last) {
                (Some(io), _) => format!("cannot connect to {target}: {io}"),
                (None, Some(last)) => format!("cannot connect to {target}: {last}"),
                (None, None) => format!("cannot connect to {target}"),
            },
        }
    }

    fn no_answer(&self, target: &str) -> String {
        match self.hyper {
            Some(e) if e.is_parse_too_large() => {
                format!("the response headers of {target} are too large")
            }
            Some(e) if e.is_parse() => format!("what {target} answered is not HTTP: {e}"),
            Some(e) if e.is_incomplete_message() => {
                format!("{target} closed the connection before its answer was whole")
            }
            _ => format!("the exchange with {target} broke off{}", self.because()),
        }
    }

    fn because(&self) -> String {
        match (self.io, self.last) {
            (Some(io), _) => format!(": {io}"),
            (None, Some(last)) => format!(": {last}"),
            (None, None) => String::new(),
        }
    }
}

/// Whether the peer refused the client's certificate, or that there was none (RFC 8446, 6.2).
pub(super) fn refuses_client(fault: &rustls::Error) -> bool {
    use rustls::AlertDescription::*;
    matches!(
        fault,
        rustls::Error::AlertReceived(
            CertificateRequired
                | BadCertificate
                | UnsupportedCertificate
                | CertificateRevoked
                | CertificateExpired
                | CertificateUnknown
                | UnknownCA
                | AccessDenied
        )
    )
}

/// A fault of TLS, with what is not clear from rustls's own words.
fn tls_fault(fault: &rustls::Error) -> String {
    if let rustls::Error::AlertReceived(alert) = fault
        && refuses_client(fault)
    {
        return match alert {
            rustls::AlertDescription::CertificateRequired => {
                "the server wants a client certificate (alert CertificateRequired)".to_owned()
            }
            alert => format!("the server refused the client certificate (alert {alert:?})"),
        };
    }
    let rustls::Error::InvalidCertificate(CertificateError::Other(other)) = fault else {
        return fault.to_string();
    };
    // It is webpki's own error, and nothing else has this name.
    match format!("{other:?}").contains("CaUsedAsEndEntity") {
        true => "the server's certificate is that of a certificate authority (CA:TRUE), which no \
                 server may use itself: make one with CA:FALSE, and put that one or the authority \
                 that signed it into `delivery.ca_file`"
            .to_owned(),
        false => fault.to_string(),
    }
}

/// The error inside. `io::Error::source` would skip what it wraps.
fn inner<'a>(link: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    let wrapped = link
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    match wrapped {
        Some(wrapped) => Some(wrapped),
        None => link.source(),
    }
}
