//! Definitions, and why they are refused.

use super::support::{Request, at, refused, source};
use crate::domain::inbound::{MAX_DELIVERY_ID, NAMES, Received, VerifiedBy, presets};

#[test]
fn faults_name_the_key_and_the_fix() {
    for (definition, key, says) in [
        (r#"{}"#, "preset", "nothing says how"),
        (
            r#"{"preset":"strip"}"#,
            "preset",
            "did you mean \"stripe\"?",
        ),
        (
            r#"{"preset":"stripe","secrts":["x"]}"#,
            "secrts",
            "did you mean \"secrets\"?",
        ),
        (
            r#"{"preset":"stripe","secrets":[]}"#,
            "secrets",
            "nothing verifies",
        ),
        (
            r#"{"preset":"stripe","token":"x"}"#,
            "secrets",
            "nothing verifies",
        ),
        (
            r#"{"preset":"stripe","secrets":[""]}"#,
            "secrets[0]",
            "empty",
        ),
        (
            r#"{"preset":"stripe","secrets":[1]}"#,
            "secrets[0]",
            "this is a number",
        ),
        (
            r#"{"preset":"stripe","secrets":["1","2","3","4","5","6"]}"#,
            "secrets",
            "more than 5",
        ),
        (r#"{"preset":"query_token"}"#, "token", "nothing verifies"),
        (
            r#"{"preset":"discord","public_key":"00"}"#,
            "public_key",
            "not a public key",
        ),
        (
            r#"{"preset":"discord","secrets":["x"]}"#,
            "secrets",
            "no effect",
        ),
        (
            r#"{"preset":"github","secrets":["x"],"app_id":"1"}"#,
            "app_id",
            "no effect",
        ),
        (
            r#"{"preset":"github","secrets":["x"],"tolerance":"5m"}"#,
            "tolerance",
            "no effect",
        ),
        (
            r#"{"preset":"stripe","secrets":["x"],"tolerance":"5"}"#,
            "tolerance",
            "unit",
        ),
        (
            r#"{"preset":"stripe","secrets":["x"],"tolerance":"0s"}"#,
            "tolerance",
            "at least",
        ),
        (
            r#"{"preset":"stripe","secrets":["x"],"rate_limit":"5"}"#,
            "rate_limit",
            "/s or /m",
        ),
        (
            r#"{"preset":"stripe","secrets":["x"],"max_event_size":"1MB"}"#,
            "max_event_size",
            "KiB",
        ),
        (
            r#"{"preset":"stripe","secrets":["x"],"max_event_size":"0KiB"}"#,
            "max_event_size",
            "write such as",
        ),
        (
            r#"{"preset":"stripe","secrets":["x"],"max_event_size":"257MiB"}"#,
            "max_event_size",
            "at most \"256MiB\"",
        ),
        (
            r#"{"secrets":["x"],"verify":{"signature":"header:a","max_event_size":"1GiB"}}"#,
            "verify.max_event_size",
            "at most \"256MiB\"",
        ),
        (
            r#"{"preset":"stripe","secrets":["x"],"allow_from":["10.0.0.1"]}"#,
            "allow_from[0]",
            "10.0.0.1/32",
        ),
        (
            r#"{"preset":"stripe","secrets":["x"],"type":"{{ type"}"#,
            "type",
            "line 1",
        ),
        (
            r#"{"preset":"stripe","secrets":["x"],"tenant":"a b"}"#,
            "tenant",
            "a tenant is",
        ),
        (
            r#"{"preset":"stripe","secrets":["x"],"split":"entry"}"#,
            "split",
            "JSON pointer",
        ),
        (
            r#"{"preset":"stripe","secrets":["x"],"forward_headers":["cookie"]}"#,
            "forward_headers[0]",
            "never",
        ),
        (
            r#"{"preset":"gitlab","secrets":["x"],"forward_headers":["X-Gitlab-Token"]}"#,
            "forward_headers[0]",
            "never",
        ),
        (
            r#"{"preset":"stripe","secrets":["x"],"verify":{"signature":"header:a"}}"#,
            "verify",
            "remove preset or verify",
        ),
        (r#"{"verify":"non"}"#, "verify", "neither"),
        (
            r#"{"secrets":["x"],"verify":{"signatur":"header:a"}}"#,
            "verify.signatur",
            "did you mean",
        ),
        (
            r#"{"secrets":["x"],"verify":{"content":"{body}"}}"#,
            "verify.signature",
            "where the signature is",
        ),
        (
            r#"{"secrets":["x"],"verify":{"signature":"heder:a"}}"#,
            "verify.signature",
            "did you mean \"header:\"?",
        ),
        (
            r#"{"secrets":["x"],"verify":{"signature":"header:a","content":"{url}"}}"#,
            "verify.content",
            "the body is not part",
        ),
        (
            r#"{"secrets":["x"],"verify":{"signature":"header:a","content":"{body}{secret}"}}"#,
            "verify.content",
            "remove {secret}",
        ),
        (
            r#"{"secrets":["x"],"verify":{"signature":"header:a","algorithm":"sha256"}}"#,
            "verify.content",
            "write {secret}",
        ),
        (
            r#"{"secrets":["x"],"verify":{"signature":"header:a","content":"{bdy}"}}"#,
            "verify.content",
            "did you mean {body}?",
        ),
        (
            r#"{"secrets":["x"],"verify":{"signature":"header:a","content":"{timestamp}{body}"}}"#,
            "verify.timestamp",
            "where it is",
        ),
        (
            r#"{"secrets":["x"],"verify":{"signature":"header:a","timestamp":"header:b"}}"#,
            "verify.timestamp",
            "not signed",
        ),
        (
            r#"{"secrets":["x"],"verify":{"signature":"header:a","algorithm":"md5"}}"#,
            "verify.algorithm",
            "not known",
        ),
        (
            r#"{"secrets":["x"],"verify":{"signature":"header:a","part":"v1","prefix":"x"}}"#,
            "verify.prefix",
            "exclude",
        ),
        (
            r#"{"secrets":["x"],"verify":{"signature":"header:a","content":"{url}{form_sorted}","body_sha256":"header:h"}}"#,
            "verify.body_sha256",
            "anybody can change it",
        ),
        (
            r#"{"secrets":["x"],"verify":{"signature":"header:a","handshake":{"kind":"plain_token","from":"query:t","signed":false}}}"#,
            "verify.handshake.signed",
            "signs the request",
        ),
        (
            r#"{"secrets":["x"],"verify":{"signature":"header:a","answer":{"status":500}}}"#,
            "verify.answer.status",
            "200 to 299",
        ),
        (
            r#"{"secrets":["x"],"verify":{"signature":"header:a","handshake":[{"kind":"eco"}]}}"#,
            "verify.handshake[0].kind",
            "did you mean \"echo\"?",
        ),
    ] {
        let (found, sentence) = refused(definition);
        assert_eq!(found, key, "{definition}: {sentence}");
        assert!(sentence.contains(says), "{definition}: {sentence}");
    }
}

#[test]
fn empty_keys_are_absent_and_defaults_are_those_of_the_docs() {
    let source = source(
        r#"{"preset":"github","secrets":["x"],"tenant":"default","type":"","forward_headers":[],
            "tolerance":"","allow_from":[],"verify_token":"","app_id":"","public_key":"",
            "account":"","token":"","split":"","rate_limit":"","max_event_size":"",
            "idempotency_window":"7d","enabled":true,"description":"","verify":{}}"#,
    );
    assert_eq!(source.max_event_size, Some(25 << 20));
    assert_eq!(source.idempotency_window.as_secs(), 7 * 86_400);
    assert!(source.enabled && source.rate_limit.is_none() && !source.needs_url());
    assert!(source.allows("192.0.2.1".parse().unwrap()));
    let shown = source.shown().to_string();
    assert!(shown.contains(r#""secrets":["…"]"#), "{shown}");
    assert!(shown.contains(r#""max_event_size":"25MiB""#), "{shown}");
}

#[test]
fn a_recipe_of_ones_own_verifies() {
    let source = source(
        r#"{"secrets":["k1","k2"],"verify":{"algorithm":"hmac-sha512","encoding":"base64url",
            "content":"{id}:{timestamp}:{body}","signature":"query:sig","timestamp":"header:x-time",
            "unit":"rfc3339","message_id":"header:x-id","type":"text:order + body:/kind",
            "answer":{"status":202,"content_type":"text/plain","body":"ok"}}}"#,
    );
    let now = at(1_700_000_000);
    let sample = source
        .sample(Some(r#"{"kind":"a/b"}"#.into()), [1; 16], now, None)
        .unwrap();
    let call = Request::of(sample, "https://a.b/in/s");
    let event = call.event(&source, now);
    assert_eq!(event.event_type.as_str(), "custom.order.a.b");
    assert_eq!(call.answered(&source, now).body, "ok");
    assert_eq!(call.why(&source, at(1_700_000_301)), "stale");
    let none = call.query("").why(&source, now);
    assert_eq!(none, "missing_signature");
}

#[test]
fn nothing_verifies_if_that_is_said() {
    let none = source(r#"{"verify":"none","type":"sensor.{{ data.kind }}"}"#);
    assert!(none.verifies_nothing());
    let call = Request::post(r#"{"kind":"temperature"}"#);
    assert_eq!(
        call.event(&none, at(0)).event_type.as_str(),
        "sensor.temperature"
    );
    assert_eq!(call.verified_by(&none, at(0)), VerifiedBy::Nothing);
    let named = source(r#"{"verify":"none","preset":"stripe"}"#);
    let call = Request::post(r#"{"id":"evt_1","type":"a.b"}"#);
    assert_eq!(call.event(&named, at(0)).event_type.as_str(), "stripe.a.b");
    let sample = named.sample(None, [0; 16], at(0), None).unwrap();
    assert!(matches!(
        Request::of(sample, "").to(&named, at(0)),
        Received::Events { .. }
    ));
}

#[test]
fn the_token_of_the_url_is_asked_beside_the_signature() {
    let source = source(r#"{"preset":"github","secrets":["s"],"token":"t"}"#);
    let call = Request::of(source.sample(None, [0; 16], at(0), None).unwrap(), "");
    assert_eq!(call.query, "token=t");
    assert_eq!(call.verified_by(&source, at(0)), VerifiedBy::Secret(1));
    assert_eq!(
        call.clone().query("").why(&source, at(0)),
        "missing_signature"
    );
    assert_eq!(
        call.clone().query("token=x").why(&source, at(0)),
        "bad_signature"
    );
    let unsigned = Request::post("{}").query("token=t");
    assert_eq!(unsigned.why(&source, at(0)), "missing_signature");
    assert!(source.is_secret_param("token") && !source.is_secret_param("x"));
}

#[test]
fn types_are_made_of_templates_that_see_no_secret() {
    let with_type = |template: &str| {
        let text = format!(r#"{{"verify":"none","token":"t","type":"{template}"}}"#);
        let call = Request::post(r#"{"a":{"b":"x y"}}"#)
            .query("token=t&q=1")
            .with("authorization", "secret")
            .with("x-kind", "Order");
        call.event(&source(&text), at(0)).event_type.to_string()
    };
    assert_eq!(
        with_type("{{ data.a.b }}.{{ headers['x-kind'] }}.{{ query.q }}"),
        "x_y.Order.1"
    );
    for hidden in [
        "{{ headers.authorization }}",
        "{{ query.token }}",
        "{{ data.none }}",
        "outboxd.x",
    ] {
        assert_eq!(with_type(hidden), "custom.unnamed", "{hidden}");
    }
    assert_eq!(with_type("constant"), "constant");
}

#[test]
fn disabled_and_addresses() {
    let source = source(
        r#"{"preset":"github","secrets":["s"],"enabled":false,"allow_from":["192.0.2.0/24","2001:db8::/32"]}"#,
    );
    assert_eq!(Request::post("").rejected(&source, at(0)).status(), 404);
    for (address, allowed) in [
        ("192.0.2.9", true),
        ("::ffff:192.0.2.9", true),
        ("192.0.3.9", false),
        ("2001:db8::1", true),
        ("::1", false),
    ] {
        assert_eq!(
            source.allows(address.parse().unwrap()),
            allowed,
            "{address}"
        );
    }
}

#[test]
fn all_presets_are_there() {
    assert_eq!(presets().len(), NAMES.len());
}

#[test]
fn a_body_without_an_array_is_one_event_and_split_meta_entries_are_their_own() {
    let source = source(r#"{"verify":"none","preset":"meta","split":"/entry"}"#);
    let body = r#"{"object":"page","entry":[{"id":"1","messaging":[{}]},{"id":"2","changes":[{"field":"feed"}]}]}"#;
    let events = Request::post(body).events(&source, at(0));
    let types: Vec<&str> = events
        .iter()
        .map(|event| event.event_type.as_str())
        .collect();
    assert_eq!(types, ["meta.page.messaging", "meta.page.feed"]);
    assert_eq!(events[0].body, r#"{"id":"1","messaging":[{}]}"#);
    for whole in [
        r#"{"object":"page"}"#,
        r#"{"object":"page","entry":1}"#,
        "x",
        "",
    ] {
        assert_eq!(Request::post(whole).event(&source, at(0)).body, whole);
    }
    let many = format!(r#"{{"entry":[{}1]}}"#, "1,".repeat(1000));
    assert_eq!(Request::post(many.clone()).event(&source, at(0)).body, many);
}

#[test]
fn elements_of_a_call_with_an_id_are_numbered() {
    let source = source(r#"{"verify":"none","preset":"github","split":"/items"}"#);
    let call = Request::post(r#"{"items":[1,1,2]}"#).with("x-github-delivery", "d");
    let events = call.events(&source, at(0));
    let ids: Vec<&str> = events.iter().map(|event| &*event.delivery_id).collect();
    assert_eq!(ids, ["d#0", "d#1", "d#2"]);
    let long = call.with("x-github-delivery", &"d".repeat(500));
    for event in long.events(&source, at(0)) {
        assert!(event.delivery_id.starts_with("sha256:"));
        assert!(event.delivery_id.len() <= MAX_DELIVERY_ID);
    }
}

#[test]
fn no_element_of_a_call_gets_the_id_of_another() {
    let source = source(r#"{"verify":"none","preset":"line","split":"/events"}"#);
    for (given, wanted) in [
        (&["a", "a", "a#1"][..], &["a", "a#2", "a#1"][..]),
        (&["a#1", "a", "a", "a"], &["a#1", "a", "a#2", "a#3"]),
        (
            &["a", "a", "a#1", "a#1", "a#1#1"],
            &["a", "a#2", "a#1", "a#1#2", "a#1#1"],
        ),
    ] {
        let elements = given
            .iter()
            .map(|id| format!(r#"{{"webhookEventId":"{id}"}}"#));
        let elements: Vec<String> = elements.collect();
        let body = format!(r#"{{"events":[{}]}}"#, elements.join(","));
        let events = Request::post(body).events(&source, at(0));
        let ids: Vec<&str> = events.iter().map(|event| &*event.delivery_id).collect();
        assert_eq!(ids, wanted, "{given:?}");
    }
}

#[test]
fn ids_that_collide_at_every_number_stay_short_and_different() {
    let source = source(r#"{"verify":"none","preset":"line","split":"/events"}"#);
    let long = "a".repeat(MAX_DELIVERY_ID - 10);
    let mut elements = Vec::new();
    for n in 0..500 {
        elements.push(format!(r#"{{"webhookEventId":"{long}"}}"#));
        elements.push(format!(
            r#"{{"webhookEventId":"b#{n}"}},{{"webhookEventId":"b"}}"#
        ));
    }
    elements.truncate(666);
    let body = format!(r#"{{"events":[{}]}}"#, elements.join(","));
    let events = Request::post(body).events(&source, at(0));
    let ids: std::collections::HashSet<&str> =
        events.iter().map(|event| &*event.delivery_id).collect();
    assert_eq!(ids.len(), events.len());
    assert!(ids.iter().all(|id| id.len() <= MAX_DELIVERY_ID));
}

#[test]
fn a_form_with_json_is_read_as_json() {
    let source = source(r#"{"preset":"github","secrets":["s"],"type":"{{ type }}.{{ data.n }}"}"#);
    let body = "payload=%7B%22action%22%3A%22opened%22%2C%22n%22%3A12.50%7D";
    let sample = source
        .sample(Some(body.into()), [0; 16], at(0), None)
        .unwrap();
    let form = "application/x-www-form-urlencoded";
    let call = Request::of(sample, "").with("content-type", form);
    let event = call.event(&source, at(0));
    assert_eq!(event.event_type.as_str(), "pull_request.opened.12.50");
    assert_eq!(
        (event.content_type.as_deref(), &event.body[..]),
        (Some(form), body.as_bytes())
    );
}
