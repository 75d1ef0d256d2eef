//! From acceptance to the receiver: what arrives, byte for byte, where, and when.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::harness::{Answer, Home, Receiver, Seen, endpoint};

/// The headers that a client of HTTP/1.1 needs, which say nothing about the event.
const OF_HTTP: [&str; 5] = [
    "host",
    "content-length",
    "accept",
    "accept-encoding",
    "connection",
];

fn names(seen: &Seen) -> Vec<&str> {
    let names = seen.headers.iter().map(|(name, _)| name.as_str());
    let mut names: Vec<_> = names.filter(|name| !OF_HTTP.contains(name)).collect();
    names.sort_unstable();
    names
}

#[test]
fn json_arrives_in_its_envelope_byte_for_byte() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start(&endpoint("orders", &receiver.url("/hook?a=b%20c"), ""));
    // Spacing, order, doubled names, number and escape spellings are the sender's.
    let data = "{ \"z\":1.50,\t\"a\" : [ 1e2,-0, 12345678901234567890123 ],\n \"a\":\"\\u00e9\u{e9}\\/\" }";
    let body = format!("  {{\"data\" :  {data}  , \"type\":\"order.created\"}}\n");
    let answer = daemon.tcp.post_json("/v1/events", body).expect(202);
    assert_eq!(answer["type"], "order.created");
    assert_eq!(answer["deliveries"], 1);
    assert_eq!(answer["duplicate"], false);
    let id = answer["id"].as_str().unwrap();
    let accepted_at = answer["accepted_at"].as_str().unwrap();
    assert!(id.starts_with("evt_") && id.len() == 30, "{id}");

    let seen = receiver.wait(1).remove(0);
    assert_eq!(
        (seen.method.as_str(), seen.path.as_str()),
        ("POST", "/hook?a=b%20c")
    );
    let envelope =
        format!("{{\"type\":\"order.created\",\"timestamp\":\"{accepted_at}\",\"data\":{data}}}");
    assert_eq!(seen.text(), envelope);
    assert_eq!(seen.id(), id);
    assert_eq!(seen.header("content-type"), "application/json");
    let agent = concat!("outboxd/", env!("CARGO_PKG_VERSION"));
    assert_eq!(seen.header("user-agent"), agent);
    assert_eq!(seen.header("host"), receiver.address().to_string());
    let at: u64 = seen.header("webhook-timestamp").parse().unwrap();
    let now = seen.time.duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(at.abs_diff(now) <= 5, "{at} is not {now}");
    // Without a secret it is unsigned, and there is nothing else.
    let expected = [
        "content-type",
        "user-agent",
        "webhook-id",
        "webhook-timestamp",
    ];
    assert_eq!(names(&seen), expected);

    let shown = daemon.tcp.get(&format!("/v1/events/{id}"));
    assert!(
        shown.text().contains(&format!("\"data\":{data}")),
        "{}",
        shown.text()
    );
}

#[test]
fn every_json_value_can_be_data() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start(&endpoint("all", &receiver.url("/"), ""));
    // Deep enough to end a program that walks it by recursion.
    let deep = "[".repeat(400_000) + &"]".repeat(400_000);
    let values = [
        &deep,
        "null",
        "true",
        "-1.0E+2",
        "\"\"",
        "\"\\u0000\"",
        "[]",
        "{}",
        "[[[]]]",
    ];
    for (number, value) in values.into_iter().enumerate() {
        let event = daemon.send("a", value);
        let shown = daemon.tcp.get(&format!("/v1/events/{event}"));
        assert!(shown.text().contains(&format!("\"data\":{value}")));
        let seen = receiver.wait(number + 1);
        let ending = format!(",\"data\":{value}}}");
        assert!(seen[number].text().ends_with(&ending), "{value:.100}");
    }
}

#[test]
fn an_opaque_body_arrives_as_it_is() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start(&endpoint("raw", &receiver.url("/"), ""));
    let body: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    let kind = "Image/X-Thing; q=\"a, b\"";
    let path = "/v1/events/file.uploaded";
    let answer = daemon
        .tcp
        .request("POST", path, &[("content-type", kind)], &body);
    let answer = answer.expect(202);
    let id = answer["id"].as_str().unwrap();
    assert_eq!(answer["type"], "file.uploaded");

    let seen = receiver.wait(1).remove(0);
    assert_eq!(seen.body, body);
    assert_eq!(seen.header("content-type"), kind);
    assert_eq!(seen.header("outboxd-event-type"), "file.uploaded");
    assert_eq!(seen.id(), id);

    let shown = daemon.tcp.get(&format!("/v1/events/{id}")).expect(200);
    assert_eq!(shown["content_type"], kind);
    let shown = shown["body_base64"].as_str().unwrap();
    assert_eq!(crate::signing::from_base64(shown), body);

    let path = "/v1/events/empty?tenant=default";
    let answer = daemon
        .tcp
        .request("POST", path, &[("content-type", "text/plain")], b"");
    answer.expect(202);
    assert_eq!(receiver.wait(2)[1].body, b"");
}

