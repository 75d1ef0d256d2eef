//! Answer rules: what an endpoint's answers mean where a 2xx is not all there is to say.

use std::time::Duration;

use serde_json::{Value, json};

use crate::endpoint_api::{id_of, made};
use crate::harness::{Answer, Daemon, Home, Receiver, endpoint};

const THREE: &str = "[retry]\nschedule = [\"10ms\", \"10ms\"]\njitter = 0.0\n";
const SLACKNESS: Duration = Duration::from_millis(5);

type Reply = fn() -> Answer;

/// What becomes of an event whose every attempt is answered so, by this rule.
#[track_caller]
fn outcome(daemon: &Daemon, rule: &str, answer: Reply) -> (Value, Value) {
    let receiver = Receiver::answering(move |_| answer());
    let rule: Value = serde_json::from_str(rule).unwrap();
    let definition =
        json!({"url": receiver.url("/"), "answer": rule, "tenant": "o", "rate_limit": "1000/s"});
    let id = id_of(&made(daemon, definition));
    let event = daemon.send_with("a", "1", "\"tenant\": \"o\"");
    let path = format!("/v1/endpoints/{id}");
    let delivery = daemon.wait_delivery(&event, &id, "finished", |one| {
        one["finished_at"] != Value::Null
    });
    let tried = receiver.seen().len();
    assert_eq!(delivery["attempt_count"], tried);
    daemon.tcp.request("DELETE", &path, &[], b"");
    let word = match delivery["reason"].as_str() {
        None => json!("delivered"),
        Some(reason) => json!(format!("{reason} after {tried}")),
    };
    (word, delivery)
}

