//! The commands about endpoints, dead deliveries and explanations, on the real daemon.

use serde_json::{Value, json};

use crate::endpoint_api::id_of;
use crate::harness::{Daemon, Home, Ran, Receiver, endpoint};
use crate::signing::assert_signed;

fn on(home: &Home, daemon: &Daemon, words: &[&str]) -> Ran {
    let url = daemon.url();
    home.run(&[words, &["--url", &url]].concat())
}

#[track_caller]
fn text(home: &Home, daemon: &Daemon, words: &[&str]) -> String {
    let ran = on(home, daemon, words);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{words:?}");
    assert!(!ran.stdout.contains('\u{1b}'), "{words:?}");
    ran.stdout
}

#[track_caller]
fn parsed(home: &Home, daemon: &Daemon, words: &[&str]) -> Value {
    on(home, daemon, &[words, &["--json"]].concat()).json()
}

#[test]
fn an_endpoint_from_its_making_to_its_end() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start("");
    let url = receiver.url("/hook");
    #[rustfmt::skip]
    let made = parsed(&home, &daemon, &[
        "endpoints", "add", &url, "--tenant", "t1", "--types", "order.*,refund", "--header", "x-team: a",
        "--max-in-flight", "4", "--rate-limit", "500/s", "--ordering", "none", "--timeout", "7s",
        "--retry", "first=2s", "--retry", "factor=1.5", "--description", "of a customer",
    ]);
    let id = id_of(&made);
    let secret = made["secret"].as_str().unwrap().to_owned();
    let shown = daemon.endpoint(&id);
    assert_eq!(
        (&shown["tenant"], &shown["types"]),
        (&"t1".into(), &json!(["order.*", "refund"]))
    );
    assert_eq!(
        (&shown["timeout"], &shown["rate_limit"]),
        (&"7s".into(), &"500/s".into())
    );
    assert_eq!(
        (&shown["retry"]["first"], &shown["retry"]["factor"]),
        (&"2s".into(), &1.5.into())
    );
    let run = |words: &[&str]| text(&home, &daemon, words);
    // Secrets are printed where they are asked for, and nowhere else.
    assert_eq!(run(&["endpoints", "secret", &id]), format!("{secret}\n"));
    for words in [
        &["endpoints", "show", &id][..],
        &["endpoints", "list"],
        &["status"],
    ] {
        assert!(!run(words).contains(&secret[6..]), "{words:?}");
    }
    let second = run(&["endpoints", "rotate", &id, "--overlap", "1h"]);
    let second = second.trim_end();
    assert_eq!(
        parsed(&home, &daemon, &["endpoints", "secret", &id])["secret"],
        second
    );
    run(&["endpoints", "test", &id]);
    assert_signed(&receiver.wait(1)[0], &[second, &secret]);
    assert_eq!(receiver.seen()[0].header("x-team"), "a");
    let changed = run(&[
        "endpoints",
        "set",
        &id,
        "--types",
        "x",
        "--http2",
        "false",
        "--default",
        "timeout",
        "--default",
        "max-in-flight",
    ]);
    assert!(
        changed.contains(&id) && !changed.contains(&second[6..]),
        "{changed}"
    );
    let shown = daemon.endpoint(&id);
    assert_eq!(
        (&shown["types"], &shown["timeout"], &shown["max_in_flight"]),
        (&json!(["x"]), &"20s".into(), &16.into())
    );
    assert_eq!(shown["description"], "of a customer");
    assert_eq!(shown["http2"], false);
    run(&["endpoints", "set", &id, "--default", "http2"]);
    assert_eq!(daemon.endpoint(&id)["http2"], true);
    let moved = receiver.url("/moved");
    run(&["endpoints", "set", &id, "--to", &moved]);
    assert_eq!(daemon.endpoint(&id)["url"], moved);
    assert_eq!(
        parsed(&home, &daemon, &["endpoints", "disable", &id]),
        json!({"id": id, "enabled": false})
    );
    assert_eq!(daemon.endpoint(&id)["enabled"], false);
    assert_eq!(
        run(&["endpoints", "enable", &id]),
        format!("{id} is enabled\n")
    );
    assert_eq!(
        parsed(&home, &daemon, &["endpoints", "remove", &id]),
        json!({"id": id, "deleted": true})
    );
    let gone = on(&home, &daemon, &["endpoints", "show", &id]);
    assert_eq!(gone.code, Some(1));
    assert!(gone.stderr.contains("no such endpoint"), "{gone:?}");
}

#[test]
fn a_made_endpoint_is_shown_with_its_secret_once() {
    let home = Home::new();
    let daemon = home.start("");
    let file = home.path("own");
    let own = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    std::fs::write(&file, format!("{own}\n")).unwrap();
    let file = file.to_str().unwrap();
    let url = "https://example.invalid/";
    let made = text(
        &home,
        &daemon,
        &["endpoints", "add", url, "--secret-file", file, "--disabled"],
    );
    assert!(
        made.contains(own) && made.contains("disabled (manual)"),
        "{made}"
    );
    let listed = text(&home, &daemon, &["endpoints", "list"]);
    assert!(
        listed.contains(url) && !listed.contains(&own[6..]),
        "{listed}"
    );
}

