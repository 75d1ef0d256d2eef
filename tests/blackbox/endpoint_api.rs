//! Endpoints through the API: made, read, changed, deleted, tried out, and there after crashes.

use serde_json::{Value, json};

use crate::harness::http::{Interface, Response};
use crate::harness::{Answer, Daemon, Home, Receiver, endpoint};

pub const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

/// Makes an endpoint and gives it as the answer shows it.
#[track_caller]
pub fn made(daemon: &Daemon, definition: Value) -> Value {
    let answer = daemon
        .tcp
        .post_json("/v1/endpoints", definition.to_string());
    answer.expect(201)
}

/// Its id.
#[track_caller]
pub fn id_of(endpoint: &Value) -> String {
    endpoint["id"].as_str().expect("an id").to_owned()
}

pub fn patch(interface: &Interface, id: &str, change: &Value) -> Response {
    let path = format!("/v1/endpoints/{id}");
    interface.request("PATCH", &path, &JSON, change.to_string().as_bytes())
}

pub fn delete(interface: &Interface, id: &str) -> Response {
    interface.request("DELETE", &format!("/v1/endpoints/{id}"), &[], b"")
}

#[track_caller]
fn secret_of(interface: &Interface, id: &str) -> String {
    let answer = interface.get(&format!("/v1/endpoints/{id}/secret"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let answer = answer.expect(200);
    assert_eq!(answer.as_object().unwrap().len(), 1);
    answer["secret"].as_str().unwrap().to_owned()
}

#[test]
fn an_endpoint_is_made_and_gets_its_events_signed() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start("");
    let body = json!({"url": receiver.url("/hook"), "types": ["order.*"]});
    let answer = daemon.tcp.post_json("/v1/endpoints", body.to_string());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let location = answer.header("location").unwrap().to_owned();
    let shown = answer.expect(201);
    let id = id_of(&shown);
    assert_eq!(location, format!("/v1/endpoints/{id}"));
    assert!(id.len() == 29 && id.starts_with("ep_"), "{id}");
    let secret = shown["secret"].as_str().unwrap().to_owned();
    assert!(secret.len() > 30 && secret.starts_with("whsec_"), "{shown}");
    let mut expected = json!({
        "id": id, "tenant": "default", "url": receiver.url("/hook"), "types": ["order.*"],
        "secret": secret, "headers": {}, "max_in_flight": 16, "rate_limit": null,
        "ordering": "none", "timeout": "20s", "http2": true, "description": "", "enabled": true,
        "disabled_reason": null, "disabled_at": null, "source": "api", "applied_as": null,
        "retry": {"first": "50ms", "factor": 1.0, "max": "6h", "jitter": 0.5,
            "give_up_after": "3d", "schedule": []},
        "backlog": {"pending": 0, "held": 0, "dead": 0},
        "public_key": null, "filter": null, "channels": [], "format": "standard",
        "template": null, "content_type": null, "preset": null, "text": null, "method": "POST",
        "answer": null, "signatures": ["v1"], "auth": null, "client_cert_not_after": null,
        "ca": null, "cloudevents_handshake": false, "cloudevents_source": null,
    });
    assert_eq!(shown, expected);
    // Later it is masked, but for whoever asks for it.
    expected["secret"] = "whsec_…".into();
    assert_eq!(daemon.endpoint(&id), expected);
    assert_eq!(
        daemon.tcp.get("/v1/endpoints").expect(200)["data"][0],
        expected
    );
    assert_eq!(secret_of(&daemon.tcp, &id), secret);
    let event = daemon.send("order.created", "7");
    daemon.send("invoice.created", "8");
    daemon.wait_status(&event, &id, "delivered");
    let seen = receiver.wait(1);
    crate::signing::assert_signed(&seen[0], &[&secret]);
    assert_eq!((seen.len(), seen[0].path.as_str()), (1, "/hook"));
    assert!(
        !daemon.log_text().contains(&secret[6..]),
        "{}",
        daemon.log_text()
    );
}

#[test]
fn every_field_is_taken_and_shown() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start("");
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let given = json!({
        "url": receiver.url("/x?y=z"), "tenant": "t1", "types": ["a.*", "b"], "secret": secret,
        "headers": {"x-team": "orders", "Authorization": "Bearer hunter2"}, "max_in_flight": 3,
        "rate_limit": "600/m", "ordering": "key", "timeout": "5s", "http2": false, "description": "Ä customer's",
        "enabled": false,
        "retry": {"first": "1s", "factor": 2.0, "max": "1m", "jitter": 0.0, "give_up_after": "1h",
            "schedule": ["1s", "2m"]},
    });
    let id = id_of(&made(&daemon, given.clone()));
    let shown = daemon.endpoint(&id);
    for field in [
        "url",
        "tenant",
        "types",
        "max_in_flight",
        "ordering",
        "timeout",
        "http2",
        "description",
        "enabled",
        "retry",
    ] {
        assert_eq!(shown[field], given[field], "{field}");
    }
    assert_eq!(shown["rate_limit"], "10/s");
    assert_eq!(
        shown["headers"],
        json!({"authorization": "…", "x-team": "…"})
    );
    assert_eq!(shown["disabled_reason"], "manual");
    assert_eq!(secret_of(&daemon.tcp, &id), secret);
    let enabled = daemon.tcp.post(&format!("/v1/endpoints/{id}/enable"));
    assert_eq!(enabled.status, 204);
    let event = daemon.send_with("b", "1", "\"tenant\": \"t1\"");
    daemon.wait_status(&event, &id, "delivered");
    let seen = receiver.wait(1).remove(0);
    assert_eq!(seen.header("authorization"), "Bearer hunter2");
    crate::signing::assert_signed(&seen, &[secret]);
}

