//! `docs/examples/stripe-in.toml`, as it stands there.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::harness::{Home, Receiver};

const FILE: &str = include_str!("../../docs/examples/stripe-in.toml");
const SECRET: &str = "whsec_a-secret-of-the-example";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn stripe_comes_in_and_reaches_the_application() {
    let receiver = Receiver::ok();
    let home = Home::new();
    std::fs::write(home.path("stripe-secret"), format!("{SECRET}\n")).unwrap();
    let unix = home.path("api.sock");
    let listen = format!("[listen]\nhttp = \"127.0.0.1:0\"\nunix = {unix:?}\n");
    let config = FILE
        .replace("http://127.0.0.1:3000/stripe", &receiver.url("/stripe"))
        .replace("[listen]\n", &listen)
        .replace("0.0.0.0:8443", "127.0.0.1:0");
    // What the harness adds stands before it.
    let (endpoint, rest) = config.split_once("\n\n[listen]").unwrap();
    let endpoint = endpoint
        .lines()
        .find(|line| line.starts_with("endpoint"))
        .unwrap();
    let table = endpoint
        .trim_start_matches("endpoint = [{ ")
        .trim_end_matches(" }]")
        .replace(", ", "\n");
    let daemon = home.start(&format!("[listen]{rest}\n[[endpoint]]\n{table}\n"));
    let body = r#"{"id": "evt_1", "type": "invoice.paid", "data": {"object": {}}}"#;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.unwrap().as_secs();
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(format!("{now}.{body}").as_bytes());
    let signature = format!("t={now},v1={}", hex(&mac.finalize().into_bytes()));
    let headers = [
        ("stripe-signature", signature.as_str()),
        ("content-type", "application/json; charset=utf-8"),
    ];
    let answer = daemon
        .public()
        .request("POST", "/in/stripe-live", &headers, body.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = &receiver.wait(1)[0];
    assert_eq!(seen.path, "/stripe");
    assert_eq!(seen.text(), body);
    assert_eq!(seen.header("outboxd-source"), "stripe-live");
    assert_eq!(seen.header("outboxd-event-type"), "stripe.invoice.paid");
    // As it stands there it is a valid configuration.
    std::fs::write(home.path("example.toml"), FILE).unwrap();
    let ran = home.run(&["check", "--config", "example.toml"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}
