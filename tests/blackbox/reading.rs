//! What can be read: one thing, lists of them, and what a list promises.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::harness::{Answer, Daemon, Gate, Home, Receiver, endpoint, wait_for};

/// All pages of a list; `between` runs after each.
fn pages(daemon: &Daemon, path: &str, mut between: impl FnMut()) -> Vec<Vec<Value>> {
    let mut pages = Vec::new();
    let mut next = String::new();
    loop {
        let page = daemon.tcp.get(&format!("{path}{next}")).expect(200);
        let members: Vec<_> = page.as_object().unwrap().keys().collect();
        assert_eq!(members, ["data", "next"]);
        pages.push(page["data"].as_array().unwrap().clone());
        assert!(pages.len() < 100, "the list does not end");
        between();
        let Some(cursor) = page["next"].as_str() else {
            assert_eq!(page["next"], Value::Null);
            return pages;
        };
        let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        assert!(cursor.bytes().all(safe), "{cursor} is not safe in a URL");
        next = format!("&cursor={cursor}");
    }
}

fn texts(items: &[Value], member: &str) -> Vec<String> {
    let text = |item: &Value| item[member].as_str().unwrap().to_owned();
    items.iter().map(text).collect()
}

#[test]
fn what_was_accepted_is_read_at_once() {
    let home = Home::new();
    let hung = Receiver::answering(|_| Answer::hang());
    let daemon = home.start(&endpoint("slow", &hung.url("/"), ""));
    // Through both interfaces, each on a connection of its own, thirty times.
    for n in 0..30 {
        let key = format!("\"idempotency_key\":\"k{n}\"");
        let id = daemon.send_with("a", "[1]", &key);
        let shown = daemon.unix.get(&format!("/v1/events/{id}")).expect(200);
        assert_eq!(shown["id"], id);
        let newest = daemon.tcp.get("/v1/events?limit=1").expect(200);
        assert_eq!(newest["data"][0]["id"], id);
        let delivery = daemon.delivery(&id, "slow");
        assert_eq!(delivery["status"], "pending");
        let listed = daemon
            .tcp
            .get("/v1/deliveries?limit=1&status=pending")
            .expect(200);
        assert_eq!(listed["data"][0]["event"], id);
        assert_eq!(daemon.send_with("a", "[1]", &key), id);
    }
    assert_eq!(daemon.status()["backlog"]["pending"], 30);
}

#[test]
fn an_event_is_shown_with_body_and_deliveries() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start(
        &(endpoint("one", &receiver.url("/"), "") + &endpoint("two", &receiver.url("/"), "")),
    );
    let body = "{\"type\":\"a.b\",\"data\":{\"x\":[1, 2]},\"key\":\"k\",\"idempotency_key\":\"i\",\
                \"deliver_at\":\"2031-02-03T04:05:06.007+01:00\"}";
    let sent = daemon.tcp.post_json("/v1/events", body).expect(202);
    let id = sent["id"].as_str().unwrap();
    let shown = daemon.tcp.get(&format!("/v1/events/{id}")).expect(200);
    let deliveries = shown["deliveries"].as_array().unwrap();
    let delivery = |endpoint: &str| {
        json!({
            "event": id, "endpoint": endpoint, "tenant": "default", "type": "a.b",
            "status": "pending", "reason": null, "attempts": [], "attempt_count": 0,
            "next_attempt_at": "2031-02-03T03:05:06.007Z",
            "accepted_at": sent["accepted_at"], "finished_at": null,
        })
    };
    assert_eq!(*deliveries, [delivery("one"), delivery("two")]);
    let mut rest = shown.clone();
    rest.as_object_mut().unwrap().remove("deliveries");
    rest.as_object_mut().unwrap().remove("delivery_counts");
    assert_eq!(
        rest,
        json!({
            "id": id, "type": "a.b", "tenant": "default", "key": "k", "idempotency_key": "i",
            "channels": [], "headers": {},
            "accepted_at": sent["accepted_at"], "deliver_at": "2031-02-03T03:05:06.007Z",
            "data": {"x": [1, 2]},
        })
    );
    assert_eq!(daemon.delivery(id, "two"), delivery("two"));
}

