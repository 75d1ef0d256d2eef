//! Presets, each before a stand-in for its service.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::services::{ALL, DISCORD, PAGERDUTY, SLACK, Service, TELEGRAM, shown_html};
use crate::endpoint_api::{id_of, made};
use crate::harness::{Answer, Daemon, Home, Receiver, Seen, endpoint, wait_for};

/// The receiver's clock and the daemon's are read at different moments.
const SLACKNESS: Duration = Duration::from_millis(5);

/// A table of an endpoint with this preset, and further lines.
fn preset(service: Service, receiver: &Receiver, more: &str) -> String {
    let lines = format!("preset = \"{}\"\n{more}", service.preset);
    endpoint(service.preset, &receiver.url(service.path), &lines)
}

/// All services, and a daemon with an endpoint for each.
fn all(
    home: &Home,
    more: &str,
    stand_in: impl Fn(Service) -> Receiver,
) -> (Vec<(Service, Receiver)>, Daemon) {
    let receivers: Vec<_> = ALL.into_iter().map(|one| (one, stand_in(one))).collect();
    let tables = receivers.iter().map(|(one, at)| preset(*one, at, more));
    let daemon = home.start(&tables.collect::<String>());
    (receivers, daemon)
}

/// The first endpoint's request for the event.
#[track_caller]
fn delivered(daemon: &Daemon, service: Service, receiver: &Receiver, event: &str) -> Seen {
    let delivery = daemon.wait_status(event, service.preset, "delivered");
    assert_eq!(delivery["attempt_count"], 1, "{delivery:#}");
    let seen = receiver.wait_until(event, |seen| seen.iter().any(|one| one.id() == event));
    seen.into_iter().find(|one| one.id() == event).unwrap()
}

#[test]
fn every_service_takes_what_its_preset_sends() {
    let home = Home::new();
    let (receivers, daemon) = all(&home, "", Service::stand_in);
    let event = daemon.send_with(
        "order.created",
        r#"{"id": 7, "sum": 12.50}"#,
        r#""key": "order-7""#,
    );
    for (service, receiver) in &receivers {
        let seen = delivered(&daemon, *service, receiver, &event);
        let message = service.message(&seen);
        let name = service.preset;
        assert!(
            message.contains("order.created") && message.contains("order-7"),
            "{name}: {message}"
        );
        if name != "pagerduty" {
            assert!(message.contains("12.50"), "{name}: {message}");
        }
    }
}

#[test]
fn what_is_too_long_for_a_service_is_cut() {
    let home = Home::new();
    // Their own rates would make this last.
    let (receivers, daemon) = all(&home, "rate_limit = \"1000/s\"", Service::stand_in);
    for filling in ["x", "&", "<", "*", "\\u0001", "\\\"", "\u{1f600}", "\u{e9}"] {
        let data = format!("{{\"summary\": \"{}\"}}", filling.repeat(45_000));
        let key = "k".repeat(256);
        let event = daemon.send_with("order.created", &data, &format!("\"key\": \"{key}\""));
        for (service, receiver) in &receivers {
            let seen = delivered(&daemon, *service, receiver, &event);
            assert!(
                service.message(&seen).ends_with('…'),
                "{}: {filling}",
                service.preset
            );
        }
    }
}

/// Mentions, links and formatting as these services know them.
const HOSTILE: &str = "<!channel> <@U1|bob> <http://evil.example|ok> @everyone @here @bob <users/all> *b* **b** _i_ ~s~ `c` [a](http://evil.example) <b>x</b> &amp;";

