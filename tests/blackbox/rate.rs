//! The rate limit of an endpoint.

use std::time::{Duration, Instant};

use crate::harness::{Answer, Home, Receiver, endpoint};

/// A batch of events.
fn batch(count: usize) -> String {
    let line = |n: usize| format!("{{\"type\": \"a\", \"data\": {n}}}\n");
    (0..count).map(line).collect()
}

#[test]
fn a_saturated_endpoint_reaches_its_rate_and_keeps_it() {
    let receiver = Receiver::answering(|_| Answer::status(200));
    let home = Home::new();
    let limited = endpoint("slow", &receiver.url("/"), "rate_limit = \"100/s\"\n");
    let daemon = home.start(&limited);
    let events = batch(300);
    let headers = [("content-type", "application/x-ndjson")];
    let answer = daemon
        .tcp
        .request("POST", "/v1/events", &headers, events.as_bytes());
    answer.expect(202);
    let seen = receiver.wait(300);

    // Over any span at most rate * span + burst. What the machine puts off on the way may
    // draw some together: 50 ms of them.
    let (rate, burst, slack) = (100.0, 10.0, 5.0);
    let mut times: Vec<Instant> = seen.iter().map(|one| one.at).collect();
    // Requests on several connections are noted in any order.
    times.sort();
    let times: Vec<Duration> = times.iter().map(|at| *at - times[0]).collect();
    for (first, from) in times.iter().enumerate() {
        for (last, to) in times.iter().enumerate().skip(first) {
            let most = rate * (*to - *from).as_secs_f64() + burst + slack;
            let came = (last - first + 1) as f64;
            assert!(came <= most, "{came} from {from:?} to {to:?}");
        }
    }
    // 290 after the burst take 2.9 s.
    let took = times[299].as_secs_f64();
    assert!((2.8..3.4).contains(&took), "{took} s");
}

#[test]
fn failures_count_too() {
    let receiver = Receiver::answering(|seen| match seen.number {
        0..3 => Answer::status(500),
        _ => Answer::status(200),
    });
    let home = Home::new();
    let limited = endpoint("slow", &receiver.url("/"), "rate_limit = \"4/s\"\n");
    let daemon = home.start(&limited);
    let event = daemon.send("a", "1");
    daemon.wait_status(&event, "slow", "delivered");
    let mut times: Vec<Instant> = receiver.wait(4).iter().map(|one| one.at).collect();
    times.sort();
    for two in times.windows(2) {
        // 250 ms apart, and 50 ms if failures did not count; a busy machine sees one late.
        let gap = two[1] - two[0];
        assert!(gap >= Duration::from_millis(150), "again after {gap:?}");
    }
}
