//! The configuration as a whole: what is read, what is refused, and how that is said.

mod backup;
mod defaults;
mod endpoints;
mod environment;
mod faults;
mod global_tables;
mod hostile;
mod listeners;
mod named_files;
mod otlp;
mod shown;
mod sources;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::load::{known_keys, known_variables};
use super::variables::variable_name;
use super::*;
use crate::domain::endpoint::{Ordering, Source};
use crate::domain::shaping::KEYS;

const EXAMPLE: &str = include_str!("../../../config.example.toml");
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
ui = true                       # /ui/ on `http` and `unix`
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
[otlp]
endpoint = ""
headers = {}
timeout = "10s"
sample_ratio = 1.0
[metrics]
per_endpoint = 0
[portal]
name = ""
logo_file = ""
accent = ""
frame_ancestors = []
refresh_url = ""
[backup]
to = ""
interval = "1s"
retain = "7d"
key_file = ""
endpoint = ""
region = ""
credentials_file = ""
"#;

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
ui = false
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