#[test]
fn an_events_data_mentions_nobody_and_formats_nothing() {
    let home = Home::new();
    let text = r"text = '*Order* {{ data.name }}'";
    let (receivers, daemon) = all(&home, text, Service::stand_in);
    let event = daemon.send("order.created", &json!({"name": HOSTILE}).to_string());
    for (service, receiver) in &receivers {
        let message = service.message(&delivered(&daemon, *service, receiver, &event));
        let name = service.preset;
        let rest = message.strip_prefix("*Order* ");
        let rest = rest.unwrap_or_else(|| panic!("{name}: its own characters stay: {message}"));
        match name {
            "slack" => assert!(
                !rest.contains(['<', '>']) && rest.ends_with("&amp;amp;"),
                "{rest}"
            ),
            "telegram" => {
                let shown = shown_html(rest).unwrap();
                assert_eq!(shown.replace('\u{200b}', ""), HOSTILE);
                assert!(
                    !rest.contains("@bob") && !rest.contains("@everyone"),
                    "{rest}"
                );
            }
            "google_chat" => assert!(
                !rest.contains("<users") && !rest.contains("<http"),
                "{rest}"
            ),
            "discord" | "mattermost" | "teams" => {
                for mention in ["@everyone", "@here", "@bob"] {
                    assert!(!rest.contains(mention), "{name}: {rest}");
                }
                let plain = rest.replace("\\\\", "");
                for (at, c) in plain
                    .char_indices()
                    .filter(|(_, c)| "*_~`<>[](".contains(*c))
                {
                    assert!(plain[..at].ends_with('\\'), "{name}: {c} in {rest}");
                }
            }
            _ => assert_eq!(rest, HOSTILE, "{name}"),
        }
    }
}

#[test]
fn the_default_message_neutralises_data_too() {
    let home = Home::new();
    let (receivers, daemon) = all(&home, "", Service::stand_in);
    let event = daemon.send(
        "order.created",
        &json!({"n": HOSTILE, HOSTILE: 1}).to_string(),
    );
    for (service, receiver) in &receivers {
        let message = service.message(&delivered(&daemon, *service, receiver, &event));
        let sign = match service.preset {
            "ntfy" | "pagerduty" => continue,
            "google_chat" => "<users",
            "slack" => "<!channel",
            "telegram" => "<b>x",
            _ => "@everyone",
        };
        assert!(!message.contains(sign), "{}: {message}", service.preset);
    }
}

#[test]
fn a_rate_limited_message_comes_when_the_service_wants_it() {
    let home = Home::new();
    let (receivers, daemon) = all(&home, "", |one| one.stand_in_after(one.limited));
    let event = daemon.send("a", "1");
    for (service, receiver) in &receivers {
        let name = service.preset;
        let delivery = daemon.wait_status(&event, name, "delivered");
        assert_eq!(delivery["attempt_count"], 2, "{name}");
        let seen = receiver.seen();
        let wait = if name == "discord" { 900 } else { 1000 };
        let waited = seen[1].at - seen[0].at + SLACKNESS;
        assert!(waited >= Duration::from_millis(wait), "{name}: {waited:?}");
    }
}

#[test]
fn what_a_service_refuses_for_good_is_dead_at_once() {
    let home = Home::new();
    let (receivers, daemon) = all(&home, "", |one| one.stand_in_after(one.refused));
    let event = daemon.send("a", "1");
    for (service, _) in &receivers {
        let delivery = daemon.wait_status(&event, service.preset, "dead");
        assert_eq!(delivery["reason"], "rejected", "{delivery:#}");
        assert_eq!(delivery["attempt_count"], 1);
        assert_eq!(delivery["attempts"][0]["error"]["kind"], "status");
    }
    // A later one goes through, and nothing of the first came in between.
    let later = daemon.send("a", "2");
    for (service, receiver) in &receivers {
        daemon.wait_status(&later, service.preset, "delivered");
        let ids: Vec<_> = receiver
            .seen()
            .iter()
            .map(|seen| seen.id().to_owned())
            .collect();
        assert_eq!(ids, [event.clone(), later.clone()], "{}", service.preset);
        assert_eq!(daemon.endpoint(service.preset)["enabled"], true);
    }
}

