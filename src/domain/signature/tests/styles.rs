//! Reading and showing styles, and which keys they need.

use http::HeaderName;
use proptest::prelude::*;

use super::*;
use crate::domain::json::Json;

fn reserved(name: &HeaderName) -> bool {
    name == "host" || name.as_str().starts_with("webhook-")
}

fn parse(text: &str) -> Result<Vec<Style>, BadStyle> {
    Style::parse_list(&Json::parse(text.as_bytes()).unwrap(), reserved)
}

#[test]
fn styles_are_shown_as_they_are_read() {
    let all = r#"["v1","v1a","svix","github","stripe","shopify","slack",{"header":"x-own","algorithm":"sha1","encoding":"base64","content":"{{ body }}","format":"{{ signatures | join(',') }}"}]"#;
    let styles = parse(all).unwrap();
    assert_eq!(styles.len(), 8);
    assert_eq!(Style::list_to_json(&styles).to_string(), all);
    let shown: Vec<String> = styles.iter().map(ToString::to_string).collect();
    assert_eq!(
        (&*shown[3], &*shown[7]),
        ("\"github\"", "the style of x-own")
    );
}

#[test]
fn a_header_alone_makes_a_style() {
    let styles = parse(r#"[{"header": "X-Signature"}]"#).unwrap();
    let own = OwnStyle {
        header: HeaderName::from_static("x-signature"),
        algorithm: Algorithm::Sha256,
        encoding: Encoding::Hex,
        content: "{{ body }}".into(),
        format: "{{ signatures[0] }}".into(),
    };
    assert_eq!(styles, [Style::Own(Box::new(own))]);
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (text, fault) in [
        (
            r#""v1""#,
            "`signatures`: this is a string, not a list such as [\"v1\"]",
        ),
        ("[]", "`signatures`: the list is empty"),
        (
            r#"["v1","v2"]"#,
            "`signatures[1]`: there is no style \"v2\": write \"v1\", ",
        ),
        ("[1]", "`signatures[0]`: this is a number: write \"v1\""),
        (
            r#"["v1","v1"]"#,
            "`signatures[1]`: this style is there twice",
        ),
        ("[{}]", "`signatures[0].header`: the field is missing"),
        (
            r#"[{"header":7}]"#,
            "`signatures[0].header`: this is a number, not a string",
        ),
        (
            r#"[{"header":"a b"}]"#,
            "`signatures[0].header`: this is not a header name",
        ),
        (
            r#"[{"header":"Host"}]"#,
            "`signatures[0].header`: outboxd sets this header itself",
        ),
        (
            r#"[{"header":"Webhook-Id"}]"#,
            "`signatures[0].header`: outboxd sets",
        ),
        (
            r#"[{"header":"x","algo":"md5"}]"#,
            "`signatures[0]`: there is no field \"algo\"",
        ),
        (
            r#"[{"header":"x","algorithm":"md5"}]"#,
            "`signatures[0].algorithm`: there is no algorithm \"md5\": write sha256, sha1, sha512",
        ),
        (
            r#"[{"header":"x","encoding":"b64"}]"#,
            "`signatures[0].encoding`: there is no encoding \"b64\": write hex or base64",
        ),
        (
            r#"[{"header":"x","content":"{{ body | upper }}"}]"#,
            "`signatures[0].content`: the body can only be printed, as {{ body }}, without",
        ),
        (
            r#"[{"header":"x","content":"{{ signatures }}"}]"#,
            "`signatures[0].content`: `signatures` are made from `content`",
        ),
        (
            r#"["slack",{"header":"X-Slack-Signature"}]"#,
            "`signatures[1].header`: another style sets the header x-slack-signature too",
        ),
        (
            r#"[{"header":"X-Slack-Signature"},"slack"]"#,
            "`signatures[1]`: another style sets the header x-slack-signature too",
        ),
        (
            r#"[{"header":"x"},{"header":"X","encoding":"base64"}]"#,
            "`signatures[1].header`: another style sets the header x too",
        ),
    ] {
        let said = parse(text).unwrap_err().to_string();
        assert!(said.starts_with(fault), "{text}: {said}");
    }
    let many = format!("[{}\"v1\"]", "\"v1\",".repeat(10));
    assert_eq!(parse(&many).unwrap_err().problem, StyleProblem::TooMany);
}

#[test]
fn keys_and_signatures_have_to_go_together() {
    use SecretKind::{Ed25519, Symmetric};
    let kinds = |text: &str, kinds: &[SecretKind]| check(&parse(text).unwrap(), kinds.to_vec());
    let asymmetric = |style: &str| {
        Err(BadKeys::Asymmetric {
            style: style.into(),
        })
    };
    let no_secret = |style: &str| {
        Err(BadKeys::NoSecret {
            style: style.into(),
        })
    };
    assert_eq!(check(&[], []), Ok(()));
    assert_eq!(check(&[], [Symmetric]), Ok(()));
    assert_eq!(check(&[], [Ed25519]), asymmetric("\"v1\""));
    assert_eq!(kinds(r#"["v1a"]"#, &[]), Ok(()));
    assert_eq!(kinds(r#"["v1a"]"#, &[Ed25519, Symmetric]), Ok(()));
    assert_eq!(kinds(r#"["v1a","v1"]"#, &[Symmetric]), Ok(()));
    assert_eq!(
        kinds(r#"["v1a","github"]"#, &[Symmetric, Ed25519]),
        asymmetric("\"github\"")
    );
    assert_eq!(kinds(r#"["stripe"]"#, &[]), no_secret("\"stripe\""));
    let own = r#"[{"header":"x","algorithm":"ed25519"}]"#;
    assert_eq!(kinds(own, &[Ed25519]), Ok(()));
    assert_eq!(
        kinds(r#"[{"header":"x"}]"#, &[Ed25519]),
        asymmetric("the style of x")
    );
    for (text, secrets, needed) in [
        (r#"["v1"]"#, &[Symmetric][..], false),
        (r#"["v1","v1a"]"#, &[Symmetric], true),
        (r#"["v1a"]"#, &[Symmetric, Ed25519], false),
        (own, &[], true),
    ] {
        let styles = parse(text).unwrap();
        assert_eq!(
            needs_signing_key(&styles, secrets.to_vec()),
            needed,
            "{text}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_read_is_shown_and_read_again(
        header in "[a-z-]{1,12}",
        algorithm in "sha(1|256|512)|ed25519|md5",
        content in "([a-z{}%. ]|\\{\\{ (body|id) \\}\\}){0,8}",
        format in "([a-z{}%. ]|\\{\\{ signatures \\}\\}){0,8}",
    ) {
        let fields = [("header", &header), ("algorithm", &algorithm), ("content", &content), ("format", &format)];
        let fields = fields.map(|(name, value)| (name.into(), Json::from(value.as_str())));
        let list = Json::Array(vec![Json::Object(fields.into_iter().collect()), "v1".into()]);
        if let Ok(styles) = Style::parse_list(&list, reserved) {
            let shown = Style::list_to_json(&styles);
            prop_assert_eq!(Style::parse_list(&shown, reserved), Ok(styles));
        }
    }
}
