//! Secrets, public keys and headers as anybody may write them: read or refused, never a panic,
//! and nothing that was not signed is taken.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use outboxd::domain::json::Json;
use outboxd::domain::signature::{Headers, PublicKey, Secret, Style, verify};
use outboxd::domain::time::Timestamp;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(secret) = Secret::from_stored(bytes) {
        assert_eq!(secret.to_stored(), bytes);
    }
    if let Ok(json) = Json::parse(bytes)
        && let Ok(styles) = Style::parse_list(&json, |_| false)
    {
        let shown = Style::list_to_json(&styles);
        assert_eq!(Style::parse_list(&shown, |_| false), Ok(styles));
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(secret) = Secret::parse(text) {
        assert!(Secret::parse(&secret.reveal()) == Ok(secret));
    }
    if let Ok(public) = PublicKey::parse(text) {
        assert_eq!(PublicKey::parse(&public.to_string()), Ok(public));
    }
    headers(text);
});

/// Id, timestamp, signature and body, a line each.
fn headers(text: &str) {
    let mut parts = text.splitn(4, '\n');
    let mut next = || parts.next().unwrap_or_default();
    let (id, timestamp, signature, body) = (next(), next(), next(), next());
    let secrets = [Secret::generate([7; 32])];
    let Ok(signing) = Secret::generate_ed25519([7; 32]) else {
        return;
    };
    let public: Vec<PublicKey> = signing.public_key().into_iter().collect();
    let headers = Headers {
        id,
        timestamp,
        signature,
    };
    let body = body.as_bytes();
    let (now, tolerance) = (Timestamp::default(), Duration::MAX);
    // The fuzzer does not guess an HMAC or a signature.
    assert!(verify(&secrets, &public, headers, body, now, tolerance).is_err());
    let seconds: u64 = timestamp.parse().unwrap_or_default();
    let timestamp = seconds.to_string();
    for secret in [&secrets[0], &signing] {
        let signature = secret.sign(id, seconds, body).to_string();
        let headers = Headers {
            id,
            timestamp: &timestamp,
            signature: &signature,
        };
        let secret = std::slice::from_ref(secret);
        assert!(verify(secret, &[], headers, body, now, tolerance).is_ok());
    }
}
