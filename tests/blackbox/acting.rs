//! Acting on deliveries and endpoints: retry, cancel, enable, disable, and what the file says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::Value;

use crate::harness::http::Response;
use crate::harness::{Answer, Daemon, Gate, Home, Receiver, endpoint};

/// Retries far away, so that what happens is what was asked for.
const LATER: &str = "[retry]\nfirst = \"1h\"\nmax = \"1h\"\njitter = 0.0\n";
/// One attempt and no more.
const ONCE: &str = "[retry]\ngive_up_after = \"0s\"\n";

fn act(daemon: &Daemon, event: &str, endpoint: &str, action: &str) -> Response {
    daemon.tcp.post(&format!(
        "/v1/events/{event}/deliveries/{endpoint}/{action}"
    ))
}

#[track_caller]
fn switch(daemon: &Daemon, endpoint: &str, action: &str) {
    let answer = daemon
        .tcp
        .post(&format!("/v1/endpoints/{endpoint}/{action}"));
    assert_eq!((answer.status, answer.text().as_str()), (204, ""));
}

#[track_caller]
fn stands(delivery: &Value, status: &str, reason: Option<&str>, attempts: u64) {
    let found = (
        delivery["status"].as_str().unwrap(),
        delivery["reason"].as_str(),
        delivery["attempt_count"].as_u64().unwrap(),
    );
    assert_eq!(found, (status, reason, attempts), "{delivery:#}");
}

/// A receiver whose status can be changed.
fn changeable(status: u16) -> (Receiver, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(status));
    let now = status.clone();
    let receiver = Receiver::answering(move |_| Answer::status(now.load(Ordering::Acquire)));
    (receiver, status)
}

#[test]
fn a_dead_delivery_is_retried_with_a_fresh_budget() {
    let (receiver, status) = changeable(500);
    let home = Home::new();
    let retry = "[retry]\nschedule = [\"1ms\", \"1ms\"]\n";
    let daemon = home.start(&(retry.to_owned() + &endpoint("one", &receiver.url("/"), "")));
    let event = daemon.send("a", "1");
    stands(
        &daemon.wait_status(&event, "one", "dead"),
        "dead",
        Some("exhausted"),
        3,
    );
    // Again in vain: the whole budget again, and the earlier attempts stay.
    act(&daemon, &event, "one", "retry").expect(202);
    let delivery = daemon.wait_delivery(&event, "one", "dead again", |one| {
        one["status"] == "dead" && one["attempt_count"] != 3
    });
    stands(&delivery, "dead", Some("exhausted"), 6);
    assert_eq!(delivery["attempts"].as_array().unwrap().len(), 6);
    status.store(200, Ordering::Release);
    // The breaker is open by now; what a person asks for goes out.
    let answer = act(&daemon, &event, "one", "retry").expect(202);
    assert_eq!(
        (&answer["event"], &answer["endpoint"]),
        (&event.as_str().into(), &"one".into())
    );
    stands(
        &daemon.wait_status(&event, "one", "delivered"),
        "delivered",
        None,
        7,
    );
    let seen = receiver.seen();
    assert_eq!(seen.len(), 7);
    assert!(
        seen.iter()
            .all(|one| one.id() == event && one.body == seen[0].body)
    );
}

#[test]
fn a_delivered_one_is_delivered_again() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start(&endpoint("one", &receiver.url("/"), ""));
    let event = daemon.send("a", "1");
    daemon.wait_status(&event, "one", "delivered");
    let answer = act(&daemon, &event, "one", "retry").expect(202);
    assert!(["pending", "delivered"].contains(&answer["status"].as_str().unwrap()));
    let delivery = daemon.wait_delivery(&event, "one", "delivered twice", |one| {
        one["status"] == "delivered" && one["attempt_count"] == 2
    });
    assert_eq!(delivery["attempts"].as_array().unwrap().len(), 2);
    let seen = receiver.wait(2);
    assert_eq!((seen[0].id(), &seen[0].body), (seen[1].id(), &seen[1].body));
}

