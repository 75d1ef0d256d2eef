//! Templates: what they make of an event, the same on every attempt, and what becomes of an event
//! that cannot be rendered.

use serde_json::{Value, json};

use crate::endpoint_api::{id_of, made, patch};
use crate::harness::{Daemon, Home, Receiver, Seen, endpoint};
use crate::signing::assert_signed;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Waits until the delivery is held for its template, and gives what is told of why.
#[track_caller]
fn held(daemon: &Daemon, event: &str, id: &str) -> String {
    let delivery = daemon.wait_status(event, id, "held");
    assert_eq!(delivery["reason"], "template", "{delivery:#}");
    let attempts = delivery["attempts"].as_array().unwrap();
    let last = attempts.last().expect("one tells why");
    assert_eq!(
        (&last["status"], &last["error"]["kind"]),
        (&Value::Null, &json!("local"))
    );
    last["error"]["detail"].as_str().unwrap().to_owned()
}

/// The request that brought the event.
#[track_caller]
fn got(daemon: &Daemon, receiver: &Receiver, event: &str, id: &str) -> Seen {
    daemon.wait_status(event, id, "delivered");
    let seen = receiver.seen().into_iter();
    let path = format!("/{id}");
    let mut seen = seen.filter(|one| one.id() == event && (one.path == path || one.path == "/"));
    seen.next().expect("it came")
}

#[test]
fn the_body_is_the_same_on_every_attempt() {
    let receiver = Receiver::statuses(&[500, 503, 500, 200]);
    let home = Home::new();
    let template = r#"{"id": {{ event.id }}, "at": {{ event.timestamp }}, "type": {{ event.type }}, "tenant": {{ event.tenant }}, "key": {{ event.key }}, "channels": {{ event.channels }}, "to": {{ endpoint.id }}, "what": {{ endpoint.description }}, "n": {{ data.n }}}"#;
    let lines = format!("template = '{template}'\nsecret = \"{SECRET}\"");
    let daemon = home.start(&endpoint("t", &receiver.url("/"), &lines));
    let event = daemon.send_with(
        "a.b",
        r#"{"n": "\"é"}"#,
        r#""key": "k", "channels": ["eu"]"#,
    );
    receiver.wait(2);
    // Neither a crash nor a retry makes it another.
    daemon.kill();
    let daemon = home.start(&endpoint("t", &receiver.url("/"), &lines));
    daemon.wait_status(&event, "t", "delivered");
    let seen = receiver.wait(4);
    let body: Value = serde_json::from_slice(&seen[0].body).unwrap();
    let stored = daemon.tcp.get(&format!("/v1/events/{event}")).expect(200);
    assert_eq!(
        body,
        json!({"id": event, "at": stored["accepted_at"], "type": "a.b", "tenant": "default",
            "key": "k", "channels": ["eu"], "to": "t", "what": "", "n": "\"é"})
    );
    for one in &seen {
        assert_eq!(one.body, seen[0].body);
        assert_eq!(one.header("content-type"), "application/json");
        assert_signed(one, &[SECRET]);
    }
}

#[test]
fn numbers_are_printed_as_they_were_written() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let body = "{{ data.big }} {{ data.price }} {{ data.e }} {{ data.neg }}";
    let json = "[{{ data.big }}, {{ data.price }}, {{ data.e }}, {{ data }}, {{ data | tojson }}]";
    let config = endpoint(
        "text",
        &receiver.url("/text"),
        &format!("template = '{body}'\ncontent_type = \"text/plain\""),
    ) + &endpoint(
        "json",
        &receiver.url("/json"),
        &format!("template = '{json}'"),
    );
    let daemon = home.start(&config);
    let data = r#"{"big": 36893488147419103233, "price": 12.50, "e": 1E400, "neg": -0}"#;
    let event = daemon.send("a", data);
    let text = got(&daemon, &receiver, &event, "text").text();
    assert_eq!(text, "36893488147419103233 12.50 1E400 -0");
    let whole = data.replace(": ", ":").replace(", ", ",");
    let text = got(&daemon, &receiver, &event, "json").text();
    assert_eq!(
        text,
        format!("[36893488147419103233, 12.50, 1E400, {whole}, {whole}]")
    );
}