#[test]
fn times_are_rfc_3339_in_utc() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start(&endpoint("one", &receiver.url("/"), ""));
    let event = daemon.send("a", "1");
    let delivery = daemon.wait_status(&event, "one", "delivered");
    let mut last = String::new();
    let times = [
        &delivery["accepted_at"],
        &delivery["attempts"][0]["at"],
        &delivery["finished_at"],
    ];
    for time in times {
        let time = time.as_str().unwrap().to_owned();
        let parsed: jiff::Timestamp = time.parse().unwrap();
        assert_eq!(format!("{parsed:.3}"), time);
        assert!(time >= last, "{times:?}");
        last = time;
    }
}

#[test]
fn two_hundred_and_fifty_events_come_page_by_page_while_more_arrive() {
    let home = Home::new();
    let receiver = Receiver::ok();
    let daemon = home.start(&endpoint("all", &receiver.url("/"), ""));
    let mut sent: Vec<String> = (0..250).map(|n| daemon.send("a", &n.to_string())).collect();
    for (path, member) in [
        ("/v1/events?limit=100", "id"),
        ("/v1/deliveries?limit=100", "event"),
    ] {
        let expected = sent.clone();
        let mut more = Vec::new();
        let found = pages(&daemon, path, || {
            more.extend((0..10).map(|_| daemon.send("a", "\"more\"")));
        });
        let sizes: Vec<_> = found.iter().map(Vec::len).collect();
        assert_eq!(sizes.iter().sum::<usize>(), expected.len(), "{sizes:?}");
        assert!(
            sizes[..sizes.len() - 1].iter().all(|size| *size == 100),
            "{sizes:?}"
        );
        let found = texts(&found.concat(), member);
        let newest_first: Vec<_> = expected.into_iter().rev().collect();
        assert_eq!(found, newest_first);
        sent.extend(more);
    }
}

#[test]
fn limits_and_defaults_of_pages() {
    let home = Home::new();
    let daemon = home.start("");
    let line = "{\"type\":\"a\",\"data\":1}\n".repeat(150);
    let ndjson = [("content-type", "application/x-ndjson")];
    daemon
        .tcp
        .request("POST", "/v1/events", &ndjson, line.as_bytes())
        .expect(202);
    let count = |path: &str| {
        let page = daemon.tcp.get(path).expect(200);
        (
            page["data"].as_array().unwrap().len(),
            page["next"].is_string(),
        )
    };
    assert_eq!(count("/v1/events"), (100, true));
    assert_eq!(count("/v1/events?limit=1"), (1, true));
    assert_eq!(count("/v1/events?limit=149"), (149, true));
    assert_eq!(count("/v1/events?limit=1000"), (150, false));
    let whole = pages(&daemon, "/v1/events?limit=50", || {});
    let ids: HashSet<_> = texts(&whole.concat(), "id").into_iter().collect();
    assert_eq!(ids.len(), 150);
}

