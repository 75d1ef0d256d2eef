//! Standard Webhooks, computed here from its text and not with the library under test.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::harness::{Home, Receiver, Seen, endpoint};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const BODY: &[u8] = b"{\"test\": 2432232314}";
const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

pub fn from_base64(text: &str) -> Vec<u8> {
    STANDARD.decode(text).expect("standard base64")
}

/// `v1,` and HMAC-SHA256 over `id.timestamp.body`.
fn signature(secret: &str, id: &str, timestamp: &str, body: &[u8]) -> String {
    let key = from_base64(secret.strip_prefix("whsec_").expect("a prefix"));
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any length does");
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

/// That the request carries the signatures of these secrets, in this order, and no others.
#[track_caller]
pub fn assert_signed(seen: &Seen, secrets: &[&str]) {
    let timestamp = seen.header("webhook-timestamp");
    let of = |secret: &&str| signature(secret, seen.id(), timestamp, &seen.body);
    let expected: Vec<_> = secrets.iter().map(of).collect();
    assert_eq!(seen.header("webhook-signature"), expected.join(" "));
}

#[test]
fn what_is_computed_here_fits_the_official_vector() {
    assert_eq!(signature(SECRET, ID, "1614265330", BODY), SIGNATURE);
}

#[test]
fn every_request_is_signed_with_the_endpoints_secret() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let file = home.path("secret");
    let long = format!("whsec_{}", STANDARD.encode([7_u8; 64]));
    std::fs::write(&file, format!("{long}\n")).unwrap();
    let config = [
        endpoint(
            "inline",
            &receiver.url("/inline"),
            &format!("secret = \"{SECRET}\""),
        ),
        endpoint(
            "file",
            &receiver.url("/file"),
            &format!("secret_file = {file:?}"),
        ),
    ];
    let daemon = home.start(&config.concat());
    daemon.send("a.b", "{\"x\": \"\u{fc}\"}");
    let octets = [("content-type", "application/octet-stream")];
    daemon
        .tcp
        .request("POST", "/v1/events/raw", &octets, b"\0\xff\r\n")
        .expect(202);
    for seen in receiver.wait(4) {
        let secret = if seen.path == "/inline" {
            SECRET
        } else {
            &long
        };
        assert_signed(&seen, &[secret]);
    }
    for (id, secret) in [("inline", SECRET), ("file", long.as_str())] {
        let shown = daemon.tcp.get(&format!("/v1/endpoints/{id}")).text();
        let bare = secret.trim_start_matches("whsec_");
        assert!(!shown.contains(bare), "{shown}");
        assert!(!daemon.log_text().contains(bare));
    }
}

#[test]
fn sign_makes_the_official_signature() {
    let home = Home::new();
    let args = [
        "sign",
        "--secret",
        SECRET,
        "--id",
        ID,
        "--timestamp",
        "1614265330",
    ];
    let ran = home.run_with(&args, BODY);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let lines: Vec<_> = ran.stdout.lines().collect();
    let id = format!("webhook-id: {ID}");
    let signed = format!("webhook-signature: {SIGNATURE}");
    assert_eq!(lines, [&id, "webhook-timestamp: 1614265330", &signed]);
    let json = home
        .run_with(&[&args[..], &["--json"]].concat(), BODY)
        .json();
    assert_eq!(json["webhook-signature"], SIGNATURE);
}

#[test]
fn verify_takes_the_official_vector_and_nothing_near_it() {
    let home = Home::new();
    let verify =
        |secret: &str, id: &str, at: &str, signature: &str, body: &[u8], tolerance: &str| {
            #[rustfmt::skip]
        let args = [
            "verify", "--secret", secret, "--id", id, "--timestamp", at,
            "--signature", signature, "--tolerance", tolerance,
        ];
            home.run_with(&args, body).code
        };
    let (at, ages) = ("1614265330", "1000000h");
    assert_eq!(verify(SECRET, ID, at, SIGNATURE, BODY, ages), Some(0));
    let several = format!("v1,AAAA v2,{} {SIGNATURE}", &SIGNATURE[3..]);
    assert_eq!(verify(SECRET, ID, at, &several, BODY, ages), Some(0));
    assert_eq!(
        verify(SECRET, ID, at, SIGNATURE, BODY, "7d"),
        Some(1),
        "too old"
    );
    assert_eq!(
        verify(SECRET, ID, "1614265331", SIGNATURE, BODY, ages),
        Some(1)
    );
    assert_eq!(
        verify(SECRET, "msg_other", at, SIGNATURE, BODY, ages),
        Some(1)
    );
    assert_eq!(
        verify(SECRET, ID, at, SIGNATURE, b"{\"test\":2432232314}", ages),
        Some(1)
    );
    assert_eq!(
        verify(SECRET, ID, at, &SIGNATURE.replace("v1,", "v2,"), BODY, ages),
        Some(1)
    );
    assert_eq!(verify("nonsense", ID, at, SIGNATURE, BODY, ages), Some(2));
}

#[test]
fn a_new_key_signs_what_verify_takes() {
    let home = Home::new();
    let ran = home.run(&["keygen"]);
    let secret = ran.stdout.trim_end();
    let bytes = from_base64(secret.strip_prefix("whsec_").expect("a prefix"));
    assert!((24..=64).contains(&bytes.len()), "{ran:?}");
    assert_ne!(home.run(&["keygen"]).stdout, ran.stdout);
    std::fs::write(home.path("key"), secret).unwrap();
    let signed = home
        .run_with(&["sign", "--secret-file", "key", "--json"], b"body")
        .json();
    let header = |name: &str| signed[name].as_str().unwrap().to_owned();
    let (id, at) = (header("webhook-id"), header("webhook-timestamp"));
    let given = header("webhook-signature");
    assert_eq!(given, signature(secret, &id, &at, b"body"));
    #[rustfmt::skip]
    let args = [
        "verify", "--secret-file", "key", "--id", &id, "--timestamp", &at,
        "--signature", &given, "--json",
    ];
    assert_eq!(home.run_with(&args, b"body").json()["verified"], true);
    let forged = home.run_with(&args, b"Body");
    assert_eq!(forged.code, Some(1));
    assert!(forged.stdout.contains("\"verified\":false"), "{forged:?}");
}
