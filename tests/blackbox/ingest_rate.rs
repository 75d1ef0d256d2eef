//! `ingest.rate_limit`: 429, when to try again, and that nothing of a refused request is kept.

use std::time::{Duration, Instant};

use crate::harness::Home;
use crate::harness::http::Response;

fn limited(rate: &str) -> String {
    format!("[ingest]\nrate_limit = \"{rate}\"\n")
}

#[track_caller]
fn retry_after(answer: &Response) -> u64 {
    assert!(answer.problem(429).contains("ingest.rate_limit"));
    answer.header("retry-after").unwrap().parse().unwrap()
}

#[test]
fn over_the_rate_is_429_and_nothing_is_kept() {
    let home = Home::new();
    let daemon = home.start(&limited("1/m"));
    let event = "{\"type\":\"a\",\"data\":1}";
    daemon.tcp.post_json("/v1/events", event).expect(202);
    let refused = daemon.tcp.post_json("/v1/events", event);
    assert!((50..=60).contains(&retry_after(&refused)));
    // The whole daemon: the socket and other forms too.
    retry_after(&daemon.unix.post_json("/v1/events", event));
    let opaque = [("content-type", "text/plain")];
    retry_after(&daemon.tcp.request("POST", "/v1/events/a", &opaque, b"x"));
    let list = daemon.tcp.get("/v1/events").expect(200);
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
    // What is no event is told so, and reading is not limited.
    daemon.tcp.post_json("/v1/events", "{").problem(400);
    let metrics = daemon.tcp.get("/metrics").text();
    let counted = "outboxd_requests_refused_total{reason=\"rate_limited\"} 3";
    assert!(metrics.contains(counted), "{metrics}");
}

#[test]
fn a_batch_over_the_burst_goes_in_whole_and_is_made_up_for() {
    let home = Home::new();
    let daemon = home.start(&limited("10/s"));
    let lines = "{\"type\":\"a\",\"data\":1}\n".repeat(600);
    let ndjson = [("content-type", "application/x-ndjson")];
    let answer = daemon
        .tcp
        .request("POST", "/v1/events", &ndjson, lines.as_bytes());
    assert_eq!(answer.expect(202)["accepted"], 600);
    let refused = daemon
        .tcp
        .post_json("/v1/events", "{\"type\":\"a\",\"data\":1}");
    assert!((50..=60).contains(&retry_after(&refused)));
}

#[test]
fn what_comes_slowly_enough_all_goes_in() {
    let home = Home::new();
    let daemon = home.start(&limited("20/s"));
    let start = Instant::now();
    let mut accepted = 0;
    while accepted < 40 {
        let answer = daemon
            .tcp
            .post_json("/v1/events", "{\"type\":\"a\",\"data\":1}");
        match answer.status {
            202 => accepted += 1,
            _ => assert_eq!(retry_after(&answer), 1),
        }
    }
    // A burst of two, and the other 38 at 20 a second.
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(1890), "{took:?}");
    assert!(took <= Duration::from_secs(10), "{took:?}");
}