#[test]
fn lists_are_filtered() {
    let receiver = Receiver::answering(|seen| match seen.path.as_str() {
        "/ok" => Answer::status(200),
        "/bad" => Answer::status(404),
        _ => Answer::hang(),
    });
    let home = Home::new();
    let retry = "[retry]\nschedule = [\"1ms\"]\n";
    let of = |id: &str, more: &str| endpoint(id, &receiver.url(&format!("/{id}")), more);
    let config = [
        of("ok", ""),
        of("bad", "types = [\"a\"]"),
        of("off", "types = [\"b\"]\nenabled = false"),
        of("acme", "tenant = \"acme\""),
    ];
    let daemon = home.start(&(retry.to_owned() + &config.concat()));
    let a = daemon.send("a", "1");
    let b = daemon.send("b", "1");
    let keyed = "\"tenant\":\"acme\",\"key\":\"order 7\",\"idempotency_key\":\"i/1\"";
    let acme = daemon.send_with("a", "1", keyed);
    daemon.wait_status(&a, "bad", "dead");
    daemon.wait_status(&b, "ok", "delivered");
    daemon.wait_status(&a, "ok", "delivered");
    let events = |filter: &str| {
        let page = daemon.tcp.get(&format!("/v1/events?{filter}")).expect(200);
        let mut all = page["data"].as_array().unwrap().clone();
        // That a delivery died is an event, too.
        all.retain(|event| event["type"] != "outboxd.delivery.dead");
        texts(&all, "id")
    };
    assert_eq!(events(""), [&acme, &b, &a].map(String::clone));
    assert_eq!(events("type=a"), [&acme, &a].map(String::clone));
    assert_eq!(events("tenant=default"), [&b, &a].map(String::clone));
    assert_eq!(events("tenant=acme&type=a"), std::slice::from_ref(&acme));
    assert_eq!(events("tenant=acme&type=a.*"), [""; 0]);
    assert_eq!(events("type=c"), [""; 0]);
    assert_eq!(events("key=order%207"), std::slice::from_ref(&acme));
    assert_eq!(events("key=order"), [""; 0]);
    assert_eq!(events("idempotency_key=i/1"), std::slice::from_ref(&acme));
    assert_eq!(events("idempotency_key=i/1&tenant=default"), [""; 0]);
    let too_long = format!("/v1/events?key={}", "k".repeat(257));
    let refused = daemon.tcp.get(&too_long).expect(400);
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.starts_with("query parameter `key`: "), "{detail}");
    let deliveries = |filter: &str| {
        let page = daemon
            .tcp
            .get(&format!("/v1/deliveries?{filter}"))
            .expect(200);
        let page = page["data"].as_array().unwrap().clone();
        let name = |one: &Value| {
            let event = if one["event"] == *a {
                "a"
            } else if one["event"] == *b {
                "b"
            } else {
                "acme"
            };
            format!("{event} {}", one["endpoint"].as_str().unwrap())
        };
        let mut names: Vec<_> = page.iter().map(name).collect();
        names.sort();
        names
    };
    assert_eq!(
        deliveries(""),
        ["a bad", "a ok", "acme acme", "b off", "b ok"]
    );
    assert_eq!(deliveries("status=delivered"), ["a ok", "b ok"]);
    assert_eq!(deliveries("status=dead"), ["a bad"]);
    assert_eq!(deliveries("status=held"), ["b off"]);
    assert_eq!(deliveries("status=pending"), ["acme acme"]);
    assert_eq!(deliveries("endpoint=ok"), ["a ok", "b ok"]);
    assert_eq!(deliveries("endpoint=ok&type=b"), ["b ok"]);
    assert_eq!(deliveries("tenant=acme"), ["acme acme"]);
    assert_eq!(deliveries("endpoint=ok&status=dead"), [""; 0]);
    assert_eq!(deliveries("endpoint=unknown"), [""; 0]);

    // `since` is inclusive, `until` exclusive.
    let at = |id: &str| {
        let shown = daemon.tcp.get(&format!("/v1/events/{id}")).expect(200);
        shown["accepted_at"].as_str().unwrap().to_owned()
    };
    let (at_a, at_b, at_acme) = (at(&a), at(&b), at(&acme));
    let between = |since: &str, until: &str| {
        let within = |at: &String| at.as_str() >= since && at.as_str() < until;
        let all = [(&acme, &at_acme), (&b, &at_b), (&a, &at_a)];
        let kept = all.into_iter().filter(|(_, at)| within(at));
        kept.map(|(id, _)| id.clone()).collect::<Vec<_>>()
    };
    for since in [&at_a, &at_b, &at_acme] {
        for until in [&at_a, &at_b, &at_acme] {
            let found = events(&format!("since={since}&until={until}"));
            assert_eq!(found, between(since, until), "{since} to {until}");
        }
        assert_eq!(events(&format!("since={since}")), between(since, "9"));
        assert_eq!(events(&format!("until={since}")), between("", since));
        let kept = between(since, "9");
        let mut expected: Vec<_> = [
            (&a, "a bad"),
            (&a, "a ok"),
            (&acme, "acme acme"),
            (&b, "b off"),
            (&b, "b ok"),
        ]
        .into_iter()
        .filter(|(id, _)| kept.contains(id))
        .map(|(_, name)| name)
        .collect();
        expected.sort_unstable();
        assert_eq!(deliveries(&format!("since={since}")), expected);
    }
    let listed = daemon.tcp.get("/v1/endpoints").expect(200);
    assert_eq!(
        texts(listed["data"].as_array().unwrap(), "id"),
        ["acme", "bad", "off", "ok"]
    );
    let listed = daemon.tcp.get("/v1/endpoints?tenant=acme").expect(200);
    assert_eq!(texts(listed["data"].as_array().unwrap(), "id"), ["acme"]);
    let paged = pages(&daemon, "/v1/endpoints?limit=3", || {});
    assert_eq!(texts(&paged.concat(), "id"), ["acme", "bad", "off", "ok"]);
}

