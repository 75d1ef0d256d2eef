//! Order: of the whole endpoint (`strict`), and for each event key (`key`).

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use crate::harness::{Answer, Gate, Home, Receiver, Seen, endpoint};

/// The `data` of what came in, in order.
fn data(seen: &[Seen]) -> Vec<String> {
    let data = |one: &Seen| {
        let body: serde_json::Value = serde_json::from_slice(&one.body).expect("an envelope");
        body["data"].to_string()
    };
    seen.iter().map(data).collect()
}

/// Without breakers in the way: every other attempt is another endpoint's or succeeds.
const RETRY: &str = "[retry]\nfirst = \"300ms\"\nfactor = 1.0\njitter = 0.0\n";

#[test]
fn a_failing_head_holds_the_rest_of_a_strict_endpoint() {
    let receiver = Receiver::answering(|seen| match seen.number {
        0..3 => Answer::status(500),
        _ => Answer::status(200),
    });
    let home = Home::new();
    let strict = endpoint("e", &receiver.url("/"), "ordering = \"strict\"\n");
    let daemon = home.start(&(RETRY.to_owned() + &strict));
    let lines: String = (0..40)
        .map(|n| {
            format!(
                "{{\"type\": \"a\", \"key\": \"{}\", \"data\": {n}}}\n",
                n % 3
            )
        })
        .collect();
    let headers = [("content-type", "application/x-ndjson")];
    let answer = daemon
        .tcp
        .request("POST", "/v1/events", &headers, lines.as_bytes());
    answer.expect(202);
    let seen = receiver.wait(43);
    let expected = [0, 0, 0].into_iter().chain(0..40).map(|n| n.to_string());
    assert_eq!(data(&seen), expected.collect::<Vec<_>>());
    let gap = seen[3].at - seen[0].at;
    assert!(gap >= Duration::from_millis(890), "three waits in {gap:?}");
}

#[test]
fn one_at_a_time_is_under_way_at_a_strict_endpoint() {
    let gate = Gate::new();
    let held = gate.clone();
    let receiver = Receiver::answering(move |seen| match seen.path.as_str() {
        "/" => Answer::status(200).behind(&held),
        _ => Answer::status(200),
    });
    let home = Home::new();
    let strict = endpoint("e", &receiver.url("/"), "ordering = \"strict\"\n");
    let free = endpoint("free", &receiver.url("/free"), "");
    let daemon = home.start(&(strict + &free));
    daemon.send("a", "1");
    receiver.wait_until("the first", |seen| seen.iter().any(|one| one.path == "/"));
    for _ in 0..5 {
        let event = daemon.send("a", "2");
        daemon.wait_status(&event, "free", "delivered");
    }
    let at_strict = receiver.seen().iter().filter(|one| one.path == "/").count();
    assert_eq!(at_strict, 1);
    gate.open();
    let strict = |seen: &[Seen]| seen.iter().filter(|one| one.path == "/").count() == 6;
    receiver.wait_until("the others", strict);
}

#[test]
fn other_keys_go_on_while_one_fails() {
    let receiver = Receiver::answering(|seen| {
        let sick = data(std::slice::from_ref(seen))[0].starts_with("\"sick");
        // In between others succeed: no breaker opens.
        Answer::status(if sick { 500 } else { 200 })
    });
    let home = Home::new();
    let ordered = endpoint("e", &receiver.url("/"), "ordering = \"key\"\n");
    let daemon = home.start(&(RETRY.to_owned() + &ordered));
    let send = |key: &str, data: &str| {
        let key = format!("\"key\": \"{key}\"");
        daemon.send_with("a", &format!("\"{data}\""), &key)
    };
    let head = send("k", "sick 1");
    daemon.wait_delivery(&head, "e", "tried", |one| one["attempt_count"] != 0);
    let behind = send("k", "sick 2");
    let others: Vec<String> = (0..20)
        .map(|n| send(&format!("o{}", n % 4), &n.to_string()))
        .collect();
    let unkeyed = daemon.send("a", "\"no key\"");
    for event in others.iter().chain([&unkeyed]) {
        daemon.wait_status(event, "e", "delivered");
    }
    assert_eq!(daemon.delivery(&behind, "e")["attempt_count"], 0);
    let cancel = format!("/v1/events/{head}/deliveries/e/cancel");
    assert_eq!(daemon.tcp.post(&cancel).status, 200);
    daemon.wait_delivery(&behind, "e", "tried", |one| one["attempt_count"] != 0);
}

