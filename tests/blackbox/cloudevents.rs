//! CloudEvents: handed in by each mode, sent on as they came, and receivers that are asked first.

use serde_json::{Value, json};

use crate::endpoint_api::{id_of, made};
use crate::harness::{Answer, Daemon, Home, Receiver};

const STRUCTURED: [(&str, &str); 1] = [("content-type", "application/cloudevents+json")];

fn post(daemon: &Daemon, path: &str, headers: &[(&str, &str)], body: &str) -> Value {
    daemon
        .tcp
        .request("POST", path, headers, body.as_bytes())
        .expect(202)
}

fn event(id: &str, data: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/shop","type":"order.paid","subject":"o7","time":"2026-01-01T00:00:00.123456789Z","partitionkey":"p","n":7,"datacontenttype":"application/json","data":{data}}}"#
    )
}

#[test]
fn a_cloudevent_goes_out_with_its_own_attributes() {
    let (structured, binary, standard) = (Receiver::ok(), Receiver::ok(), Receiver::ok());
    let home = Home::new();
    let daemon = home.start("");
    for (receiver, format) in [
        (&structured, "cloudevents"),
        (&binary, "cloudevents-binary"),
        (&standard, "standard"),
    ] {
        made(&daemon, json!({"url": receiver.url("/"), "format": format}));
    }
    let accepted = post(
        &daemon,
        "/v1/events",
        &STRUCTURED,
        &event("1", "{\"a\" : 12.50}"),
    );
    let seen = &structured.wait(1)[0];
    assert_eq!(
        seen.header("content-type"),
        "application/cloudevents+json; charset=UTF-8"
    );
    assert!(
        seen.text().contains(r#""data":{"a" : 12.50}"#),
        "{}",
        seen.text()
    );
    let sent: Value = serde_json::from_str(&seen.text()).unwrap();
    for (name, value) in [
        ("id", "1"),
        ("source", "/shop"),
        ("subject", "o7"),
        ("time", "2026-01-01T00:00:00.123456789Z"),
        ("partitionkey", "p"),
        ("type", "order.paid"),
    ] {
        assert_eq!(sent[name], value);
    }
    assert_eq!(sent["n"], 7);
    let seen = &binary.wait(1)[0];
    assert_eq!((seen.header("ce-id"), seen.header("ce-n")), ("1", "7"));
    assert_eq!(seen.header("content-type"), "application/json");
    assert_eq!(seen.text(), "{\"a\" : 12.50}");
    assert_eq!(seen.id(), accepted["id"].as_str().unwrap());
    let seen = &standard.wait(1)[0];
    assert!(
        seen.text()
            .starts_with(r#"{"type":"order.paid","timestamp":"#),
        "{}",
        seen.text()
    );
    let path = format!("/v1/events/{}", accepted["id"].as_str().unwrap());
    let shown = daemon.tcp.get(&path).expect(200);
    assert_eq!(
        (&shown["key"], &shown["idempotency_key"]),
        (&json!("p"), &Value::Null)
    );
    assert_eq!(shown["cloudevent"]["source"], "/shop");
}

#[test]
fn source_and_id_are_the_idempotency_key_in_a_space_of_their_own() {
    let home = Home::new();
    let daemon = home.start("");
    let first = post(&daemon, "/v1/events", &STRUCTURED, &event("1", "1"));
    let again = post(&daemon, "/v1/events", &STRUCTURED, &event("1", "1"));
    assert_eq!(
        (&again["id"], &again["duplicate"]),
        (&first["id"], &json!(true))
    );
    let headers = [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-id", "2"),
        ("ce-source", "/shop"),
        ("ce-type", "order.paid"),
    ];
    let other = post(
        &daemon,
        "/v1/events?tenant=acme&key=k&channels=a,b",
        &headers,
        "[1]",
    );
    assert_eq!(other["duplicate"], false);
    let shown = daemon
        .tcp
        .get(&format!("/v1/events/{}", other["id"].as_str().unwrap()));
    let shown = shown.expect(200);
    assert_eq!(
        (&shown["tenant"], &shown["key"]),
        (&json!("acme"), &json!("k"))
    );
    assert_eq!(
        (&shown["channels"], &shown["data"]),
        (&json!(["a", "b"]), &json!([1]))
    );
    let changed = daemon.tcp.request(
        "POST",
        "/v1/events",
        &STRUCTURED,
        event("1", "2").as_bytes(),
    );
    changed.problem(422);
    let batch = [("content-type", "application/cloudevents-batch+json")];
    let body = format!("[{},{}]", event("8", "1"), event("1", "2"));
    let changed = daemon
        .tcp
        .request("POST", "/v1/events", &batch, body.as_bytes());
    let detail = changed.problem(422);
    assert!(detail.starts_with("event [1]: "), "{detail}");
    let body = format!("[{},{}]", event("1", "1"), event("3", "1"));
    let answer = post(&daemon, "/v1/events", &batch, &body);
    assert_eq!(answer["accepted"], 2);
    assert_eq!(answer["events"][0]["id"], first["id"]);
    assert_eq!(answer["events"][1]["duplicate"], false);
    // Over 256 KiB: parsed apart.
    let wide = format!("\"{}\"", "x".repeat(4096));
    let many: Vec<String> = (0..100).map(|n| event(&format!("w{n}"), &wide)).collect();
    let answer = post(
        &daemon,
        "/v1/events",
        &batch,
        &format!("[{}]", many.join(",")),
    );
    assert_eq!(answer["accepted"], 100);
    for (headers, body, part) in [
        (&STRUCTURED, event("", "1"), "`id`"),
        (
            &STRUCTURED,
            event("9", "1").replace("order.paid", "no type"),
            "`type`",
        ),
        (
            &STRUCTURED,
            event("9", "1").replace("order.paid", "outboxd.x"),
            "outboxd.",
        ),
        (&batch, format!("[{},{{}}]", event("9", "1")), "event [1]"),
        (&batch, "[]".to_owned(), "no event"),
    ] {
        let answer = daemon
            .tcp
            .request("POST", "/v1/events", headers, body.as_bytes());
        let detail = answer.problem(400);
        assert!(detail.contains(part), "{body}: {detail}");
    }
    let keyed = [STRUCTURED[0], ("idempotency-key", "x")];
    let answer = daemon
        .tcp
        .request("POST", "/v1/events", &keyed, event("9", "1").as_bytes());
    answer.problem(400);
}

#[test]
fn a_receiver_is_asked_before_its_first_event_and_its_rate_holds() {
    let receiver = Receiver::answering(|seen| match seen.method.as_str() {
        "OPTIONS" => {
            let origin = seen.header("webhook-request-origin").to_owned();
            let headers = [
                ("webhook-allowed-origin", &*origin),
                ("webhook-allowed-rate", "600"),
            ];
            Answer::reply(200, &headers, "")
        }
        _ => Answer::status(204),
    });
    let home = Home::new();
    let daemon = home.start("");
    let own = id_of(&made(
        &daemon,
        json!({"url": receiver.url("/"), "format": "cloudevents", "cloudevents_handshake": true}),
    ));
    let event = daemon.send("order", "1");
    daemon.wait_status(&event, &own, "delivered");
    let event = daemon.send("order", "2");
    daemon.wait_status(&event, &own, "delivered");
    let seen = receiver.wait(3);
    let methods: Vec<&str> = seen.iter().map(|seen| seen.method.as_str()).collect();
    assert_eq!(methods, ["OPTIONS", "POST", "POST"]);
    assert!(
        seen.iter()
            .all(|seen| !seen.header("webhook-request-origin").is_empty())
    );
    // Ten a second, with a burst of one: fifty more take five seconds.
    let began = std::time::Instant::now();
    for n in 0..20 {
        daemon.send("order", &n.to_string());
    }
    receiver.wait(23);
    assert!(
        began.elapsed() >= std::time::Duration::from_millis(1800),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn a_receiver_that_does_not_consent_gets_nothing() {
    let receiver = Receiver::answering(|seen| match seen.method.as_str() {
        "OPTIONS" => Answer::reply(200, &[("webhook-allowed-origin", "elsewhere.example")], ""),
        _ => Answer::status(204),
    });
    let home = Home::new();
    let daemon = home.start("[retry]\nfirst = \"1h\"\nmax = \"1h\"\n");
    let own = id_of(&made(
        &daemon,
        json!({"url": receiver.url("/"), "format": "cloudevents", "cloudevents_handshake": true}),
    ));
    let event = daemon.send("order", "1");
    let failed = daemon.wait_delivery(&event, &own, "an attempt", |found| {
        found["attempt_count"].as_u64() > Some(0)
    });
    let error = &failed["attempts"][0]["error"];
    assert!(
        error["detail"]
            .as_str()
            .unwrap()
            .contains("elsewhere.example"),
        "{error}"
    );
    assert!(receiver.seen().iter().all(|seen| seen.method == "OPTIONS"));
}
