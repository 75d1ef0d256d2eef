//! `split`: one event for each element of an array, all of them in one durable step.

use serde_json::json;

use super::{
    Call, SECRET, app, assert_counts, assert_empty, event, events, github, made, patch, push,
    source, start, types,
};
use crate::harness::{Daemon, Home, Receiver};

/// The bodies of all events, in order of their acceptance.
fn bodies(daemon: &Daemon) -> Vec<String> {
    let mut ids: Vec<String> = events(daemon)
        .iter()
        .map(|one| one["id"].as_str().unwrap().to_owned())
        .collect();
    ids.sort_unstable();
    let body = |id: &String| {
        let stored = event(daemon, id);
        let bytes = crate::signing::from_base64(stored["body_base64"].as_str().unwrap());
        String::from_utf8(bytes).unwrap()
    };
    ids.iter().map(body).collect()
}

#[test]
fn each_element_is_an_event_as_it_was_written() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let split = "split = \"/items\"\ntype = \"item.{{ data.kind }}\"";
    let daemon = start(&home, &(github("gh", split) + &app(&receiver.url("/"))));
    let body = r#"{"items": [ {"kind":"a", "n":90071992547409931} ,{"kind":"b"},
        {"kind":"a", "n":90071992547409931}, 7, "text", null], "more": true}"#;
    let call = push("1", body.as_bytes());
    assert_empty(&call.send(&daemon, "gh"), 200);
    let wanted = [
        r#"{"kind":"a", "n":90071992547409931}"#,
        r#"{"kind":"b"}"#,
        r#"{"kind":"a", "n":90071992547409931}"#,
        "7",
        "\"text\"",
        "null",
    ];
    assert_eq!(bodies(&daemon), wanted);
    assert_eq!(types(&daemon)[..3], ["item.a", "item.b", "item.a"]);
    let seen = receiver.wait(wanted.len());
    assert!(
        seen.iter()
            .all(|one| one.header("content-type") == "application/json")
    );
    let mut ids: Vec<&str> = seen.iter().map(|one| one.id()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), wanted.len());
    // Again: the same elements are known, the equal ones each.
    assert_empty(&call.send(&daemon, "gh"), 200);
    assert_counts(&daemon, "gh", 6, 6);
}

/// Elements that came before and new ones in one call: only the new ones are events.
#[test]
fn of_a_call_that_was_taken_in_part_the_rest_is_taken() {
    let home = Home::new();
    let own = format!(
        "secrets = [\"{SECRET}\"]\nsplit = \"/\"\nverify = {{ signature = \"header:x-mac\", \
         split_id = \"item:/id\", split_type = \"item:/kind\" }}"
    );
    let daemon = start(&home, &source("own", &own));
    let call = |body: &str| {
        let mac = super::crypto::hmac_sha256(SECRET.as_bytes(), &[body.as_bytes()]);
        Call::post(body.as_bytes()).with("x-mac", &super::crypto::hex(&mac))
    };
    let first = r#"[{"id":1,"kind":"a/b"},{"id":2,"kind":"c"}]"#;
    assert_empty(&call(first).send(&daemon, "own"), 200);
    let second = r#"[{"id":2,"kind":"c","attempt":2},{"id":3,"kind":"d"}]"#;
    assert_empty(&call(second).send(&daemon, "own"), 200);
    assert_counts(&daemon, "own", 3, 1);
    assert_eq!(types(&daemon), ["custom.a.b", "custom.c", "custom.d"]);
    // One id twice in one call: no event is lost.
    let twice = r#"[{"id":9,"kind":"x","n":1},{"id":9,"kind":"y","n":2}]"#;
    assert_empty(&call(twice).send(&daemon, "own"), 200);
    assert_empty(&call(twice).send(&daemon, "own"), 200);
    assert_counts(&daemon, "own", 5, 3);
}

#[test]
fn what_is_not_an_array_is_one_event() {
    let home = Home::new();
    let daemon = start(&home, &github("gh", "split = \"/items\""));
    let bodies = [
        r#"{"items": {"a": 1}}"#,
        r#"{"items": "text"}"#,
        r#"{"other": [1, 2]}"#,
        "[1, 2]",
        "not json",
        "",
    ];
    for (n, body) in bodies.iter().enumerate() {
        assert_empty(
            &push(&format!("d-{n}"), body.as_bytes()).send(&daemon, "gh"),
            200,
        );
    }
    assert_eq!(self::bodies(&daemon), bodies);
}

/// There is nothing to store, and nothing to send again.
#[test]
fn an_empty_array_is_answered_with_success() {
    let home = Home::new();
    let daemon = start(&home, "");
    let definition =
        json!({"id": "gh", "preset": "github", "secrets": [SECRET], "split": "/items"});
    made(&daemon, &definition);
    assert_empty(&push("1", b"{\"items\": [ ]}").send(&daemon, "gh"), 200);
    assert_eq!(events(&daemon).len(), 0);
    // It is off again with an empty text.
    patch(&daemon.tcp, "gh", &json!({"split": ""})).expect(200);
    assert_empty(&push("2", b"{\"items\": []}").send(&daemon, "gh"), 200);
    assert_eq!(bodies(&daemon), ["{\"items\": []}"]);
}

/// Meta's entries, each an event of its own kind.
#[test]
fn entries_of_meta_are_events() {
    let home = Home::new();
    let meta = format!("preset = \"meta\"\nsecrets = [\"{SECRET}\"]\nsplit = \"/entry\"");
    let daemon = start(&home, &source("fb", &meta));
    let body = r#"{"object":"page","entry":[{"id":"1","changes":[{"field":"feed"}]},
        {"id":"2","messaging":[{"message":{"mid":"m_1"}}]}]}"#;
    let mac = super::crypto::hmac_sha256(SECRET.as_bytes(), &[body.as_bytes()]);
    let call = Call::post(body.as_bytes())
        .with("content-type", "application/json")
        .with(
            "x-hub-signature-256",
            &format!("sha256={}", super::crypto::hex(&mac)),
        );
    assert_empty(&call.send(&daemon, "fb"), 200);
    assert_eq!(types(&daemon), ["meta.page.feed", "meta.page.messaging"]);
    assert_empty(&call.send(&daemon, "fb"), 200);
    assert_counts(&daemon, "fb", 2, 2);
}