#[test]
fn a_service_that_is_down_is_tried_again() {
    let home = Home::new();
    let down = || Answer::reply(503, &[], "down");
    let (receivers, daemon) = all(&home, "", |one| one.stand_in_after(down));
    let event = daemon.send("a", "1");
    for (service, _) in &receivers {
        let delivery = daemon.wait_status(&event, service.preset, "delivered");
        assert_eq!(delivery["attempt_count"], 2, "{}", service.preset);
    }
}

#[test]
fn an_archived_channel_disables_the_endpoint() {
    let receiver = Receiver::answering(|_| Answer::reply(410, &[], "channel_is_archived"));
    let home = Home::new();
    let daemon = home.start(&preset(SLACK, &receiver, ""));
    let event = daemon.send("a", "1");
    let delivery = daemon.wait_status(&event, "slack", "dead");
    assert_eq!(delivery["reason"], "gone");
    assert_eq!(
        delivery["attempts"][0]["response_body"],
        "channel_is_archived"
    );
    let gone = || (daemon.endpoint("slack")["disabled_reason"] == "gone").then_some(());
    wait_for(gone, || format!("{:#}", daemon.endpoint("slack")));
    let next = daemon.send("a", "2");
    assert_eq!(
        daemon.wait_status(&next, "slack", "held")["reason"],
        "disabled"
    );
    assert_eq!(receiver.seen().len(), 1);
}

