//! The daemon's own faults are nobody's failure: they harm no endpoint, are told as what
//! they are, and what they held up is delivered once they are over.

use std::time::Instant;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::Value;

use crate::harness::http::Connection;
use crate::harness::{Answer, Daemon, Home, Receiver, endpoint, wait_for};

/// A failure more than the first, and the delivery is dead.
const ONCE: &str = "[endpoint.retry]\nschedule = [\"10ms\"]\n";

/// Sets how many files the daemon may open from now on; gives how many it might before.
fn limit_files(daemon: &Daemon, soft: Option<u64>) -> Option<u64> {
    let pid = Pid::from_raw(i32::try_from(daemon.pid()).unwrap());
    let before = rustix::process::getrlimit(Resource::Nofile);
    let maximum = before.maximum;
    let limit = Rlimit {
        current: soft,
        maximum,
    };
    let before = prlimit(pid, Resource::Nofile, limit).expect("the limit is set");
    before.current
}

/// Asks over a connection that was there before.
#[track_caller]
fn ask(connection: &mut Connection, method: &str, path: &str, body: &str) -> Value {
    let json = [("content-type", "application/json")];
    let answer = connection.ask(method, path, &json, body.as_bytes());
    let answer = answer.expect("it is answered");
    assert!(answer.status < 300, "{path}: {}", answer.text());
    match answer.body.is_empty() {
        true => Value::Null,
        false => answer.json(),
    }
}

fn lines(daemon: &Daemon, part: &str) -> usize {
    let text = daemon.log_text();
    text.lines().filter(|line| line.contains(part)).count()
}

#[track_caller]
fn unharmed(daemon: &mut Connection) {
    unharmed_but(daemon, 0);
}

#[track_caller]
fn unharmed_but(daemon: &mut Connection, disabled: u64) {
    let status = ask(daemon, "GET", "/v1/status", "");
    assert_eq!(status["endpoints"]["breaker_open"], 0, "{status}");
    assert_eq!(status["endpoints"]["disabled"], disabled, "{status}");
    assert_eq!(status["damaged_records"], 0, "{status}");
    assert_eq!(status["backlog"]["dead"], 0, "{status}");
}

/// How many attempts have come to nothing through the daemon's own fault.
fn local_attempts(metrics: &str) -> u64 {
    let name = "outboxd_attempts_total{result=\"local\"} ";
    let sample = metrics.lines().find_map(|line| line.strip_prefix(name));
    sample.expect("they are counted").parse().expect("a number")
}

#[test]
fn without_descriptors_nothing_is_charged_to_the_endpoint() {
    // Each attempt needs a connection of its own.
    let close = [("connection", "close")];
    let receiver = Receiver::answering(move |_| Answer::reply(200, &close, ""));
    let home = Home::new();
    let daemon = home.start(&endpoint("all", &receiver.url("/"), ONCE));
    // The daemon has the log open for reading from now on.
    let first = daemon.send("a", "1");
    daemon.wait_status(&first, "all", "delivered");
    let mut open = daemon.unix.connect().unwrap();
    unharmed(&mut open);
    let (began, files) = (Instant::now(), limit_files(&daemon, Some(3)));
    let body = r#"{"type": "a", "data": 1}"#;
    let events: Vec<String> = (0..12)
        .map(|_| ask(&mut open, "POST", "/v1/events", body))
        .map(|answer| answer["id"].as_str().unwrap().to_owned())
        .collect();
    // Whoever connects waits in the kernel's queue.
    let waiting = daemon.tcp.connect().unwrap();
    daemon.wait_log("cannot accept a connection");
    // Two waits of the endpoint's later the daemon has failed to accept for seconds, too.
    wait_for(
        || {
            let metrics = open.ask("GET", "/metrics", &[], b"").unwrap().text();
            (local_attempts(&metrics) >= 4).then_some(())
        },
        || format!("no attempts are made: {}", daemon.log_text()),
    );
    for event in &events {
        let path = format!("/v1/events/{event}/deliveries/all");
        let delivery = ask(&mut open, "GET", &path, "");
        assert_eq!(delivery["status"], "pending", "{delivery}");
        for attempt in delivery["attempts"].as_array().unwrap() {
            assert_eq!(attempt["error"]["kind"], "local", "{attempt}");
            let detail = attempt["error"]["detail"].as_str().unwrap();
            assert!(detail.contains("Too many open files"), "{detail}");
            assert_eq!(attempt["address"], Value::Null, "{attempt}");
        }
    }
    unharmed(&mut open);
    let most = 2 + usize::try_from(began.elapsed().as_secs() / 10).unwrap();
    for what in ["cannot accept", "attempts could not be made"] {
        let said = lines(&daemon, what);
        assert!((1..=most).contains(&said), "{what}: {said} lines");
    }
    assert_eq!(receiver.seen().len(), 1);

    limit_files(&daemon, files);
    for event in &events {
        daemon.wait_status(event, "all", "delivered");
    }
    drop(waiting);
    unharmed(&mut open);
    let metrics = daemon.tcp.get("/metrics").text();
    for kind in ["connect", "protocol", "dns"] {
        let none = format!("outboxd_attempts_total{{result=\"{kind}\"}} 0");
        assert!(metrics.contains(&none), "{metrics}");
    }
}

#[test]
fn a_body_that_cannot_be_read_just_now_is_no_damage() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let config = endpoint("all", &receiver.url("/"), ONCE);
    let daemon = home.start(&config);
    let disable = daemon.tcp.post("/v1/endpoints/all/disable");
    assert_eq!(disable.status, 204);
    let events: Vec<String> = (0..4).map(|_| daemon.send("a", "1")).collect();
    assert_eq!(daemon.stop().code(), Some(0));

    // The bodies are in the log only, whose files are not open.
    let daemon = home.start(&config);
    let mut open = daemon.unix.connect().unwrap();
    unharmed_but(&mut open, 1);
    let files = limit_files(&daemon, Some(3));
    ask(&mut open, "POST", "/v1/endpoints/all/enable", "");
    wait_for(
        || (lines(&daemon, "cannot read the event") > 0).then_some(()),
        || "no body is read".to_owned(),
    );
    // Whoever asks for one is told so as well.
    let path = format!("/v1/events/{}", events[0]);
    let answer = open.ask("GET", &path, &[], b"").unwrap();
    let detail = answer.problem(503);
    assert!(detail.contains("Too many open files"), "{detail}");
    assert!(answer.header("retry-after").is_some());
    unharmed(&mut open);

    limit_files(&daemon, files);
    for event in &events {
        let delivery = daemon.wait_status(event, "all", "delivered");
        let made = delivery["attempts"].as_array().unwrap();
        let (last, before) = made.split_last().unwrap();
        assert_eq!(last["error"], Value::Null, "{delivery}");
        for attempt in before {
            assert_eq!(attempt["error"]["kind"], "local", "{delivery}");
        }
    }
    unharmed(&mut open);
}
