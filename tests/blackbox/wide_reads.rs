//! Reads over thousands of endpoints: they are made in pieces, so that nothing waits long for
//! them, and what one answer carries is bounded.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use serde_json::{Value, json};

use crate::harness::{Answer, Daemon, Home, Receiver, endpoint};

const ENDPOINTS: usize = 3000;
const EVENTS: usize = 3;
/// What the daemon promises of one hold, and a few rows for the last step of one.
const ROWS_HELD: f64 = 1000.0 + 64.0;

/// Endpoints that hold what they get.
fn make_endpoints(daemon: &Daemon) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some(n) = Some(next.fetch_add(1, Relaxed)).filter(|n| *n < ENDPOINTS) {
                    let endpoint = json!({
                        "url": "https://192.0.2.1/", "types": ["wide"], "enabled": false,
                        "description": n.to_string(),
                    });
                    let made = daemon.tcp.post_json("/v1/endpoints", endpoint.to_string());
                    made.expect(201);
                }
            });
        }
    });
}

fn metric(daemon: &Daemon, name: &str) -> f64 {
    let text = daemon.tcp.get("/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.unwrap_or_else(|| panic!("no {name} in {text}"));
    value.trim().parse().expect("a number")
}

/// All items of a list.
fn walked(daemon: &Daemon, path: &str) -> Vec<Value> {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = daemon.tcp.get(&format!("{path}{cursor}")).expect(200);
        items.extend(page["data"].as_array().expect("a list").iter().cloned());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return items,
        }
    }
}

/// Every way to read what belongs to thousands of endpoints.
fn read_everything(daemon: &Daemon, ids: &[String]) {
    for path in [
        "/v1/deliveries?status=held&limit=1000",
        "/v1/deliveries?limit=1000",
    ] {
        let items = walked(daemon, path);
        let names = items.iter().map(|item| (&item["event"], &item["endpoint"]));
        let distinct: HashSet<String> = names.map(|name| format!("{name:?}")).collect();
        assert_eq!(distinct.len(), ENDPOINTS * EVENTS, "{path}");
        assert_eq!(items.len(), ENDPOINTS * EVENTS, "{path}: nothing twice");
    }
    assert_eq!(
        walked(daemon, "/v1/deliveries?status=dead&limit=10"),
        [json!(null); 0]
    );
    let events = walked(daemon, "/v1/events?type=wide&limit=1000");
    assert_eq!(events.len(), EVENTS);
    for event in &events {
        assert_eq!(event["delivery_counts"]["held"], ENDPOINTS);
    }
    let event = daemon
        .tcp
        .get(&format!("/v1/events/{}", ids[0]))
        .expect(200);
    assert_eq!(event["deliveries"].as_array().unwrap().len(), ENDPOINTS);
    let endpoints = walked(daemon, "/v1/endpoints?limit=1000");
    assert_eq!(endpoints.len(), ENDPOINTS);
    let held = daemon.status()["backlog"]["held"].clone();
    assert_eq!(held, ENDPOINTS * EVENTS);
    let purge = json!({"dry_run": true}).to_string();
    let last = endpoints[ENDPOINTS - 1]["id"].as_str().unwrap();
    let counted = daemon
        .tcp
        .post_json(&format!("/v1/endpoints/{last}/purge"), purge);
    assert_eq!(counted.expect(200)["matched"], EVENTS);
}

