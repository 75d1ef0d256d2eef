//! Trying out and explaining what shapes requests: filters, rendering, channels.

use serde_json::{Value, json};

use crate::endpoint_api::{id_of, made, patch};
use crate::harness::{Daemon, Home, Receiver, endpoint};

/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:1/secret/path";

fn explained(daemon: &Daemon, event: &str, endpoint: &str) -> Value {
    let path = format!("/v1/events/{event}/deliveries/{endpoint}/explain");
    daemon.tcp.get(&path).expect(200)
}

fn tested(daemon: &Daemon, filter: &Value, event: &Value) -> Value {
    let body = json!({"filter": filter, "event": event}).to_string();
    daemon.tcp.post_json("/v1/filters/test", body).expect(200)
}

#[test]
fn explain_says_what_of_a_filter_or_channel_keeps_an_event_away() {
    let home = Home::new();
    let config = endpoint(
        "large",
        NOWHERE,
        "enabled = false\nfilter = {data = {amount = {\"$gte\" = 100}, state = \"paid\"}}",
    ) + &endpoint(
        "eu",
        NOWHERE,
        "enabled = false\nchannels = [\"eu\", \"uk\"]",
    );
    let daemon = home.start(&config);
    let event = daemon.send_with(
        "order",
        r#"{"amount":99.99,"state":"paid"}"#,
        r#""channels":["us"]"#,
    );
    let found = explained(&daemon, &event, "large");
    assert_eq!(
        (&found["answer"], &found["matched"]),
        (&json!("filtered"), &json!(false))
    );
    assert_eq!(
        found["failed"],
        json!({"path": "data.amount", "operator": "$gte", "expected": 100, "found": "number"})
    );
    let detail = found["detail"].as_str().unwrap();
    assert!(
        detail.contains("data.amount") && !detail.contains("99.99"),
        "{detail}"
    );
    let found = explained(&daemon, &event, "eu");
    assert_eq!(found["answer"], "other_channel");
    let detail = found["detail"].as_str().unwrap();
    assert!(
        detail.contains("us") && detail.contains("eu, uk"),
        "{detail}"
    );
    let matching = daemon.send_with(
        "order",
        r#"{"amount":100.0,"state":"paid"}"#,
        r#""channels":["uk"]"#,
    );
    assert_eq!(explained(&daemon, &matching, "large")["matched"], true);
    assert_eq!(explained(&daemon, &matching, "eu")["matched"], true);
}

