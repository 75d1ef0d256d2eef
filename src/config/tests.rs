//! The configuration as a whole: what is read, what is refused, and how that is said.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::load::{known_keys, known_variables};
use super::variables::variable_name;
use super::*;
use crate::domain::endpoint::{Ordering, Source};
use crate::domain::shaping::KEYS;

const EXAMPLE: &str = include_str!("../../config.example.toml");
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Every key with its default.
const ALL_DEFAULTS: &str = r#"
data_dir = "./outboxd-data"     # $STATE_DIRECTORY when set; relative to the working directory
[listen]
http = "127.0.0.1:7717"         # "" turns it off
unix = ""                       # $RUNTIME_DIRECTORY/outboxd.sock when set
unix_mode = "0660"
hosts = []
inbound = ""                    # public listener
inbound_cert_file = ""          # TLS for it, with
inbound_key_file = ""
public_url = ""                 # how others reach `inbound`
trusted_proxies = []            # CIDRs whose X-Forwarded-For and -Proto are believed
[auth]
tokens = []
[ingest]
max_event_size = "1MiB"
max_batch_events = 1000         # lines of one NDJSON request; max_event_size holds for each
max_batch_size = "16MiB"
rate_limit = ""                 # events, for the whole daemon; over it: 429
idempotency_window = "24h"
[outbox]
max_size = "10GiB"              # bytes of pending bodies; over it: 503
endpoint_share = 0.5
min_free_disk = "256MiB"        # below it: 503; outcomes must still fit
cache_size = "64MiB"
segment_size = "64MiB"          # of the log; 4MiB to 1GiB
[retention]
delivered = "7d"                # event bodies and attempts of finished deliveries
dead = "30d"
held = "30d"                    # then dead, reason `held_too_long`
max_size = "5GiB"
[delivery]
max_in_flight = 512             # attempts at once, whole daemon
connect_timeout = "5s"
timeout = "20s"                 # the whole attempt, body included
response_body_limit = "4KiB"    # kept per attempt; never read further
allow_networks = []             # CIDRs that are not public but may be dialled
allow_http = false              # plain http to public addresses
proxy = ""
ca_file = ""                    # extra roots
threads = 0
http2 = true
connection_max_age = "5m"
user_agent = "outboxd/VERSION"
[retry]
first = "5s"
factor = 3.0
max = "6h"
jitter = 0.5
give_up_after = "3d"            # from the first due time; see "The retry budget"
schedule = []
[[endpoint]]                    # operator's endpoints; customers' come through the API
id = "orders"
url = "https://example.com/hook"
tenant = "default"
types = ["order.*"]
secret_file = ""                # or secret = "whsec_…"
headers = {}                    # static headers
max_in_flight = 16              # at least 1
rate_limit = ""
ordering = "none"               # "none" | "key" (per event key) | "strict" (whole endpoint)
timeout = ""                    # overrides
http2 = true
retry = {}                      # overrides, same keys as [retry]
allow_networks = []
enabled = true
[log]
level = "info"                  # RUST_LOG style filters work too
format = "text"                 # "text" | "json"
"#;

fn bare() -> Environment {
    Environment::default()
}

fn good(text: &str) -> Loaded {
    match parse(text, &bare()) {
        Ok(loaded) => loaded,
        Err(faults) => panic!("{faults}\nin\n{text}"),
    }
}

fn faults(text: &str) -> Vec<Fault> {
    match parse(text, &bare()) {
        Ok(_) => panic!("no fault in\n{text}"),
        Err(faults) => faults.list,
    }
}

