//! What is refused for want of room leaves no trace, so that the identical retry is taken.

use serde_json::json;

use super::{
    Call, PUBLIC_URL, assert_counts, assert_empty, events, github, made, patch, push, rejected,
    shown, start, wait_shown,
};
use crate::harness::receiver::Gate;
use crate::harness::{Answer, Daemon, Home, Receiver, endpoint};

const TINY: &str = "[outbox]\nsegment_size = \"4MiB\"\ncache_size = \"4MiB\"\nmax_size = \"10KiB\"\n\
                    endpoint_share = 1.0\n";

fn body(number: u32, length: usize) -> Vec<u8> {
    format!("{{\"n\":{number},\"pad\":\"{}\"}}", "p".repeat(length)).into_bytes()
}

#[test]
fn a_full_outbox_is_503_and_the_retry_is_taken() {
    let gate = Gate::new();
    let shut = gate.clone();
    let receiver = Receiver::answering(move |_| Answer::status(200).behind(&shut));
    let home = Home::new();
    let config = TINY.to_owned() + &github("gh", "") + &endpoint("app", &receiver.url("/"), "");
    let daemon = start(&home, &config);
    assert_empty(&push("first", &body(1, 6000)).send(&daemon, "gh"), 200);
    let retried = push("second", &body(2, 6000));
    for _ in 0..2 {
        let answer = retried.send(&daemon, "gh");
        assert_empty(&answer, 503);
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
    }
    // What was taken before is known all the same.
    assert_empty(&push("first", &body(1, 6000)).send(&daemon, "gh"), 200);
    assert_eq!(events(&daemon).len(), 1);
    gate.open();
    let first = events(&daemon)[0]["id"].as_str().unwrap().to_owned();
    daemon.wait_status(&first, "app", "delivered");
    taken_once(&daemon, &retried);
    assert_counts(&daemon, "gh", 2, 2);
    assert_eq!(rejected(&shown(&daemon, "gh"), "unavailable"), 2);
    assert_eq!(receiver.wait(2)[1].body, retried.body);
}

/// Taken, and a duplicate after that.
#[track_caller]
fn taken_once(daemon: &Daemon, call: &Call) {
    assert_empty(&call.send(daemon, "gh"), 200);
    assert_eq!(events(daemon).len(), 2);
    assert_empty(&call.send(daemon, "gh"), 200);
    assert_eq!(events(daemon).len(), 2);
}

#[test]
fn a_body_that_is_too_large_is_413_and_the_retry_is_taken_once_it_may_be_larger() {
    let home = Home::new();
    let daemon = start(&home, "");
    let definition = json!({"id": "gh", "preset": "github", "secrets": [super::SECRET],
        "max_event_size": "1KiB"});
    made(&daemon, &definition);
    let fits = push("fits", &[b'x'; 1024]);
    assert_empty(&fits.send(&daemon, "gh"), 200);
    let retried = push("large", &[b'x'; 1025]);
    for _ in 0..2 {
        assert_empty(&retried.send(&daemon, "gh"), 413);
    }
    assert_eq!(events(&daemon).len(), 1);
    patch(&daemon.tcp, "gh", &json!({"max_event_size": "2KiB"})).expect(200);
    taken_once(&daemon, &retried);
    assert_eq!(rejected(&shown(&daemon, "gh"), "too_large"), 2);
}

/// The provider's size holds where the source says nothing, whatever is usual here.
#[test]
fn a_preset_may_take_more_than_the_daemon_does_otherwise() {
    let home = Home::new();
    let daemon = start(
        &home,
        &("[ingest]\nmax_event_size = \"1KiB\"\n".to_owned() + &github("gh", "")),
    );
    let large = push("large", &body(1, 3 * 1024 * 1024));
    assert_empty(&large.send(&daemon, "gh"), 200);
    let stored = super::event(&daemon, events(&daemon)[0]["id"].as_str().unwrap());
    let stored = crate::signing::from_base64(stored["body_base64"].as_str().unwrap());
    assert!(stored == large.body);
}

/// A split call is stored whole or not at all.
#[test]
fn a_split_call_for_which_there_is_no_room_leaves_nothing() {
    let gate = Gate::new();
    let shut = gate.clone();
    let receiver = Receiver::answering(move |_| Answer::status(200).behind(&shut));
    let home = Home::new();
    let config = TINY.to_owned()
        + &github("gh", "split = \"/items\"\ntype = \"a.b\"")
        + &endpoint("app", &receiver.url("/"), "");
    let daemon = start(&home, &config);
    let items = |count: usize| {
        let pad = "p".repeat(2000);
        let items: Vec<String> = (0..count)
            .map(|n| format!("{{\"n\":{n},\"p\":\"{pad}\"}}"))
            .collect();
        format!("{{\"items\":[{}]}}", items.join(","))
    };
    assert_empty(&push("a", items(7).as_bytes()).send(&daemon, "gh"), 503);
    assert_eq!(events(&daemon).len(), 0);
    assert_empty(&push("b", items(3).as_bytes()).send(&daemon, "gh"), 200);
    assert_eq!(events(&daemon).len(), 3);
    gate.open();
    receiver.wait(3);
}

/// The rate of the whole daemon is for calls, too.
#[test]
fn over_the_daemons_rate_a_call_is_429_and_the_retry_is_taken() {
    let home = Home::new();
    let config = "[ingest]\nrate_limit = \"1/s\"\n".to_owned() + &github("gh", "");
    let daemon = start(&home, &config);
    let mut refused = None;
    for number in 0..50 {
        let call = push(&format!("d-{number}"), b"{}");
        let answer = call.send(&daemon, "gh");
        if answer.status == 429 {
            assert_empty(&answer, 429);
            assert_eq!(answer.header("retry-after"), Some("1"));
            refused = Some(call);
            break;
        }
        assert_empty(&answer, 200);
    }
    let call = refused.expect("one of them is over the rate");
    let before = events(&daemon).len();
    crate::harness::wait_for(
        || (call.send(&daemon, "gh").status == 200).then_some(()),
        || "the retry is never taken".to_owned(),
    );
    assert_eq!(events(&daemon).len(), before + 1);
    let source = wait_shown(&daemon, "gh", |source| rejected(source, "rate_limited") > 0);
    assert_eq!(source["url"], format!("{PUBLIC_URL}/in/gh"));
}
