//! `GET /v1/tail`: what happens, as it happens.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, Stdio};

use serde_json::Value;

use crate::harness::{Answer, Daemon, Home, Receiver, endpoint, http::Connection, http::head};

/// An open tail with this query.
fn follow(daemon: &Daemon, query: &str) -> Connection {
    let mut tail = daemon.tcp.connect().unwrap();
    tail.send(&head("GET", &format!("/v1/tail{query}"), &[], None))
        .unwrap();
    tail.until(": tail\n\n").unwrap();
    tail
}

/// The data of the next event, which has to have this name.
#[track_caller]
fn next(tail: &mut Connection, name: &str) -> Value {
    tail.until("event: ").unwrap();
    let told = tail.until("\n\n").unwrap();
    let data = told.strip_prefix(&format!("{name}\ndata: "));
    let data = data.unwrap_or_else(|| panic!("not {name}: {told}"));
    serde_json::from_str(data).unwrap()
}

#[test]
fn a_tail_tells_what_is_accepted_and_ends_with_the_daemon() {
    let home = Home::new();
    let daemon = home.start("");
    let before = daemon.send("order.a", "0");
    let mut tail = daemon.tcp.connect().unwrap();
    tail.send(&head("GET", "/v1/tail?type=order.*&tenant=acme", &[], None))
        .unwrap();
    let begun = tail.until(": tail\n\n").unwrap();
    assert!(begun.starts_with("HTTP/1.1 200 OK\r\n"), "{begun}");
    assert!(
        begun.contains("content-type: text/event-stream\r\n"),
        "{begun}"
    );
    daemon.send("order.b", "1");
    daemon.send_with("invoice.a", "1", r#""tenant":"acme""#);
    let told = daemon.send_with(
        "order.b",
        "{}",
        r#""tenant":"acme","key":"k","idempotency_key":"i""#,
    );
    // A duplicate is not accepted again.
    daemon.send_with(
        "order.b",
        "{}",
        r#""tenant":"acme","key":"k","idempotency_key":"i""#,
    );
    let last = daemon.send_with("order.last", "{}", r#""tenant":"acme""#);
    let text = tail.until("order.last").unwrap();
    assert_eq!(
        text.matches("event: accepted\ndata: {").count(),
        2,
        "{text}"
    );
    assert!(text.contains(&told) && text.contains(&last), "{text}");
    assert!(
        text.contains(r#""type":"order.b","tenant":"acme","key":"k","source":null"#),
        "{text}"
    );
    assert!(!text.contains(&before), "{text}");
    daemon.terminate();
    tail.rest().unwrap();
    daemon.wait_exit();
}

#[test]
fn a_tail_names_what_is_wrong_with_its_query() {
    let home = Home::new();
    let daemon = home.start("");
    for (query, named) in [
        ("types=a", "`types`"),
        ("type=.", "`type`"),
        ("tenant=a.b", "`tenant`"),
    ] {
        let detail = daemon.tcp.get(&format!("/v1/tail?{query}")).problem(400);
        assert!(detail.contains(named), "{detail}");
    }
}

#[test]
fn a_tail_sends_each_attempt_with_its_event_and_endpoint() {
    let receiver = Receiver::answering(|seen| match seen.number {
        0 => Answer::reply(503, &[], &"x".repeat(5000)),
        _ => Answer::status(200),
    });
    let home = Home::new();
    let limit = "[delivery]\nallow_networks = [\"127.0.0.0/8\"]\nresponse_body_limit = \"8KiB\"\n";
    let daemon = home.start(
        &(limit.to_owned()
            + &endpoint("orders", &receiver.url("/"), "tenant = \"acme\"")
            + &endpoint(
                "others",
                &receiver.url("/"),
                "tenant = \"acme\"\ntypes = [\"x\"]",
            )),
    );
    let mut all = follow(&daemon, "?tenant=acme");
    let mut attempts = follow(&daemon, "?endpoint=orders&type=order.*");
    let mut none = follow(&daemon, "?endpoint=others");
    let event = daemon.send_with("order.a", "0", r#""tenant": "acme""#);
    daemon.wait_status(&event, "orders", "delivered");
    let (first, second) = (
        next(&mut attempts, "attempt"),
        next(&mut attempts, "attempt"),
    );
    assert_eq!(
        (first["status"].as_u64(), second["status"].as_u64()),
        (Some(503), Some(200))
    );
    for told in [&first, &second] {
        assert_eq!(told["event"], event.as_str());
        assert_eq!(told["endpoint"], "orders");
        assert_eq!(
            (told["tenant"].as_str(), told["type"].as_str()),
            (Some("acme"), Some("order.a"))
        );
    }
    assert!(first["id"].as_str() < second["id"].as_str() && first["id"].as_str() > Some("att_"));
    // It is the attempt as it is stored, but for a long response.
    let stored = daemon.delivery(&event, "orders")["attempts"].clone();
    assert_eq!(stored[0]["response_body"].as_str().unwrap().len(), 5000);
    assert_eq!(first["response_body"].as_str().unwrap().len(), 4096);
    for key in ["at", "duration_ms", "error", "address"] {
        assert_eq!(
            (&first[key], &second[key]),
            (&stored[0][key], &stored[1][key]),
            "{key}"
        );
    }
    for name in ["accepted", "attempt", "attempt"] {
        next(&mut all, name);
    }
    let event = daemon.send_with("x", "0", r#""tenant": "acme""#);
    assert_eq!(next(&mut none, "attempt")["event"], event.as_str());
}

#[test]
fn a_tail_sends_the_changes_of_endpoints() {
    let receiver = Receiver::answering(|seen| match seen.number {
        0..5 => Answer::status(500),
        5 => Answer::status(200),
        _ => Answer::status(410),
    });
    let home = Home::new();
    let daemon = home.start(&endpoint("orders", &receiver.url("/"), ""));
    let mut tail = follow(&daemon, "?endpoint=orders");
    let mut told = |name: &str| loop {
        tail.until("event: ").unwrap();
        let text = tail.until("\n\n").unwrap();
        if let Some(data) = text.strip_prefix("endpoint\ndata: ") {
            let data: Value = serde_json::from_str(data).unwrap();
            assert_eq!(data["state"], name, "{data}");
            assert_eq!(
                (data["endpoint"].as_str(), data["tenant"].as_str()),
                (Some("orders"), Some("default"))
            );
            assert!(data["at"].is_string());
            return data["reason"].as_str().map(str::to_owned);
        }
    };
    daemon.send("a", "1");
    assert_eq!(told("breaker_opened"), None);
    assert_eq!(told("breaker_closed"), None);
    daemon.tcp.post("/v1/endpoints/orders/disable");
    assert_eq!(told("disabled").as_deref(), Some("manual"));
    daemon.tcp.post("/v1/endpoints/orders/enable");
    assert_eq!(told("enabled"), None);
    daemon.send("a", "1");
    assert_eq!(told("disabled").as_deref(), Some("gone"));
}

/// Runs the command until it follows; returns its stderr from then on.
fn following(mut command: Command) -> (Child, BufReader<ChildStderr>) {
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert!(line.starts_with("following"), "{line}");
    (child, said)
}

#[test]
fn the_command_prints_a_line_each_and_fails_when_the_daemon_ends() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start(&endpoint("orders", &receiver.url("/"), ""));
    let mut command = home.command();
    command.args(["tail", "--type", "order.*", "--url", &daemon.url()]);
    let (mut readable, mut said) = following(command);
    let mut command = home.command();
    command.args(["tail", "--json", "--count", "2", "--url", &daemon.url()]);
    let (mut counted, _) = following(command);
    let event = daemon.send("order.a", "0");
    let mut json = String::new();
    counted
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut json)
        .unwrap();
    assert!(counted.wait().unwrap().success());
    let lines: Vec<Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (lines[0]["event"].as_str(), lines[1]["event"].as_str()),
        (Some("accepted"), Some("attempt"))
    );
    assert_eq!(
        (&lines[0]["data"]["id"], &lines[1]["data"]["event"]),
        (&event.clone().into(), &event.clone().into())
    );
    let mut out = BufReader::new(readable.stdout.take().unwrap());
    let mut line = || {
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        line
    };
    let accepted = line();
    assert!(
        accepted.contains(&format!("● accepted  {event}  order.a  1 delivery")),
        "{accepted}"
    );
    let attempt = line();
    assert!(
        attempt.contains(&format!("✓ attempt   {event}  order.a → orders  200 in ")),
        "{attempt}"
    );
    daemon.terminate();
    let mut why = String::new();
    said.read_to_string(&mut why).unwrap();
    assert_eq!(readable.wait().unwrap().code(), Some(1));
    assert!(why.contains("ended the tail"), "{why}");
    assert!(daemon.wait_exit().success());
}

#[test]
fn a_watched_status_prints_lines_if_stdout_is_not_a_terminal() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start(&endpoint("orders", &receiver.url("/"), ""));
    let url = daemon.url();
    let watch = [
        "status",
        "--watch",
        "--interval",
        "1",
        "--count",
        "2",
        "--url",
        &url,
    ];
    let ran = home.run(&watch);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{ran:?}");
    assert!(
        lines[1].contains("0 pending, 0 held, 0 dead, 0 in flight"),
        "{ran:?}"
    );
    assert!(!ran.stdout.contains('\u{1b}'), "{ran:?}");
    let ran = home.run(&[&watch[..], &["--json"]].concat());
    for line in ran.stdout.lines() {
        let status: Value = serde_json::from_str(line).unwrap();
        assert_eq!(status["backlog"]["pending"], 0);
    }
    assert_eq!(
        home.run(&["status", "--interval", "1", "--url", &url]).code,
        Some(2)
    );
}

/// `script` runs a command on a terminal of its own.
#[test]
fn a_watched_status_restores_the_terminal() {
    let home = Home::new();
    let receiver = Receiver::answering(|_| Answer::status(503));
    let daemon = home.start(&endpoint("orders", &receiver.url("/"), ""));
    let event = daemon.send("a", "1");
    daemon.wait_delivery(&event, "orders", "tried", |one| one["attempt_count"] != 0);
    let watch = format!(
        "{} status --watch --count 1 --url {}",
        env!("CARGO_BIN_EXE_outboxd"),
        daemon.url()
    );
    let mut command = Command::new("script");
    command
        .args(["-qec", &watch, "/dev/null"])
        .stdin(Stdio::null());
    let Ok(ran) = command.env("TERM", "xterm").output() else {
        println!("skipped: there is no `script` here to give a command a terminal");
        return;
    };
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    let (enter, leave) = ("\u{1b}[?1049h", "\u{1b}[?7h\u{1b}[?25h\u{1b}[?1049l");
    assert!(ran.status.success() && text.contains(enter), "{text}");
    assert!(text.trim_end().ends_with(leave), "{text}");
    assert!(
        text.contains("last hour") && text.contains("last failures"),
        "{text}"
    );
    assert!(text.contains(&format!("{event} → orders")), "{text}");
}
