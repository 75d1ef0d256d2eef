//! What an `auth` may be, and that nothing shows its secrets.

use proptest::prelude::*;

use super::*;

const RSA: &str = include_str!("rsa_for_tests.pem");

fn parse(text: &str) -> Result<Auth, BadAuth> {
    Auth::parse(&Json::parse(text.as_bytes()).unwrap())
}

/// The client credentials with these fields beside those that are needed.
fn oauth2(fields: &str) -> Result<Auth, BadAuth> {
    parse(&format!(
        r#"{{"type": "oauth2", "token_url": "https://a.example/t", "client_id": "id"{fields}}}"#
    ))
}

fn assertion(key: &str, fields: &str) -> Result<Auth, BadAuth> {
    let key = key.replace('\n', "\\n");
    oauth2(&format!(
        r#", "auth_method": "private_key_jwt", "private_key": "{key}"{fields}"#
    ))
}

fn key(algorithm: &'static rcgen::SignatureAlgorithm) -> String {
    rcgen::KeyPair::generate_for(algorithm)
        .unwrap()
        .serialize_pem()
}

#[test]
fn what_is_given_is_shown_without_its_secrets() {
    for (given, shown) in [
        (
            r#"{"type": "basic", "username": "ä", "password": "HUSH"}"#,
            r#"{"type":"basic","username":"ä","password":"…"}"#,
        ),
        (
            r#"{"type": "bearer", "token": "HUSH"}"#,
            r#"{"type":"bearer","token":"…"}"#,
        ),
        (
            r#"{"type": "oauth2", "token_url": "https://a.example/t", "client_id": "id",
                "client_secret": "HUSH", "scope": null}"#,
            r#"{"type":"oauth2","token_url":"https://a.example/t","client_id":"id","client_secret":"…","auth_method":"client_secret_basic"}"#,
        ),
        (
            r#"{"type": "oauth2", "auth_method": "client_secret_post", "client_secret": "HUSH",
                "token_url": "http://127.0.0.1:1/t", "client_id": "i d", "scope": "a b:c",
                "audience": "https://b.example/"}"#,
            r#"{"type":"oauth2","token_url":"http://127.0.0.1:1/t","client_id":"i d","client_secret":"…","scope":"a b:c","audience":"https://b.example/","auth_method":"client_secret_post"}"#,
        ),
    ] {
        let auth = parse(given).unwrap();
        assert_eq!(auth.shown().to_string(), shown);
        assert!(!format!("{auth:?} {auth:#?}").contains("HUSH"));
        assert_eq!(parse(given).unwrap(), auth);
        assert_ne!(parse(&given.replace("HUSH", "HUSH2")).unwrap(), auth);
    }
}