/// The example with the `#` taken away from every key and table.
fn uncommented_example() -> String {
    EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') => rest,
            _ => line,
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// An endpoint with further lines.
fn endpoint(lines: &str) -> String {
    format!("[[endpoint]]\nid = \"orders\"\nurl = \"https://example.com/hook\"\n{lines}\n")
}

#[test]
fn nothing_said_gives_the_defaults() {
    let loaded = good("");
    assert_eq!(
        format!("{:?}", loaded.config),
        format!("{:?}", Config::default())
    );
    assert_eq!(
        loaded.config.listen.http,
        Some("127.0.0.1:7717".parse().unwrap())
    );
    assert_eq!(loaded.config.data_dir, Path::new("./outboxd-data"));
    assert!(loaded.path.is_none());
}

#[test]
fn the_documented_defaults_are_the_defaults() {
    let mut config = good(ALL_DEFAULTS).config;
    let orders = config.endpoints.pop().unwrap();
    assert_eq!(
        std::mem::take(&mut config.delivery.user_agent),
        "outboxd/VERSION"
    );
    let mut defaults = Config::default();
    defaults.delivery.user_agent.clear();
    assert_eq!(format!("{config:?}"), format!("{defaults:?}"));
    assert_eq!(orders.timeout, config.delivery.timeout);
    assert_eq!(*orders.retry, config.retry);
    assert_eq!(
        (orders.max_in_flight, orders.ordering),
        (16, Ordering::None)
    );
    assert_eq!((orders.secrets.len(), orders.source), (0, Source::Toml));
    assert_eq!(show::to_json(&config)["retention"]["delivered"], "7d");
}

#[test]
fn the_example_is_valid_as_it_is_and_uncommented() {
    let as_is = good(EXAMPLE);
    assert_eq!(
        format!("{:?}", as_is.config),
        format!("{:?}", Config::default())
    );
    let text =
        uncommented_example().replace("outboxd/VERSION", &Config::default().delivery.user_agent);
    let mut whole = good(&text);
    let orders = whole.config.endpoints.pop().unwrap();
    let github = whole.config.sources.pop().unwrap();
    assert_eq!(
        format!("{:?}", whole.config),
        format!("{:?}", Config::default())
    );
    let plain = good(&endpoint("")).config.endpoints.pop().unwrap();
    assert_eq!(format!("{orders:?}"), format!("{plain:?}"));
    let plain = "[[source]]\nid = \"github\"\npreset = \"github\"\nsecrets = [\"x\"]";
    let plain = good(plain).config.sources.pop().unwrap();
    assert_eq!(github.shown(), plain.shown());
}

#[test]
fn the_example_names_every_key() {
    let text = uncommented_example();
    let table: toml::Table = toml::from_str(&text).unwrap();
    let mut named = BTreeSet::new();
    let mut open = vec![(String::new(), toml::Value::Table(table))];
    while let Some((path, value)) = open.pop() {
        match value {
            toml::Value::Table(table) => open.extend(table.into_iter().map(|(key, value)| {
                (
                    if path.is_empty() {
                        key
                    } else {
                        format!("{path}.{key}")
                    },
                    value,
                )
            })),
            toml::Value::Array(items) if items.iter().any(toml::Value::is_table) => {
                open.extend(items.into_iter().map(|item| (path.clone(), item)));
            }
            _ => {}
        }
        named.insert(path);
    }
    // In the example these stand in comments, as they have no default.
    for commented in [
        "auth.tokens.name",
        "auth.tokens.token_file",
        "auth.tokens.scope",
    ] {
        let key = commented.rsplit('.').next().unwrap();
        assert!(EXAMPLE.contains(&format!("{key} = ")), "{commented}");
        named.insert(commented.to_owned());
    }
    let files = [
        "signing_key_file",
        "client_cert_file",
        "client_key_file",
        "ca_file",
    ];
    for key in KEYS.into_iter().chain(files).chain(["secret"]) {
        assert!(EXAMPLE.contains(&format!("# {key} = ")), "{key}");
        named.insert(format!("endpoint.{key}"));
    }
    for key in ["secret_files", "token_file", "verify_token_file"] {
        assert!(EXAMPLE.contains(&format!("# {key} = ")), "{key}");
        named.insert(format!("source.{key}"));
    }
    for key in known_keys() {
        assert!(named.contains(&key), "{key} is not in config.example.toml");
    }
}

#[test]
fn the_environment_gives_defaults_that_the_file_overrides() {
    let env = Environment {
        state_directory: Some("/var/lib/outboxd".into()),
        runtime_directory: Some("/run/outboxd".into()),
        ..bare()
    };
    let config = parse("", &env).unwrap().config;
    assert_eq!(config.data_dir, Path::new("/var/lib/outboxd"));
    assert_eq!(
        config.listen.unix.as_deref(),
        Some(Path::new("/run/outboxd/outboxd.sock"))
    );
    let config = parse("data_dir = \"d\"\nlisten.unix = \"\"", &env)
        .unwrap()
        .config;
    assert_eq!(config.data_dir, Path::new("d"));
    assert_eq!(config.listen.unix, None);
    assert!(parse("listen.http = \"\"", &env).is_ok());
    let long = Environment {
        runtime_directory: Some("/r".repeat(60).into()),
        ..bare()
    };
    let faults = parse("", &long).unwrap_err().list;
    assert_eq!(
        (faults.len(), faults[0].line, &*faults[0].key),
        (1, None, "listen.unix")
    );
}

#[test]
fn an_endpoint_s_overrides_start_from_the_global_ones() {
    let text = "delivery.timeout = \"7s\"\n[retry]\nfirst = \"1s\"\nschedule = [\"1s\"]\n"
        .to_owned()
        + &endpoint("retry = { max = \"2h\" }")
        + &endpoint("timeout = \"3s\"\nretry.schedule = []").replace("orders", "other");
    let config = good(&text).config;
    let [orders, other] = &*config.endpoints else {
        panic!("two endpoints")
    };
    assert_eq!(orders.timeout, Duration::from_secs(7));
    assert_eq!(orders.retry.first, Duration::from_secs(1));
    assert_eq!(orders.retry.max, Duration::from_secs(7200));
    assert_eq!(orders.retry.schedule, [Duration::from_secs(1)]);
    assert_eq!(other.timeout, Duration::from_secs(3));
    assert!(other.retry.schedule.is_empty());
}

/// One file, one fault: text, line, column, key, a part of the problem, a part of the fix.
type Case<'c> = (&'c str, usize, usize, &'c str, &'c str, &'c str);

fn check_cases(cases: &[Case<'_>]) {
    for (text, line, column, key, problem, fix) in cases {
        let list = faults(text);
        let [fault] = &*list else {
            panic!("{} faults in\n{text}\n{list:#?}", list.len())
        };
        assert_eq!(
            (fault.line, fault.column),
            (Some(*line), Some(*column)),
            "{text}\n{fault:?}"
        );
        assert_eq!(fault.key, *key, "{text}");
        assert!(fault.problem.contains(problem), "{text}\n{fault:?}");
        assert!(fault.fix.contains(fix), "{text}\n{fault:?}");
    }
}

#[test]
fn faults_of_the_global_tables_are_told_with_place_and_fix() {
    check_cases(&[
        (
            "data_dri = \"x\"",
            1,
            1,
            "data_dri",
            "unknown key",
            "did you mean \"data_dir\"?",
        ),
        (
            "[lisen]\nhttp = \"\"",
            1,
            2,
            "lisen",
            "unknown key",
            "did you mean \"listen\"?",
        ),
        (
            "[delivery]\nmax-in-flight = 1",
            2,
            1,
            "delivery.max-in-flight",
            "unknown",
            "\"max_in_flight\"?",
        ),
        (
            "[delivery]\nmaxInFlight = 1",
            2,
            1,
            "delivery.maxInFlight",
            "unknown",
            "\"max_in_flight\"?",
        ),
        (
            "max_event_size = \"1B\"",
            1,
            1,
            "max_event_size",
            "unknown",
            "did you mean \"ingest.max_event_size\"? it is not a key at the top",
        ),
        (
            "[retry]\nmax_in_flight = 1",
            2,
            1,
            "retry.max_in_flight",
            "unknown",
            "\"delivery.max_in_flight\" or \"endpoint.max_in_flight\"",
        ),
        (
            "[log]\nzzzzzz = 1",
            2,
            1,
            "log.zzzzzz",
            "unknown",
            "the keys here are level, format",
        ),
        (
            "data_dir = 5",
            1,
            12,
            "data_dir",
            "a string, not an integer",
            "quotes",
        ),
        ("data_dir = \"\"", 1, 12, "data_dir", "empty", "path"),
        (
            "listen = 1",
            1,
            10,
            "listen",
            "a table, not an integer",
            "[listen]",
        ),
        (
            "[listen]\nhttp = \"localhost:7717\"",
            2,
            8,
            "listen.http",
            "\"localhost:7717\" is not an IP",
            "127.0.0.1:7717",
        ),
        (
            "[listen]\nhttp = \"0.0.0.0:7717\"",
            2,
            8,
            "listen.http",
            "not loopback",
            "token under [auth]",
        ),
        (
            "[listen]\nhttp = \"\"",
            2,
            8,
            "listen.http",
            "all off",
            "unix to a path",
        ),
        (
            "[listen]\nhttp = \"\"\nunix = \"\"",
            2,
            8,
            "listen.http",
            "all off",
            "unix to a path",
        ),
        (
            "[listen]\nunix_mode = 660",
            2,
            13,
            "listen.unix_mode",
            "a string, not an integer",
            "\"0660\"",
        ),
        (
            "[listen]\nunix_mode = \"0668\"",
            2,
            13,
            "listen.unix_mode",
            "\"0668\" is not a mode",
            "octal",
        ),
        (
            "[listen]\nunix_mode = \"+660\"",
            2,
            13,
            "listen.unix_mode",
            "not a mode",
            "octal",
        ),
        (
            "[listen]\nunix_mode = \"1777\"",
            2,
            13,
            "listen.unix_mode",
            "not a mode",
            "octal",
        ),
        (
            "[listen]\nhosts = [\"a\", \"http://b/\"]",
            2,
            15,
            "listen.hosts[1]",
            "not a host name",
            "bare name",
        ),
        (
            "[listen]\nhosts = \"a\"",
            2,
            9,
            "listen.hosts",
            "a list, not a string",
            "[ ]",
        ),
        (
            "[auth]\ntokens = [\"s3cret\"]",
            2,
            11,
            "auth.tokens[0]",
            "a table, not a string",
            "{",
        ),
        (
            "[ingest]\nmax_event_size = 1024",
            2,
            18,
            "ingest.max_event_size",
            "a size is a string",
            "\"64KiB\"",
        ),
        (
            "[ingest]\nmax_event_size = \"64KB\"",
            2,
            18,
            "ingest.max_event_size",
            "1024",
            "KiB",
        ),
        (
            "[ingest]\nmax_event_size = \"0B\"",
            2,
            18,
            "ingest.max_event_size",
            "\"0B\" is too small",
            "\"1B\" to",
        ),
        (
            "[ingest]\nmax_batch_events = 0",
            2,
            20,
            "ingest.max_batch_events",
            "0 is out of bounds",
            "1 to 1000000",
        ),
        (
            "[ingest]\nmax_batch_events = \"5\"",
            2,
            20,
            "ingest.max_batch_events",
            "whole number, not a string",
            "without quotes",
        ),
        (
            "[ingest]\nmax_batch_events = 99999999999999999999",
            2,
            20,
            "ingest.max_batch_events",
            "too large",
            "smaller",
        ),
        (
            "[ingest]\nrate_limit = \"50\"",
            2,
            14,
            "ingest.rate_limit",
            "needs a unit",
            "50/s",
        ),
        (
            "[outbox]\nendpoint_share = 0",
            2,
            18,
            "outbox.endpoint_share",
            "not a share",
            "above 0",
        ),
        (
            "[outbox]\nendpoint_share = 1.1",
            2,
            18,
            "outbox.endpoint_share",
            "not a share",
            "up to 1",
        ),
        (
            "[outbox]\nendpoint_share = nan",
            2,
            18,
            "outbox.endpoint_share",
            "not a finite",
            "0.5",
        ),
        (
            "[outbox]\nsegment_size = \"4095KiB\"",
            2,
            16,
            "outbox.segment_size",
            "too small",
            "\"4MiB\" to \"1GiB\"",
        ),
        (
            "[outbox]\nsegment_size = \"2GiB\"",
            2,
            16,
            "outbox.segment_size",
            "too large",
            "\"4MiB\" to \"1GiB\"",
        ),
        (
            "[retention]\ndead = \"0s\"",
            2,
            8,
            "retention.dead",
            "too small",
            "at least \"1ms\"",
        ),
        (
            "[retention]\ndead = \"1h30m\"",
            2,
            8,
            "retention.dead",
            "not a sum",
            "\"90m\"",
        ),
        (
            "[delivery]\ntimeout = \"0s\"",
            2,
            11,
            "delivery.timeout",
            "too small",
            "\"1ms\" to \"1h\"",
        ),
        (
            "[delivery]\nmax_in_flight = 0",
            2,
            17,
            "delivery.max_in_flight",
            "out of bounds",
            "1 to 65536",
        ),
        (
            "[delivery]\nallow_networks = [\"10.0.0.1\"]",
            2,
            19,
            "delivery.allow_networks[0]",
            "prefix length",
            "10.0.0.1/32",
        ),
        (
            "[delivery]\nallow_networks = [\"10.0.0.0/33\"]",
            2,
            19,
            "delivery.allow_networks[0]",
            "not a network",
            "10.0.0.0/8",
        ),
        (
            "[delivery]\nallow_http = \"yes\"",
            2,
            14,
            "delivery.allow_http",
            "a boolean, not a string",
            "true or false",
        ),
        (
            "[delivery]\nproxy = \"socks5://p:1\"",
            2,
            9,
            "delivery.proxy",
            "scheme",
            "https://",
        ),
        (
            "[delivery]\nproxy = \"http://u:s3cret@p:1\"",
            2,
            9,
            "delivery.proxy",
            "user name",
            "not supported",
        ),
        (
            "[delivery]\nca_file = \"/nowhere/ca.pem\"",
            2,
            11,
            "delivery.ca_file",
            "/nowhere/ca.pem",
            "PEM",
        ),
        (
            "[delivery]\nuser_agent = \"\"",
            2,
            14,
            "delivery.user_agent",
            "cannot be sent",
            "visible",
        ),
        (
            "[retry]\nfirst = \"7h\"",
            2,
            9,
            "retry.first",
            "shorter than the first",
            "raise \"max\"",
        ),
        (
            "[retry]\nmax = \"1s\"",
            2,
            7,
            "retry.max",
            "shorter than the first",
            "lower \"first\"",
        ),
        (
            "[retry]\nfirst = \"0s\"",
            2,
            9,
            "retry.first",
            "without pause",
            "1ms",
        ),
        (
            "[retry]\nfactor = 0.5",
            2,
            10,
            "retry.factor",
            "1 to 1000",
            "3.0",
        ),
        (
            "[retry]\njitter = 2",
            2,
            10,
            "retry.jitter",
            "0 to 1",
            "0.5",
        ),
        (
            "[retry]\nschedule = [\"5s\", 5]",
            2,
            19,
            "retry.schedule[1]",
            "a duration is a string",
            "unit",
        ),
        (
            "[retry]\nschedule = [\"0s\"]",
            2,
            12,
            "retry.schedule",
            "delay of 0",
            "1ms",
        ),
        (
            "[retry]\nfirst = \"x\"\nmax = \"1s\"",
            2,
            9,
            "retry.first",
            "no whole number",
            "ms, s, m, h or d",
        ),
        (
            "[log]\nlevel = \"inof\"",
            2,
            9,
            "log.level",
            "\"inof\" is not a level",
            "did you mean \"info\"?",
        ),
        (
            "[log]\nlevel = \"a=b=c\"",
            2,
            9,
            "log.level",
            "not a level",
            "info,outboxd=debug",
        ),
        (
            "[log]\nformat = \"jsno\"",
            2,
            10,
            "log.format",
            "\"jsno\"",
            "did you mean \"json\"?",
        ),
    ]);
}

#[test]
fn faults_of_endpoints_name_the_endpoint() {
    let case = |lines: &str, line: usize, column: usize, key: &str, problem: &str, fix: &str| {
        let text = endpoint(lines);
        let key = format!("endpoint[0].{key}");
        check_cases(&[(&text, line, column, &key, problem, fix)]);
        let faults = parse(&text, &bare()).unwrap_err();
        assert_eq!(faults.list[0].endpoint.as_deref(), Some("orders"));
        assert!(
            faults
                .to_string()
                .contains(&format!("{key} (endpoint \"orders\"): "))
        );
    };
    case(
        "urls = 1",
        4,
        1,
        "urls",
        "unknown key",
        "did you mean \"url\"?",
    );
    case(
        "secert = \"x\"",
        4,
        1,
        "secert",
        "unknown key",
        "did you mean \"secret\"?",
    );
    case("types = []", 4, 9, "types", "match no event", "[\"*\"]");
    case(
        "types = [\"a\", \"a*\"]",
        4,
        15,
        "types[1]",
        "\"a*\" is not a pattern",
        "order.*",
    );
    case(
        "secret = \"s3cret\"",
        4,
        10,
        "secret",
        "begins with whsec_",
        "keygen",
    );
    case(
        "secret = \"\"",
        4,
        10,
        "secret",
        "begins with whsec_",
        "keygen",
    );
    case(
        "secret = \"whsec_c2hvcnQ=\"",
        4,
        10,
        "secret",
        "24 to 64 bytes",
        "keygen",
    );
    case(
        "secret_file = \"/nowhere/s\"",
        4,
        15,
        "secret_file",
        "cannot read /nowhere/s",
        "LoadCredential",
    );
    case(
        "headers = { Host = \"a\" }",
        4,
        13,
        "headers.Host",
        "sets this header itself",
        "remove",
    );
    case(
        "headers = { x-a = 1 }",
        4,
        13,
        "headers.x-a",
        "a string, not an integer",
        "quotes",
    );
    case(
        "headers.\"a b\" = \"1\"",
        4,
        9,
        "headers.\"a b\"",
        "not a header name",
        "x-team",
    );
    case(
        "max_in_flight = 0",
        4,
        17,
        "max_in_flight",
        "out of bounds",
        "1 to 65536",
    );
    case(
        "rate_limit = \"0/s\"",
        4,
        14,
        "rate_limit",
        "nothing through",
        "no limit",
    );
    case(
        "ordering = \"strikt\"",
        4,
        12,
        "ordering",
        "\"strikt\"",
        "did you mean \"strict\"?",
    );
    case("timeout = \"2h\"", 4, 11, "timeout", "too large", "\"1h\"");
    case("tenant = \"a b\"", 4, 10, "tenant", "1 to 64", "default");
    case(
        "retry = { frist = \"1s\" }",
        4,
        11,
        "retry.frist",
        "unknown key",
        "did you mean \"first\"?",
    );
    case(
        "retry = { max = \"1s\" }",
        4,
        17,
        "retry.max",
        "shorter",
        "lower",
    );
    case(
        "[endpoint.retry]\njitter = -1",
        5,
        10,
        "retry.jitter",
        "0 to 1",
        "0.5",
    );
    case(
        "description = \"x\"",
        4,
        1,
        "description",
        "unknown key",
        "remove it",
    );

    let url = |url: &str, problem: &str, fix: &str| {
        let text = format!("[[endpoint]]\nurl = \"{url}\"\nid = \"a\"");
        check_cases(&[(&text, 2, 7, "endpoint[0].url", problem, fix)]);
    };
    url(
        "https://user:s3cret@example.com",
        "user name or password",
        "authorization",
    );
    url("ftp://example.com", "scheme", "https://");
    url(
        "example.com",
        "not an absolute URL",
        "https://example.com/hook",
    );
    check_cases(&[
        (
            "[[endpoint]]\nurl = \"https://a.example\"",
            1,
            1,
            "endpoint[0].id",
            "missing",
            "id = ",
        ),
        (
            "[[endpoint]]\nid = \"a\"",
            1,
            1,
            "endpoint[0].url",
            "missing",
            "url = ",
        ),
        (
            "[endpoint]\nid = \"a\"",
            1,
            1,
            "endpoint",
            "list of tables",
            "[[endpoint]]",
        ),
        (
            "[[endpoints]]\nid = \"a\"",
            1,
            3,
            "endpoints",
            "unknown key",
            "did you mean \"endpoint\"?",
        ),
        (
            "[[endpoint]]\nid = \"ep_01ARZ3NDEKTSV4RRFFQ69G5FAV\"\nurl = \"https://a.example\"",
            2,
            6,
            "endpoint[0].id",
            "made by the API",
            "choose",
        ),
    ]);
    let twice = endpoint("") + &endpoint("");
    check_cases(&[(
        &twice,
        6,
        6,
        "endpoint[1].id",
        "endpoint[0] already",
        "of its own",
    )]);
}

#[test]
fn syntax_faults_are_told_and_nothing_is_made_of_the_rest() {
    check_cases(&[
        (
            "[delivery]\ntimeout = 5s",
            2,
            11,
            "timeout",
            "quoted",
            "in quotes",
        ),
        (
            "[listen\nhttp = \"\"",
            1,
            8,
            "listen",
            "unclosed table",
            "close it",
        ),
        ("a = \"b", 1, 7, "", "TOML", "toml.io"),
        ("ü = 1", 1, 1, "", "TOML", "toml.io"),
    ]);
    let list = faults("data_dir = \"a\"\ndata_dir = \"b\"\nfoo = 1\n[log]\nlevel = 1\n");
    let told: Vec<_> = list
        .iter()
        .map(|fault| (fault.line.unwrap(), &*fault.key))
        .collect();
    assert_eq!(told, [(2, "data_dir"), (3, "foo"), (5, "log.level")]);
}

#[test]
fn all_faults_come_at_once_in_the_order_of_the_file() {
    let text = format!(
        "dta_dir = 1\n[delivery]\ntimeout = \"5\"\nallow_networks = [\"x\", \"y\"]\n{}{}",
        endpoint("secret = \"x\"\nmax_in_flight = -1\nbogus = 1"),
        "[[endpoint]]\nid = \"or ders\"\nretry = { jitter = 5 }\n",
    );
    let faults = parse(&text, &bare()).unwrap_err();
    let told: Vec<_> = faults
        .list
        .iter()
        .map(|f| (f.line.unwrap(), &*f.key))
        .collect();
    assert_eq!(
        told,
        [
            (1, "dta_dir"),
            (3, "delivery.timeout"),
            (4, "delivery.allow_networks[0]"),
            (4, "delivery.allow_networks[1]"),
            (8, "endpoint[0].secret"),
            (9, "endpoint[0].max_in_flight"),
            (10, "endpoint[0].bogus"),
            (11, "endpoint[1].url"),
            (12, "endpoint[1].id"),
            (13, "endpoint[1].retry.jitter"),
        ]
    );
    assert_eq!(faults.to_string().lines().count(), 10);
    let first = faults.to_string().lines().next().unwrap().to_owned();
    assert_eq!(
        first,
        "configuration:1:1: dta_dir: unknown key; fix: did you mean \"data_dir\"?"
    );
}

#[test]
fn secrets_and_tokens_are_read_from_files() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        std::fs::write(dir.path().join(name), content).unwrap();
        dir.path().join(name).display().to_string()
    };
    let (app, _) = (file("app", "tok3n\n"), file("ops", " other-tok3n \n"));
    let secret = file("hook", &format!("{SECRET}\n"));
    let env = Environment {
        credentials_directory: Some(dir.path().into()),
        ..bare()
    };
    let text = format!(
        "listen.http = \"0.0.0.0:7717\"\n[auth]\ntokens = [\n\
         {{ name = \"app\", token_file = \"{app}\", scope = \"ingest\" }},\n\
         {{ name = \"ops\", token_file = \"ops\", scope = \"admin\" }}]\n{}{}",
        endpoint(&format!("secret_file = \"{secret}\"")),
        endpoint("secret_file = \"hook\"").replace("orders", "bare"),
    );
    let config = parse(&text, &env).unwrap().config;
    let [app, ops] = &*config.auth.tokens else {
        panic!("two tokens")
    };
    assert_eq!(
        (app.scope, ops.scope, &*ops.name),
        (Scope::Ingest, Scope::Admin, "ops")
    );
    // sha256sum of "tok3n"
    let digest: String = app
        .sha256
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(
        digest,
        "9e795c29a8c362acadaed8c6148e060d33e3cdf04bc6ab99da0efdca0160f556"
    );
    for endpoint in &config.endpoints {
        assert_eq!(endpoint.secrets[0].secret.reveal(), SECRET);
    }
    // Without the directory a bare name is one of the working directory.
    let faults = parse(&text, &bare()).unwrap_err();
    let keys: Vec<_> = faults.list.iter().map(|fault| &*fault.key).collect();
    assert_eq!(
        keys,
        ["auth.tokens[1].token_file", "endpoint[1].secret_file"]
    );
}

