//! The public listener: nothing but `/in/{source}` is there, and what is refused tells nothing.

use serde_json::{Value, json};

use super::{
    Call, SECRET, assert_counts, assert_empty, event, events, github, listen, made, patch, push,
    rejected, shown, source, start, types, wait_shown,
};
use crate::harness::http::{Response, head};
use crate::harness::{Daemon, Home, wait_for};

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

#[test]
fn nothing_of_the_api_is_there() {
    let mut home = Home::new();
    let token = "0123456789abcdef0123456789abcdef";
    std::fs::write(home.path("token"), token).unwrap();
    home.set_env("CREDENTIALS_DIRECTORY", home.path(".").to_str().unwrap());
    let config =
        "[auth]\ntokens = [{ name = \"app\", token_file = \"token\", scope = \"admin\" }]\n"
            .to_owned()
            + &github("gh", "");
    let daemon = start(&home, &config);
    let public = daemon.public();
    let bearer = format!("Bearer {token}");
    let headers = [
        ("authorization", &*bearer),
        ("content-type", "application/json"),
    ];
    let event = b"{\"type\":\"a\",\"data\":1}";
    for path in [
        "/",
        "/v1/events",
        "/v1/events/a",
        "/v1/sources",
        "/v1/sources/gh",
        "/v1/sources/gh/test",
        "/v1/endpoints",
        "/v1/status",
        "/v1/tail",
        "/healthz",
        "/readyz",
        "/metrics",
        "/ui/",
        "/in",
        "/in/",
        "/in/gh/",
        "/in/gh/v1/events",
        "/in//gh",
        "/in/../v1/events",
        "/in/gh/../../v1/events",
        "/in/%67h",
        "/IN/gh",
        "http://localhost/v1/status",
    ] {
        // One connection, so that few are open at once.
        let mut connection = public.connect().unwrap();
        for method in METHODS {
            let answer = connection.ask(method, path, &headers, event).unwrap();
            assert_empty(&answer, 404);
            assert_eq!(answer.header("content-type"), None, "{method} {path}");
        }
    }
    let listed = daemon.unix.get("/v1/events").expect(200);
    assert_eq!(listed["data"], json!([]));
    // No token is asked for where signatures count, and one is where they do not.
    assert_empty(&push("1", b"{}").send(&daemon, "gh"), 200);
    daemon.tcp.get("/v1/status").problem(401);
}

#[test]
fn calls_are_not_for_the_api() {
    let home = Home::new();
    let daemon = start(&home, &github("gh", ""));
    let call = push("1", b"{}");
    let headers: Vec<(&str, &str)> = call
        .headers
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    for interface in [&daemon.tcp, &daemon.unix] {
        let answer = interface.request("POST", "/in/gh", &headers, &call.body);
        answer.problem(404);
    }
    assert_eq!(events(&daemon), Vec::<Value>::new());
}

/// Headers that say nothing of the moment.
fn still(answer: &Response) -> (u16, Vec<(String, String)>, String) {
    let mut headers = answer.headers.clone();
    headers.retain(|(name, _)| name != "date");
    (answer.status, headers, answer.text())
}

#[test]
fn who_may_not_call_learns_not_whether_there_is_such_a_source() {
    let home = Home::new();
    let config = github("off", "enabled = false")
        + &github("far", "allow_from = [\"192.0.2.0/24\", \"2001:db8::/32\"]")
        + &github("gh", "");
    let daemon = start(&home, &config);
    let call = push("1", b"{}");
    let unknown = call.send(&daemon, "none");
    assert_empty(&unknown, 404);
    for source in ["off", "far", "Gh", "gh2"] {
        assert_eq!(
            still(&call.send(&daemon, source)),
            still(&unknown),
            "{source}"
        );
    }
    for method in METHODS {
        let call = Call::new(method, "a=b");
        let unknown = call.send(&daemon, "none");
        assert_eq!(unknown.status, 404);
        assert_eq!(
            still(&call.send(&daemon, "off")),
            still(&unknown),
            "{method}"
        );
    }
    assert_eq!(events(&daemon), Vec::<Value>::new());
    assert_eq!(rejected(&shown(&daemon, "off"), "disabled"), 8);
    assert_eq!(rejected(&shown(&daemon, "far"), "not_allowed"), 1);
    assert_empty(&call.send(&daemon, "gh"), 200);
}

