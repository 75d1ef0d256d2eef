//! What is kept of sources over restarts, kills, cleaning, and without the index.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    Call, SECRET, assert_counts, assert_empty, github, made, push, rejected, shown, start,
};
use crate::harness::{Daemon, Home, Receiver, endpoint, wait_for};

/// Of a source, all but what may be forgotten.
fn kept(daemon: &Daemon, id: &str) -> Value {
    let mut source = shown(daemon, id);
    source.as_object_mut().unwrap().remove("recent_rejected");
    source
}

/// Three events, one duplicate, two refused calls, a handshake.
fn call_all_ways(daemon: &Daemon, id: &str) {
    for delivery in ["1", "2", "3", "3"] {
        assert_empty(&push(delivery, delivery.as_bytes()).send(daemon, id), 200);
    }
    assert_empty(&push("4", b"{}").body(b"[]").send(daemon, id), 401);
    assert_empty(&Call::new("PUT", "").send(daemon, id), 405);
}

#[test]
fn counts_and_times_are_exact_after_a_stop() {
    let home = Home::new();
    let config = github("file", "");
    let daemon = start(&home, &config);
    let definition = json!({"id": "api", "preset": "meta", "secrets": [SECRET],
        "verify_token": "t", "description": "kept", "split": "/entry"});
    made(&daemon, &definition);
    call_all_ways(&daemon, "file");
    call_all_ways(&daemon, "api");
    let hello = "hub.mode=subscribe&hub.challenge=1&hub.verify_token=t";
    assert_eq!(Call::new("GET", hello).send(&daemon, "api").status, 200);
    let before = [kept(&daemon, "file"), kept(&daemon, "api")];
    for source in &before {
        assert_eq!(
            (
                &source["counts"]["accepted"],
                &source["counts"]["duplicate"]
            ),
            (&3.into(), &1.into())
        );
        assert_eq!(
            (
                rejected(source, "bad_signature"),
                rejected(source, "method")
            ),
            (1, 1)
        );
    }
    assert_eq!(before[1]["counts"]["handshakes"], 1);
    assert!(daemon.stop().success());
    let daemon = start(&home, &config);
    assert_eq!([kept(&daemon, "file"), kept(&daemon, "api")], before);
    assert_eq!(shown(&daemon, "api")["recent_rejected"], json!([]));
    assert!(daemon.stop().success());
    std::fs::remove_dir_all(home.data_dir().join("index")).unwrap();
    let daemon = start(&home, &config);
    assert_eq!([kept(&daemon, "file"), kept(&daemon, "api")], before);
}

/// After a kill at most what was counted last is missing, and nothing is counted that was not.
#[test]
fn counts_of_a_while_ago_are_there_after_a_kill() {
    let home = Home::new();
    let config = github("gh", "");
    let mut calls = 0;
    let mut daemon = start(&home, &config);
    let accepted = |daemon: &Daemon| shown(daemon, "gh")["counts"]["accepted"].as_u64().unwrap();
    // The machine may be so busy that a second is not enough.
    for pause in [1500, 3000, 6000, 12_000] {
        let before = accepted(&daemon);
        for _ in 0..5 {
            calls += 1;
            assert_empty(&push(&format!("d-{calls}"), b"{}").send(&daemon, "gh"), 200);
        }
        std::thread::sleep(Duration::from_millis(pause));
        daemon.kill();
        daemon = start(&home, &config);
        let after = accepted(&daemon);
        assert!(
            after >= before && after <= calls,
            "{before} {after} {calls}"
        );
        if after == before + 5 {
            return;
        }
    }
    panic!("what was counted 12 s ago is missing");
}

#[test]
fn definitions_are_there_after_kills() {
    let home = Home::new();
    let daemon = start(&home, "");
    let definition = |id: &str| json!({"id": id, "preset": "github", "secrets": [SECRET]});
    for id in ["a", "b", "c"] {
        made(&daemon, &definition(id));
    }
    super::patch(&daemon.tcp, "b", &json!({"type": "b.{{ type }}"})).expect(200);
    assert_eq!(
        daemon
            .tcp
            .request("DELETE", "/v1/sources/c", &[], b"")
            .status,
        204
    );
    let list = |daemon: &Daemon| daemon.tcp.get("/v1/sources").expect(200)["data"].clone();
    let before = list(&daemon);
    assert_eq!(before.as_array().unwrap().len(), 2);
    daemon.kill();
    let daemon = start(&home, "");
    assert_eq!(list(&daemon), before);
    assert_empty(&push("1", b"{}").send(&daemon, "c"), 404);
    daemon.kill();
    std::fs::remove_dir_all(home.data_dir().join("index")).unwrap();
    let daemon = start(&home, "");
    assert_eq!(list(&daemon), before);
    assert_empty(&push("1", b"{}").send(&daemon, "b"), 200);
    assert_eq!(super::types(&daemon), ["b.push"]);
    assert_empty(&push("1", b"{}").send(&daemon, "c"), 404);
}

/// What the log has of sources outlives the segments in which it was written, and so do known
/// delivery ids.
#[test]
fn cleaning_keeps_definitions_counts_and_known_deliveries() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let config = "[retention]\ndelivered = \"1s\"\n".to_owned()
        + &github("file", "idempotency_window = \"1h\"")
        + &endpoint("app", &receiver.url("/"), "");
    let daemon = start(&home, &config);
    made(
        &daemon,
        &json!({"id": "api", "preset": "github", "secrets": [SECRET]}),
    );
    call_all_ways(&daemon, "file");
    call_all_ways(&daemon, "api");
    let first = segments(&home).remove(0);
    let body = vec![b'f'; 900_000];
    let mut number = 0;
    wait_for(
        || {
            number += 1;
            assert_empty(
                &push(&format!("f-{number}"), &body).send(&daemon, "file"),
                200,
            );
            (!segments(&home).contains(&first)).then_some(())
        },
        || format!("{first} is never cleaned: {}", daemon.status()),
    );
    assert_counts(&daemon, "file", 3 + number, 1);
    assert!(daemon.stop().success());
    std::fs::remove_dir_all(home.data_dir().join("index")).unwrap();
    let daemon = start(&home, &config);
    assert_counts(&daemon, "file", 3 + number, 1);
    assert_counts(&daemon, "api", 3, 1);
    assert_empty(&push("3", b"3").send(&daemon, "api"), 200);
    assert_empty(&push("1", b"1").send(&daemon, "file"), 200);
    assert_counts(&daemon, "api", 3, 2);
    assert_counts(&daemon, "file", 3 + number, 2);
    assert_eq!(daemon.status()["damaged_records"], 0);
}

/// The names of the log's segments, oldest first.
fn segments(home: &Home) -> Vec<String> {
    let files = std::fs::read_dir(home.data_dir().join("log")).expect("a log");
    let names = files
        .flatten()
        .map(|file| file.file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names
}
