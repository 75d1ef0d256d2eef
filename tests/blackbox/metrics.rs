//! `/metrics`: which metrics exist, and what changes them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::harness::{Daemon, Home, Receiver, endpoint, wait_for};

const PAGE: &str = include_str!("../../docs/metrics.md");

/// Type and label names of each family, without the label `le` of histograms.
type Families = BTreeMap<String, (String, BTreeSet<String>)>;

fn given(daemon: &Daemon) -> Families {
    let text = daemon.tcp.get("/metrics").text();
    let mut families = Families::new();
    let mut family = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            let before = families.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
            assert!(before.is_none(), "{name} is there twice");
            family = name.to_owned();
        } else if !line.starts_with('#') {
            let (_, labels) = &mut families.get_mut(&family).unwrap();
            let sample = line.strip_prefix(&family).expect("a sample of its family");
            let between = sample
                .split_once('{')
                .and_then(|(_, rest)| rest.split_once('}'));
            let pairs = between.map_or("", |(pairs, _)| pairs).split(',');
            let names = pairs.filter_map(|pair| Some(pair.split_once('=')?.0.to_owned()));
            labels.extend(names.filter(|name| name != "le"));
        }
    }
    families
}

fn described() -> Families {
    let rows = PAGE.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
        let name = cells.next()?.trim_end_matches('`').to_owned();
        let kind = cells.next()?.to_owned();
        let labels = cells.nth(1)?.split('`').skip(1).step_by(2);
        Some((name, (kind, labels.map(str::to_owned).collect())))
    });
    rows.collect()
}

#[test]
fn the_page_describes_exactly_the_metrics_that_exist() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let shipped = home.path("shipped");
    let config = endpoint("all", &receiver.url("/"), "")
        + "[metrics]\nper_endpoint = 5\n"
        + &format!("[backup]\nto = \"file://{}\"\n", shipped.display());
    let daemon = home.start(&config);
    let (mut given, described) = (given(&daemon), described());
    // Without a client certificate this family has no samples.
    let certificates = "outboxd_endpoint_client_cert_not_after_seconds";
    let labels = &mut given.get_mut(certificates).unwrap().1;
    labels.insert("endpoint".to_owned());
    assert_eq!(given, described);
    assert!(given.len() > 50, "{}", given.len());
}

/// Checks that each metric exists and is above 0.
fn has_some(daemon: &Daemon, names: &[&str]) {
    for name in names {
        assert!(daemon.metric(name) > 0.0, "{name}");
    }
}

#[test]
fn a_delivery_counts_in_each_of_the_histograms() {
    let receiver = Receiver::statuses(&[500, 200]);
    let home = Home::new();
    let url = receiver.url("/").replace("127.0.0.1", "localhost");
    let daemon = home.start(&endpoint("one", &url, ""));
    let event = daemon.send("a", "1");
    daemon.wait_status(&event, "one", "delivered");
    let counted = |name: &str| daemon.metric(name);
    assert_eq!(counted("outboxd_delivery_latency_seconds_count"), 1.0);
    assert_eq!(counted("outboxd_queue_wait_seconds_count"), 2.0);
    for result in ["delivered", "failed"] {
        let name = format!("outboxd_attempt_duration_seconds_count{{result=\"{result}\"}}");
        assert_eq!(counted(&name), 1.0, "{name}");
    }
    let phase = |phase: &str, what: &str| {
        counted(&format!(
            "outboxd_attempt_phase_seconds_{what}{{phase=\"{phase}\"}}"
        ))
    };
    assert!(phase("dns", "count") >= 1.0 && phase("connect", "count") >= 1.0);
    assert_eq!(
        (phase("first_byte", "count") >= 2.0, phase("tls", "count")),
        (true, 0.0)
    );
    // The duration of an attempt includes its phases.
    let took = counted("outboxd_attempt_duration_seconds_sum{result=\"delivered\"}")
        + counted("outboxd_attempt_duration_seconds_sum{result=\"failed\"}");
    let phases = ["dns", "connect", "first_byte"].map(|name| phase(name, "sum"));
    assert!(phases.iter().sum::<f64>() <= took, "{phases:?} in {took}");
    assert!(phases[2] > 0.0);
    has_some(
        &daemon,
        &[
            "outboxd_commit_duration_seconds_sum",
            "outboxd_commit_records_sum",
        ],
    );
    assert_eq!(counted("outboxd_commit_events_sum"), 1.0);
    // The retry came 50 ms later, and the delivery took as long.
    assert!(counted("outboxd_delivery_latency_seconds_sum") >= 0.025);
}

