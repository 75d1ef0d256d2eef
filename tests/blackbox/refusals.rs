//! What the API refuses, and how it says so: every row of that table, all problem+json.

use crate::harness::http::{Response, head};
use crate::harness::{Daemon, Home, Receiver, endpoint};

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
const TEXT: &[(&str, &str)] = &[("content-type", "text/plain")];

#[track_caller]
fn refused(answer: &Response, status: u16, parts: &[&str]) {
    let detail = answer.problem(status);
    for part in parts {
        assert!(detail.contains(part), "{part:?} is not in {detail:?}");
    }
}

fn nothing_stored(daemon: &Daemon) {
    let listed = daemon.tcp.get("/v1/events").expect(200);
    assert_eq!(listed["data"], serde_json::json!([]));
}

#[test]
fn a_bad_event_is_400_with_field_and_position() {
    let home = Home::new();
    let daemon = home.start("");
    let long = format!("{{\"type\":\"{}\",\"data\":1}}", "a".repeat(129));
    let key = format!(
        "{{\"type\":\"a\",\"data\":1,\"key\":\"{}\"}}",
        "k".repeat(257)
    );
    let cases: &[(&str, &[&str])] = &[
        ("", &["column 0"]),
        ("{", &["column"]),
        ("null", &[]),
        ("[{\"type\":\"a\",\"data\":1}]", &[]),
        ("{\"type\":\"a\",\"data\":1}x", &["column 22"]),
        ("{\"type\":\"a\",\n\"data\":tru}", &["line 2", "column"]),
        ("{\"type\":\"a\"}", &["`data`", "missing"]),
        ("{\"data\":1}", &["`type`", "missing"]),
        (
            "{\"type\":\"a\",\"data\":1,\"dta\":2}",
            &["`dta`", "column"],
        ),
        ("{\"type\":\"a\",\"data\":1,\"type\":\"b\"}", &["`type`"]),
        ("{\"type\":7,\"data\":1}", &["`type`"]),
        ("{\"type\":\"a b\",\"data\":1}", &["`type`", "column"]),
        ("{\"type\":\"\",\"data\":1}", &["`type`"]),
        ("{\"type\":\".a\",\"data\":1}", &["`type`"]),
        ("{\"type\":\"a.\",\"data\":1}", &["`type`"]),
        ("{\"type\":\"a..b\",\"data\":1}", &["`type`"]),
        ("{\"type\":\"a.*\",\"data\":1}", &["`type`"]),
        ("{\"type\":\"\u{e4}\",\"data\":1}", &["`type`"]),
        ("{\"type\":\"outboxd.test\",\"data\":1}", &["outboxd."]),
        (
            "{\"type\":\"a\",\"data\":1,\"tenant\":\"a b\"}",
            &["`tenant`"],
        ),
        ("{\"type\":\"a\",\"data\":1,\"tenant\":\"\"}", &["`tenant`"]),
        ("{\"type\":\"a\",\"data\":1,\"key\":\"\"}", &["`key`"]),
        (
            "{\"type\":\"a\",\"data\":1,\"idempotency_key\":\"\"}",
            &["`idempotency_key`"],
        ),
        (
            "{\"type\":\"a\",\"data\":1,\"deliver_at\":\"soon\"}",
            &["`deliver_at`"],
        ),
        (
            "{\"type\":\"a\",\"data\":1,\"deliver_at\":1700000000}",
            &["`deliver_at`"],
        ),
        ("{\"type\":\"a\",\"data\":\"\\ud800 \u{1}\"}", &[]),
        (&long, &["`type`"]),
        (&key, &["`key`"]),
    ];
    for (body, parts) in cases {
        let answer = daemon.tcp.post_json("/v1/events", body);
        assert_eq!(answer.status, 400, "{body:.200} {}", answer.text());
        refused(&answer, 400, parts);
    }
    let answer = daemon
        .tcp
        .post_json("/v1/events", b"{\"type\":\"a\",\"data\":\"\xff\"}");
    refused(&answer, 400, &["UTF-8"]);
    nothing_stored(&daemon);
}

#[test]
fn a_type_may_be_as_long_as_promised() {
    let home = Home::new();
    let daemon = home.start("");
    let longest = "a".repeat(126) + ".b";
    daemon.send(&longest, "1");
    daemon.send("A-Z_0.9-z", "1");
    daemon.send("outboxd", "1");
    let fields = format!(
        "\"key\":\"{0}\",\"idempotency_key\":\"{0}\"",
        "\u{1f980}".repeat(64)
    );
    daemon.send_with("a", "1", &fields);
}

