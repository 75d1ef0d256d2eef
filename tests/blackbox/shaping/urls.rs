//! A chat service's URL is a secret but for its host: no output shows the rest.

use serde_json::{Value, json};

use super::services::{ALL, SLACK, TOKEN};
use crate::endpoint_api::{JSON, id_of, made, patch};
use crate::harness::{Answer, Daemon, Home, Receiver, endpoint};

const LOG: &str = "[log]\nlevel = \"trace\"\nformat = \"json\"\n[retry]\nschedule = [\"10ms\"]\n";

/// That the text has neither the token nor other parts of a URL that are secret.
#[track_caller]
fn hides(what: &str, text: &str) {
    assert!(!text.contains(TOKEN), "{what} shows it: {text}");
    // No id holds the first one: ULIDs have no I, L or U.
    assert!(
        !text.contains("B0UILDER") && !text.contains("sig="),
        "{what} shows parts: {text}"
    );
}

/// All that the API says of an endpoint and an event that went there.
fn read_all(daemon: &Daemon, endpoint: &str, event: &str) {
    let delivery = format!("/v1/events/{event}/deliveries/{endpoint}");
    let paths = [
        format!("/v1/endpoints/{endpoint}"),
        "/v1/endpoints".to_owned(),
        delivery.clone(),
        format!("{delivery}/explain"),
        format!("/v1/events/{event}"),
        "/v1/events".to_owned(),
        "/v1/deliveries".to_owned(),
        "/v1/status".to_owned(),
        "/metrics".to_owned(),
        format!("/v1/endpoints/{endpoint}/secret"),
    ];
    for path in paths {
        let answer = daemon.tcp.get(&path);
        // An endpoint of the file has no secret that could be read.
        let may_lack = path.ends_with("/secret") && answer.status == 404;
        assert!(
            answer.status == 200 || may_lack,
            "{path}: {}",
            answer.text()
        );
        hides(&path, &answer.text());
    }
}

/// All that the commands say of them.
fn run_all(home: &Home, daemon: &Daemon, endpoint: &str, event: &str) {
    let url = daemon.url();
    let commands: [&[&str]; 10] = [
        &["endpoints", "list"],
        &["endpoints", "show", endpoint],
        &["events", "list"],
        &["events", "show", event],
        &["deliveries", "list"],
        &["deliveries", "show", event, endpoint],
        &["dead", "list"],
        &["explain", event, endpoint],
        &["render", endpoint, event],
        &["status"],
    ];
    for command in commands {
        for more in [&["--url", &url][..], &["--url", &url, "--json"]] {
            let ran = home.run(&[command, more].concat());
            assert_eq!(ran.code, Some(0), "{command:?} {ran:?}");
            hides(&format!("{command:?}"), &format!("{ran:?}"));
        }
    }
    for args in [
        &["check", "--config", "outboxd.toml"][..],
        &["check", "--config", "outboxd.toml", "--json"],
    ] {
        let ran = home.run(args);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        hides("check", &format!("{ran:?}"));
        assert!(ran.stdout.contains("/…"), "{ran:?}");
    }
}