#[test]
fn what_makes_no_sense_is_refused_and_the_field_is_named() {
    let home = Home::new();
    let daemon = home.start("");
    let url = "https://example.invalid/";
    for (definition, named) in [
        (json!({}), "`url`"),
        (json!({"url": "example.com"}), "`url`"),
        (json!({"url": "https://u:p@example.invalid"}), "user"),
        (json!({"url": url, "tpyes": ["a"]}), "did you mean `types`?"),
        (json!({"url": url, "types": ["a.*.b"]}), "`types[0]`"),
        (
            json!({"url": url, "headers": {"webhook-signature": "x"}}),
            "`headers.webhook-signature`",
        ),
        (
            json!({"url": url, "headers": {"content-length": "1"}}),
            "`headers.content-length`",
        ),
        (json!({"url": url, "max_in_flight": -1}), "`max_in_flight`"),
        (
            json!({"url": url, "retry": {"first": "10h"}}),
            "`retry.first`",
        ),
        (json!({"url": url, "retry": {"max": "1ms"}}), "`retry.max`"),
        (
            json!({"url": url, "allow_networks": ["127.0.0.0/8"]}),
            "`allow_networks`",
        ),
    ] {
        let answer = daemon
            .tcp
            .post_json("/v1/endpoints", definition.to_string());
        let detail = answer.problem(400);
        assert!(detail.contains(named), "{definition}: {detail}");
    }
    for body in [
        "",
        "[]",
        "{",
        "{\"url\":\"https://a.example\",\"url\":\"https://b.example\"}",
    ] {
        daemon.tcp.post_json("/v1/endpoints", body).problem(400);
    }
    let large = format!(
        "{{\"url\":\"{url}\",\"description\":\"{}\"}}",
        "x".repeat(263_000)
    );
    daemon.tcp.post_json("/v1/endpoints", large).problem(413);
    let body = json!({"url": url}).to_string();
    for content_type in [
        &[][..],
        &[("content-type", "text/plain")],
        &[("content-type", "application/x-ndjson")],
    ] {
        let answer = daemon
            .tcp
            .request("POST", "/v1/endpoints", content_type, body.as_bytes());
        answer.problem(415);
    }
    let list = daemon.tcp.get("/v1/endpoints").expect(200);
    assert_eq!(list["data"], json!([]));
}

