//! Clients that are slow, endless, many, or talk nonsense: each is answered or cut off,
//! and the daemon goes on for the others.

use std::time::{Duration, Instant, SystemTime};

use crate::delivery::rfc3339;
use crate::harness::http::head;
use crate::harness::{Daemon, Home, Receiver, endpoint};

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
const EVENT: &str = "{\"type\":\"a\",\"data\":1}";

#[track_caller]
fn is_well(daemon: &Daemon) {
    daemon.tcp.post_json("/v1/events", EVENT).expect(202);
    daemon.unix.post_json("/v1/events", EVENT).expect(202);
}

/// How long until the daemon closed, and what it said before.
fn until_closed(daemon: &Daemon, first: &[u8], again: &[u8]) -> (Duration, String) {
    let start = Instant::now();
    let mut connection = daemon.tcp.connect().unwrap();
    connection.send(first).unwrap();
    if again.is_empty() {
        // An error is an end as well.
        let said = connection.rest().unwrap_or_default();
        return (start.elapsed(), String::from_utf8_lossy(&said).into_owned());
    }
    while start.elapsed() < crate::harness::PATIENCE {
        if connection.send(again).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(250));
    }
    (start.elapsed(), String::new())
}

/// All at once, as each takes its ten seconds.
#[test]
fn slow_clients_are_cut_off_and_hold_nobody_up() {
    let home = Home::new();
    let daemon = home.start("");
    let request = head("POST", "/v1/events", JSON, Some(1000));
    let chunked = head(
        "POST",
        "/v1/events",
        &[JSON, &[("transfer-encoding", "chunked")]].concat(),
        None,
    );
    let stalled = [&request[..], b"{\"type\""].concat();
    let cases: [(&str, &[u8], &[u8]); 6] = [
        ("says nothing", b"", b""),
        (
            "stops in its headers",
            b"POST /v1/events HTTP/1.1\r\nhost: a\r\n",
            b"",
        ),
        (
            "drips its headers",
            b"POST /v1/events HTTP/1.1\r\nhost: a\r\nx: ",
            b"y",
        ),
        ("stops before its body", &request, b""),
        ("stops in its body", &stalled, b""),
        ("drips its body", &chunked, b"1\r\n \r\n"),
    ];
    std::thread::scope(|scope| {
        let slow = cases.map(|(what, first, again)| {
            let daemon = &daemon;
            (
                what,
                scope.spawn(move || until_closed(daemon, first, again)),
            )
        });
        for _ in 0..10 {
            let start = Instant::now();
            is_well(&daemon);
            assert!(
                start.elapsed() < Duration::from_secs(5),
                "held up by slow clients"
            );
        }
        for (what, slow) in slow {
            let (took, said) = slow.join().unwrap();
            assert!(took < Duration::from_secs(17), "{what}: {took:?}");
            assert!(took > Duration::from_secs(1), "{what}: only {took:?}");
            if what.contains("before its body") || what == "stops in its body" {
                assert!(said.starts_with("HTTP/1.1 408 "), "{what}: {said}");
                assert!(said.contains("application/problem+json"), "{what}: {said}");
            }
        }
    });
}

#[test]
fn an_endless_body_is_413() {
    let home = Home::new();
    let daemon = home.start("");
    // By its declared length, unsent.
    for length in ["1048577", "99999999999999"] {
        let declared = [JSON, &[("content-length", length)]].concat();
        let mut connection = daemon.tcp.connect().unwrap();
        connection
            .send(&head("POST", "/v1/events", &declared, None))
            .unwrap();
        connection.answer().unwrap().problem(413);
    }
    // In chunks without an end.
    for path in ["/v1/events", "/v1/events/opaque"] {
        let kind = if path == "/v1/events" {
            "application/json"
        } else {
            "text/plain"
        };
        let chunked = [("content-type", kind), ("transfer-encoding", "chunked")];
        let mut connection = daemon.tcp.connect().unwrap();
        connection
            .send(&head("POST", path, &chunked, None))
            .unwrap();
        let chunk = [b"10000\r\n", &[b' '; 65536][..], b"\r\n"].concat();
        let mut sent = 0;
        // Past the limit it drains a little, then it closes.
        while connection.send(&chunk).is_ok() {
            sent += chunk.len();
            assert!(sent < 64 << 20, "it reads for ever");
        }
    }
    is_well(&daemon);
    let listed = daemon.tcp.get("/v1/events").expect(200);
    assert_eq!(listed["data"].as_array().unwrap().len(), 2);
}

#[test]
fn a_flood_of_connections_stops_neither_deliveries_nor_the_daemon() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start(&endpoint("one", &receiver.url("/"), ""));
    let due = SystemTime::now() + Duration::from_secs(1);
    let event = daemon.send_with("a", "1", &format!("\"deliver_at\":\"{}\"", rfc3339(due)));
    // More than it takes at once.
    let flood: Vec<_> = (0..1100).map(|_| daemon.tcp.connect().unwrap()).collect();
    assert_eq!(receiver.wait(1)[0].id(), event);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| is_well(&daemon));
        drop(flood);
        waiting.join().unwrap();
    });
    receiver.wait(3);
    daemon.wait_status(&event, "one", "delivered");
}

