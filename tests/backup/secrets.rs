//! Definitions that were replaced, with their secrets: they leave what was shipped, and a restore
//! knows what to do without them.

use std::path::Path;

use serde_json::json;

use crate::harness::*;
use crate::shop::*;

fn made(daemon: &Daemon, url: &str) -> String {
    let body = json!({"url": url, "types": ["order.*"]}).to_string();
    let made = daemon.unix.post_json("/v1/endpoints", body).expect(201);
    made["id"].as_str().unwrap().to_owned()
}

fn patch(daemon: &Daemon, id: &str, url: &str) {
    let body = json!({"url": url}).to_string();
    let path = format!("/v1/endpoints/{id}");
    let json = [("content-type", "application/json")];
    let request = daemon.unix.request("PATCH", &path, &json, body.as_bytes());
    request.expect(200);
}

fn delete(daemon: &Daemon, path: &str) {
    assert_eq!(daemon.unix.request("DELETE", path, &[], b"").status, 204);
}

#[track_caller]
fn wait_gone(shipped: &Path, text: &str) {
    wait_for(
        || (!is_on_disk(shipped, text.as_bytes())).then_some(()),
        || format!("{text} is still in {:?}", files(shipped)),
    );
}

#[test]
fn a_replaced_definition_leaves_what_was_shipped_and_the_next_takes_its_place() {
    let home = Home::new();
    let shipped = home.path("shipped");
    let to = file_url(&shipped);
    let daemon = home.start(&shipping(&to));
    let moved = made(&daemon, "http://127.0.0.1:9/first-token");
    let gone = made(&daemon, "http://127.0.0.1:9/gone-token");
    let event = daemon.send("order.created", "1");
    let shown = daemon.unix.get(&format!("/v1/events/{event}")).expect(200);
    let until = shown["accepted_at"].as_str().unwrap().to_owned();
    next_millisecond();
    wait_shipped(&daemon);
    assert!(is_on_disk(&shipped, b"first-token") && is_on_disk(&shipped, b"gone-token"));
    patch(&daemon, &moved, "http://127.0.0.1:9/second-token");
    patch(&daemon, &moved, "http://127.0.0.1:9/third-token");
    delete(&daemon, &format!("/v1/endpoints/{gone}"));
    for text in ["first-token", "second-token", "gone-token"] {
        wait_gone(&shipped, text);
    }
    wait_shipped(&daemon);
    daemon.kill();

    let (restored, ran) = restore(&to, &["--until", &until, "--held"]);
    assert!(ran.code == Some(0), "{ran:?}");
    for said in [
        "1 endpoints and sources have a later",
        "1 endpoints and sources are deleted",
    ] {
        assert!(ran.stdout.contains(said), "{}", ran.stdout);
    }
    let daemon = restored.start("");
    let url = &daemon.endpoint(&moved)["url"];
    assert_eq!(url, "http://127.0.0.1:9/third-token");
    assert_eq!(daemon.delivery(&event, &moved)["status"], "held");
    daemon
        .unix
        .get(&format!("/v1/endpoints/{gone}"))
        .problem(404);
    daemon.wait_status(&event, &gone, "dead");
    assert_eq!(daemon.status()["damaged_records"], 0);

    let (restored, ran) = restore(&to, &[]);
    assert!(ran.code == Some(0), "{ran:?}");
    assert!(
        !ran.stdout.contains("endpoints and sources"),
        "{}",
        ran.stdout
    );
    let daemon = restored.start("");
    let url = &daemon.endpoint(&moved)["url"];
    assert_eq!(url, "http://127.0.0.1:9/third-token");
}

/// What a segment was shipped as before anything was overwritten in it, put back after the segment
/// was dropped: as if the disk had been short, or the daemon had ended in between.
#[test]
fn what_the_log_dropped_in_another_form_is_swept() {
    let home = Home::new();
    let shipped = home.path("shipped");
    let to = file_url(&shipped);
    let receiver = Receiver::ok();
    let config = |retention: &str| {
        let small = "[outbox]\nsegment_size = \"4MiB\"\n";
        let kept = format!("[retention]\ndelivered = {retention:?}\n");
        format!("{small}{kept}{}", shipping(&to))
    };
    let daemon = home.start(&config("1h"));
    let id = made(&daemon, &receiver.url("/first-token"));
    let erased = daemon.send("other.type", r#""the-erased-body""#);
    let full = format!("\"{}\"", "x".repeat(200_000));
    for _ in 0..24 {
        daemon.send("order.created", &full);
    }
    receiver.wait(24);
    wait_shipped(&daemon);
    assert!(daemon.stop().success());
    let first = shipped
        .join(&generations(&shipped)[0])
        .join("log/0000000000000000");
    let before: Vec<_> = files(&first)
        .into_iter()
        .map(|file| (file.clone(), std::fs::read(file).unwrap()))
        .collect();
    let daemon = home.start(&config("1s"));
    patch(&daemon, &id, &receiver.url("/second-token"));
    delete(&daemon, &format!("/v1/events/{erased}"));
    let oldest = home.data_dir().join("log/0000000000000000.log");
    wait_for(|| (!oldest.exists()).then_some(()), || daemon.log_text());
    wait_gone(&shipped, "first-token");
    wait_gone(&shipped, "the-erased-body");
    wait_shipped(&daemon);
    assert!(daemon.stop().success());

    for file in files(&first) {
        std::fs::remove_file(file).unwrap();
    }
    for (file, bytes) in before {
        std::fs::write(file, bytes).unwrap();
    }
    assert!(is_on_disk(&shipped, b"first-token") && is_on_disk(&shipped, b"the-erased-body"));
    let daemon = home.start(&config("1s"));
    wait_gone(&shipped, "first-token");
    wait_gone(&shipped, "the-erased-body");
    wait_shipped(&daemon);
    daemon.kill();
    let (restored, ran) = restore(&to, &[]);
    assert!(ran.code == Some(0), "{ran:?}");
    let daemon = restored.start("");
    assert_eq!(daemon.endpoint(&id)["url"], receiver.url("/second-token"));
    assert_eq!(daemon.status()["damaged_records"], 0);
}
