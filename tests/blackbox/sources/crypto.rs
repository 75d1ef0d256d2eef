//! What providers sign with, and that it is right: their official vectors.

use std::collections::BTreeMap;
use std::sync::Mutex;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use ring::{digest, hmac};

fn mac(algorithm: hmac::Algorithm, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let key = hmac::Key::new(algorithm, key);
    hmac::sign(&key, &parts.concat()).as_ref().to_vec()
}

/// Over the parts, one behind the other.
pub fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    mac(hmac::HMAC_SHA256, key, parts)
}

pub fn hmac_sha1(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    mac(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key, parts)
}

pub fn sha256(parts: &[&[u8]]) -> Vec<u8> {
    let hashed = digest::digest(&digest::SHA256, &parts.concat());
    hashed.as_ref().to_vec()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The key of a secret `whsec_…`.
pub fn whsec(secret: &str) -> Vec<u8> {
    crate::signing::from_base64(secret.strip_prefix("whsec_").expect("a prefix"))
}

/// An Ed25519 key of which each test knows both halves.
pub fn ed25519(seed: u8) -> Ed25519KeyPair {
    let seed: Vec<u8> = (0..32).map(|n| seed.wrapping_add(n)).collect();
    Ed25519KeyPair::from_seed_unchecked(&seed).expect("32 bytes")
}

pub fn public_hex(pair: &Ed25519KeyPair) -> String {
    hex(pair.public_key().as_ref())
}

/// An ECDSA key over P-256 of this name. The same name gives the same key as long as the test runs.
pub fn p256(name: &str) -> EcdsaKeyPair {
    static KEYS: Mutex<BTreeMap<String, Vec<u8>>> = Mutex::new(BTreeMap::new());
    let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
    let random = SystemRandom::new();
    let mut keys = KEYS.lock().unwrap();
    let document = keys.entry(name.to_owned()).or_insert_with(|| {
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random);
        document.expect("random bytes").as_ref().to_vec()
    });
    EcdsaKeyPair::from_pkcs8(algorithm, document, &random).expect("a key")
}

/// The public key as SendGrid shows it: SubjectPublicKeyInfo in base64.
pub fn p256_public(pair: &EcdsaKeyPair) -> String {
    const SPKI: &str = "3059301306072a8648ce3d020106082a8648ce3d030107034200";
    let digits = SPKI.as_bytes().chunks(2);
    let byte = |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap();
    let head: Vec<u8> = digits.map(byte).collect();
    base64(&[&head, pair.public_key().as_ref()].concat())
}

pub fn p256_sign(pair: &EcdsaKeyPair, parts: &[&[u8]]) -> Vec<u8> {
    let signature = pair.sign(&SystemRandom::new(), &parts.concat());
    signature.expect("random bytes").as_ref().to_vec()
}

#[test]
fn official_vectors_come_out() {
    let github = hmac_sha256(b"It's a Secret to Everybody", &[b"Hello, World!"]);
    assert_eq!(
        hex(&github),
        "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    );
    let stripe = hmac_sha256(
        b"whsec_test_secret",
        &[b"1614265330", b".", b"{\"id\":\"evt_1\"}"],
    );
    assert_eq!(
        hex(&stripe),
        "e135cdbed3dda004bf8a2fb350f2541d299393c770e0b9e6e319dc595e9072aa"
    );
    let square = hmac_sha256(
        b"asdf1234",
        &[b"https://example.com/webhook", b"{\"hello\":\"world\"}"],
    );
    assert_eq!(
        base64(&square),
        "2kRE5qRU2tR+tBGlDwMEw2avJ7QM4ikPYD/PJ3bd9Og="
    );
    let twilio = hmac_sha1(
        b"12345",
        &[
            b"https://mycompany.com/myapp.php?foo=1&bar=2",
            b"CallSidCA1234567890ABCDECaller+14158675309Digits1234",
            b"From+14158675309To+18005551212",
        ],
    );
    assert_eq!(base64(&twilio), "RSOYDt4T1cUTdK1PDd93/VVr8B8=");
    let zalo = sha256(&[
        b"app-1",
        b"{\"event_name\":\"user_send_text\",\"timestamp\":\"1700000000000\"}",
        b"1700000000000",
        b"secret",
    ]);
    assert_eq!(
        hex(&zalo),
        "5f2b217b0c4f4be21738337236020e79c4127fe7c74ceadea6a4be6620954efb"
    );
    let x = hmac_sha256(b"Convoy", &[b"uzwcfYtzr9"]);
    assert_eq!(base64(&x), "HXvxTdsfShG6k2zC9NVANwFquJBdOugRYHax2vNiiOo=");
    let discord = ed25519(0);
    assert_eq!(
        public_hex(&discord),
        "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"
    );
    assert_eq!(
        hex(discord.sign(b"1700000000{\"type\":1}").as_ref()),
        "c1098e97d711377f30225d53d94b89d43537f92e5b3afaddc590781b1f9f9d4b\
         2eeab335d370be3b9a090bc61a85b86448bc140dcd195f1569c2bff181257607"
    );
}
