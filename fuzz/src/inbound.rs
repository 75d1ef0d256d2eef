//! Sources for the targets of what comes in: definitions with secrets that no input holds.

use outboxd::domain::inbound::{Given, Source, SourceId, read};
use outboxd::domain::json::Json;
use outboxd::domain::time::Timestamp;

/// A secret in every form: a text, hex and base64. No input has it, so nothing that it signs does.
pub const SECRET: &str = "9f3ae1c7d25b4860a1f7e3905cd2b84e77d01f6ac93b5e2841f0d7a6b3c8e95d";
/// The one after it.
pub const NEXT: &str = "07b2d4f6819ace3550718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7";
pub const TOKEN: &str = "tok-5ac1e7b09d3348f2";
pub const VERIFY_TOKEN: &str = "verify-e04b7c91a6d25f38";
/// The URL of the source, as its provider knows it.
pub const URL: &str = "https://hooks.example.com/in/s";
/// Of Ed25519 (RFC 8032, 7.1) and of P-256 (its base point): nobody here has their private keys.
const PUBLIC_KEYS: [&str; 2] = [
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296\
     4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
];
pub const ACCOUNT: &str = "00D000000000062EAA";

/// When everything here happens.
pub fn now() -> Timestamp {
    Timestamp::from_millis(1_764_100_000_123)
}

pub fn id() -> SourceId {
    SourceId::new("s").expect("it is a name")
}

/// A list of texts.
pub fn list(texts: &[&str]) -> Json {
    Json::Array(texts.iter().map(|text| Json::from(*text)).collect())
}

/// The definition with what verifies and what its recipe asks for, all of it known here; `None`
/// if it cannot be read.
pub fn complete(mut given: Given) -> Option<Source> {
    given.insert("secrets".into(), list(&[SECRET]));
    given.insert("verify_token".into(), Json::from(VERIFY_TOKEN));
    for key in ["app_id", "public_key", "account", "token"] {
        if given.contains_key(key) {
            given.insert(key.into(), known(key, 0));
        }
    }
    let mut public_keys = 0;
    for _ in 0..16 {
        let bad = match read(id(), &given) {
            Ok(source) => return Some(source),
            Err(bad) => bad,
        };
        let key = match bad.key.as_str() {
            "secrets" | "secrets[0]" => "secrets",
            "public_key" => "public_key",
            key @ ("verify_token" | "app_id" | "account" | "token") => key,
            _ => return None,
        };
        let again = key == "public_key" && public_keys == 1;
        if given.shift_remove(key).is_none() || again {
            given.insert(key.into(), known(key, public_keys));
            public_keys += usize::from(key == "public_key");
        }
    }
    None
}

fn known(key: &str, public_keys: usize) -> Json {
    match key {
        "secrets" => list(&[SECRET]),
        "public_key" => Json::from(PUBLIC_KEYS[public_keys.min(1)]),
        "account" => Json::from(ACCOUNT),
        "token" => Json::from(TOKEN),
        "verify_token" => Json::from(VERIFY_TOKEN),
        _ => Json::from("42"),
    }
}

/// Whether a text that anybody may read holds a secret.
pub fn tells(text: &[u8]) -> bool {
    let secrets = [SECRET, NEXT, TOKEN, VERIFY_TOKEN];
    secrets.iter().any(|secret| holds(text, secret.as_bytes()))
}

/// Whether a text holds another one. Other ways to compare tell the fuzzer what is looked for, and it
/// puts that into its inputs.
pub fn holds(text: &[u8], part: &[u8]) -> bool {
    let differ = |window: &[u8]| {
        let pairs = window.iter().zip(part);
        pairs.fold(0, |bits, (a, b)| bits | (a ^ b))
    };
    !part.is_empty() && text.windows(part.len()).any(|window| differ(window) == 0)
}
