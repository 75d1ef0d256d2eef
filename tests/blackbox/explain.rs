//! Why an event did or did not reach an endpoint: an answer for every state there is.

use serde_json::{Value, json};

use crate::endpoint_api::{delete, id_of, made, patch};
use crate::harness::{Answer, Daemon, Gate, Home, Receiver, endpoint, next_millisecond, wait_for};

/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:1/";
const LATER: &str = "[retry]\nfirst = \"1h\"\nmax = \"1h\"\njitter = 0.0\n";

fn explained(daemon: &Daemon, event: &str, endpoint: &str) -> Value {
    let path = format!("/v1/events/{event}/deliveries/{endpoint}/explain");
    daemon.tcp.get(&path).expect(200)
}

/// Asserts the answer, and that its sentence holds these parts.
#[track_caller]
fn says(daemon: &Daemon, event: &str, endpoint: &str, answer: &str, parts: &[&str]) -> Value {
    let found = explained(daemon, event, endpoint);
    assert_eq!(found["answer"], answer, "{found:#}");
    let detail = found["detail"].as_str().unwrap();
    for part in parts {
        assert!(detail.contains(part), "{part}: {detail}");
    }
    found
}

/// The same, once it is so.
#[track_caller]
fn comes_to_say(
    daemon: &Daemon,
    event: &str,
    endpoint: &str,
    answer: &str,
    parts: &[&str],
) -> Value {
    let so = || (explained(daemon, event, endpoint)["answer"] == answer).then_some(());
    wait_for(so, || {
        format!(
            "{answer} never comes: {:#}",
            explained(daemon, event, endpoint)
        )
    });
    says(daemon, event, endpoint, answer, parts)
}

#[test]
fn what_does_not_go_there() {
    let home = Home::new();
    let config = endpoint(
        "orders",
        NOWHERE,
        "types = [\"order.*\", \"refund\"]\nenabled = false",
    ) + &endpoint("acme", NOWHERE, "tenant = \"acme\"\nenabled = false")
        + &endpoint("all", NOWHERE, "enabled = false");
    let daemon = home.start(&config);
    let event = daemon.send("invoice.paid", "1");
    let found = says(
        &daemon,
        &event,
        "orders",
        "not_subscribed",
        &["invoice.paid", "order.*, refund"],
    );
    assert_eq!(
        (&found["matched"], &found["delivery"], &found["next_at"]),
        (&false.into(), &Value::Null, &Value::Null)
    );
    assert_eq!(found["policy"]["types"], json!(["order.*", "refund"]));
    says(
        &daemon,
        &event,
        "acme",
        "other_tenant",
        &["tenant default", "tenant acme"],
    );
    let newer = id_of(&made(&daemon, json!({"url": NOWHERE})));
    says(
        &daemon,
        &event,
        &newer,
        "endpoint_newer",
        &["accepted at", "matched once"],
    );
    // It wants the type now, and did not then.
    let changed = id_of(&made(&daemon, json!({"url": NOWHERE, "types": ["x"]})));
    next_millisecond();
    let event = daemon.send("y", "1");
    says(
        &daemon,
        &event,
        &changed,
        "not_subscribed",
        &["the endpoint wants x"],
    );
    patch(&daemon.tcp, &changed, &json!({"types": ["y"]})).expect(200);
    says(
        &daemon,
        &event,
        &changed,
        "not_matched_then",
        &["wanted other types"],
    );
    // The daemon's own types are wanted by name only.
    assert_eq!(daemon.tcp.post("/v1/endpoints/orders/test").status, 204);
    let list = daemon.tcp.get("/v1/events?type=outboxd.test").expect(200);
    let test = id_of(&list["data"][0]);
    says(&daemon, &test, "all", "not_subscribed", &["test event"]);
    let disable = format!("/v1/endpoints/{changed}/disable");
    assert_eq!(daemon.tcp.post(&disable).status, 204);
    let list = daemon
        .tcp
        .get("/v1/events?type=outboxd.endpoint.disabled")
        .expect(200);
    let report = id_of(&list["data"][0]);
    says(
        &daemon,
        &report,
        "all",
        "not_subscribed",
        &["begin with outboxd."],
    );
}

#[test]
fn what_is_not_there_is_404() {
    let home = Home::new();
    let daemon = home.start(&endpoint("one", NOWHERE, "enabled = false"));
    let event = daemon.send("a", "1");
    for (event, endpoint) in [
        (event.as_str(), "none"),
        ("evt_01ARZ3NDEKTSV4RRFFQ69G5FAV", "one"),
        ("nonsense", "one"),
    ] {
        let path = format!("/v1/events/{event}/deliveries/{endpoint}/explain");
        daemon.tcp.get(&path).problem(404);
    }
    let path = format!("/v1/events/{event}/deliveries/one/explain");
    daemon.tcp.get(&format!("{path}?x=1")).problem(400);
    daemon.tcp.post(&path).problem(405);
}

