//! A definition is overwritten in the log as soon as the one that replaces it is durable. Whatever
//! comes between, nothing of it is left in the end.

use serde_json::json;

use crate::harness::{Daemon, Home, Receiver, is_on_disk, wait_for};
use crate::tracer::Tracer;

/// So that a test reads little.
const SMALL: &str = "[outbox]\nsegment_size = \"4MiB\"\n";
/// The writes of a rotation: the batch, the seal, the zeros; before or after them a mark.
const WRITES: std::ops::RangeInclusive<u32> = 1..=4;
const FIRST: &[u8] = b"the-first-secret-of-twenty-four";

fn is_in_log(home: &Home, needle: &[u8]) -> bool {
    is_on_disk(&home.data_dir().join("log"), needle)
}

#[track_caller]
fn wait_gone(home: &Home, daemon: &Daemon, needle: &[u8]) {
    let gone = || (!is_in_log(home, needle)).then_some(());
    wait_for(gone, || {
        let text = String::from_utf8_lossy(needle);
        format!("{text:?} stays in the log\n{}", daemon.log_text())
    });
}

/// Does to the writer's calls what `inject` says, in `strace`'s words.
fn at_the_writer(daemon: &Daemon, inject: &str) -> Option<Tracer> {
    let inject = format!("inject={inject}");
    Tracer::attach_thread(daemon, "writer", &["-o", "/dev/null", "-e", &inject])
}

/// An endpoint whose only header is a secret.
fn made(daemon: &Daemon, receiver: &Receiver) -> String {
    let headers = json!({"x-token": String::from_utf8_lossy(FIRST)});
    let definition = json!({"url": receiver.url("/"), "headers": headers});
    let answer = daemon
        .tcp
        .post_json("/v1/endpoints", definition.to_string());
    answer.expect(201)["id"].as_str().unwrap().to_owned()
}

const CHANGE: &[u8] = br#"{"headers": {"x-token": "the-second"}}"#;
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

/// The token that the receiver gets now. While the disk counts as full no event is accepted.
fn token(daemon: &Daemon, receiver: &Receiver, id: &str) -> String {
    let event = r#"{"type": "a", "data": 1}"#;
    let accepted = || {
        let answer = daemon.tcp.post_json("/v1/events", event);
        (answer.status == 202).then(|| answer.json())
    };
    let event = wait_for(accepted, || "no event is accepted".to_owned());
    let event = event["id"].as_str().unwrap().to_owned();
    daemon.wait_status(&event, id, "delivered");
    let seen = receiver.wait_until("the event", |seen| seen.iter().any(|one| one.id() == event));
    let seen = seen.into_iter().find(|one| one.id() == event).unwrap();
    seen.header("x-token").to_owned()
}

#[test]
fn a_kill_at_any_write_leaves_no_definition_that_was_replaced() {
    for when in WRITES {
        let receiver = Receiver::ok();
        let home = Home::new();
        let daemon = home.start(SMALL);
        let id = made(&daemon, &receiver);
        let inject = format!("pwrite64:signal=KILL:when={when}");
        let Some(tracer) = at_the_writer(&daemon, &inject) else {
            return;
        };
        let path = format!("/v1/endpoints/{id}");
        let answer = daemon.tcp.try_request("PATCH", &path, &JSON, CHANGE);
        daemon.wait_exit();
        drop(tracer);
        let was_in_log = is_in_log(&home, FIRST);
        let daemon = home.start(SMALL);
        let token = token(&daemon, &receiver, &id);
        eprintln!("write {when}: {} {was_in_log}", answer.is_ok());
        assert!(answer.is_err() || token == "the-second", "{when}");
        match token.as_bytes() {
            b"the-second" => wait_gone(&home, &daemon, FIRST),
            token => {
                assert_eq!(token, FIRST);
                assert!(is_in_log(&home, FIRST));
            }
        }
        assert_eq!(daemon.status()["damaged_records"], 0);
    }
}

/// On a file system that takes new space for what is overwritten.
#[test]
fn a_definition_for_whose_overwriting_there_is_no_room_is_overwritten_later() {
    for when in WRITES {
        let receiver = Receiver::ok();
        let home = Home::new();
        let daemon = home.start(SMALL);
        let id = made(&daemon, &receiver);
        // The search that follows each start is over: it would find it in any case.
        let passes = || daemon.metric("outboxd_cleaning_passes_total");
        let searched = || (passes() > 2.0).then_some(());
        wait_for(searched, || "the cleaner does not look".to_owned());
        // After that one write there is room again.
        let inject = format!("pwrite64:error=ENOSPC:when={when}");
        let Some(tracer) = at_the_writer(&daemon, &inject) else {
            return;
        };
        let path = format!("/v1/endpoints/{id}");
        let changed = || {
            let answer = daemon.tcp.request("PATCH", &path, &JSON, CHANGE);
            (answer.status == 200).then_some(())
        };
        wait_for(changed, || "it is refused for ever".to_owned());
        wait_gone(&home, &daemon, FIRST);
        drop(tracer);
        assert_eq!(token(&daemon, &receiver, &id), "the-second");
        daemon.kill();
        let daemon = home.start(SMALL);
        assert_eq!(token(&daemon, &receiver, &id), "the-second");
        assert_eq!(daemon.status()["damaged_records"], 0);
    }
}

#[test]
fn a_kill_leaves_nothing_of_a_source_or_endpoint_that_is_gone() {
    for when in WRITES {
        let receiver = Receiver::ok();
        let home = Home::new();
        let daemon = home.start(SMALL);
        let id = made(&daemon, &receiver);
        let source = json!({"id": "gh", "preset": "github", "secrets": ["a-source-secret"]});
        daemon
            .tcp
            .post_json("/v1/sources", source.to_string())
            .expect(201);
        assert!(is_in_log(&home, b"a-source-secret"));
        let inject = format!("pwrite64:signal=KILL:when={when}");
        let Some(tracer) = at_the_writer(&daemon, &inject) else {
            return;
        };
        let endpoint = format!("/v1/endpoints/{id}");
        let delete = |path: &str| {
            let answer = daemon.tcp.try_request("DELETE", path, &[], b"");
            answer.is_ok_and(|answer| answer.status == 204)
        };
        let deleted = delete("/v1/sources/gh");
        let deleted = (deleted, delete(&endpoint));
        daemon.wait_exit();
        drop(tracer);
        let daemon = home.start(SMALL);
        eprintln!("write {when}: {deleted:?}");
        for (path, needle, deleted) in [
            ("/v1/sources/gh", &b"a-source-secret"[..], deleted.0),
            (&endpoint, FIRST, deleted.1),
        ] {
            match daemon.tcp.get(path).status {
                404 => wait_gone(&home, &daemon, needle),
                status => {
                    assert_eq!((status, deleted), (200, false), "{path}");
                    assert!(is_in_log(&home, needle));
                }
            }
        }
        assert_eq!(daemon.status()["damaged_records"], 0);
    }
}
