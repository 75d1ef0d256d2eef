//! What holds an endpoint's attempts back: its rate limit.

use super::*;

#[test]
fn a_saturated_lane_reaches_its_rate_and_keeps_it() {
    for (rate, burst) in [(4.0, 1), (250.0, 25)] {
        let limited = LanePolicy {
            rate_limit: Some(Rate { per_second: rate }),
            ..policy("t", 64)
        };
        let mut stage = Stage::new(512);
        stage.configure(0..1, &limited);
        for _ in 0..4000 {
            stage.queue(0);
        }
        let view = stage.engine.lane(EndpointNo(0), stage.now);
        assert!(view.is_none_or(|lane| lane.in_flight <= burst));
        stage.run(Duration::from_secs(10));
        let started = stage.starts.len();
        let most = (rate * 10.0) as usize + burst;
        assert!((most - burst..=most).contains(&started), "{started}");
        let view = stage.engine.lane(EndpointNo(0), stage.now).unwrap();
        assert!(view.rate_limited_until > Some(stage.now.mono));
    }
}

#[test]
fn the_bucket_outlives_the_lane() {
    let limited = LanePolicy {
        rate_limit: Some(Rate { per_second: 0.5 }),
        ..policy("t", 64)
    };
    let mut stage = Stage::new(8);
    stage.configure(0..1, &limited);
    stage.queue(0);
    stage.run(100 * MS);
    assert_eq!(stage.engine.stats().lanes, 0);
    let second = stage.queue(0);
    stage.run(Duration::from_secs(5));
    assert_eq!(stage.started(second), Some(Duration::from_secs(2)));
}
