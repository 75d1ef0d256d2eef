//! The circuit breaker in front of each endpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::harness::{Answer, Home, Receiver, endpoint, wait_for};

#[test]
fn five_failures_in_a_row_open_it_and_a_success_closes_it() {
    let well = Arc::new(AtomicBool::new(false));
    let answering = well.clone();
    let receiver = Receiver::answering(move |seen| match seen.path.as_str() {
        "/sick" if !answering.load(Ordering::Acquire) => Answer::status(500),
        _ => Answer::status(200),
    });
    let home = Home::new();
    let retry = "[retry]\nfirst = \"250ms\"\nfactor = 1.0\njitter = 0.0\n";
    // One at a time: nothing else is in flight when it opens.
    let of = |id: &str| endpoint(id, &receiver.url(&format!("/{id}")), "max_in_flight = 1");
    let daemon = home.start(&(retry.to_owned() + &of("sick") + &of("well")));
    let mut events: Vec<String> = Vec::new();
    let opened = wait_for(
        || {
            // One after the other: what was in flight when it opened would count, too.
            let event = daemon.send("a", "1");
            let delivery = daemon.wait_delivery(&event, "sick", "tried or waiting", |one| {
                one["attempt_count"] == 1 || daemon.status()["endpoints"]["breaker_open"] == 1
            });
            events.push(event);
            let open = daemon.status()["endpoints"]["breaker_open"] == 1;
            open.then_some(delivery)
        },
        || "the breaker stays shut".to_owned(),
    );
    drop(opened);
    // Retries of the first count as failures in a row too.
    let to_sick = |seen: &[crate::harness::Seen]| {
        let sick = seen.iter().filter(|seen| seen.path == "/sick");
        sick.cloned().collect::<Vec<_>>()
    };
    let before = to_sick(&receiver.seen()).len();
    assert!(before >= 5, "opened after {before} failures");

    // While it is open: these wait and use no attempts.
    let waiting: Vec<_> = (0..10).map(|_| daemon.send("a", "2")).collect();
    receiver.wait_until("two probes", |seen| to_sick(seen).len() >= before + 2);
    for event in &waiting {
        daemon.wait_status(event, "well", "delivered");
    }
    let tried: u64 = events
        .iter()
        .chain(&waiting)
        .map(|event| {
            daemon.delivery(event, "sick")["attempt_count"]
                .as_u64()
                .unwrap()
        })
        .sum();
    let now = to_sick(&receiver.seen()).len() as u64;
    assert!(tried <= now, "{tried} attempts listed, {now} seen");
    // The k-th probe comes after delay(k) = 250 ms; a burst would come at once.
    let probes = to_sick(&receiver.seen());
    for two in probes[before - 1..].windows(2) {
        let gap = two[1].at - two[0].at;
        assert!(gap >= Duration::from_millis(240), "a probe after {gap:?}");
    }

    well.store(true, Ordering::Release);
    for event in events.iter().chain(&waiting) {
        daemon.wait_status(event, "sick", "delivered");
    }
    assert_eq!(daemon.status()["endpoints"]["breaker_open"], 0);
    // A probe uses an attempt of one that waits; one may have been on its way just now.
    let untried = waiting
        .iter()
        .filter(|event| daemon.delivery(event, "sick")["attempt_count"] == 1);
    let (untried, probes) = (untried.count(), probes.len() - before + 1);
    assert!(
        untried + probes >= waiting.len(),
        "{probes} probes, and {untried} of {} untried",
        waiting.len()
    );
}

#[test]
fn there_is_one_probe_at_a_time() {
    let in_flight = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (now, peak) = (in_flight.clone(), most.clone());
    let receiver = Receiver::answering(move |seen| {
        if seen.number >= 5 {
            let count = now.fetch_add(1, Ordering::AcqRel) + 1;
            peak.fetch_max(count, Ordering::AcqRel);
            // Long enough for a second probe to come along, if there were one.
            std::thread::sleep(Duration::from_millis(30));
            now.fetch_sub(1, Ordering::AcqRel);
        }
        Answer::status(500)
    });
    let home = Home::new();
    let retry = "[retry]\nfirst = \"1ms\"\nfactor = 1.0\njitter = 0.0\n";
    let one = "max_in_flight = 1";
    let daemon = home.start(&(retry.to_owned() + &endpoint("sick", &receiver.url("/"), one)));
    for _ in 0..40 {
        daemon.send("a", "1");
    }
    receiver.wait(5);
    assert!(daemon.stop().success());
    // Now it may have many at once; but started again it knows that the endpoint is sick.
    let many = retry.to_owned() + &endpoint("sick", &receiver.url("/"), "max_in_flight = 16");
    let before = receiver.seen().len();
    let daemon = home.start(&many);
    receiver.wait(before + 10);
    assert_eq!(most.load(Ordering::Acquire), 1, "probes at once");
    daemon.kill();
}

#[test]
fn a_retry_by_hand_goes_out_although_it_is_open() {
    let well = Arc::new(AtomicBool::new(false));
    let answering = well.clone();
    let receiver = Receiver::answering(move |_| match answering.load(Ordering::Acquire) {
        true => Answer::status(200),
        false => Answer::status(500),
    });
    let home = Home::new();
    let retry = "[retry]\nschedule = [\"1ms\", \"1ms\", \"1ms\", \"1ms\", \"1h\"]\njitter = 0.0\n";
    let daemon = home.start(&(retry.to_owned() + &endpoint("sick", &receiver.url("/"), "")));
    let event = daemon.send("a", "1");
    daemon.wait_delivery(&event, "sick", "tried five times", |one| {
        one["attempt_count"] == 5
    });
    assert_eq!(daemon.status()["endpoints"]["breaker_open"], 1);
    well.store(true, Ordering::Release);
    let path = format!("/v1/events/{event}/deliveries/sick/retry");
    daemon.tcp.post(&path).expect(202);
    daemon.wait_status(&event, "sick", "delivered");
    assert_eq!(daemon.status()["endpoints"]["breaker_open"], 0);
}

#[test]
fn it_takes_five_and_they_must_be_in_a_row() {
    // The fifth of these is a success; what follows fails.
    let receiver = Receiver::answering(|seen| match seen.number {
        4 => Answer::status(200),
        _ => Answer::status(500),
    });
    let home = Home::new();
    // No retry and no probe comes along by itself.
    let retry = "[retry]\nfirst = \"1h\"\nmax = \"1h\"\n";
    let daemon = home.start(&(retry.to_owned() + &endpoint("sick", &receiver.url("/"), "")));
    let open = || daemon.status()["endpoints"]["breaker_open"] == 1;
    for number in 0..10 {
        assert!(!open(), "open after {number} attempts");
        let event = daemon.send("a", "1");
        daemon.wait_delivery(&event, "sick", "tried", |one| one["attempt_count"] == 1);
    }
    wait_for(
        || open().then_some(()),
        || "the breaker stays shut".to_owned(),
    );
    for _ in 0..10 {
        let event = daemon.send("a", "2");
        let delivery = daemon.delivery(&event, "sick");
        assert_eq!(
            (&delivery["status"], &delivery["attempt_count"]),
            (&"pending".into(), &0.into())
        );
    }
    assert_eq!(receiver.seen().len(), 10);
}