#[test]
fn a_key_signs_by_its_kind() {
    for (pem, algorithm) in [
        (RSA.to_owned(), Algorithm::Rs256),
        (key(&rcgen::PKCS_ECDSA_P256_SHA256), Algorithm::Es256),
        (key(&rcgen::PKCS_ED25519), Algorithm::EdDsa),
    ] {
        let Ok(Auth::OAuth2(read)) = assertion(&pem, r#", "key_id": "k""#) else {
            panic!("it is refused");
        };
        let shown = format!("{} {read:?}", read.shown());
        assert!(
            shown.contains(r#""private_key":"…","key_id":"k""#),
            "{shown}"
        );
        let body = pem.lines().nth(1).unwrap();
        assert!(!shown.contains(body), "{shown}");
        let ClientAuth::Assertion(key) = read.client_auth else {
            panic!("it is no assertion");
        };
        assert_eq!(key.algorithm(), algorithm);
        assert!(key.signer().is_some());
    }
    let public = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
    for bad in [
        key(&rcgen::PKCS_ECDSA_P384_SHA384),
        public.to_owned(),
        "HUSH".to_owned(),
    ] {
        let bad = assertion(&bad, "").unwrap_err();
        assert_eq!(bad.path, "auth.private_key");
        assert!(!bad.to_string().contains("HUSH"), "{bad}");
    }
}

#[test]
fn faults_name_the_path_and_the_fix() {
    let secret = r#", "client_secret": "HUSH""#;
    for (bad, path, fix) in [
        (parse("[]"), "auth", "write one such as"),
        (parse("{}"), "auth.type", "add it"),
        (parse(r#"{"type": 1}"#), "auth.type", "write it in quotes"),
        (
            parse(r#"{"type": "oauth"}"#),
            "auth.type",
            "did you mean \"oauth2\"?",
        ),
        (
            parse(r#"{"type": "digest"}"#),
            "auth.type",
            "write one of oauth2, basic, bearer",
        ),
        (
            parse(r#"{"type": "bearer", "tokens": "HUSH"}"#),
            "auth.tokens",
            "did you mean \"token\"?",
        ),
        (
            parse(r#"{"type": "bearer", "token": ""}"#),
            "auth.token",
            "fill it in",
        ),
        (
            parse(r#"{"type": "bearer", "token": "…"}"#),
            "auth.token",
            "give the secret itself, or leave auth out to keep it",
        ),
        (
            parse(r#"{"type": "bearer", "token": "Bearer HUSH"}"#),
            "auth.token",
            "write the token alone, without \"Bearer \"",
        ),
        (
            parse(r#"{"type": "bearer", "token": "HUSH\n"}"#),
            "auth.token",
            "remove it",
        ),
        (
            parse(r#"{"type": "basic", "username": "a:b", "password": "HUSH"}"#),
            "auth.username",
            "remove it",
        ),
        (
            parse(r#"{"type": "basic", "username": "", "password": ""}"#),
            "auth.username",
            "fill them in",
        ),
        (
            parse(r#"{"type": "basic", "username": "a"}"#),
            "auth.password",
            "add it",
        ),
        (
            parse(r#"{"type": "basic", "username": "a\u0000", "password": "b"}"#),
            "auth.username",
            "remove it",
        ),
        (oauth2(""), "auth.client_secret", "add it"),
        (
            oauth2(r#", "client_secret_file": "a""#),
            "auth.client_secret_file",
            "give \"client_secret\" itself",
        ),
        (
            oauth2(&format!(r#"{secret}, "scopes": "a""#)),
            "auth.scopes",
            "did you mean \"scope\"?",
        ),
        (
            oauth2(&format!(r#"{secret}, "scope": "a  b""#)),
            "auth.scope",
            "write letters, digits and punctuation without \" and \\",
        ),
        (
            oauth2(&format!(r#"{secret}, "auth_method": "client_secret_jwt""#)),
            "auth.auth_method",
            "did you mean \"client_secret_post\"?",
        ),
        (
            oauth2(&format!(r#"{secret}, "private_key": "HUSH""#)),
            "auth.private_key",
            "remove it, or set auth_method to \"private_key_jwt\"",
        ),
        (
            oauth2(&format!(r#"{secret}, "auth_method": "private_key_jwt""#)),
            "auth.client_secret",
            "remove it",
        ),
        (
            oauth2(r#", "auth_method": "private_key_jwt""#),
            "auth.private_key",
            "add it",
        ),
        (
            parse(
                r#"{"type": "oauth2", "token_url": "https://HUSH@a.example/", "client_id": "a", "client_secret": "b"}"#,
            ),
            "auth.token_url",
            "take it out of the URL",
        ),
        (
            parse(
                r#"{"type": "oauth2", "token_url": "ftp://a.example/", "client_id": "a", "client_secret": "b"}"#,
            ),
            "auth.token_url",
            "begin it with https:// (or http://)",
        ),
    ] {
        let bad = bad.unwrap_err();
        assert_eq!(bad.path, path, "{bad}");
        assert!(bad.fix.starts_with(fix), "{bad}");
        assert!(!bad.to_string().contains("HUSH"), "{bad}");
    }
}

#[test]
fn headers_are_as_the_standards_have_them() {
    let header = |text: &str| parse(text).unwrap().header().unwrap();
    // RFC 7617, 2.
    let basic = header(r#"{"type": "basic", "username": "Aladdin", "password": "open sesame"}"#);
    assert_eq!(basic, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    let bearer = header(r#"{"type": "bearer", "token": "mF_9.B5f-4.1JqM"}"#);
    assert_eq!(bearer, "Bearer mF_9.B5f-4.1JqM");
    for header in [basic, bearer] {
        assert!(header.is_sensitive());
    }
    assert_eq!(oauth2(r#", "client_secret": "a""#).unwrap().header(), None);
}

#[test]
fn a_static_authorization_header_contradicts() {
    let mut headers = HeaderMap::new();
    assert_eq!(Auth::check_headers(&headers), Ok(()));
    headers.insert("Authorization", HeaderValue::from_static("HUSH"));
    let bad = Auth::check_headers(&headers).unwrap_err();
    assert_eq!(
        bad.to_string(),
        "headers.authorization: auth sets this header; remove it, or auth"
    );
}

proptest! {
    #[test]
    fn whatever_is_accepted_makes_a_header_and_is_hidden(
        username in "[^:\\p{Cc}]{0,20}",
        password in "[^\\p{Cc}]{20,40}",
    ) {
        let mut text = String::new();
        Json::Object([
            ("type".into(), "basic".into()),
            ("username".into(), (&*username).into()),
            ("password".into(), (&*password).into()),
        ].into_iter().collect()).write(&mut text);
        let auth = parse(&text).unwrap();
        prop_assert!(auth.header().is_some());
        let shown = format!("{auth:?}");
        prop_assert!(!shown.contains(&password));
    }

    #[test]
    fn no_values_panic(name in "[a-z_]{1,20}", value in "\\PC{0,30}") {
        let mut text = format!(r#"{{"type": "oauth2", "{name}": "#);
        crate::domain::json::write_string(&value, &mut text);
        text.push('}');
        prop_assert!(parse(&text).is_err());
    }
}
