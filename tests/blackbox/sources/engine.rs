//! What a call becomes: an event like any other, with its body as it came.

use serde_json::{Value, json};

use super::crypto::{hex, hmac_sha256};
use super::{
    Call, SECRET, app, assert_counts, assert_empty, event, events, github, made, patch, push,
    source, start, types,
};
use crate::harness::{Daemon, Home, Receiver, Seen, endpoint, wait_for};

/// The only event there is, whole.
#[track_caller]
fn only(daemon: &Daemon) -> Value {
    let events = events(daemon);
    assert_eq!(events.len(), 1);
    event(daemon, events[0]["id"].as_str().unwrap())
}

#[test]
fn a_body_goes_out_byte_for_byte_with_its_content_type() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = start(&home, &(github("gh", "") + &app(&receiver.url("/"))));
    let all: Vec<u8> = (0..=255).chain(0..=255).collect();
    let numbers = "{\"id\":90071992547409931234567890, \"x\" : 1.50,\r\n\"x\":\"\\u00e0\\/\"}";
    let cases: [(&[u8], &str); 6] = [
        (numbers.as_bytes(), "application/json"),
        (&all, "application/octet-stream"),
        (b"payload=%7B%7D", "application/x-www-form-urlencoded"),
        (b"<a/>\n", "text/xml; charset=\"utf-8\""),
        (b"not json", "application/json"),
        (b"\x1f\x8b\x08\x00", "application/gzip"),
    ];
    for (n, (body, content_type)) in cases.iter().enumerate() {
        let call = push(&format!("d-{n}"), body).with("content-type", content_type);
        assert_empty(&call.send(&daemon, "gh"), 200);
        let seen = receiver.wait(n + 1).remove(n);
        assert_eq!(seen.body, *body, "{content_type}");
        assert_eq!(seen.header("content-type"), *content_type);
        assert_eq!(seen.header("outboxd-source"), "gh");
        assert_eq!(seen.header("outboxd-event-type"), "github.push");
    }
}

#[test]
fn a_body_without_a_content_type_is_no_fault() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let filtered = "filter = { data = { n = 7 } }";
    let config = github("gh", "")
        + &app(&receiver.url("/"))
        + &endpoint("seven", &receiver.url("/seven"), filtered);
    let daemon = start(&home, &config);
    let call = push("1", b"{\"n\": 7}").without("content-type");
    assert_empty(&call.send(&daemon, "gh"), 200);
    // JSON is data, whatever is said of it.
    let call = push("2", b"{\"n\": 7}").with("content-type", "text/plain");
    assert_empty(&call.send(&daemon, "gh"), 200);
    assert_empty(
        &push("3", b"").without("content-type").send(&daemon, "gh"),
        200,
    );
    let seen = receiver.wait_until("five", |seen| seen.len() >= 5);
    let seven: Vec<&Seen> = seen.iter().filter(|one| one.path == "/seven").collect();
    assert_eq!(seven.len(), 2);
    assert!(seven.iter().all(|one| one.body == b"{\"n\": 7}"));
    let empty = seen.iter().find(|one| one.body.is_empty()).unwrap();
    assert_eq!(empty.header("content-type"), "application/octet-stream");
}