#[test]
fn what_is_held() {
    let receiver = Receiver::statuses(&[410]);
    let home = Home::new();
    let config = endpoint("off", NOWHERE, "enabled = false")
        + &endpoint("gone", &receiver.url("/"), "types = [\"a\"]")
        + &endpoint("plain", NOWHERE, "types = [\"b\"]");
    let daemon = home.start(&config);
    let first = daemon.send("a", "1");
    let found = says(
        &daemon,
        &first,
        "off",
        "held",
        &["enabled = false in the configuration file"],
    );
    assert_eq!(found["delivery"]["reason"], "disabled");
    daemon.wait_status(&first, "gone", "dead");
    says(
        &daemon,
        &first,
        "gone",
        "dead",
        &["answered 410", "attempt 1"],
    );
    let second = daemon.send("a", "2");
    says(
        &daemon,
        &second,
        "gone",
        "held",
        &["it answered 410", " since 20"],
    );
    let by_hand = id_of(&made(&daemon, json!({"url": NOWHERE, "enabled": false})));
    let third = daemon.send("a", "3");
    says(
        &daemon,
        &third,
        &by_hand,
        "held",
        &["by hand", "enabling it releases"],
    );
    let later = daemon.send_with("b", "1", "\"deliver_at\": \"2090-01-01T00:00:00Z\"");
    assert!(daemon.stop().success());
    let daemon = home.start("");
    let missing = ["gone from the configuration file"];
    says(&daemon, &later, "plain", "held", &missing);
    says(&daemon, &second, "gone", "held", &missing);
    delete(&daemon.tcp, &by_hand);
    says(
        &daemon,
        &third,
        &by_hand,
        "dead",
        &["the endpoint was deleted", "no attempt"],
    );
}

#[test]
fn what_is_beyond_the_endpoints_share() {
    let receiver = Receiver::statuses(&[500]);
    let home = Home::new();
    let outbox = "[outbox]\nsegment_size = \"4MiB\"\ncache_size = \"4MiB\"\nmax_size = \"64KiB\"\nendpoint_share = 0.25\n";
    let config = LATER.to_owned() + outbox + &endpoint("one", &receiver.url("/"), "");
    let daemon = home.start(&config);
    let body = format!("\"{}\"", "x".repeat(10_000));
    daemon.send("a", &body);
    daemon.send("a", &body);
    let beyond = daemon.send("a", &body);
    let found = says(&daemon, &beyond, "one", "held", &["outbox.endpoint_share"]);
    assert_eq!(found["delivery"]["reason"], "backlog");
}

#[test]
fn what_waits_for_its_time() {
    let receiver = Receiver::statuses(&[500]);
    let home = Home::new();
    let daemon = home.start(&(LATER.to_owned() + &endpoint("one", &receiver.url("/"), "")));
    let later = daemon.send_with("a", "1", "\"deliver_at\": \"2090-01-01T00:00:00Z\"");
    let found = says(
        &daemon,
        &later,
        "one",
        "waiting",
        &["2090-01-01T00:00:00.000Z"],
    );
    assert_eq!(found["next_at"], "2090-01-01T00:00:00.000Z");
    let failed = daemon.send("a", "1");
    daemon.wait_delivery(&failed, "one", "tried", |one| one["attempt_count"] == 1);
    let found = comes_to_say(
        &daemon,
        &failed,
        "one",
        "waiting",
        &["due time", "attempt 1", "status: answered 500"],
    );
    assert_eq!(found["next_at"], found["delivery"]["next_attempt_at"]);
}

#[test]
fn what_waits_behind_the_breaker() {
    let receiver = Receiver::statuses(&[500]);
    let home = Home::new();
    let daemon = home.start(&(LATER.to_owned() + &endpoint("one", &receiver.url("/"), "")));
    for _ in 0..5 {
        let event = daemon.send("a", "1");
        daemon.wait_delivery(&event, "one", "tried", |one| one["attempt_count"] == 1);
    }
    let waiting = daemon.send("a", "1");
    let found = comes_to_say(
        &daemon,
        &waiting,
        "one",
        "breaker_open",
        &["in a row", "the next is tried at 20"],
    );
    assert_eq!(found["lane"]["breaker_open"], true);
    assert_eq!(found["next_at"], found["lane"]["probe_at"]);
    assert_eq!(found["delivery"]["attempt_count"], 0);
    assert_eq!(receiver.seen().len(), 5);
}