#[test]
fn the_time_until_a_later_due_time_does_not_count_as_latency() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start(&endpoint("one", &receiver.url("/"), ""));
    let later = SystemTime::now() + Duration::from_secs(2);
    let later = later.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let later = jiff::Timestamp::from_millisecond(later.as_millis() as i64).unwrap();
    let event = daemon.send_with("a", "1", &format!("\"deliver_at\":\"{later}\""));
    daemon.wait_status(&event, "one", "delivered");
    for name in [
        "outboxd_delivery_latency_seconds",
        "outboxd_queue_wait_seconds",
    ] {
        assert_eq!(daemon.metric(&format!("{name}_count")), 1.0);
        let waited = daemon.metric(&format!("{name}_sum"));
        assert!(waited < 1.5, "{name}: {waited} s");
    }
}

#[test]
fn a_batch_is_one_group_of_events() {
    let home = Home::new();
    let daemon = home.start("");
    let json = [("content-type", "application/x-ndjson")];
    let batch = "{\"type\":\"a\",\"data\":1}\n".repeat(40);
    let answer = daemon
        .tcp
        .request("POST", "/v1/events", &json, batch.as_bytes());
    answer.expect(202);
    assert_eq!(daemon.metric("outboxd_commit_events_count"), 1.0);
    assert_eq!(daemon.metric("outboxd_commit_events_sum"), 40.0);
    assert!(daemon.metric("outboxd_commit_records_sum") >= 40.0);
    assert_eq!(
        daemon.metric("outboxd_commit_events_bucket{le=\"32\"}"),
        0.0
    );
    assert_eq!(
        daemon.metric("outboxd_commit_events_bucket{le=\"64\"}"),
        1.0
    );
}

#[test]
fn connections_are_counted_while_they_are_open() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start(&endpoint("one", &receiver.url("/"), ""));
    // Each request for metrics opens a connection of its own.
    let http = "outboxd_connections_open{listener=\"http\"}";
    let is = |count: f64| {
        wait_for(
            || (daemon.metric(http) == count).then_some(()),
            || format!("{} connections, not {count}", daemon.metric(http)),
        );
    };
    is(1.0);
    let two = [daemon.tcp.connect().unwrap(), daemon.tcp.connect().unwrap()];
    is(3.0);
    drop(two);
    is(1.0);
    let unix = "outboxd_connections_open{listener=\"unix\"}";
    assert_eq!(daemon.metric(unix), 0.0);
    let kept = "outboxd_outgoing_connections_kept";
    assert_eq!(daemon.metric(kept), 0.0);
    let event = daemon.send("a", "1");
    daemon.wait_status(&event, "one", "delivered");
    wait_for(
        || (daemon.metric(kept) == 1.0).then_some(()),
        || format!("{} connections are kept", daemon.metric(kept)),
    );
}

