//! NDJSON: all of a request or nothing of it.

use crate::harness::http::Response;
use crate::harness::{Daemon, Home, Receiver, endpoint};

fn post(daemon: &Daemon, body: impl AsRef<[u8]>) -> Response {
    let ndjson = [("content-type", "application/x-ndjson")];
    daemon
        .tcp
        .request("POST", "/v1/events", &ndjson, body.as_ref())
}

#[track_caller]
fn nothing_stored(daemon: &Daemon) {
    let listed = daemon.tcp.get("/v1/events").expect(200);
    assert_eq!(listed["data"], serde_json::json!([]));
}

#[test]
fn every_line_is_an_event_in_order() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start(&endpoint("all", &receiver.url("/"), "types = [\"a.*\"]"));
    // Blank lines, CRLF, no newline at the end.
    let body = "{\"type\":\"a.x\",\"data\": 1 }\r\n\n  \n{\"type\":\"b\",\"data\":[2]}\n{\"data\":\"3\",\"type\":\"a.y\"}";
    let answer = post(&daemon, body).expect(202);
    assert_eq!(answer["accepted"], 3);
    let events = answer["events"].as_array().unwrap();
    let types: Vec<_> = events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    assert_eq!(types, ["a.x", "b", "a.y"]);
    let ids: Vec<_> = events
        .iter()
        .map(|event| event["id"].as_str().unwrap())
        .collect();
    assert!(ids.is_sorted(), "{ids:?}");
    let deliveries: Vec<_> = events
        .iter()
        .map(|event| event["deliveries"].as_u64())
        .collect();
    assert_eq!(deliveries, [Some(1), Some(0), Some(1)]);
    for event in events {
        assert_eq!(event["duplicate"], false);
        assert!(event["accepted_at"].is_string());
    }
    let seen = receiver.wait(2);
    let mut bodies: Vec<_> = seen.iter().map(|seen| seen.text()).collect();
    bodies.sort();
    assert!(bodies[0].ends_with(",\"data\":1}"), "{bodies:?}");
    assert!(bodies[1].ends_with(",\"data\":\"3\"}"), "{bodies:?}");
    for seen in &seen {
        assert!([ids[0], ids[2]].contains(&seen.id()));
    }
}

#[test]
fn one_bad_line_refuses_all_and_is_named() {
    let home = Home::new();
    let daemon = home.start("");
    let good = "{\"type\":\"a\",\"data\":1}\n";
    for (bad, part) in [
        ("{\"type\":\"a\",\"data\":1", "column"),
        ("{\"type\":\"a b\",\"data\":1}", "`type`"),
        ("{\"type\":\"outboxd.x\",\"data\":1}", "outboxd."),
        ("{\"type\":\"a\",\"data\":1,\"colour\":1}", "`colour`"),
        ("{\"type\":\"a\"}", "`data`"),
        ("[]", ""),
        (
            "{\"type\":\"a\",\"data\":1}{\"type\":\"a\",\"data\":1}",
            "column",
        ),
    ] {
        for (before, after) in [(0, 2), (2, 1), (3, 0)] {
            let body = format!(
                "{}\n{}{bad}\n{}",
                "",
                good.repeat(before),
                good.repeat(after)
            );
            let detail = post(&daemon, body).problem(400);
            // The first line is blank and counts.
            let line = format!("line {}", before + 2);
            assert!(detail.contains(&line), "{line} is not in {detail:?}");
            assert!(detail.contains(part), "{part:?} is not in {detail:?}");
        }
    }
    let detail = post(
        &daemon,
        b"{\"type\":\"a\",\"data\":1}\n{\"type\":\"a\",\"data\":\"\xff\"}",
    )
    .problem(400);
    assert!(detail.contains("line 2"), "{detail}");
    for empty in ["", "\n \n"] {
        post(&daemon, empty).problem(400);
    }
    nothing_stored(&daemon);
}

