//! Follows the way of a request to an endpoint without sending one: resolve, judge, connect, TLS.
//!
//! Each step uses what attempts use, so that it finds what they find. A step may take as long as
//! opening a connection may. Connections are opened anew, dialled at every address and never kept;
//! no request is sent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_rustls::client::TlsStream;

use super::call::Caller;
use super::connect::Connector;
use super::destination::{Destination, HTTP_BY_PROXY};
use super::diagnosis_tls::{self as told, Handshake};
use super::exchange::{Duplex, Stream};
use super::fault::{self, Fault, Stage, attempt_error};
use super::observed::Seen;
use crate::domain::address::Refusal;
use crate::domain::attempt::ErrorKind;
use crate::domain::diagnosis::{self, Step, StepName, StepStatus};
use crate::domain::endpoint::Endpoint;

/// How long a server that asked for a client certificate may take to refuse it. In TLS 1.3 the
/// client's handshake is over before that.
const CLIENT_JUDGED: Duration = Duration::from_secs(1);
/// How long saying goodbye may take.
const GOODBYE: Duration = Duration::from_millis(200);

/// The steps to `endpoint`, all of them.
pub(super) async fn diagnose(caller: &Caller, endpoint: &Endpoint) -> Vec<Step> {
    let mut steps = Vec::with_capacity(4);
    match caller.pool.destination(endpoint) {
        Ok(destination) => {
            let connector = &caller.connector;
            let way = Way {
                connector,
                endpoint,
                destination,
                limit: connector.timeout().min(endpoint.timeout),
            };
            // `None`: a step failed.
            let _ = way.follow(&mut steps).await;
        }
        Err(reason) => {
            let step = Step::ok(StepName::Resolve, Duration::ZERO, reason);
            steps.push(step.but(StepStatus::Failed, "correct the endpoint's URL"));
        }
    }
    let failed = diagnosis::failed(&steps).map_or("a step before", StepName::as_str);
    for name in [
        StepName::Resolve,
        StepName::Judge,
        StepName::Connect,
        StepName::Tls,
    ] {
        if !steps.iter().any(|step| step.name == name) {
            steps.push(Step::skipped(name, format!("{failed} failed")));
        }
    }
    steps
}

/// The way of requests to an endpoint.
struct Way<'a> {
    connector: &'a Connector,
    endpoint: &'a Endpoint,
    destination: Destination,
    /// For each step.
    limit: Duration,
}

/// A step as `fault` says, with what is to be done about it.
fn failed(name: StepName, began: Instant, fault: &Fault, hint: impl Into<String>) -> Step {
    let detail = attempt_error(fault.kind, &fault.detail).detail;
    Step::ok(name, began.elapsed(), detail).but(StepStatus::Failed, hint)
}

