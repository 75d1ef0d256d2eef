//! Replay and purge through the API and the commands: what is chosen, counted, paced and
//! gone on with after a crash.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Answer, Daemon, Home, Receiver, endpoint, next_millisecond, wait_for};

/// One attempt and no more.
const ONCE: &str = "[retry]\ngive_up_after = \"0s\"\nfirst = \"1ms\"\nmax = \"1ms\"\n";

fn changeable(status: u16) -> (Receiver, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(status));
    let now = status.clone();
    let receiver = Receiver::answering(move |_| Answer::status(now.load(Ordering::Acquire)));
    (receiver, status)
}

#[track_caller]
fn asked(daemon: &Daemon, endpoint: &str, action: &str, body: &Value, status: u16) -> u64 {
    let path = format!("/v1/endpoints/{endpoint}/{action}");
    let answer = daemon.tcp.post_json(&path, body.to_string()).expect(status);
    let is_dry = body["dry_run"] == true;
    assert_eq!(answer.get("job").is_none(), is_dry, "{answer}");
    answer["matched"].as_u64().unwrap()
}

/// Sends `count` events of a type in one request and gives their ids.
fn send_many(daemon: &Daemon, kind: &str, count: usize) -> Vec<String> {
    let lines = format!("{{\"type\":\"{kind}\",\"data\":1}}\n").repeat(count);
    let ndjson = [("content-type", "application/x-ndjson")];
    let answer = daemon
        .tcp
        .request("POST", "/v1/events", &ndjson, lines.as_bytes());
    let answer = answer.expect(202);
    let events = answer["events"].as_array().unwrap().iter();
    events
        .map(|one| one["id"].as_str().unwrap().to_owned())
        .collect()
}

#[track_caller]
fn wait_backlog(daemon: &Daemon, endpoint: &str, name: &str, count: u64) {
    let so = || (daemon.endpoint(endpoint)["backlog"][name] == count).then_some(());
    wait_for(so, || {
        format!("{name} never is {count}: {:#}", daemon.endpoint(endpoint))
    });
}

#[test]
fn what_is_dead_is_replayed_by_type_and_time() {
    let (receiver, status) = changeable(500);
    let home = Home::new();
    let daemon = home.start(&(ONCE.to_owned() + &endpoint("one", &receiver.url("/"), "")));
    let first = send_many(&daemon, "a.x", 3);
    wait_backlog(&daemon, "one", "dead", 3);
    next_millisecond();
    let second = send_many(&daemon, "b", 4);
    wait_backlog(&daemon, "one", "dead", 7);
    let shown = daemon
        .tcp
        .get(&format!("/v1/events/{}", second[0]))
        .expect(200);
    let between = &shown["accepted_at"];
    let dry = |filter: Value| {
        let mut body = filter;
        body["dry_run"] = true.into();
        asked(&daemon, "one", "replay", &body, 200)
    };
    assert_eq!(dry(json!({})), 7);
    assert_eq!(dry(json!({"types": ["a.*"]})), 3);
    assert_eq!(dry(json!({"types": ["a.x", "b"]})), 7);
    assert_eq!(dry(json!({"since": between})), 4);
    assert_eq!(dry(json!({"until": between})), 3);
    assert_eq!(dry(json!({"until": between, "types": ["b"]})), 0);
    assert_eq!(dry(json!({"status": "delivered"})), 0);
    // Counting changes nothing.
    assert_eq!(daemon.endpoint("one")["backlog"]["dead"], 7);
    assert_eq!(receiver.seen().len(), 7);
    status.store(200, Ordering::Release);
    assert_eq!(
        asked(&daemon, "one", "replay", &json!({"until": between}), 202),
        3
    );
    for event in &first {
        let delivery = daemon.wait_status(event, "one", "delivered");
        assert_eq!(delivery["attempt_count"], 2);
    }
    assert_eq!(daemon.endpoint("one")["backlog"]["dead"], 4);
    assert_eq!(dry(json!({"status": "delivered"})), 3);
    assert_eq!(
        asked(
            &daemon,
            "one",
            "replay",
            &json!({"status": "delivered", "types": ["a.*"]}),
            202
        ),
        3
    );
    receiver.wait(13);
    assert_eq!(asked(&daemon, "one", "replay", &json!({}), 202), 4);
    for event in &second {
        daemon.wait_status(event, "one", "delivered");
    }
    let body = daemon.tcp.post("/v1/endpoints/one/replay").expect(202);
    assert_eq!(body, json!({"matched": 0, "job": null}));
}