#[test]
fn a_byte_order_mark_belongs_to_no_secret_and_no_token() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for (name, content) in [("plain", "tok3n\n"), ("marked", "\u{feff}tok3n\r\n")] {
        std::fs::write(path(name), content).unwrap();
    }
    std::fs::write(path("hook"), format!("\u{feff}{SECRET}\r\n")).unwrap();
    let token = |name| super::files::read_token(&path(name)).unwrap();
    assert_eq!(token("marked"), token("plain"));
    let secret = super::files::read_secret(&path("hook")).unwrap();
    assert_eq!(secret.reveal(), SECRET);
}

#[test]
fn faulty_tokens_and_secret_files_are_told_without_their_content() {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("empty", "\n"),
        ("two", "s3cret-a s3cret-b"),
        ("good", "s3cret"),
        ("bad-secret", "whsec_!s3cret!"),
        ("short", "whsec_c2hvcnQ="),
        ("hook", SECRET),
    ] {
        std::fs::write(dir.path().join(name), content).unwrap();
    }
    std::fs::write(dir.path().join("binary"), [0xff, b's']).unwrap();
    std::fs::write(dir.path().join("utf16"), b"\xff\xfes\x003\x00").unwrap();
    std::fs::write(dir.path().join("huge"), vec![b'a'; 70_000]).unwrap();
    let env = Environment {
        credentials_directory: Some(dir.path().into()),
        ..bare()
    };
    let one = |text: &str, key: &str, problem: &str| {
        let faults = parse(text, &env).unwrap_err();
        let [fault] = &*faults.list else {
            panic!("one fault in\n{text}\n{faults}")
        };
        assert_eq!(fault.key, key, "{text}");
        assert!(fault.problem.contains(problem), "{text}\n{fault:?}");
        let all = format!("{faults}{faults:?}");
        assert!(!all.contains("s3cret") && !all.contains("MfKQ"), "{all}");
    };
    let token = |file: &str| {
        format!("[[auth.tokens]]\nname = \"a\"\nscope = \"admin\"\ntoken_file = \"{file}\"\n")
    };
    let key = "auth.tokens[0].token_file";
    one(&token("empty"), key, "is empty");
    one(&token("utf16"), key, "is UTF-16 text");
    one(&token("two"), key, "more than one token");
    one(&token("binary"), key, "not UTF-8");
    one(&token("huge"), key, "larger than 65536 bytes");
    one(&token("missing"), key, "missing: No such file");
    one(&token(""), key, "names no file");
    one(
        &token("good").replace("admin", "amdin"),
        "auth.tokens[0].scope",
        "\"amdin\"",
    );
    one(
        "[[auth.tokens]]\nname = \"a\"\nscope = \"admin\"\n",
        key,
        "missing",
    );
    let missing = parse("auth.tokens = [{ nam = 1 }]", &env).unwrap_err();
    let keys: BTreeSet<_> = missing.list.iter().map(|fault| fault.key.clone()).collect();
    let names = ["name", "token_file", "scope", "nam"];
    assert_eq!(
        keys,
        BTreeSet::from(names.map(|name| format!("auth.tokens[0].{name}")))
    );
    one(
        "[[auth.tokens]]\nname = \"a b\"\nscope = \"admin\"\ntoken_file = \"good\"\n",
        "auth.tokens[0].name",
        "not a name",
    );
    one(
        "[[auth.tokens]]\nname = \"a\"\nscope = \"admin\"\ntoken = \"s3cret\"\ntoken_file = \"good\"\n",
        "auth.tokens[0].token",
        "unknown",
    );
    one(
        &(token("good") + &token("hook")),
        "auth.tokens[1]",
        "this name",
    );
    one(
        &(token("good") + &token("good").replace("\"a\"", "\"b\"")),
        "auth.tokens[1]",
        "this content",
    );
    // One fault, not two: a faulty token is not also a missing one.
    one(
        &("listen.http = \"0.0.0.0:1\"\n".to_owned() + &token("empty")),
        key,
        "is empty",
    );

    let key = "endpoint[0].secret_file";
    one(&endpoint("secret_file = \"bad-secret\""), key, "base64");
    one(&endpoint("secret_file = \"short\""), key, "24 to 64");
    one(
        &endpoint("secret_file = \"missing\""),
        key,
        "missing: No such file",
    );
    one(
        &endpoint(&format!("secret_file = \"{SECRET}\"")),
        key,
        "not the name of a file",
    );
    let both = endpoint(&format!("secret = \"{SECRET}\"\nsecret_file = \"hook\""));
    one(&both, key, "both there");
    one(
        &endpoint(&format!("\"{SECRET}\" = 1")),
        "endpoint[0].whsec_…",
        "unknown",
    );
    one(
        &endpoint("headers = { authorization = \"s3cret\\u0001\" }"),
        "endpoint[0].headers.authorization",
        "visible ASCII",
    );
    one(
        &endpoint("").replace("https://", "https://s3cret@"),
        "endpoint[0].url",
        "user name",
    );
}

