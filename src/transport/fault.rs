//! Maps the errors of reqwest, hyper, rustls and the system to a kind and a sentence.
//!
//! The chain of sources is walked by type: our resolver's own error, rustls's, hyper's,
//! the system's. reqwest's own texts are never used: they repeat the URL, whose query
//! may hold a token. What else a text may hold came from outside and is cut and cleaned.

use std::error::Error;
use std::io;
use std::net::SocketAddr;

use http::Extensions;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpInfo;
use rustls::CertificateError;
use rustls_pki_types::InvalidDnsNameError;

use super::local::is_our_own;
use super::resolve::ResolveFault;
use crate::domain::attempt::{AttemptError, ErrorKind};

/// Characters of a detail.
const DETAIL: usize = 300;
/// Errors of a chain that are looked at.
const CHAIN: usize = 24;

/// What there is to know about an error of reqwest.
pub(super) struct Fault {
    pub(super) kind: ErrorKind,
    pub(super) detail: String,
    /// Of the connection that it happened on, if it got that far.
    pub(super) address: Option<SocketAddr>,
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

/// Reads `error`, of an attempt at `target` (an address or `host:port`). `waited` says
/// what took too long if it is a timeout.
pub(super) fn read(error: &reqwest::Error, target: &str, waited: impl Fn() -> String) -> Fault {
    let found = Found::in_chain(error);
    let (kind, detail) = found.judge(error, target, waited);
    Fault {
        kind,
        detail,
        address: found.address,
    }
}

/// Whether the other side wants this request over HTTP/1.1, and has not looked at it.
pub(super) fn wants_http1(error: &reqwest::Error) -> bool {
    let mut next = error.source();
    for _ in 0..CHAIN {
        let Some(link) = next else { break };
        if let Some(h2) = link.downcast_ref::<h2::Error>() {
            return h2.reason() == Some(h2::Reason::HTTP_1_1_REQUIRED);
        }
        next = inner(link);
    }
    false
}

/// The errors in a chain that tell something, the outermost of each type.
#[derive(Default)]
struct Found<'a> {
    resolve: Option<&'a ResolveFault>,
    tls: Option<&'a rustls::Error>,
    /// TLS wants a name that DNS could have, and asks before the resolver does.
    no_name: bool,
    hyper: Option<&'a hyper::Error>,
    io: Option<&'a io::Error>,
    /// No connection came about.
    connecting: bool,
    /// The connector failed with a bare I/O error: only TLS handshakes do. What fails
    /// before has hyper-util's own type around it.
    handshake: bool,
    last: Option<&'a (dyn Error + 'static)>,
    address: Option<SocketAddr>,
}

impl<'a> Found<'a> {
    fn in_chain(error: &'a reqwest::Error) -> Self {
        let mut found = Found::default();
        let mut next = error.source();
        for _ in 0..CHAIN {
            let Some(link) = next else { break };
            next = inner(link);
            found.look_at(link, next);
            found.last = Some(link);
        }
        found
    }

    fn look_at(&mut self, link: &'a (dyn Error + 'static), next: Option<&(dyn Error + 'static)>) {
        if let Some(client) = link.downcast_ref::<legacy::Error>() {
            self.connecting |= client.is_connect();
            self.handshake |= client.is_connect() && next.is_some_and(|e| e.is::<io::Error>());
            self.address = client.connect_info().and_then(remote_address);
        }
        self.resolve = self.resolve.or_else(|| link.downcast_ref());
        self.tls = self.tls.or_else(|| link.downcast_ref());
        self.no_name |= link.is::<InvalidDnsNameError>();
        self.hyper = self.hyper.or_else(|| link.downcast_ref());
        // The innermost: it is the system's own, the outer ones wrap it.
        self.io = link.downcast_ref().or(self.io);
    }

    fn judge(
        &self,
        error: &reqwest::Error,
        target: &str,
        waited: impl Fn() -> String,
    ) -> (ErrorKind, String) {
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
        if self.no_name {
            return (ErrorKind::Dns, format!("{target} has no valid DNS name"));
        }
        if let Some(fault) = self.tls {
            return (
                ErrorKind::Tls,
                format!("TLS with {target}: {}", tls_fault(fault)),
            );
        }
        if error.is_timeout() {
            return (ErrorKind::Timeout, waited());
        }
        if self.handshake {
            let detail = format!("{target} broke off the TLS handshake{}", self.because());
            return (ErrorKind::Tls, detail);
        }
        if self.connecting {
            return (ErrorKind::Connect, self.no_connection(target));
        }
        (ErrorKind::Protocol, self.no_answer(target))
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

/// A fault of TLS, with what is not clear from rustls's own words.
fn tls_fault(fault: &rustls::Error) -> String {
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

fn remote_address(connection: &legacy::connect::Connected) -> Option<SocketAddr> {
    let mut extras = Extensions::new();
    connection.get_extras(&mut extras);
    extras.get::<HttpInfo>().map(HttpInfo::remote_addr)
}
