//! `outboxd listen --source`: what a source takes in, on a developer's machine.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Stdio};

use serde_json::Value;

use super::{assert_empty, github, push, start};
use crate::harness::{Answer, Daemon, Home, Receiver, wait_for};

/// A command that runs, and ends with its test.
struct Following {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Following {
    /// Follows a source with these further words, once it is listening.
    fn new(home: &Home, words: &[&str]) -> Following {
        let mut command = home.command();
        command.args(["listen", "--source", "gh", "--json", "--unix"]);
        command.arg(home.path("api.sock")).args(words);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the binary runs");
        let stdout = child.stdout.take().expect("it is piped");
        let mut following = Following {
            child,
            lines: BufReader::new(stdout).lines(),
        };
        assert_eq!(following.next()["listening"], "gh");
        following
    }

    #[track_caller]
    fn next(&mut self) -> Value {
        let line = self.lines.next().expect("another line").unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn taking(home: &Home) -> Daemon {
    let more = "forward_headers = [\"x-github-event\"]";
    start(home, &(github("gh", more) + &github("other", "")))
}

#[test]
fn what_a_source_takes_in_is_printed_and_handed_on() {
    let developer = Receiver::statuses(&[200, 500, 200]);
    let home = Home::new();
    let daemon = taking(&home);
    assert_empty(&push("before", b"{}").send(&daemon, "gh"), 200);
    let url = developer.url("/hook?x=y");
    let mut following = Following::new(&home, &["--forward", &url]);
    let body = b"{\"n\" : 90071992547409931}";
    assert_empty(&push("1", b"{}").send(&daemon, "other"), 200);
    assert_empty(&push("1", body).send(&daemon, "gh"), 200);
    let told = following.next();
    assert_eq!(
        (&told["type"], &told["source"]),
        (&"github.push".into(), &"gh".into())
    );
    assert_eq!(
        (&told["verified_by"], &told["status"]),
        (&"secret 1".into(), &200.into())
    );
    let seen = developer.wait(1).remove(0);
    assert_eq!(
        (seen.method.as_str(), seen.path.as_str()),
        ("POST", "/hook?x=y")
    );
    assert_eq!(seen.body, body);
    assert_eq!(seen.header("content-type"), "application/json");
    assert_eq!(seen.header("x-github-event"), "push");
    assert_eq!(seen.header("outboxd-source"), "gh");
    assert_eq!(seen.header("outboxd-event-type"), "github.push");
    assert_eq!(seen.id(), told["id"].as_str().unwrap());
    // What it answers is printed, and a repeated call is not an event.
    assert_empty(&push("1", body).send(&daemon, "gh"), 200);
    assert_empty(&push("2", b"\xff\x00").send(&daemon, "gh"), 200);
    assert_eq!(following.next()["status"], 500);
    assert_eq!(developer.wait(2)[1].body, b"\xff\x00");
    // Refused calls are none, and many are handed on in their order.
    assert_empty(&push("3", b"{}").body(b"[]").send(&daemon, "gh"), 401);
    for n in 0..20 {
        let body = format!("{{\"n\":{n}}}");
        assert_empty(
            &push(&format!("m-{n}"), body.as_bytes()).send(&daemon, "gh"),
            200,
        );
    }
    let seen = developer.wait(22);
    let bodies: Vec<String> = seen[2..].iter().map(|one| one.text()).collect();
    assert_eq!(
        bodies,
        (0..20)
            .map(|n| format!("{{\"n\":{n}}}"))
            .collect::<Vec<_>>()
    );
}

/// The developer's program is not there: it is told, and nothing else happens.
#[test]
fn a_url_that_does_not_answer_is_told() {
    let home = Home::new();
    let daemon = taking(&home);
    let closed = Receiver::ok().url("/");
    let mut following = Following::new(&home, &["--forward", &closed]);
    for delivery in ["1", "2"] {
        assert_empty(&push(delivery, b"{}").send(&daemon, "gh"), 200);
        let told = following.next();
        let why = told["forward_error"].as_str().unwrap();
        assert!(!why.is_empty() && told["status"].is_null(), "{told}");
    }
}

#[test]
fn without_a_url_events_are_printed() {
    let home = Home::new();
    let daemon = taking(&home);
    let mut following = Following::new(&home, &[]);
    assert_empty(&push("1", b"{\"n\":1}").send(&daemon, "gh"), 200);
    let told = following.next();
    assert!(
        told.to_string().contains("github.push") && told["status"].is_null(),
        "{told}"
    );
}

/// What a provider sends ends up in a terminal, and must not steer it.
#[test]
fn a_person_reads_it_without_control_sequences() {
    let home = Home::new();
    let daemon = taking(&home);
    let mut command = home.command();
    command.args(["listen", "--source", "gh", "--unix"]);
    command.arg(home.path("api.sock"));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    let stdout = child.stdout.take().expect("it is piped");
    let mut following = Following {
        child,
        lines: BufReader::new(stdout).lines(),
    };
    let mut line = || following.lines.next().expect("another line").unwrap();
    assert_eq!(line(), "listening to source gh");
    let call = push("1", b"{\"text\": \"\x1b[31mred\x07\"}");
    assert_empty(&call.send(&daemon, "gh"), 200);
    let mut told = String::new();
    while !told.contains("red") {
        told += &line();
    }
    assert!(
        told.contains("github.push") && told.contains("secret 1"),
        "{told:?}"
    );
    assert!(!told.contains(char::is_control), "{told:?}");
}

/// A developer's command outlives the daemon that it follows.
#[test]
fn it_goes_on_after_the_daemon_was_restarted() {
    let developer = Receiver::answering(|_| Answer::status(200));
    let home = Home::new();
    let daemon = taking(&home);
    let _following = Following::new(&home, &["--forward", &developer.url("/")]);
    daemon.kill();
    let daemon = taking(&home);
    let mut number = 0;
    wait_for(
        || {
            number += 1;
            assert_empty(
                &push(&format!("d-{number}"), b"{}").send(&daemon, "gh"),
                200,
            );
            (!developer.seen().is_empty()).then_some(())
        },
        || "it does not come back".to_owned(),
    );
}

#[test]
fn what_cannot_be_followed_is_said_at_once() {
    let home = Home::new();
    let daemon = taking(&home);
    let url = daemon.url();
    let ran = home.run(&["listen", "--source", "none", "--url", &url]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("no such source"), "{ran:?}");
    for words in [
        &["listen", "--source", "gh", "--port", "1"][..],
        &["listen", "--source", "gh", "--status", "500"],
        &["listen", "--source", "gh", "--forward", "ftp://x/"],
        &["listen", "--source", "../events"],
    ] {
        let ran = home.run(&[words, &["--url", &url]].concat());
        assert_eq!(ran.code, Some(2), "{ran:?}");
    }
}

/// A daemon, or what stands in for one, that shows a source and tells of an event; the event itself it
/// answers with this status.
fn telling(status: u16) -> Receiver {
    Receiver::answering(move |seen| match seen.path.as_str() {
        "/v1/sources/gh" => Answer::reply(200, &[], "{}"),
        "/v1/events/evt_1" => Answer::reply(status, &[], r#"{"detail":"not shown"}"#),
        _ => Answer::reply(200, &[], "event: accepted\ndata: {\"id\":\"evt_1\"}\n\n"),
    })
}

#[test]
fn an_event_that_is_not_shown_ends_it_unless_it_is_gone() {
    let home = Home::new();
    let refusing = telling(500);
    let url = refusing.url("");
    let ran = home.run(&[
        "listen",
        "--source",
        "gh",
        "--url",
        url.trim_end_matches('/'),
    ]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("not shown (HTTP 500)"), "{ran:?}");
    for status in [404, 410] {
        let gone = telling(status);
        let url = gone.url("");
        let mut command = home.command();
        command.args([
            "listen",
            "--source",
            "gh",
            "--url",
            url.trim_end_matches('/'),
        ]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.spawn().expect("the binary runs");
        // The tail ends, and is asked for again.
        let asked = |path: &str| gone.seen().iter().filter(|one| one.path == path).count();
        wait_for(
            || (asked("/v1/events/evt_1") >= 2).then_some(()),
            || format!("{status} has ended it"),
        );
        child.kill().expect("it still runs");
        child.wait().unwrap();
    }
}