#[test]
fn reads_over_thousands_of_endpoints_are_made_in_pieces() {
    let home = Home::new();
    let daemon = home.start("");
    make_endpoints(&daemon);
    let ids: Vec<String> = (0..EVENTS).map(|_| daemon.send("wide", "1")).collect();
    let done = AtomicBool::new(false);
    let committed = std::thread::scope(|scope| {
        let committing = scope.spawn(|| {
            let mut committed = 0;
            while !done.load(Relaxed) {
                daemon.send("other", "1");
                committed += 1;
            }
            committed
        });
        read_everything(&daemon, &ids);
        done.store(true, Relaxed);
        committing.join().unwrap()
    });
    assert!(committed > 0, "events are accepted meanwhile");
    let rows = metric(&daemon, "outboxd_index_read_hold_rows_max");
    assert!(rows <= ROWS_HELD, "{rows} rows under one hold");
    assert!(rows > 500.0, "they are counted: {rows}");
    let pieces = metric(&daemon, "outboxd_index_read_holds_total");
    let least = (ENDPOINTS * EVENTS) as f64 * 4.0 / ROWS_HELD;
    assert!(pieces > least, "{pieces}");
    assert!(metric(&daemon, "outboxd_index_read_hold_seconds_max") > 0.0);
}

#[test]
fn an_event_with_megabytes_of_attempts_is_shown_without_the_last_of_them() {
    let body = "x".repeat(1 << 20);
    let receiver = Receiver::answering(move |_| Answer::reply(500, &[], &body));
    let ids = ["a", "b", "c", "d"];
    let tables = "[outbox]\nsegment_size = \"16MiB\"\n[retry]\nschedule = [\"10ms\", \"10ms\"]\n\
                  [delivery]\nallow_networks = [\"127.0.0.0/8\"]\nresponse_body_limit = \"1MiB\"\n";
    let endpoints = ids.map(|id| endpoint(id, &receiver.url("/"), ""));
    let home = Home::new();
    let daemon = home.start(&(tables.to_owned() + &endpoints.concat()));
    let id = daemon.send("t", "1");
    for endpoint in ids {
        daemon.wait_status(&id, endpoint, "dead");
    }
    let shown = daemon.tcp.get(&format!("/v1/events/{id}")).expect(200);
    let deliveries = shown["deliveries"].as_array().unwrap();
    assert_eq!(deliveries.len(), 4);
    for delivery in &deliveries[..3] {
        assert_eq!(delivery["attempts"].as_array().unwrap().len(), 3);
        assert_eq!(delivery.get("attempts_omitted"), None);
    }
    let last = &deliveries[3];
    assert_eq!(last["attempts"], json!([]));
    assert_eq!(last["attempts_omitted"], true);
    assert_eq!(last["attempt_count"], 3);
    // Alone it is shown whole.
    let alone = daemon.delivery(&id, last["endpoint"].as_str().unwrap());
    assert_eq!(alone["attempts"].as_array().unwrap().len(), 3);
    assert_eq!(alone.get("attempts_omitted"), None);
}

/// A page looks at 20,000 rows at most. What an endpoint holds altogether is none of them when
/// pending deliveries are asked for.
#[test]
fn pending_deliveries_are_not_sought_among_those_that_an_endpoint_holds() {
    let home = Home::new();
    let off = endpoint(
        "off",
        "http://127.0.0.1:9/",
        "enabled = false\ntypes = [\"held.*\"]",
    );
    let dead = endpoint("dead", "http://127.0.0.1:9/", "types = [\"dead.*\"]");
    let daemon = home.start(&format!("[retry]\nfirst = \"1h\"\n{off}{dead}"));
    let pending = daemon.send("dead.letter", "1");
    let lines = "{\"type\":\"held.event\",\"data\":1}\n".repeat(1000);
    let headers = [("content-type", "application/x-ndjson")];
    for _ in 0..21 {
        let lines = lines.as_bytes();
        let handed = daemon.tcp.request("POST", "/v1/events", &headers, lines);
        handed.expect(202);
    }
    let page = daemon.tcp.get("/v1/deliveries?status=pending").expect(200);
    assert_eq!(page["data"][0]["event"], pending.as_str(), "{page}");
    assert_eq!(page["next"], Value::Null);
    let page = daemon
        .tcp
        .get("/v1/deliveries?status=held&limit=2")
        .expect(200);
    assert_eq!(page["data"].as_array().unwrap().len(), 2);
}