#[test]
fn what_is_wrong_with_a_command_is_2_and_with_a_request_1() {
    let home = Home::new();
    let daemon = home.start(&endpoint(
        "one",
        "https://example.invalid/",
        "enabled = false",
    ));
    for words in [
        &["endpoints", "set", "one"][..],
        &[
            "endpoints",
            "set",
            "one",
            "--types",
            "a",
            "--default",
            "types",
        ],
        &["endpoints", "add"],
        &[
            "endpoints",
            "add",
            "https://example.invalid/",
            "--header",
            "x",
        ],
        &[
            "endpoints",
            "add",
            "https://example.invalid/",
            "--retry",
            "first",
        ],
        &["endpoints", "purge", "one", "--status", "delivered"],
        &["endpoints", "purge", "one", "--since", "soon"],
        &["replay"],
        &["replay", "--all", "--endpoint", "one"],
        &["replay", "--endpoint", "one", "--status", "held"],
        &["dead", "list", "--since", "soon"],
        &["explain", "evt_1", "one"],
    ] {
        let ran = on(&home, &daemon, words);
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (Some(2), ""),
            "{words:?} {ran:?}"
        );
    }
    for (words, said) in [
        (&["endpoints", "add", "example.com"][..], "`url`"),
        (
            &[
                "endpoints",
                "add",
                "https://example.invalid/",
                "--ordering",
                "fifo",
            ],
            "`ordering`",
        ),
        (
            &["endpoints", "set", "one", "--timeout", "5s"],
            "configuration file",
        ),
        (&["endpoints", "remove", "one"], "configuration file"),
        (&["endpoints", "rotate", "one"], "configuration file"),
        (&["endpoints", "secret", "one"], "no secret"),
        (&["endpoints", "test", "none"], "no such endpoint"),
        (
            &["explain", "evt_00000000000000000000000000", "one"],
            "no such event",
        ),
    ] {
        let ran = on(&home, &daemon, words);
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (Some(1), ""),
            "{words:?} {ran:?}"
        );
        assert!(ran.stderr.contains(said), "{words:?} {ran:?}");
    }
}

#[test]
fn what_is_dead_is_listed_with_its_last_answer_and_delivered_again() {
    let receiver = Receiver::answering(|seen| match seen.number {
        0..2 => crate::harness::Answer::reply(503, &[], "come back\nlater"),
        _ => crate::harness::Answer::status(200),
    });
    let home = Home::new();
    let config =
        "[retry]\nschedule = [\"1ms\"]\n".to_owned() + &endpoint("one", &receiver.url("/"), "");
    let daemon = home.start(&config);
    assert_eq!(text(&home, &daemon, &["dead", "list"]), "nothing is dead\n");
    let event = daemon.send("order.created", "1");
    daemon.wait_status(&event, "one", "dead");
    let listed = text(
        &home,
        &daemon,
        &[
            "dead",
            "list",
            "--endpoint",
            "one",
            "--type",
            "order.created",
            "--since",
            "1h",
        ],
    );
    for part in [event.as_str(), "exhausted", "503", "come back\\nlater", "2"] {
        assert!(listed.contains(part), "{part}: {listed}");
    }
    assert_eq!(
        text(&home, &daemon, &["dead", "list", "--type", "other"]),
        "nothing is dead\n"
    );
    let json = parsed(&home, &daemon, &["dead", "list"]);
    assert_eq!(json["data"].as_array().unwrap().len(), 1);
    let shown = text(&home, &daemon, &["dead", "show", &event, "one"]);
    assert!(
        shown.contains("dead (exhausted)") && shown.contains("attempt 2"),
        "{shown}"
    );
    assert_eq!(
        parsed(&home, &daemon, &["dead", "retry", &event, "one"])["event"],
        event
    );
    daemon.wait_status(&event, "one", "delivered");
    assert_eq!(text(&home, &daemon, &["dead", "list"]), "nothing is dead\n");
}

#[test]
fn an_explanation_says_what_what_for_and_how_far_each_attempt_came() {
    let receiver = Receiver::statuses(&[500]);
    let home = Home::new();
    let config = "[retry]\nfirst = \"1h\"\nmax = \"1h\"\njitter = 0.0\n".to_owned()
        + &endpoint("one", &receiver.url("/"), "types = [\"a\"]")
        + &endpoint("closed", "http://127.0.0.1:1/", "types = [\"a\"]")
        + &endpoint("blocked", "http://127.0.0.1:1/", "types = [\"a\"]")
            .replace("127.0.0.1", "[::1]");
    let daemon = home.start(&config);
    let event = daemon.send("a", "1");
    for endpoint in ["one", "closed", "blocked"] {
        daemon.wait_delivery(&event, endpoint, "tried", |one| one["attempt_count"] == 1);
    }
    let said = |endpoint: &str| text(&home, &daemon, &["explain", &event, endpoint]);
    let one = said("one");
    for part in [
        &event,
        "waiting: ",
        "matched  yes",
        "at most 16 in flight",
        "address ✓ connect ✓ answer ✓, 500",
        "next     2",
        "attempt 2",
    ] {
        assert!(one.contains(part), "{part}: {one}");
    }
    assert!(
        said("closed").contains("address ✓ connect ✗, failed"),
        "{}",
        said("closed")
    );
    assert!(
        said("blocked").contains("address ✗, failed"),
        "{}",
        said("blocked")
    );
    let other = daemon.send("b", "1");
    let no = text(&home, &daemon, &["explain", &other, "one"]);
    assert!(
        no.contains("not subscribed: the event's type is b, the endpoint wants a"),
        "{no}"
    );
    assert!(no.contains("matched  no\n"), "{no}");
    let path = format!("/v1/events/{other}/deliveries/one/explain");
    assert_eq!(
        parsed(&home, &daemon, &["explain", &other, "one"]),
        daemon.tcp.get(&path).expect(200)
    );
}