#[test]
fn headers_that_are_named_are_kept_and_sent_on() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let named = "forward_headers = [\"X-GitHub-Event\", \"x-github-hook-*\"]";
    let config = github("named", named)
        + &github("all", "forward_headers = [\"*\"]")
        + &github("none", "")
        + &app(&receiver.url("/"));
    let daemon = start(&home, &config);
    let never = [
        ("authorization", "Basic c2VjcmV0"),
        ("cookie", "a=b"),
        ("proxy-authorization", "Basic c2VjcmV0"),
        ("proxy-x", "1"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-anything", "1"),
        ("forwarded", "for=192.0.2.1"),
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
        ("tracestate", "a=b"),
        ("baggage", "a=b"),
        ("webhook-id", "msg_theirs"),
        ("webhook-anything", "1"),
        ("outboxd-source", "theirs"),
        ("outboxd-anything", "1"),
        ("te", "trailers"),
        ("keep-alive", "timeout=5"),
        ("upgrade", "websocket"),
        ("trailer", "x-t"),
    ];
    for (n, source) in ["named", "all", "none"].iter().enumerate() {
        let mut call = push(&format!("d-{n}"), b"{}").with("x-github-hook-id", "7");
        call = call
            .with("x-other", "o")
            .with("user-agent", "GitHub-Hookshot/044aadd");
        for (name, value) in never {
            call = call.with(name, value);
        }
        assert_empty(&call.send(&daemon, source), 200);
    }
    let seen = receiver.wait(3);
    let of = |source: &str| {
        let own = |one: &&Seen| one.header("outboxd-source") == source;
        seen.iter().find(own).unwrap()
    };
    for (source, header, wanted) in [
        ("named", "x-github-event", &["push"][..]),
        ("named", "x-github-hook-id", &["7"]),
        ("named", "x-github-delivery", &[]),
        ("named", "x-other", &[]),
        ("all", "x-github-event", &["push"]),
        ("all", "x-github-hook-id", &["7"]),
        ("all", "x-github-delivery", &["d-1"]),
        ("all", "x-other", &["o"]),
        ("none", "x-github-event", &[]),
        ("none", "x-other", &[]),
    ] {
        assert_eq!(of(source).values(header), wanted, "{source} {header}");
    }
    for one in &seen {
        for (name, value) in never {
            assert!(!one.values(name).contains(&value), "{name} was sent on");
        }
        assert_ne!(one.id(), "msg_theirs");
    }
    assert_eq!(of("all").header("host"), receiver.address().to_string());
    let kept: Vec<Value> = events(&daemon)
        .iter()
        .map(|one| event(&daemon, one["id"].as_str().unwrap())["headers"]["x-other"].clone())
        .collect();
    assert_eq!(kept, [Value::Null, "o".into(), Value::Null]);
}

/// A token that is a header's value is never sent on, even to who asks for all.
#[test]
fn a_header_that_holds_the_secret_is_not_sent_on() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let own = "secrets = [\"hunter2-hunter2\"]\nforward_headers = [\"*\"]\n\
               verify = { algorithm = \"token\", signature = \"header:x-api-key\" }";
    let daemon = start(&home, &(source("own", own) + &app(&receiver.url("/"))));
    let call = Call::post(b"{}")
        .with("x-api-key", "hunter2-hunter2")
        .with("x-other", "o");
    assert_empty(&call.send(&daemon, "own"), 200);
    assert_empty(&call.with("x-api-key", "hunter2").send(&daemon, "own"), 401);
    let seen = receiver.wait(1).remove(0);
    assert_eq!(seen.values("x-other"), ["o"]);
    assert!(seen.values("x-api-key").is_empty());
    assert!(!only(&daemon).to_string().contains("hunter2"));
}

#[test]
fn endpoints_shape_and_filter_what_comes_in() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let place = |path: &str, more: &str| endpoint(path, &receiver.url(&format!("/{path}")), more);
    let config = github("gh", "forward_headers = [\"x-github-event\"]")
        + &github("other", "")
        + &place("standard", "format = \"standard\"")
        + &place("bare", "format = \"bare\"")
        + &place(
            "template",
            "template = '{{ event.source }} {{ event.type }} {{ data.n + 1 }}'\n\
             content_type = \"text/plain\"",
        )
        + &place("by_source", "filter = { source = \"gh\" }")
        + &place("not_by_source", "filter = { source = \"else\" }")
        + &place(
            "by_header",
            "filter = { headers = { \"x-github-event\" = \"push\" } }",
        )
        + &place(
            "not_by_header",
            "filter = { headers = { \"x-github-event\" = \"ping\" } }",
        )
        + &place("by_data", "filter = { data = { n = { \"$gt\" = 6 } } }")
        + &place("not_by_data", "filter = { data = { n = { \"$gt\" = 7 } } }")
        + &place("by_type", "types = [\"github.*\"]")
        + &place("not_by_type", "types = [\"stripe.*\"]");
    let daemon = start(&home, &config);
    let body = b"{\"n\":  7}";
    assert_empty(&push("1", body).send(&daemon, "gh"), 200);
    let taken = only(&daemon);
    let id = taken["id"].as_str().unwrap();
    let mut reached: Vec<String> = taken["deliveries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|delivery| delivery["endpoint"].as_str().unwrap().to_owned())
        .collect();
    reached.sort_unstable();
    let wanted = [
        "bare",
        "by_data",
        "by_header",
        "by_source",
        "by_type",
        "standard",
        "template",
    ];
    assert_eq!(reached, wanted);
    let seen = receiver.wait(wanted.len());
    for one in &seen {
        match one.path.as_str() {
            "/template" => assert_eq!(one.text(), "gh github.push 8"),
            _ => assert_eq!(one.body, body, "{}", one.path),
        }
        assert_eq!(one.header("outboxd-source"), "gh");
    }
    let path = format!("/v1/events/{id}/deliveries/not_by_source/explain");
    let explained = daemon.tcp.get(&path).expect(200);
    assert_eq!(explained["answer"], "filtered");
    assert_eq!(explained["failed"]["path"], "source");
    assert_empty(&push("1", body).send(&daemon, "other"), 200);
    let seen = receiver.wait(wanted.len() + 5);
    let by_source = seen.iter().filter(|one| one.path == "/by_source");
    assert_eq!(by_source.count(), 1);
}