#[test]
fn a_services_url_is_shown_by_its_host_alone() {
    // Redirects repeat the path, and one service after the other fails in its own way.
    let receiver = Receiver::answering(|seen| {
        let location = format!("http://127.0.0.1:1{}", seen.path);
        match seen.path.split('/').nth(1).unwrap_or_default() {
            "services" => Answer::reply(302, &[("location", &location)], ""),
            "api" => Answer::Raw(b"nonsense\r\n\r\n".to_vec()),
            "v2" => Answer::close(),
            "hooks" => Answer::reply(410, &[("location", &location)], ""),
            _ => Answer::status(400),
        }
    });
    let watcher = Receiver::ok();
    let home = Home::new();
    let mut config = LOG.to_owned();
    for service in ALL {
        let lines = format!("preset = \"{}\"\nrate_limit = \"100/s\"", service.preset);
        config += &endpoint(service.preset, &receiver.url(service.path), &lines);
    }
    config += &endpoint("watch", &watcher.url("/"), "types = [\"outboxd.*\"]");
    let daemon = home.start(&config);
    let path = SLACK.path;
    let definition = json!({"url": receiver.url(path), "preset": "slack", "rate_limit": "100/s"});
    let shown = made(&daemon, definition);
    hides("the answer", &shown.to_string());
    let host = format!("http://{}/…", receiver.address());
    assert_eq!(shown["url"], host);
    let nowhere = made(
        &daemon,
        json!({"url": format!("http://127.0.0.1:1{path}"), "preset": "slack"}),
    );
    let unknown = made(
        &daemon,
        json!({"url": format!("http://nobody.invalid{path}"), "preset": "slack"}),
    );
    let blocked = made(
        &daemon,
        json!({"url": format!("http://10.0.0.1{path}"), "preset": "slack"}),
    );
    let event = daemon.send("a", "1");
    let made_ids = [&shown, &nowhere, &unknown, &blocked].map(id_of);
    let ids = ALL
        .map(|one| one.preset.to_owned())
        .into_iter()
        .chain(made_ids);
    for id in ids {
        daemon.wait_status(&event, &id, "dead");
        assert!(
            daemon.endpoint(&id)["url"]
                .as_str()
                .unwrap()
                .ends_with("/…")
        );
        read_all(&daemon, &id, &event);
    }
    let id = id_of(&shown);
    run_all(&home, &daemon, &id, &event);
    run_all(&home, &daemon, "slack", &event);
    // What is refused does not repeat it either.
    let other = json!({"url": receiver.url(path) + "2", "preset": "slack", "text": "{{"});
    for answer in [
        patch(&daemon.tcp, &id, &other),
        patch(&daemon.tcp, "slack", &json!({"url": receiver.url(path)})),
        daemon
            .tcp
            .request("POST", "/v1/endpoints", &JSON, other.to_string().as_bytes()),
        patch(
            &daemon.tcp,
            &id,
            &json!({"url": format!("ftp://127.0.0.1{path}")}),
        ),
        patch(
            &daemon.tcp,
            &id,
            &json!({"url": format!("http://u:p@127.0.0.1{path}")}),
        ),
    ] {
        assert!(answer.status >= 400, "{}", answer.text());
        hides("a refusal", &answer.text());
    }
    let change = patch(&daemon.tcp, &id, &json!({"url": receiver.url(path) + "2"}));
    assert_eq!(change.expect(200)["url"], host);
    // The daemon's own events tell of endpoints and deliveries.
    let told = watcher.wait_until("the endpoint that is gone", |seen| {
        seen.iter()
            .any(|one| one.text().contains("outboxd.endpoint.disabled"))
    });
    for one in told {
        hides("an event", &one.text());
    }
    let log = daemon.log_text();
    assert!(log.contains("delivery is dead"), "{log}");
    hides("the log", &log);
}

#[test]
fn faults_of_the_file_do_not_repeat_it() {
    let home = Home::new();
    let faulty = [
        ("http://127.0.0.1", "preset = \"slak\""),
        ("http://127.0.0.1", "preset = \"slack\"\ntext = \"{{\""),
        (
            "http://127.0.0.1",
            "preset = \"slack\"\nanswer = { sucess = {} }",
        ),
        ("ftp://127.0.0.1", "preset = \"slack\""),
        ("http://u:p@127.0.0.1", "preset = \"slack\""),
        ("http://[::1", "preset = \"slack\""),
    ];
    for (origin, lines) in faulty {
        let url = format!("{origin}{}", SLACK.path);
        home.write_config(&endpoint("slack", &url, lines));
        for more in [&[][..], &["--json"]] {
            let ran = home.run(&[&["check", "--config", "outboxd.toml"], more].concat());
            assert_eq!(ran.code, Some(2), "{ran:?}");
            hides(lines, &format!("{ran:?}"));
        }
    }
}

#[test]
fn without_a_preset_the_url_is_shown() {
    let home = Home::new();
    let daemon = home.start("");
    let definition = json!({"url": "http://127.0.0.1:1/a/b?c=d", "preset": "ntfy"});
    let id = id_of(&made(&daemon, definition));
    assert_eq!(daemon.endpoint(&id)["url"], "http://127.0.0.1:1/…");
    let shown = patch(&daemon.tcp, &id, &json!({"preset": null})).expect(200);
    assert_eq!(shown["url"], "http://127.0.0.1:1/a/b?c=d");
    assert_eq!(shown["preset"], Value::Null);
}