#[test]
fn a_replay_is_paced_and_goes_on_after_a_kill() {
    let (receiver, status) = changeable(500);
    let home = Home::new();
    let config = ONCE.to_owned() + &endpoint("one", &receiver.url("/"), "");
    let daemon = home.start(&config);
    send_many(&daemon, "a", 60);
    wait_backlog(&daemon, "one", "dead", 60);
    status.store(200, Ordering::Release);
    let start = Instant::now();
    assert_eq!(
        asked(&daemon, "one", "replay", &json!({"rate": "20/s"}), 202),
        60
    );
    receiver.wait(65);
    daemon.kill();
    let daemon = home.start(&config);
    wait_backlog(&daemon, "one", "dead", 0);
    wait_backlog(&daemon, "one", "pending", 0);
    let seen = receiver.seen();
    // 60 at 20 a second, less the first burst.
    assert!(
        start.elapsed() >= Duration::from_millis(2500),
        "{:?}",
        start.elapsed()
    );
    let again: std::collections::HashSet<_> = seen
        .iter()
        .skip(60)
        .map(|one| one.id().to_owned())
        .collect();
    assert_eq!(again.len(), 60);
}

#[test]
fn purge_gives_up_what_is_open_and_forgets_what_is_dead() {
    let (receiver, _) = changeable(500);
    let home = Home::new();
    let config = ONCE.to_owned()
        + &endpoint("one", &receiver.url("/"), "types = [\"a\", \"later\"]")
        + &endpoint(
            "off",
            &receiver.url("/"),
            "enabled = false\ntypes = [\"b\"]",
        );
    let daemon = home.start(&config);
    let dead = daemon.send("a", "1");
    daemon.wait_status(&dead, "one", "dead");
    let later = daemon.send_with("later", "1", "\"deliver_at\":\"2090-01-01T00:00:00Z\"");
    let held = daemon.send("b", "1");
    assert_eq!(
        asked(&daemon, "one", "purge", &json!({"dry_run": true}), 200),
        2
    );
    assert_eq!(
        asked(&daemon, "one", "purge", &json!({"status": "pending"}), 202),
        1
    );
    let cancelled = daemon.wait_status(&later, "one", "dead");
    assert_eq!(cancelled["reason"], "cancelled");
    assert_eq!(
        asked(&daemon, "off", "purge", &json!({"status": "held"}), 202),
        1
    );
    assert_eq!(
        daemon.wait_status(&held, "off", "dead")["reason"],
        "cancelled"
    );
    assert_eq!(
        asked(&daemon, "one", "purge", &json!({"types": ["a"]}), 202),
        1
    );
    let path = format!("/v1/events/{dead}/deliveries/one");
    let gone = || (daemon.tcp.get(&path).status == 404).then_some(());
    wait_for(gone, || "the dead delivery stays".to_owned());
    let left = daemon
        .tcp
        .get("/v1/deliveries?status=dead&endpoint=one")
        .expect(200);
    assert_eq!(left["data"].as_array().unwrap().len(), 1);
    let explained = daemon.tcp.get(&format!("{path}/explain")).expect(200);
    assert_eq!(explained["answer"], "not_matched_then", "{explained:#}");
    daemon.kill();
    let daemon = home.start(&config);
    assert_eq!(daemon.tcp.get(&path).status, 404);
    assert_eq!(receiver.seen().len(), 1);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let home = Home::new();
    let daemon = home.start(&endpoint("one", "http://127.0.0.1:1/", "enabled = false"));
    for (action, body, named) in [
        ("replay", json!({"status": "held"}), "`status`"),
        ("replay", json!({"status": "pending"}), "by itself"),
        ("replay", json!({"staus": "dead"}), "did you mean `status`?"),
        ("replay", json!({"rate": "0/s"}), "`rate`"),
        ("replay", json!({"since": "1h"}), "`since`"),
        ("purge", json!({"status": "delivered"}), "`status`"),
        ("purge", json!({"rate": "1/s"}), "`rate`"),
        ("purge", json!({"types": "a"}), "`types`"),
    ] {
        let path = format!("/v1/endpoints/one/{action}");
        let detail = daemon.tcp.post_json(&path, body.to_string()).problem(400);
        assert!(detail.contains(named), "{action} {body}: {detail}");
    }
    for action in ["replay", "purge"] {
        daemon
            .tcp
            .post(&format!("/v1/endpoints/none/{action}"))
            .problem(404);
        daemon
            .tcp
            .get(&format!("/v1/endpoints/one/{action}"))
            .problem(405);
    }
}

