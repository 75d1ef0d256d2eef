//! `kill -9` while many deliveries are on the move: replays, erasures and deletions go on
//! after it, from where they were.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::files::find;
use crate::harness::http::Response;
use crate::harness::{Answer, Daemon, Home, Receiver, endpoint, wait_for};

const NDJSON: [(&str, &str); 1] = [("content-type", "application/x-ndjson")];

/// Hands in `count` events of a type, in one request; gives their ids.
fn fill(daemon: &Daemon, kind: &str, count: usize) -> Vec<String> {
    let lines: String = (0..count)
        .map(|n| format!("{{\"type\":\"{kind}\",\"data\":{n}}}\n"))
        .collect();
    let answer = daemon
        .tcp
        .request("POST", "/v1/events", &NDJSON, lines.as_bytes())
        .expect(202);
    let events = answer["events"].as_array().unwrap().iter();
    events
        .map(|event| event["id"].as_str().unwrap().to_owned())
        .collect()
}

fn delete(daemon: &Daemon, path: &str) -> Response {
    daemon.tcp.request("DELETE", path, &[], b"")
}

/// Waits until so many deliveries have this status.
fn wait_backlog(daemon: &Daemon, status: &str, count: u64) {
    wait_for(
        || (daemon.status()["backlog"][status] == count).then_some(()),
        || format!("not {count} {status}: {}", daemon.status()),
    );
}

#[test]
fn a_replay_goes_on_after_each_kill_and_leaves_nothing_out() {
    let well = Arc::new(AtomicBool::new(false));
    let is_well = well.clone();
    let receiver = Receiver::answering(move |_| {
        Answer::status(if is_well.load(Ordering::SeqCst) {
            200
        } else {
            500
        })
    });
    let home = Home::new();
    let brief = "[endpoint.retry]\nschedule = [\"1ms\"]";
    let config = endpoint("sick", &receiver.url("/"), brief);
    let mut daemon = home.start(&config);
    let ids = fill(&daemon, "a", 300);
    wait_backlog(&daemon, "dead", 300);
    let before = receiver.seen().len();
    well.store(true, Ordering::SeqCst);
    let ask = r#"{"status": "dead", "rate": "150/s"}"#;
    let dry = r#"{"status": "dead", "dry_run": true}"#;
    let replay = "/v1/endpoints/sick/replay";
    assert_eq!(
        daemon.tcp.post_json(replay, dry).expect(200)["matched"],
        300
    );
    assert_eq!(
        daemon.tcp.post_json(replay, ask).expect(202)["matched"],
        300
    );
    for part in [40, 120] {
        receiver.wait(before + part);
        daemon.kill();
        daemon = home.start(&config);
        let left = daemon.status()["backlog"]["dead"].as_u64().unwrap();
        assert!(left > 0, "the kill came too late to tell anything");
    }
    wait_backlog(&daemon, "dead", 0);
    wait_backlog(&daemon, "pending", 0);
    for id in &ids {
        assert_eq!(daemon.delivery(id, "sick")["status"], "delivered");
    }
    // Once each, but for what a kill caught in flight or on its way to the disk.
    let seen = receiver.seen().len() - before;
    assert!((300..400).contains(&seen), "{seen}");
    assert_eq!(daemon.status()["damaged_records"], 0);
}

/// Whether any file below holds these bytes.
fn is_anywhere(dir: &Path, wanted: &str) -> bool {
    fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        match fs::metadata(&path) {
            Ok(meta) if meta.is_dir() => is_anywhere(&path, wanted),
            Ok(_) => find(&path, wanted.as_bytes()).is_some(),
            // Deleted since the look into the directory.
            Err(_) => false,
        }
    })
}

