//! The client commands against a living daemon, over both interfaces, for people and programs.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;

use crate::harness::{Daemon, Home, Receiver, endpoint};

/// A daemon with one endpoint that works and one that does not, and the two ways to it.
fn living() -> (Home, Daemon, Receiver, [Vec<String>; 2]) {
    let receiver = Receiver::answering(|seen| {
        let status = if seen.path == "/ok" { 200 } else { 404 };
        crate::harness::Answer::status(status)
    });
    let home = Home::new();
    let config = "[retry]\ngive_up_after = \"0s\"\n".to_owned()
        + &endpoint("ok", &receiver.url("/ok"), "")
        + &endpoint("bad", &receiver.url("/bad"), "types = [\"bad\"]");
    let daemon = home.start(&config);
    let socket = home.path("api.sock").display().to_string();
    let interfaces = [
        vec!["--url".to_owned(), daemon.url()],
        vec!["--unix".to_owned(), socket],
    ];
    (home, daemon, receiver, interfaces)
}

fn args<'a>(interface: &'a [String], args: &[&'a str]) -> Vec<&'a str> {
    args.iter()
        .copied()
        .chain(interface.iter().map(String::as_str))
        .collect()
}

#[test]
fn send_hands_in_over_both_interfaces() {
    let (home, daemon, receiver, interfaces) = living();
    for (n, interface) in interfaces.iter().enumerate() {
        let data = format!("{{\"n\":  {n}}}");
        let sent = home
            .run(&args(
                interface,
                &["send", "order.created", &data, "--json"],
            ))
            .json();
        assert_eq!(sent["type"], "order.created");
        assert_eq!(
            (&sent["deliveries"], &sent["duplicate"]),
            (&1.into(), &false.into())
        );
        let id = sent["id"].as_str().unwrap();
        let seen = receiver.wait(n + 1);
        assert_eq!(seen[n].id(), id);
        assert!(seen[n].text().ends_with(&format!("\"data\":{data}}}")));
        daemon.wait_status(id, "ok", "delivered");
    }
    let url = format!("unix:{}", home.path("api.sock").display());
    assert_eq!(home.run(&["send", "a", "--url", &url]).code, Some(0));
    assert!(receiver.wait(3)[2].text().ends_with("\"data\":{}}"));
}

#[test]
fn files_that_are_not_utf_8_are_named_as_what_they_are() {
    let (home, _daemon, _receiver, interfaces) = living();
    std::fs::write(home.path("wide"), b"\xff\xfe1\x00").unwrap();
    let sent = home.run(&args(&interfaces[0], &["send", "a", "@wide"]));
    assert_eq!(sent.code, Some(2));
    assert!(sent.stderr.contains("UTF-16"), "{sent:?}");
    let wide = home.path("wide").display().to_string();
    let sent = home.run(&args(
        &interfaces[0],
        &["send", "a", "1", "--token-file", &wide],
    ));
    assert_eq!(sent.code, Some(2));
    assert!(
        sent.stderr.contains("UTF-16") && sent.stderr.contains(&wide),
        "{sent:?}"
    );
}

#[test]
fn send_reads_stdin_and_files_and_takes_every_field() {
    let (home, daemon, receiver, interfaces) = living();
    // With the mark that some editors put before it.
    std::fs::write(home.path("data.json"), "\u{feff}[1,\n 2]").unwrap();
    home.run(&args(&interfaces[0], &["send", "a", "@data.json"]));
    assert!(receiver.wait(1)[0].text().ends_with("\"data\":[1,\n 2]}"));
    home.run_with(&args(&interfaces[0], &["send", "a", "-"]), b"\"in\"");
    assert!(receiver.wait(2)[1].text().contains("\"data\":\"in\""));
    let opaque = args(
        &interfaces[0],
        &["send", "a", "-", "--content-type", "application/xml"],
    );
    home.run_with(&opaque, b"<x>\xff</x>");
    let seen = receiver.wait(3).remove(2);
    assert_eq!(seen.body, b"<x>\xff</x>");
    assert_eq!(seen.header("content-type"), "application/xml");

    #[rustfmt::skip]
    let fields = [
        "send", "a", "1", "--tenant", "acme", "--key", "k", "--idempotency-key", "i",
        "--deliver-at", "2090-01-01T00:00:00Z", "--json",
    ];
    let sent = home.run(&args(&interfaces[1], &fields)).json();
    let shown = daemon
        .tcp
        .get(&format!("/v1/events/{}", sent["id"].as_str().unwrap()));
    let shown = shown.expect(200);
    assert_eq!(
        (&shown["tenant"], &shown["key"]),
        (&"acme".into(), &"k".into())
    );
    assert_eq!(shown["deliver_at"], "2090-01-01T00:00:00.000Z");
    let again = home.run(&args(&interfaces[0], &fields)).json();
    assert_eq!(
        (&again["id"], &again["duplicate"]),
        (&sent["id"], &true.into())
    );
    #[rustfmt::skip]
    let other = ["send", "a", "2", "--tenant", "acme", "--idempotency-key", "i"];
    let refused = home.run(&args(&interfaces[0], &other));
    assert_eq!(
        (refused.code, refused.stdout.as_str()),
        (Some(1), ""),
        "{refused:?}"
    );
    assert!(refused.stderr.contains("idempotency key"), "{refused:?}");
}

#[test]
fn what_is_read_is_what_the_api_says() {
    let (home, daemon, _receiver, interfaces) = living();
    let event = daemon.send("bad", "[1,  2]");
    daemon.wait_status(&event, "ok", "delivered");
    daemon.wait_status(&event, "bad", "dead");
    let api = |path: &str| daemon.tcp.get(path).expect(200);
    for interface in &interfaces {
        let json = |words: &[&str]| {
            home.run(&args(interface, &[words, &["--json"]].concat()))
                .json()
        };
        assert_eq!(
            json(&["events", "show", &event]),
            api(&format!("/v1/events/{event}"))
        );
        assert_eq!(json(&["events", "list"]), api("/v1/events"));
        assert_eq!(
            json(&["events", "list", "--type", "none"])["data"],
            serde_json::json!([])
        );
        assert_eq!(json(&["deliveries", "list"]), api("/v1/deliveries"));
        let dead = json(&[
            "deliveries",
            "list",
            "--status",
            "dead",
            "--endpoint",
            "bad",
        ]);
        assert_eq!(dead, api("/v1/deliveries?status=dead"));
        assert_eq!(dead["data"][0]["reason"], "exhausted");
        assert_eq!(
            json(&["deliveries", "show", &event, "bad"]),
            daemon.delivery(&event, "bad")
        );
        assert_eq!(json(&["endpoints", "list"]), api("/v1/endpoints"));
        assert_eq!(json(&["endpoints", "show", "ok"]), daemon.endpoint("ok"));
        let status = json(&["status"]);
        assert_eq!(status["backlog"], daemon.status()["backlog"]);
        // For people, it names what matters.
        for (words, names) in [
            (&["events", "list"][..], &[event.as_str(), "bad"][..]),
            (
                &["events", "show", &event],
                &[&event, "[1,  2]", "delivered", "404"],
            ),
            (&["deliveries", "list"], &[&event, "dead", "delivered"]),
            (
                &["deliveries", "show", &event, "bad"],
                &["dead", "exhausted", "404"],
            ),
            (&["endpoints", "list"], &["ok", "bad", "http://127.0.0.1"]),
            (&["endpoints", "show", "bad"], &["bad", "http://127.0.0.1"]),
            (&["status"], &["dead", env!("CARGO_PKG_VERSION")]),
        ] {
            let ran = home.run(&args(interface, words));
            assert_eq!(
                (ran.code, ran.stderr.as_str()),
                (Some(0), ""),
                "{words:?} {ran:?}"
            );
            for name in names {
                assert!(
                    ran.stdout.contains(name),
                    "{words:?}: {name} is not in {}",
                    ran.stdout
                );
            }
            assert!(
                !ran.stdout.contains('\u{1b}'),
                "no colour for a pipe: {words:?}"
            );
        }
    }
}

#[test]
fn lists_go_on_where_they_ended() {
    let (home, daemon, _receiver, interfaces) = living();
    let mut sent: Vec<String> = (0..5).map(|_| daemon.send("a", "1")).collect();
    sent.reverse();
    let mut found = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut words = vec!["events", "list", "--json", "--limit", "2"];
        if let Some(cursor) = &cursor {
            words.extend(["--cursor", cursor]);
        }
        let page = home.run(&args(&interfaces[0], &words)).json();
        let ids = page["data"].as_array().unwrap().iter();
        found.extend(ids.map(|one| one["id"].as_str().unwrap().to_owned()));
        cursor = page["next"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
        assert!(found.len() <= 5);
    }
    assert_eq!(found, sent);
}

#[test]
fn deliveries_and_endpoints_are_acted_on() {
    let (home, daemon, receiver, interfaces) = living();
    let run = |words: &[&str]| home.run(&args(&interfaces[1], words));
    let event = daemon.send("a", "1");
    daemon.wait_status(&event, "ok", "delivered");
    assert_eq!(
        run(&["deliveries", "retry", &event, "ok", "--json"]).json()["event"],
        event
    );
    receiver.wait(2);
    assert_eq!(run(&["endpoints", "disable", "ok"]).code, Some(0));
    assert_eq!(daemon.endpoint("ok")["enabled"], false);
    let held = daemon.send("a", "2");
    let refused = run(&["deliveries", "retry", &held, "ok"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("held"), "{refused:?}");
    let cancelled = run(&["deliveries", "cancel", &held, "ok", "--json"]).json();
    assert_eq!(cancelled["reason"], "cancelled");
    assert_eq!(run(&["deliveries", "cancel", &held, "ok"]).code, Some(1));
    assert_eq!(run(&["endpoints", "enable", "ok"]).code, Some(0));
    assert_eq!(daemon.endpoint("ok")["enabled"], true);
}

#[test]
fn what_fails_is_1_and_says_why() {
    let (home, daemon, _receiver, interfaces) = living();
    let none = "evt_00000000000000000000000000";
    for words in [
        &["events", "show", none][..],
        &["deliveries", "show", none, "ok"],
        &["deliveries", "retry", none, "ok"],
        &["endpoints", "show", "none"],
        &["endpoints", "enable", "none"],
    ] {
        let ran = home.run(&args(&interfaces[0], words));
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (Some(1), ""),
            "{words:?} {ran:?}"
        );
        assert!(ran.stderr.contains("there is no such"), "{words:?} {ran:?}");
    }
    assert_eq!(daemon.stop().code(), Some(0));
    for interface in &interfaces {
        for words in [
            &["status"][..],
            &["send", "a"],
            &["events", "list", "--json"],
        ] {
            let ran = home.run(&args(interface, words));
            assert_eq!(
                (ran.code, ran.stdout.as_str()),
                (Some(1), ""),
                "{words:?} {ran:?}"
            );
            assert!(
                ran.stderr
                    .contains(interface[1].trim_start_matches("http://")),
                "{ran:?}"
            );
        }
    }
}

#[test]
fn the_daemon_is_found_by_environment_and_configuration() {
    let (mut home, daemon, _receiver, interfaces) = living();
    // The socket that the configuration names.
    let found = home.run(&["status", "--json", "--config", "outboxd.toml"]);
    assert_eq!(found.json()["version"], env!("CARGO_PKG_VERSION"));
    home.set_env("OUTBOXD_URL", daemon.url());
    assert_eq!(home.run(&["status", "--json"]).code, Some(0));
    // What is said on the command line comes first.
    home.set_env("OUTBOXD_URL", "http://127.0.0.1:1");
    assert_eq!(home.run(&["status", "--json"]).code, Some(1));
    assert_eq!(
        home.run(&args(&interfaces[0], &["status", "--json"])).code,
        Some(0)
    );
}

#[test]
fn listen_receives_verifies_and_says_so() {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let home = Home::new();
    let mut command = home.command();
    command.args(["listen", "--port", "0", "--json", "--secret", secret]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut listening = Ended(command.spawn().unwrap());
    let mut lines = BufReader::new(listening.0.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let url = next()["listening"].as_str().unwrap().to_owned();
    let other = "secret = \"whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"";
    let config = endpoint(
        "right",
        &url,
        &format!("secret = \"{secret}\"\ntypes = [\"right\"]"),
    ) + &endpoint("wrong", &url, &format!("{other}\ntypes = [\"wrong\"]"));
    let daemon = home.start(&config);
    for (kind, verified) in [("right", "verified"), ("wrong", "wrong")] {
        let event = daemon.send(kind, "1");
        let shown = next();
        let text = shown.to_string();
        assert!(text.contains(&event), "{text}");
        assert_eq!(shown["signature"], verified, "{text}");
        daemon.wait_status(&event, kind, "delivered");
    }
}

/// A command that runs until the test is over.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