#[test]
fn an_event_says_which_source_took_it_in_and_what_verified_it() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let config = "\n[[source]]\nid = \"gh\"\npreset = \"github\"\ntenant = \"acme\"\n\
                  secrets = [\"newer\", \"a secret that nobody guesses\"]\n"
        .to_owned()
        + &endpoint("app", &receiver.url("/"), "tenant = \"acme\"");
    let daemon = start(&home, &config);
    let body = b"{\"n\":1}";
    assert_empty(&push("72d3162e", body).send(&daemon, "gh"), 200);
    let received = json!({"source": "gh", "delivery_id": "72d3162e", "verified_by": "secret 2",
        "remote": "127.0.0.1"});
    let taken = only(&daemon);
    assert_eq!(taken["received"], received);
    assert_eq!(taken["tenant"], "acme");
    assert_eq!(taken["content_type"], "application/json");
    assert_eq!(taken["body_base64"], super::crypto::base64(body));
    // The key is of the source's own space, so it is not shown as somebody's.
    assert_eq!(taken["idempotency_key"], Value::Null);
    let id = taken["id"].as_str().unwrap();
    daemon.wait_status(id, "app", "delivered");
    let path = format!("/v1/events/{id}/deliveries/app/explain");
    let explained = daemon.tcp.get(&path).expect(200);
    assert_eq!(
        (&explained["answer"], &explained["received"]),
        (&"delivered".into(), &received)
    );
    let ran = home.run(&["explain", id, "app", "--url", &daemon.url()]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        ran.stdout.contains("gh") && ran.stdout.contains("secret 2"),
        "{ran:?}"
    );
    // An event of the API has none of it.
    let own = daemon.send_with("a", "1", "\"tenant\": \"acme\"");
    assert_eq!(event(&daemon, &own)["received"], Value::Null);
}

#[test]
fn delivery_ids_are_of_one_source_alone() {
    let home = Home::new();
    let config = github("one", "") + &github("two", "");
    let daemon = start(&home, &config);
    assert_empty(&push("k", b"{\"n\":1}").send(&daemon, "one"), 200);
    assert_empty(&push("k", b"{\"n\":1}").send(&daemon, "two"), 200);
    daemon.send_with("a", "1", "\"idempotency_key\": \"k\"");
    assert_eq!(events(&daemon).len(), 3);
    // What is there is not compared.
    assert_empty(
        &push("k", b"{\"n\":2}")
            .with("x-github-event", "ping")
            .send(&daemon, "one"),
        200,
    );
    assert_counts(&daemon, "one", 1, 1);
    assert_counts(&daemon, "two", 1, 0);
    assert_eq!(events(&daemon).len(), 3);
}

/// Providers' ids may be long, or hold what stands in no key.
#[test]
fn delivery_ids_of_any_kind_are_known_again() {
    let home = Home::new();
    let own = format!(
        "secrets = [\"{SECRET}\"]\nverify = {{ signature = \"header:x-mac\", id = \"body:/id\" }}"
    );
    let daemon = start(&home, &source("own", &own));
    let signed = |body: &str| {
        let mac = hmac_sha256(SECRET.as_bytes(), &[body.as_bytes()]);
        Call::post(body.as_bytes()).with("x-mac", &hex(&mac))
    };
    let long = "i".repeat(4000);
    let ids = [
        json!(long),
        json!(format!("{long}2")),
        json!("ä\u{0}\n"),
        json!(90_071_992_547_409_931_u64),
        json!("90071992547409932"),
        json!(true),
        json!(""),
    ];
    for (n, id) in ids.iter().enumerate() {
        for space in ["", " "] {
            let body = format!("{{{space}\"id\":{id}}}");
            assert_empty(&signed(&body).send(&daemon, "own"), 200);
        }
        let known = events(&daemon).len();
        // The body of the last says nothing that tells it apart but itself.
        let last = n + 1 == ids.len();
        assert_eq!(known, n + 1 + usize::from(last), "{id}");
    }
}