#[test]
fn a_pending_one_is_retried_now() {
    let (receiver, status) = changeable(500);
    let home = Home::new();
    let daemon = home.start(&(LATER.to_owned() + &endpoint("one", &receiver.url("/"), "")));
    let event = daemon.send("a", "1");
    daemon.wait_delivery(&event, "one", "tried", |one| one["attempt_count"] == 1);
    let later = daemon.send_with("a", "1", "\"deliver_at\":\"2090-01-01T00:00:00Z\"");
    status.store(200, Ordering::Release);
    for event in [&event, &later] {
        act(&daemon, event, "one", "retry").expect(202);
        daemon.wait_status(event, "one", "delivered");
    }
    assert_eq!(receiver.seen().len(), 3);
}

#[test]
fn a_held_one_is_not_retried_409() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start(&endpoint("one", &receiver.url("/"), "enabled = false"));
    let event = daemon.send("a", "1");
    act(&daemon, &event, "one", "retry").problem(409);
    stands(&daemon.delivery(&event, "one"), "held", Some("disabled"), 0);
    assert_eq!(receiver.connections(), 0);
}

#[test]
fn what_is_cancelled_is_dead_and_not_attempted() {
    let (receiver, _) = changeable(500);
    let home = Home::new();
    let config = LATER.to_owned()
        + &endpoint("one", &receiver.url("/"), "types = [\"a\"]")
        + &endpoint(
            "off",
            &receiver.url("/"),
            "enabled = false\ntypes = [\"b\"]",
        );
    let daemon = home.start(&config);
    let tried = daemon.send("a", "1");
    daemon.wait_delivery(&tried, "one", "tried", |one| one["attempt_count"] == 1);
    let later = daemon.send_with("a", "1", "\"deliver_at\":\"2090-01-01T00:00:00Z\"");
    let held = daemon.send("b", "1");
    for (event, endpoint, attempts) in [(&tried, "one", 1), (&later, "one", 0), (&held, "off", 0)] {
        let answer = act(&daemon, event, endpoint, "cancel").expect(200);
        stands(&answer, "dead", Some("cancelled"), attempts);
        assert_eq!(answer["next_attempt_at"], Value::Null);
        assert_ne!(answer["finished_at"], Value::Null);
        act(&daemon, event, endpoint, "cancel").problem(409);
    }
    daemon.kill();
    let daemon = home.start(&config);
    stands(
        &daemon.delivery(&tried, "one"),
        "dead",
        Some("cancelled"),
        1,
    );
    stands(
        &daemon.delivery(&later, "one"),
        "dead",
        Some("cancelled"),
        0,
    );
    assert_eq!(daemon.status()["backlog"]["dead"], 3);
    assert_eq!(daemon.status()["backlog"]["pending"], 0);
    assert_eq!(receiver.seen().len(), 1);
    // Cancelled is dead, and what is dead can be tried again.
    act(&daemon, &later, "one", "retry").expect(202);
    assert_eq!(receiver.wait(2)[1].id(), later);
}

#[test]
fn what_is_delivered_is_not_cancelled_409() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start(&endpoint("one", &receiver.url("/"), ""));
    let event = daemon.send("a", "1");
    daemon.wait_status(&event, "one", "delivered");
    act(&daemon, &event, "one", "cancel").problem(409);
    stands(&daemon.delivery(&event, "one"), "delivered", None, 1);
}