#[test]
fn a_source_says_who_may_call_and_a_trusted_proxy_who_calls() {
    let home = Home::new();
    let trusting = listen(&home, "trusted_proxies = [\"127.0.0.0/8\"]");
    let config = trusting + &github("gh", "allow_from = [\"192.0.2.0/24\"]");
    let daemon = home.start(&config);
    let from = |list: &str| push(list, b"{}").with("x-forwarded-for", list);
    assert_empty(&from("192.0.2.7").send(&daemon, "gh"), 200);
    // What is to the left was said by the caller.
    assert_empty(&from("192.0.2.7, 198.51.100.1").send(&daemon, "gh"), 404);
    assert_empty(&from("10.0.0.1, 192.0.2.8").send(&daemon, "gh"), 200);
    assert_empty(&push("none", b"{}").send(&daemon, "gh"), 404);
    let remotes: Vec<Value> = events(&daemon)
        .iter()
        .map(|one| event(&daemon, one["id"].as_str().unwrap())["received"]["remote"].clone())
        .collect();
    assert_eq!(remotes, ["192.0.2.8", "192.0.2.7"]);
    let refused = shown(&daemon, "gh")["recent_rejected"].clone();
    assert_eq!(refused[1]["remote"], "198.51.100.1");
}

#[test]
fn nobody_is_believed_who_calls_himself() {
    let home = Home::new();
    let config = github("gh", "allow_from = [\"192.0.2.0/24\"]")
        + &github("near", "allow_from = [\"127.0.0.1/32\"]");
    let daemon = start(&home, &config);
    for header in ["x-forwarded-for", "forwarded", "x-real-ip"] {
        let call = push("1", b"{}").with(header, "192.0.2.7");
        assert_empty(&call.send(&daemon, "gh"), 404);
    }
    assert_empty(&push("1", b"{}").send(&daemon, "near"), 200);
}

#[test]
fn a_source_has_a_rate_of_its_own() {
    let home = Home::new();
    let config = github("slow", "rate_limit = \"1/m\"") + &github("free", "");
    let daemon = start(&home, &config);
    assert_empty(&push("1", b"{}").send(&daemon, "slow"), 200);
    for _ in 0..3 {
        let answer = push("2", b"{}").send(&daemon, "slow");
        assert_empty(&answer, 429);
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
        assert_empty(&push("2", b"{}").send(&daemon, "free"), 200);
    }
    assert_eq!(rejected(&shown(&daemon, "slow"), "rate_limited"), 3);
    assert_counts(&daemon, "free", 1, 2);
}

#[test]
fn methods_that_the_provider_does_not_use_are_405() {
    let home = Home::new();
    let meta = "preset = \"meta\"\nsecrets = [\"s\"]\nverify_token = \"t\"";
    let daemon = start(&home, &(github("gh", "") + &source("meta", meta)));
    for method in ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let answer = Call::new(method, "").send(&daemon, "gh");
        assert_empty(&answer, 405);
        assert_eq!(answer.header("allow"), Some("POST"), "{method}");
    }
    for method in ["PUT", "DELETE"] {
        let answer = Call::new(method, "").send(&daemon, "meta");
        assert_empty(&answer, 405);
        let mut allowed: Vec<&str> = answer.header("allow").unwrap().split(", ").collect();
        allowed.sort_unstable();
        assert_eq!(allowed, ["GET", "POST"], "{method}");
    }
    assert_eq!(rejected(&shown(&daemon, "gh"), "method"), 6);
}

/// Neither the `Host` nor the `Origin` rule of the API is for providers.
#[test]
fn any_host_and_origin_may_be_named() {
    let home = Home::new();
    let daemon = start(&home, &github("gh", ""));
    let call = push("1", b"{}")
        .with("host", "hooks.example.com")
        .with("origin", "https://evil.example")
        .with("sec-fetch-site", "cross-site");
    let answer = call.send(&daemon, "gh");
    assert_empty(&answer, 200);
    let cors = answer
        .headers
        .iter()
        .any(|(name, _)| name.starts_with("access-control"));
    assert!(!cors, "{answer:?}");
}

