//! Wide fan-outs: what is written again, and what one request may make, is bounded in bytes,
//! in memory and in time.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::files::segments;
use crate::harness::http::Response;
use crate::harness::{Answer, Daemon, Home, Receiver, endpoint, wait_for};

/// Debug builds are slow: they get less of it, and the bounds stay.
const DEBUG: bool = cfg!(debug_assertions);
const MIB: u64 = 1 << 20;

/// The largest frame of many records in a segment: its records in bytes. See
/// `src/outbox/log/frame.rs`.
fn largest_frame(path: &Path) -> u32 {
    let bytes = fs::read(path).unwrap();
    let number = |frame: &[u8], at: usize| {
        u32::from_le_bytes(frame[at..at + 4].try_into().expect("four bytes"))
    };
    let (mut largest, mut at) = (0, 4096);
    // Frames stand one after the other, at multiples of 64.
    while let Some(frame) = bytes.get(at..at + 56)
        && frame.starts_with(b"oBxF")
    {
        let (payload, records) = (number(frame, 36), number(frame, 40));
        if records > 1 {
            largest = largest.max(payload);
        }
        at = (at + 56 + payload as usize).next_multiple_of(64);
    }
    largest
}

#[test]
fn wide_events_with_kept_answers_are_cleaned_in_bounded_steps() {
    let (events, endpoints, attempts) = if DEBUG { (24, 60, 2) } else { (256, 60, 3) };
    let body = "r".repeat(4096);
    let receiver = Receiver::answering(move |seen| match seen.path.as_str() {
        "/ok" => Answer::status(200),
        _ => Answer::reply(500, &[], &body),
    });
    let home = Home::new();
    let delays = vec!["\"10ms\""; attempts - 1].join(", ");
    let mut config = String::from("[retention]\ndelivered = \"1s\"\n");
    for number in 0..endpoints {
        let more = format!("types = [\"wide.*\"]\n[endpoint.retry]\nschedule = [{delays}]");
        config += &endpoint(&format!("w{number}"), &receiver.url("/fails"), &more);
    }
    config += &endpoint("ok", &receiver.url("/ok"), "types = [\"flood.*\"]");
    let daemon = home.start(&config);
    let ids: Vec<String> = (0..events)
        .map(|number| daemon.send("wide.x", &number.to_string()))
        .collect();
    let dead = || daemon.status()["backlog"]["dead"].as_u64().unwrap();
    let wanted = (events * endpoints) as u64;
    let mut last = (0, Instant::now());
    while dead() < wanted {
        // As long as it goes on.
        if dead() > last.0 {
            last = (dead(), Instant::now());
        }
        assert!(
            last.1.elapsed() < Duration::from_secs(60),
            "{}",
            daemon.status()
        );
        std::thread::yield_now();
    }
    // What is kept is written again once the log is more than twice of it.
    let first = segments(&home).remove(0);
    let (flood, headers) = (vec![b'f'; 900_000], [("content-type", "text/plain")]);
    let (mut slowest, mut sent, mut largest) = (Duration::ZERO, 0, 0);
    while first.exists() {
        let began = Instant::now();
        let answer = daemon
            .tcp
            .request("POST", "/v1/events/flood.x", &headers, &flood);
        answer.expect(202);
        slowest = slowest.max(began.elapsed());
        sent += 1;
        assert!(
            sent < 4000,
            "cleaning does not keep up: {}",
            daemon.status()
        );
    }
    // The moved ones stand at the head.
    let passes = daemon.metric("outboxd_cleaning_passes_total");
    wait_for(
        || (daemon.metric("outboxd_cleaning_passes_total") > passes).then_some(()),
        || "cleaning has ended".into(),
    );
    for path in segments(&home) {
        largest = largest.max(u64::from(largest_frame(&path)));
    }
    assert!(largest > 0, "no frame of many records was found");
    assert!(largest <= MIB, "a frame holds {largest} bytes");
    assert!(
        slowest < Duration::from_secs(5),
        "an event took {slowest:?}"
    );
    let peak = daemon.memory_peak() / MIB;
    assert!(peak <= 300, "{peak} MiB");
    assert_eq!(daemon.status()["damaged_records"], 0);
    let shown = daemon.delivery(&ids[0], "w0");
    assert_eq!(shown["attempts"].as_array().unwrap().len(), attempts);
    let answer = shown["attempts"][0]["response_body"].as_str().unwrap();
    assert_eq!(answer.len(), 4096);
}

const TENANT_ENDPOINTS: usize = 10_000;

/// Ten thousand endpoints that want everything, and attempt nothing.
pub fn ten_thousand(more: &str) -> String {
    let mut config = format!("[outbox]\nsegment_size = \"16MiB\"\ncache_size = \"4MiB\"\n{more}");
    for number in 0..TENANT_ENDPOINTS {
        let url = format!("http://127.0.0.1:9/{number}");
        config += &endpoint(&format!("e{number}"), &url, "enabled = false");
    }
    config
}

pub fn batch(daemon: &Daemon, lines: usize) -> Response {
    let mut body = String::new();
    for number in 0..lines {
        writeln!(body, r#"{{"type":"a.b","data":{number}}}"#).unwrap();
    }
    let headers = [("content-type", "application/x-ndjson")];
    daemon
        .tcp
        .request("POST", "/v1/events", &headers, body.as_bytes())
}

pub fn stored(daemon: &Daemon) -> usize {
    let listed = daemon.tcp.get("/v1/events?limit=1000").expect(200);
    listed["data"].as_array().unwrap().len()
}

#[test]
fn a_batch_that_makes_too_many_deliveries_says_how_many_events_fit() {
    let home = Home::new();
    let daemon = home.start(&ten_thousand(""));
    let detail = batch(&daemon, 1000).problem(413);
    let fit = detail
        .split(|letter: char| !letter.is_ascii_digit())
        .find_map(|word| word.parse::<usize>().ok());
    let fit = fit.unwrap_or_else(|| panic!("no number in {detail:?}"));
    assert_eq!(fit, 100_000 / TENANT_ENDPOINTS, "{detail}");
    assert_eq!(stored(&daemon), 0);
    let status = daemon.status();
    assert_eq!(status["backlog"]["held"], 0, "{status}");
    let peak = daemon.memory_peak() / MIB;
    assert!(peak <= 300, "{peak} MiB after it was refused");
    // One more is too many, and so many are accepted.
    batch(&daemon, fit + 1).problem(413);
    let accepted: Value = batch(&daemon, fit).expect(202);
    assert_eq!(accepted["accepted"], fit);
    assert_eq!(accepted["events"][0]["deliveries"], TENANT_ENDPOINTS);
    assert_eq!(stored(&daemon), fit);
    assert_eq!(daemon.status()["backlog"]["held"], 100_000);
    let peak = daemon.memory_peak() / MIB;
    assert!(peak <= 300, "{peak} MiB after it was accepted");
}

#[test]
fn a_batch_of_very_many_small_lines_is_accepted_or_too_large() {
    let lines = if DEBUG { 50_000 } else { 600_000 };
    let home = Home::new();
    let config = "[ingest]\nmax_batch_events = 1000000\n";
    let daemon = home.start(config);
    let answer = batch(&daemon, lines);
    assert!([202, 413].contains(&answer.status), "{}", answer.text());
    let again = batch(&daemon, 10).expect(202);
    assert_eq!(again["accepted"], 10);
}