#[test]
fn a_change_counts_from_the_next_attempt_and_leaves_the_rest() {
    let (old, new) = (Receiver::statuses(&[500]), Receiver::ok());
    let home = Home::new();
    let daemon = home.start("");
    let body = json!({"url": old.url("/"), "description": "d", "headers": {"x-a": "1"}, "rate_limit": "5/s"});
    let endpoint = made(&daemon, body);
    let id = id_of(&endpoint);
    let event = daemon.send("a", "1");
    old.wait(1);
    let change = json!({"url": new.url("/new"), "types": ["b"], "headers": {"x-b": "2"}, "timeout": "3s", "retry": {"factor": 2.0}});
    let changed = patch(&daemon.tcp, &id, &change).expect(200);
    assert_eq!(
        (&changed["url"], &changed["types"]),
        (&change["url"], &change["types"])
    );
    assert_eq!(
        (&changed["description"], &changed["rate_limit"]),
        (&endpoint["description"], &"5/s".into())
    );
    assert_eq!(
        (&changed["timeout"], &changed["retry"]["factor"]),
        (&"3s".into(), &2.0.into())
    );
    assert_eq!(changed["secret"], "whsec_…");
    daemon.wait_status(&event, &id, "delivered");
    let seen = new.wait(1).remove(0);
    assert_eq!((seen.path.as_str(), seen.header("x-b")), ("/new", "2"));
    assert!(seen.values("x-a").is_empty());
    crate::signing::assert_signed(&seen, &[endpoint["secret"].as_str().unwrap()]);
    // Matched anew from the moment of the change on.
    daemon.send("a", "2");
    let wanted = daemon.send("b", "3");
    daemon.wait_status(&wanted, &id, "delivered");
    assert_eq!(new.seen().len(), 2);
    // `null` is the default again.
    let back =
        json!({"types": null, "timeout": null, "retry": null, "rate_limit": null, "headers": null});
    let back = patch(&daemon.tcp, &id, &back).expect(200);
    assert_eq!(
        (&back["types"], &back["timeout"]),
        (&json!(["*"]), &"20s".into())
    );
    assert_eq!(
        (&back["rate_limit"], &back["headers"]),
        (&Value::Null, &json!({}))
    );
    assert_eq!(back["retry"]["factor"], 1.0);
    for (change, named) in [
        (json!({"tenant": "t2"}), "`tenant`"),
        (json!({"url": null}), "`url`"),
        (json!({"enabeld": true}), "did you mean `enabled`?"),
        (json!({"retry": {"first": "7h"}}), "`retry.first`"),
    ] {
        let detail = patch(&daemon.tcp, &id, &change).problem(400);
        assert!(detail.contains(named), "{detail}");
    }
    let own = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    patch(&daemon.tcp, &id, &json!({"secret": own, "enabled": false})).expect(200);
    assert_eq!(secret_of(&daemon.tcp, &id), own);
    assert_eq!(daemon.endpoint(&id)["disabled_reason"], "manual");
    let held = daemon.send("a", "4");
    daemon.wait_status(&held, &id, "held");
    patch(&daemon.tcp, &id, &json!({"enabled": true})).expect(200);
    daemon.wait_status(&held, &id, "delivered");
    crate::signing::assert_signed(&new.wait(3)[2], &[own]);
}

#[test]
fn a_deleted_endpoint_is_gone_and_its_open_deliveries_are_dead() {
    let receiver = Receiver::statuses(&[500]);
    let home = Home::new();
    let config = "[retry]\nfirst = \"1h\"\nmax = \"1h\"\n";
    let daemon = home.start(config);
    let id = id_of(&made(&daemon, json!({"url": receiver.url("/")})));
    let event = daemon.send("a", "1");
    daemon.wait_delivery(&event, &id, "tried", |one| one["attempt_count"] == 1);
    let deleted = delete(&daemon.tcp, &id);
    assert_eq!((deleted.status, deleted.text().as_str()), (204, ""));
    let path = format!("/v1/events/{event}/deliveries/{id}");
    let dead = |daemon: &Daemon| {
        let delivery = daemon.tcp.get(&path).expect(200);
        assert_eq!(delivery["status"], "dead", "{delivery:#}");
        assert_eq!(delivery["reason"], "endpoint_deleted");
        assert_eq!(delivery["attempts"].as_array().unwrap().len(), 1);
    };
    dead(&daemon);
    let gone = |daemon: &Daemon| {
        let base = format!("/v1/endpoints/{id}");
        daemon.tcp.get(&base).problem(404);
        daemon.tcp.get(&format!("{base}/secret")).problem(404);
        patch(&daemon.tcp, &id, &json!({"description": "x"})).problem(404);
        delete(&daemon.tcp, &id).problem(404);
        for action in ["enable", "disable", "rotate", "test"] {
            daemon.tcp.post(&format!("{base}/{action}")).problem(404);
        }
        let list = daemon.tcp.get("/v1/endpoints").expect(200);
        assert_eq!(list["data"], json!([]));
    };
    gone(&daemon);
    let later = daemon
        .tcp
        .post_json("/v1/events", "{\"type\":\"a\",\"data\":1}");
    assert_eq!(later.expect(202)["deliveries"], 0);
    daemon.kill();
    let daemon = home.start(config);
    gone(&daemon);
    dead(&daemon);
}