#[test]
fn roots_must_be_certificates() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    let text = format!("delivery.ca_file = \"{}\"", path.display());
    let problem = |content: &str| {
        std::fs::write(&path, content).unwrap();
        faults(&text)[0].problem.clone()
    };
    assert!(problem("").contains("no certificate"));
    assert!(problem("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n").contains("PEM"));
    let hollow = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(problem(hollow).contains("cannot be used as a root"));
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["a.example".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    std::fs::write(&path, certificate.pem()).unwrap();
    assert_eq!(good(&text).config.delivery.ca_file, Some(path));
}

#[test]
fn faults_of_the_public_listener_are_told_with_place_and_fix() {
    check_cases(&[
        (
            "[listen]\ninbound = \":8443\"",
            2,
            11,
            "listen.inbound",
            "\":8443\" is not an IP address and a port",
            "127.0.0.1:7717",
        ),
        (
            "[listen]\ninbound = \"127.0.0.1:7717\"",
            2,
            11,
            "listen.inbound",
            "127.0.0.1:7717 cannot be listened on beside http",
            "another port",
        ),
        (
            "[listen]\ninbound = \"0.0.0.0:7717\"",
            2,
            11,
            "listen.inbound",
            "beside http at 127.0.0.1:7717",
            "another port",
        ),
        (
            "[listen]\ninbound = \"[::ffff:127.0.0.1]:7717\"",
            2,
            11,
            "listen.inbound",
            "beside http",
            "another port",
        ),
        (
            "[listen]\ninbound_cert_file = \"a.pem\"",
            2,
            21,
            "listen.inbound_cert_file",
            "without inbound_key_file",
            "set inbound_key_file too",
        ),
        (
            "[listen]\ninbound_key_file = \"a.key\"\ninbound_cert_file = \"\"",
            2,
            20,
            "listen.inbound_key_file",
            "without inbound_cert_file",
            "set inbound_cert_file too",
        ),
        (
            "[listen]\ninbound_cert_file = \"/nowhere/a\"\ninbound_key_file = \"/nowhere/b\"",
            2,
            21,
            "listen.inbound_cert_file",
            "cannot read /nowhere/a",
            "LoadCredential=",
        ),
        (
            "[listen]\npublic_url = \"hooks.example.com\"",
            2,
            14,
            "listen.public_url",
            "not an absolute URL",
            "https://hooks.example.com",
        ),
        (
            "[listen]\npublic_url = \"ftp://hooks.example.com\"",
            2,
            14,
            "listen.public_url",
            "neither https nor http",
            "https://",
        ),
        (
            "[listen]\npublic_url = \"https://hooks.example.com/?\"",
            2,
            14,
            "listen.public_url",
            "has a query",
            "remove everything from ?",
        ),
        (
            "[listen]\npublic_url = \"https://hooks.example.com/#a\"",
            2,
            14,
            "listen.public_url",
            "fragment",
            "remove everything from #",
        ),
        (
            "[listen]\npublic_url = \"https://me@hooks.example.com\"",
            2,
            14,
            "listen.public_url",
            "user name",
            "take it out: ",
        ),
        (
            "[listen]\ntrusted_proxies = [\"10.0.0.1\"]",
            2,
            20,
            "listen.trusted_proxies[0]",
            "lacks its prefix length",
            "\"10.0.0.1/32\"",
        ),
    ]);
}

