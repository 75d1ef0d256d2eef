//! Requests that no provider made.

use proptest::collection::vec;
use proptest::prelude::*;

use super::presets::{SECRET, definition};
use super::support::{Request, at, named, source};
use crate::domain::inbound::{NAMES, Received, VerifiedBy};

const NOW: u64 = 1_700_000_000;

/// Headers and parameters that some recipe reads, and values that look right in parts.
const HEADERS: [&str; 14] = [
    "x-hub-signature-256",
    "stripe-signature",
    "x-slack-signature",
    "webhook-signature",
    "x-slack-request-timestamp",
    "webhook-timestamp",
    "webhook-id",
    "authorization",
    "content-type",
    "x-signature-ed25519",
    "x-signature-timestamp",
    "ce-id",
    "ce-specversion",
    "x-twilio-signature",
];
const VALUES: &str = "(sha256=|v0=|t=1700000000,v1=|v1,|v1a,|Basic |Bearer |mac=)?[0-9a-fA-F=,+/ ]{0,130}|1700000000|application/(x-www-form-urlencoded|json|cloudevents(-batch)?\\+json)";
const QUERIES: &str = "((hub\\.challenge|hub\\.mode|hub\\.verify_token|crc_token|validationToken|token|bodySHA256|challenge)=[a-z%0-9]{0,12}&?){0,3}";
const BODIES: &str = "[\\[{]{0,3}(\"(type|challenge|event|payload|events|value|plainToken|timestamp)\":?[\\[{\"0-9a-z}\\]]{0,6},?){0,5}[\\]}]{0,3}";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn nothing_panics_and_nothing_unsigned_is_an_event(
        preset in 0..NAMES.len(),
        headers in vec((0..HEADERS.len(), VALUES), 0..5),
        query in QUERIES,
        text in BODIES,
        bytes in any::<Vec<u8>>(),
        method in 0..4_usize,
    ) {
        let source = source(&definition(NAMES[preset], &[SECRET]));
        for body in [text.into_bytes(), bytes] {
            let mut call = Request::post(body).query(&query);
            call.method = ["POST", "GET", "OPTIONS", "HEAD"][method].parse().unwrap();
            call.url = Some(format!("https://a.b/in/s?{query}"));
            for (n, value) in &headers {
                call = call.with(HEADERS[*n], value);
            }
            let received = call.to(&source, at(NOW));
            prop_assert!(!matches!(received, Received::Events { .. }), "{:?}", received);
        }
    }

    #[test]
    fn any_header_bytes_are_read(value in vec(32..=255_u8, 0..80), n in 0..HEADERS.len()) {
        let Ok(value) = http::HeaderValue::from_bytes(&value) else { return Ok(()) };
        for preset in NAMES {
            let source = source(&definition(preset, &[SECRET]));
            let mut call = Request::post("{}");
            call.headers.insert(HEADERS[n], value.clone());
            let _ = call.to(&source, at(NOW));
        }
    }
}

#[test]
fn many_candidates_cost_little_and_the_first_ones_count() {
    let source = source(&definition("stripe", &["whsec_test_secret"]));
    let right = "e135cdbed3dda004bf8a2fb350f2541d299393c770e0b9e6e319dc595e9072aa";
    let after = |wrong: usize| {
        let wrong = format!("v1={},", "0".repeat(64)).repeat(wrong);
        let header = format!("t=1614265330,{wrong}v1={right}");
        Request::post(r#"{"id":"evt_1"}"#).with("stripe-signature", &header)
    };
    let now = at(1_614_265_330);
    assert_eq!(after(15).verified_by(&source, now), VerifiedBy::Secret(1));
    assert_eq!(after(16).why(&source, now), "bad_signature");
    // Several lines of a header are read as one.
    let mut lines = after(0);
    lines
        .headers
        .append("stripe-signature", "v1=00".parse().unwrap());
    assert_eq!(lines.verified_by(&source, now), VerifiedBy::Secret(1));
}

#[test]
fn a_signature_of_another_length_does_not_match() {
    let source = source(&definition("github", &["s"]));
    for signature in [
        "sha256=",
        "sha256=75",
        "sha256=757",
        "sha256=zz",
        "757107",
        "sha1=00",
    ] {
        let call = Request::post("{}").with("x-hub-signature-256", signature);
        assert_eq!(call.why(&source, at(NOW)), "bad_signature", "{signature}");
    }
}

#[test]
fn a_gitlab_call_that_is_signed_is_verified_by_its_signature() {
    let source = source(&definition("gitlab", &[SECRET]));
    let call = Request::of(source.sample(None, [1; 16], at(NOW), None).unwrap(), "");
    let event = call.event(&source, at(NOW));
    assert_eq!(named(&event).0, "gitlab.merge_request.open");
    assert!(event.delivery_id.starts_with("msg_"));
    let by_token = Request::post(call.body.clone())
        .with("x-gitlab-token", SECRET)
        .with("idempotency-key", "k");
    assert_eq!(by_token.event(&source, at(NOW)).delivery_id, "k");
    assert_eq!(
        by_token
            .clone()
            .with("x-gitlab-token", "x")
            .why(&source, at(NOW)),
        "bad_signature"
    );
    let forged = by_token
        .with("webhook-signature", "v1,AAAA")
        .with("webhook-id", "i")
        .with("webhook-timestamp", &NOW.to_string());
    assert_eq!(forged.why(&source, at(NOW)), "bad_signature");
    // A token that is no signing key leaves the token alone.
    let plain = super::support::source(&definition("gitlab", &["%plain"]));
    let call = Request::post("{}").with("x-gitlab-token", "%plain");
    assert_eq!(call.verified_by(&plain, at(NOW)), VerifiedBy::Secret(1));
}

#[test]
fn basic_takes_a_password_with_colons() {
    let source = source(&definition("basic", &["user:pass:word"]));
    for (value, taken) in [
        ("Basic dXNlcjpwYXNzOndvcmQ=", true),
        ("basic dXNlcjpwYXNzOndvcmQ", true),
        ("Basic dXNlcjpwYXNz", false),
        ("Basic user:pass:word", false),
        ("Bearer dXNlcjpwYXNzOndvcmQ=", false),
        ("", false),
    ] {
        let call = Request::post("{}").with("authorization", value);
        let received = call.to(&source, at(NOW));
        assert_eq!(
            matches!(received, Received::Events { .. }),
            taken,
            "{value}"
        );
    }
}

#[test]
fn credentials_are_never_sent_on() {
    let definition = definition("gitlab", &[SECRET]);
    let all = definition.replace(
        "{\"preset\"",
        "{\"forward_headers\":[\"x-b\",\"*\"],\"preset\"",
    );
    let source = source(&all);
    let mut call = Request::post("{}").with("x-gitlab-token", SECRET);
    for name in [
        "authorization",
        "cookie",
        "proxy-authorization",
        "webhook-id",
        "outboxd-source",
        "host",
        "x-forwarded-for",
        "forwarded",
        "traceparent",
        "connection",
        "content-length",
        "x-a",
        "x-b",
        "user-agent",
    ] {
        call = call.with(name, "v");
    }
    call.headers.append("x-a", "second".parse().unwrap());
    for n in 0..30 {
        call = call.with(&format!("x-{n}"), &"v".repeat(100));
    }
    let event = call.event(&source, at(NOW));
    let names: Vec<&str> = event
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names[0], "x-b");
    assert_eq!(names.len(), 16);
    assert!(
        names
            .iter()
            .all(|name| name.starts_with("x-") && *name != "x-gitlab-token")
    );
    assert!(event.headers.iter().all(|(_, value)| value.is_sensitive()));
}
