//! The same idempotency key again: never twice, whatever happens in between.

use std::sync::Barrier;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Daemon, Home, Receiver, endpoint, wait_for};

const JSON: (&str, &str) = ("content-type", "application/json");
const BODY: &[u8] = b"{\"type\":\"a\",\"data\":{\"n\": 1},\"idempotency_key\":\"k1\"}";

/// The first answer again, but for `duplicate`.
#[track_caller]
fn assert_again(first: &Value, again: &Value) {
    let mut expected = first.clone();
    expected["duplicate"] = true.into();
    assert_eq!(*again, expected);
}

fn stored(daemon: &Daemon) -> usize {
    let listed = daemon.tcp.get("/v1/events?limit=1000").expect(200);
    listed["data"].as_array().unwrap().len()
}

#[test]
fn the_same_again_is_the_first_answer_and_nothing_new() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start(&endpoint("all", &receiver.url("/"), ""));
    let first = daemon.tcp.post_json("/v1/events", BODY).expect(202);
    assert_eq!(first["duplicate"], false);
    // Before, while and after it is delivered; by field, by header, by both; in another order.
    let by_header = "{\"data\":{\"n\": 1}, \"type\":\"a\"}".as_bytes();
    let key = [JSON, ("idempotency-key", "k1")];
    for _ in 0..3 {
        assert_again(
            &first,
            &daemon.tcp.post_json("/v1/events", BODY).expect(202),
        );
        for body in [BODY, by_header] {
            let again = daemon.unix.request("POST", "/v1/events", &key, body);
            assert_again(&first, &again.expect(202));
        }
        receiver.wait(1);
    }
    daemon.wait_status(first["id"].as_str().unwrap(), "all", "delivered");
    assert_again(
        &first,
        &daemon.tcp.post_json("/v1/events", BODY).expect(202),
    );
    assert_eq!(stored(&daemon), 1);
    // One that is new goes out after all that could have.
    daemon.send("last", "1");
    assert_eq!(receiver.wait(2).len(), 2);
    // A tenant's keys are its own.
    let other = daemon.send_with(
        "a",
        "{\"n\": 1}",
        "\"idempotency_key\":\"k1\",\"tenant\":\"b\"",
    );
    assert_ne!(first["id"], other);
}

#[test]
fn other_content_under_the_same_key_is_422() {
    let home = Home::new();
    let daemon = home.start("");
    daemon.tcp.post_json("/v1/events", BODY).expect(202);
    let key = "\"idempotency_key\":\"k1\"";
    for body in [
        format!("{{\"type\":\"b\",\"data\":{{\"n\": 1}},{key}}}"),
        // Byte for byte: the same value is not the same content.
        format!("{{\"type\":\"a\",\"data\":{{\"n\":1}},{key}}}"),
        format!("{{\"type\":\"a\",\"data\":{{\"n\": 2}},{key}}}"),
        format!("{{\"type\":\"a\",\"data\":{{\"n\": 1}},\"key\":\"x\",{key}}}"),
        format!(
            "{{\"type\":\"a\",\"data\":{{\"n\": 1}},\"deliver_at\":\"2030-01-01T00:00:00Z\",{key}}}"
        ),
    ] {
        daemon.tcp.post_json("/v1/events", &body).problem(422);
    }
    assert_eq!(stored(&daemon), 1);
}

#[test]
fn opaque_events_have_keys_too() {
    let home = Home::new();
    let daemon = home.start("");
    let post = |path: &str, kind: &str, key: &str, body: &[u8]| {
        let headers = [("content-type", kind), ("idempotency-key", key)];
        daemon.tcp.request("POST", path, &headers, body)
    };
    let first = post("/v1/events/a", "text/plain", "k", b"x").expect(202);
    assert_again(
        &first,
        &post("/v1/events/a", "text/plain", "k", b"x").expect(202),
    );
    let both = post("/v1/events/a?idempotency_key=k", "text/plain", "k", b"x");
    assert_again(&first, &both.expect(202));
    post("/v1/events/a", "text/html", "k", b"x").problem(422);
    post("/v1/events/a", "text/plain", "k", b"y").problem(422);
    post("/v1/events/b", "text/plain", "k", b"x").problem(422);
    post(
        "/v1/events/a?idempotency_key=other",
        "text/plain",
        "k",
        b"x",
    )
    .problem(400);
    assert_eq!(stored(&daemon), 1);
}

