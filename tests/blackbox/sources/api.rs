//! Sources through the API: made, read, changed, tested, removed.

use serde_json::{Value, json};

use super::{
    Call, JSON, PUBLIC_URL, SECRET, assert_counts, assert_empty, event, events, github, listen,
    made, patch, push, shown, start, types,
};
use crate::harness::http::Response;
use crate::harness::{Daemon, Home, Receiver, endpoint};

fn delete(daemon: &Daemon, id: &str) -> Response {
    daemon
        .tcp
        .request("DELETE", &format!("/v1/sources/{id}"), &[], b"")
}

fn post(daemon: &Daemon, id: &str, action: &str, body: &Value) -> Response {
    daemon
        .tcp
        .post_json(&format!("/v1/sources/{id}/{action}"), body.to_string())
}

#[test]
fn a_source_is_made_and_takes_calls_at_once() {
    let home = Home::new();
    let daemon = start(&home, "");
    let definition = json!({"preset": "github", "secrets": [SECRET]});
    let answer = daemon.tcp.post_json("/v1/sources", definition.to_string());
    let location = answer.header("location").unwrap().to_owned();
    let source = answer.expect(201);
    let id = source["id"].as_str().unwrap();
    assert_eq!(location, format!("/v1/sources/{id}"));
    assert!(id.len() == 30 && id.starts_with("src_"), "{id}");
    let expected = json!({
        "id": id, "url": format!("{PUBLIC_URL}/in/{id}"), "preset": "github",
        "tenant": "default", "enabled": true, "description": "", "secrets": ["…"], "type": "",
        "forward_headers": [], "tolerance": "", "allow_from": [], "verify_token": "",
        "app_id": "", "public_key": "", "account": "", "token": "", "split": "",
        "rate_limit": "", "max_event_size": "25MiB", "idempotency_window": "7d", "verify": {},
        "source": "api", "applied": false, "changed_at": source["changed_at"], "last_received_at": null,
        "last_handshake_at": null, "recent_rejected": [],
        "counts": {"accepted": 0, "duplicate": 0, "handshakes": 0, "rejected": {}},
    });
    assert!(source["changed_at"].is_string());
    assert_eq!(source, expected);
    assert_eq!(shown(&daemon, id), expected);
    assert_empty(&push("1", b"{}").send(&daemon, id), 200);
    let source = shown(&daemon, id);
    assert!(source["last_received_at"].is_string());
    assert_counts(&daemon, id, 1, 0);
}

#[test]
fn every_field_is_taken_and_shown_with_its_secrets_masked() {
    let home = Home::new();
    let daemon = start(&home, "");
    let given = json!({
        "id": "fb", "preset": "meta", "tenant": "acme", "secrets": ["s1-s1-s1", "s2-s2-s2"],
        "type": "x.{{ type }}", "forward_headers": ["x-a", "x-b-*"], "allow_from": ["127.0.0.0/8"],
        "verify_token": "vt-vt-vt", "token": "ut-ut-ut", "split": "/entry", "rate_limit": "600/m",
        "max_event_size": "2MiB", "idempotency_window": "1h", "enabled": false,
        "description": "Ä page",
    });
    let source = made(&daemon, &given);
    for (key, value) in given.as_object().unwrap() {
        let wanted = match key.as_str() {
            "secrets" => json!(["…", "…"]),
            "verify_token" | "token" => json!("…"),
            "rate_limit" => json!("10/s"),
            _ => value.clone(),
        };
        assert_eq!(source[key], wanted, "{key}");
    }
    assert_eq!(source["url"], format!("{PUBLIC_URL}/in/fb?token=…"));
    let zoned = json!({"preset": "slack", "secrets": ["s"], "tolerance": "90s"});
    assert_eq!(made(&daemon, &zoned)["tolerance"], "90s");
    let own = json!({"secrets": ["00ff"], "verify": {"algorithm": "hmac-sha256", "key": "hex",
        "signature": "header:x-mac", "encoding": "hex"}});
    let source = made(&daemon, &own);
    assert_eq!(
        (&source["preset"], &source["verify"]),
        (&"custom".into(), &own["verify"])
    );
}

