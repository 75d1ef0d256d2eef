//! Signatures in the styles of others, computed here from their documents.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::{Value, json};
use sha2::{Sha256, Sha512};

use crate::endpoint_api::{JSON, id_of, made};
use crate::harness::{Daemon, Home, Receiver, Seen, endpoint};
use crate::signing::assert_signed;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ALL: &str = r#"["v1", "svix", "github", "stripe", "shopify", "slack"]"#;

fn hmac(key: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// <https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries>
fn github(seen: &Seen, secret: &str) -> bool {
    seen.header("x-hub-signature-256") == format!("sha256={}", hex(&hmac(secret, &[&seen.body])))
}

/// <https://docs.stripe.com/webhooks/signature>: any of the `v1` may fit.
fn stripe(seen: &Seen, secret: &str) -> bool {
    let header = seen.header("stripe-signature");
    let pairs: Vec<_> = header
        .split(',')
        .filter_map(|pair| pair.split_once('='))
        .collect();
    let (_, at) = pairs.iter().find(|(name, _)| *name == "t").expect("a time");
    assert_eq!(*at, seen.header("webhook-timestamp"));
    let expected = hex(&hmac(secret, &[at.as_bytes(), b".", &seen.body]));
    pairs
        .iter()
        .any(|(name, value)| *name == "v1" && *value == expected)
}

/// <https://shopify.dev/docs/apps/build/webhooks/subscribe/https>
fn shopify(seen: &Seen, secret: &str) -> bool {
    seen.header("x-shopify-hmac-sha256") == STANDARD.encode(hmac(secret, &[&seen.body]))
}

/// <https://docs.slack.dev/authentication/verifying-requests-from-slack>
fn slack(seen: &Seen, secret: &str) -> bool {
    let at = seen.header("x-slack-request-timestamp");
    let signed = hmac(secret, &[b"v0:", at.as_bytes(), b":", &seen.body]);
    seen.header("x-slack-signature") == format!("v0={}", hex(&signed))
}

#[track_caller]
fn delivered(daemon: &Daemon, receiver: &Receiver, id: &str) -> Seen {
    let event = daemon.send("a", r#"{"x": "é"}"#);
    daemon.wait_status(&event, id, "delivered");
    let path = format!("/{id}");
    let mut seen = receiver.seen().into_iter();
    let fits = |one: &Seen| one.id() == event && (one.path == path || one.path == "/");
    seen.find(fits).expect("it came")
}

#[test]
fn all_styles_sign_at_once() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let lines = format!("secret = \"{SECRET}\"\nsignatures = {ALL}");
    let plain = format!("secret = \"{SECRET}\"\nsignatures = [\"github\"]");
    let daemon = home.start(
        &(endpoint("all", &receiver.url("/all"), &lines)
            + &endpoint("one", &receiver.url("/one"), &plain)),
    );
    let seen = delivered(&daemon, &receiver, "all");
    assert_signed(&seen, &[SECRET]);
    assert_eq!(seen.header("svix-id"), seen.id());
    assert_eq!(
        seen.header("svix-timestamp"),
        seen.header("webhook-timestamp")
    );
    assert_eq!(
        seen.header("svix-signature"),
        seen.header("webhook-signature")
    );
    assert!(
        github(&seen, SECRET)
            && stripe(&seen, SECRET)
            && shopify(&seen, SECRET)
            && slack(&seen, SECRET)
    );
    let other = "whsec_AAKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    assert!(
        !github(&seen, other)
            && !stripe(&seen, other)
            && !shopify(&seen, other)
            && !slack(&seen, other)
    );
    // Only what is listed is there.
    let seen = delivered(&daemon, &receiver, "one");
    assert!(github(&seen, SECRET));
    for name in [
        "webhook-signature",
        "svix-signature",
        "stripe-signature",
        "x-slack-signature",
    ] {
        assert!(seen.values(name).is_empty(), "{name}");
    }
    assert_eq!(daemon.endpoint("one")["signatures"], json!(["github"]));
}

#[test]
fn a_retry_is_signed_for_its_own_time() {
    let receiver = Receiver::statuses(&[500, 200]);
    let home = Home::new();
    let lines = format!(
        "secret = \"{SECRET}\"\nsignatures = {ALL}\nretry = {{ schedule = [\"1100ms\"], jitter = 0 }}"
    );
    let daemon = home.start(&endpoint("all", &receiver.url("/"), &lines));
    delivered(&daemon, &receiver, "all");
    let seen = receiver.seen();
    assert_ne!(
        seen[0].header("webhook-timestamp"),
        seen[1].header("webhook-timestamp")
    );
    for one in &seen {
        assert_signed(one, &[SECRET]);
        assert!(
            github(one, SECRET)
                && stripe(one, SECRET)
                && shopify(one, SECRET)
                && slack(one, SECRET)
        );
    }
}