#[test]
fn attempts_have_their_shape() {
    let receiver = Receiver::answering(|seen| match seen.number {
        0 => Answer::reply(503, &[], "no \u{1f980} today"),
        1 => Answer::close(),
        _ => Answer::status(200),
    });
    let home = Home::new();
    let daemon = home.start(&endpoint("one", &receiver.url("/"), ""));
    let event = daemon.send("a", "1");
    let delivery = daemon.wait_status(&event, "one", "delivered");
    let attempts = delivery["attempts"].as_array().unwrap();
    assert_eq!((attempts.len(), &delivery["attempt_count"]), (3, &json!(3)));
    let members = [
        "address",
        "at",
        "duration_ms",
        "error",
        "response_body",
        "status",
    ];
    for attempt in attempts {
        let names: Vec<_> = attempt.as_object().unwrap().keys().collect();
        assert_eq!(names, members);
        assert_eq!(attempt["address"], receiver.address().to_string());
        assert!(attempt["duration_ms"].is_u64());
    }
    assert_eq!(attempts[0]["status"], 503);
    assert_eq!(attempts[0]["error"]["kind"], "status");
    assert_eq!(attempts[0]["response_body"], "no \u{1f980} today");
    assert_eq!(attempts[1]["status"], Value::Null);
    assert_eq!(attempts[1]["response_body"], "");
    let kind = attempts[1]["error"]["kind"].as_str().unwrap();
    assert!(["protocol", "connect"].contains(&kind), "{kind}");
    assert_eq!(attempts[2]["error"], Value::Null);
    let at: Vec<_> = attempts
        .iter()
        .map(|one| one["at"].as_str().unwrap())
        .collect();
    assert!(at.is_sorted(), "{at:?}");
}