#[test]
fn sources_are_listed_by_id_page_by_page() {
    let home = Home::new();
    let daemon = start(&home, &github("file", ""));
    for (id, tenant) in [("c", "one"), ("a", "one"), ("b", "two"), ("d", "one")] {
        made(
            &daemon,
            &json!({"id": id, "preset": "github", "secrets": [SECRET], "tenant": tenant}),
        );
    }
    let ids = |path: &str| -> (Vec<String>, Value) {
        let page = daemon.tcp.get(path).expect(200);
        let rows = page["data"].as_array().unwrap().iter();
        let ids = rows.map(|row| row["id"].as_str().unwrap().to_owned());
        (ids.collect(), page["next"].clone())
    };
    let (all, next) = ids("/v1/sources");
    assert_eq!(
        (all, next),
        (
            ["a", "b", "c", "d", "file"].map(str::to_owned).to_vec(),
            Value::Null
        )
    );
    assert_eq!(ids("/v1/sources?tenant=one").0, ["a", "c", "d"]);
    let (first, next) = ids("/v1/sources?limit=2");
    assert_eq!(first, ["a", "b"]);
    let cursor = next.as_str().unwrap();
    // What is removed and made in between moves no page.
    assert_eq!(delete(&daemon, "b").status, 204);
    made(
        &daemon,
        &json!({"id": "aa", "preset": "github", "secrets": [SECRET]}),
    );
    let (second, next) = ids(&format!("/v1/sources?limit=2&cursor={cursor}"));
    assert_eq!(second, ["c", "d"]);
    let cursor = next.as_str().unwrap();
    let (third, next) = ids(&format!("/v1/sources?limit=2&cursor={cursor}"));
    assert_eq!((third, next), (vec!["file".to_owned()], Value::Null));
    let listed = daemon.tcp.get("/v1/sources?limit=1").expect(200);
    assert_eq!(listed["data"][0].get("recent_rejected"), None);
    for (query, named) in [
        ("cursor=abc", "cursor"),
        ("limit=0", "limit"),
        ("tenant=a%20b", "tenant"),
        ("tennant=a", "tennant"),
    ] {
        let detail = daemon.tcp.get(&format!("/v1/sources?{query}")).problem(400);
        assert!(detail.contains(named), "{detail}");
    }
}

#[test]
fn a_change_counts_from_the_next_call_and_leaves_the_rest() {
    let home = Home::new();
    let daemon = start(&home, "");
    let definition = json!({"id": "gh", "preset": "github", "secrets": [SECRET],
        "type": "x.{{ type }}", "description": "d", "rate_limit": "100/s"});
    let before = made(&daemon, &definition);
    assert_empty(&push("1", b"{}").send(&daemon, "gh"), 200);
    let change = json!({"type": "y.{{ type }}", "description": "e", "enabled": true});
    let changed = patch(&daemon.tcp, "gh", &change).expect(200);
    assert_eq!(changed["type"], "y.{{ type }}");
    for key in ["rate_limit", "secrets", "preset", "idempotency_window"] {
        assert_eq!(changed[key], before[key], "{key}");
    }
    assert_eq!(changed["counts"]["accepted"], 1);
    assert_empty(&push("2", b"{}").send(&daemon, "gh"), 200);
    // What is known stays known.
    assert_empty(&push("1", b"{}").send(&daemon, "gh"), 200);
    assert_counts(&daemon, "gh", 2, 1);
    patch(&daemon.tcp, "gh", &json!({"tenant": "acme"})).expect(200);
    assert_empty(&push("3", b"{}").send(&daemon, "gh"), 200);
    assert_eq!(types(&daemon), ["x.push", "y.push", "y.push"]);
    assert_eq!(events(&daemon)[0]["tenant"], "acme");
    let reset = json!({"type": null, "rate_limit": null, "tenant": null});
    let changed = patch(&daemon.tcp, "gh", &reset).expect(200);
    assert_eq!(
        (&changed["type"], &changed["rate_limit"]),
        (&"".into(), &"".into())
    );
    assert_eq!(changed["tenant"], "default");
    patch(&daemon.tcp, "gh", &json!({"enabled": false})).expect(200);
    assert_empty(&push("4", b"{}").send(&daemon, "gh"), 404);
    patch(&daemon.tcp, "gh", &json!({"enabled": true})).expect(200);
    assert_empty(&push("4", b"{}").send(&daemon, "gh"), 200);
    // Another provider, with what it needs; and without is a fault that changes nothing.
    let detail = patch(&daemon.tcp, "gh", &json!({"secrets": []})).problem(400);
    assert!(detail.contains("`secrets`"), "{detail}");
    let slack = json!({"preset": "slack", "tolerance": "1m"});
    let changed = patch(&daemon.tcp, "gh", &slack).expect(200);
    assert_eq!(
        (&changed["preset"], &changed["tolerance"]),
        (&"slack".into(), &"1m".into())
    );
    assert_empty(&push("4", b"{}").send(&daemon, "gh"), 401);
}