#[test]
fn what_cannot_be_rendered_is_held_and_released_in_order_by_a_change() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start("");
    let template = "{\"name\": {{ data.name }},\n \"city\": {{ data.customer.city }}}";
    let definition = json!({"url": receiver.url("/"), "template": template, "ordering": "strict"});
    let id = id_of(&made(&daemon, definition));
    let good = daemon.send("a", r#"{"name": "x", "customer": {"city": "y"}}"#);
    daemon.wait_status(&good, &id, "delivered");
    let bad: Vec<String> = (0..5)
        .map(|n| daemon.send("a", &format!("{{\"name\": {n}}}")))
        .collect();
    for event in &bad {
        held(&daemon, event, &id);
    }
    let why = held(&daemon, &bad[0], &id);
    for part in ["template", "data.customer", "line 2"] {
        assert!(why.contains(part), "{part}: {why}");
    }
    let path = format!("/v1/events/{}/deliveries/{id}", bad[0]);
    daemon.tcp.post(&format!("{path}/retry")).problem(409);
    let explained = daemon.tcp.get(&format!("{path}/explain")).expect(200);
    assert_eq!(explained["answer"], "held");
    let detail = explained["detail"].as_str().unwrap();
    assert!(
        detail.contains("template") && detail.contains("data.customer"),
        "{detail}"
    );
    assert_eq!(receiver.seen().len(), 1, "nothing is sent half");
    // One that is as wrong holds them again.
    patch(&daemon.tcp, &id, &json!({"template": "{{ data.nick }}"})).expect(200);
    for event in &bad {
        daemon.wait_delivery(event, &id, "held again", |one| {
            one["status"] == "held" && one.to_string().contains("data.nick")
        });
    }
    daemon.kill();
    let daemon = home.start("");
    held(&daemon, &bad[0], &id);
    patch(&daemon.tcp, &id, &json!({"template": "{{ data.name }}"})).expect(200);
    for event in &bad {
        daemon.wait_status(event, &id, "delivered");
    }
    let seen = receiver.wait(6);
    let texts: Vec<String> = seen[1..].iter().map(Seen::text).collect();
    assert_eq!(texts, ["0", "1", "2", "3", "4"]);
    let order: Vec<&str> = seen[1..].iter().map(Seen::id).collect();
    assert_eq!(order, bad);
}

#[test]
fn without_order_others_go_on_past_what_is_held() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start(&endpoint(
        "t",
        &receiver.url("/"),
        "template = '{{ data.n }}'",
    ));
    let bad = daemon.send("a", "{}");
    held(&daemon, &bad, "t");
    let good = daemon.send("a", r#"{"n": 1}"#);
    daemon.wait_status(&good, "t", "delivered");
    // It counts as held, and not as a failure of the endpoint.
    assert_eq!(daemon.status()["backlog"]["held"], 1);
    assert_eq!(daemon.status()["endpoints"]["breaker_open"], 0);
    let cancel = format!("/v1/events/{bad}/deliveries/t/cancel");
    let cancelled = daemon.tcp.post(&cancel);
    assert!(
        (200..300).contains(&cancelled.status),
        "{}",
        cancelled.text()
    );
    assert_eq!(daemon.delivery(&bad, "t")["reason"], "cancelled");
}

#[test]
fn a_changed_file_releases_what_is_held() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let with = |template: &str| {
        endpoint(
            "t",
            &receiver.url("/"),
            &format!("ordering = \"strict\"\ntemplate = '{template}'"),
        )
    };
    let daemon = home.start(&with("{{ data.a }}"));
    let events: Vec<String> = (0..3)
        .map(|n| daemon.send("a", &format!("{{\"b\": {n}}}")))
        .collect();
    for event in &events {
        held(&daemon, event, "t");
    }
    assert!(daemon.stop().success());
    // The same file: it stays, without another attempt at it.
    let daemon = home.start(&with("{{ data.a }}"));
    for event in &events {
        held(&daemon, event, "t");
    }
    assert!(daemon.stop().success());
    let daemon = home.start(&with("{{ data.b }}"));
    for event in &events {
        daemon.wait_status(event, "t", "delivered");
    }
    let texts: Vec<String> = receiver.wait(3).iter().map(Seen::text).collect();
    assert_eq!(texts, ["0", "1", "2"]);
}

