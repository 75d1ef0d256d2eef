//! What an event brings along and what its body is: headers, trace context, formats.

use serde_json::{Value, json};

use crate::harness::{Home, Receiver, Seen, endpoint};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn to<'a>(seen: &'a [Seen], path: &str) -> &'a Seen {
    seen.iter().find(|one| one.path == path).expect("it came")
}

#[test]
fn headers_and_trace_context_are_sent_on_and_the_endpoints_own_win() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let own = "headers = { \"x-region\" = \"mine\", \"x-type\" = \"{{ event.type }}\" }";
    let config = endpoint("plain", &receiver.url("/plain"), "")
        + &endpoint("own", &receiver.url("/own"), own)
        + &endpoint("chat", &receiver.url("/chat"), "template = '1'");
    let daemon = home.start(&config);
    let body = r#"{"type": "a", "data": 1, "headers": {"X-Region": "eu", "x-type": "theirs"}}"#;
    let headers = [
        ("content-type", "application/json"),
        ("traceparent", PARENT),
        ("tracestate", "a=1"),
        ("tracestate", "b=2"),
    ];
    let answer = daemon
        .tcp
        .request("POST", "/v1/events", &headers, body.as_bytes())
        .expect(202);
    assert_eq!(answer["deliveries"], 3);
    let seen = receiver.wait(3);
    for one in &seen {
        assert_eq!(one.header("traceparent"), PARENT);
        assert_eq!(one.header("tracestate").replace(' ', ""), "a=1,b=2");
    }
    for path in ["/plain", "/chat"] {
        let one = to(&seen, path);
        assert_eq!(
            (one.header("x-region"), one.header("x-type")),
            ("eu", "theirs")
        );
    }
    let one = to(&seen, "/own");
    assert_eq!(
        (one.header("x-region"), one.header("x-type")),
        ("mine", "a")
    );
}

#[test]
fn they_survive_a_crash_and_a_batch_shares_its_trace() {
    let home = Home::new();
    let receiver = Receiver::ok();
    let table = |enabled: bool| endpoint("e", &receiver.url("/"), &format!("enabled = {enabled}"));
    let daemon = home.start(&table(false));
    let lines = "{\"type\": \"a\", \"data\": 1, \"headers\": {\"x-n\": \"1\"}}\n{\"type\": \"a\", \"data\": 2, \"headers\": {\"x-n\": \"2\"}}\n";
    let headers = [
        ("content-type", "application/x-ndjson"),
        ("traceparent", PARENT),
    ];
    daemon
        .tcp
        .request("POST", "/v1/events", &headers, lines.as_bytes())
        .expect(202);
    let raw = [("content-type", "text/plain"), ("traceparent", PARENT)];
    daemon
        .tcp
        .request("POST", "/v1/events/a", &raw, b"x")
        .expect(202);
    let bad = [
        ("content-type", "text/plain"),
        ("traceparent", "00-xyz-01"),
        ("tracestate", "a=1"),
    ];
    daemon
        .tcp
        .request("POST", "/v1/events/bad", &bad, b"x")
        .expect(202);
    daemon.kill();
    let _daemon = home.start(&table(true));
    let seen = receiver.wait(4);
    let traced = seen
        .iter()
        .filter(|one| one.values("traceparent") == [PARENT]);
    assert_eq!(traced.count(), 3);
    let mut numbers: Vec<_> = seen.iter().flat_map(|one| one.values("x-n")).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, ["1", "2"]);
    let bad = seen
        .iter()
        .find(|one| one.values("outboxd-event-type") == ["bad"])
        .unwrap();
    assert!(bad.values("traceparent").is_empty() && bad.values("tracestate").is_empty());
}