#[test]
fn what_came_in_stays_when_its_source_is_removed() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = start(&home, &endpoint("app", &receiver.url("/"), ""));
    let definition = json!({"id": "gh", "preset": "github", "secrets": [SECRET]});
    made(&daemon, &definition);
    assert_empty(&push("1", b"{}").send(&daemon, "gh"), 200);
    let answer = delete(&daemon, "gh");
    assert_eq!((answer.status, answer.text()), (204, String::new()));
    assert_empty(&push("2", b"{}").send(&daemon, "gh"), 404);
    delete(&daemon, "gh").problem(404);
    daemon.tcp.get("/v1/sources/gh").problem(404);
    patch(&daemon.tcp, "gh", &json!({"enabled": false})).problem(404);
    for action in ["rotate", "test"] {
        post(&daemon, "gh", action, &json!({})).problem(404);
    }
    let taken = events(&daemon)[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(event(&daemon, &taken)["received"]["source"], "gh");
    daemon.wait_status(&taken, "app", "delivered");
    // Made anew it begins anew, but for what is known.
    made(&daemon, &definition);
    assert_counts(&daemon, "gh", 0, 0);
    assert_empty(&push("1", b"{}").send(&daemon, "gh"), 200);
    assert_counts(&daemon, "gh", 0, 1);
}

#[test]
fn what_the_file_has_is_read_only() {
    let home = Home::new();
    let daemon = start(&home, &github("gh", "forward_headers = [\"x-a\"]"));
    let source = shown(&daemon, "gh");
    assert_eq!(
        (&source["source"], &source["changed_at"]),
        (&"toml".into(), &Value::Null)
    );
    for answer in [
        patch(&daemon.tcp, "gh", &json!({"enabled": false})),
        delete(&daemon, "gh"),
        post(&daemon, "gh", "rotate", &json!({})),
    ] {
        let detail = answer.problem(409);
        assert!(detail.contains("read-only"), "{detail}");
    }
    let taken = json!({"id": "gh", "preset": "github", "secrets": [SECRET]});
    daemon
        .tcp
        .post_json("/v1/sources", taken.to_string())
        .problem(409);
    let tested = post(&daemon, "gh", "test", &json!({})).expect(200);
    assert_eq!(
        (&tested["status"], types(&daemon)),
        (&200.into(), vec!["github.pull_request.opened".to_owned()])
    );
    assert_eq!(shown(&daemon, "gh")["enabled"], true);
}