#[test]
fn endpoints_survive_a_kill_at_any_moment() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let mut daemon = home.start("");
    let mut known: Vec<Value> = Vec::new();
    for round in 0..3 {
        for n in 0..10 {
            let body = json!({"url": receiver.url("/"), "tenant": "t1", "types": [format!("t{round}.{n}")]});
            known.push(made(&daemon, body));
        }
        let changed = id_of(&known[round]);
        let after = patch(&daemon.tcp, &changed, &json!({"description": "changed"})).expect(200);
        known[round]["description"] = after["description"].clone();
        let gone = known.remove(5);
        assert_eq!(delete(&daemon.tcp, &id_of(&gone)).status, 204);
        // What was acknowledged is there after the next start, whenever the last one ended.
        daemon.kill();
        daemon = home.start("");
        let list = daemon
            .tcp
            .get("/v1/endpoints?tenant=t1&limit=1000")
            .expect(200);
        let mut shown: Vec<Value> = list["data"].as_array().unwrap().clone();
        for endpoint in &mut shown {
            let secret = secret_of(&daemon.tcp, &id_of(endpoint));
            endpoint["secret"] = secret.into();
        }
        let mut expected = known.clone();
        expected.sort_by_key(id_of);
        assert_eq!(shown, expected);
    }
    let event = daemon.send_with("t2.9", "1", "\"tenant\": \"t1\"");
    let last = known.iter().find(|one| one["types"][0] == "t2.9").unwrap();
    daemon.wait_status(&event, &id_of(last), "delivered");
    crate::signing::assert_signed(&receiver.wait(1)[0], &[last["secret"].as_str().unwrap()]);
}

#[test]
fn what_is_left_open_follows_the_configuration() {
    let home = Home::new();
    let daemon = home.start("[delivery]\ntimeout = \"7s\"\n[retry]\nfirst = \"1s\"\n");
    let open = id_of(&made(&daemon, json!({"url": "https://example.invalid/"})));
    let own = json!({"url": "https://example.invalid/", "timeout": "9s", "retry": {"max": "2h"}});
    let own = id_of(&made(&daemon, own));
    assert_eq!(daemon.endpoint(&open)["timeout"], "7s");
    assert!(daemon.stop().success());
    let daemon = home.start("[delivery]\ntimeout = \"8s\"\n[retry]\nfirst = \"3s\"\n");
    let (open, own) = (daemon.endpoint(&open), daemon.endpoint(&own));
    assert_eq!(
        (&open["timeout"], &open["retry"]["first"]),
        (&"8s".into(), &"3s".into())
    );
    assert_eq!(
        (&own["timeout"], &own["retry"]["first"]),
        (&"9s".into(), &"3s".into())
    );
    assert_eq!(own["retry"]["max"], "2h");
}

#[test]
fn lists_are_sorted_by_id_and_go_on_with_their_cursor() {
    let home = Home::new();
    let config = endpoint("zz", "https://example.invalid/", "tenant = \"t1\"")
        + &endpoint("aa", "https://example.invalid/", "");
    let daemon = home.start(&config);
    for n in 0..25 {
        let tenant = ["t1", "t2"][n % 2];
        made(
            &daemon,
            json!({"url": "https://example.invalid/", "tenant": tenant}),
        );
    }
    let all = |filter: &str| {
        let (mut ids, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = daemon
                .tcp
                .get(&format!("/v1/endpoints?limit=7{filter}{cursor}"))
                .expect(200);
            let page_ids: Vec<String> =
                page["data"].as_array().unwrap().iter().map(id_of).collect();
            assert!(page_ids.len() <= 7);
            ids.extend(page_ids);
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return ids,
            }
        }
    };
    let ids = all("");
    assert_eq!(ids.len(), 27);
    assert!(ids.is_sorted());
    assert_eq!((ids[0].as_str(), ids[26].as_str()), ("aa", "zz"));
    assert_eq!((all("&tenant=t1").len(), all("&tenant=t2").len()), (14, 12));
    assert_eq!(all("&tenant=nobody").len(), 0);
    daemon.tcp.get("/v1/endpoints?cursor=a.b").problem(400);
}

