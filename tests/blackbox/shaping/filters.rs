//! Filters and channels: which events reach an endpoint. The `202` counts those that do.

use serde_json::{Value, json};

use crate::endpoint_api::{id_of, made, patch};
use crate::harness::http::Response;
use crate::harness::{Answer, Daemon, Gate, Home, Receiver, endpoint};

/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:1/";

/// Hands in an event and gives its id and how many deliveries it has.
#[track_caller]
fn handed_in(daemon: &Daemon, body: &str) -> (String, u64) {
    let answer = daemon.tcp.post_json("/v1/events", body).expect(202);
    let id = answer["id"].as_str().unwrap().to_owned();
    (id, answer["deliveries"].as_u64().unwrap())
}

#[track_caller]
fn opaque(daemon: &Daemon, path: &str, kind: &str, body: &[u8]) -> u64 {
    let answer = daemon
        .tcp
        .request("POST", path, &[("content-type", kind)], body);
    answer.expect(202)["deliveries"].as_u64().unwrap()
}

/// The filter, the data of an event, whether it matches.
const CASES: [(&str, &str, bool); 48] = [
    (r#"{}"#, "1", true),
    (
        r#"{"data": {"amount": {"$gte": 100}}}"#,
        r#"{"amount": 100}"#,
        true,
    ),
    (
        r#"{"data": {"amount": {"$gte": 100}}}"#,
        r#"{"amount": 1e2}"#,
        true,
    ),
    (
        r#"{"data": {"amount": {"$gte": 100}}}"#,
        r#"{"amount": 99.999999999999999999}"#,
        false,
    ),
    (
        r#"{"data": {"amount": {"$gte": 100}}}"#,
        r#"{"amount": "100"}"#,
        false,
    ),
    (r#"{"data": {"amount": {"$gte": 100}}}"#, r#"{}"#, false),
    (
        r#"{"data": {"amount": {"$gte": 100}}}"#,
        r#"{"amount": null}"#,
        false,
    ),
    (r#"{"data": {"amount": {"$gte": 100}}}"#, r#"[]"#, false),
    (r#"{"data": {"price": 12.50}}"#, r#"{"price": 12.5}"#, true),
    (
        r#"{"data": {"price": 0.1}}"#,
        r#"{"price": 0.10000000000000000001}"#,
        false,
    ),
    (
        r#"{"data": {"id": 9007199254740993}}"#,
        r#"{"id": 9007199254740993}"#,
        true,
    ),
    (
        r#"{"data": {"id": 9007199254740993}}"#,
        r#"{"id": 9007199254740992}"#,
        false,
    ),
    (
        r#"{"data": {"id": 9007199254740993}}"#,
        r#"{"id": 9007199254740993.0}"#,
        true,
    ),
    (
        r#"{"data": {"id": 36893488147419103233}}"#,
        r#"{"id": 36893488147419103233}"#,
        true,
    ),
    (
        r#"{"data": {"id": 36893488147419103233}}"#,
        r#"{"id": 36893488147419103232}"#,
        false,
    ),
    (
        r#"{"data": {"id": {"$gt": 1e999999999}}}"#,
        r#"{"id": 2e999999999}"#,
        true,
    ),
    (r#"{"data": {"x": null}}"#, r#"{"x": null}"#, true),
    (r#"{"data": {"x": null}}"#, r#"{}"#, false),
    (
        r#"{"data": {"x": {"$exist": true}}}"#,
        r#"{"x": null}"#,
        true,
    ),
    (r#"{"data": {"x": {"$exist": true}}}"#, r#"{}"#, false),
    (r#"{"data": {"x": {"$exist": false}}}"#, r#"{}"#, true),
    (r#"{"data": {"x": {"$neq": 1}}}"#, r#"{}"#, false),
    (r#"{"data": {"x": {"$neq": 1}}}"#, r#"{"x": 2}"#, true),
    (r#"{"data": {"x": {"$neq": 1}}}"#, r#"{"x": [2, 1]}"#, false),
    (r#"{"data": {"x": {"$nin": [1]}}}"#, r#"{}"#, false),
    (r#"{"$not": {"data": {"x": 1}}}"#, r#"{}"#, true),
    (r#"{"data.a.b": 1}"#, r#"{"a": {"b": 1}}"#, true),
    (r#"{"data.a.b": 1}"#, r#"{"a.b": 1}"#, true),
    (r#"{"data.a.b": 1}"#, r#"{"a.b": 2, "a": {"b": 1}}"#, false),
    (r#"{"data.tags": "eu"}"#, r#"{"tags": ["us", "eu"]}"#, true),
    (r#"{"data.tags": "eu"}"#, r#"{"tags": ["us"]}"#, false),
    (
        r#"{"data": {"s": {"$in": ["a", "b"]}}}"#,
        r#"{"s": "b"}"#,
        true,
    ),
    (
        r#"{"data": {"s": {"$startsWith": "ab"}}}"#,
        r#"{"s": "abc"}"#,
        true,
    ),
    (
        r#"{"data": {"s": {"$endsWith": ["x", "bc"]}}}"#,
        r#"{"s": "abc"}"#,
        true,
    ),
    (
        r#"{"$or": [{"data": {"a": 1}}, {"data": {"b": 1}}]}"#,
        r#"{"b": 1}"#,
        true,
    ),
    (
        r#"{"$or": [{"data": {"a": 1}}, {"data": {"b": 1}}]}"#,
        r#"{"b": 2}"#,
        false,
    ),
    (r#"{"data": "text"}"#, r#""text""#, true),
    (r#"{"data": "\u0074ext"}"#, r#""te\u0078t""#, true),
    (r#"{"type": {"$startsWith": "order."}}"#, "1", true),
    (r#"{"type": "order"}"#, "1", false),
    (r#"{"key": "k1"}"#, "1", true),
    (r#"{"key": "k2"}"#, "1", false),
    (r#"{"channels": "eu"}"#, "1", true),
    (r#"{"headers": {"x-region": "north"}}"#, "1", true),
    (r#"{"headers": {"x-region": "south"}}"#, "1", false),
    (r#"{"id": {"$startsWith": "evt_"}}"#, "1", true),
    (r#"{"time": {"$gt": "2020-01-01"}}"#, "1", true),
    (r#"{"source": {"$exist": false}}"#, "1", true),
];

#[test]
fn an_event_goes_where_the_filter_says() {
    let home = Home::new();
    let mut config = String::new();
    for (n, (filter, _, _)) in CASES.iter().enumerate() {
        // As JSON in a string, since TOML has no null and its numbers are small.
        let lines = format!("tenant = \"f{n}\"\nfilter = '{filter}'\nenabled = false");
        config += &endpoint(&format!("f{n}"), NOWHERE, &lines);
    }
    let daemon = home.start(&config);
    for (n, (filter, data, matches)) in CASES.iter().enumerate() {
        let definition = format!(
            r#"{{"url": "{NOWHERE}", "tenant": "f{n}", "enabled": false, "filter": {filter}}}"#
        );
        // Read as a text: one of the numbers is too large for this side.
        let made = daemon.tcp.post_json("/v1/endpoints", definition);
        assert_eq!(made.status, 201, "{}", made.text());
        let path = format!("/v1/endpoints?tenant=f{n}");
        let shown = daemon.tcp.get(&path).text();
        let written = filter
            .replace(": ", ":")
            .replace(", ", ",")
            .replace("\\u0074", "t");
        assert!(shown.contains(&written), "{filter} in {shown}");
        let body = format!(
            r#"{{"type": "order.created", "tenant": "f{n}", "key": "k1", "channels": ["eu"],
                "headers": {{"X-Region": "north"}}, "data": {data}}}"#
        );
        let (event, count) = handed_in(&daemon, &body);
        // Once by the file's endpoint and once by the API's.
        assert_eq!(count, if *matches { 2 } else { 0 }, "{filter} on {data}");
        let path = format!("/v1/events/{event}/deliveries/f{n}");
        let status = if *matches { 200 } else { 404 };
        assert_eq!(daemon.tcp.get(&path).status, status, "{filter} on {data}");
    }
    let ran = home.run(&["endpoints", "list", "--url", &daemon.url()]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn a_table_of_the_file_is_a_filter_too() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let lines = "filter = { data = { amount = { \"$gte\" = 100 }, \"customer.vip\" = true } }";
    let table = "[endpoint.filter]\n\"$or\" = [{ type = \"a\" }, { data = { n = 12.50 } }]";
    let config = endpoint("big", &receiver.url("/big"), lines)
        + &endpoint("or", &receiver.url("/or"), table);
    let daemon = home.start(&config);
    let (event, count) = handed_in(
        &daemon,
        r#"{"type": "b", "data": {"amount": 100.0, "customer": {"vip": true}}}"#,
    );
    assert_eq!(count, 1);
    daemon.wait_status(&event, "big", "delivered");
    assert_eq!(
        handed_in(&daemon, r#"{"type": "b", "data": {"amount": 100}}"#).1,
        0
    );
    assert_eq!(handed_in(&daemon, r#"{"type": "a", "data": {}}"#).1, 1);
    assert_eq!(
        handed_in(&daemon, r#"{"type": "b", "data": {"n": 12.5}}"#).1,
        1
    );
}

#[test]
fn each_event_of_a_batch_is_judged_by_itself() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let config = endpoint("all", &receiver.url("/all"), "")
        + &endpoint(
            "even",
            &receiver.url("/even"),
            "filter = '{\"data.even\": true}'",
        );
    let daemon = home.start(&config);
    let line = |n: u32| {
        format!(
            "{{\"type\": \"a\", \"data\": {{\"n\": {n}, \"even\": {}}}}}\n",
            n.is_multiple_of(2)
        )
    };
    let lines: String = (0..100).map(line).collect();
    let kind = [("content-type", "application/x-ndjson")];
    let answer = daemon
        .tcp
        .request("POST", "/v1/events", &kind, lines.as_bytes())
        .expect(202);
    for (n, event) in answer["events"].as_array().unwrap().iter().enumerate() {
        assert_eq!(
            event["deliveries"],
            if n.is_multiple_of(2) { 2 } else { 1 },
            "{n}"
        );
    }
    let seen = receiver.wait(150);
    let even = seen.iter().filter(|one| one.path == "/even");
    assert!(
        even.clone()
            .all(|one| one.text().contains("\"even\": true"))
    );
    assert_eq!(even.count(), 50);
}

#[test]
fn opaque_bodies_have_no_data() {
    let home = Home::new();
    let off = |filter: &str| format!("enabled = false\nfilter = '{filter}'");
    let config = endpoint("data", NOWHERE, &off(r#"{"data": {"n": 1}}"#))
        + &endpoint("any", NOWHERE, &off(r#"{"data": {}}"#))
        + &endpoint("not", NOWHERE, &off(r#"{"data": {"n": {"$neq": 2}}}"#))
        + &endpoint("type", NOWHERE, &off(r#"{"type": "a.b", "key": "k"}"#));
    let daemon = home.start(&config);
    for kind in [
        "text/plain",
        "application/json; charset=utf-8",
        "application/cbor",
    ] {
        let json = kind.starts_with("application/json");
        let path = "/v1/events/a.b?key=k";
        let answer = daemon
            .tcp
            .request("POST", path, &[("content-type", kind)], b"{\"n\": 1}");
        if json && answer.status != 202 {
            continue;
        }
        let count = answer.expect(202)["deliveries"].as_u64();
        assert_eq!(count, Some(1), "{kind}");
    }
    assert_eq!(
        opaque(&daemon, "/v1/events/a.c?key=k", "text/plain", b"x"),
        0
    );
}

#[test]
fn a_new_filter_leaves_what_is_stored() {
    let gate = Gate::new();
    let held_back = gate.clone();
    let receiver = Receiver::answering(move |_| Answer::status(200).behind(&held_back));
    let home = Home::new();
    let daemon = home.start("");
    let definition =
        json!({"url": receiver.url("/"), "filter": {"data": {"n": 1}}, "max_in_flight": 1});
    let id = id_of(&made(&daemon, definition));
    let (first, _) = handed_in(&daemon, r#"{"type": "a", "data": {"n": 1}}"#);
    let (second, _) = handed_in(
        &daemon,
        r#"{"type": "a", "data": {"n": 1}, "idempotency_key": "s"}"#,
    );
    let (skipped, count) = handed_in(&daemon, r#"{"type": "a", "data": {"n": 2}}"#);
    assert_eq!(count, 0);
    receiver.wait(1);
    patch(&daemon.tcp, &id, &json!({"filter": {"data": {"n": 2}}})).expect(200);
    let (third, count) = handed_in(&daemon, r#"{"type": "a", "data": {"n": 2}}"#);
    assert_eq!(count, 1);
    // The first answer again, whatever matches now.
    let again = daemon.tcp.post_json(
        "/v1/events",
        r#"{"type": "a", "data": {"n": 1}, "idempotency_key": "s"}"#,
    );
    let again = again.expect(202);
    assert_eq!(
        (&again["deliveries"], &again["duplicate"]),
        (&json!(1), &json!(true))
    );
    gate.open();
    for event in [&first, &second, &third] {
        daemon.wait_status(event, &id, "delivered");
    }
    // A replay does not judge again: neither what matches no more nor what would match now.
    let replay = json!({"status": "delivered"}).to_string();
    let answer = daemon
        .tcp
        .post_json(&format!("/v1/endpoints/{id}/replay"), replay);
    assert_eq!(answer.expect(202)["matched"], 3);
    let seen = receiver.wait(6);
    let count = |event: &str| seen.iter().filter(|one| one.id() == event).count();
    assert_eq!(
        [&first, &second, &third, &skipped].map(|event| count(event)),
        [2, 2, 2, 0]
    );
    let retry = format!("/v1/events/{skipped}/deliveries/{id}/retry");
    daemon.tcp.post(&retry).problem(404);
    // Without a filter all match again, after a crash too.
    patch(&daemon.tcp, &id, &json!({"filter": null})).expect(200);
    assert_eq!(
        handed_in(&daemon, r#"{"type": "a", "data": {"n": 3}}"#).1,
        1
    );
    patch(
        &daemon.tcp,
        &id,
        &json!({"filter": "{\"data\": {\"n\": 7}}"}),
    )
    .expect(200);
    daemon.kill();
    let daemon = home.start("");
    assert_eq!(
        handed_in(&daemon, r#"{"type": "a", "data": {"n": 3}}"#).1,
        0
    );
    assert_eq!(
        handed_in(&daemon, r#"{"type": "a", "data": {"n": 7}}"#).1,
        1
    );
}

#[test]
fn the_daemons_own_events_pass_filters_too() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let config = endpoint("a", NOWHERE, "types = [\"a\"]")
        + &endpoint("b", NOWHERE, "types = [\"a\"]")
        + &endpoint(
            "watch",
            &receiver.url("/"),
            "types = [\"outboxd.*\"]\nfilter = '{\"data.endpoint\": \"b\"}'",
        )
        + &endpoint("all", &receiver.url("/all"), "filter = {}");
    let daemon = home.start(&config);
    for id in ["a", "b"] {
        assert_eq!(
            daemon
                .tcp
                .post(&format!("/v1/endpoints/{id}/disable"))
                .status,
            204
        );
    }
    let seen = receiver.wait(1);
    let told: Value = serde_json::from_str(&seen[0].text()).unwrap();
    assert_eq!(
        (&told["type"], &told["data"]["endpoint"]),
        (&json!("outboxd.endpoint.disabled"), &json!("b"))
    );
    // An empty filter matches what the types match, and `*` matches none of these.
    let event = daemon.send("x", "1");
    daemon.wait_status(&event, "all", "delivered");
    assert_eq!(receiver.seen().len(), 2);
    daemon
        .tcp
        .post_json("/v1/events", r#"{"type": "outboxd.x", "data": 1}"#)
        .problem(400);
}

#[test]
fn a_test_ignores_filter_channels_and_types() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let lines = "types = [\"x\"]\nchannels = [\"eu\"]\nfilter = '{\"data.n\": 1}'";
    let daemon = home.start(&endpoint("picky", &receiver.url("/"), lines));
    assert_eq!(daemon.tcp.post("/v1/endpoints/picky/test").status, 204);
    receiver.wait(1);
}

#[test]
fn an_endpoint_with_channels_gets_events_that_share_one() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let config = endpoint("eu", &receiver.url("/eu"), "channels = [\"eu\", \"uk\"]")
        + &endpoint("us", &receiver.url("/us"), "channels = [\"us\"]")
        + &endpoint("all", &receiver.url("/all"), "");
    let daemon = home.start(&config);
    let count = |channels: &str| {
        let comma = if channels.is_empty() {
            ""
        } else {
            ", \"channels\": "
        };
        handed_in(
            &daemon,
            &format!("{{\"type\": \"a\", \"data\": 1{comma}{channels}}}"),
        )
        .1
    };
    assert_eq!(count(""), 1);
    assert_eq!(count("[]"), 1);
    assert_eq!(count("[\"eu\"]"), 2);
    assert_eq!(count("[\"ap\", \"uk\", \"eu\"]"), 2);
    assert_eq!(count("[\"us\", \"uk\"]"), 3);
    assert_eq!(count("[\"EU\"]"), 1);
    assert_eq!(
        opaque(&daemon, "/v1/events/a?channels=us,eu", "text/plain", b"x"),
        3
    );
    assert_eq!(opaque(&daemon, "/v1/events/a", "text/plain", b"x"), 1);
    assert_eq!(daemon.endpoint("eu")["channels"], json!(["eu", "uk"]));
    let many: Vec<String> = (0..11).map(|n| format!("c{n}")).collect();
    for channels in [
        json!(many),
        json!([""]),
        json!(["a b"]),
        json!([1]),
        json!("eu"),
    ] {
        let body = json!({"type": "a", "data": 1, "channels": channels});
        let detail = daemon
            .tcp
            .post_json("/v1/events", body.to_string())
            .problem(400);
        assert!(detail.contains("channels"), "{detail}");
        let body = json!({"url": NOWHERE, "channels": channels});
        let detail = daemon
            .tcp
            .post_json("/v1/endpoints", body.to_string())
            .problem(400);
        assert!(detail.contains("channels"), "{detail}");
    }
    let id = id_of(&made(
        &daemon,
        json!({"url": receiver.url("/x"), "channels": many[..10]}),
    ));
    assert_eq!(count("[\"c9\"]"), 2);
    patch(&daemon.tcp, &id, &json!({"channels": null})).expect(200);
    assert_eq!(count(""), 2);
}

#[test]
fn wrong_filters_are_refused_with_their_place() {
    let home = Home::new();
    let daemon = home.start("");
    let refused = |filter: &str| -> Response {
        let body = format!("{{\"url\": \"{NOWHERE}\", \"filter\": {filter}}}");
        daemon.tcp.post_json("/v1/endpoints", body)
    };
    let deep = format!("{}1{}", "{\"a\": ".repeat(40), "}".repeat(40));
    for (filter, part) in [
        (r#"{"data": {"n": {"$gtt": 1}}}"#, "data.n"),
        (r#"{"data": {"n": {"$gt": [1]}}}"#, "data.n"),
        (r#"{"data": {"n": {"$gt": 1, "x": 2}}}"#, "data.n"),
        (r#"{"data": {"n": {"$in": {}}}}"#, "data.n"),
        (r#"{"data": {"n": {"$exist": "yes"}}}"#, "data.n"),
        (r#"{"$or": {}}"#, "$or"),
        ("[]", "filter"),
        ("1", "filter"),
        (r#""{\"a\": ""#, "filter"),
        (&deep, "filter"),
        (
            &format!("{{\"a\": \"{}\"}}", "x".repeat(17 << 10)),
            "filter",
        ),
    ] {
        let detail = refused(filter).problem(400);
        assert!(detail.contains(part), "{filter}: {detail}");
    }
    home.write_config(&endpoint(
        "bad",
        NOWHERE,
        "filter = { data = { n = { \"$gtt\" = 1 } } }",
    ));
    let ran = home.run(&["check", "--config", "outboxd.toml"]);
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.stderr.contains("filter") && ran.stderr.contains("$gtt"),
        "{ran:?}"
    );
    assert!(ran.stderr.contains("outboxd.toml:"), "{ran:?}");
}