#[test]
fn after_its_window_a_delivery_is_a_new_event() {
    let home = Home::new();
    let daemon = start(&home, &github("gh", "idempotency_window = \"1s\""));
    let call = push("1", b"{}");
    assert_empty(&call.send(&daemon, "gh"), 200);
    assert_empty(&call.send(&daemon, "gh"), 200);
    wait_for(
        || {
            assert_empty(&call.send(&daemon, "gh"), 200);
            (events(&daemon).len() > 1).then_some(())
        },
        || "the delivery is known for ever".to_owned(),
    );
}

#[test]
fn types_are_made_valid_and_never_refused() {
    let home = Home::new();
    let daemon = start(&home, &github("gh", ""));
    let long = "e".repeat(200);
    let cut = format!("github.{}", "e".repeat(121));
    for (n, (header, wanted)) in [
        ("push", "github.push"),
        ("orders/create", "github.orders.create"),
        ("a b:c{d}", "github.a_b_c_d_"),
        ("..a...b//c.", "github.a.b.c"),
        ("*", "github._"),
        ("outboxd.x", "github.outboxd.x"),
        ("/", "github"),
        ("", "github.unnamed"),
        (&long, &cut),
    ]
    .iter()
    .enumerate()
    {
        let call = push(&format!("d-{n}"), b"[]").with("x-github-event", header);
        assert_empty(&call.send(&daemon, "gh"), 200);
        assert_eq!(types(&daemon)[n], *wanted, "{header}");
    }
    let call = push("none", b"[]").without("x-github-event");
    assert_empty(&call.send(&daemon, "gh"), 200);
    assert_eq!(types(&daemon).last().unwrap(), "github.unnamed");
}

#[test]
fn a_template_makes_the_type() {
    let home = Home::new();
    let daemon = start(&home, "");
    let definition = json!({"id": "gh", "preset": "github", "secrets": [SECRET],
        "forward_headers": ["x-team"]});
    made(&daemon, &definition);
    let cases = [
        ("code.{{ type }}", "code.push.opened"),
        ("{{ data.kind }}/{{ id }}", "order.d-1"),
        ("x.{{ headers['x-team'] }}", "x.red"),
        ("x.{{ query.shop }}", "x.north"),
        ("{{ data.absent }}", "github.unnamed"),
        ("outboxd.{{ type }}", "github.unnamed"),
        ("{{ data.spaces }}", "a_b"),
        ("{% if data.kind == 'order' %}yes{% endif %}", "yes"),
        (
            "{% if data.kind != 'order' %}yes{% endif %}",
            "github.unnamed",
        ),
        ("x.{{ headers.authorization|default('none') }}", "x.none"),
    ];
    for (n, (template, wanted)) in cases.iter().enumerate() {
        patch(&daemon.tcp, "gh", &json!({"type": template})).expect(200);
        let body =
            format!("{{\"action\":\"opened\",\"kind\":\"order\",\"spaces\":\"a b\",\"n\":{n}}}");
        let delivery = if n == 1 {
            "d-1".to_owned()
        } else {
            format!("n-{n}")
        };
        let mut call = push(&delivery, body.as_bytes())
            .with("x-team", "red")
            .with("authorization", "hunter2");
        call.query = "shop=north".to_owned();
        assert_empty(&call.send(&daemon, "gh"), 200);
        assert_eq!(types(&daemon)[n], *wanted, "{template}");
    }
    let detail = patch(&daemon.tcp, "gh", &json!({"type": "{{ type"})).problem(400);
    assert!(detail.contains("`type`"), "{detail}");
}

/// Dead letters, retries and replay are for events of sources as for others.
#[test]
fn what_came_in_is_retried_and_replayed_as_it_came() {
    let receiver = Receiver::statuses(&[500, 200]);
    let home = Home::new();
    let more = "forward_headers = [\"x-github-event\"]";
    let daemon = start(&home, &(github("gh", more) + &app(&receiver.url("/"))));
    assert_empty(&push("1", b"{\"n\" : 1}").send(&daemon, "gh"), 200);
    let id = only(&daemon)["id"].as_str().unwrap().to_owned();
    daemon.wait_status(&id, "app", "delivered");
    let delivered = json!({"status": "delivered"}).to_string();
    let replayed = daemon.tcp.post_json("/v1/endpoints/app/replay", delivered);
    assert_eq!(replayed.expect(202)["matched"], 1);
    let seen = receiver.wait(3);
    for one in &seen {
        assert_eq!((one.text(), one.id()), ("{\"n\" : 1}".to_owned(), &*id));
        assert_eq!(one.header("x-github-event"), "push");
        assert_eq!(one.header("outboxd-source"), "gh");
    }
}