#[test]
fn a_retry_is_the_same_message_with_a_fresh_timestamp() {
    let receiver = Receiver::statuses(&[500, 500, 200]);
    let home = Home::new();
    let retry = "[retry]\nschedule = [\"20ms\", \"1100ms\"]\njitter = 0.0\n";
    let secret = "secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"";
    let config = retry.to_owned() + &endpoint("orders", &receiver.url("/"), secret);
    let daemon = home.start(&config);
    let event = daemon.send("order.created", "{\"id\": 7}");
    let seen = receiver.wait(3);
    for again in &seen[1..] {
        assert_eq!(again.id(), event);
        assert_eq!(again.body, seen[0].body);
    }
    let at = |seen: &Seen| seen.header("webhook-timestamp").parse::<u64>().unwrap();
    assert!(
        at(&seen[2]) > at(&seen[0]),
        "the timestamp is the attempt's"
    );
    let signature = |seen: &Seen| seen.header("webhook-signature").to_owned();
    assert_ne!(signature(&seen[2]), signature(&seen[0]));
    for seen in &seen {
        crate::signing::assert_signed(seen, &["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]);
    }
    let delivery = daemon.wait_status(&event, "orders", "delivered");
    assert_eq!(delivery["attempt_count"], 3);
}

#[test]
fn both_interfaces_lead_to_the_same_outbox() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start(&endpoint("all", &receiver.url("/"), ""));
    let sent = daemon
        .unix
        .post_json("/v1/events", "{\"type\":\"a\",\"data\":1}")
        .expect(202);
    let id = sent["id"].as_str().unwrap();
    assert_eq!(receiver.wait(1)[0].id(), id);
    assert_eq!(
        daemon.tcp.get(&format!("/v1/events/{id}")).expect(200)["data"],
        1
    );
    let mode = std::fs::metadata(home.path("api.sock"))
        .unwrap()
        .permissions();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777,
        0o660
    );
    assert!(daemon.stop().success());
    assert!(!home.path("api.sock").exists());
}

#[test]
fn each_endpoint_gets_the_types_it_wants() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let wants = [
        ("everything", ""),
        ("exact", "types = [\"order.created\"]"),
        ("prefix", "types = [\"order.*\"]"),
        ("several", "types = [\"user\", \"order.line.*\"]"),
        ("own", "types = [\"outboxd.*\"]"),
    ];
    let endpoints = wants.map(|(id, types)| endpoint(id, &receiver.url(&format!("/{id}")), types));
    let daemon = home.start(&endpoints.concat());
    let cases: [(&str, &[&str]); 6] = [
        ("order.created", &["everything", "exact", "prefix"]),
        ("order.created.late", &["everything", "prefix"]),
        ("order", &["everything"]),
        ("orders.created", &["everything"]),
        ("order.line.added", &["everything", "prefix", "several"]),
        ("user", &["everything", "several"]),
    ];
    let mut total = 0;
    for (kind, expected) in cases {
        let id = daemon.send(kind, "1");
        total += expected.len();
        let seen = receiver.wait(total);
        let mut got: Vec<_> = seen
            .iter()
            .filter(|seen| seen.id() == id)
            .map(|seen| seen.path.trim_start_matches('/').to_owned())
            .collect();
        got.sort();
        assert_eq!(got, expected, "{kind}");
        let shown = daemon.tcp.get(&format!("/v1/events/{id}")).expect(200);
        let shown = shown["deliveries"].as_array().unwrap();
        let mut shown: Vec<_> = shown
            .iter()
            .map(|one| one["endpoint"].as_str().unwrap())
            .collect();
        shown.sort_unstable();
        assert_eq!(shown, expected, "{kind}");
    }
    // Nobody got more than was due.
    assert_eq!(receiver.seen().len(), total);
}

#[test]
fn tenants_do_not_see_each_others_events() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let of = |id: &str, more: &str| endpoint(id, &receiver.url(&format!("/{id}")), more);
    let config = [
        of("none-named", ""),
        of("acme", "tenant = \"acme\""),
        of("other", "tenant = \"Acme\""),
    ];
    let daemon = home.start(&config.concat());
    for (number, (fields, path)) in [
        ("", "/none-named"),
        ("\"tenant\": \"default\"", "/none-named"),
        ("\"tenant\": \"acme\"", "/acme"),
        ("\"tenant\": \"Acme\"", "/other"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = daemon.send_with("a", "1", fields);
        let seen = receiver.wait(number + 1);
        assert_eq!(
            (seen[number].id(), seen[number].path.as_str()),
            (id.as_str(), path)
        );
        let shown = daemon.tcp.get(&format!("/v1/events/{id}")).expect(200);
        assert_eq!(shown["deliveries"].as_array().unwrap().len(), 1);
    }
    let nobodys = daemon.send_with("a", "1", "\"tenant\": \"nobody\"");
    let shown = daemon.tcp.get(&format!("/v1/events/{nobodys}")).expect(200);
    assert_eq!(shown["deliveries"], serde_json::json!([]));
    let listed = daemon.tcp.get("/v1/events?tenant=acme").expect(200);
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
}