#[test]
fn commands_count_first_and_then_do_it() {
    let (receiver, status) = changeable(500);
    let home = Home::new();
    let config = ONCE.to_owned()
        + &endpoint("one", &receiver.url("/one"), "")
        + &endpoint("two", &receiver.url("/two"), "types = [\"b\"]")
        + &endpoint("acme", &receiver.url("/acme"), "tenant = \"acme\"");
    let daemon = home.start(&config);
    let (a, b) = (daemon.send("a", "1"), daemon.send("b", "1"));
    let acme = daemon.send_with("a", "1", "\"tenant\": \"acme\"");
    for (event, endpoint) in [(&a, "one"), (&b, "one"), (&b, "two"), (&acme, "acme")] {
        daemon.wait_status(event, endpoint, "dead");
    }
    let url = daemon.url();
    let run = |words: &[&str]| home.run(&[words, &["--url", &url]].concat());
    let count = |words: &[&str]| {
        let ran = run(&[&["replay", "--dry-run", "--json"], words].concat());
        ran.json()["matched"].as_u64().unwrap()
    };
    assert_eq!(count(&["--endpoint", "one"]), 2);
    assert_eq!(count(&["--endpoint", "one", "--type", "a"]), 1);
    assert_eq!(count(&["--endpoint", "one", "--endpoint", "two"]), 3);
    assert_eq!(count(&["--endpoint", "one", "--until", "1h"]), 0);
    assert_eq!(count(&["--endpoint", "one", "--since", "1h"]), 2);
    assert_eq!(count(&["--all"]), 4);
    assert_eq!(count(&["--all", "--tenant", "acme"]), 1);
    assert_eq!(count(&["--all", "--status", "delivered"]), 0);
    let told = run(&["replay", "--all", "--dry-run"]);
    assert!(
        told.stdout.ends_with("4 deliveries would be replayed\n"),
        "{told:?}"
    );
    assert_eq!(receiver.seen().len(), 4);
    status.store(200, Ordering::Release);
    let told = run(&[
        "replay",
        "--endpoint",
        "one",
        "--type",
        "b",
        "--rate",
        "50/s",
    ]);
    assert_eq!(told.code, Some(0));
    let said = told.stdout.as_str();
    assert!(
        said.starts_with("one  1 delivery to be replayed by job_"),
        "{said}"
    );
    daemon.wait_status(&b, "one", "delivered");
    assert_eq!(
        run(&["endpoints", "purge", "two", "--dry-run", "--json"]).json(),
        json!({"id": "two", "matched": 1, "dry_run": true, "job": null})
    );
    let purged = run(&["endpoints", "purge", "two", "--status", "dead"]);
    assert_eq!(
        (purged.code, purged.stdout.as_str()),
        (Some(0), "two  1 delivery to go\n")
    );
    wait_backlog(&daemon, "two", "dead", 0);
    let none = run(&["replay", "--endpoint", "none"]);
    assert_eq!(none.code, Some(1));
    assert!(none.stderr.contains("no such endpoint"), "{none:?}");
    let bad = run(&["replay", "--endpoint", "one", "--rate", "fast"]);
    assert_eq!(bad.code, Some(1));
    assert!(bad.stderr.contains("`rate`"), "{bad:?}");
}