#[test]
fn the_public_listener_needs_no_token_and_no_api_beside_it() {
    let text = "[listen]\nhttp = \"\"\ninbound = \"0.0.0.0:443\"\n\
        public_url = \"https://hooks.example.com//\"\ntrusted_proxies = [\"10.1.2.3/8\"]";
    let listen = good(text).config.listen;
    assert_eq!(listen.inbound, Some("0.0.0.0:443".parse().unwrap()));
    assert_eq!(
        listen.public_url.as_deref(),
        Some("https://hooks.example.com")
    );
    assert_eq!(listen.trusted_proxies, ["10.0.0.0/8".parse().unwrap()]);
    // Two ports that the system chooses.
    good("[listen]\nhttp = \"127.0.0.1:0\"\ninbound = \"127.0.0.1:0\"");
    good("[listen]\nhttp = \"127.0.0.1:7717\"\ninbound = \"127.0.0.2:7717\"");
}

/// A certificate and its key, in PEM.
fn certified() -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["hooks.example.com".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    (certificate.pem(), key.serialize_pem())
}

#[test]
fn a_certificate_and_its_key_must_fit_together() {
    let dir = tempfile::tempdir().unwrap();
    let env = Environment {
        credentials_directory: Some(dir.path().into()),
        ..bare()
    };
    let text = "[listen]\ninbound_cert_file = \"cert\"\ninbound_key_file = \"key\"";
    let write = |cert: &str, key: &str| {
        std::fs::write(dir.path().join("cert"), cert).unwrap();
        std::fs::write(dir.path().join("key"), key).unwrap();
    };
    let (cert, key) = certified();
    write(&cert, &key);
    let expected = CertFiles {
        cert: dir.path().join("cert"),
        key: dir.path().join("key"),
    };
    let listen = parse(text, &env).unwrap().config.listen;
    assert_eq!(listen.inbound_cert, Some(expected));
    let (other, other_key) = certified();
    for (cert, key, at_fault, problem, fix) in [
        (&*other, &*key, "key", "does not belong", "comes first"),
        (&*cert, &*other_key, "key", "does not belong", "comes first"),
        (
            &*key,
            &*key,
            "cert",
            "not PEM with a certificate",
            "lead to",
        ),
        (
            &*cert,
            &*cert,
            "key",
            "not PEM with a private key",
            "PKCS#8",
        ),
        ("", &*key, "cert", "not PEM with a certificate", "lead to"),
        (&"x".repeat(70_000), &*key, "cert", "larger than", "64KiB"),
    ] {
        write(cert, key);
        let faults = parse(text, &env).unwrap_err().list;
        let [fault] = &*faults else {
            panic!("{faults:?}")
        };
        assert_eq!(fault.key, format!("listen.inbound_{at_fault}_file"));
        assert!(fault.problem.contains(problem), "{fault:?}");
        assert!(fault.fix.contains(fix), "{fault:?}");
        let path = dir.path().join(at_fault);
        assert!(fault.problem.contains(path.to_str().unwrap()), "{fault:?}");
    }
    // What a file holds in the place of its name is not repeated.
    let pasted = format!("[listen]\ninbound_key_file = '''{key}'''\ninbound_cert_file = \"cert\"");
    let faults = parse(&pasted, &env).unwrap_err();
    assert!(!faults.to_string().contains(&key[40..60]), "{faults}");
    assert!(faults.list[0].problem.contains("not its name"), "{faults}");
}

#[test]
fn files_are_found_where_they_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("outboxd.toml");
    let env = Environment {
        config: Some(path.clone()),
        ..bare()
    };
    let faults = load(None, &env).unwrap_err();
    assert_eq!((faults.list.len(), faults.list[0].line), (1, None));
    assert!(
        faults
            .to_string()
            .starts_with(&format!("{}: cannot read", path.display()))
    );
    // The system's file may be missing, one that is named may not.
    let system = Environment {
        system_config: Some(path.clone()),
        ..bare()
    };
    assert_eq!(load(None, &system).unwrap().path, None);
    assert!(load(Some(&path), &system).is_err());

    std::fs::write(&path, "data_dir = \"there\"").unwrap();
    for (named, env) in [(None, &env), (None, &system), (Some(&*path), &bare())] {
        let loaded = load(named, env).unwrap();
        assert_eq!(loaded.config.data_dir, Path::new("there"));
        assert_eq!(loaded.path.as_ref(), Some(&path));
    }
    std::fs::write(&path, "data_dir = \"\u{fc}\"\nlog = 1").unwrap();
    let text = load(Some(&path), &bare()).unwrap_err().to_string();
    assert!(
        text.starts_with(&format!("{}:2:7: log: ", path.display())),
        "{text}"
    );
    std::fs::write(&path, b"a = 1\nb = \"\xff\"").unwrap();
    let fault = load(Some(&path), &bare()).unwrap_err().list.remove(0);
    assert_eq!((fault.line, fault.column), (Some(2), Some(6)));
    assert!(load(Some(dir.path()), &bare()).is_err());
}

#[test]
fn clients_learn_where_the_daemon_listens_without_its_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("outboxd.toml");
    let text =
        "[listen]\nhttp = \"0.0.0.0:9\"\n[auth]\ntokens = [{ token_file = \"/nowhere/t\" }]\n";
    std::fs::write(&path, text).unwrap();
    assert!(load(Some(&path), &bare()).is_err());
    let listen = load_listen(Some(&path), &bare()).unwrap();
    assert_eq!(listen.http, Some("0.0.0.0:9".parse().unwrap()));
    // Nor do they need its certificate.
    let text = "[listen]\ninbound_cert_file = \"/nowhere/a\"\ninbound_key_file = \"/nowhere/b\"";
    std::fs::write(&path, text).unwrap();
    load_listen(Some(&path), &bare()).unwrap();
    std::fs::write(&path, "listen.htp = \"\"").unwrap();
    let faults = load_listen(Some(&path), &bare()).unwrap_err();
    assert_eq!((faults.list.len(), &*faults.list[0].key), (1, "listen.htp"));
    std::fs::write(&path, "[listen").unwrap();
    assert!(load_listen(Some(&path), &bare()).is_err());
    assert_eq!(
        load_listen(None, &bare()).unwrap().http,
        Listen::default().http
    );
}

const FULL: &str = r#"
data_dir = "/srv/\"outbox\"\t\u007f"
[listen]
http = "[::1]:1"
unix = "/run/o.sock"
unix_mode = "0600"
hosts = ["outbox.internal", "::1"]
inbound = "0.0.0.0:443"
public_url = "https://Hooks.example.com:443/a/"
trusted_proxies = ["10.1.2.3/8", "fd00::/8"]
[ingest]
rate_limit = "90/m"
max_event_size = "1500B"
[delivery]
allow_networks = ["10.1.2.3/8", "fd00::/8"]
allow_http = true
proxy = "http://proxy.example:3128"
user_agent = "me \"and\" you"
[retry]
factor = 1
jitter = 0.25
schedule = ["1500ms", "0ms", "2d"]
[log]
level = "info,outboxd=debug"
format = "json"
"#;

#[test]
fn what_is_shown_reads_back_as_the_same() {
    let full = FULL.replace("\"0ms\", ", "")
        + &endpoint(
            "types = [\"a.*\", \"b\"]\nrate_limit = \"1/m\"\nordering = \"strict\"\nenabled = false",
        );
    let shaped = endpoint(
        r#"filter = '{"data": {"note": "…", "none": null, "n": 18446744073709551617}}'
template = '{"text": "{{ data.note }} …"}'
answer = { permanent = [400, "5xx"] }"#,
    );
    for text in ["", &full, &uncommented_example(), &shaped] {
        let mut config = good(text).config;
        // Without its secrets, which are not shown, a source is none.
        config.sources.clear();
        let shown = show::to_toml(&config);
        let again = good(&shown).config;
        assert_eq!(format!("{config:?}"), format!("{again:?}"), "{shown}");
        assert_eq!(show::to_json(&config), show::to_json(&again));
    }
}

#[test]
fn what_is_shown_hides_secrets() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("t"), "t0ken").unwrap();
    let env = Environment {
        credentials_directory: Some(dir.path().into()),
        ..bare()
    };
    let text = "auth.tokens = [{ name = \"app\", scope = \"ingest\", token_file = \"t\" }]\n"
        .to_owned()
        + &endpoint(&format!(
            "secret = \"{SECRET}\"\nheaders = {{ Authorization = \"s3cret\" }}"
        ));
    let config = parse(&text, &env).unwrap().config;
    let (toml, json) = (show::to_toml(&config), show::to_json(&config));
    for all in [toml.clone(), json.to_string(), format!("{config:?}")] {
        for hidden in ["t0ken", "s3cret", "MfKQ"] {
            assert!(!all.contains(hidden), "{hidden} in {all}");
        }
    }
    assert!(toml.contains("# secret = (set, not shown)"));
    assert!(toml.contains("# headers = (set, values not shown) authorization"));
    assert!(toml.contains("# tokens = (set, not shown) app (ingest)"));
    assert_eq!(json["endpoint"][0]["secret"], "whsec_…");
    assert_eq!(json["endpoint"][0]["headers"]["authorization"], "…");
    assert_eq!(json["auth"]["tokens"][0]["name"], "app");
    good(&toml);
}