#[test]
fn what_waits_behind_an_ordered_head() {
    let receiver = Receiver::statuses(&[500]);
    let home = Home::new();
    let config = LATER.to_owned()
        + &endpoint("strict", &receiver.url("/"), "ordering = \"strict\"")
        + &endpoint("key", &receiver.url("/"), "ordering = \"key\"");
    let daemon = home.start(&config);
    let head = daemon.send_with("a", "1", "\"key\": \"k\"");
    let next = daemon.send_with("a", "2", "\"key\": \"k\"");
    let other = daemon.send_with("a", "3", "\"key\": \"other\"");
    for endpoint in ["strict", "key"] {
        daemon.wait_delivery(&head, endpoint, "tried", |one| one["attempt_count"] == 1);
        comes_to_say(&daemon, &head, endpoint, "waiting", &["due time"]);
        let found = comes_to_say(
            &daemon,
            &next,
            endpoint,
            "behind",
            &[&head, "in order", "attempt 1", "500"],
        );
        assert_eq!(found["behind"], head.as_str());
        assert_eq!(found["next_at"], Value::Null);
    }
    comes_to_say(&daemon, &other, "strict", "behind", &[&head]);
    // Another key does not wait.
    daemon.wait_delivery(&other, "key", "tried", |one| one["attempt_count"] == 1);
    let found = comes_to_say(&daemon, &other, "key", "waiting", &["due time"]);
    assert_eq!(found["behind"], Value::Null);
}

#[test]
fn what_waits_for_a_pause_to_end() {
    let receiver = Receiver::answering(|_| Answer::reply(429, &[("retry-after", "600")], ""));
    let home = Home::new();
    let daemon = home.start(&endpoint("one", &receiver.url("/"), ""));
    let first = daemon.send("a", "1");
    daemon.wait_delivery(&first, "one", "tried", |one| one["attempt_count"] == 1);
    let second = daemon.send("a", "2");
    let found = comes_to_say(&daemon, &second, "one", "paused", &["Retry-After"]);
    assert_eq!(found["next_at"], found["lane"]["paused_until"]);
    assert_eq!(receiver.seen().len(), 1);
}

#[test]
fn what_waits_for_the_rate_limit() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start(&endpoint("one", &receiver.url("/"), "rate_limit = \"1/m\""));
    let first = daemon.send("a", "1");
    daemon.wait_status(&first, "one", "delivered");
    let second = daemon.send("a", "2");
    let found = comes_to_say(
        &daemon,
        &second,
        "one",
        "rate_limited",
        &["rate limit lets"],
    );
    assert_eq!(found["next_at"], found["lane"]["rate_limited_until"]);
    assert_eq!(found["policy"]["rate_limit"], "1/m");
}

#[test]
fn what_is_in_flight_and_what_waits_for_a_slot() {
    let gate = Gate::new();
    let held = gate.clone();
    let receiver = Receiver::answering(move |_| Answer::status(200).behind(&held));
    let home = Home::new();
    let daemon = home.start(&endpoint("one", &receiver.url("/"), "max_in_flight = 1"));
    let first = daemon.send("a", "1");
    receiver.wait(1);
    let second = daemon.send("a", "2");
    comes_to_say(
        &daemon,
        &first,
        "one",
        "in_flight",
        &["attempt 1 is under way"],
    );
    comes_to_say(&daemon, &second, "one", "queued", &["1 in flight", "of 1"]);
    gate.open();
    for event in [&first, &second] {
        daemon.wait_status(event, "one", "delivered");
        let found = says(
            &daemon,
            event,
            "one",
            "delivered",
            &["by attempt 1", "answered with 200"],
        );
        let at = found["delivery"]["finished_at"].as_str().unwrap();
        assert!(found["detail"].as_str().unwrap().contains(at), "{found:#}");
    }
}

#[test]
fn a_blocked_address_is_named() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let delivery = "[delivery]\nallow_networks = []\n";
    let config = LATER.to_owned() + delivery + &endpoint("one", &receiver.url("/"), "");
    let daemon = home.start(&config);
    let event = daemon.send("a", "1");
    daemon.wait_delivery(&event, "one", "tried", |one| one["attempt_count"] == 1);
    let found = comes_to_say(
        &daemon,
        &event,
        "one",
        "waiting",
        &["blocked: ", "127.0.0.1"],
    );
    assert_eq!(found["delivery"]["attempts"][0]["error"]["kind"], "blocked");
    assert_eq!(receiver.connections(), 0);
}

#[test]
fn what_is_dead_and_why() {
    let receiver = Receiver::statuses(&[503]);
    let home = Home::new();
    let config = "[retry]\nschedule = [\"1ms\"]\n".to_owned()
        + &endpoint("one", &receiver.url("/"), "")
        + &endpoint("off", &receiver.url("/"), "enabled = false");
    let daemon = home.start(&config);
    let event = daemon.send("a", "1");
    daemon.wait_status(&event, "one", "dead");
    let found = says(
        &daemon,
        &event,
        "one",
        "dead",
        &["retry budget is used up", "attempt 2", "answered 503"],
    );
    assert_eq!(found["matched"], true);
    let cancel = format!("/v1/events/{event}/deliveries/off/cancel");
    daemon.tcp.post(&cancel).expect(200);
    says(&daemon, &event, "off", "dead", &["cancelled", "no attempt"]);
}