#[test]
fn names_are_strict_and_json_is_checked() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let cases = [
        // Template, content type, and the body or a part of why not.
        (
            "{{ data.missing }}",
            "application/json",
            Err("data.missing"),
        ),
        ("{{ dta.n }}", "application/json", Err("dta")),
        (
            "{% if data.missing %}1{% endif %}",
            "application/json",
            Err("data.missing"),
        ),
        (
            "{{ data.missing | default(7) }}",
            "application/json",
            Ok("7"),
        ),
        (
            "{% if data.missing is defined %}1{% else %}2{% endif %}",
            "application/json",
            Ok("2"),
        ),
        ("{{ data.s }}", "application/json", Ok("\"a\\\"b\"")),
        ("{{ data.s }}", "text/plain", Ok("a\"b")),
        (
            "{{ data.s }}",
            "Application/Problem+JSON; charset=utf-8",
            Ok("\"a\\\"b\""),
        ),
        ("{\"s\": {{ data.s }}", "application/json", Err("not JSON")),
        ("\"{{ data.s }}\"", "application/json", Err("not JSON")),
        ("{\"s\": {{ data.s }}", "text/plain", Ok("{\"s\": a\"b")),
        ("", "application/json", Err("not JSON")),
        ("", "text/plain", Ok("")),
        ("{{ data.none }}", "application/json", Ok("null")),
        ("{{ data.n / 0 }}", "application/json", Err("")),
        (
            "{% for x in data.list %}{{ x }}{% if not loop.last %},{% endif %}{% endfor %}",
            "text/plain",
            Ok("1,2"),
        ),
        ("<b>{{ data.s }}</b>", "text/html", Ok("<b>a\"b</b>")),
    ];
    let daemon = home.start("");
    let ids: Vec<String> = cases
        .iter()
        .map(|(template, kind, _)| {
            let definition = json!({"url": receiver.url("/"), "template": template, "content_type": kind, "tenant": "t"});
            id_of(&made(&daemon, definition))
        })
        .collect();
    let data = r#"{"s": "a\"b", "n": 1, "none": null, "list": [1, 2]}"#;
    let event = daemon.send_with("a", data, "\"tenant\": \"t\"");
    for (id, (template, kind, expected)) in ids.iter().zip(cases) {
        match expected {
            Err(part) => {
                let why = held(&daemon, &event, id);
                assert!(why.contains(part), "{template}: {why}");
                assert!(!why.contains("a\"b"), "{why}");
            }
            Ok(body) => {
                daemon.wait_status(&event, id, "delivered");
                let seen = receiver.seen();
                let fits = |one: &Seen| one.text() == body && one.header("content-type") == kind;
                assert!(seen.iter().any(fits), "{template}: {seen:#?}");
            }
        }
    }
}

#[test]
fn headers_and_methods_are_shaped() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let headers = r#"headers = { "x-type" = "{{ event.type }}/{{ data.n }}", "x-fixed" = "as it is", "x-key" = "{{ event.key | default('none', true) }}" }"#;
    let config = endpoint(
        "put",
        &receiver.url("/put"),
        &format!("method = \"PUT\"\n{headers}"),
    ) + &endpoint(
        "patch",
        &receiver.url("/patch"),
        "method = \"PATCH\"\ntemplate = '{{ data.n }}'",
    ) + &endpoint("post", &receiver.url("/post"), "method = \"POST\"");
    let daemon = home.start(&config);
    let event = daemon.send("a.b", r#"{"n": 12.50, "s": "x\ny"}"#);
    let put = got(&daemon, &receiver, &event, "put");
    assert_eq!(put.method, "PUT");
    assert_eq!(put.header("x-type"), "a.b/12.50");
    assert_eq!(put.header("x-fixed"), "as it is");
    assert_eq!(put.header("x-key"), "none");
    assert!(
        put.text().contains("\"type\":\"a.b\""),
        "the envelope stays"
    );
    let patched = got(&daemon, &receiver, &event, "patch");
    assert_eq!((&*patched.method, &*patched.text()), ("PATCH", "12.50"));
    assert_eq!(got(&daemon, &receiver, &event, "post").method, "POST");
    assert_eq!(daemon.endpoint("put")["headers"]["x-type"], "…");
    assert_eq!(daemon.endpoint("put")["method"], "PUT");
}

#[test]
fn a_header_that_none_may_hold_is_a_failed_rendering() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let lines = "headers = { x-s = \"{{ data.s }}\" }";
    let daemon = home.start(&endpoint("h", &receiver.url("/"), lines));
    let long = "x".repeat(9000);
    for data in [
        json!({"s": "a\nb"}),
        json!({"s": "a\r\nx-evil: 1"}),
        json!({"s": "a\0b"}),
        json!({"s": "\u{7f}"}),
        json!({"s": "a\u{85}b"}),
        json!({"s": long}),
        json!({}),
    ] {
        let event = daemon.send("a", &data.to_string());
        let why = held(&daemon, &event, "h");
        assert!(why.contains("headers.x-s"), "{data}: {why}");
    }
    assert_eq!(receiver.seen().len(), 0);
    let event = daemon.send("a", r#"{"s": " é ok "}"#);
    let seen = got(&daemon, &receiver, &event, "h");
    assert_eq!(seen.header("x-s"), "é ok");
}

