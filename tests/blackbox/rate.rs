//! The rate limit of an endpoint.

use std::time::{Duration, Instant};

use crate::harness::{Answer, Home, Receiver, endpoint, unless_late};

/// The receiver's clock and the daemon's are read at different moments.
const SLACK: Duration = Duration::from_millis(5);

/// A batch of events.
fn batch(count: usize) -> String {
    let line = |n: usize| format!("{{\"type\": \"a\", \"data\": {n}}}\n");
    (0..count).map(line).collect()
}

#[test]
fn a_saturated_endpoint_reaches_its_rate_and_keeps_it() {
    unless_late(|lateness| {
        let (begin, times) = arrivals_at_100_a_second();
        // Over any span at most rate * span + burst. What the machine puts off on the way may
        // draw some together: 50 ms of them, or those of as long as it was late.
        let late = lateness.most().as_secs_f64();
        let (rate, burst) = (100.0, 10.0);
        let slack = rate * late.max(0.05);
        // However late they are seen, none goes out before its time.
        for (number, at) in times.iter().enumerate() {
            let soonest = (number as f64 + 1.0 - burst) / rate - SLACK.as_secs_f64();
            let after = (*at - begin).as_secs_f64();
            assert!(after >= soonest, "{number} after {after} s");
        }
        for (first, from) in times.iter().enumerate() {
            for (last, to) in times.iter().enumerate().skip(first) {
                let most = rate * (*to - *from).as_secs_f64() + burst + slack;
                let came = (last - first + 1) as f64;
                if came > most {
                    return Err(format!("{came} from {from:?} to {to:?}"));
                }
            }
        }
        // 290 after the burst take 2.9 s, and the last may be late.
        let took = (times[299] - times[0]).as_secs_f64();
        match (2.8..2.9 + late.max(0.5)).contains(&took) {
            true => Ok(()),
            false => Err(format!("{took} s")),
        }
    });
}

/// When 300 events were handed in, and when each of them arrived.
fn arrivals_at_100_a_second() -> (Instant, Vec<Instant>) {
    let receiver = Receiver::answering(|_| Answer::status(200));
    let home = Home::new();
    let limited = endpoint("slow", &receiver.url("/"), "rate_limit = \"100/s\"\n");
    let daemon = home.start(&limited);
    let events = batch(300);
    let headers = [("content-type", "application/x-ndjson")];
    let begin = Instant::now();
    let answer = daemon
        .tcp
        .request("POST", "/v1/events", &headers, events.as_bytes());
    answer.expect(202);
    let seen = receiver.wait(300);
    let mut times: Vec<Instant> = seen.iter().map(|one| one.at).collect();
    // Requests on several connections are noted in any order.
    times.sort();
    (begin, times)
}

#[test]
fn failures_count_too() {
    // A request that is seen late is seen sooner before the next one.
    unless_late(|lateness| {
        let gap = shortest_gap_of_failures();
        match gap + lateness.most().max(Duration::from_millis(15)) >= Duration::from_millis(250) {
            true => Ok(()),
            false => Err(format!("again after {gap:?}")),
        }
    });
}

/// The shortest time between the attempts of a delivery that fails three times at 4/s.
fn shortest_gap_of_failures() -> Duration {
    let receiver = Receiver::answering(|seen| match seen.number {
        0..3 => Answer::status(500),
        _ => Answer::status(200),
    });
    let home = Home::new();
    let limited = endpoint("slow", &receiver.url("/"), "rate_limit = \"4/s\"\n");
    let daemon = home.start(&limited);
    let begin = Instant::now();
    let event = daemon.send("a", "1");
    daemon.wait_status(&event, "slow", "delivered");
    let mut times: Vec<Instant> = receiver.wait(4).iter().map(|one| one.at).collect();
    times.sort();
    // However late it is seen, none goes out before its time.
    for (n, at) in times.iter().enumerate() {
        let soonest = Duration::from_millis(250 * n as u64).saturating_sub(SLACK);
        assert!(*at - begin >= soonest, "{n} after {:?}", *at - begin);
    }
    let gaps = times.windows(2).map(|two| two[1] - two[0]);
    gaps.min().expect("four came")
}