#[test]
fn a_huge_head_ends_the_connection_and_nothing_else() {
    let home = Home::new();
    let daemon = start(&home, &github("gh", ""));
    let pad = "p".repeat(200);
    let names: Vec<String> = (0..2000).map(|n| format!("x-{n}")).collect();
    let headers: Vec<(&str, &str)> = names.iter().map(|name| (&**name, &*pad)).collect();
    for headers in [&headers[..], &[("x-long", &*"p".repeat(300_000))]] {
        let mut connection = daemon.public().connect().unwrap();
        // It may have closed before all is written.
        let _ = connection.send(&head("POST", "/in/gh", headers, Some(2)));
        let said = connection.rest().unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        assert!(
            said.is_empty() || said.starts_with("HTTP/1.1 431 "),
            "{said:.200}"
        );
    }
    assert_empty(&push("1", b"{}").send(&daemon, "gh"), 200);
}

#[test]
fn chunks_are_put_together_before_they_are_verified() {
    let home = Home::new();
    let daemon = start(&home, &github("gh", ""));
    let call = push("1", b"{\"chunks\":true}").with("transfer-encoding", "chunked");
    let headers: Vec<(&str, &str)> = call
        .headers
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    let mut connection = daemon.public().connect().unwrap();
    connection
        .send(&head("POST", "/in/gh", &headers, None))
        .unwrap();
    connection
        .send(b"5\r\n{\"chu\r\na\r\nnks\":true}\r\n0\r\n\r\n")
        .unwrap();
    assert_empty(&connection.answer().unwrap(), 200);
    assert_eq!(types(&daemon), ["github.push"]);
}

#[test]
fn a_call_that_breaks_off_is_no_event() {
    let home = Home::new();
    let daemon = start(&home, &github("gh", ""));
    let call = push("1", b"{\"whole\":true}");
    let headers: Vec<(&str, &str)> = call
        .headers
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    let mut connection = daemon.public().connect().unwrap();
    connection
        .send(&head("POST", "/in/gh", &headers, Some(call.body.len())))
        .unwrap();
    connection.send(&call.body[..5]).unwrap();
    drop(connection);
    wait_shown(&daemon, "gh", |source| rejected(source, "bad_request") == 1);
    assert_empty(&call.send(&daemon, "gh"), 200);
    assert_counts(&daemon, "gh", 1, 0);
}

#[test]
fn a_proxy_that_nobody_named_is_not_silenced_for_one_of_its_callers() {
    let home = Home::new();
    let daemon = start(&home, &github("gh", ""));
    let proxied = [("x-forwarded-for", "203.0.113.9")];
    let mut connection = daemon.public().connect().unwrap();
    for _ in 0..300 {
        let answer = connection.ask("POST", "/in/gh", &proxied, b"{}").unwrap();
        assert_empty(&answer, 401);
    }
    let answer = push("1", b"{}")
        .with("x-forwarded-for", "198.51.100.1")
        .send(&daemon, "gh");
    assert_eq!(answer.status, 200);
}

/// Guessing is slow: an address that is refused often waits, and is listened to again.
#[test]
fn an_address_that_is_refused_often_waits() {
    let home = Home::new();
    let trusting = listen(&home, "trusted_proxies = [\"127.0.0.0/8\"]");
    let daemon = home.start(&(trusting + &github("gh", "") + &github("other", "")));
    let bad = push("1", b"{}")
        .with("x-forwarded-for", "203.0.113.9")
        .body(b"{ }");
    let headers: Vec<(&str, &str)> = bad
        .headers
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    let one = [
        head("POST", "/in/gh", &headers, Some(bad.body.len())),
        bad.body.clone(),
    ]
    .concat();
    let elsewhere = [head("POST", "/in/other", &headers, Some(0)), one.clone()].concat();
    let mut connection = daemon.public().connect().unwrap();
    let slowed = wait_for(
        || {
            // At once, so that all of them are within a second, or at least half.
            connection.send(&one.repeat(300)).unwrap();
            connection.send(&elsewhere).unwrap();
            let mut answers: Vec<Response> =
                (0..302).map(|_| connection.answer().unwrap()).collect();
            // Before and after the call to the other source the address waits at this one.
            let still = answers.pop().is_some_and(|answer| answer.status == 429);
            let other = answers.pop().unwrap();
            let last = answers.pop().unwrap();
            (still && last.status == 429).then(|| {
                assert_empty(&other, 401);
                last
            })
        },
        || "none of the guesses is too many".to_owned(),
    );
    assert_empty(&slowed, 429);
    let source = shown(&daemon, "gh");
    assert!(rejected(&source, "rate_limited") >= 2, "{source}");
    let recent = source["recent_rejected"].as_array().unwrap();
    assert!(recent.iter().all(|one| one["reason"] == "bad_signature"));
    let metrics = daemon.tcp.get("/metrics").text();
    let counted = "outboxd_source_calls_total{result=\"rate_limited\"} ";
    let line = metrics.lines().find_map(|line| line.strip_prefix(counted));
    assert_eq!(line.unwrap().parse(), Ok(rejected(&source, "rate_limited")));
    assert!(slowed.header("retry-after").is_some());
    // Others are not slowed down, and this one not for long.
    let good = |from: &str| push(from, b"{}").with("x-forwarded-for", from);
    assert_empty(&good("203.0.113.10").send(&daemon, "gh"), 200);
    wait_for(
        || (good("203.0.113.9").send(&daemon, "gh").status == 200).then_some(()),
        || "it is refused for ever".to_owned(),
    );
}

