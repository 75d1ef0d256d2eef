//! Order holds through `kill -9`.

use std::collections::{HashMap, HashSet};

use crate::harness::{Answer, Home, Receiver, Seen, endpoint, wait_for};

const KEYS: usize = 20;
const EVENTS: usize = 1000;

/// Which event came in: its key, and its number within that.
fn event(seen: &Seen) -> (usize, usize) {
    let body: serde_json::Value = serde_json::from_slice(&seen.body).expect("an envelope");
    let number = |at: usize| body["data"][at].as_u64().expect("a number") as usize;
    (number(0), number(1))
}

/// Fails one in four, by a number that looks random and is the same in every run.
fn fails(seen: &Seen) -> bool {
    let mixed = (seen.number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32).is_multiple_of(4)
}

#[test]
fn a_thousand_events_over_twenty_keys_arrive_in_order_through_failures_and_kills() {
    let receiver = Receiver::answering(|seen| Answer::status(if fails(seen) { 500 } else { 200 }));
    let home = Home::new();
    let config = "[retry]\nfirst = \"30ms\"\nfactor = 1.0\n".to_owned()
        + &endpoint("e", &receiver.url("/"), "ordering = \"key\"\n");
    let mut daemon = home.start(&config);
    let mut sent = 0;
    for kill_at in [150, 500, 800] {
        while sent < kill_at + 200 {
            let line = |n: usize| {
                let (key, number) = (n % KEYS, n / KEYS);
                format!("{{\"type\": \"a\", \"key\": \"k{key}\", \"data\": [{key}, {number}]}}\n")
            };
            let lines: String = (sent..sent + 50).map(line).collect();
            let headers = [("content-type", "application/x-ndjson")];
            let interface = &daemon.tcp;
            let answer = interface.request("POST", "/v1/events", &headers, lines.as_bytes());
            answer.expect(202);
            sent += 50;
        }
        receiver.wait(kill_at);
        daemon.kill();
        daemon = home.start(&config);
    }
    assert_eq!(sent, EVENTS);
    wait_for(
        || (daemon.status()["backlog"]["pending"] == 0).then_some(()),
        || format!("not all is delivered: {:#}", daemon.status()),
    );

    let mut seen_before = HashSet::new();
    let mut next: HashMap<usize, usize> = HashMap::new();
    for (key, number) in receiver.seen().iter().map(event) {
        if seen_before.insert((key, number)) {
            let expected = next.entry(key).or_default();
            assert_eq!(number, *expected, "the next one of key {key}");
            *expected += 1;
        }
    }
    assert_eq!(seen_before.len(), EVENTS);
}