#[test]
fn success_replaces_the_2xx() {
    let home = Home::new();
    let daemon = home.start(THREE);
    let lark = r#"{"success": {"status": 200, "body": {"code": 0}}}"#;
    let cases: [(&str, Reply, &str); 17] = [
        (
            lark,
            || Answer::reply(200, &[], r#"{"code": 0, "msg": "ok"}"#),
            "delivered",
        ),
        (
            lark,
            || Answer::reply(200, &[], r#"{"code": 0.0}"#),
            "delivered",
        ),
        (
            lark,
            || Answer::reply(200, &[], r#"{"code": 9499}"#),
            "exhausted after 3",
        ),
        (
            lark,
            || Answer::reply(200, &[], "code: 0"),
            "exhausted after 3",
        ),
        (
            lark,
            || Answer::reply(201, &[], r#"{"code": 0}"#),
            "exhausted after 3",
        ),
        (lark, || Answer::status(204), "exhausted after 3"),
        (
            r#"{"success": {"status": {"$in": [200, 409]}}}"#,
            || Answer::status(409),
            "delivered",
        ),
        (
            r#"{"success": {"status": 302}}"#,
            || Answer::reply(302, &[("location", "http://x.example/")], ""),
            "delivered",
        ),
        (
            r#"{"success": {"headers": {"x-ok": "yes"}}}"#,
            || Answer::reply(500, &[("X-Ok", "yes")], ""),
            "delivered",
        ),
        (
            r#"{"success": {"headers": {"x-ok": "yes"}}}"#,
            || Answer::status(200),
            "exhausted after 3",
        ),
        (
            r#"{"success": {"body": "ok"}}"#,
            || Answer::reply(200, &[], " ok\r\n"),
            "delivered",
        ),
        (
            r#"{"success": {"body": {"$startsWith": "<ok"}}}"#,
            || Answer::reply(200, &[], "<ok/>"),
            "delivered",
        ),
        (r#"{"success": {}}"#, || Answer::status(500), "delivered"),
        (r#"{"success": null}"#, || Answer::status(200), "delivered"),
        (r#"{}"#, || Answer::status(200), "delivered"),
        // Up to 64 KiB are read, whatever is kept of them.
        (
            r#"{"success": {"body.ok": true}}"#,
            || {
                Answer::reply(
                    200,
                    &[],
                    &format!("{{\"x\": \"{}\", \"ok\": true}}", "y".repeat(60_000)),
                )
            },
            "delivered",
        ),
        (
            r#"{"success": {"body.ok": true}}"#,
            || {
                Answer::reply(
                    200,
                    &[],
                    &format!("{{\"x\": \"{}\", \"ok\": true}}", "y".repeat(70_000)),
                )
            },
            "exhausted after 3",
        ),
    ];
    for (rule, answer, expected) in cases {
        let (word, delivery) = outcome(&daemon, rule, answer);
        assert_eq!(word, expected, "{rule}: {delivery:#}");
    }
    // Why it is none is told, without what the answer holds.
    let secretive = || Answer::reply(200, &[], r#"{"code": "hush", "n": 1}"#);
    let (_, delivery) = outcome(&daemon, lark, secretive);
    let error = &delivery["attempts"][0]["error"];
    assert_eq!(error["kind"], "status");
    let detail = error["detail"].as_str().unwrap();
    assert!(
        detail.contains("body.code") && detail.contains("string") && !detail.contains("hush"),
        "{detail}"
    );
}

#[test]
fn permanent_answers_are_dead_at_once_but_for_some_of_a_class() {
    let home = Home::new();
    let daemon = home.start(THREE);
    let cases: [(&str, Reply, &str); 15] = [
        (
            r#"{"permanent": [400, 404]}"#,
            || Answer::status(404),
            "rejected after 1",
        ),
        (
            r#"{"permanent": [400, 404]}"#,
            || Answer::status(403),
            "exhausted after 3",
        ),
        (
            r#"{"permanent": ["4xx"]}"#,
            || Answer::status(400),
            "rejected after 1",
        ),
        (
            r#"{"permanent": ["4xx"]}"#,
            || Answer::status(422),
            "rejected after 1",
        ),
        (
            r#"{"permanent": ["4xx"]}"#,
            || Answer::status(408),
            "exhausted after 3",
        ),
        (
            r#"{"permanent": ["4xx"]}"#,
            || Answer::status(425),
            "exhausted after 3",
        ),
        (
            r#"{"permanent": ["4xx"]}"#,
            || Answer::status(429),
            "exhausted after 3",
        ),
        (
            r#"{"permanent": ["4xx", 429]}"#,
            || Answer::status(429),
            "rejected after 1",
        ),
        (
            r#"{"permanent": ["4xx"]}"#,
            || Answer::status(500),
            "exhausted after 3",
        ),
        (
            r#"{"permanent": ["5xx"]}"#,
            || Answer::status(503),
            "rejected after 1",
        ),
        (
            r#"{"permanent": ["3xx"]}"#,
            || Answer::status(301),
            "rejected after 1",
        ),
        // In this order: success, 410, a delay, permanent.
        (
            r#"{"permanent": ["4xx", 410]}"#,
            || Answer::status(410),
            "gone after 1",
        ),
        (
            r#"{"success": {"status": 410}, "permanent": ["4xx"]}"#,
            || Answer::status(410),
            "delivered",
        ),
        (
            r#"{"permanent": [429], "retry_after": "in"}"#,
            || Answer::reply(429, &[], r#"{"in": 0.01}"#),
            "exhausted after 3",
        ),
        (
            r#"{"success": {"body": "ok"}, "permanent": [200]}"#,
            || Answer::reply(500, &[], "no"),
            "refused",
        ),
    ];
    for (rule, answer, expected) in cases {
        if expected == "refused" {
            let definition = format!(r#"{{"url": "http://127.0.0.1:1/", "answer": {rule}}}"#);
            let detail = daemon
                .tcp
                .post_json("/v1/endpoints", definition)
                .problem(400);
            assert!(detail.contains("answer.permanent[0]"), "{detail}");
            continue;
        }
        let (word, delivery) = outcome(&daemon, rule, answer);
        assert_eq!(word, expected, "{rule}: {delivery:#}");
    }
}

/// How long after the first attempt the second comes.
#[track_caller]
fn waited(rule: &str, first: fn() -> Answer) -> Duration {
    let receiver = Receiver::answering(move |seen| match seen.number {
        0 => first(),
        _ => Answer::reply(200, &[], "{}"),
    });
    let home = Home::new();
    let lines = if rule.is_empty() {
        String::new()
    } else {
        format!("answer = {rule}")
    };
    let config = THREE.to_owned() + &endpoint("e", &receiver.url("/"), &lines);
    let daemon = home.start(&config);
    let event = daemon.send("a", "1");
    daemon.wait_status(&event, "e", "delivered");
    let seen = receiver.seen();
    assert_eq!(seen.len(), 2);
    seen[1].at - seen[0].at + SLACKNESS
}

#[test]
fn a_delay_may_stand_in_the_body_and_have_fractions() {
    let path = r#"{ retry_after = "parameters.retry_after" }"#;
    let cases: [(&str, Reply, u64); 8] = [
        (
            path,
            || Answer::reply(429, &[], r#"{"parameters": {"retry_after": 0.4}}"#),
            400,
        ),
        (
            path,
            || Answer::reply(429, &[], r#"{"parameters": {"retry_after": "0.4"}}"#),
            400,
        ),
        (
            path,
            || Answer::reply(400, &[], r#"{"parameters": {"retry_after": 0.4}}"#),
            400,
        ),
        (
            path,
            || {
                Answer::reply(
                    429,
                    &[("retry-after", "0.4")],
                    r#"{"parameters": {"retry_after": 0}}"#,
                )
            },
            400,
        ),
        (
            path,
            || Answer::reply(429, &[("retry-after", "0.4")], "no JSON"),
            400,
        ),
        (
            r#"{ retry_after = "errors.0.in" }"#,
            || Answer::reply(503, &[], r#"{"errors": [{"in": 0.4}]}"#),
            400,
        ),
        (
            r#"{ permanent = ["4xx"] }"#,
            || Answer::reply(429, &[("retry-after", "0.4")], ""),
            400,
        ),
        ("", || Answer::reply(429, &[("retry-after", "1")], ""), 1000),
    ];
    for (rule, first, least) in cases {
        let waited = waited(rule, first);
        let least = Duration::from_millis(least);
        assert!(waited >= least && waited < least * 4, "{rule}: {waited:?}");
    }
    // What is no delay is none.
    for body in [
        r#"{"parameters": {"retry_after": -9}}"#,
        r#"{"parameters": {"retry_after": "soon"}}"#,
        r#"{"parameters": 9}"#,
        "[9]",
    ] {
        let receiver = Receiver::answering(move |seen| match seen.number {
            0 => Answer::reply(429, &[], body),
            _ => Answer::reply(200, &[], "{}"),
        });
        let home = Home::new();
        let config =
            THREE.to_owned() + &endpoint("e", &receiver.url("/"), &format!("answer = {path}"));
        let daemon = home.start(&config);
        let event = daemon.send("a", "1");
        daemon.wait_status(&event, "e", "delivered");
    }
}

#[test]
fn a_delay_in_the_body_pauses_the_whole_endpoint() {
    let receiver = Receiver::answering(|seen| match seen.number {
        0 => Answer::reply(200, &[], r#"{"wait": 0.6, "ok": false}"#),
        _ => Answer::reply(200, &[], r#"{"ok": true}"#),
    });
    let home = Home::new();
    let rule = r#"answer = { success = { body = { ok = true } }, retry_after = "wait" }"#;
    let config = THREE.to_owned() + &endpoint("e", &receiver.url("/"), rule);
    let daemon = home.start(&config);
    let first = daemon.send("a", "1");
    daemon.wait_delivery(&first, "e", "tried", |one| one["attempt_count"] == 1);
    let second = daemon.send("a", "2");
    daemon.wait_status(&first, "e", "delivered");
    daemon.wait_status(&second, "e", "delivered");
    let seen = receiver.seen();
    let least = Duration::from_millis(600);
    assert!(
        seen[1..]
            .iter()
            .all(|one| one.at - seen[0].at + SLACKNESS >= least)
    );
}

#[test]
fn wrong_rules_are_refused_with_their_place() {
    let home = Home::new();
    let daemon = home.start("");
    for (rule, part) in [
        (
            json!({"success": {"status": {"$gtt": 1}}}),
            "answer.success",
        ),
        (json!({"permanent": [99]}), "answer.permanent[0]"),
        (json!({"permanent": [400, "6xx"]}), "answer.permanent[1]"),
        (json!({"permanent": 400}), "answer.permanent"),
        (json!({"retry_after": ""}), "answer.retry_after"),
        (json!({"retry_after": 5}), "answer.retry_after"),
        (json!({"retry_after": "a..b"}), "answer.retry_after"),
        (json!({"sucess": {}}), "sucess"),
        (json!([]), "answer"),
        (json!("x"), "answer"),
    ] {
        let definition = json!({"url": "http://127.0.0.1:1/", "answer": rule});
        let detail = daemon
            .tcp
            .post_json("/v1/endpoints", definition.to_string())
            .problem(400);
        assert!(detail.contains(part), "{rule}: {detail}");
    }
}