#[test]
fn the_last_fifty_attempts_are_kept() {
    let receiver = Receiver::answering(|seen| match seen.number {
        0..60 => Answer::reply(500, &[], &seen.number.to_string()),
        _ => Answer::reply(200, &[], "done"),
    });
    let home = Home::new();
    let retry = "[retry]\nfirst = \"1ms\"\nfactor = 1.0\n";
    let daemon = home.start(&(retry.to_owned() + &endpoint("one", &receiver.url("/"), "")));
    let event = daemon.send("a", "1");
    let delivery = daemon.wait_status(&event, "one", "delivered");
    assert_eq!(delivery["attempt_count"], 61);
    let attempts = delivery["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 50);
    let expected: Vec<_> = (11..60)
        .map(|n| n.to_string())
        .chain(["done".into()])
        .collect();
    assert_eq!(texts(attempts, "response_body"), expected);
    assert!(daemon.stop().success());
    let daemon = home.start(&endpoint("one", &receiver.url("/"), ""));
    assert_eq!(daemon.delivery(&event, "one"), delivery);
}

#[test]
fn history_outlives_stops_crashes_and_the_index() {
    let receiver = Receiver::statuses(&[500, 200]);
    let home = Home::new();
    let config = endpoint("one", &receiver.url("/"), "");
    let daemon = home.start(&config);
    let event = daemon.send("a", "{\"a\":  1}");
    daemon.wait_status(&event, "one", "delivered");
    // Outcomes need not be durable at once, but a clean stop leaves none behind.
    let path = format!("/v1/events/{event}");
    let shown = daemon.tcp.get(&path).text();
    assert!(daemon.stop().success());
    let daemon = home.start(&config);
    assert_eq!(daemon.tcp.get(&path).text(), shown);
    daemon.kill();
    let daemon = home.start(&config);
    assert_eq!(daemon.tcp.get(&path).text(), shown);
    daemon.kill();
    std::fs::remove_dir_all(home.data_dir().join("index")).unwrap();
    let daemon = home.start(&config);
    assert_eq!(daemon.tcp.get(&path).text(), shown);
    assert_eq!(receiver.seen().len(), 2);
}

#[test]
fn status_counts_what_there_is() {
    let gate = Gate::new();
    let held = gate.clone();
    let receiver = Receiver::answering(move |seen| match seen.path.as_str() {
        "/slow" => Answer::status(200).behind(&held),
        _ => Answer::status(404),
    });
    let home = Home::new();
    let config = "[retry]\nschedule = []\ngive_up_after = \"0s\"\n".to_owned()
        + &endpoint("slow", &receiver.url("/slow"), "max_in_flight = 1")
        + &endpoint("bad", &receiver.url("/bad"), "")
        + &endpoint("off", &receiver.url("/off"), "enabled = false");
    let daemon = home.start(&config);
    let event = daemon.send("a", "1");
    daemon.send("a", "2");
    receiver.wait_until("one slow and two bad", |seen| {
        let of = |path: &str| seen.iter().filter(|seen| seen.path == path).count();
        (of("/slow"), of("/bad")) == (1, 2)
    });
    daemon.wait_status(&event, "bad", "dead");
    let expected = json!({"pending": 2, "held": 2, "dead": 2, "in_flight": 1});
    let status = wait_for(
        || Some(daemon.status()).filter(|status| status["backlog"] == expected),
        || format!("not {expected} but {}", daemon.status()["backlog"]),
    );
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        status["endpoints"],
        json!({"total": 3, "disabled": 1, "breaker_open": 0, "unrendered": 0})
    );
    assert_eq!(status["damaged_records"], 0);
    assert!(status["uptime_s"].is_number());
    assert!(status["oldest_pending_s"].is_number());
    for part in ["log_bytes", "index_bytes", "free_bytes"] {
        assert!(status["disk"][part].is_u64(), "{status:#}");
    }
    assert!(status["recovery"]["kind"].is_string());
    assert!(status["recovery"]["seconds"].is_number());
    gate.open();
    wait_for(
        || (daemon.status()["backlog"]["pending"] == 0).then_some(()),
        || daemon.status().to_string(),
    );
    let status = daemon.status();
    assert_eq!(status["backlog"]["in_flight"], 0);
    assert_eq!(status["oldest_pending_s"], Value::Null);
}

#[test]
fn health_and_metrics_are_there_for_machines() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start(&endpoint("one", &receiver.url("/"), ""));
    for path in ["/healthz", "/readyz"] {
        assert_eq!(daemon.tcp.get(path).status, 200);
        let head = daemon.tcp.request("HEAD", path, &[], b"");
        assert_eq!((head.status, head.body.len()), (200, 0));
    }
    let event = daemon.send("a", "1");
    daemon.wait_status(&event, "one", "delivered");
    let metrics = daemon.tcp.get("/metrics");
    assert_eq!(metrics.status, 200);
    let kind = metrics.header("content-type").unwrap();
    assert!(kind.starts_with("text/plain"), "{kind}");
    for line in metrics.text().lines() {
        let comment = line.starts_with("# HELP ") || line.starts_with("# TYPE ");
        let sample = line.rsplit_once(' ').is_some_and(|(name, value)| {
            let is_ours = name.starts_with("outboxd_") || name.starts_with("process_");
            is_ours && value.parse::<f64>().is_ok()
        });
        assert!(comment || sample, "{line:?}");
    }
}