#[test]
fn an_endpoint_from_the_file_is_read_only_but_can_be_acted_on() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let config = endpoint("one", &receiver.url("/"), &format!("secret = \"{secret}\""))
        + &endpoint("bare", &receiver.url("/bare"), "types = [\"never\"]");
    let daemon = home.start(&config);
    for answer in [
        patch(&daemon.tcp, "one", &json!({"description": "x"})),
        delete(&daemon.tcp, "one"),
        daemon.tcp.post("/v1/endpoints/one/rotate"),
    ] {
        assert!(answer.problem(409).contains("configuration file"));
        assert_eq!(answer.json()["type"], "urn:outboxd:problem:read-only");
    }
    // Reading is no change.
    assert_eq!(secret_of(&daemon.tcp, "one"), secret);
    let none = daemon.tcp.get("/v1/endpoints/bare/secret").problem(404);
    assert!(none.contains("no secret"), "{none}");
    for endpoint in ["one", "bare"] {
        let tested = daemon.tcp.post(&format!("/v1/endpoints/{endpoint}/test"));
        assert_eq!((tested.status, tested.text().as_str()), (204, ""));
    }
    let seen = receiver.wait(2);
    let of = |path: &str| seen.iter().find(|seen| seen.path == path).unwrap();
    let body: Value = serde_json::from_slice(&of("/").body).unwrap();
    assert_eq!(
        (&body["type"], &body["data"]["endpoint"]),
        (&"outboxd.test".into(), &"one".into())
    );
    crate::signing::assert_signed(of("/"), &[secret]);
    assert!(of("/bare").values("webhook-signature").is_empty());
    daemon.tcp.post("/v1/endpoints/nobody/test").problem(404);
}

#[test]
fn a_test_event_goes_to_the_one_endpoint_whatever_it_wants() {
    let receiver = Receiver::answering(|_| Answer::status(200));
    let home = Home::new();
    let daemon = home.start(&endpoint("all", &receiver.url("/all"), ""));
    let body = json!({"url": receiver.url("/mine"), "types": ["order.created"]});
    let id = id_of(&made(&daemon, body));
    assert_eq!(
        daemon.tcp.post(&format!("/v1/endpoints/{id}/test")).status,
        204
    );
    let event = receiver.wait(1)[0].id().to_owned();
    daemon.wait_status(&event, &id, "delivered");
    let shown = daemon.tcp.get(&format!("/v1/events/{event}")).expect(200);
    assert_eq!(
        (
            &shown["type"],
            shown["deliveries"].as_array().unwrap().len()
        ),
        (&"outboxd.test".into(), 1)
    );
    assert!(receiver.seen().iter().all(|seen| seen.path == "/mine"));
}

#[test]
fn what_says_all_in_its_path_takes_no_more() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start(&endpoint("one", &receiver.url("/"), ""));
    for action in ["enable", "disable"] {
        let path = format!("/v1/endpoints/one/{action}");
        let detail = daemon.tcp.post_json(&path, r#"{"x": 1}"#).problem(400);
        assert!(
            detail.contains("`x`, this request takes no fields"),
            "{action}: {detail}"
        );
        daemon.tcp.post_json(&path, "garbage").problem(400);
        for empty in ["", "{}"] {
            assert_eq!(daemon.tcp.post_json(&path, empty).status, 204, "{action}");
        }
    }
    let detail = daemon.tcp.get("/v1/endpoints?cursor=zzz").problem(400);
    assert!(detail.contains("cursor"), "{detail}");
    let latin = [("content-type", "application/json; charset=latin1")];
    let body = br#"{"url": "https://example.invalid/"}"#;
    let refused = daemon.tcp.request("POST", "/v1/endpoints", &latin, body);
    refused.problem(415);
}

#[test]
fn an_endpoint_that_is_gone_from_the_file_is_there_for_no_call() {
    let receiver = Receiver::statuses(&[500]);
    let home = Home::new();
    let config = "[retry]\nfirst = \"1h\"\n".to_owned() + &endpoint("one", &receiver.url("/"), "");
    let daemon = home.start(&config);
    let event = daemon.send("a", "1");
    receiver.wait(1);
    assert!(daemon.stop().success());
    let daemon = home.start("");
    daemon.tcp.get("/v1/endpoints/one").problem(404);
    for action in ["enable", "disable", "test", "replay", "rotate"] {
        let answer = daemon.tcp.post(&format!("/v1/endpoints/one/{action}"));
        assert_eq!(answer.status, 404, "{action}: {}", answer.text());
    }
    patch(&daemon.tcp, "one", &json!({"description": "x"})).problem(404);
    delete(&daemon.tcp, "one").problem(404);
    let held = daemon.delivery(&event, "one");
    assert_eq!(
        (&held["status"], &held["reason"]),
        (&json!("held"), &json!("endpoint_missing"))
    );
}
