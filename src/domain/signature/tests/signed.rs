//! What stands in the headers. The expected values were calculated with Python's hmac and
//! cryptography.

use std::sync::Arc;

use http::HeaderName;
use proptest::prelude::*;

use super::super::headers::{github, shopify, slack};
use super::*;
use crate::domain::json::Json;
use crate::domain::template::{Limits, Names, Output, RenderFault, Template};
use crate::domain::time::Timestamp;

const BINARY: &[u8] = b"\xff\x00\n{{ body }}";

fn render(template: &str, variables: &Variables<'_>) -> Result<String, RenderFault> {
    let timestamp = Json::Number(variables.timestamp.to_string().into());
    let mut names = Names::new()
        .with_text("id", variables.id)
        .with_json("timestamp", Arc::new(timestamp))
        .with_text("body", variables.body);
    if let Some(signatures) = variables.signatures {
        names = names.with_list("signatures", signatures);
    }
    let limits = Limits {
        steps: Limits::STEPS,
        output: 1 << 20,
    };
    Template::parse(template, Output::Text)
        .unwrap()
        .render(&names, limits)
}

fn styles(text: &str) -> Vec<Style> {
    Style::parse_list(&Json::parse(text.as_bytes()).unwrap(), |_| false).unwrap()
}

fn try_sign(
    list: &str,
    secrets: &[&str],
    body: &[u8],
) -> Result<Vec<(String, String)>, NotSigned<RenderFault>> {
    let secrets: Vec<Secret> = secrets.iter().map(|text| secret(text)).collect();
    let secrets: Vec<&Secret> = secrets.iter().collect();
    let separate = secret(SIGNING_KEY);
    let keys = Keys {
        secrets: &secrets,
        signing_keys: &[&separate],
    };
    let message = Message {
        id: ID,
        timestamp: AT,
        body,
    };
    let headers = headers_for(&styles(list), keys, message, render)?;
    let text = |(name, value): (HeaderName, http::HeaderValue)| {
        (name.to_string(), value.to_str().unwrap().to_owned())
    };
    Ok(headers.into_iter().map(text).collect())
}

fn sign(list: &str, secrets: &[&str]) -> Vec<(String, String)> {
    try_sign(list, secrets, BODY).unwrap()
}