#[test]
fn cancelled_in_flight_the_attempt_still_tells_how_it_ended() {
    let gate = Gate::new();
    let held = gate.clone();
    let receiver = Receiver::answering(move |seen| {
        let status = if seen.path == "/ok" { 200 } else { 500 };
        Answer::status(status).behind(&held)
    });
    let home = Home::new();
    let of = |id: &str| endpoint(id, &receiver.url(&format!("/{id}")), "");
    let daemon = home.start(&(of("ok") + &of("bad")));
    let event = daemon.send("a", "1");
    receiver.wait(2);
    for endpoint in ["ok", "bad"] {
        let answer = act(&daemon, &event, endpoint, "cancel").expect(200);
        stands(&answer, "dead", Some("cancelled"), 0);
    }
    gate.open();
    // The receiver has it, so it is delivered; the failure is listed, and not tried again.
    stands(
        &daemon.wait_status(&event, "ok", "delivered"),
        "delivered",
        None,
        1,
    );
    let tried = |one: &Value| one["attempt_count"] == 1;
    let delivery = daemon.wait_delivery(&event, "bad", "tried", tried);
    stands(&delivery, "dead", Some("cancelled"), 1);
    assert_eq!(delivery["attempts"][0]["status"], 500);
    let other = daemon.send("a", "2");
    daemon.wait_status(&other, "ok", "delivered");
    let again = receiver
        .seen()
        .into_iter()
        .filter(|seen| seen.id() == event);
    assert_eq!(again.count(), 2);
}

#[test]
fn a_disabled_endpoint_holds_and_stays_so_until_it_is_enabled() {
    let gate = Gate::new();
    let held = gate.clone();
    let receiver = Receiver::answering(move |_| Answer::status(200).behind(&held));
    let home = Home::new();
    let config = endpoint("one", &receiver.url("/"), "max_in_flight = 1");
    let daemon = home.start(&config);
    let in_flight = daemon.send("a", "1");
    receiver.wait(1);
    let waiting = daemon.send("a", "2");
    switch(&daemon, "one", "disable");
    switch(&daemon, "one", "disable");
    let shown = daemon.endpoint("one");
    assert_eq!(
        (&shown["enabled"], &shown["disabled_reason"]),
        (&false.into(), &"manual".into())
    );
    stands(
        &daemon.delivery(&waiting, "one"),
        "held",
        Some("disabled"),
        0,
    );
    // What is in flight finishes.
    gate.open();
    daemon.wait_status(&in_flight, "one", "delivered");
    assert!(daemon.stop().success());

    let daemon = home.start(&config);
    let later = daemon.send("a", "3");
    daemon.kill();
    let daemon = home.start(&config);
    assert_eq!(daemon.endpoint("one")["disabled_reason"], "manual");
    for event in [&waiting, &later] {
        stands(&daemon.delivery(event, "one"), "held", Some("disabled"), 0);
    }
    assert_eq!(receiver.seen().len(), 1);
    switch(&daemon, "one", "enable");
    switch(&daemon, "one", "enable");
    for event in [&waiting, &later] {
        daemon.wait_status(event, "one", "delivered");
    }
    assert_eq!(receiver.seen().len(), 3);
    daemon.kill();
    let daemon = home.start(&config);
    assert_eq!(daemon.endpoint("one")["enabled"], true);
}

#[test]
fn a_disabled_endpoint_costs_the_others_nothing() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let of = |id: &str| endpoint(id, &receiver.url(&format!("/{id}")), "");
    let daemon = home.start(&(of("off") + &of("on")));
    switch(&daemon, "off", "disable");
    for _ in 0..20 {
        let event = daemon.send("a", "1");
        daemon.wait_status(&event, "on", "delivered");
        stands(&daemon.delivery(&event, "off"), "held", Some("disabled"), 0);
    }
    assert!(receiver.seen().iter().all(|seen| seen.path == "/on"));
}