#[test]
fn a_bad_opaque_event_is_400() {
    let home = Home::new();
    let daemon = home.start("");
    let cases = [
        ("/v1/events/a%20b", "type"),
        ("/v1/events/outboxd.test", "outboxd."),
        ("/v1/events/a?tenant=a.b", "`tenant`"),
        ("/v1/events/a?key=%ff", "`key`"),
        ("/v1/events/a?deliver_at=never", "`deliver_at`"),
        ("/v1/events/a?delivr_at=2030-01-01T00:00:00Z", "`delivr_at`"),
        ("/v1/events/a?key=a&key=b", "`key`"),
    ];
    for (path, part) in cases {
        refused(&daemon.tcp.request("POST", path, TEXT, b"x"), 400, &[part]);
    }
    nothing_stored(&daemon);
}

#[test]
fn a_bad_query_is_400_and_names_the_parameter() {
    let home = Home::new();
    let daemon = home.start("");
    for (path, part) in [
        ("/v1/events?limit=0", "`limit`"),
        ("/v1/events?limit=1001", "`limit`"),
        ("/v1/events?limit=ten", "`limit`"),
        ("/v1/events?since=yesterday", "`since`"),
        ("/v1/events?typ=a", "`typ`"),
        ("/v1/events?type=a%20b", "`type`"),
        ("/v1/events?cursor=nonsense", "cursor"),
        ("/v1/deliveries?status=lost", "`status`"),
        ("/v1/deliveries?endpoint=a.b", "`endpoint`"),
        ("/v1/deliveries?cursor=%00", "cursor"),
        ("/v1/endpoints?tenant=%20", "`tenant`"),
        ("/v1/status?verbose=1", "`verbose`"),
    ] {
        let answer = daemon.tcp.get(path);
        assert_eq!(answer.status, 400, "{path} {}", answer.text());
        refused(&answer, 400, &[part]);
    }
}

#[test]
fn what_is_not_there_is_404() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let wants = endpoint("orders", &receiver.url("/"), "types = [\"order.*\"]");
    let daemon = home.start(&wants);
    let event = daemon.send("other", "1");
    for path in [
        "/",
        "/v1",
        "/v1/",
        "/v2/events",
        "/v1/events/",
        "/v1/events/evt_00000000000000000000000000",
        "/v1/events/no-id",
        "/v1/events/evt_00000000000000000000000000/deliveries/orders",
        &format!("/v1/events/{event}/deliveries/orders"),
        &format!("/v1/events/{event}/deliveries/none"),
        &format!("/v1/events/{event}/nothing"),
        "/v1/endpoints/none",
        "/v1/endpoints/%2e%2e",
        "/v1/events/../../etc/passwd",
    ] {
        let answer = daemon.tcp.get(path);
        assert_eq!(answer.status, 404, "{path} {}", answer.text());
        answer.problem(404);
    }
    for path in [
        "/v1/nothing",
        "/v1/endpoints/none/enable",
        "/v1/endpoints/none/disable",
        &format!("/v1/events/{event}/deliveries/orders/retry"),
        &format!("/v1/events/{event}/deliveries/orders/cancel"),
    ] {
        daemon.tcp.post(path).problem(404);
    }
    daemon
        .tcp
        .request("PATCH", "/v1/endpoints/none", JSON, b"{}")
        .problem(404);
    daemon
        .tcp
        .request("DELETE", "/v1/endpoints/none", &[], b"")
        .problem(404);
}

#[test]
fn a_wrong_method_is_405_and_names_the_right_ones() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start(&endpoint("orders", &receiver.url("/"), ""));
    let event = daemon.send("a", "1");
    for (method, path, allow) in [
        ("DELETE", "/v1/events", "GET,HEAD,POST"),
        ("PUT", "/v1/events/a.b", "DELETE,GET,HEAD,POST"),
        ("POST", "/v1/deliveries", "GET,HEAD"),
        ("POST", "/v1/status", "GET,HEAD"),
        ("POST", "/healthz", "GET,HEAD"),
        ("POST", "/readyz", "GET,HEAD"),
        ("DELETE", "/metrics", "GET,HEAD"),
        ("GET", "/v1/endpoints/orders/enable", "POST"),
        (
            "GET",
            &format!("/v1/events/{event}/deliveries/orders/retry"),
            "POST",
        ),
        ("PUT", "/v1/endpoints/orders", "DELETE,GET,HEAD,PATCH"),
        ("BREW", "/v1/events", "GET,HEAD,POST"),
    ] {
        let answer = daemon.tcp.request(method, path, &[], b"");
        assert_eq!(answer.status, 405, "{method} {path} {}", answer.text());
        answer.problem(405);
        let mut allowed: Vec<_> = answer
            .header("allow")
            .unwrap_or_default()
            .split(',')
            .map(str::trim)
            .collect();
        allowed.sort_unstable();
        assert_eq!(allowed.join(","), allow, "{method} {path}");
    }
}