#[test]
fn a_dead_head_lets_the_next_one_go() {
    for ordering in ["strict", "key"] {
        let receiver = Receiver::answering(|seen| match seen.number {
            0..2 => Answer::status(500),
            _ => Answer::status(200),
        });
        let home = Home::new();
        let policy = format!("ordering = \"{ordering}\"\nretry.schedule = [\"100ms\"]\n");
        let daemon = home.start(&endpoint("e", &receiver.url("/"), &policy));
        let first = daemon.send_with("a", "1", "\"key\": \"k\"");
        let second = daemon.send_with("a", "2", "\"key\": \"k\"");
        daemon.wait_status(&second, "e", "delivered");
        assert_eq!(daemon.delivery(&first, "e")["status"], "dead");
        assert_eq!(data(&receiver.seen()), ["1", "1", "2"]);
        // Retried, it takes its place before what comes now.
        let retry = format!("/v1/events/{first}/deliveries/e/retry");
        assert_eq!(daemon.tcp.post(&retry).status, 202);
        daemon.wait_status(&first, "e", "delivered");
    }
}

/// More than the lane keeps in memory, most of it behind a key that is stuck.
#[test]
fn a_backlog_behind_a_stuck_key_hides_no_other_key() {
    let sick = Mutex::new(HashMap::<String, u32>::new());
    let receiver = Receiver::answering(move |seen| {
        let data = data(std::slice::from_ref(seen)).remove(0);
        let mut tries = sick.lock().unwrap();
        let tries = tries.entry(data.clone()).or_default();
        *tries += 1;
        Answer::status(if data == "0" && *tries < 3 { 500 } else { 200 })
    });
    let home = Home::new();
    let ordered = endpoint("e", &receiver.url("/"), "ordering = \"key\"\n");
    let slow = "[retry]\nfirst = \"4s\"\nfactor = 1.0\njitter = 0.0\n";
    let daemon = home.start(&(slow.to_owned() + &ordered));
    let line = |n: usize| {
        let key = if n < 3000 { 0 } else { n };
        format!("{{\"type\": \"a\", \"key\": \"{key}\", \"data\": {n}}}\n")
    };
    for batch in 0..4 {
        let lines: String = (batch * 1000..(batch + 1) * 1000).map(line).collect();
        let headers = [("content-type", "application/x-ndjson")];
        let answer = daemon
            .tcp
            .request("POST", "/v1/events", &headers, lines.as_bytes());
        answer.expect(202);
    }
    let others = |seen: &[Seen]| {
        let number = |data: String| data.parse::<u32>().expect("a number");
        data(seen)
            .into_iter()
            .filter(|one| number(one.clone()) >= 3000)
            .count()
            == 1000
    };
    let seen = receiver.wait_until("all others", others);
    let zero = data(&seen).iter().filter(|one| *one == "0").count();
    assert!(zero <= 2, "the stuck key was tried {zero} times meanwhile");
    // One after the other, each after the outcome of the one before: as long as they go on.
    let mut arrived = seen.len();
    while arrived < 4002 {
        arrived = receiver.wait((arrived + 100).min(4002)).len();
    }
    let in_order: Vec<String> = data(&receiver.seen())
        .into_iter()
        .filter(|one| one.parse::<u32>().is_ok_and(|n| n < 3000))
        .collect();
    let expected = [0, 0].into_iter().chain(0..3000).map(|n| n.to_string());
    assert!(in_order.into_iter().eq(expected));
}
