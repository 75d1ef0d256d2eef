//! The consent of a receiver.

use std::num::NonZeroU32;

use super::super::{Consent, Rate, Refusal, RequestOrigin, judge, request_headers};
use super::headers;

fn origin() -> RequestOrigin {
    RequestOrigin::new("events.example.com").unwrap()
}

fn judged(pairs: &[(&str, &str)]) -> Result<Consent, Refusal> {
    judge(&origin(), &headers(pairs))
}

#[test]
fn is_asked_for() {
    let sent = http::HeaderMap::from_iter(request_headers(&origin(), NonZeroU32::new(120)));
    let expected = headers(&[
        ("WebHook-Request-Origin", "events.example.com"),
        ("WebHook-Request-Rate", "120"),
    ]);
    assert_eq!(sent, expected);
    assert_eq!(request_headers(&origin(), None).len(), 1);
}

#[test]
fn is_the_origin_or_an_asterisk() {
    let per_minute = |n| Some(Rate::PerMinute(NonZeroU32::new(n).unwrap()));
    for (allowed, rate, expected) in [
        ("events.example.com", Some("100"), per_minute(100)),
        ("Events.Example.COM", Some("*"), Some(Rate::Unlimited)),
        ("*", None, None),
        ("*", Some("99999999999999"), per_minute(u32::MAX)),
    ] {
        let mut pairs = vec![("WebHook-Allowed-Origin", allowed)];
        pairs.extend(rate.map(|rate| ("WebHook-Allowed-Rate", rate)));
        assert_eq!(judged(&pairs), Ok(Consent { rate: expected }));
    }
}

#[test]
fn is_nothing_else() {
    let cases: [(&[(&str, &str)], &str); 8] = [
        (
            &[],
            "has no WebHook-Allowed-Origin header; the receiver must answer",
        ),
        (
            &[("allow", "POST"), ("WebHook-Allowed-Rate", "*")],
            "has no WebHook-Allowed-Origin",
        ),
        (
            &[("WebHook-Allowed-Origin", "example.com")],
            "allows the origin `example.com` and not `events.example.com`; the receiver",
        ),
        (
            &[("WebHook-Allowed-Origin", "*.example.com")],
            "allows the origin",
        ),
        (
            &[
                ("WebHook-Allowed-Origin", "*"),
                ("WebHook-Allowed-Origin", "*"),
            ],
            "has more than one WebHook-Allowed-Origin header",
        ),
        (
            &[
                ("WebHook-Allowed-Origin", "*"),
                ("WebHook-Allowed-Rate", "0"),
            ],
            "allows the rate `0`; the receiver must answer with",
        ),
        (
            &[
                ("WebHook-Allowed-Origin", "*"),
                ("WebHook-Allowed-Rate", "-1"),
            ],
            "rate `-1`",
        ),
        (
            &[
                ("WebHook-Allowed-Origin", "*"),
                ("WebHook-Allowed-Rate", ""),
            ],
            "rate ``",
        ),
    ];
    for (pairs, expected) in cases {
        let refusal = judged(pairs).unwrap_err().to_string();
        assert!(refusal.contains(expected), "{refusal}\n{expected}");
    }
}

#[test]
fn an_origin_is_a_dns_name() {
    let long = ["a"; 128].join(".");
    let label = "a".repeat(64);
    for bad in [
        "",
        "*",
        "a..b",
        "a.",
        "-a",
        "a-",
        "https://a",
        "a/b",
        "a:1",
        "a_b",
        "ä",
        &long,
        &label,
    ] {
        assert!(RequestOrigin::new(bad).is_err(), "{bad}");
    }
    for good in ["a", "localhost", "xn--bcher-kva.example", "1.2.3.4"] {
        assert!(RequestOrigin::new(good).is_ok(), "{good}");
    }
}
