//! What holds an endpoint's attempts back: its rate limit.

use super::*;

#[test]
fn a_saturated_lane_reaches_its_rate_and_keeps_it() {
    for (rate, burst) in [(4.0, 1), (250.0, 25)] {
        let limited = LanePolicy {
            rate_limit: Some(Rate { per_second: rate }),
            ..policy("t", 64)
        };
        let mut harness = Harness::new(512);
        harness.configure(0..1, &limited);
        for _ in 0..4000 {
            harness.queue(0);
        }
        let view = harness.engine.lane(EndpointNo(0), harness.now);
        assert!(view.is_none_or(|lane| lane.in_flight <= burst));
        harness.run(Duration::from_secs(10));
        let started = harness.starts.len();
        let most = (rate * 10.0) as usize + burst;
        assert!((most - burst..=most).contains(&started), "{started}");
        let view = harness.engine.lane(EndpointNo(0), harness.now).unwrap();
        assert!(view.rate_limited_until > Some(harness.now.mono));
    }
}

#[test]
fn the_bucket_outlives_the_lane() {
    let limited = LanePolicy {
        rate_limit: Some(Rate { per_second: 0.5 }),
        ..policy("t", 64)
    };
    let mut harness = Harness::new(8);
    harness.configure(0..1, &limited);
    harness.queue(0);
    harness.run(100 * MS);
    assert_eq!(harness.engine.stats().lanes, 0);
    let second = harness.queue(0);
    harness.run(Duration::from_secs(5));
    assert_eq!(harness.started(second), Some(Duration::from_secs(2)));
}

/// How many were in flight at once, at most, in each span of so long from `from` on.
fn most_at_once(harness: &Harness, took: Duration, from: Duration, span: Duration) -> Vec<usize> {
    let mut most = Vec::new();
    let starts: Vec<Duration> = harness.starts.iter().map(|start| start.0).collect();
    for at in starts.iter().copied().filter(|&at| at >= from) {
        let index = ((at - from).as_nanos() / span.as_nanos()) as usize;
        most.resize(most.len().max(index + 1), 0);
        let under_way = starts.iter().filter(|&&one| one <= at && at < one + took);
        most[index] = most[index].max(under_way.count());
    }
    most
}

#[test]
fn after_the_breaker_closes_there_is_a_ramp_and_no_burst() {
    let mut harness = Harness::new(512);
    harness.configure(0..1, &policy("t", 64));
    let took = 100 * MS;
    harness.answer(0..1, took, status(500));
    for _ in 0..2000 {
        harness.queue(0);
    }
    let open = |harness: &Harness| {
        let lane = harness.engine.lane(EndpointNo(0), harness.now);
        lane.is_some_and(|lane| lane.breaker_open)
    };
    harness.run(Duration::from_secs(4));
    assert!(open(&harness));
    harness.answer(0..1, took, status(200));
    while open(&harness) {
        harness.run(MS);
    }
    let closed_at = harness.now.mono;
    harness.run(Duration::from_secs(2));
    let most = most_at_once(&harness, took, closed_at, took);
    assert!(most[0] <= 2, "{most:?}");
    for two in most.windows(2) {
        assert!(two[1] <= 2 * two[0], "{most:?}");
    }
    assert_eq!(
        most.iter().max(),
        Some(&64),
        "all that it may have, in the end"
    );
}

#[test]
fn what_is_released_begins_with_one_at_a_time() {
    let quick = LanePolicy {
        rate_limit: Some(Rate { per_second: 1000.0 }),
        ..policy("t", 64)
    };
    let mut harness = Harness::new(512);
    harness.configure(0..1, &quick);
    let no = EndpointNo(0);
    harness.tell(Input::Hold { no });
    for _ in 0..500 {
        harness.queue(0);
    }
    let took = 100 * MS;
    harness.answer(0..1, took, status(200));
    let at = harness.now.wall;
    harness.tell(Input::Release { no, at });
    harness.run(Duration::from_secs(3));
    let most = most_at_once(&harness, took, Duration::ZERO, took);
    assert_eq!(most[0], 1, "{most:?}");
    assert!(most[1] <= 2 && most[2] <= 4, "{most:?}");
    assert_eq!(harness.starts.len(), 500);
}