#[test]
fn the_files_endpoints_are_read_only_409() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let config = endpoint("orders", &receiver.url("/"), "")
        + &endpoint("off", &receiver.url("/"), "enabled = false");
    let daemon = home.start(&config);
    let patch = b"{\"url\":\"https://example.invalid/\"}";
    daemon
        .tcp
        .request("PATCH", "/v1/endpoints/orders", JSON, patch)
        .problem(409);
    daemon
        .tcp
        .request("DELETE", "/v1/endpoints/orders", &[], b"")
        .problem(409);
    assert_eq!(daemon.endpoint("orders")["url"], receiver.url("/"));
    // `enabled = false` in the file wins.
    daemon.tcp.post("/v1/endpoints/off/enable").problem(409);
}

#[test]
fn a_body_over_the_limit_is_413_at_exactly_one_byte_more() {
    let home = Home::new();
    let daemon = home.start("[ingest]\nmax_event_size = \"1KiB\"\n");
    let body = |size: usize| {
        let frame = "{\"type\":\"a\",\"data\":\"\"}".len();
        format!(
            "{{\"type\":\"a\",\"data\":\"{}\"}}",
            "x".repeat(size - frame)
        )
    };
    daemon.tcp.post_json("/v1/events", body(1024)).expect(202);
    refused(
        &daemon.tcp.post_json("/v1/events", body(1025)),
        413,
        &["max_event_size"],
    );
    let opaque = |size| {
        daemon
            .tcp
            .request("POST", "/v1/events/a", TEXT, &vec![0; size])
    };
    opaque(1024).expect(202);
    refused(&opaque(1025), 413, &["max_event_size"]);
    // Without a declared length, in chunks.
    let mut connection = daemon.tcp.connect().unwrap();
    let chunked = [JSON, &[("transfer-encoding", "chunked")]].concat();
    connection
        .send(&head("POST", "/v1/events", &chunked, None))
        .unwrap();
    connection
        .send(format!("401\r\n{}\r\n0\r\n\r\n", body(1025)).as_bytes())
        .unwrap();
    refused(&connection.answer().unwrap(), 413, &["max_event_size"]);
}

#[test]
fn a_body_that_is_coded_is_refused_and_not_stored_as_it_came() {
    let home = Home::new();
    let daemon = home.start("");
    let kinds = [
        ("/v1/events", "application/json"),
        ("/v1/events/a.b", "application/octet-stream"),
        ("/v1/endpoints", "application/json"),
    ];
    for coding in [
        "gzip, chunked",
        "deflate, chunked",
        "chunked, chunked",
        "identity, chunked",
    ] {
        for (path, kind) in kinds {
            let headers = [("content-type", kind), ("transfer-encoding", coding)];
            let mut connection = daemon.tcp.connect().unwrap();
            let request = head("POST", path, &headers, None);
            let chunk = b"2\r\n{}\r\n0\r\n\r\n";
            connection.send(&[&request[..], chunk].concat()).unwrap();
            let answer = connection.answer().unwrap();
            // hyper refuses some itself.
            if answer.status != 400 {
                refused(&answer, 415, &[&format!("`{coding}`"), "chunked"]);
            }
        }
    }
    let two = [
        ("content-type", "application/json"),
        ("transfer-encoding", "gzip"),
        ("transfer-encoding", "chunked"),
    ];
    let mut connection = daemon.tcp.connect().unwrap();
    let request = head("POST", "/v1/events", &two, None);
    connection
        .send(&[&request[..], b"2\r\n{}\r\n0\r\n\r\n"].concat())
        .unwrap();
    refused(&connection.answer().unwrap(), 415, &["`gzip`", "chunked"]);
    nothing_stored(&daemon);
}