fn own(fields: &str, secrets: &[&str], body: &[u8]) -> String {
    let list = format!(r#"[{{"header":"x-own",{fields}}}]"#);
    let mut headers = try_sign(&list, secrets, body).unwrap();
    assert_eq!(headers.len(), 1);
    headers.remove(0).1
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
    let pairs = pairs.into_iter();
    pairs.map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
}

#[test]
fn the_providers_own_examples_come_out() {
    assert_eq!(
        github("It's a Secret to Everybody", b"Hello, World!"),
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    );
    let body = b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    assert_eq!(
        slack("8f742231b10e8888abcd99yyyzzz85a5", 1_531_420_618, body),
        "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
    );
    assert_eq!(
        shopify(SECRET, BODY),
        "gOyKic480iEzoQZsrstNBP6nRnZXyFFNcX7ELDilyUw="
    );
}

#[test]
fn the_default_is_v1() {
    assert_eq!(
        sign(r#"["v1"]"#, &[SECRET]),
        pairs([("webhook-signature", V1)])
    );
    let secret = secret(SECRET);
    let message = Message {
        id: ID,
        timestamp: AT,
        body: BODY,
    };
    for secrets in [&[&secret][..], &[]] {
        let keys = Keys {
            secrets,
            signing_keys: &[],
        };
        let headers = headers_for(&[], keys, message, render).unwrap();
        assert_eq!(headers.len(), secrets.len());
        assert!(headers.iter().all(|(_, value)| value == V1));
    }
}

#[test]
fn the_standard_versions_share_a_header_in_the_order_of_the_styles() {
    let both = format!("{V1} {V1A}");
    assert_eq!(
        sign(r#"["v1","v1a"]"#, &[SECRET]),
        pairs([("webhook-signature", &both)])
    );
    let alone = sign(r#"["svix"]"#, &[SECRET]);
    assert_eq!(alone[0], ("webhook-signature".to_owned(), V1.to_owned()));
    assert_eq!(alone.len(), 4);
    let both = format!("{V1A} {V1}");
    assert_eq!(
        sign(r#"["v1a","svix","v1"]"#, &[SECRET]),
        pairs([
            ("webhook-signature", &both),
            ("svix-id", ID),
            ("svix-timestamp", "1614265330"),
            ("svix-signature", V1),
        ])
    );
}

#[test]
fn a_signing_key_among_the_secrets_goes_before_the_separate_one() {
    let seed = "whsk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let signed = "v1a,yoUrgEkc12aGqm0n4Sydmdz55xJfTz4AsAgieHFjmkR7LJtqVCZOQYzvvHjI5kAey+r4iaBGxTFRrl2iBQxtDQ==";
    let v1a = r#"["v1a"]"#;
    assert_eq!(sign(v1a, &[seed]), pairs([("webhook-signature", signed)]));
    let both = format!("{V1A} {signed}");
    assert_eq!(
        sign(v1a, &[SIGNING_KEY, SECRET, seed]),
        pairs([("webhook-signature", &both)])
    );
    assert_eq!(sign(v1a, &[]), pairs([("webhook-signature", V1A)]));
}

#[test]
fn the_providers_styles_sign_with_the_string_of_the_secret() {
    let all = sign(r#"["github","stripe","shopify","slack"]"#, &[SECRET]);
    assert_eq!(
        all,
        pairs([
            (
                "x-hub-signature-256",
                "sha256=80ec8a89ce3cd22133a1066caecb4d04fea7467657c8514d717ec42c38a5c94c"
            ),
            (
                "stripe-signature",
                "t=1614265330,v1=2e37df5d4a028c51a7f3133d64ae1e300d2c2c900f1b1d49d4369ad2530f8964"
            ),
            (
                "x-shopify-hmac-sha256",
                "gOyKic480iEzoQZsrstNBP6nRnZXyFFNcX7ELDilyUw="
            ),
            ("x-slack-request-timestamp", "1614265330"),
            (
                "x-slack-signature",
                "v0=cddefca50684fde6ab7a4b4868a953cc180e93a68f4ad4f0a13b91731cd987fa"
            ),
        ])
    );
}

#[test]
fn in_a_rotation_all_secrets_sign_where_there_is_room_and_else_the_newest() {
    let all = sign(r#"["github","stripe","v1"]"#, &[LONG_SECRET, SECRET]);
    let v1 = format!("v1,LZ5zuwHTqQH3VM8ERUusjzVQq1FXzemvpR8Mk7Ivp5c= {V1}");
    assert_eq!(
        all,
        pairs([
            ("webhook-signature", &v1),
            (
                "x-hub-signature-256",
                "sha256=26d2cb2bddf6bc298305ddd3af6e8ad784f75456a3fd485878232994f28a98e8"
            ),
            (
                "stripe-signature",
                "t=1614265330,v1=43ea4f4e3ff27538d40503271d0e41e7018f2df7a29025d023bc576614161f97,\
                 v1=2e37df5d4a028c51a7f3133d64ae1e300d2c2c900f1b1d49d4369ad2530f8964"
            ),
        ])
    );
}

#[test]
fn a_style_of_ones_own_signs_and_shows_what_its_templates_say() {
    let signed = own(
        r#""algorithm":"sha1","encoding":"base64","content":"{{ id }}\n{{ body }}""#,
        &[SECRET],
        BINARY,
    );
    assert_eq!(signed, "nPxHDBC/v/0d0VBGRmB4U80iEmw=");
    let signed = own(
        r#""algorithm":"sha512","content":"{{ timestamp }}.{{ body }}.","format":"id={{ id }} s={{ signatures | join(',') }}""#,
        &[SECRET],
        BINARY,
    );
    assert_eq!(
        signed,
        format!(
            "id={ID} s=03b3b05be103e8c9fb1f3ee199278db261e506d6716a316a389eb2112fb59610fe04c69d40d6997d4a2176a2d6ae13bff12ac5e91ed31f22e82950b0312f9dfb"
        )
    );
    let signed = own(
        r#""algorithm":"ed25519","content":"{{ timestamp }}{{ body }}""#,
        &["whsk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="],
        BODY,
    );
    assert_eq!(
        signed,
        "68f2d29194fde0b2e8b93faebe90b06aef6295543ac1d3d6c310a7e0b4be3ecb4087dc69062f072232b97cdd5a2c1aa7bb655fd9519e5f6b9c7afd36b9885208"
    );
}

#[test]
fn the_providers_styles_can_be_written_as_ones_own() {
    let two = [LONG_SECRET, SECRET];
    for (named, header, fields) in [
        (
            "github",
            "x-hub-signature-256",
            r#""format":"sha256={{ signatures[0] }}""#,
        ),
        (
            "stripe",
            "stripe-signature",
            r#""content":"{{ timestamp }}.{{ body }}","format":"t={{ timestamp }}{% for s in signatures %},v1={{ s }}{% endfor %}""#,
        ),
        ("shopify", "x-shopify-hmac-sha256", r#""encoding":"base64""#),
    ] {
        let own = format!(r#"[{{"header":"{header}",{fields}}}]"#);
        assert_eq!(sign(&format!("[\"{named}\"]"), &two), sign(&own, &two));
    }
    // A header that no signature stands in.
    let at = own(r#""format":"{{ timestamp * 1000 }}""#, &two, BODY);
    assert_eq!(at, "1614265330000");
    let whole = own(r#""format":"{{ body }}""#, &two, b"abc");
    assert_eq!(whole, "abc");
}

#[test]
fn what_cannot_be_signed_says_why() {
    let fails = |list: &str, secrets: &[&str], body: &[u8]| {
        try_sign(list, secrets, body).unwrap_err().to_string()
    };
    let own = |field: &str, template: &str| {
        let said = fails(
            &format!(r#"[{{"header":"x-own","{field}":"{template}"}}]"#),
            &[SECRET],
            BODY,
        );
        assert!(said.contains("x-own"), "{said}");
        said
    };
    for list in [r#"["v1"]"#, r#"["svix"]"#, r#"["slack"]"#, r#"["stripe"]"#] {
        let said = fails(list, &[SIGNING_KEY], BODY);
        assert!(
            said.starts_with("there is no key to make the signature"),
            "{said}"
        );
    }
    assert!(fails(r#"[{"header":"x-own"}]"#, &[], BODY).contains("the style of x-own"));
    assert!(own("content", "{{ nothing }}").contains("`content` cannot be rendered"));
    assert!(own("format", "{{ nothing }}").contains("`format` cannot be rendered"));
    assert!(
        own("content", "{% for i in range(5) %}{{ body }}{% endfor %}").contains("at most 4 times")
    );
    for value in [
        "a\\nb",
        "\u{e9}",
        " {{ timestamp }}",
        "{% for i in range(1000) %}abcdefghi{% endfor %}",
    ] {
        assert!(own("format", value).contains("visible ASCII"), "{value}");
    }
    let said = fails(
        r#"[{"header":"x-own","format":"{{ body }}"}]"#,
        &[SECRET],
        BINARY,
    );
    assert!(said.contains("visible ASCII"), "{said}");
}

#[test]
fn an_error_shows_no_secret() {
    let error = try_sign(
        r#"[{"header":"x","format":"{{ nothing }}"}]"#,
        &[SECRET],
        BODY,
    );
    assert!(!format!("{error:?}").contains(&SECRET[6..]));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_sent_verifies(
        secrets in proptest::collection::vec(secrets(), 1..4),
        seed: [u8; 32],
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let separate = Secret::generate_ed25519(seed).unwrap();
        let kept: Vec<&Secret> = secrets.iter().collect();
        let keys = Keys { secrets: &kept, signing_keys: &[&separate] };
        let message = Message { id: ID, timestamp: AT, body: &body };
        let symmetric = secrets.iter().any(|secret| secret.kind() == SecretKind::Symmetric);
        let list = if symmetric { r#"["v1a","svix"]"# } else { r#"["v1a"]"# };
        let headers = headers_for(&styles(list), keys, message, render).unwrap();
        let (now, tolerance) = (Timestamp::from_millis(AT * 1000), DEFAULT_TOLERANCE);
        let got = Headers { id: ID, timestamp: "1614265330", signature: headers[0].1.to_str().unwrap() };
        for secret in &secrets {
            let secret = std::slice::from_ref(secret);
            prop_assert_eq!(verify(secret, &[], got, &body, now, tolerance), Ok(()));
        }
        let asymmetric = secrets.iter().any(|secret| secret.kind() == SecretKind::Ed25519);
        let public = [separate.public_key().unwrap()];
        prop_assert_eq!(verify(&[], &public, got, &body, now, tolerance).is_ok(), !asymmetric);
        if symmetric {
            let svix = Headers { signature: headers[3].1.to_str().unwrap(), ..got };
            prop_assert_eq!(verify(&secrets, &[], svix, &body, now, tolerance), Ok(()));
        }
    }
}
