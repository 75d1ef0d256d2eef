//! The global tables of the file, one function each. A value that is absent or faulty
//! keeps its default, so that the walk goes on; faults are with the reader.

use std::net::{IpAddr, SocketAddr};

use http::HeaderValue;

use super::otlp::read_otlp;
use super::policy::{MAX_IN_FLIGHT, MAX_TIMEOUT};
use super::reader::{At, Flaw, Reader, Section, Value};
use super::request::{BadUrl, parse_proxy};
use super::retry::read_retry;
use super::values::{
    ANY_DURATION, SOME_DURATION, check_socket_path, count, duration, host, listen_address,
    log_level, network, path, plain_name, public_url, rate, size, socket_mode, socket_path,
    unless_empty,
};
use super::{
    Auth, CertFiles, Config, DeliveryLimits, Environment, Ingest, Listen, LogFormat, Logging,
    Metrics, OutboxLimits, Retention, Scope, Token, backup, endpoints, files, portal, sources,
};
use crate::domain::event::MAX_EVENT_SIZE;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Who reads `[listen]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// The daemon; `any_token`: whether one is asked of those who come over TCP.
    Daemon { any_token: bool },
    /// A client, which may not be permitted to read the files of the daemon.
    Client,
}

/// The whole file.
pub(super) fn read<'t>(reader: &'t Reader<'t>, mut root: Section<'t>, env: &Environment) -> Config {
    let base = Config::default();
    let state_directory = env.state_directory.clone();
    let data_dir = root
        .take("data_dir", path)
        .or(state_directory)
        .unwrap_or(base.data_dir);
    let (auth, any_token) = read_auth(root.section("auth"), env);
    let reading = Reading::Daemon { any_token };
    let listen = read_listen(reader, root.section("listen"), reading, env);
    let ingest = read_ingest(root.section("ingest"));
    let delivery = read_delivery(root.section("delivery"), ingest.max_event_size);
    let retry = read_retry(reader, root.section("retry"), &base.retry);
    let sources = sources::read(&mut root, &listen, env);
    let config = Config {
        data_dir,
        listen,
        auth,
        ingest,
        outbox: read_outbox(root.section("outbox")),
        retention: read_retention(root.section("retention")),
        sources,
        endpoints: endpoints::read(reader, &mut root, &delivery, &retry, env),
        delivery,
        retry,
        log: read_log(root.section("log")),
        metrics: read_metrics(root.section("metrics")),
        otlp: read_otlp(root.section("otlp")),
        portal: portal::read(root.section("portal")),
        backup: backup::read(root.section("backup"), env),
    };
    root.finish();
    config
}

/// `[listen]`.
pub(super) fn read_listen(
    reader: &Reader<'_>,
    mut listen: Section<'_>,
    reading: Reading,
    env: &Environment,
) -> Listen {
    let base = Listen::default();
    let before = reader.count();
    let http = listen.take("http", unless_empty(listen_address));
    let unix = listen.take("unix", unless_empty(socket_path));
    let inbound = listen.take("inbound", unless_empty(listen_address));
    let sound = reader.count() == before;
    let default_unix = || {
        let socket = env.runtime_directory.as_ref()?.join("outboxd.sock");
        let checked = check_socket_path(&socket);
        checked
            .map_err(|flaw| reader.fault(At::Nowhere, "listen.unix", None, &flaw))
            .ok()?;
        Some(socket)
    };
    let read = Listen {
        http: http.unwrap_or(base.http),
        unix: if listen.has("unix") {
            unix.flatten()
        } else {
            default_unix()
        },
        unix_mode: listen
            .take("unix_mode", socket_mode)
            .unwrap_or(base.unix_mode),
        hosts: listen.each("hosts", host).unwrap_or_default(),
        inbound: inbound.flatten(),
        inbound_cert: read_cert_files(&mut listen, reading, env),
        public_url: listen
            .take("public_url", unless_empty(public_url))
            .flatten(),
        trusted_proxies: listen.each("trusted_proxies", network).unwrap_or_default(),
        ui: listen.take("ui", Value::flag).unwrap_or(base.ui),
    };
    if sound && read.http.is_none() && read.unix.is_none() && read.inbound.is_none() {
        let flaw = Flaw::new(
            "http, unix and inbound are all off: no event could come in",
            "set http to an address such as \"127.0.0.1:7717\", or unix to a path",
        );
        listen.fault("http", &flaw);
    }
    if let (Some(http), Some(inbound)) = (read.http, read.inbound)
        && collide(http, inbound)
    {
        let problem = format!("{inbound} cannot be listened on beside http at {http}");
        let fix = "write another port: nothing of the API is on inbound";
        listen.fault("inbound", &Flaw::new(problem, fix));
    }
    let open = read
        .http
        .filter(|http| !http.ip().to_canonical().is_loopback());
    let no_token = reading == Reading::Daemon { any_token: false };
    if let (Some(address), true) = (open, no_token) {
        let problem = format!(
            "{address} is not loopback, and without a token anyone who reaches it has full access"
        );
        let fix = "add a token under [auth], or listen on 127.0.0.1 or the Unix socket only";
        listen.fault("http", &Flaw::new(problem, fix));
    }
    listen.finish();
    read
}

/// Whether the system would refuse one of two addresses while the other is in use.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let (one_ip, other_ip) = (one.ip().to_canonical(), other.ip().to_canonical());
    // All of IPv6 is all of IPv4 too, as Linux has it by default.
    let takes = |ip: IpAddr, another: IpAddr| match ip {
        IpAddr::V4(v4) => v4.is_unspecified() && another.is_ipv4(),
        IpAddr::V6(v6) => v6.is_unspecified(),
    };
    let meet = one_ip == other_ip || takes(one_ip, other_ip) || takes(other_ip, one_ip);
    // A port of 0 is one that the system chooses.
    one.port() != 0 && one.port() == other.port() && meet
}

/// The certificate of the public listener and its key; read if the daemon asks.
fn read_cert_files(
    listen: &mut Section<'_>,
    reading: Reading,
    env: &Environment,
) -> Option<CertFiles> {
    let file = |value: &Value<'_>| Ok(files::secret_path(files::file_name(value.text()?)?, env));
    let (cert_key, key_key) = ("inbound_cert_file", "inbound_key_file");
    let cert = listen.take(cert_key, unless_empty(file)).flatten();
    let key = listen.take(key_key, unless_empty(file)).flatten();
    for (given, other) in [(cert_key, key_key), (key_key, cert_key)] {
        if listen.is_filled(given) && !listen.is_filled(other) {
            let problem = format!("this is there without {other}");
            let fix = format!("set {other} too, or remove this key: TLS takes both");
            listen.fault(given, &Flaw::new(problem, fix));
        }
    }
    let (cert, key) = (cert?, key?);
    let files = CertFiles { cert, key };
    if reading == Reading::Client {
        return Some(files);
    }
    if let Err(bad) = files.read() {
        let at_fault = match *bad.path() == files.key {
            true => key_key,
            false => cert_key,
        };
        listen.fault(at_fault, &Flaw::new(bad.to_string(), bad.fix()));
    }
    Some(files)
}

/// The tokens, and whether any was given, faulty ones too.
fn read_auth(mut auth: Section<'_>, env: &Environment) -> (Auth, bool) {
    let items = auth.take("tokens", Value::items);
    let given = auth.has("tokens") && items.as_ref().is_none_or(|items| !items.is_empty());
    auth.finish();
    let mut tokens: Vec<Token> = Vec::new();
    for item in items.unwrap_or_default() {
        let Some(token) = read_token(&item, env) else {
            continue;
        };
        let twice = |what| Flaw::new(format!("a second token with this {what}"), "remove one");
        if tokens.iter().any(|other| other.name == token.name) {
            item.fault(&twice("name"));
        } else if tokens.iter().any(|other| other.sha256 == token.sha256) {
            item.fault(&twice("content"));
        }
        tokens.push(token);
    }
    (Auth { tokens }, given)
}

fn read_token(item: &Value<'_>, env: &Environment) -> Option<Token> {
    let mut token = item.section().map_err(|flaw| item.fault(&flaw)).ok()?;
    let name = token.take("name", plain_name);
    let sha256 = token.take("token_file", |value| {
        files::read_token(&files::secret_path(files::file_name(value.text()?)?, env))
    });
    let scopes = [("ingest", Scope::Ingest), ("admin", Scope::Admin)];
    let scope = token.take("scope", |value| value.one_of(&scopes));
    for (key, fix) in [
        ("name", "write a name to tell it by, such as \"app\""),
        ("token_file", "name the file that holds the token"),
        ("scope", "write \"ingest\" or \"admin\""),
    ] {
        token.require(key, fix);
    }
    token.finish();
    Some(Token {
        name: name?,
        scope: scope?,
        sha256: sha256?,
    })
}

/// The most that `max_batch_events` may be.
pub(super) const MAX_BATCH_EVENTS: usize = 1_000_000;

fn read_ingest(mut ingest: Section<'_>) -> Ingest {
    let base = Ingest::default();
    let read = Ingest {
        max_event_size: ingest
            .take("max_event_size", size(1..=MAX_EVENT_SIZE))
            .unwrap_or(base.max_event_size),
        max_batch_events: ingest
            .take("max_batch_events", count(1..=MAX_BATCH_EVENTS))
            .unwrap_or(base.max_batch_events),
        max_batch_size: ingest
            .take("max_batch_size", size(1..=GIB))
            .unwrap_or(base.max_batch_size),
        rate_limit: ingest.take("rate_limit", rate).flatten(),
        idempotency_window: ingest
            .take("idempotency_window", duration(ANY_DURATION))
            .unwrap_or(base.idempotency_window),
    };
    ingest.finish();
    read
}

fn read_outbox(mut outbox: Section<'_>) -> OutboxLimits {
    let base = OutboxLimits::default();
    let share = |value: &Value<'_>| match value.decimal()? {
        share if share > 0.0 && share <= 1.0 => Ok(share),
        share => {
            let problem = format!("{share} is not a share of the outbox");
            Err(Flaw::new(
                problem,
                "write a number above 0 and up to 1, such as 0.5",
            ))
        }
    };
    let read = OutboxLimits {
        max_size: outbox
            .take("max_size", size(1..=u64::MAX))
            .unwrap_or(base.max_size),
        endpoint_share: outbox
            .take("endpoint_share", share)
            .unwrap_or(base.endpoint_share),
        min_free_disk: outbox
            .take("min_free_disk", size(0..=u64::MAX))
            .unwrap_or(base.min_free_disk),
        cache_size: outbox
            .take("cache_size", size(MIB..=u64::MAX))
            .unwrap_or(base.cache_size),
        segment_size: outbox
            .take("segment_size", size(4 * MIB..=GIB))
            .unwrap_or(base.segment_size),
    };
    outbox.finish();
    read
}

fn read_retention(mut retention: Section<'_>) -> Retention {
    let base = Retention::default();
    let read = Retention {
        delivered: retention
            .take("delivered", duration(ANY_DURATION))
            .unwrap_or(base.delivered),
        dead: retention
            .take("dead", duration(SOME_DURATION))
            .unwrap_or(base.dead),
        held: retention
            .take("held", duration(SOME_DURATION))
            .unwrap_or(base.held),
        max_size: retention
            .take("max_size", size(0..=u64::MAX))
            .unwrap_or(base.max_size),
    };
    retention.finish();
    read
}

/// With less, hardly a connection would be kept.
const MIN_CONNECTION_AGE: std::time::Duration = std::time::Duration::from_secs(1);
/// Threads that make attempts.
pub(super) const MAX_THREADS: usize = 64;

fn read_delivery(mut delivery: Section<'_>, longest_body: u64) -> DeliveryLimits {
    let base = DeliveryLimits::default();
    let timeouts = *SOME_DURATION.start()..=MAX_TIMEOUT;
    let roots = delivery.take("ca_file", unless_empty(roots)).flatten();
    let (ca_file, ca_digest) = roots.unzip();
    let read = DeliveryLimits {
        max_in_flight: delivery
            .take("max_in_flight", count(1..=MAX_IN_FLIGHT))
            .unwrap_or(base.max_in_flight),
        connect_timeout: delivery
            .take("connect_timeout", duration(timeouts.clone()))
            .unwrap_or(base.connect_timeout),
        timeout: delivery
            .take("timeout", duration(timeouts))
            .unwrap_or(base.timeout),
        response_body_limit: delivery
            .take("response_body_limit", size(0..=MIB))
            .unwrap_or(base.response_body_limit),
        longest_body,
        allow_networks: delivery.each("allow_networks", network).unwrap_or_default(),
        allow_http: delivery
            .take("allow_http", Value::flag)
            .unwrap_or(base.allow_http),
        proxy: delivery.take("proxy", unless_empty(proxy)).flatten(),
        ca_file,
        ca_digest,
        threads: delivery
            .take("threads", count(0..=MAX_THREADS))
            .unwrap_or(base.threads),
        http2: delivery.take("http2", Value::flag).unwrap_or(base.http2),
        connection_max_age: delivery
            .take(
                "connection_max_age",
                duration(MIN_CONNECTION_AGE..=MAX_TIMEOUT),
            )
            .unwrap_or(base.connection_max_age),
        user_agent: delivery
            .take("user_agent", user_agent)
            .unwrap_or(base.user_agent),
    };
    delivery.finish();
    read
}

fn proxy(value: &Value<'_>) -> Result<url::Url, Flaw> {
    parse_proxy(value.text()?).map_err(|bad| {
        let fix = match bad {
            BadUrl::UserInfo => "take it out; a proxy that asks for a password is not supported",
            BadUrl::Syntax => "write one such as \"http://proxy.example:3128\"",
            _ => bad.fix(),
        };
        Flaw::new(bad.to_string(), fix)
    })
}

fn roots(value: &Value<'_>) -> Result<(std::path::PathBuf, [u8; 32]), Flaw> {
    let path = path(value)?;
    let digest = files::check_roots(&path)?;
    Ok((path, digest))
}

fn user_agent(value: &Value<'_>) -> Result<String, Flaw> {
    let text = value.text()?;
    let sendable = text.is_ascii() && text.trim() == text && HeaderValue::from_str(text).is_ok();
    if text.is_empty() || !sendable {
        let fix = "write visible ASCII such as \"outboxd/1\", or leave out the key";
        return Err(Flaw::new("this cannot be sent as a user-agent header", fix));
    }
    Ok(text.to_owned())
}

/// Endpoints with series of their own. Each has nine.
pub(super) const MAX_PER_ENDPOINT: usize = 1000;

fn read_metrics(mut metrics: Section<'_>) -> Metrics {
    let base = Metrics::default();
    let read = Metrics {
        per_endpoint: metrics
            .take("per_endpoint", count(0..=MAX_PER_ENDPOINT))
            .unwrap_or(base.per_endpoint),
    };
    metrics.finish();
    read
}

fn read_log(mut log: Section<'_>) -> Logging {
    let base = Logging::default();
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let read = Logging {
        level: log.take("level", log_level).unwrap_or(base.level),
        format: log
            .take("format", |value| value.one_of(&formats))
            .unwrap_or(base.format),
    };
    log.finish();
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_collide_as_the_system_has_it() {
        for (one, other, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "[::ffff:127.0.0.1]:80", true),
            ("0.0.0.0:80", "[::1]:80", false),
            ("0.0.0.0:80", "[::]:80", true),
            ("[::]:80", "127.0.0.1:80", true),
            ("[::]:80", "[::1]:80", true),
            ("[::1]:80", "127.0.0.1:80", false),
        ] {
            let (one, other) = (one.parse().unwrap(), other.parse().unwrap());
            assert_eq!(collide(one, other), expected, "{one} {other}");
            assert_eq!(collide(other, one), expected, "{other} {one}");
        }
    }
}
