//! The daemon's own events: what happens to endpoints and deliveries is told in the
//! tenant's stream, and never causes more of the same.

use serde_json::Value;

use crate::harness::{Answer, Daemon, Home, Receiver, Seen, endpoint};

const RETRY: &str = "[retry]\nschedule = [\"10ms\"]\njitter = 0.0\n";

/// The types and data that came to a path.
fn told(seen: &[Seen], path: &str) -> Vec<(String, Value)> {
    let here = seen.iter().filter(|seen| seen.path == path);
    here.map(|seen| {
        let body: Value = serde_json::from_slice(&seen.body).unwrap();
        (
            body["type"].as_str().unwrap().to_owned(),
            body["data"].clone(),
        )
    })
    .collect()
}

/// How many events of a type there are.
fn kept(daemon: &Daemon, kind: &str) -> usize {
    let list = daemon
        .unix
        .get(&format!("/v1/events?type={kind}"))
        .expect(200);
    list["data"].as_array().unwrap().len()
}

fn switch(daemon: &Daemon, path: &str) {
    assert_eq!(daemon.unix.post(path).status, 204);
}

#[test]
fn an_endpoint_that_goes_and_comes_back_and_what_died_are_told() {
    let receiver = Receiver::answering(|seen| match seen.path.as_str() {
        "/gone" => Answer::status(410),
        "/sick" => Answer::status(500),
        _ => Answer::status(200),
    });
    let of = |id: &str, more: &str| endpoint(id, &receiver.url(&format!("/{id}")), more);
    let home = Home::new();
    let daemon = home.start(
        &[
            RETRY,
            &of("gone", "types = [\"order.*\"]"),
            &of("sick", "types = [\"bill.*\"]"),
            &of("watch", "types = [\"outboxd.*\"]"),
            &of("all", "types = [\"*\"]"),
            &of(
                "stranger",
                "types = [\"outboxd.*\", \"*\"]\ntenant = \"other\"",
            ),
        ]
        .concat(),
    );
    let order = daemon.send("order.created", "1");
    daemon.wait_status(&order, "gone", "dead");
    let bill = daemon.send("bill.due", "1");
    daemon.wait_status(&bill, "sick", "dead");
    switch(&daemon, "/v1/endpoints/gone/enable");
    switch(&daemon, "/v1/endpoints/gone/disable");
    let seen = receiver.wait_until("five reports", |seen| told(seen, "/watch").len() >= 5);
    let mut told_of = told(&seen, "/watch");
    told_of.sort_by(|a, b| (&a.0, a.1.to_string()).cmp(&(&b.0, b.1.to_string())));
    let dead = |event: &str, kind: &str, at: &str, reason: &str, count: u32| {
        let data = serde_json::json!({"event": event, "type": kind, "endpoint": at,
            "reason": reason, "attempt_count": count});
        ("outboxd.delivery.dead".to_owned(), data)
    };
    let switched = |what: &str, data: Value| (format!("outboxd.endpoint.{what}"), data);
    let mut expected = vec![
        dead(&order, "order.created", "gone", "gone", 1),
        dead(&bill, "bill.due", "sick", "exhausted", 2),
        switched(
            "disabled",
            serde_json::json!({"endpoint": "gone", "reason": "gone"}),
        ),
        switched(
            "disabled",
            serde_json::json!({"endpoint": "gone", "reason": "manual"}),
        ),
        switched("enabled", serde_json::json!({"endpoint": "gone"})),
    ];
    expected.sort_by(|a, b| (&a.0, a.1.to_string()).cmp(&(&b.0, b.1.to_string())));
    assert_eq!(told_of, expected);
    // `*` does not match them, and no other tenant hears of it.
    for (kind, _) in told(&receiver.seen(), "/all") {
        assert!(!kind.starts_with("outboxd."), "{kind}");
    }
    assert!(told(&receiver.seen(), "/stranger").is_empty());
    // Nothing changes: nothing is told.
    switch(&daemon, "/v1/endpoints/gone/disable");
    assert_eq!(kept(&daemon, "outboxd.endpoint.disabled"), 2);
}

#[test]
fn reports_never_cause_reports() {
    // Whoever watches answers 410 to a report, or fails until it is dead.
    let receiver = Receiver::answering(|seen| match seen.path.as_str() {
        "/well" => Answer::status(200),
        "/leaves" => Answer::status(410),
        _ => Answer::status(500),
    });
    let of = |id: &str, more: &str| endpoint(id, &receiver.url(&format!("/{id}")), more);
    let home = Home::new();
    let watching = "types = [\"outboxd.*\"]";
    let daemon = home.start(
        &[
            RETRY,
            &of("sick", "types = [\"bill.*\"]"),
            &of("fails", watching),
            &of("leaves", watching),
            &of("well", watching),
        ]
        .concat(),
    );
    let bill = daemon.send("bill.due", "1");
    daemon.wait_status(&bill, "sick", "dead");
    receiver.wait_until("the report", |seen| !told(seen, "/well").is_empty());
    let list = daemon
        .unix
        .get("/v1/events?type=outboxd.delivery.dead")
        .expect(200);
    let report = list["data"][0]["id"].as_str().unwrap();
    daemon.wait_status(report, "fails", "dead");
    daemon.wait_status(report, "leaves", "dead");
    assert_eq!(daemon.endpoint("leaves")["disabled_reason"], "gone");
    // Whatever followed would stand in the frames of what it told of: it is there by now.
    assert_eq!(kept(&daemon, "outboxd.delivery.dead"), 1);
    assert_eq!(kept(&daemon, "outboxd.endpoint.disabled"), 0);
    // A change that somebody makes is told again.
    switch(&daemon, "/v1/endpoints/leaves/enable");
    assert_eq!(kept(&daemon, "outboxd.endpoint.enabled"), 1);
}