#[test]
fn a_200_that_says_no_is_no_success() {
    for (service, body) in [
        (TELEGRAM, r#"{"ok": false, "description": "Internal"}"#),
        (SLACK, "not ok"),
        (SLACK, "<html>Sign in</html>"),
    ] {
        let receiver = Receiver::answering(move |seen| match seen.number {
            0 => Answer::reply(200, &[], body),
            _ => (service.answer)(seen),
        });
        let home = Home::new();
        let daemon = home.start(&preset(service, &receiver, ""));
        let event = daemon.send("a", "1");
        let delivery = daemon.wait_status(&event, service.preset, "delivered");
        assert_eq!(delivery["attempt_count"], 2);
        let error = &delivery["attempts"][0]["error"];
        assert_eq!(error["kind"], "status");
        assert!(
            error["detail"].as_str().unwrap().contains("answer.success"),
            "{error}"
        );
    }
}

#[test]
fn a_services_rate_holds() {
    let home = Home::new();
    let (receivers, daemon) = all(&home, "", Service::stand_in);
    let begin = Instant::now();
    for n in 0..3 {
        daemon.send("a", &n.to_string());
    }
    for (service, receiver) in &receivers {
        let mut times: Vec<_> = receiver.wait(3).iter().map(|seen| seen.at).collect();
        times.sort();
        let gap = match service.preset {
            "discord" => 400,
            "teams" => 250,
            "pagerduty" => 500,
            "mattermost" => 100,
            _ => 1000,
        };
        // However late each is seen, none goes out before its time.
        let took = times[2] - begin + SLACKNESS;
        let least = Duration::from_millis(gap * 2);
        assert!(
            took >= least && took < least * 3,
            "{}: {took:?}",
            service.preset
        );
    }
}

#[test]
fn what_is_given_beside_a_preset_wins() {
    let receiver = Receiver::answering(|seen| match seen.path.as_str() {
        "/api" => Answer::status(418),
        _ => Answer::reply(299, &[], "fine"),
    });
    let home = Home::new();
    let table = |id: &str, more: &str| {
        endpoint(
            id,
            &receiver.url(&format!("/{id}")),
            &format!("preset = \"slack\"\n{more}"),
        )
    };
    let answer = r#"answer = { success = { status = 299 } }"#;
    let config = [
        table(
            "text",
            &format!("text = 'New {{{{ event.type }}}} & more'\n{answer}"),
        ),
        table(
            "template",
            &format!(
                "template = '{{\"blocks\": [{{{{ text }}}}], \"n\": {{{{ data.n }}}}}}'\n{answer}"
            ),
        ),
        table(
            "plain",
            &format!("template = 'n={{{{ data.n }}}}'\ncontent_type = \"text/plain\"\n{answer}"),
        ),
        table("method", &format!("method = \"PUT\"\n{answer}")),
        table("fast", &format!("rate_limit = \"100/s\"\n{answer}")),
        table("default", "answer = {}"),
        table("api", "answer = { permanent = [418] }"),
    ];
    let daemon = home.start(&config.concat());
    let event = daemon.send("a.b", r#"{"n": 12.50}"#);
    for id in ["text", "template", "plain", "method", "fast", "default"] {
        daemon.wait_status(&event, id, "delivered");
    }
    assert_eq!(
        daemon.wait_status(&event, "api", "dead")["reason"],
        "rejected"
    );
    let body = |id: &str| {
        let seen = receiver.seen();
        let path = format!("/{id}");
        seen.into_iter().find(|seen| seen.path == path).unwrap()
    };
    assert_eq!(body("text").text(), r#"{"text": "New a.b & more"}"#);
    assert_eq!(
        body("template").text(),
        r#"{"blocks": ["a.b\n{\"n\":12.50}"], "n": 12.50}"#
    );
    assert_eq!(body("plain").text(), "n=12.50");
    assert_eq!(body("plain").header("content-type"), "text/plain");
    assert_eq!(body("method").method, "PUT");
    // Ten more at a message a second would take that many seconds.
    let before = Instant::now();
    for n in 0..10 {
        daemon.send("a.b", &format!("{{\"n\": {n}}}"));
    }
    receiver.wait_until("eleven", |seen| {
        seen.iter().filter(|one| one.path == "/fast").count() == 11
    });
    assert!(before.elapsed() < Duration::from_secs(5));
    assert_eq!(daemon.endpoint("fast")["rate_limit"], "100/s");
}

#[test]
fn a_test_sends_the_presets_sample() {
    let home = Home::new();
    let (receivers, daemon) = all(&home, "types = [\"order.*\"]", Service::stand_in);
    for (service, receiver) in &receivers {
        let test = daemon
            .tcp
            .post(&format!("/v1/endpoints/{}/test", service.preset));
        assert_eq!(test.status, 204, "{}", test.text());
        let seen = receiver.wait(1);
        let event = seen[0].id();
        daemon.wait_status(event, service.preset, "delivered");
        let message = service.message(&seen[0]);
        let sample = if service.preset == "pagerduty" {
            "Disk almost full"
        } else {
            "A-1001"
        };
        assert!(message.contains(sample), "{}: {message}", service.preset);
    }
    let (_, receiver) = &receivers[0];
    let own = br#"{"type": "order.paid", "data": {"n": 9}}"#;
    assert_eq!(
        daemon.tcp.post_json("/v1/endpoints/slack/test", own).status,
        204
    );
    let message = SLACK.message(&receiver.wait(2)[1]);
    assert_eq!(message, "order.paid\n{\"n\":9}");
}

#[test]
fn pagerduty_opens_acknowledges_and_resolves_by_key() {
    let receiver = PAGERDUTY.stand_in();
    let home = Home::new();
    let daemon = home.start(&preset(PAGERDUTY, &receiver, "rate_limit = \"1000/s\""));
    let sent = |kind: &str, data: &str, fields: &str| -> (String, Value) {
        let event = daemon.send_with(kind, data, fields);
        let seen = delivered(&daemon, PAGERDUTY, &receiver, &event);
        (event, serde_json::from_slice(&seen.body).unwrap())
    };
    let key = r#""key": "disk/db-1""#;
    let data = r#"{"summary": "Disk \"full\"", "severity": "critical", "source": "db-1", "n": 18446744073709551617}"#;
    let (_, body) = sent("disk.full", data, key);
    assert_eq!(
        (&body["event_action"], &body["dedup_key"]),
        (&json!("trigger"), &json!("disk/db-1"))
    );
    let payload = &body["payload"];
    assert_eq!(
        (&payload["summary"], &payload["severity"]),
        (&json!("Disk \"full\""), &json!("critical"))
    );
    assert_eq!(
        (&payload["source"], &payload["class"]),
        (&json!("db-1"), &json!("disk.full"))
    );
    let seen = receiver.seen();
    assert!(
        seen[0].text().contains("18446744073709551617"),
        "{}",
        seen[0].text()
    );
    for (kind, action) in [
        ("disk.acknowledged", "acknowledge"),
        ("disk.resolved", "resolve"),
        ("disk.recovered", "resolve"),
        ("disk.closed", "resolve"),
        ("disk.resolve", "resolve"),
        ("disk.resolved.not", "trigger"),
    ] {
        assert_eq!(sent(kind, "{}", key).1["event_action"], action, "{kind}");
    }
    // What fits no field of theirs does not get there.
    for data in [
        r#"{"severity": "panic", "source": 7, "summary": [1]}"#,
        r#"{"severity": null, "source": "", "summary": ""}"#,
        "[1]",
        "\"text\"",
        "null",
    ] {
        let (event, body) = sent("disk.full", data, "\"channels\": [\"a\"]");
        assert_eq!(body["payload"]["severity"], "error", "{data}");
        assert_eq!(body["dedup_key"], *event);
    }
    // Words are not cut off a key, or two alarms became one.
    let long = format!("\"key\": \"disk {}\"", "k".repeat(251));
    let (_, body) = sent("disk.full", "{}", &long);
    assert!(body["dedup_key"].as_str().unwrap().len() > 250, "{body}");
}

#[test]
fn telegram_takes_its_chat_and_thread_from_the_url() {
    let receiver = Receiver::answering(|_| Answer::reply(200, &[], r#"{"ok": true}"#));
    let home = Home::new();
    let daemon = home.start("");
    let url = receiver.url("/bot1:a/sendMessage?chat_id=%40news%26%22&message_thread_id=12&x=1");
    let made = made(&daemon, json!({"url": url, "preset": "telegram"}));
    let event = daemon.send("a", "1");
    daemon.wait_status(&event, &id_of(&made), "delivered");
    let body: Value = serde_json::from_slice(&receiver.wait(1)[0].body).unwrap();
    assert_eq!(body["chat_id"], "@news&\"");
    assert_eq!(body["message_thread_id"], 12);
}

#[test]
fn discords_fraction_of_a_second_is_kept() {
    let limited = || Answer::reply(429, &[], r#"{"retry_after": 0.35}"#);
    let receiver = DISCORD.stand_in_after(limited);
    let home = Home::new();
    let daemon = home.start(&preset(DISCORD, &receiver, "rate_limit = \"1000/s\""));
    let event = daemon.send("a", "1");
    daemon.wait_status(&event, "discord", "delivered");
    let seen = receiver.seen();
    let waited = seen[1].at - seen[0].at + SLACKNESS;
    let range = Duration::from_millis(350)..Duration::from_millis(950);
    assert!(range.contains(&waited), "{waited:?}");
}

#[test]
fn a_preset_takes_what_is_no_json_object() {
    let home = Home::new();
    let (receivers, daemon) = all(&home, "rate_limit = \"1000/s\"", Service::stand_in);
    for data in ["null", "[]", "\"\"", "7", "{}", "18446744073709551617"] {
        let event = daemon.send("a", data);
        for (service, receiver) in &receivers {
            delivered(&daemon, *service, receiver, &event);
        }
    }
    let opaque = daemon.tcp.request(
        "POST",
        "/v1/events/a.xml",
        &[("content-type", "text/xml")],
        b"<a/>",
    );
    let event = opaque.expect(202)["id"].as_str().unwrap().to_owned();
    for (service, receiver) in &receivers {
        let message = service.message(&delivered(&daemon, *service, receiver, &event));
        assert!(
            message.contains("a.xml") || message.contains("a\\.xml"),
            "{message}"
        );
    }
}