#[test]
fn a_bad_field_is_named() {
    let home = Home::new();
    let daemon = start(&home, "");
    let good = json!({"preset": "github", "secrets": ["s"]});
    let with = |key: &str, value: Value| {
        let mut definition = good.clone();
        definition[key] = value;
        definition
    };
    let slack = |key: &str, value: Value| {
        let mut definition = with(key, value);
        definition["preset"] = "slack".into();
        definition
    };
    let cases = [
        (json!({}), &["`preset`"][..]),
        (json!({"preset": "github"}), &["`secrets`"]),
        (json!({"preset": "github", "secrets": []}), &["`secrets`"]),
        (
            json!({"preset": "githup", "secrets": ["s"]}),
            &["`preset`", "did you mean", "github"],
        ),
        (with("secrets", json!([""])), &["`secrets[0]`"]),
        (
            with("secrets", json!(["a", "b", "c", "d", "e", "f"])),
            &["`secrets`"],
        ),
        (with("secrets", json!([7])), &["`secrets[0]`"]),
        (with("id", json!("a b")), &["`id`"]),
        (with("id", json!("a".repeat(65))), &["`id`"]),
        (with("id", json!("")), &["`id`"]),
        (with("tenant", json!("a b")), &["`tenant`"]),
        (with("type", json!("{{ nope( }}")), &["`type`"]),
        (
            with("forward_headers", json!(["authorization"])),
            &["`forward_headers[0]`"],
        ),
        (
            with("forward_headers", json!(["x", "a b"])),
            &["`forward_headers[1]`"],
        ),
        (slack("tolerance", json!("5")), &["`tolerance`"]),
        (slack("tolerance", json!("0s")), &["`tolerance`"]),
        (with("tolerance", json!("5m")), &["`tolerance`"]),
        (
            with("allow_from", json!(["10.0.0.1"])),
            &["`allow_from[0]`", "10.0.0.1/32"],
        ),
        (with("allow_from", json!(["here"])), &["`allow_from[0]`"]),
        (with("verify_token", json!("x")), &["`verify_token`"]),
        (with("app_id", json!("x")), &["`app_id`"]),
        (with("public_key", json!("x")), &["`public_key`"]),
        (with("account", json!("x")), &["`account`"]),
        (with("split", json!("items")), &["`split`"]),
        (with("rate_limit", json!("fast")), &["`rate_limit`"]),
        (with("max_event_size", json!("0")), &["`max_event_size`"]),
        (with("max_event_size", json!("big")), &["`max_event_size`"]),
        (
            with("idempotency_window", json!("0s")),
            &["`idempotency_window`"],
        ),
        (with("enabled", json!("yes")), &["`enabled`"]),
        (with("description", json!(7)), &["`description`"]),
        (
            with("verify", json!({"signature": "header:x"})),
            &["`verify`"],
        ),
        (with("secret", json!("s")), &["`secret`", "`secrets`"]),
        // Files are for who has the file.
        (
            with("secret_files", json!(["/etc/passwd"])),
            &["`secret_files`"],
        ),
        (with("token_file", json!("/etc/passwd")), &["`token_file`"]),
        (
            with("verify_token_file", json!("/etc/passwd")),
            &["`verify_token_file`"],
        ),
        // So is to verify nothing.
        (with("verify", json!("none")), &["`verify`"]),
        (json!({"verify": "none"}), &["`verify`"]),
        (
            json!({"secrets": ["s"], "verify": {"sgnature": "header:x"}}),
            &["sgnature"],
        ),
        (json!({"secrets": ["s"], "verify": {}}), &["`preset`"]),
    ];
    for (definition, parts) in cases {
        let answer = daemon.tcp.post_json("/v1/sources", definition.to_string());
        assert_eq!(answer.status, 400, "{definition}");
        let detail = answer.problem(400);
        for part in parts {
            assert!(
                detail.contains(part),
                "{definition}: {part} is not in {detail}"
            );
        }
    }
    for body in [
        "",
        "[]",
        "{",
        "{\"preset\":\"github\",\"preset\":\"slack\"}",
    ] {
        daemon.tcp.post_json("/v1/sources", body).problem(400);
    }
    let text = [("content-type", "text/plain")];
    let answer = daemon
        .tcp
        .request("POST", "/v1/sources", &text, good.to_string().as_bytes());
    answer.problem(415);
    assert_eq!(daemon.tcp.get("/v1/sources").expect(200)["data"], json!([]));
}

#[test]
fn a_bad_change_changes_nothing() {
    let home = Home::new();
    let daemon = start(&home, "");
    made(
        &daemon,
        &json!({"id": "gh", "preset": "github", "secrets": [SECRET]}),
    );
    let before = shown(&daemon, "gh");
    for (change, named) in [
        (json!({"id": "other"}), "`id`"),
        (json!({"secrets": null}), "`secrets`"),
        (json!({"preset": null}), "`preset`"),
        (json!({"preset": "stripee"}), "`preset`"),
        (json!({"verify": "none"}), "`verify`"),
        (
            json!({"preset": null, "secrets": null, "verify": "none"}),
            "`verify`",
        ),
        (json!({"tenant": "acme", "rate_limit": "x"}), "`rate_limit`"),
        (json!({"secret_files": ["x"]}), "`secret_files`"),
    ] {
        let detail = patch(&daemon.tcp, "gh", &change).problem(400);
        assert!(detail.contains(named), "{change}: {detail}");
        assert_eq!(shown(&daemon, "gh"), before, "{change}");
    }
    for (body, named) in [
        (json!({"overlap": "x"}), "`overlap`"),
        (json!({"overlap": "-1s"}), "`overlap`"),
        (json!({"secret": ""}), "secret"),
        (json!({"secrets": ["x"]}), "`secrets`"),
    ] {
        let detail = post(&daemon, "gh", "rotate", &body).problem(400);
        assert!(detail.contains(named), "{body}: {detail}");
    }
    assert_eq!(shown(&daemon, "gh"), before);
    assert_empty(&push("1", b"{}").send(&daemon, "gh"), 200);
}