#[test]
fn limits_of_lines_and_bytes_are_413() {
    let home = Home::new();
    let limits =
        "[ingest]\nmax_event_size = \"1KiB\"\nmax_batch_events = 5\nmax_batch_size = \"3KiB\"\n";
    let daemon = home.start(limits);
    let line = |size: usize| format!("{{\"type\":\"a\",\"data\":\"{}\"}}\n", "x".repeat(size));
    let detail = post(&daemon, line(1) + &line(1100)).problem(413);
    assert!(
        detail.contains("line 2") && detail.contains("max_event_size"),
        "{detail}"
    );
    let detail = post(&daemon, line(1).repeat(6)).problem(413);
    assert!(
        detail.contains("line 6") && detail.contains("max_batch_events"),
        "{detail}"
    );
    let detail = post(&daemon, line(900).repeat(4)).problem(413);
    assert!(detail.contains("max_batch_size"), "{detail}");
    nothing_stored(&daemon);
    assert_eq!(post(&daemon, line(1).repeat(5)).expect(202)["accepted"], 5);
}

#[test]
fn keys_hold_within_a_batch_and_across_batches() {
    let home = Home::new();
    let daemon = home.start("");
    let line = |data: u32, key: &str| {
        format!("{{\"type\":\"a\",\"data\":{data},\"idempotency_key\":\"{key}\"}}\n")
    };
    // The second of two in one batch is the first again.
    let first = post(&daemon, line(1, "x") + &line(1, "x") + &line(2, "y")).expect(202);
    let flags: Vec<_> = (0..3)
        .map(|n| first["events"][n]["duplicate"] == true)
        .collect();
    assert_eq!(flags, [false, true, false]);
    assert_eq!(first["events"][0]["id"], first["events"][1]["id"]);
    // A batch that is sent again after its answer was lost.
    let again = post(&daemon, line(1, "x") + &line(2, "y") + &line(3, "z")).expect(202);
    let flags: Vec<_> = (0..3)
        .map(|n| again["events"][n]["duplicate"] == true)
        .collect();
    assert_eq!(flags, [true, true, false]);
    assert_eq!(again["events"][1]["id"], first["events"][2]["id"]);
    // Other content: nothing of the batch is stored, and the line is named.
    let detail = post(&daemon, line(9, "new") + &line(7, "x")).problem(422);
    assert!(detail.contains("line 2"), "{detail}");
    let detail = post(&daemon, line(1, "p") + "\n" + &line(2, "p")).problem(422);
    assert!(detail.contains("line 3"), "{detail}");
    let listed = daemon.tcp.get("/v1/events").expect(200);
    assert_eq!(listed["data"].as_array().unwrap().len(), 3);
    // One header cannot stand for many.
    let headers = [
        ("content-type", "application/x-ndjson"),
        ("idempotency-key", "k"),
    ];
    let body = line(1, "k");
    daemon
        .tcp
        .request("POST", "/v1/events", &headers, body.as_bytes())
        .problem(400);
}

#[test]
fn a_large_batch_is_there_after_a_crash_whole() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let config = endpoint("all", &receiver.url("/"), "max_in_flight = 64");
    let daemon = home.start(&config);
    let data = "x".repeat(1000);
    let body: String = (0..1000)
        .map(|n| format!("{{\"type\":\"a\",\"data\":\"{n} {data}\"}}\n"))
        .collect();
    let answer = post(&daemon, body).expect(202);
    daemon.kill();
    let daemon = home.start(&config);
    let events = answer["events"].as_array().unwrap();
    assert_eq!(
        (answer["accepted"].as_u64(), events.len()),
        (Some(1000), 1000)
    );
    receiver.wait_until("every event", |seen| {
        let ids: std::collections::HashSet<_> = seen.iter().map(|seen| seen.id()).collect();
        ids.len() == 1000
    });
    for (n, event) in events.iter().enumerate() {
        let id = event["id"].as_str().unwrap();
        let seen = receiver.seen();
        let body = seen.iter().find(|seen| seen.id() == id).unwrap().text();
        assert!(body.contains(&format!("\"{n} x")), "{n}: {body:.120}");
        if n % 100 == 0 {
            daemon.wait_status(id, "all", "delivered");
        }
    }
}