#[test]
fn an_endpoint_that_is_gone_from_the_file_keeps_its_deliveries() {
    let (receiver, status) = changeable(500);
    let home = Home::new();
    let one = endpoint("one", &receiver.url("/"), "");
    let daemon = home.start(&(LATER.to_owned() + &one));
    let event = daemon.send("a", "1");
    daemon.wait_delivery(&event, "one", "tried", |one| one["attempt_count"] == 1);
    assert!(daemon.stop().success());

    let daemon = home.start("");
    stands(
        &daemon.delivery(&event, "one"),
        "held",
        Some("endpoint_missing"),
        1,
    );
    assert_eq!(daemon.status()["backlog"]["held"], 1);
    act(&daemon, &event, "one", "retry").problem(409);
    let unwanted = daemon.send("a", "2");
    let shown = daemon
        .tcp
        .get(&format!("/v1/events/{unwanted}"))
        .expect(200);
    assert_eq!(shown["deliveries"], serde_json::json!([]));
    daemon.kill();

    status.store(200, Ordering::Release);
    let daemon = home.start(&one);
    stands(
        &daemon.wait_status(&event, "one", "delivered"),
        "delivered",
        None,
        2,
    );
    // Matched once, at acceptance.
    let seen = receiver.wait(2);
    assert!(seen.iter().all(|seen| seen.id() == event));
}

#[test]
fn enabled_false_in_the_file_wins() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let on = endpoint("one", &receiver.url("/"), "");
    let off = endpoint("one", &receiver.url("/"), "enabled = false");
    let daemon = home.start(&off);
    let shown = daemon.endpoint("one");
    assert_eq!(
        (&shown["enabled"], &shown["disabled_reason"]),
        (&false.into(), &"manual".into())
    );
    let event = daemon.send("a", "1");
    daemon.tcp.post("/v1/endpoints/one/enable").problem(409);
    assert!(daemon.stop().success());
    // Taken out of the file again it delivers.
    let daemon = home.start(&on);
    daemon.wait_status(&event, "one", "delivered");
    assert!(daemon.stop().success());
    // Disabled through the API, it stays so when the file lets it.
    let daemon = home.start(&off);
    switch(&daemon, "one", "disable");
    let event = daemon.send("a", "2");
    assert!(daemon.stop().success());
    let daemon = home.start(&on);
    assert_eq!(daemon.endpoint("one")["enabled"], false);
    stands(&daemon.delivery(&event, "one"), "held", Some("disabled"), 0);
    switch(&daemon, "one", "enable");
    daemon.wait_status(&event, "one", "delivered");
}

#[test]
fn url_secret_and_policy_are_those_of_the_attempt() {
    let (old, _) = changeable(500);
    let new = Receiver::ok();
    let home = Home::new();
    let secrets = [
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ];
    let secrets = secrets.map(|key| format!("whsec_{key}"));
    let with = |secret: &str| format!("secret = \"{secret}\"");
    let daemon =
        home.start(&(LATER.to_owned() + &endpoint("one", &old.url("/"), &with(&secrets[0]))));
    let event = daemon.send("a", "{\"n\":   1}");
    daemon.wait_delivery(&event, "one", "tried", |one| one["attempt_count"] == 1);
    assert!(daemon.stop().success());
    let daemon = home.start(&endpoint("one", &new.url("/new"), &with(&secrets[1])));
    act(&daemon, &event, "one", "retry").expect(202);
    daemon.wait_status(&event, "one", "delivered");
    let (first, second) = (old.wait(1).remove(0), new.wait(1).remove(0));
    assert_eq!((first.id(), &first.body), (second.id(), &second.body));
    crate::signing::assert_signed(&first, &[&secrets[0]]);
    crate::signing::assert_signed(&second, &[&secrets[1]]);
}

#[test]
fn an_attempt_of_one_dead_and_done() {
    let (receiver, _) = changeable(500);
    let home = Home::new();
    let daemon = home.start(&(ONCE.to_owned() + &endpoint("one", &receiver.url("/"), "")));
    let event = daemon.send("a", "1");
    stands(
        &daemon.wait_status(&event, "one", "dead"),
        "dead",
        Some("exhausted"),
        1,
    );
    assert_eq!(receiver.seen().len(), 1);
}