/// A scheme that signs the URL is of no use where nobody said what the URL is.
#[test]
fn without_a_public_url_the_listener_s_own_is_shown_and_none_can_be_signed() {
    let home = Home::new();
    let listen = listen(&home, "").replace(&format!("public_url = \"{PUBLIC_URL}\""), "");
    let daemon = home.start(&(listen + &github("gh", "")));
    // Then it is the listener's own address.
    let address = daemon.inbound.unwrap();
    assert_eq!(
        shown(&daemon, "gh")["url"],
        format!("http://{address}/in/gh")
    );
    let own = json!({"secrets": ["s"], "verify": {"signature": "header:x-mac",
        "content": "{url}{body}"}});
    let answer = daemon.tcp.post_json("/v1/sources", own.to_string());
    let detail = answer.problem(400);
    assert!(detail.contains("public_url"), "{detail}");
}

/// What `test` signs goes the way of a call, and says why it is refused.
#[test]
fn a_test_signs_a_sample_as_the_provider_does() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = start(&home, &endpoint("app", &receiver.url("/"), ""));
    made(
        &daemon,
        &json!({"id": "gh", "preset": "github", "secrets": [SECRET]}),
    );
    let tested = post(&daemon, "gh", "test", &json!({})).expect(200);
    assert_eq!(tested["status"], 200);
    let id = tested["events"][0].as_str().unwrap();
    daemon.wait_status(id, "app", "delivered");
    let seen = receiver.wait(1).remove(0);
    assert_eq!((seen.id(), seen.header("outboxd-source")), (id, "gh"));
    assert_eq!(event(&daemon, id)["received"]["verified_by"], "secret 1");
    // Each sample is a delivery of its own.
    post(&daemon, "gh", "test", &json!({})).expect(200);
    let own = json!({"body": "{\"action\": \"closed\"}"});
    let tested = post(&daemon, "gh", "test", &own).expect(200);
    let third = event(&daemon, tested["events"][0].as_str().unwrap());
    assert_eq!(third["type"], "github.pull_request.closed");
    assert_counts(&daemon, "gh", 3, 0);
    patch(&daemon.tcp, "gh", &json!({"max_event_size": "1KiB"})).expect(200);
    let large = json!({"body": "x".repeat(1025)});
    let tested = post(&daemon, "gh", "test", &large).expect(200);
    assert_eq!(
        (&tested["status"], &tested["reason"]),
        (&413.into(), &"too_large".into())
    );
    patch(&daemon.tcp, "gh", &json!({"enabled": false})).expect(200);
    let tested = post(&daemon, "gh", "test", &json!({})).expect(200);
    assert_eq!(
        (&tested["status"], &tested["reason"]),
        (&404.into(), &"disabled".into())
    );
    assert!(tested["detail"].is_string());
    let detail = post(&daemon, "gh", "test", &json!({"boddy": "x"})).problem(400);
    assert!(detail.contains("`boddy`"), "{detail}");
}

/// A token in the URL is all that a provider has that signs nothing.
#[test]
fn a_token_in_the_url_lets_a_provider_in_that_signs_nothing() {
    let home = Home::new();
    let daemon = start(&home, "");
    let both = json!({"id": "gh", "preset": "github", "secrets": [SECRET], "token": "t0k en"});
    made(&daemon, &both);
    let with = |query: &str| Call {
        query: query.to_owned(),
        ..push(query, b"{}")
    };
    assert_empty(&with("token=t0k+en&x=y").send(&daemon, "gh"), 200);
    for query in [
        "",
        "token=",
        "token=t0k+e",
        "token=T0k+en",
        "Token=t0k+en",
        "token",
    ] {
        assert_empty(&with(query).send(&daemon, "gh"), 401);
    }
    // It is asked for beside the signature, not in its place.
    let unsigned = with("token=t0k+en&n=2").without("x-hub-signature-256");
    assert_empty(&unsigned.send(&daemon, "gh"), 401);
    let answer = daemon.tcp.request("GET", "/v1/sources/gh", &JSON, b"");
    assert!(!answer.text().contains("t0k"), "{}", answer.text());
}
