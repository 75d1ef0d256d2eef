//! A machine whose clock was once ahead: what is accepted afterwards has the true time.
//!
//! `libfaketime` gives the daemon its clock. Skipped, aloud, where it is not installed.

use std::path::Path;

use serde_json::Value;

use crate::harness::{Daemon, Home, Receiver, endpoint, wait_for};

/// Where Debian, Fedora and others put it.
const LIBRARIES: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

/// Gives what runs here another wall clock, which `variable` of libfaketime sets. Whether that
/// can be done.
fn fake_clock(home: &mut Home, variable: &str, value: String) -> bool {
    let Some(library) = LIBRARIES.iter().find(|path| Path::new(path).exists()) else {
        eprintln!("SKIPPED: libfaketime is not installed");
        return false;
    };
    home.set_env("LD_PRELOAD", *library);
    home.set_env(variable, value);
    home.set_env("DONT_FAKE_MONOTONIC", "1");
    home.set_env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    home.set_env("TZ", "UTC");
    true
}

fn true_clock(home: &mut Home) {
    home.set_env("LD_PRELOAD", "");
}

/// `accepted_at` of an event.
fn accepted_at(daemon: &Daemon, id: &str) -> String {
    let event = daemon.tcp.get(&format!("/v1/events/{id}")).expect(200);
    event["accepted_at"].as_str().unwrap().to_owned()
}

fn keyed(daemon: &Daemon) -> Value {
    let body = r#"{"type": "a.keyed", "data": 1, "idempotency_key": "k"}"#;
    daemon.tcp.post_json("/v1/events", body).expect(202)
}

/// The ids that a list gives for these query parameters.
fn listed(daemon: &Daemon, query: &str) -> Vec<String> {
    let list = daemon.tcp.get(&format!("/v1/events?{query}")).expect(200);
    let ids = list["data"].as_array().unwrap().iter();
    ids.map(|event| event["id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn after_a_clock_that_was_ahead_new_events_have_the_true_time() {
    let receiver = Receiver::ok();
    let mut home = Home::new();
    let config = endpoint("ok", &receiver.url("/"), "")
        + "[ingest]\nidempotency_window = \"1s\"\n[retention]\ndelivered = \"3s\"\n";
    if !fake_clock(&mut home, "FAKETIME", "@2036-01-01 00:00:00".into()) {
        return;
    }
    let daemon = home.start(&config);
    let ahead = daemon.send("a.ahead", "1");
    if !accepted_at(&daemon, &ahead).starts_with("2036-01-01T") {
        eprintln!("SKIPPED: libfaketime does not work here");
        return;
    }
    daemon.wait_status(&ahead, "ok", "delivered");
    assert_eq!(daemon.stop().code(), Some(0));

    true_clock(&mut home);
    let daemon = home.start(&config);
    daemon.wait_log("clock is far behind the newest event id");
    let first = keyed(&daemon);
    let id = first["id"].as_str().unwrap().to_owned();
    assert!(id > ahead, "{id} does not come after {ahead}");
    // What is shown is the true time, in the answer, the event and the list.
    let at = first["accepted_at"].as_str().unwrap().to_owned();
    assert!(at.as_str() < "2035", "{at}");
    assert_eq!(accepted_at(&daemon, &id), at);
    // Filters compare it; lists stay in the order of ids.
    assert_eq!(
        listed(&daemon, "until=2035-01-01T00:00:00Z"),
        *std::slice::from_ref(&id)
    );
    assert_eq!(
        listed(&daemon, &format!("since={at}")),
        [id.clone(), ahead.clone()]
    );
    assert_eq!(
        listed(&daemon, "since=2035-01-01T00:00:00Z"),
        *std::slice::from_ref(&ahead)
    );
    daemon.wait_status(&id, "ok", "delivered");
    let replay = r#"{"status": "delivered", "until": "2035-01-01T00:00:00Z", "dry_run": true}"#;
    let matched = daemon
        .tcp
        .post_json("/v1/endpoints/ok/replay", replay)
        .expect(200);
    assert_eq!(matched["matched"], 1);
    // The key is forgotten after its window, and the event after its retention.
    let again = wait_for(
        || Some(keyed(&daemon)).filter(|again| again["duplicate"] == false),
        || "the idempotency key is never forgotten".into(),
    );
    assert!(again["id"].as_str().unwrap() > id.as_str());
    wait_for(
        || (daemon.tcp.get(&format!("/v1/events/{id}")).status == 404).then_some(()),
        || format!("{id} is kept: {}", daemon.log_text()),
    );
    assert_eq!(daemon.stop().code(), Some(0));
    // The log alone says the same.
    let latest = again["id"].as_str().unwrap();
    std::fs::remove_dir_all(home.data_dir().join("index")).unwrap();
    let daemon = home.start(&config);
    let next = daemon.send("a.next", "2");
    assert!(next.as_str() > latest);
    assert!(accepted_at(&daemon, &next).as_str() < "2035");
}

#[test]
fn a_jump_of_the_clock_is_logged() {
    let mut home = Home::new();
    // The file is read again for every question.
    let file = home.path("faketime");
    std::fs::write(&file, "+0").unwrap();
    let path = file.display().to_string();
    if !fake_clock(&mut home, "FAKETIME_TIMESTAMP_FILE", path) {
        return;
    }
    home.set_env("FAKETIME_NO_CACHE", "1");
    let daemon = home.start("");
    let before = daemon.send("a.before", "1");
    std::fs::write(&file, "+100d").unwrap();
    let jumped = daemon.wait_log("clock jumped ahead");
    let seconds = jumped["seconds"].as_u64().unwrap();
    assert!((8_000_000..9_000_000).contains(&seconds), "{jumped}");
    let ahead = daemon.send("a.ahead", "2");
    std::fs::write(&file, "+0").unwrap();
    daemon.wait_log("clock jumped back");
    let after = daemon.send("a.after", "3");
    assert!(before < ahead && ahead < after);
    assert!(accepted_at(&daemon, &after) < accepted_at(&daemon, &ahead));
}
