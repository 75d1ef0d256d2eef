//! What one customer's endpoint costs the others when it takes nothing: no refusals. What
//! it has waiting is held, within limits of its own.

use serde_json::{Value, json};

use crate::harness::{Answer, Daemon, Gate, Home, Receiver, endpoint, wait_for};

/// A body of about `kib` KiB, which begins with a number.
fn body(n: usize, kib: usize) -> String {
    format!("\"{n} {}\"", "x".repeat(kib * 1024))
}

/// The number that such a body begins with.
fn number(body: &[u8]) -> usize {
    let body: Value = serde_json::from_slice(body).unwrap();
    let text = body["data"].as_str().unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

fn metric(daemon: &Daemon, name: &str) -> f64 {
    let text = daemon.tcp.get("/metrics").text();
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.rsplit(' ').next());
    value.expect("the metric").parse().unwrap()
}

/// The reasons of deaths that a receiver was told of.
fn deaths(receiver: &Receiver) -> Vec<Value> {
    let seen = receiver.seen();
    let told = seen.iter().filter(|seen| seen.path == "/watch");
    told.map(|seen| serde_json::from_slice::<Value>(&seen.body).unwrap())
        .filter(|event| event["type"] == "outboxd.delivery.dead")
        .map(|event| event["data"].clone())
        .collect()
}

#[test]
fn a_disabled_endpoint_never_makes_the_daemon_refuse_events() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let config = "[outbox]\nmax_size = \"32KiB\"\nendpoint_share = 0.5\n".to_owned()
        + &endpoint(
            "off",
            &receiver.url("/off"),
            "types = [\"off\"]\nenabled = false",
        )
        + &endpoint("ok", &receiver.url("/ok"), "types = [\"ok\"]");
    let daemon = home.start(&config);
    for n in 0..60 {
        daemon.send("off", &body(n, 4));
    }
    let status = daemon.status();
    assert_eq!(status["backlog"]["held"], 60);
    let ok = daemon.send("ok", &body(0, 4));
    daemon.wait_status(&ok, "ok", "delivered");
}

#[test]
fn a_drowning_endpoint_is_held_back_released_in_order_and_costs_the_others_nothing() {
    let gate = Gate::new();
    let held = gate.clone();
    let receiver = Receiver::answering(move |seen| match seen.path.as_str() {
        "/slow" => Answer::status(200).behind(&held),
        _ => Answer::status(200),
    });
    let home = Home::new();
    let config = "[outbox]\nmax_size = \"64KiB\"\nendpoint_share = 0.25\n".to_owned()
        + &endpoint(
            "slow",
            &receiver.url("/slow"),
            "types = [\"slow\"]\nordering = \"strict\"",
        )
        + &endpoint("ok", &receiver.url("/ok"), "types = [\"ok\"]");
    let daemon = home.start(&config);
    let ids: Vec<String> = (0..60).map(|n| daemon.send("slow", &body(n, 2))).collect();
    let last = daemon.delivery(&ids[59], "slow");
    assert_eq!(
        (&last["status"], &last["reason"]),
        (&json!("held"), &json!("backlog"))
    );
    assert_eq!(daemon.delivery(&ids[0], "slow")["status"], "pending");
    let backlog = &daemon.status()["backlog"];
    let pending = backlog["pending"].as_u64().unwrap();
    assert!((5..=8).contains(&pending), "{backlog}");
    assert_eq!(backlog["held"], 60 - pending);
    // Held: retried by nobody, cancelled by whoever wants to.
    let one = format!("/v1/events/{}/deliveries/slow", ids[58]);
    daemon.tcp.post(&format!("{one}/retry")).problem(409);
    assert_eq!(daemon.tcp.post(&format!("{one}/cancel")).status, 200);
    // There is room for the others all the time.
    for n in 0..20 {
        let ok = daemon.send("ok", &body(n, 2));
        daemon.wait_status(&ok, "ok", "delivered");
    }
    // It outlives a restart, and goes out in order when the endpoint takes it.
    daemon.kill();
    let daemon = home.start(&config);
    assert_eq!(daemon.delivery(&ids[59], "slow")["reason"], "backlog");
    gate.open();
    daemon.wait_status(&ids[59], "slow", "delivered");
    let seen = receiver.seen();
    let mut arrived: Vec<usize> = seen
        .iter()
        .filter(|seen| seen.path == "/slow")
        .map(|seen| number(&seen.body))
        .collect();
    // What was in flight when it was killed is sent again.
    arrived.dedup();
    let expected: Vec<usize> = (0..60).filter(|n| *n != 58).collect();
    assert_eq!(arrived, expected);
}

#[test]
fn what_is_held_for_too_long_is_dead_and_told() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let config = "[retention]\nheld = \"1s\"\n".to_owned()
        + &endpoint(
            "off",
            &receiver.url("/off"),
            "types = [\"off\"]\nenabled = false",
        )
        + &endpoint("watch", &receiver.url("/watch"), "types = [\"outboxd.*\"]");
    let daemon = home.start(&config);
    let id = daemon.send("off", "1");
    let dead = daemon.wait_status(&id, "off", "dead");
    assert_eq!(dead["reason"], "held_too_long");
    let told = wait_for(
        || deaths(&receiver).into_iter().next(),
        || "nobody was told".into(),
    );
    assert_eq!(
        told,
        json!({"event": id, "type": "off", "endpoint": "off", "reason": "held_too_long", "attempt_count": 0})
    );
    // The log may come later than the report.
    daemon.wait_log("held for longer than retention.held");
    assert_eq!(daemon.log_text().matches("held_too_long").count(), 1);
}

#[test]
fn held_ones_make_room_oldest_first_counted_and_told() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let config = "[retention]\nmax_size = \"64KiB\"\n".to_owned()
        + &endpoint(
            "off",
            &receiver.url("/off"),
            "types = [\"off\"]\nenabled = false",
        )
        + &endpoint("watch", &receiver.url("/watch"), "types = [\"outboxd.*\"]")
        + &endpoint("ok", &receiver.url("/ok"), "types = [\"ok\"]");
    let daemon = home.start(&config);
    let ids: Vec<String> = (0..40).map(|n| daemon.send("off", &body(n, 4))).collect();
    let name = "outboxd_held_dropped_total";
    wait_for(
        || (metric(&daemon, name) >= 20.0).then_some(()),
        || format!("too few made room: {}", metric(&daemon, name)),
    );
    let told = wait_for(
        || Some(deaths(&receiver)).filter(|told| told.len() as f64 >= metric(&daemon, name)),
        || format!("told of {}", deaths(&receiver).len()),
    );
    assert!(told.iter().all(|death| death["reason"] == "space"));
    // The oldest go first. What is told goes out side by side.
    let mut events: Vec<&str> = told
        .iter()
        .filter_map(|death| death["event"].as_str())
        .collect();
    events.sort_unstable();
    assert_eq!(events, ids[..events.len()]);
    // The newest stay, and nobody else is refused.
    assert_eq!(daemon.delivery(&ids[39], "off")["status"], "held");
    let ok = daemon.send("ok", &body(0, 4));
    daemon.wait_status(&ok, "ok", "delivered");
    let lines = daemon.log_text().matches("retention.max_size").count();
    assert!((1..10).contains(&lines), "{lines} lines");
}