#[test]
fn malformed_http_is_refused_and_forgotten() {
    let home = Home::new();
    let daemon = home.start("");
    let long = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(200_000));
    let large = format!(
        "GET /healthz HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "y".repeat(200_000)
    );
    let many = format!(
        "GET /healthz HTTP/1.1\r\nhost: a\r\n{}\r\n",
        "x: y\r\n".repeat(5000)
    );
    let over = format!(
        "GET /healthz HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "y".repeat(20_000)
    );
    let both = "POST /v1/events HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
                content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n";
    let two = "POST /v1/events HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
               content-length: 4\r\ncontent-length: 5\r\n\r\n1234";
    let negative = "POST /v1/events HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n";
    let chunk = "POST /v1/events HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
                 transfer-encoding: chunked\r\n\r\nzz\r\n";
    let cases: [(&[u8], &[&str]); 16] = [
        (b"\r\n\r\n\r\n\r\n", &["400", ""]),
        (b"\0\0\0\0\r\n\r\n", &["400"]),
        (b"GET\r\n\r\n", &["400"]),
        (b"GET /healthz\r\n\r\n", &["400"]),
        (b"GET /healthz HTTP/7.3\r\n\r\n", &["400", "505"]),
        (b"G\xc3\xa4T /healthz HTTP/1.1\r\n\r\n", &["400"]),
        (b"GET /healthz HTTP/1.1\r\nno colon\r\n\r\n", &["400"]),
        (b"GET /healthz HTTP/1.1\r\nhost: a\0b\r\n\r\n", &["400"]),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &["400", "505", ""]),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", &["400"]),
        (long.as_bytes(), &["414", "431", "400"]),
        (large.as_bytes(), &["431", "400"]),
        (many.as_bytes(), &["431", "400"]),
        (over.as_bytes(), &["431"]),
        (two.as_bytes(), &["400"]),
        (negative.as_bytes(), &["400"]),
    ];
    for (bytes, statuses) in cases {
        let shown = String::from_utf8_lossy(bytes).into_owned();
        let mut connection = daemon.tcp.connect().unwrap();
        // It may close while we are sending.
        let _ = connection.send(bytes);
        let said = connection.answer();
        let status = said.map_or(String::new(), |answer| answer.status.to_string());
        assert!(
            statuses.contains(&status.as_str()),
            "{shown:.80?} got {status:?}"
        );
    }
    // A request within a request: neither spelling of the length lets one through.
    for first in [both, chunk] {
        let mut connection = daemon.tcp.connect().unwrap();
        let smuggled = format!(
            "{first}0\r\n\r\nPOST /v1/events HTTP/1.1\r\nhost: a\r\n\
            content-type: application/json\r\ncontent-length: 21\r\n\r\n{EVENT}"
        );
        let _ = connection.send(smuggled.as_bytes());
        let said = String::from_utf8_lossy(&connection.rest().unwrap_or_default()).into_owned();
        assert!(!said.contains(" 202 "), "{said}");
    }
    let listed = daemon.tcp.get("/v1/events").expect(200);
    assert_eq!(listed["data"], serde_json::json!([]));
    is_well(&daemon);
}

#[test]
fn a_client_that_goes_away_leaves_nothing_half_done() {
    let home = Home::new();
    let daemon = home.start("");
    for _ in 0..20 {
        let mut connection = daemon.tcp.connect().unwrap();
        connection
            .send(&head("POST", "/v1/events", JSON, Some(100)))
            .unwrap();
        connection.send(b"{\"type\":\"a\",\"data\":1}").unwrap();
        drop(connection);
    }
    is_well(&daemon);
    let listed = daemon.tcp.get("/v1/events").expect(200);
    assert_eq!(listed["data"].as_array().unwrap().len(), 2);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let home = Home::new();
    let daemon = home.start("");
    let mut connection = daemon.tcp.connect().unwrap();
    let mut bytes = Vec::new();
    for n in 0..50 {
        let body = format!("{{\"type\":\"t{n}\",\"data\":1}}");
        bytes.extend(head("POST", "/v1/events", JSON, Some(body.len())));
        bytes.extend(body.as_bytes());
    }
    connection.send(&bytes).unwrap();
    for n in 0..50 {
        let answer = connection.answer().unwrap().expect(202);
        assert_eq!(answer["type"], format!("t{n}"));
    }
}

#[test]
fn a_client_that_does_not_read_does_not_stop_the_others() {
    let home = Home::new();
    let daemon = home.start("");
    let data = format!("\"{}\"", "x".repeat(900_000));
    let event = daemon.send("a", &data);
    let mut deaf = daemon.tcp.connect().unwrap();
    for _ in 0..50 {
        // Until nothing more fits in between.
        deaf.send(&head("GET", &format!("/v1/events/{event}"), &[], None))
            .unwrap();
    }
    for _ in 0..5 {
        is_well(&daemon);
    }
}

/// The clients of the port wait for one another, and the operator waits for none of them.
#[test]
fn clients_of_the_port_do_not_keep_the_operator_out() {
    let home = Home::new();
    // Of 256 files a quarter may be connections over TCP.
    let command = home.command_after("ulimit -n 256");
    let daemon = home.spawn_with("", command, std::process::Stdio::piped());
    let ready = daemon.wait_log("ready");
    let tcp = ready["tcp"].as_str().unwrap();
    let address = tcp.trim_matches(['[', ']']).parse().unwrap();
    let tcp = crate::harness::http::Interface::Tcp(address);
    let began = std::time::Instant::now();
    let mut served: Vec<_> = (0..64).map(|_| tcp.connect().unwrap()).collect();
    for connection in &mut served {
        let answer = connection.ask("GET", "/healthz", &[], b"").unwrap();
        assert_eq!(answer.status, 200);
    }
    let waiting: Vec<_> = (0..64).map(|_| tcp.connect().unwrap()).collect();
    for _ in 0..8 {
        daemon.unix.get("/v1/status").expect(200);
    }
    // Idle ones are closed after 10 s: all of these were there all the time.
    let took = began.elapsed();
    assert!(took < std::time::Duration::from_secs(9), "{took:?}");
    drop((served, waiting));
    assert_eq!(tcp.get("/healthz").status, 200);
}