#[test]
fn an_erased_event_is_gone_from_the_disk_after_a_kill_and_after_rewriting() {
    let receiver = Receiver::answering(|seen| match seen.path.as_str() {
        "/sick" => Answer::reply(500, &[], "XYZZY is no such customer"),
        _ => Answer::status(200),
    });
    let mut home = Home::new();
    fs::write(home.path("boot_id"), "boot-1\n").unwrap();
    let boot = home.path("boot_id").display().to_string();
    home.set_env("OUTBOXD_BOOT_ID_FILE", boot);
    let slow = "types = [\"a.*\"]\n[endpoint.retry]\nschedule = [\"1ms\", \"1ms\", \"1h\"]";
    let config = endpoint("sick", &receiver.url("/sick"), slow)
        + &endpoint("ok", &receiver.url("/ok"), "")
        + "[retention]\ndelivered = \"1s\"\n[outbox]\nsegment_size = \"4MiB\"\n";
    let daemon = home.start(&config);
    let fields = r#""idempotency_key": "once""#;
    let id = daemon.send_with("a.secret", r#""PLUGH""#, fields);
    let path = format!("/v1/events/{id}");
    daemon.wait_delivery(&id, "sick", "tried three times", |delivery| {
        delivery["attempt_count"] == 3
    });
    // Cleaning drops the segment that it is in: it is written again, whole.
    let first = crate::files::segments(&home)[0].clone();
    let bulk = format!("\"{}\"", "f".repeat(900_000));
    wait_for(
        || {
            daemon.send("b.flood", &bulk);
            (!first.exists()).then_some(())
        },
        || format!("the first segment stays: {}", daemon.status()),
    );
    let shown = daemon.delivery(&id, "sick");
    assert_eq!(
        shown["attempts"][2]["response_body"],
        "XYZZY is no such customer"
    );
    assert_eq!(daemon.tcp.get(&path).expect(200)["data"], "PLUGH");
    // Cleaning may move it while the files are read one after the other.
    wait_for(
        || {
            let data = home.data_dir();
            (is_anywhere(&data, "PLUGH") && is_anywhere(&data, "XYZZY")).then_some(())
        },
        || "its bytes are nowhere on the disk".into(),
    );

    assert_eq!(delete(&daemon, &path).status, 204);
    daemon.tcp.get(&path).problem(410);
    daemon.kill();
    let check = |daemon: &Daemon| {
        daemon.tcp.get(&path).problem(410);
        daemon
            .tcp
            .get(&format!("{path}/deliveries/sick"))
            .problem(410);
        let again = format!(r#"{{"type": "a.secret", "data": "PLUGH", {fields}}}"#);
        let again = daemon.tcp.post_json("/v1/events", again).expect(202);
        assert_eq!(
            (&again["id"], &again["duplicate"], &again["deliveries"]),
            (&json!(id), &json!(true), &json!(2))
        );
        let listed = daemon.tcp.get("/v1/deliveries?endpoint=sick").expect(200);
        assert_eq!(listed["data"], json!([]));
        let status = daemon.status();
        assert_eq!(
            (&status["damaged_records"], &status["backlog"]["pending"]),
            (&json!(0), &json!(0))
        );
    };
    let daemon = home.start(&config);
    check(&daemon);
    wait_for(
        || {
            (!is_anywhere(&home.data_dir(), "PLUGH") && !is_anywhere(&home.data_dir(), "XYZZY"))
                .then_some(())
        },
        || "its bytes are still on the disk".into(),
    );
    daemon.kill();
    // The machine was started again: everything is told by the log alone.
    fs::write(home.path("boot_id"), "boot-2\n").unwrap();
    let daemon = home.start(&config);
    assert_eq!(daemon.status()["recovery"]["kind"], "rebuilt");
    check(&daemon);
    assert!(!is_anywhere(&home.data_dir(), "PLUGH"));
}

#[test]
fn what_a_deleted_endpoint_had_open_is_dead_also_after_a_kill() {
    let receiver = Receiver::answering(|_| Answer::hang());
    let home = Home::new();
    let config = endpoint(
        "ok",
        &Receiver::ok().url("/"),
        "types = [\"b\"]\nenabled = false",
    );
    let daemon = home.start(&config);
    let url = receiver.url("/customer");
    let ask = json!({"url": url, "types": ["a"], "timeout": "1h"}).to_string();
    let made = daemon.tcp.post_json("/v1/endpoints", ask).expect(201);
    let no = made["id"].as_str().unwrap();
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.extend(fill(&daemon, "a", 1000));
    }
    receiver.wait(1);
    assert_eq!(delete(&daemon, &format!("/v1/endpoints/{no}")).status, 204);
    daemon.kill();
    let daemon = home.start(&config);
    daemon.tcp.get(&format!("/v1/endpoints/{no}")).problem(404);
    let status = daemon.status();
    assert_eq!(
        (&status["backlog"]["pending"], &status["backlog"]["dead"]),
        (&json!(0), &json!(4000))
    );
    for id in ids.iter().step_by(500) {
        let event = daemon.tcp.get(&format!("/v1/events/{id}")).expect(200);
        let delivery = &event["deliveries"][0];
        assert_eq!(
            (&delivery["status"], &delivery["reason"]),
            (&json!("dead"), &json!("endpoint_deleted")),
            "{event}"
        );
    }
    let attempts = receiver.seen().len();
    assert!(attempts <= 16, "{attempts}: nothing is attempted any more");
}