#[test]
fn a_report_is_kept_though_nobody_wants_it_and_through_a_crash() {
    let receiver = Receiver::statuses(&[410]);
    let home = Home::new();
    let config = RETRY.to_owned() + &endpoint("gone", &receiver.url("/"), "");
    let daemon = home.start(&config);
    let order = daemon.send("order.created", "1");
    daemon.wait_status(&order, "gone", "dead");
    daemon.kill();
    let daemon = home.start(&config);
    assert_eq!(daemon.endpoint("gone")["disabled_reason"], "gone");
    let list = daemon
        .unix
        .get("/v1/events?type=outboxd.endpoint.disabled")
        .expect(200);
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
    // Nobody hands such an event in.
    let body = r#"{"type":"outboxd.endpoint.disabled","data":{}}"#;
    daemon.unix.post_json("/v1/events", body).problem(400);
}

#[test]
fn switching_off_in_the_file_is_told_at_the_next_start() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let config = |enabled: bool| {
        endpoint(
            "orders",
            &receiver.url("/orders"),
            &format!("enabled = {enabled}"),
        ) + &endpoint("watch", &receiver.url("/watch"), "types = [\"outboxd.*\"]")
    };
    home.start(&config(true)).stop();
    assert!(receiver.seen().is_empty());
    home.start(&config(false)).stop();
    let daemon = home.start(&config(true));
    let seen = receiver.wait_until("both", |seen| told(seen, "/watch").len() >= 2);
    let kinds: Vec<String> = told(&seen, "/watch")
        .into_iter()
        .map(|(kind, _)| kind)
        .collect();
    assert_eq!(
        kinds,
        ["outboxd.endpoint.disabled", "outboxd.endpoint.enabled"]
    );
    drop(daemon);
}

#[test]
fn deaths_that_somebody_asked_for_are_told_to_those_who_want_to_hear() {
    let receiver = Receiver::answering(|seen| match seen.path.as_str() {
        "/watch" => Answer::status(200),
        _ => Answer::status(500),
    });
    let home = Home::new();
    let later = "[retry]\nfirst = \"1h\"\njitter = 0.0\n";
    let watch = endpoint("watch", &receiver.url("/watch"), "types = [\"outboxd.*\"]");
    let daemon = home.start(&(later.to_owned() + &watch));
    let make = |tenant: &str| {
        let body = serde_json::json!({"url": receiver.url("/sick"), "tenant": tenant});
        let made = daemon.tcp.post_json("/v1/endpoints", body.to_string());
        made.expect(201)["id"].as_str().unwrap().to_owned()
    };
    let (mine, quiet) = (make("default"), make("quiet"));
    let cancelled = daemon.send("a", "1");
    let path = format!("/v1/events/{cancelled}/deliveries/{mine}/cancel");
    daemon.tcp.post(&path).expect(200);
    let purged = daemon.send("a", "2");
    let purge = format!("/v1/endpoints/{mine}/purge");
    daemon
        .tcp
        .post_json(&purge, r#"{"status": "pending"}"#)
        .expect(202);
    let orphan = daemon.send("a", "3");
    let unheard = daemon.send_with("a", "4", "\"tenant\": \"quiet\"");
    for id in [&quiet, &mine] {
        let path = format!("/v1/endpoints/{id}");
        assert_eq!(daemon.tcp.request("DELETE", &path, &[], b"").status, 204);
    }
    let seen = receiver.wait_until("three deaths", |seen| told(seen, "/watch").len() >= 3);
    let mut deaths: Vec<(String, String)> = told(&seen, "/watch")
        .into_iter()
        .map(|(_, data)| {
            let text = |key: &str| data[key].as_str().unwrap().to_owned();
            (text("event"), text("reason"))
        })
        .collect();
    deaths.sort();
    let of = |event: &str, reason: &str| (event.to_owned(), reason.to_owned());
    let expected = [
        of(&cancelled, "cancelled"),
        of(&purged, "cancelled"),
        of(&orphan, "endpoint_deleted"),
    ];
    assert_eq!(deaths, expected);
    // Nobody in the other tenant wants to hear of it: nothing is stored.
    daemon.wait_status(&unheard, &quiet, "dead");
    let list = daemon.unix.get("/v1/events?tenant=quiet").expect(200);
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
}