/// What is said of bad calls is for the operator alone.
#[test]
fn the_operator_learns_what_was_wrong_and_the_caller_does_not() {
    let home = Home::new();
    let daemon = start(&home, "");
    made(
        &daemon,
        &json!({"id": "gh", "preset": "github", "secrets": [SECRET]}),
    );
    let bad = push("1", b"{}")
        .body(b"[]")
        .with("user-agent", "GitHub-Hookshot/1");
    assert_empty(&bad.send(&daemon, "gh"), 401);
    assert_empty(&bad.without("x-hub-signature-256").send(&daemon, "gh"), 401);
    let source = shown(&daemon, "gh");
    let recent = source["recent_rejected"].as_array().unwrap();
    let reasons: Vec<_> = recent
        .iter()
        .map(|one| one["reason"].as_str().unwrap())
        .collect();
    assert_eq!(reasons, ["missing_signature", "bad_signature"]);
    let oldest = &recent[1];
    assert_eq!(oldest["remote"], "127.0.0.1");
    assert_eq!(
        (&oldest["method"], &oldest["body_bytes"]),
        (&"POST".into(), &2.into())
    );
    assert_eq!(oldest["user_agent"], "GitHub-Hookshot/1");
    assert_eq!(oldest["content_type"], "application/json");
    let detail = recent[0]["detail"].as_str().unwrap();
    assert!(detail.contains("x-hub-signature-256"), "{detail}");
    only_the_last_twenty(&daemon);
}

fn only_the_last_twenty(daemon: &Daemon) {
    for number in 0..25 {
        let bad = push("1", b"{}").body(&[b'x'; 100][..number]);
        assert_empty(&bad.send(daemon, "gh"), 401);
    }
    let source = shown(daemon, "gh");
    let recent = source["recent_rejected"].as_array().unwrap();
    let lengths: Vec<_> = recent
        .iter()
        .map(|one| one["body_bytes"].as_u64().unwrap())
        .collect();
    assert_eq!(lengths, (5..25).rev().collect::<Vec<u64>>());
    assert_eq!(rejected(&source, "bad_signature"), 26);
    let patched = patch(&daemon.tcp, "gh", &json!({"description": "x"})).expect(200);
    assert_eq!(patched["recent_rejected"].as_array().unwrap().len(), 20);
}

#[test]
fn what_is_remembered_of_a_refused_call_is_bounded() {
    let home = Home::new();
    let daemon = start(&home, &github("gh", "max_event_size = \"1KiB\""));
    assert_empty(&push("1", &[b'x'; 2000]).send(&daemon, "gh"), 413);
    for (length, status) in [(5000, 405), (20_000, 431)] {
        let method = "M".repeat(length);
        let answer = daemon.public().request(&method, "/in/gh", &[], b"");
        assert_empty(&answer, status);
    }
    let recent = shown(&daemon, "gh")["recent_rejected"].clone();
    assert_eq!(recent.as_array().unwrap().len(), 2);
    assert_eq!(recent[0]["method"], "M".repeat(200));
    assert_eq!(recent[0]["body_bytes"], 0);
    assert_eq!(recent[1]["reason"], "too_large");
    assert_eq!(recent[1]["body_bytes"], 2000);
}