#[test]
fn an_event_nobody_wants_is_kept() {
    let home = Home::new();
    let daemon = home.start("");
    let body = "{\"type\":\"a.b\",\"data\":[7],\"key\":\"k\",\"idempotency_key\":\"i\"}";
    let answer = daemon.tcp.post_json("/v1/events", body).expect(202);
    assert_eq!(answer["deliveries"], 0);
    let id = answer["id"].as_str().unwrap();
    daemon.kill();
    let daemon = home.start("");
    let shown = daemon.tcp.get(&format!("/v1/events/{id}")).expect(200);
    assert_eq!(shown["data"], serde_json::json!([7]));
    assert_eq!(shown["deliveries"], serde_json::json!([]));
    assert_eq!(shown["key"], "k");
    assert_eq!(shown["idempotency_key"], "i");
    assert_eq!(shown["accepted_at"], answer["accepted_at"]);
}

#[test]
fn static_headers_go_along() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let headers = "headers = { Authorization = \"Bearer hunter2\", X-Team = \"orders\" }";
    let daemon = home.start(&endpoint("orders", &receiver.url("/"), headers));
    daemon.send("a", "1");
    let seen = receiver.wait(1).remove(0);
    assert_eq!(seen.header("authorization"), "Bearer hunter2");
    assert_eq!(seen.header("x-team"), "orders");
    let shown = daemon.tcp.get("/v1/endpoints/orders");
    assert!(!shown.text().contains("hunter2"), "{}", shown.text());
    assert!(!daemon.log_text().contains("hunter2"));
}

#[test]
fn deliver_at_holds_the_first_attempt_back() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start(&endpoint("orders", &receiver.url("/"), ""));
    let due = SystemTime::now() + Duration::from_millis(1500);
    let due = UNIX_EPOCH + Duration::from_millis(millis(due));
    let later = daemon.send_with("a", "1", &format!("\"deliver_at\": \"{}\"", rfc3339(due)));
    let past = daemon.send_with("a", "2", "\"deliver_at\": \"2001-01-01T00:00:00+02:00\"");
    let shown = daemon.delivery(&later, "orders");
    assert_eq!(shown["status"], "pending");
    assert_eq!(shown["next_attempt_at"], rfc3339(due));
    assert_eq!(shown["attempt_count"], 0);
    let seen = receiver.wait(2);
    assert_eq!(seen[0].id(), past, "a time that has passed is now");
    assert_eq!(seen[1].id(), later);
    let early = due.duration_since(seen[1].time).unwrap_or_default();
    assert!(early < Duration::from_millis(2), "{early:?} early");
}

#[test]
fn deliver_at_outlives_a_crash() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let config = endpoint("orders", &receiver.url("/"), "");
    let daemon = home.start(&config);
    let far = daemon.send_with("a", "1", "\"deliver_at\": \"2090-01-01T00:00:00Z\"");
    let due = SystemTime::now() + Duration::from_millis(1500);
    let soon = daemon.send_with("a", "1", &format!("\"deliver_at\": \"{}\"", rfc3339(due)));
    daemon.kill();
    let daemon = home.start(&config);
    let seen = receiver.wait(1);
    assert_eq!(seen[0].id(), soon);
    let early = due.duration_since(seen[0].time).unwrap_or_default();
    assert!(early < Duration::from_millis(2), "{early:?} early");
    let shown = daemon.delivery(&far, "orders");
    assert_eq!(shown["next_attempt_at"], "2090-01-01T00:00:00.000Z");
    assert_eq!(receiver.seen().len(), 1);
}

#[test]
fn what_is_in_flight_is_bounded_per_endpoint() {
    let gate = crate::harness::Gate::new();
    let held = gate.clone();
    let receiver = Receiver::answering(move |_| Answer::status(200).behind(&held));
    let home = Home::new();
    let daemon = home.start(&endpoint("slow", &receiver.url("/"), "max_in_flight = 3"));
    let events: Vec<_> = (0..8).map(|_| daemon.send("a", "1")).collect();
    receiver.wait(3);
    // What is shown in flight comes after what the receiver saw, and never rises above.
    for _ in 0..20 {
        let in_flight = daemon.status()["backlog"]["in_flight"].as_u64().unwrap();
        assert!(in_flight <= 3, "{in_flight} in flight");
    }
    assert_eq!(receiver.seen().len(), 3);
    gate.open();
    for event in events {
        daemon.wait_status(&event, "slow", "delivered");
    }
    assert_eq!(receiver.seen().len(), 8);
}

fn millis(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// RFC 3339 with milliseconds, computed without the library under test.
pub fn rfc3339(time: SystemTime) -> String {
    let time = jiff::Timestamp::try_from(time).unwrap();
    format!("{time:.3}")
}