#[test]
fn during_a_rotation_both_sign_where_there_is_room() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start("");
    let styles: Value = serde_json::from_str(ALL).unwrap();
    let own = json!({"header": "x-own", "format": "{{ signatures | join('+') }}", "content": "{{ body }}"});
    let mut list = styles.as_array().unwrap().clone();
    list.push(own);
    let endpoint = made(
        &daemon,
        json!({"url": receiver.url("/"), "signatures": list}),
    );
    let (id, old) = (
        id_of(&endpoint),
        endpoint["secret"].as_str().unwrap().to_owned(),
    );
    let rotate = |overlap: &str| {
        let body = json!({"overlap": overlap}).to_string();
        let path = format!("/v1/endpoints/{id}/rotate");
        let answer = daemon
            .tcp
            .request("POST", &path, &JSON, body.as_bytes())
            .expect(200);
        answer["secret"].as_str().unwrap().to_owned()
    };
    let new = rotate("1h");
    let seen = delivered(&daemon, &receiver, &id);
    assert_signed(&seen, &[&new, &old]);
    assert_eq!(
        seen.header("svix-signature"),
        seen.header("webhook-signature")
    );
    assert!(stripe(&seen, &new) && stripe(&seen, &old));
    assert!(github(&seen, &new) && shopify(&seen, &new) && slack(&seen, &new));
    assert_eq!(seen.header("x-own").split('+').count(), 2);
    let newest = rotate("0s");
    let seen = delivered(&daemon, &receiver, &id);
    assert_signed(&seen, &[&newest]);
    assert!(stripe(&seen, &newest) && !stripe(&seen, &new) && !stripe(&seen, &old));
    assert_eq!(seen.header("x-own").split('+').count(), 1);
}

/// Checks `v1a` with ring and with `outboxd verify`.
#[track_caller]
fn assert_v1a(home: &Home, seen: &Seen, public_key: &str, others: usize) {
    let header = seen.header("webhook-signature");
    assert_eq!(header.split(' ').count(), others + 1, "{header}");
    let signature = header.split(' ').find_map(|one| one.strip_prefix("v1a,"));
    let signature = STANDARD.decode(signature.expect("a v1a")).unwrap();
    let key = STANDARD
        .decode(public_key.strip_prefix("whpk_").unwrap())
        .unwrap();
    let at = seen.header("webhook-timestamp");
    let mut message = format!("{}.{at}.", seen.id()).into_bytes();
    message.extend(&seen.body);
    let key = UnparsedPublicKey::new(&ED25519, key);
    key.verify(&message, &signature)
        .expect("it is signed by the key");
    let args = [
        "verify",
        "--public-key",
        public_key,
        "--id",
        seen.id(),
        "--timestamp",
        at,
        "--signature",
        header,
    ];
    let ran = home.run_with(&args, &seen.body);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = home.run_with(&args, b"{}");
    assert_eq!(ran.code, Some(1), "{ran:?}");
}