#[test]
fn the_worst_endpoints_have_series_of_their_own() {
    let receiver = Receiver::answering(|seen| {
        crate::harness::Answer::status(if seen.path == "/sick" { 500 } else { 200 })
    });
    let home = Home::new();
    let of = |id: &str| endpoint(id, &receiver.url(&format!("/{id}")), "");
    let config = [of("well"), of("sick"), of("fine")].concat();
    let daemon = home.start(&(config + "[metrics]\nper_endpoint = 2\n"));
    let event = daemon.send("a", "1");
    daemon.wait_status(&event, "well", "delivered");
    daemon.wait_status(&event, "fine", "delivered");
    let of = |name: &str, id: &str| format!("outboxd_endpoint_{name}{{endpoint=\"{id}\"}}");
    wait_for(
        || (daemon.metric(&of("breaker_open", "sick")) == 1.0).then_some(()),
        || "the breaker does not open".to_owned(),
    );
    assert_eq!(daemon.metric(&of("pending", "sick")), 1.0);
    assert!(daemon.metric(&of("oldest_pending_seconds", "sick")) > 0.0);
    let attempts = |id: &str, result: &str| {
        daemon.metric(&format!(
            "outboxd_endpoint_attempts_total{{endpoint=\"{id}\",result=\"{result}\"}}"
        ))
    };
    assert!(attempts("sick", "failed") >= 5.0);
    // One place is left for a healthy endpoint.
    assert_eq!(attempts("well", "delivered"), 1.0);
    let text = daemon.tcp.get("/metrics").text();
    assert!(!text.contains("\"fine\""), "{text}");

    let disabled = daemon.tcp.post("/v1/endpoints/fine/disable");
    assert_eq!(disabled.status, 204);
    let held = daemon.send("a", "2");
    daemon.wait_status(&held, "fine", "held");
    wait_for(
        || {
            let text = daemon.tcp.get("/metrics").text();
            text.contains(&(of("held", "fine") + " 1")).then_some(())
        },
        || daemon.tcp.get("/metrics").text(),
    );
    assert_eq!(daemon.metric(&of("disabled", "fine")), 1.0);
}

#[test]
#[ignore = "tests/promtool.sh runs this test and sets PROMTOOL"]
fn promtool_finds_no_fault_in_the_metrics() {
    let promtool = std::env::var_os("PROMTOOL").expect("PROMTOOL names promtool");
    let receiver = Receiver::ok();
    let home = Home::new();
    let config = endpoint("one", &receiver.url("/"), "") + "[metrics]\nper_endpoint = 5\n";
    let daemon = home.start(&config);
    let event = daemon.send("a", "1");
    daemon.wait_status(&event, "one", "delivered");
    let metrics = daemon.tcp.get("/metrics");
    // Prometheus selects its parser by the content type.
    let kind = metrics.header("content-type");
    assert_eq!(kind, Some("text/plain; version=0.0.4; charset=utf-8"));
    let mut checking = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs");
    let mut input = checking.stdin.take().unwrap();
    input.write_all(&metrics.body).unwrap();
    drop(input);
    let said = checking.wait_with_output().unwrap();
    let texts = [said.stdout, said.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(
        said.status.success() && texts.concat().is_empty(),
        "{texts:?}"
    );
}

#[test]
#[ignore = "tests/promtool.sh runs this test and sets PROMTOOL"]
fn promtool_reads_every_query_of_the_dashboard() {
    let promtool = std::env::var_os("PROMTOOL").expect("PROMTOOL names promtool");
    let dashboard = include_str!("../../contrib/grafana/outboxd.json");
    let dashboard: Value = serde_json::from_str(dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array());
    let notes = dashboard["annotations"]["list"].as_array().unwrap();
    let queries = targets.flatten().chain(notes).map(|one| &one["expr"]);
    // Each query is a rule of its own, with the interval that Grafana would insert.
    let rules = queries.enumerate().map(|(n, query)| {
        let query = query.as_str().unwrap().replace("$__rate_interval", "5m");
        serde_json::json!({"record": format!("query:{n}"), "expr": query})
    });
    let rules: Vec<Value> = rules.collect();
    assert!(rules.len() > 30, "{}", rules.len());
    let home = Home::new();
    let file = home.path("queries.json");
    let groups = serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]});
    // JSON is YAML.
    std::fs::write(&file, groups.to_string()).unwrap();
    let checked = Command::new(promtool)
        .args(["check", "rules"])
        .arg(&file)
        .output()
        .expect("promtool runs");
    let texts =
        [checked.stdout, checked.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(checked.status.success(), "{texts:?}");
}

#[test]
fn no_endpoint_has_series_by_default() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start(&endpoint("one", &receiver.url("/"), ""));
    let event = daemon.send("a", "1");
    daemon.wait_status(&event, "one", "delivered");
    let text = daemon.tcp.get("/metrics").text();
    assert!(!text.contains("endpoint=\"one\""), "{text}");
}