#[test]
fn a_header_and_a_field_that_differ_are_400() {
    let home = Home::new();
    let daemon = home.start("");
    let headers = [JSON, ("idempotency-key", "other")];
    let answer = daemon.tcp.request("POST", "/v1/events", &headers, BODY);
    let detail = answer.problem(400);
    assert!(
        detail.contains("idempotency_key") && detail.contains("Idempotency-Key"),
        "{detail}"
    );
    let twice = [JSON, ("idempotency-key", "a"), ("idempotency-key", "b")];
    daemon
        .tcp
        .request("POST", "/v1/events", &twice, BODY)
        .problem(400);
    let long = "k".repeat(257);
    let long = [JSON, ("idempotency-key", &long)];
    let body = b"{\"type\":\"a\",\"data\":1}";
    daemon
        .tcp
        .request("POST", "/v1/events", &long, body)
        .problem(400);
    assert_eq!(stored(&daemon), 0);
}

#[test]
fn keys_outlive_stops_and_crashes() {
    let home = Home::new();
    let daemon = home.start("");
    let first = daemon.tcp.post_json("/v1/events", BODY).expect(202);
    assert!(daemon.stop().success());
    let daemon = home.start("");
    assert_again(
        &first,
        &daemon.tcp.post_json("/v1/events", BODY).expect(202),
    );
    let second = daemon.tcp.post_json(
        "/v1/events",
        "{\"type\":\"a\",\"data\":2,\"idempotency_key\":\"k2\"}",
    );
    let second = second.expect(202);
    daemon.kill();
    let daemon = home.start("");
    assert_again(
        &first,
        &daemon.tcp.post_json("/v1/events", BODY).expect(202),
    );
    let body = "{\"type\":\"a\",\"data\":2,\"idempotency_key\":\"k2\"}";
    assert_again(
        &second,
        &daemon.tcp.post_json("/v1/events", body).expect(202),
    );
    daemon
        .tcp
        .post_json("/v1/events", body.replace("2,", "3,"))
        .problem(422);
    // And when the index is gone: it is derived.
    daemon.kill();
    std::fs::remove_dir_all(home.data_dir().join("index")).unwrap();
    let daemon = home.start("");
    assert_again(
        &first,
        &daemon.tcp.post_json("/v1/events", BODY).expect(202),
    );
    assert_again(
        &second,
        &daemon.tcp.post_json("/v1/events", body).expect(202),
    );
    assert_eq!(stored(&daemon), 2);
}

#[test]
fn of_fifty_at_once_exactly_one_is_stored() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start(&endpoint("all", &receiver.url("/"), ""));
    let start = Barrier::new(50);
    for round in 0..3 {
        let body = format!("{{\"type\":\"a\",\"data\":1,\"idempotency_key\":\"race{round}\"}}");
        let answers: Vec<Value> = std::thread::scope(|scope| {
            let post = || {
                let mut connection = daemon.tcp.connect().unwrap();
                start.wait();
                let answer = connection.ask("POST", "/v1/events", &[JSON], body.as_bytes());
                answer.unwrap().expect(202)
            };
            let threads: Vec<_> = (0..50).map(|_| scope.spawn(post)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let first: Vec<_> = answers
            .iter()
            .filter(|one| one["duplicate"] == false)
            .collect();
        assert_eq!(first.len(), 1, "{answers:#?}");
        for answer in answers.iter().filter(|one| one["duplicate"] == true) {
            assert_again(first[0], answer);
        }
        assert_eq!(stored(&daemon), round + 1);
        assert_eq!(receiver.wait(round + 1).len(), round + 1);
    }
}

#[test]
fn a_key_is_free_again_after_its_window() {
    let home = Home::new();
    let daemon = home.start("[ingest]\nidempotency_window = \"700ms\"\n");
    let started = std::time::Instant::now();
    let first = daemon.tcp.post_json("/v1/events", BODY).expect(202);
    let mut asked_at;
    let second = loop {
        asked_at = started.elapsed();
        let again = daemon.tcp.post_json("/v1/events", BODY).expect(202);
        if again["duplicate"] == false {
            break again;
        }
        assert_again(&first, &again);
        assert!(
            asked_at < crate::harness::PATIENCE,
            "the window does not end"
        );
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_ne!(second["id"], first["id"]);
    assert!(
        started.elapsed() >= Duration::from_millis(690),
        "free after {asked_at:?}"
    );
    wait_for(
        || {
            let again = daemon.tcp.post_json("/v1/events", BODY).expect(202);
            (again["duplicate"] == false).then_some(())
        },
        || "the second window does not end".to_owned(),
    );
}

#[test]
fn without_a_key_the_same_is_another_event() {
    let home = Home::new();
    let daemon = home.start("");
    assert_ne!(daemon.send("a", "1"), daemon.send("a", "1"));
    assert_eq!(stored(&daemon), 2);
}
