//! Rotating a secret: during the overlap every request carries both signatures.

use serde_json::{Value, json};

use crate::endpoint_api::{JSON, id_of, made};
use crate::harness::http::Response;
use crate::harness::{Daemon, Home, Receiver, Seen, wait_for};
use crate::signing::assert_signed;

fn rotate(daemon: &Daemon, id: &str, body: &Value) -> Response {
    let path = format!("/v1/endpoints/{id}/rotate");
    daemon
        .tcp
        .request("POST", &path, &JSON, body.to_string().as_bytes())
}

#[track_caller]
fn rotated(daemon: &Daemon, id: &str, overlap: &str) -> String {
    let answer = rotate(daemon, id, &json!({"overlap": overlap}));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let answer = answer.expect(200);
    assert_eq!(answer.as_object().unwrap().len(), 1, "{answer}");
    answer["secret"].as_str().unwrap().to_owned()
}

/// Sends an event and gives the request that brings it.
#[track_caller]
fn delivered(daemon: &Daemon, receiver: &Receiver, id: &str) -> Seen {
    let event = daemon.send("a", "1");
    daemon.wait_status(&event, id, "delivered");
    let seen = receiver.wait_until("the event", |seen| seen.iter().any(|one| one.id() == event));
    seen.into_iter().find(|one| one.id() == event).unwrap()
}

#[test]
fn both_sign_during_the_overlap_newest_first_and_after_crashes() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start("");
    let endpoint = made(&daemon, json!({"url": receiver.url("/")}));
    let id = id_of(&endpoint);
    let first = endpoint["secret"].as_str().unwrap().to_owned();
    let path = format!("/v1/endpoints/{id}");
    // Without a body: 24 hours.
    let second = daemon.tcp.post(&format!("{path}/rotate")).expect(200);
    let second = second["secret"].as_str().unwrap().to_owned();
    assert_ne!(first, second);
    assert_signed(&delivered(&daemon, &receiver, &id), &[&second, &first]);
    assert_eq!(
        daemon.tcp.get(&format!("{path}/secret")).expect(200)["secret"],
        second.as_str()
    );
    assert_eq!(daemon.endpoint(&id)["secret"], "whsec_…");
    daemon.kill();
    let daemon = home.start("");
    assert_signed(&delivered(&daemon, &receiver, &id), &[&second, &first]);
    let third = rotated(&daemon, &id, "1h");
    assert_signed(
        &delivered(&daemon, &receiver, &id),
        &[&third, &second, &first],
    );
    let log = daemon.log_text();
    for secret in [&first, &second, &third] {
        assert!(!log.contains(&secret[6..]), "{log}");
    }
}

#[test]
fn when_the_overlap_ends_the_old_one_signs_no_more() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start("");
    let id = id_of(&made(&daemon, json!({"url": receiver.url("/")})));
    let second = rotated(&daemon, &id, "0s");
    assert_signed(&delivered(&daemon, &receiver, &id), &[&second]);
    let third = rotated(&daemon, &id, "1500ms");
    assert_signed(&delivered(&daemon, &receiver, &id), &[&third, &second]);
    let alone = || {
        let seen = delivered(&daemon, &receiver, &id);
        (seen.header("webhook-signature").split(' ').count() == 1).then_some(seen)
    };
    let seen = wait_for(alone, || "both sign for ever".to_owned());
    assert_signed(&seen, &[&third]);
}

#[test]
fn no_more_than_five_sign_at_once() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start("");
    let id = id_of(&made(&daemon, json!({"url": receiver.url("/")})));
    let mut secrets: Vec<String> = (0..6).map(|_| rotated(&daemon, &id, "30d")).collect();
    secrets.reverse();
    let newest: Vec<&str> = secrets.iter().take(5).map(String::as_str).collect();
    assert_signed(&delivered(&daemon, &receiver, &id), &newest);
}

#[test]
fn an_overlap_that_makes_no_sense_is_refused() {
    let home = Home::new();
    let daemon = home.start("");
    let id = id_of(&made(&daemon, json!({"url": "https://example.invalid/"})));
    let path = format!("/v1/endpoints/{id}/secret");
    let before = daemon.tcp.get(&path).expect(200);
    for (body, named) in [
        (json!({"overlap": "31d"}), "\"30d\""),
        (json!({"overlap": 5}), "`overlap`"),
        (json!({"overlap": "1.5h"}), "whole numbers"),
        (json!({"overlpa": "1h"}), "did you mean `overlap`?"),
    ] {
        let detail = rotate(&daemon, &id, &body).problem(400);
        assert!(detail.contains(named), "{detail}");
    }
    assert_eq!(daemon.tcp.get(&path).expect(200), before);
    rotate(&daemon, "ep_01ARZ3NDEKTSV4RRFFQ69G5FAV", &json!({})).problem(404);
}

#[test]
fn a_signing_key_is_replaced_with_the_secret_and_overlaps_like_it() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start("");
    let before = made(
        &daemon,
        json!({"url": receiver.url("/"), "signatures": ["v1", "v1a"]}),
    );
    let id = id_of(&before);
    let versions = |seen: &Seen| -> Vec<String> {
        let signatures = seen.header("webhook-signature").split(' ');
        let version = |one: &str| one.split(',').next().unwrap().to_owned();
        signatures.map(version).collect()
    };
    daemon.send("order", "1");
    assert_eq!(versions(&receiver.wait(1)[0]), ["v1", "v1a"]);
    let rotate = |overlap: &str| {
        let path = format!("/v1/endpoints/{id}/rotate");
        let body = json!({"overlap": overlap}).to_string();
        daemon.tcp.post_json(&path, body).expect(200)
    };
    rotate("1h");
    daemon.send("order", "2");
    let seen = &receiver.wait(2)[1];
    assert_eq!(versions(seen), ["v1", "v1", "v1a", "v1a"]);
    let after = daemon.endpoint(&id);
    assert_ne!(after["public_key"], before["public_key"]);
    // Both keys verify, the new and the old one.
    for key in [&after["public_key"], &before["public_key"]] {
        let timestamp = seen.header("webhook-timestamp");
        let signature = seen.header("webhook-signature");
        let ran = home.run_with(
            &[
                "verify",
                "--public-key",
                key.as_str().unwrap(),
                "--id",
                seen.id(),
                "--timestamp",
                timestamp,
                "--signature",
                signature,
            ],
            &seen.body,
        );
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    }
    rotate("0s");
    daemon.send("order", "3");
    assert_eq!(versions(&receiver.wait(3)[2]), ["v1", "v1a"]);
}