#[test]
fn ed25519_signatures_are_verified_by_the_public_key() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let key = home.run(&["keygen", "--ed25519", "--json"]).json();
    let (secret, public) = (
        key["secret"].as_str().unwrap(),
        key["public_key"].as_str().unwrap(),
    );
    std::fs::write(home.path("key"), format!("{secret}\n")).unwrap();
    let both = format!(
        "signatures = [\"v1\", \"v1a\"]\nsecret = \"{SECRET}\"\nsigning_key_file = {:?}",
        home.path("key")
    );
    let alone = format!("signatures = [\"v1a\"]\nsecret = \"{secret}\"");
    let config = endpoint("both", &receiver.url("/both"), &both)
        + &endpoint("alone", &receiver.url("/alone"), &alone);
    let daemon = home.start(&config);
    assert_v1a(&home, &delivered(&daemon, &receiver, "both"), public, 1);
    assert_v1a(&home, &delivered(&daemon, &receiver, "alone"), public, 0);
    for id in ["both", "alone"] {
        assert_eq!(daemon.endpoint(id)["public_key"], public, "{id}");
    }
    // Through the API: made if absent, or given.
    let made_one = made(
        &daemon,
        json!({"url": receiver.url("/made"), "signatures": ["v1a", "v1"]}),
    );
    let own = made_one["public_key"]
        .as_str()
        .expect("a public key")
        .to_owned();
    assert_ne!(own, public);
    let given = made(
        &daemon,
        json!({"url": receiver.url("/given"), "signatures": ["v1a"], "secret": secret}),
    );
    assert_eq!(given["public_key"], public);
    let event = daemon.send("a", "{}");
    for (path, key, others) in [("/made", &*own, 1), ("/given", public, 0)] {
        let came = |one: &Seen| one.id() == event && one.path == path;
        let seen = receiver.wait_until(path, |seen| seen.iter().any(came));
        assert_v1a(
            &home,
            seen.iter().find(|one| came(one)).unwrap(),
            key,
            others,
        );
    }
    let shown = made_one.to_string() + &given.to_string();
    assert!(
        !shown.contains(&secret[5..]) && !shown.contains("whsk_") || shown.contains("whsk_…"),
        "{shown}"
    );
    let secret_path = format!("/v1/endpoints/{}/secret", id_of(&given));
    let listed = daemon.tcp.get("/v1/endpoints").text() + &daemon.tcp.get(&secret_path).text();
    let check = home.run(&["check", "--config", "outboxd.toml"]);
    for text in [listed, check.stdout, check.stderr, daemon.log_text()] {
        assert!(!text.contains(&secret[5..]), "{text}");
    }
}

#[test]
fn a_style_of_ones_own() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let own = r#"signatures = ["v1", { header = "x-sig", algorithm = "sha512", encoding = "base64", content = "{{ id }}|{{ timestamp }}|{{ body }}", format = "t={{ timestamp }};s={{ signatures | join(',') }}" }]"#;
    let lines = format!("secret = \"{SECRET}\"\n{own}");
    let daemon = home.start(&endpoint("own", &receiver.url("/"), &lines));
    let seen = delivered(&daemon, &receiver, "own");
    assert_signed(&seen, &[SECRET]);
    let at = seen.header("webhook-timestamp");
    let mut expected = Vec::new();
    for key in [
        SECRET.as_bytes().to_vec(),
        crate::signing::from_base64(&SECRET[6..]),
    ] {
        let mut mac = Hmac::<Sha512>::new_from_slice(&key).unwrap();
        mac.update(format!("{}|{at}|{}", seen.id(), seen.text()).as_bytes());
        expected.push(format!(
            "t={at};s={}",
            STANDARD.encode(mac.finalize().into_bytes())
        ));
    }
    // By the secret's whole string, as in the providers' styles.
    assert_eq!(seen.header("x-sig"), expected[0]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let home = Home::new();
    let daemon = home.start("");
    let key = home.run(&["keygen", "--ed25519", "--json"]).json();
    let secret = &key["secret"];
    let own = |more: Value| {
        let mut style = json!({"header": "x-sig"});
        style
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!({"signatures": [style]})
    };
    for (fields, part) in [
        (json!({"signatures": ["v2"]}), "signatures[0]"),
        (json!({"signatures": []}), "signatures"),
        (json!({"signatures": ["v1", "v1"]}), "signatures[1]"),
        (json!({"signatures": "v1"}), "signatures"),
        (
            json!({"signatures": ["github"], "secret": secret}),
            "signatures",
        ),
        (
            json!({"signatures": ["v1", "v1a"], "secret": secret}),
            "signatures",
        ),
        (json!({"secret": secret}), "signatures"),
        (own(json!({"algorithm": "md5"})), "signatures[0].algorithm"),
        (own(json!({"encoding": "base32"})), "signatures[0].encoding"),
        (own(json!({"header": "webhook-id"})), "signatures[0].header"),
        (
            own(json!({"header": "content-length"})),
            "signatures[0].header",
        ),
        (own(json!({"content": "{{ body"})), "signatures[0].content"),
        (own(json!({"content": "{{ bdy }}"})), "signatures"),
        (
            own(json!({"format": "{{ signatures }"})),
            "signatures[0].format",
        ),
        (
            json!({"signatures": ["github"], "headers": {"x-hub-signature-256": "x"}}),
            "x-hub-signature-256",
        ),
    ] {
        let mut definition = fields.clone();
        definition["url"] = "http://127.0.0.1:1/".into();
        let detail = daemon
            .tcp
            .post_json("/v1/endpoints", definition.to_string())
            .problem(400);
        assert!(detail.contains(part), "{fields}: {detail}");
        assert!(!detail.contains(&secret.as_str().unwrap()[5..]), "{detail}");
    }
}