impl Way<'_> {
    async fn follow(&self, steps: &mut Vec<Step>) -> Option<()> {
        let found = self.resolve(steps).await?;
        let allowed = self.judge(&found, steps)?;
        let (stream, address) = match self.connector.is_proxied() {
            true => self.connect_to_proxy(steps).await?,
            false => self.connect(&allowed, steps).await?,
        };
        match self.destination.is_https {
            true => self.secure(stream, address, steps).await,
            false => {
                let plain = "the URL is plain http: what is sent can be read on the way";
                steps.push(Step::skipped(StepName::Tls, plain));
            }
        }
        Some(())
    }

    /// The addresses of the URL's host. None behind a proxy, which resolves names itself.
    async fn resolve(&self, steps: &mut Vec<Step>) -> Option<Vec<SocketAddr>> {
        let target = &self.destination.target;
        if let Some(ip) = target.literal() {
            let literal = "the URL has an address in place of a name";
            steps.push(Step::skipped(StepName::Resolve, literal));
            return Some(vec![SocketAddr::new(ip, target.port)]);
        }
        if self.connector.is_proxied() {
            let proxied = "the proxy of `delivery.proxy` resolves names";
            steps.push(Step::skipped(StepName::Resolve, proxied));
            return Some(Vec::new());
        }
        let name = target.host.to_string();
        let began = Instant::now();
        let found = match timeout(self.limit, self.connector.look_up(&name)).await {
            Ok(Ok(found)) if found.is_empty() => Err(format!("{name} resolves to no address")),
            Ok(Ok(found)) => Ok(found),
            Ok(Err(fault)) => Err(fault.to_string()),
            Err(_) => Err(format!("no address of {name} within {:?}", self.limit)),
        };
        match found {
            Ok(found) => {
                let ips: Vec<String> = found.iter().map(|one| one.ip().to_string()).collect();
                let detail = format!("{name} is {}", ips.join(", "));
                steps.push(Step::ok(StepName::Resolve, began.elapsed(), detail));
                let at_port = |one: SocketAddr| SocketAddr::new(one.ip(), target.port);
                Some(found.into_iter().map(at_port).collect())
            }
            Err(why) => {
                let hint = format!(
                    "check the host in the endpoint's URL, and the resolver of the daemon's \
                     machine: `getent hosts {name}` asks the same one"
                );
                let fault = Fault::new(ErrorKind::Dns, &why);
                steps.push(failed(StepName::Resolve, began, &fault, hint));
                None
            }
        }
    }

    /// Those of the addresses that may be dialled.
    fn judge(&self, found: &[SocketAddr], steps: &mut Vec<Step>) -> Option<Vec<SocketAddr>> {
        let (rule, began) = (&self.destination.rule, Instant::now());
        if found.is_empty() {
            let proxied = "the proxy decides which addresses it connects to";
            let step = Step::ok(StepName::Judge, began.elapsed(), proxied);
            let (step, allowed) = match rule.public {
                true => (step, Some(Vec::new())),
                false => {
                    let fault = Fault::new(ErrorKind::Blocked, HTTP_BY_PROXY);
                    let hint = "use https, or set `allow_http = true` under [delivery]";
                    (failed(StepName::Judge, began, &fault, hint), None)
                }
            };
            steps.push(step);
            return allowed;
        }
        let (mut allowed, mut refused, mut texts) = (Vec::new(), None, Vec::new());
        for address in found {
            match rule.judge(address.ip()) {
                Ok(()) => {
                    texts.push(self.allowance(address));
                    allowed.push(*address);
                }
                Err(refusal) => {
                    texts.push(refusal.to_string());
                    refused.get_or_insert(refusal);
                }
            }
        }
        let step = Step::ok(StepName::Judge, began.elapsed(), texts.join("; "));
        let step = match (refused, allowed.is_empty()) {
            (None, _) => step,
            (Some(refusal), true) => step.but(StepStatus::Failed, how_to_allow(refusal)),
            (Some(_), false) => step.but(
                StepStatus::Warning,
                "outboxd never connects to the addresses that are refused; if the name should not \
                 have them, correct its DNS records",
            ),
        };
        steps.push(step);
        (!allowed.is_empty()).then_some(allowed)
    }

    /// Why an address may be dialled.
    fn allowance(&self, address: &SocketAddr) -> String {
        let ip = address.ip();
        match self.destination.rule.grant(ip) {
            None => format!("{ip} is public"),
            Some(net) if self.endpoint.allow_networks.contains(&net) => {
                format!("{ip} is allowed by {net} in the endpoint's allow_networks")
            }
            Some(net) => format!("{ip} is allowed by {net} in delivery.allow_networks"),
        }
    }

    /// Dials all addresses at once, and keeps the first connection in the order of the addresses.
    async fn connect(
        &self,
        allowed: &[SocketAddr],
        steps: &mut Vec<Step>,
    ) -> Option<(Stream, Option<SocketAddr>)> {
        let began = Instant::now();
        let mut dials = JoinSet::new();
        for (n, address) in allowed.iter().copied().enumerate() {
            let (connector, limit) = (self.connector.clone(), self.limit);
            dials.spawn(async move {
                let dialled = timeout(limit, connector.dial(address)).await;
                let timed_out = |_| Err(no_connection(address, limit));
                (n, dialled.unwrap_or_else(timed_out), began.elapsed())
            });
        }
        let mut dialled: Vec<_> = dials.join_all().await;
        dialled.sort_by_key(|(n, _, _)| *n);
        let (mut texts, mut open, mut first_fault) = (Vec::new(), None, None);
        for ((_, result, took), address) in dialled.into_iter().zip(allowed) {
            match result {
                Ok(stream) => {
                    texts.push(format!("{address} accepted after {} ms", took.as_millis()));
                    open = open.or(Some((stream, Some(*address))));
                }
                Err(fault) => {
                    texts.push(fault.detail.clone());
                    first_fault.get_or_insert(fault);
                }
            }
        }
        let step = Step::ok(StepName::Connect, began.elapsed(), texts.join("; "));
        steps.push(match (first_fault, &open) {
            (None, _) => step,
            (Some(fault), None) => step.but(StepStatus::Failed, how_to_connect(&fault)),
            (Some(_), Some(_)) => step.but(
                StepStatus::Warning,
                "deliveries use the addresses that answer, and may take longer; remove the others \
                 from DNS, or see why they do not answer",
            ),
        });
        open
    }

    async fn connect_to_proxy(
        &self,
        steps: &mut Vec<Step>,
    ) -> Option<(Stream, Option<SocketAddr>)> {
        let began = Instant::now();
        let dialling = timeout(self.limit, self.connector.dial_proxy(&self.destination));
        let fault = match dialling.await {
            Ok(Some(Ok((stream, address)))) => {
                let proxy = address.map_or("the proxy".to_owned(), |at| format!("the proxy {at}"));
                let detail = match self.destination.is_https {
                    true => format!("{proxy} opened a tunnel to {}", self.destination.target),
                    false => format!("{proxy} accepted the connection"),
                };
                steps.push(Step::ok(StepName::Connect, began.elapsed(), detail));
                return Some((stream, address));
            }
            Ok(Some(Err(fault))) => fault,
            Ok(None) => Fault::new(ErrorKind::Local, "there is no proxy"),
            Err(_) => {
                let detail = format!("no connection through the proxy within {:?}", self.limit);
                Fault::new(ErrorKind::Timeout, &detail)
            }
        };
        let hint = "see that the proxy of `delivery.proxy` runs and lets outboxd connect there";
        steps.push(failed(StepName::Connect, began, &fault, hint));
        None
    }

    async fn secure(&self, stream: Stream, address: Option<SocketAddr>, steps: &mut Vec<Step>) {
        let (began, seen) = (Instant::now(), Arc::<Seen>::default());
        let target = self.destination.target.describe(address);
        let handshake = self.connector.handshake(&self.destination, stream, &seen);
        let (fault, error) = match timeout(self.limit, handshake).await {
            Ok(Ok(Ok(stream))) => match self.ended(stream, &seen).await {
                Ok(done) => {
                    let step = Step::ok(StepName::Tls, began.elapsed(), done.to_string());
                    steps.push(match done.concern() {
                        None => step,
                        Some(concern) => step.but(StepStatus::Warning, concern),
                    });
                    return;
                }
                Err(error) => (
                    fault::read(&error, Stage::Handshake, &target, address),
                    Some(error),
                ),
            },
            Ok(Ok(Err(error))) => (
                fault::read(&error, Stage::Handshake, &target, address),
                Some(error),
            ),
            Ok(Err(fault)) => (fault, None),
            Err(_) => {
                let detail = format!("TLS with {target}: no handshake within {:?}", self.limit);
                (Fault::new(ErrorKind::Timeout, &detail), None)
            }
        };
        let error = error.as_ref().and_then(|error| fault::tls_error(error));
        let hint = told::how_to_secure(error, self.endpoint);
        let step = failed(StepName::Tls, began, &fault, hint);
        let detail = match seen.certificate() {
            None => step.detail.clone(),
            Some(certificate) => format!(
                "{}; the server showed {certificate}, valid from {} until {}",
                step.detail, certificate.not_before, certificate.not_after
            ),
        };
        steps.push(Step { detail, ..step });
    }

    /// What the handshake came to. An error if the server then refuses the client.
    async fn ended(
        &self,
        mut stream: TlsStream<Box<dyn Duplex>>,
        seen: &Seen,
    ) -> std::io::Result<Handshake> {
        let asks = seen.asks_for_client();
        if asks {
            let mut bytes = [0; 1024];
            match timeout(CLIENT_JUDGED, stream.read(&mut bytes)).await {
                Ok(Ok(0)) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                Ok(Err(error)) => return Err(error),
                // It speaks on, or waits for a request.
                Ok(Ok(_)) | Err(_) => {}
            }
        }
        let (_, connection) = stream.get_ref();
        let identity = self.endpoint.identity();
        let handshake = Handshake::new(connection, seen, identity.map(|own| own.not_after()));
        let _ = timeout(GOODBYE, stream.shutdown()).await;
        Ok(handshake)
    }
}

fn no_connection(address: SocketAddr, limit: Duration) -> Fault {
    let detail = format!("no connection to {address} within {limit:?}");
    Fault::new(ErrorKind::Timeout, &detail)
}

fn how_to_allow(refusal: Refusal) -> String {
    match refusal {
        Refusal::Special(ip, _) => format!(
            "if requests may go there, add the network of {ip} to `allow_networks` under \
             [delivery], or to that of the endpoint in the configuration file; else correct the URL"
        ),
        Refusal::PlainHttp(_) => {
            "use https, or set `allow_http = true` under [delivery]".to_owned()
        }
    }
}

fn how_to_connect(fault: &Fault) -> &'static str {
    match fault.kind {
        ErrorKind::Timeout => {
            "the address does not answer: check that the receiver runs, and the firewalls and \
             routes between"
        }
        ErrorKind::Local => "the fault is the daemon's own: see its log and limits",
        _ => "check that the receiver listens at that port, and the port in the URL",
    }
}