/// The text with some of its bytes cut out, doubled, or replaced.
fn mutated(text: &str, changes: &[(usize, usize, String)]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for (at, length, new) in changes {
        let from = at % (chars.len() + 1);
        let to = (from + length).min(chars.len());
        chars.splice(from..to, new.chars());
    }
    chars.into_iter().collect()
}

/// Faults, if any, have a place within the text, a problem and a fix.
fn check_told(text: &str) -> Result<(), TestCaseError> {
    let Err(faults) = parse(text, &bare()) else {
        return Ok(());
    };
    prop_assert!(!faults.list.is_empty());
    for fault in &faults.list {
        prop_assert!(fault.line.unwrap_or(1) <= text.split('\n').count());
        prop_assert!(fault.column.unwrap_or(1) >= 1);
        prop_assert!(!fault.problem.is_empty() && !fault.fix.is_empty());
    }
    prop_assert_eq!(faults.to_string().lines().count(), faults.list.len());
    Ok(())
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>(), lines in "(\\[{0,2}[a-z_.]{0,8}\\]{0,2}( = [\"{\\[0-9a-z.]{0,6})?\n){0,12}") {
        check_told(&text)?;
        check_told(&lines)?;
    }

    #[test]
    fn no_mutation_of_the_example_panics(
        changes in prop::collection::vec((any::<usize>(), 0..12usize, "[-a-z0-9\"\\[\\]{}=,.#\n ü]{0,6}"), 1..8)
    ) {
        check_told(&mutated(&uncommented_example(), &changes))?;
        check_told(&mutated(FULL, &changes))?;
    }

    #[test]
    fn values_of_any_type_under_any_key_do_not_panic(
        n in any::<prop::sample::Index>(),
        value in prop::sample::select(vec![
            "1", "-1", "0.0", "inf", "true", "\"\"", "\"x\"", "\"5s\"", "[]", "[1]", "[[]]", "{}",
            "{ a = 1 }", "[{}]", "1979-05-27", "[\"x\", 1]", "\"\\u0000\"", "9223372036854775808",
        ]),
    ) {
        let keys: Vec<String> = known_keys().into_iter().collect();
        let key = n.get(&keys);
        let line = |key: &str| format!("{key} = {value}\n");
        check_told(&match key.strip_prefix("endpoint.") {
            Some(key) => endpoint(&line(key)),
            None => line(key),
        })?;
    }

    #[test]
    fn a_secret_is_never_told(cut in any::<prop::sample::Index>(), key in "[a-z_]{1,12}") {
        let whole = endpoint(&format!("secret = \"{SECRET}\"\nheaders.x = \"{SECRET}\""));
        let end = (0..=whole.len()).filter(|at| whole.is_char_boundary(*at)).collect::<Vec<_>>();
        let torn = &whole[..*cut.get(&end)];
        for text in [torn.to_owned(), format!("{key} = \"{SECRET}\""), format!("{key} = {SECRET}")] {
            if let Err(faults) = parse(&text, &bare()) {
                prop_assert!(!faults.to_string().contains("MfKQ"), "{}", faults);
            }
        }
    }
}

#[test]
fn a_semicolon_in_what_was_written_does_not_split_the_message() {
    let text = endpoint("preset = \"sla; ck\"");
    let faults = faults(&text);
    let [fault] = faults.as_slice() else {
        panic!("{faults:?}");
    };
    assert_eq!(fault.problem, "\"sla; ck\" is not known here");
    assert_eq!(fault.fix, "did you mean \"slack\"?");
}

#[test]
fn sources_are_read_with_what_their_files_hold() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [("new", "n3w\n"), ("old", "0ld"), ("verify", "t0ken\n")] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let env = Environment {
        credentials_directory: Some(dir.path().into()),
        ..bare()
    };
    let text = "[[source]]\nid = \"page\"\npreset = \"meta\"\nsecret_files = [\"new\", \"old\"]\n\
                verify_token_file = \"verify\"\nrate_limit = \"5/s\"\n";
    let config = parse(text, &env).unwrap().config;
    let [source] = config.sources.as_slice() else {
        panic!("{:?}", config.sources);
    };
    let secrets = source.secrets.iter().map(|one| &*one.text);
    assert_eq!(secrets.collect::<Vec<_>>(), ["n3w", "0ld"]);
    let (toml, json) = (show::to_toml(&config), show::to_json(&config));
    for all in [toml.clone(), json.to_string(), format!("{config:?}")] {
        for hidden in ["n3w", "0ld", "t0ken"] {
            assert!(!all.contains(hidden), "{hidden} in {all}");
        }
    }
    assert!(toml.contains("# secrets = (set, not shown)\n"), "{toml}");
    assert!(toml.contains("rate_limit = \"5/s\"\n"), "{toml}");
    assert_eq!(json["source"][0]["verify_token"], "…");
    let open = good("[[source]]\nid = \"a\"\nverify = \"none\"\n").config;
    assert!(show::to_toml(&open).contains("does not verify the calls"));
}

#[test]
fn faults_of_sources_name_the_key() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("s"), "hush").unwrap();
    let env = Environment {
        credentials_directory: Some(dir.path().into()),
        ..bare()
    };
    let github = "preset = \"github\"\nsecrets = [\"hush\"]\n";
    let of = |lines: &str| format!("[[source]]\nid = \"a\"\n{lines}\n");
    for (text, key, problem) in [
        (of(""), "source[0].preset", "nothing says"),
        (of("preset = \"githup\""), "source[0].preset", "githup"),
        (
            of("preset = \"github\""),
            "source[0].secrets",
            "nothing verifies",
        ),
        (format!("[[source]]\n{github}"), "source[0].id", "missing"),
        (
            format!("[[source]]\nid = \"a b\"\n{github}"),
            "source[0].id",
            "not an id",
        ),
        (
            of(github) + &of(github),
            "source[1].id",
            "is the id of source[0] already",
        ),
        (
            of(&format!("{github}secret_files = [\"s\"]")),
            "source[0].secret_files",
            "both there",
        ),
        (
            of(&format!("{github}split = \"entry\"")),
            "source[0].split",
            "",
        ),
        (
            of(&format!("{github}tpye = \"x\"")),
            "source[0].tpye",
            "unknown",
        ),
        (
            of("preset = \"github\"\nsecret = \"hush\""),
            "source[0].secret",
            "unknown",
        ),
    ] {
        let faults = parse(&text, &env).unwrap_err();
        let fault = faults.list.iter().find(|fault| fault.key == key);
        let fault = fault.unwrap_or_else(|| panic!("{text}: {faults}"));
        assert!(fault.problem.contains(problem), "{text}: {faults}");
        let is_slip = key.ends_with(".secret");
        assert!(
            !is_slip || fault.fix == "did you mean \"secrets\"?",
            "{faults}"
        );
        assert!(!faults.to_string().contains("hush"), "{faults}");
    }
}

/// The environment with these variables, each named without `OUTBOXD_`.
fn with(variables: &[(&str, &str)]) -> Environment {
    let pairs = variables.iter();
    let pairs = pairs.map(|(name, value)| (format!("OUTBOXD_{name}").into(), value.into()));
    Environment {
        system_config: None,
        ..Environment::from_variables(pairs)
    }
}

/// What a file and variables give together.
fn good_with(text: &str, variables: &[(&str, &str)]) -> Config {
    match parse(text, &with(variables)) {
        Ok(loaded) => loaded.config,
        Err(faults) => panic!("{faults}\nwith {variables:?}"),
    }
}

#[test]
fn a_variable_wins_over_the_file_whatever_its_type() {
    let text = "data_dir = \"file\"\n[listen]\nhttp = \"127.0.0.1:1\"\nhosts = [\"file\"]\n\
        [outbox]\nmax_size = \"1GiB\"\nendpoint_share = 0.25\n[delivery]\nthreads = 1\n\
        allow_http = false\n[retry]\nschedule = [\"1s\"]\n[log]\nformat = \"text\"\n";
    let config = good_with(
        text,
        &[
            ("DATA_DIR", "007"),
            ("LISTEN__HTTP", "[::1]:2"),
            ("LISTEN__HOSTS", "a.example, b.example"),
            ("LISTEN__TRUSTED_PROXIES", "[\"10.0.0.0/8\"]"),
            ("OUTBOX__MAX_SIZE", "2GiB"),
            ("OUTBOX__ENDPOINT_SHARE", "1"),
            ("DELIVERY__THREADS", " 4\n"),
            ("DELIVERY__ALLOW_HTTP", "true"),
            ("DELIVERY__USER_AGENT", "true"),
            ("RETRY__FACTOR", "1.5"),
            ("RETRY__SCHEDULE", "5s,5m"),
            ("INGEST__RATE_LIMIT", "50/s"),
            ("LOG__FORMAT", "json"),
            ("LOG__LEVEL", "info,outboxd=debug"),
        ],
    );
    assert_eq!(config.data_dir, Path::new("007"));
    assert_eq!(config.listen.http, Some("[::1]:2".parse().unwrap()));
    assert_eq!(config.listen.hosts, ["a.example", "b.example"]);
    assert_eq!(config.listen.trusted_proxies.len(), 1);
    assert_eq!(config.outbox.max_size, 2 << 30);
    assert_eq!(config.outbox.endpoint_share, 1.0);
    assert_eq!(config.delivery.threads, 4);
    assert!(config.delivery.allow_http);
    assert_eq!(config.delivery.user_agent, "true");
    assert_eq!(config.retry.factor, 1.5);
    assert_eq!(config.retry.schedule.len(), 2);
    assert!(config.ingest.rate_limit.is_some());
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.log.level, "info,outboxd=debug");
}