#[test]
fn a_body_has_the_size_of_an_event_at_most() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let config = "[ingest]\nmax_event_size = \"8KiB\"\n".to_owned()
        + &endpoint(
            "x10",
            &receiver.url("/x10"),
            "content_type = \"text/plain\"\ntemplate = '{% for i in range(10) %}{{ data }}{% endfor %}'",
        )
        + &endpoint(
            "x1",
            &receiver.url("/x1"),
            "content_type = \"text/plain\"\ntemplate = '{{ data }}'",
        );
    let daemon = home.start(&config);
    let event = daemon.send("a", &format!("\"{}\"", "y".repeat(2000)));
    daemon.wait_status(&event, "x1", "delivered");
    let why = held(&daemon, &event, "x10");
    assert!(
        why.contains("8192") || why.contains("long") || why.contains("large"),
        "{why}"
    );
    assert_eq!(receiver.seen().len(), 1);
}

#[test]
fn saving_checks_the_syntax_and_says_where() {
    let home = Home::new();
    let daemon = home.start("");
    for (field, template) in [
        ("template", "{\n{{ data.a }"),
        ("template", "{\n{% if %}"),
        ("template", "{\n{% for x in data %}"),
        ("template", "{\n{% include 'x' %}"),
        ("template", "{\n{{ data | nofilter }}"),
        ("template", "{\n{% macro f() %}{% endmacro %}"),
        ("text", "\n{{ data.a"),
    ] {
        let mut definition = json!({"url": "http://127.0.0.1:1/", field: template});
        if field == "text" {
            definition["preset"] = "slack".into();
        }
        let refused = daemon
            .tcp
            .post_json("/v1/endpoints", definition.to_string());
        let detail = refused.problem(400);
        assert!(
            detail.contains(field) && detail.contains("line 2"),
            "{template}: {detail}"
        );
    }
    let header = json!({"url": "http://127.0.0.1:1/", "headers": {"x-a": "{{ data."}});
    let detail = daemon
        .tcp
        .post_json("/v1/endpoints", header.to_string())
        .problem(400);
    assert!(detail.contains("headers.x-a"), "{detail}");
    for wrong in [
        json!({"text": "x"}),
        json!({"format": "template"}),
        json!({"content_type": "text/plain"}),
        json!({"format": "bare", "template": "x"}),
        json!({"preset": "slak"}),
        json!({"method": "GET"}),
        json!({"template": "x", "content_type": "text"}),
        json!({"template": "x", "content_type": "text/plain\n"}),
        json!({"template": 7}),
        json!({"signing_key_file": "x"}),
        json!({"ca_file": "x"}),
        json!({"client_cert_file": "x"}),
        json!({"allow_networks": ["10.0.0.0/8"]}),
    ] {
        let mut definition = wrong.clone();
        definition["url"] = "http://127.0.0.1:1/".into();
        let detail = daemon
            .tcp
            .post_json("/v1/endpoints", definition.to_string())
            .problem(400);
        let key = wrong.as_object().unwrap().keys().next().unwrap();
        let names = detail.contains(key.as_str())
            || wrong
                .as_object()
                .unwrap()
                .keys()
                .any(|key| detail.contains(key.as_str()));
        assert!(names, "{wrong}: {detail}");
    }
    home.write_config(&endpoint(
        "bad",
        "http://127.0.0.1:1/",
        "template = '''{\n{{ data.a }'''",
    ));
    let ran = home.run(&["check", "--config", "outboxd.toml"]);
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.stderr.contains("template") && ran.stderr.contains("line 2"),
        "{ran:?}"
    );
}

#[test]
fn an_opaque_event_has_no_data_in_templates() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let config = endpoint(
        "type",
        &receiver.url("/type"),
        "template = '{{ event.type }}'",
    ) + &endpoint("data", &receiver.url("/data"), "template = '{{ data }}'");
    let daemon = home.start(&config);
    let answer = daemon.tcp.request(
        "POST",
        "/v1/events/a.b",
        &[("content-type", "text/xml")],
        b"<a/>",
    );
    let event = answer.expect(202)["id"].as_str().unwrap().to_owned();
    assert_eq!(got(&daemon, &receiver, &event, "type").text(), "\"a.b\"");
    held(&daemon, &event, "data");
}