#[test]
fn a_filter_is_tried_on_stored_and_new_events() {
    let home = Home::new();
    let daemon = home.start("");
    let id = daemon.send_with(
        "order.paid",
        r#"{"id":12345678901234567890}"#,
        r#""key":"k""#,
    );
    let stored = json!(id);
    let matches = |filter: Value, event: &Value| tested(&daemon, &filter, event);
    for (filter, expected) in [
        (json!({"id": id}), true),
        (json!({"key": "k", "tenant": "default"}), true),
        (json!({"time": {"$gt": "2020-01-01"}}), true),
        (json!({"type": {"$startsWith": "order."}}), true),
        (json!({"channels": "eu"}), false),
    ] {
        assert_eq!(
            matches(filter.clone(), &stored)["matches"],
            expected,
            "{filter}"
        );
    }
    // Written out, as `json!` would make doubles of such numbers.
    let exact = |digits: &str| {
        let body = format!(r#"{{"filter":{{"data":{{"id":{digits}}}}},"event":"{id}"}}"#);
        daemon.tcp.post_json("/v1/filters/test", body).expect(200)["matches"].clone()
    };
    assert_eq!(exact("12345678901234567890"), true);
    assert_eq!(exact("12345678901234567891"), false);
    let new =
        json!({"type": "a", "data": {"x": [1, 2]}, "channels": ["eu"], "headers": {"x-a": "b"}});
    let found = matches(
        json!({"data": {"x": 2}, "channels": "eu", "headers": {"x-a": "b"}}),
        &new,
    );
    assert_eq!(found, json!({"matches": true, "failed": null}));
    let found = matches(json!({"data": {"y": 2}}), &new);
    assert_eq!(
        found["failed"],
        json!({"path": "data.y", "operator": "$eq", "expected": 2, "found": "missing"})
    );
    for (body, part) in [
        (r#"{"event":"evt_x"}"#, "`filter` is missing"),
        (r#"{"filter":{}}"#, "`event` is missing"),
        (
            r#"{"filter":{"a":{"$foo":1}},"event":{"type":"a","data":1}}"#,
            "$foo",
        ),
        (
            r#"{"filter":{},"event":{"type":"a"}}"#,
            "field `event`: missing field `data`",
        ),
    ] {
        let detail = daemon.tcp.post_json("/v1/filters/test", body).problem(400);
        assert!(detail.contains(part), "{body}: {detail}");
    }
    let unknown = r#"{"filter":{},"event":"evt_01ARZ3NDEKTSV4RRFFQ69G5FAV"}"#;
    daemon
        .tcp
        .post_json("/v1/filters/test", unknown)
        .problem(404);
    let url = daemon.url();
    let run = |filter: &str| {
        home.run(&[
            "filter",
            "test",
            filter,
            "--type",
            "a",
            "--data",
            r#"{"n":12.50}"#,
            "--url",
            &url,
        ])
    };
    let passed = run(r#"{"data":{"n":12.5}}"#);
    assert_eq!(
        (passed.code, &*passed.stdout),
        (Some(0), "matches\n"),
        "{}",
        passed.stderr
    );
    let failed = run(r#"{"data":{"n":{"$gt":13}}}"#);
    assert_eq!(failed.code, Some(1));
    assert!(failed.stdout.contains("data.n $gt 13"), "{}", failed.stdout);
    assert_eq!(run("{").code, Some(2));
}

#[test]
fn rendering_shows_what_would_be_sent_and_no_secret() {
    let home = Home::new();
    let config = endpoint(
        "slack",
        NOWHERE,
        "preset = \"slack\"\ntext = \"Order {{ data.id }}\"\nenabled = false",
    ) + &endpoint("acme", NOWHERE, "tenant = \"acme\"\nenabled = false");
    let daemon = home.start(&config);
    let own = made(
        &daemon,
        json!({"url": "http://127.0.0.1:1/hook", "enabled": false, "method": "PUT",
            "headers": {"x-order": "{{ data.id }}", "x-team": "hunter2"},
            "auth": {"type": "bearer", "token": "hunter2"},
            "template": "{\"n\": {{ data.n }}}"}),
    );
    let render = |endpoint: &str, body: Value| {
        let path = format!("/v1/endpoints/{endpoint}/render");
        daemon.tcp.post_json(&path, body.to_string())
    };
    let event = daemon.send("order", r#"{"id":"A <1>","n":12.50}"#);
    let slack = render("slack", json!({"event": event})).expect(200);
    assert_eq!(slack["url"], "http://127.0.0.1:1/…");
    assert_eq!(slack["body"], r#"{"text": "Order A &lt;1&gt;"}"#);
    assert!(!slack.to_string().contains("secret"), "{slack}");
    // What a preset takes from its URL stands in the body, and is masked there.
    let key = "0123456789abcdef0123456789abcdef";
    let pager = made(
        &daemon,
        json!({"url": format!("http://127.0.0.1:1/?routing_key={key}"), "enabled": false,
            "preset": "pagerduty"}),
    );
    let pager = render(&id_of(&pager), json!({"event": event})).expect(200);
    assert!(!pager.to_string().contains(key), "{pager}");
    let body: Value = serde_json::from_str(pager["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["routing_key"], "…");
    let shown = render(&id_of(&own), json!({"event": event})).expect(200);
    assert_eq!(
        (&shown["method"], &shown["body"]),
        (&json!("PUT"), &json!("{\"n\": 12.50}"))
    );
    let headers = &shown["headers"];
    assert_eq!(headers["x-order"], "A <1>");
    assert_eq!(
        (&headers["x-team"], &headers["authorization"]),
        (&json!("…"), &json!("…"))
    );
    assert_eq!(headers["webhook-id"], event);
    assert!(
        headers["webhook-signature"]
            .as_str()
            .unwrap()
            .starts_with("v1,"),
        "{headers}"
    );
    assert!(!shown.to_string().contains("hunter2"), "{shown}");
    let new = render(
        &id_of(&own),
        json!({"type": "a.b", "data": {"id": 1, "n": null}}),
    )
    .expect(200);
    assert_eq!(new["body"], "{\"n\": null}");
    let detail = render(&id_of(&own), json!({"type": "a", "data": {"n": 1}})).problem(422);
    assert!(
        detail.contains("`headers.x-order`") && detail.contains("data.id"),
        "{detail}"
    );
    render("acme", json!({"event": event})).problem(404);
    render("nobody", json!({"event": event})).problem(404);
    for body in [
        json!({}),
        json!({"type": "a"}),
        json!({"event": event, "type": "a", "data": 1}),
    ] {
        render("slack", body).problem(400);
    }
    let url = daemon.url();
    let ran = home.run(&["render", "slack", &event, "--url", &url]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(
        ran.stdout.starts_with("POST http://127.0.0.1:1/…\n"),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains("Order A &lt;1&gt;"), "{}", ran.stdout);
}

#[test]
fn what_cannot_be_rendered_is_counted_and_explained() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start("");
    let own = id_of(&made(
        &daemon,
        json!({"url": receiver.url("/"), "template": "{\n\"n\": {{ data.who.name }}}"}),
    ));
    let event = daemon.send("order", "{}");
    let held = daemon.wait_status(&event, &own, "held");
    assert_eq!(held["reason"], "template");
    let found = explained(&daemon, &event, &own);
    assert_eq!(found["answer"], "held");
    let detail = found["detail"].as_str().unwrap();
    for part in ["`template`", "`data.who` is undefined", "line 2"] {
        assert!(detail.contains(part), "{part}: {detail}");
    }
    assert_eq!(daemon.status()["endpoints"]["unrendered"], 1);
    assert_eq!(daemon.metric("outboxd_endpoints_unrendered"), 1.0);
    patch(&daemon.tcp, &own, &json!({"template": "{}"})).expect(200);
    daemon.wait_status(&event, &own, "delivered");
    assert_eq!(daemon.status()["endpoints"]["unrendered"], 0);
}