#[test]
fn channels_and_headers_are_part_of_the_content() {
    let home = Home::new();
    let daemon = home.start("");
    let post = |more: &str| {
        let body = format!(r#"{{"type": "a", "data": 1, "idempotency_key": "k"{more}}}"#);
        daemon.tcp.post_json("/v1/events", body)
    };
    let base = r#", "channels": ["eu", "us"], "headers": {"x-a": "1", "x-b": "2"}"#;
    assert_eq!(post(base).expect(202)["duplicate"], false);
    assert_eq!(post(base).expect(202)["duplicate"], true);
    for other in [
        "",
        r#", "channels": ["eu", "us"]"#,
        r#", "headers": {"x-a": "1", "x-b": "2"}"#,
        r#", "channels": ["eu"], "headers": {"x-a": "1", "x-b": "2"}"#,
        r#", "channels": ["eu", "us"], "headers": {"x-a": "1", "x-b": "3"}"#,
        r#", "channels": ["eu", "us"], "headers": {"x-a": "1"}"#,
        r#", "channels": ["eu", "us"], "headers": {"x-a": "1", "x-c": "2"}"#,
    ] {
        post(other).problem(422);
    }
    // The trace is not: a retry of the app has another one.
    let headers = [
        ("content-type", "application/json"),
        ("traceparent", PARENT),
    ];
    let body = format!(r#"{{"type": "a", "data": 1, "idempotency_key": "k"{base}}}"#);
    let again = daemon
        .tcp
        .request("POST", "/v1/events", &headers, body.as_bytes());
    assert_eq!(again.expect(202)["duplicate"], true);
}

#[test]
fn headers_have_bounds() {
    let home = Home::new();
    let daemon = home.start("");
    let many: serde_json::Map<String, Value> =
        (0..17).map(|n| (format!("x-{n}"), json!("1"))).collect();
    let sixteen: serde_json::Map<String, Value> = many.clone().into_iter().take(16).collect();
    let refused = [
        json!(many),
        json!({"x-a": "y".repeat(4096)}),
        json!({"host": "x"}),
        json!({"Webhook-Id": "x"}),
        json!({"content-length": "1"}),
        json!({"transfer-encoding": "chunked"}),
        json!({"connection": "x"}),
        json!({"x-a": "a\nb"}),
        json!({"x-a": "é"}),
        json!({"x-a": "a\r\nx-b: c"}),
        json!({"x a": "1"}),
        json!({"": "1"}),
        json!({"x-a": 1}),
        json!({"x-a": "1", "X-A": "2"}),
        json!(["x-a"]),
    ];
    for headers in refused {
        let body = json!({"type": "a", "data": 1, "headers": headers}).to_string();
        let detail = daemon.tcp.post_json("/v1/events", body).problem(400);
        assert!(detail.contains("headers"), "{headers}: {detail}");
    }
    let body = json!({"type": "a", "data": 1, "headers": sixteen}).to_string();
    daemon.tcp.post_json("/v1/events", body).expect(202);
}

#[test]
fn each_format_is_what_it_says() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let of = |format: &str, more: &str| {
        endpoint(
            format,
            &receiver.url(&format!("/{format}")),
            &format!("format = \"{format}\"\n{more}"),
        )
    };
    let config = of("standard", "")
        + &of("bare", "")
        + &of(
            "cloudevents",
            "cloudevents_source = \"https://shop.example/x\"",
        )
        + &of("cloudevents-binary", "");
    let daemon = home.start(&config);
    let data = r#"{ "id": 36893488147419103233,  "s": "é" }"#;
    let event = daemon.send_with("order.created", data, r#""key": "k 1""#);
    for id in ["standard", "bare", "cloudevents", "cloudevents-binary"] {
        daemon.wait_status(&event, id, "delivered");
    }
    let stored = daemon.tcp.get(&format!("/v1/events/{event}")).expect(200);
    let at = stored["accepted_at"].as_str().unwrap();
    let seen = receiver.seen();
    let standard = format!("{{\"type\":\"order.created\",\"timestamp\":\"{at}\",\"data\":{data}}}");
    assert_eq!(to(&seen, "/standard").text(), standard);
    assert_eq!(to(&seen, "/bare").text(), data);
    let one = to(&seen, "/cloudevents");
    assert!(
        one.header("content-type")
            .starts_with("application/cloudevents+json")
    );
    assert!(one.text().contains("36893488147419103233"));
    let body: Value = serde_json::from_str(&one.text()).unwrap();
    assert_eq!(
        (&body["specversion"], &body["type"], &body["id"]),
        (&json!("1.0"), &json!("order.created"), &json!(event))
    );
    assert_eq!(
        (&body["source"], &body["time"], &body["subject"]),
        (&json!("https://shop.example/x"), &json!(at), &json!("k 1"))
    );
    assert_eq!(body["data"]["s"], "é");
    let one = to(&seen, "/cloudevents-binary");
    assert_eq!(one.text(), data);
    assert_eq!(one.header("content-type"), "application/json");
    assert_eq!(
        (
            one.header("ce-specversion"),
            one.header("ce-id"),
            one.header("ce-type")
        ),
        ("1.0", &*event, "order.created")
    );
    assert_eq!(
        (one.header("ce-source"), one.header("ce-subject")),
        ("/outboxd/default", "k%201")
    );
    // An opaque body.
    let answer = daemon.tcp.request(
        "POST",
        "/v1/events/a.b",
        &[("content-type", "application/x-thing")],
        b"\0\xff",
    );
    let event = answer.expect(202)["id"].as_str().unwrap().to_owned();
    for id in ["standard", "bare", "cloudevents", "cloudevents-binary"] {
        daemon.wait_status(&event, id, "delivered");
    }
    for one in receiver.seen().iter().filter(|one| one.id() == event) {
        if one.path == "/cloudevents" {
            let body: Value = serde_json::from_str(&one.text()).unwrap();
            assert_eq!(
                (&body["data_base64"], &body["datacontenttype"]),
                (&json!("AP8="), &json!("application/x-thing"))
            );
        } else {
            assert_eq!(
                (&*one.body, one.header("content-type")),
                (&b"\0\xff"[..], "application/x-thing")
            );
        }
    }
}
