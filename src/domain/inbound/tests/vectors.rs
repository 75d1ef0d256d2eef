//! The vectors of the providers' documents and libraries.

use super::support::{Request, at, header, named, refused, source, text};
use crate::domain::inbound::VerifiedBy;

#[test]
fn github() {
    let source = source(r#"{"preset":"github","secrets":["It's a Secret to Everybody"]}"#);
    let signed = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let call = Request::post("Hello, World!")
        .with("x-hub-signature-256", signed)
        .with("x-github-event", "push")
        .with("x-github-delivery", "d-1");
    assert_eq!(named(&call.event(&source, at(0))), ("github.push", "d-1"));
    assert_eq!(call.verified_by(&source, at(0)), VerifiedBy::Secret(1));
    assert_eq!(call.answered(&source, at(0)).status, 200);
    let upper = call
        .clone()
        .with("x-hub-signature-256", &signed.to_uppercase());
    assert_eq!(upper.verified_by(&source, at(0)), VerifiedBy::Secret(1));
    let changed = call.clone().body("Hello, World?");
    assert_eq!(changed.why(&source, at(0)), "bad_signature");
    assert_eq!(Request::post("x").why(&source, at(0)), "missing_signature");
    assert_eq!(Request::get("").why(&source, at(0)), "method");
    assert_eq!(refused(r#"{"preset":"github"}"#).0, "secrets");
}

#[test]
fn stripe() {
    let source = source(r#"{"preset":"stripe","secrets":["whsec_new","whsec_test_secret"]}"#);
    let right = "e135cdbed3dda004bf8a2fb350f2541d299393c770e0b9e6e319dc595e9072aa";
    let header = format!("t=1614265330,v1={},v1={right},v0=00", "0".repeat(64));
    let call = Request::post(r#"{"id":"evt_1"}"#).with("stripe-signature", &header);
    let now = at(1_614_265_330);
    assert_eq!(
        named(&call.event(&source, now)),
        ("stripe.unnamed", "evt_1")
    );
    assert_eq!(call.verified_by(&source, now), VerifiedBy::Secret(2));
    assert_eq!(
        call.verified_by(&source, at(1_614_265_630)),
        VerifiedBy::Secret(2)
    );
    assert_eq!(call.why(&source, at(1_614_265_631)), "stale");
    assert_eq!(call.why(&source, at(1_614_265_029)), "stale");
    let untimed = call
        .clone()
        .with("stripe-signature", &format!("v1={right}"));
    assert_eq!(untimed.why(&source, now), "missing_signature");
    let other = call.with("stripe-signature", &format!("t=1614265331,v1={right}"));
    assert_eq!(other.why(&source, now), "bad_signature");
}

const SLACK: &str = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";

#[test]
fn slack() {
    let source = source(r#"{"preset":"slack","secrets":["8f742231b10e8888abcd99yyyzzz85a5"]}"#);
    let signed = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
    let now = at(1_531_420_618);
    let call = Request::post(SLACK)
        .with("content-type", "application/x-www-form-urlencoded")
        .with("x-slack-request-timestamp", "1531420618")
        .with("x-slack-signature", signed);
    let event = call.event(&source, now);
    let id = "398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    assert_eq!(named(&event), ("slack.slash_command.webhook-collect", id));
    let answer = call.answered(&source, now);
    assert_eq!((answer.status.as_u16(), text(&answer)), (200, ""));
    assert_eq!(call.why(&source, at(1_531_420_919)), "stale");
}

#[test]
fn meta() {
    let source = source(r#"{"preset":"meta","secrets":["appsecret"],"verify_token":"my token"}"#);
    for (body, signed) in [
        (
            r#"{"object":"page","text":"xin ch\u00e0o"}"#,
            "f6a4cd3d2100a7065679b1989c32e8623e67076422e4ca6909bc8027144d076d",
        ),
        (
            r#"{"object":"page","text":"xin chào"}"#,
            "70c6e27f792af72d328224ae38b2e31dc098b97d3b1bed911887cb4e6cc38375",
        ),
    ] {
        let call = Request::post(body).with("x-hub-signature-256", &format!("sha256={signed}"));
        let event = call.event(&source, at(0));
        assert_eq!(event.event_type.as_str(), "meta.page");
        assert!(event.delivery_id.starts_with("sha256:"));
    }
    let greeting = "hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=my+token";
    let answer = Request::get(greeting).greeted(&source, at(0));
    assert_eq!((answer.status.as_u16(), text(&answer)), (200, "1158201444"));
    assert_eq!(header(&answer, "content-type"), "text/plain; charset=utf-8");
    assert_eq!(header(&answer, "x-content-type-options"), "nosniff");
    let wrong = Request::get("hub.mode=subscribe&hub.challenge=1&hub.verify_token=no");
    assert_eq!(wrong.rejected(&source, at(0)).status(), 403);
    let none = Request::get("hub.mode=subscribe&hub.challenge=1");
    assert_eq!(none.why(&source, at(0)), "bad_token");
}

#[test]
fn standard_webhooks() {
    let v1 = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    let v1a = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";
    let secret = r#""secrets":["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]"#;
    let public = r#""public_key":"whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=""#;
    let now = at(1_614_265_330);
    let call = |name: &str, signature: &str| {
        Request::post(r#"{"test": 2432232314}"#)
            .with(&format!("{name}-id"), "msg_p5jXN8AQM9LWM0D4loKWxJek")
            .with(&format!("{name}-timestamp"), "1614265330")
            .with(&format!("{name}-signature"), signature)
    };
    let definition = |keys: &str| source(&format!(r#"{{"preset":"standard_webhooks",{keys}}}"#));
    let (by_secret, by_key) = (definition(secret), definition(public));
    let both = definition(&format!("{secret},{public}"));
    for name in ["webhook", "svix"] {
        for (signature, fitting) in [(v1, &by_secret), (v1a, &by_key)] {
            let call = call(name, signature);
            assert_eq!(
                named(&call.event(fitting, now)),
                ("standard_webhooks.unnamed", "msg_p5jXN8AQM9LWM0D4loKWxJek")
            );
            call.event(&both, now);
            assert_eq!(call.why(fitting, at(1_614_265_631)), "stale");
        }
        let all = format!("v1,AAAA v2,x {v1a} {v1}");
        assert_eq!(
            call(name, &all).verified_by(&both, now),
            VerifiedBy::Secret(1)
        );
        assert_eq!(
            call(name, v1a).verified_by(&both, now),
            VerifiedBy::PublicKey
        );
        assert_eq!(call(name, v1a).why(&by_secret, now), "bad_signature");
    }
    // The id that was signed counts, not one that somebody adds.
    let both_names = call("svix", v1).with("webhook-id", "other");
    assert_eq!(
        both_names.event(&by_secret, now).delivery_id,
        "msg_p5jXN8AQM9LWM0D4loKWxJek"
    );
    let other_id = call("webhook", v1).with("webhook-id", "other");
    assert_eq!(other_id.why(&by_secret, now), "bad_signature");
    let bad = refused(r#"{"preset":"standard_webhooks","secrets":["whsec_%%"]}"#);
    assert_eq!(bad.0, "secrets[0]");
    assert!(!bad.1.contains("%%"), "{}", bad.1);
}