#[test]
fn a_415_names_what_came() {
    let home = Home::new();
    let daemon = home.start("");
    for path in ["/v1/events", "/v1/endpoints"] {
        for kind in ["text/csv", "application/json; charset=latin1", "csv"] {
            let headers = [("content-type", kind)];
            let answer = daemon.tcp.request("POST", path, &headers, b"{}");
            refused(&answer, 415, &[&format!("`{kind}`")]);
        }
    }
}

#[test]
fn a_bad_url_names_what_is_wrong_with_it() {
    let home = Home::new();
    let daemon = home.start("");
    for (url, part) in [
        ("https://example.invalid/a b", "space"),
        ("https://example.invalid:99999/", "port"),
        ("https://example.invalid:http/", "port"),
        ("https://exa<mple.invalid/", "host"),
        ("https://[::1/", "host"),
        ("https://example.invalid\\\\a", "backslash"),
    ] {
        let body = format!(r#"{{"url": "{url}"}}"#);
        refused(
            &daemon.tcp.post_json("/v1/endpoints", body),
            400,
            &["`url`", part],
        );
    }
}

#[test]
fn a_client_that_is_still_sending_reads_the_413() {
    let home = Home::new();
    let daemon = home.start("[ingest]\nmax_event_size = \"64KiB\"\n");
    for interface in [&daemon.tcp, &daemon.unix] {
        // All at once, without a look at the answer before the end.
        for size in [100_000, 900_000] {
            let answer = interface.request("POST", "/v1/events", JSON, &vec![b' '; size]);
            refused(&answer, 413, &["max_event_size"]);
        }
        // A client that would wait for leave to send is told before it does.
        let mut connection = interface.connect().unwrap();
        let expects = [JSON, &[("expect", "100-continue")]].concat();
        connection
            .send(&head("POST", "/v1/events", &expects, Some(100_000)))
            .unwrap();
        refused(&connection.answer().unwrap(), 413, &["max_event_size"]);
    }
    daemon.send("a", "1");
}

#[test]
fn a_content_type_that_does_not_fit_is_415() {
    let home = Home::new();
    let daemon = home.start("");
    let event = b"{\"type\":\"a\",\"data\":1}";
    for headers in [
        &[][..],
        &[("content-type", "text/json")],
        &[("content-type", "application/xml")],
        &[("content-type", "application/cloudevents+xml")],
        &[("content-type", "")],
        &[
            ("content-type", "application/json"),
            ("content-encoding", "gzip"),
        ],
        &[
            ("content-type", "application/json"),
            ("content-type", "text/plain"),
        ],
    ] {
        let answer = daemon.tcp.request("POST", "/v1/events", headers, event);
        assert_eq!(answer.status, 415, "{headers:?} {}", answer.text());
        answer.problem(415);
    }
    for headers in [&[][..], JSON, &[("content-type", "application/x-ndjson")]] {
        let answer = daemon.tcp.request("POST", "/v1/events/a", headers, event);
        assert_eq!(answer.status, 415, "{headers:?} {}", answer.text());
        answer.problem(415);
    }
    nothing_stored(&daemon);
    let fits = [("content-type", "Application/JSON; charset=UTF-8")];
    daemon
        .tcp
        .request("POST", "/v1/events", &fits, event)
        .expect(202);
}

#[track_caller]
fn unavailable(answer: &Response, part: &str) {
    refused(answer, 503, &[part]);
    let seconds = answer.header("retry-after").unwrap_or_default();
    assert!(seconds.parse::<u64>().is_ok(), "retry-after: {seconds:?}");
}

#[test]
fn a_full_outbox_is_503_and_drains() {
    let gate = crate::harness::Gate::new();
    let held = gate.clone();
    let receiver = Receiver::answering(move |_| crate::harness::Answer::status(200).behind(&held));
    let home = Home::new();
    let config = "[outbox]\nsegment_size = \"4MiB\"\nmax_size = \"10KiB\"\nendpoint_share = 1.0\n";
    let daemon = home.start(&(config.to_owned() + &endpoint("slow", &receiver.url("/"), "")));
    let data = format!("\"{}\"", "x".repeat(4000));
    let first = [daemon.send("a", &data), daemon.send("a", &data)];
    let body = format!("{{\"type\":\"a\",\"data\":{data}}}");
    unavailable(&daemon.tcp.post_json("/v1/events", &body), "max_size");
    // What was accepted goes on: reads, deliveries, and then there is room again.
    receiver.wait(2);
    assert_eq!(daemon.status()["backlog"]["pending"], 2);
    gate.open();
    for event in &first {
        daemon.wait_status(event, "slow", "delivered");
    }
    daemon.tcp.post_json("/v1/events", &body).expect(202);
    receiver.wait(3);
}

#[test]
fn low_disk_is_503_and_what_is_there_is_delivered() {
    let receiver = Receiver::statuses(&[500]);
    let home = Home::new();
    let config = endpoint("sick", &receiver.url("/"), "");
    let daemon = home.start(&config);
    let event = daemon.send("a", "1");
    receiver.wait(1);
    daemon.kill();
    drop(receiver);

    let receiver = Receiver::ok();
    let huge = "[outbox]\nsegment_size = \"4MiB\"\nmin_free_disk = \"900000GiB\"\n";
    let daemon = home.start(&(huge.to_owned() + &endpoint("sick", &receiver.url("/"), "")));
    unavailable(
        &daemon
            .tcp
            .post_json("/v1/events", "{\"type\":\"a\",\"data\":1}"),
        "min_free_disk",
    );
    daemon.wait_status(&event, "sick", "delivered");
    assert_eq!(receiver.wait(1)[0].id(), event);
    assert_eq!(daemon.tcp.get("/healthz").status, 200);
}

#[test]
fn a_refused_request_leaves_the_connection_usable() {
    let home = Home::new();
    let daemon = home.start("");
    let mut connection = daemon.tcp.connect().unwrap();
    for _ in 0..3 {
        connection
            .ask("POST", "/v1/events", JSON, b"{}")
            .unwrap()
            .problem(400);
        connection
            .ask("GET", "/v1/none", &[], b"")
            .unwrap()
            .problem(404);
        connection
            .ask("DELETE", "/v1/events", &[], b"")
            .unwrap()
            .problem(405);
        let sent = connection.ask("POST", "/v1/events", JSON, b"{\"type\":\"a\",\"data\":1}");
        sent.unwrap().expect(202);
    }
}

#[test]
fn times_are_rfc_3339_and_nothing_else() {
    let home = Home::new();
    let daemon = home.start("");
    let body = |at: &str| format!(r#"{{"type": "a", "data": 1, "deliver_at": "{at}"}}"#);
    for at in [
        "2099-12-31 23:59:59Z",
        "20991231T235959Z",
        "2099-12-31T23:59Z",
        "2099-12-31T23:59:59+01",
        "2099-12-31T23:59:59+01:00[Europe/Paris]",
    ] {
        let detail = daemon.tcp.post_json("/v1/events", body(at)).problem(400);
        assert!(detail.contains("`deliver_at`"), "{detail}");
        assert!(detail.contains("RFC 3339"), "{detail}");
        let at = at.replace('+', "%2B").replace(' ', "%20");
        for query in [
            format!("events?since={at}"),
            format!("deliveries?until={at}"),
        ] {
            let detail = daemon.tcp.get(&format!("/v1/{query}")).problem(400);
            assert!(detail.contains("RFC 3339"), "{detail}");
        }
    }
    let last = "9999-12-31T23:59:59.999Z";
    let answer = daemon.tcp.post_json("/v1/events", body(last)).expect(202);
    let event = daemon
        .tcp
        .get(&format!("/v1/events/{}", answer["id"].as_str().unwrap()));
    assert_eq!(event.expect(200)["deliver_at"], last);
    let beyond = body("9999-12-31T23:59:59-00:01");
    let detail = daemon.tcp.post_json("/v1/events", beyond).problem(400);
    assert!(detail.contains("9999"), "{detail}");
}

#[test]
fn a_replay_or_purge_whose_range_ends_before_it_begins_is_refused() {
    let home = Home::new();
    let daemon = home.start(&endpoint("orders", "http://127.0.0.1:9/", ""));
    let (since, until) = ("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z");
    let named = |detail: String| {
        assert!(detail.contains("`since`"), "{detail}");
        assert!(detail.contains("`until`"), "{detail}");
    };
    for work in ["replay", "purge"] {
        for dry_run in [true, false] {
            let body =
                format!(r#"{{"since": "{since}", "until": "{until}", "dry_run": {dry_run}}}"#);
            let path = format!("/v1/endpoints/orders/{work}");
            named(daemon.tcp.post_json(&path, body).problem(400));
        }
    }
    // Nothing lies in between: for a list that is an answer.
    for list in ["events", "deliveries"] {
        let path = format!("/v1/{list}?since={since}&until={until}");
        assert_eq!(
            daemon.tcp.get(&path).expect(200)["data"],
            serde_json::json!([])
        );
    }
}