#[test]
fn a_variable_replaces_what_the_file_has_without_a_look_at_it() {
    let text = "listen.hosts = 5\n[auth]\ntokens = [{ token_file = \"/nowhere/t\" }]\n".to_owned()
        + &endpoint("");
    let listed = r#"[{ id = "other", url = "https://example.com/", retry = { factor = 2.0 } }]"#;
    let config = good_with(
        &text,
        &[
            ("LISTEN__HOSTS", "a.example"),
            ("AUTH__TOKENS", "[]"),
            ("ENDPOINT", listed),
            (
                "SOURCE",
                r#"[{ id = "hub", preset = "github", secrets = ["x"] }]"#,
            ),
        ],
    );
    let [other] = &*config.endpoints else {
        panic!("one endpoint");
    };
    assert_eq!(other.id.as_str(), "other");
    assert_eq!(other.retry.factor, 2.0);
    assert_eq!(config.sources.len(), 1);
    assert!(config.auth.tokens.is_empty());
}

#[test]
fn an_empty_variable_counts_where_an_empty_string_does() {
    let text = "[listen]\nunix = \"/run/o.sock\"\nhosts = [\"a.example\"]\n";
    let empty = [("LISTEN__UNIX", ""), ("LISTEN__HOSTS", "")];
    let config = good_with(text, &empty);
    assert_eq!(config.listen.unix, None);
    assert!(config.listen.hosts.is_empty());
    let env = Environment {
        state_directory: Some("/var/lib/outboxd".into()),
        runtime_directory: Some("/run/outboxd".into()),
        ..with(&[("LISTEN__UNIX", ""), ("DATA_DIR", "env")])
    };
    let config = parse("data_dir = \"file\"", &env).unwrap().config;
    assert_eq!(config.data_dir, Path::new("env"));
    assert_eq!(config.listen.unix, None);
    // No endpoint and no token is what nobody says by accident.
    for name in [
        "ENDPOINT",
        "AUTH__TOKENS",
        "DATA_DIR",
        "DELIVERY__THREADS",
        "OUTBOX__MAX_SIZE",
    ] {
        let faults = parse("", &with(&[(name, "")])).unwrap_err().list;
        let variable = format!("OUTBOXD_{name}");
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert_eq!(faults[0].variable.as_deref(), Some(&*variable));
    }
}

/// Variable, value, key, a part of the problem, a part of the fix.
type VariableCase<'c> = (&'c str, &'c str, &'c str, &'c str, &'c str);

#[test]
fn faults_of_the_environment_name_the_variable() {
    let cases: &[VariableCase<'_>] = &[
        (
            "LISTEN__HTTP",
            "localhost",
            "listen.http",
            "\"localhost\" is not an IP",
            "\"127.0.0.1:7717\"",
        ),
        (
            "LISTEN__HTTP",
            "0.0.0.0:1",
            "listen.http",
            "is not loopback",
            "[auth]",
        ),
        (
            "LISTEN__HTTP",
            "\"127.0.0.1:1\"",
            "listen.http",
            "the quotes are a part",
            "without quotes",
        ),
        (
            "OUTBOX__MAX_SIZE",
            "'1GiB'",
            "outbox.max_size",
            "the quotes are a part",
            "without quotes",
        ),
        (
            "OUTBOX__MAX_SIZE",
            "1",
            "outbox.max_size",
            "needs a unit",
            "after the number",
        ),
        (
            "DELIVERY__ALLOW_HTTP",
            "yes",
            "delivery.allow_http",
            "a boolean, not a string",
            "true or false",
        ),
        (
            "DELIVERY__ALLOW_HTTP",
            "1",
            "delivery.allow_http",
            "a boolean, not an integer",
            "true or false",
        ),
        (
            "DELIVERY__THREADS",
            "4 cores",
            "delivery.threads",
            "a whole number, not a string",
            "digits only",
        ),
        (
            "DELIVERY__THREADS",
            "99",
            "delivery.threads",
            "99 is out of bounds",
            "write 0 to 64",
        ),
        (
            "LISTEN__HOSTS",
            "a.example,,b",
            "listen.hosts[1]",
            "\"\" is not a host",
            "",
        ),
        (
            "LISTEN__HOSTS",
            "[\"a\", 5]",
            "listen.hosts[1]",
            "a string, not an integer",
            "quotes",
        ),
        (
            "LISTEN__HOSTS",
            "[\"a\"",
            "listen.hosts",
            "TOML, at character",
            "close it",
        ),
        (
            "RETRY__JITTER",
            "2",
            "retry.jitter",
            "not from 0 to 1",
            "0.5",
        ),
        (
            "LISTEN__INBOUND_KEY_FILE",
            "/k",
            "listen.inbound_key_file",
            "without inbound_cert_file",
            "TLS",
        ),
        (
            "AUTH__TOKENS",
            "[{ name = \"a\", token_file = \"/dev/null\", scope = \"admin\" }]",
            "auth.tokens[0].token_file",
            "/dev/null is empty",
            "write the token",
        ),
        (
            "ENDPOINT",
            "{ id = \"a\" }",
            "endpoint",
            "a list of tables, not a table",
            "inline tables, [{",
        ),
        (
            "ENDPOINT",
            "[{ id = \"a\", url = \"https://example.com\", secret = \"hunter2\" }]",
            "endpoint[0].secret",
            "",
            "outboxd keygen",
        ),
        (
            "ENDPOINT",
            "[{ id = \"a\", url = \"https://example.com\", secrt = \"hunter2\" }]",
            "endpoint[0].secrt",
            "unknown key",
            "did you mean \"secret\"?",
        ),
        (
            "ENDPOINT",
            "[{ id = \"a\", secret = hunter2 }]",
            "endpoint",
            "TOML, at character",
            "put the value in quotes",
        ),
        (
            "SOURCE",
            "[{ id = \"a\", preset = \"github\", secrets = 5 }]",
            "source[0].secrets",
            "",
            "",
        ),
        (
            "LISTEN_HTTP",
            "hunter2",
            "",
            "names no key",
            "OUTBOXD_LISTEN__HTTP?",
        ),
        (
            "LISTEN",
            "{}",
            "",
            "names no key",
            "of its own, such as OUTBOXD_LISTEN__",
        ),
        (
            "ENDPOINT__0__URL",
            "hunter2",
            "",
            "names no key",
            "set OUTBOXD_ENDPOINT,",
        ),
        ("NO__KEY", "hunter2", "", "names no key", "unset it"),
    ];
    for (name, value, key, problem, fix) in cases {
        let faults = parse("", &with(&[(name, value)])).unwrap_err();
        let [fault] = &*faults.list else {
            panic!("{name}={value}\n{faults}");
        };
        let told = (fault.line, fault.column, fault.variable.as_deref());
        assert_eq!(told, (None, None, Some(&*format!("OUTBOXD_{name}"))));
        assert_eq!(fault.key, *key, "{faults}");
        assert!(fault.problem.contains(problem), "{faults}");
        assert!(fault.fix.contains(fix), "{faults}");
        assert!(!faults.to_string().contains("hunter2"), "{faults}");
    }
}

#[test]
fn faults_of_the_environment_come_after_those_of_the_file() {
    use std::os::unix::ffi::OsStringExt;
    let mut env = with(&[
        ("DELIVERY__THREADS", "-1"),
        ("BOGUS__X", ""),
        (
            "ENDPOINT",
            "[{ id = \"a\", url = \"x\" }, { bogus = 1, id = \"b\" }]",
        ),
    ]);
    env.assignments.push(Assignment {
        name: "OUTBOXD_LOG__LEVEL".to_owned(),
        value: std::ffi::OsString::from_vec(vec![b'a', 0xff]),
    });
    let faults = parse("bogus = 1\n[delivery]\nthreads = -1\ntimeout = 1", &env).unwrap_err();
    let told: Vec<_> = faults
        .list
        .iter()
        .map(|f| (f.line, f.variable.as_deref().unwrap_or_default(), &*f.key))
        .collect();
    assert_eq!(
        told,
        [
            (Some(1), "", "bogus"),
            (Some(4), "", "delivery.timeout"),
            (None, "OUTBOXD_BOGUS__X", ""),
            (None, "OUTBOXD_DELIVERY__THREADS", "delivery.threads"),
            (None, "OUTBOXD_ENDPOINT", "endpoint[0].url"),
            (None, "OUTBOXD_ENDPOINT", "endpoint[1].url"),
            (None, "OUTBOXD_ENDPOINT", "endpoint[1].bogus"),
            (None, "OUTBOXD_LOG__LEVEL", "log.level"),
        ]
    );
    assert_eq!(faults.list[7].problem, "this is not UTF-8");
    let lines = faults.to_string();
    let line = lines.lines().nth(4).unwrap();
    assert!(
        line.starts_with("OUTBOXD_ENDPOINT: endpoint[0].url (endpoint \"a\"): "),
        "{line}"
    );
    // What is no TOML stops the walk, and names are judged all the same.
    let faults = parse("[", &env).unwrap_err();
    assert!(
        faults.to_string().contains("OUTBOXD_BOGUS__X: "),
        "{faults}"
    );
}

