//! What holds for every preset.

use std::time::Duration;

use proptest::prelude::*;

use super::support::{Request, at, given, source};
use crate::domain::inbound::{
    NAMES, NoSample, Received, Source, SourceId, VerifiedBy, read, read_stored,
};
use crate::domain::time::Timestamp;

pub const URL: &str = "https://hooks.example.com/in/s";
const NOW: u64 = 1_700_000_000;

/// A definition with all that the preset needs, and these secrets.
pub fn definition(preset: &str, secrets: &[&str]) -> String {
    let list = |texts: &[&str]| {
        let quoted: Vec<String> = texts.iter().map(|text| format!("{text:?}")).collect();
        format!(r#""secrets":[{}]"#, quoted.join(","))
    };
    let rest = match preset {
        "salesforce" => r#""account":"00D000000000062EAA""#.to_owned(),
        "discord" => {
            r#""public_key":"03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8""#
                .to_owned()
        }
        "sendgrid" => r#""public_key":"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g==""#.to_owned(),
        "monday" | "strava" | "query_token" => r#""token":"tök en&""#.to_owned(),
        "zalo" => format!(r#"{},"app_id":"app-1""#, list(secrets)),
        _ => list(secrets),
    };
    format!(r#"{{"preset":"{preset}",{rest}}}"#)
}

/// Secrets that every preset takes.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn verifies_by_secret(preset: &str) -> bool {
    !definition(preset, &["x"]).contains("public_key")
        && definition(preset, &["x"]).contains("\"x\"")
}

fn sample(source: &Source, now: Timestamp) -> Request {
    Request::of(source.sample(None, [7; 16], now, Some(URL)).unwrap(), URL)
}

fn is_taken(request: &Request, source: &Source, now: Timestamp) -> bool {
    matches!(request.to(source, now), Received::Events { .. })
}

#[test]
fn every_preset_takes_its_own_sample_and_names_it() {
    for preset in NAMES {
        let source = source(&definition(preset, &[SECRET]));
        if ["discord", "sendgrid"].contains(preset) {
            let none = source
                .sample(None, [7; 16], at(NOW), Some(URL))
                .unwrap_err();
            assert_eq!(none, NoSample::PrivateKey, "{preset}");
            continue;
        }
        let call = sample(&source, at(NOW));
        let event = call.event(&source, at(NOW));
        let name = event.event_type.as_str();
        assert!(name.starts_with(&format!("{preset}.")), "{name}");
        let generic = ["basic", "bearer", "api_key", "query_token"].contains(preset);
        assert_eq!(name.ends_with(".unnamed"), generic, "{name}");
        assert!(
            !event.delivery_id.is_empty() && event.delivery_id.len() < 171,
            "{preset}"
        );
        assert!(
            call.answered(&source, at(NOW)).status.is_success(),
            "{preset}"
        );
        let by = match *preset {
            "salesforce" => VerifiedBy::Account,
            "monday" | "strava" | "query_token" => VerifiedBy::Token,
            _ => VerifiedBy::Secret(1),
        };
        assert_eq!(call.verified_by(&source, at(NOW)), by, "{preset}");
        // The same call again has the same id, and another one another.
        let repeats = ["dropbox", "ms_graph"].contains(preset);
        let again = call.event(&source, at(NOW + 1)).delivery_id;
        assert_eq!(again == event.delivery_id, !repeats, "{preset}");
        let next = source
            .sample(None, [8; 16], at(NOW + 2), Some(URL))
            .unwrap();
        let next = Request::of(next, URL).event(&source, at(NOW + 2));
        assert!(next.delivery_id != event.delivery_id, "{preset}");
    }
}

#[test]
fn every_preset_refuses_what_is_not_signed_with_its_secret() {
    for preset in NAMES.iter().filter(|preset| verifies_by_secret(preset)) {
        let (own, other) = (definition(preset, &[SECRET]), definition(preset, &[OTHER]));
        let (own, other) = (source(&own), source(&other));
        let call = sample(&own, at(NOW));
        let rejection = call.rejected(&other, at(NOW));
        assert_eq!(
            (rejection.as_str(), rejection.status().as_u16()),
            ("bad_signature", 401)
        );
        for leak in [SECRET, OTHER] {
            assert!(!rejection.detail().contains(leak), "{preset}");
        }
        let mut bare = call.clone();
        bare.headers.clear();
        bare.query.clear();
        // In Microsoft Graph the body holds the secret.
        let (bare, wanted) = match *preset {
            "ms_graph" => (Request::post("{}"), "missing_signature"),
            _ => (bare, "missing_signature"),
        };
        assert_eq!(bare.why(&own, at(NOW)), wanted, "{preset}");
    }
}

#[test]
fn every_flipped_bit_of_a_signed_body_is_noticed() {
    let tokens = [
        "telegram",
        "cloudevents",
        "okta",
        "ms_graph",
        "sepay",
        "basic",
        "bearer",
        "api_key",
    ];
    for preset in NAMES.iter().filter(|preset| verifies_by_secret(preset)) {
        if tokens.contains(preset) {
            continue;
        }
        let source = source(&definition(preset, &[SECRET]));
        let call = sample(&source, at(NOW));
        for at_byte in 0..call.body.len() {
            let mut body = call.body.to_vec();
            body[at_byte] ^= 1 << (at_byte % 8);
            // A form may be written in several ways: what is the same fields is the same.
            if *preset == "twilio" && !body[at_byte].is_ascii_alphanumeric() {
                continue;
            }
            let changed = call.clone().body(body);
            assert!(
                !is_taken(&changed, &source, at(NOW)),
                "{preset} byte {at_byte}"
            );
        }
    }
}

#[test]
fn every_signed_time_is_judged_both_ways() {
    let mut judged = 0;
    for preset in NAMES.iter().filter(|preset| verifies_by_secret(preset)) {
        let source = source(&definition(preset, &[SECRET]));
        let call = sample(&source, at(NOW));
        let day = 25 * 3600;
        let (past, future) = (
            call.to(&source, at(NOW - day)),
            call.to(&source, at(NOW + day)),
        );
        match (past, future) {
            (Received::Rejected(past), Received::Rejected(future)) => {
                assert_eq!(
                    (past.as_str(), future.as_str()),
                    ("stale", "stale"),
                    "{preset}"
                );
                judged += 1;
            }
            (Received::Events { .. }, Received::Events { .. }) => {}
            other => panic!("{preset}: {other:?}"),
        }
    }
    assert!(judged >= 10, "only {judged} presets sign a time");
}

#[test]
fn secrets_are_rotated_with_an_overlap() {
    for preset in NAMES.iter().filter(|preset| verifies_by_secret(preset)) {
        let old = source(&definition(preset, &[OTHER]));
        let new = old
            .rotated(SECRET, at(NOW), Duration::from_secs(60))
            .unwrap();
        let stored = read_stored(SourceId::new("s").unwrap(), &new.definition()).unwrap();
        for source in [&new, &stored] {
            let by_old = sample(&old, at(NOW + 59));
            assert_eq!(
                by_old.verified_by(source, at(NOW + 59)),
                VerifiedBy::Secret(2),
                "{preset}"
            );
            let late = sample(&old, at(NOW + 60));
            assert_eq!(late.why(source, at(NOW + 60)), "bad_signature", "{preset}");
            let by_new = sample(source, at(NOW + 60));
            assert_eq!(
                by_new.verified_by(source, at(NOW + 60)),
                VerifiedBy::Secret(1),
                "{preset}"
            );
        }
    }
    let source = source(&definition("github", &["a"]));
    let at_once = source.rotated("b", at(NOW), Duration::ZERO).unwrap();
    assert_eq!(at_once.secrets.len(), 1);
    let bad = super::support::source(&definition("standard_webhooks", &[SECRET]));
    assert!(bad.rotated("%", at(NOW), Duration::ZERO).is_err());
}

#[test]
fn secrets_past_their_time_leave_the_definition() {
    let first = source(&definition("github", &["a"]));
    assert_eq!(first.next_expiry(), None);
    let second = first
        .rotated("b", at(NOW), Duration::from_secs(60))
        .unwrap();
    let third = second
        .rotated("c", at(NOW), Duration::from_secs(90))
        .unwrap();
    let left = |now: u64| -> Vec<String> {
        let left = third.without_expired(at(now)).unwrap();
        left.secrets
            .iter()
            .map(|one| one.text.to_string())
            .collect()
    };
    assert_eq!(third.next_expiry(), Some(at(NOW + 60)));
    assert_eq!(third.without_expired(at(NOW + 59)).unwrap(), third);
    assert_eq!(left(NOW + 60), ["c", "b"]);
    assert_eq!(left(NOW + 90), ["c"]);
    let last = third.without_expired(at(NOW + 90)).unwrap();
    assert_eq!(last.next_expiry(), None);
    assert!(!last.definition().contains_key("earlier_secrets"));
}

#[test]
fn what_is_shown_and_stored_holds_no_secret_that_it_must_not() {
    for preset in NAMES {
        let text = definition(preset, &["the-secret-itself", "another-secret"]);
        let whsec = text
            .replace("the-secret-itself", SECRET)
            .replace("another-secret", OTHER);
        let Ok(source) = read(SourceId::new("s").unwrap(), &given(&whsec)) else {
            panic!("{preset}");
        };
        for shown in [
            source.shown().to_string(),
            format!("{source:?} {:?}", source.secrets),
        ] {
            for secret in [SECRET, OTHER, "tök en&"] {
                assert!(!shown.contains(secret), "{preset}: {shown}");
            }
        }
        let stored = read_stored(SourceId::new("s").unwrap(), &source.definition()).unwrap();
        assert_eq!(stored.shown(), source.shown());
        assert_eq!(stored.secrets, source.secrets);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn samples_of_any_body_verify(body in any::<Vec<u8>>(), nonce: [u8; 16]) {
        for preset in NAMES.iter().filter(|preset| verifies_by_secret(preset)) {
            // These want something of the body: a time, an event, a secret, not to be a token.
            if ["linear", "cloudevents", "ms_graph", "twitter"].contains(preset) {
                continue;
            }
            let source = source(&definition(preset, &[SECRET]));
            let made = source.sample(Some(body.clone().into()), nonce, at(NOW), Some(URL)).unwrap();
            let call = Request::of(made, URL);
            let received = call.to(&source, at(NOW));
            let refused = matches!(received, Received::Rejected(_));
            prop_assert!(!refused, "{}: {:?}", preset, received);
        }
    }
}