/// A value in TOML, on one line.
fn inline(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => format!("{text:?}"),
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Float(number) => format!("{number:?}"),
        toml::Value::Boolean(flag) => flag.to_string(),
        toml::Value::Datetime(moment) => moment.to_string(),
        toml::Value::Array(items) => {
            let items: Vec<String> = items.iter().map(inline).collect();
            format!("[{}]", items.join(", "))
        }
        toml::Value::Table(entries) => {
            let entries = entries.iter();
            let entries: Vec<String> = entries
                .map(|(key, value)| format!("{key} = {}", inline(value)))
                .collect();
            format!("{{ {} }}", entries.join(", "))
        }
    }
}

#[test]
fn every_key_can_be_given_in_the_environment() {
    let text =
        uncommented_example().replace("outboxd/VERSION", &Config::default().delivery.user_agent);
    let table: toml::Table = toml::from_str(&text).unwrap();
    let mut given = Vec::new();
    for (name, value) in &table {
        match value {
            toml::Value::Table(keys) => {
                given.extend(
                    keys.iter()
                        .map(|(key, value)| (format!("{name}.{key}"), value)),
                );
            }
            value => given.push((name.clone(), value)),
        }
    }
    let names: BTreeSet<String> = given.iter().map(|(key, _)| variable_name(key)).collect();
    assert_eq!(names, known_variables());
    for key in known_keys() {
        let is_given = |path: &String| key == *path || key.starts_with(&format!("{path}."));
        let is_table = table.get(&key).is_some_and(toml::Value::is_table);
        let is_given = given.iter().any(|(path, _)| is_given(path));
        assert!(is_given || is_table, "{key} has no variable");
    }
    let pairs = given.iter().map(|(key, value)| {
        let text = value.as_str().map(str::to_owned);
        let text = text.unwrap_or_else(|| inline(value));
        (variable_name(key).into(), text.into())
    });
    let loaded = parse("", &Environment::from_variables(pairs)).unwrap();
    assert_eq!(
        format!("{:?}", loaded.config),
        format!("{:?}", good(&text).config)
    );
    assert_eq!(loaded.variables.len(), names.len());
    // Nor is any of them passed over: no key takes a text with a NUL.
    for name in names {
        let env = with(&[(name.strip_prefix("OUTBOXD_").unwrap(), "[{\0")]);
        let faults = parse("", &env).unwrap_err();
        let is_told = |fault: &Fault| fault.variable.as_ref() == Some(&name);
        assert!(faults.list.iter().any(is_told), "{name}: {faults}");
    }
}

#[test]
fn clients_heed_the_variables_of_their_table_alone() {
    let env = |name, value| with(&[("AUTH__TOKENS", "[{"), ("BOGUS__X", "1"), (name, value)]);
    let listen = load_listen(None, &env("LISTEN__HTTP", "127.0.0.1:9")).unwrap();
    assert_eq!(listen.http, Some("127.0.0.1:9".parse().unwrap()));
    load_listen(None, &env("LISTEN__INBOUND_CERT_FILE", "")).unwrap();
    for (name, value) in [
        ("LISTEN__HTTP", "x"),
        ("LISTEN__HTPP", "127.0.0.1:9"),
        ("LISTEN_HTTP", "127.0.0.1:9"),
    ] {
        let faults = load_listen(None, &env(name, value)).unwrap_err().list;
        assert_eq!(faults.len(), 1, "{faults:?}");
        let variable = format!("OUTBOXD_{name}");
        assert_eq!(faults[0].variable.as_deref(), Some(&*variable));
    }
}

proptest! {
    #[test]
    fn no_text_of_the_environment_panics(
        n in any::<prop::sample::Index>(),
        name in "[A-Za-z0-9_ü]{0,12}",
        value in prop_oneof![
            any::<String>(),
            "[-a-z0-9\"'\\[\\]{}=,.#\n\t ü]{0,24}",
            prop::sample::select(vec![
                "", " ", "\n", ",", "#", "[", "{", "[[]]", "[{}]", "{ a = 1 }", "inf", "1979-05-27",
                "\"", "'", "\"\"", "9223372036854775808", "[\"x\", 1]", "[{ id = \"ü\" }]",
            ]).prop_map(str::to_owned),
        ],
        text in prop::sample::select(vec!["", FULL, "listen = 5", "[listen", "endpoint = [{}]"]),
    ) {
        let known: Vec<String> = known_variables().into_iter().collect();
        let known = n.get(&known);
        for name in [known.strip_prefix("OUTBOXD_").unwrap(), &name] {
            if let Err(faults) = parse(text, &with(&[(name, &value)])) {
                prop_assert_eq!(faults.to_string().lines().count(), faults.list.len());
                for fault in &faults.list {
                    prop_assert!(!fault.problem.is_empty() && !fault.fix.is_empty());
                }
            }
        }
    }

    #[test]
    fn a_string_is_taken_as_it_is(text in "[^\0]{1,40}") {
        let quoted = text.starts_with(['"', '\'']);
        prop_assume!(!quoted && !text.starts_with("whs") && !text.contains("-----BEGIN"));
        let config = good_with("", &[("DATA_DIR", &text)]);
        prop_assert_eq!(config.data_dir, Path::new(&text));
    }

    #[test]
    fn a_secret_of_the_environment_is_never_told(
        cut in any::<prop::sample::Index>(),
        name in prop::sample::select(vec!["ENDPOINT", "SOURCE", "AUTH__TOKENS", "ENDPIONT"]),
    ) {
        let whole = "[{ id = \"a\", preset = \"github\", secret = \"whsec_MfKQ\", \
            secrets = [\"MfKQ\"], token = \"MfKQ\", auth = { type = \"bearer\", token = \"MfKQ\" } }]";
        let torn = &whole[..cut.index(whole.len() + 1)];
        if let Err(faults) = parse("", &with(&[(name, torn)])) {
            prop_assert!(!faults.to_string().contains("MfKQ"), "{}", faults);
        }
    }
}

#[test]
fn all_faults_of_a_source_are_told_at_once() {
    let text = "[[source]]\nid = \"a\"\npreset = \"github\"\nsecrets = [\"x\"]\n\
                rate_limit = \"fast\"\nallow_from = [\"10.0.0.0/99\"]\ntype = \"{{ \"\n";
    let faults = parse(text, &bare()).unwrap_err();
    let keys: Vec<&str> = faults.list.iter().map(|fault| fault.key.as_str()).collect();
    let all = [
        "source[0].rate_limit",
        "source[0].allow_from[0]",
        "source[0].type",
    ];
    for key in all {
        let root = key.trim_end_matches("[0]");
        assert!(
            keys.iter().any(|found| found.starts_with(root)),
            "{key}: {faults}"
        );
    }
    assert_eq!(keys.len(), all.len(), "{faults}");
}

#[test]
fn a_file_that_cannot_be_read_is_the_only_fault_of_its_key() {
    for (lines, expected) in [
        (
            "preset = \"query_token\"\ntoken_file = \"/nowhere/t\"",
            &["source[0].token_file"][..],
        ),
        (
            "preset = \"github\"\nsecret_files = [\"/nowhere/s\"]",
            &["source[0].secret_files[0]"],
        ),
        (
            "preset = \"meta\"\nsecrets = [\"x\"]\nverify_token_file = \"/nowhere/v\"\nrate_limit = \"1\"",
            &["source[0].verify_token_file", "source[0].rate_limit"],
        ),
        // A token does not verify calls that are signed, and a secret is not a public key.
        (
            "preset = \"stripe\"\ntoken_file = \"/nowhere/t\"",
            &["source[0].token_file", "source[0].secrets"],
        ),
        (
            "preset = \"discord\"\nsecret_files = [\"/nowhere/s\"]",
            &["source[0].secret_files[0]", "source[0].public_key"],
        ),
    ] {
        let text = format!("[[source]]\nid = \"a\"\n{lines}\n");
        let faults = parse(&text, &bare()).unwrap_err();
        let mut keys: Vec<&str> = faults.list.iter().map(|fault| fault.key.as_str()).collect();
        let mut expected = expected.to_vec();
        keys.sort_unstable();
        expected.sort_unstable();
        assert_eq!(keys, expected, "{lines}: {faults}");
    }
}
