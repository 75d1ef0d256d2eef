//! Rules of real services, and the bounds.

use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;

/// Sun, 06 Nov 1994 08:49:37 GMT
const NOW: u64 = 784_111_777_000;

fn json(text: &str) -> Json {
    Json::parse(text.as_bytes()).unwrap()
}

fn rule(text: &str) -> AnswerRule {
    AnswerRule::parse(&json(text)).unwrap()
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn judge_with(rule: &AnswerRule, status: u16, pairs: &[(&str, &str)], body: &str) -> Judged {
    let now = Timestamp::from_millis(NOW);
    rule.judge(status, &headers(pairs), body.as_bytes(), now)
}

fn judge(rule: &AnswerRule, status: u16, body: &str) -> Judged {
    judge_with(rule, status, &[], body)
}

fn success() -> Judged {
    Judged {
        success: true,
        ..Judged::default()
    }
}

fn after(millis: u64) -> Option<Duration> {
    Some(Duration::from_millis(millis))
}

#[test]
fn the_default_goes_by_the_status() {
    let default = rule("{}");
    assert!(default.is_default() && !default.reads_body());
    assert_eq!(default, AnswerRule::default());
    for status in [200, 204, 299] {
        assert_eq!(judge(&default, status, "{\"ok\":false}"), success());
    }
    for status in [100, 199, 300, 404, 500, 999] {
        assert_eq!(judge(&default, status, ""), Judged::default());
    }
    assert!(judge(&default, 410, "").gone);
    let wait = [("retry-after", "1.5")];
    for (status, expected) in [
        (429, after(1500)),
        (503, after(1500)),
        (500, None),
        (410, None),
    ] {
        let judged = judge_with(&default, status, &wait, "");
        assert_eq!(judged.retry_after, expected, "{status}");
    }
}

#[test]
fn the_rules_of_real_services() {
    let lark = rule(r#"{"success": {"body": {"code": 0}}}"#);
    assert_eq!(
        judge(&lark, 200, r#"{"code":0,"msg":"success"}"#),
        success()
    );
    let refused = judge(&lark, 200, r#"{"code":19001,"msg":"param invalid"}"#);
    assert_eq!(
        refused.why.as_deref(),
        Some("answered 200 OK, but `answer.success` failed at body.code: expected 0, found number")
    );
    assert!(!refused.success && !refused.permanent);

    let ding_talk = rule(r#"{"success": {"status": 200, "body": {"errcode": 0}}}"#);
    assert!(judge(&ding_talk, 200, r#"{"errcode":0,"errmsg":"ok"}"#).success);
    assert!(!judge(&ding_talk, 200, r#"{"errcode":310000}"#).success);
    assert!(!judge(&ding_talk, 200, "<html>").success);

    let telegram = rule(
        r#"{"success": {"body": {"ok": true}}, "permanent": ["4xx"],
            "retry_after": "parameters.retry_after"}"#,
    );
    assert!(judge(&telegram, 200, r#"{"ok":true,"result":{}}"#).success);
    let busy = r#"{"ok":false,"error_code":429,"parameters":{"retry_after":7}}"#;
    let judged = judge(&telegram, 429, busy);
    assert_eq!(judged.retry_after, after(7000));
    assert!(!judged.permanent);
    assert!(judge(&telegram, 400, r#"{"ok":false,"error_code":400}"#).permanent);
    assert!(judge(&telegram, 403, r#"{"ok":false}"#).permanent);
    assert_eq!(
        judge(&telegram, 200, r#"{"ok":false}"#).why.as_deref(),
        Some(
            "answered 200 OK, but `answer.success` failed at body.ok: expected true, found boolean"
        )
    );

    let slack = rule(r#"{"success": {"body": "ok"}, "permanent": [400, 403, 404]}"#);
    for body in ["ok", "ok\n"] {
        assert!(judge(&slack, 200, body).success);
    }
    assert!(!judge(&slack, 200, "OK").success);
    assert!(judge(&slack, 404, "no_service").permanent);
    let archived = judge(&slack, 410, "channel_is_archived");
    assert!(archived.gone && !archived.permanent);

    let discord = rule(r#"{"permanent": [400, 401, 403, 404], "retry_after": "retry_after"}"#);
    assert_eq!(judge(&discord, 204, ""), success());
    let wait = [("retry-after", "1")];
    let judged = judge_with(&discord, 429, &wait, r#"{"retry_after":0.43}"#);
    assert_eq!(judged.retry_after, after(1000));
    let judged = judge(&discord, 429, r#"{"retry_after":0.43,"global":false}"#);
    assert_eq!(judged.retry_after, after(430));
    assert_eq!(
        judge(&discord, 404, "{}").why.as_deref(),
        Some("answered 404 Not Found, which `answer.permanent` names")
    );
}

#[test]
fn what_applies_first_decides() {
    let all =
        rule(r#"{"success":{"body":{"ok":true}},"permanent":[400,410,429],"retry_after":"in"}"#);
    // Success comes before 410 and everything else.
    assert_eq!(judge(&all, 410, r#"{"ok":true,"in":1}"#), success());
    assert_eq!(judge(&all, 500, r#"{"ok":true}"#), success());
    // 410 comes before a delay.
    let judged = judge(&all, 410, r#"{"in":1}"#);
    assert!(judged.gone && !judged.permanent && judged.retry_after.is_none());
    // A delay comes before `permanent`, even one of zero.
    let judged = judge(&all, 400, r#"{"in":0}"#);
    assert_eq!((judged.retry_after, judged.permanent), (after(0), false));
    // Retry-After means nothing with a 400.
    let judged = judge_with(&all, 400, &[("retry-after", "1")], "{}");
    assert_eq!((judged.retry_after, judged.permanent), (None, true));
    // A 200 that failed may ask for a delay in its body.
    assert_eq!(judge(&all, 200, r#"{"in":2}"#).retry_after, after(2000));
}

#[test]
fn a_class_leaves_out_what_asks_to_come_again() {
    let permanent = |list: &str, status| {
        let rule = rule(&format!("{{\"permanent\":{list}}}"));
        assert!(!rule.reads_body());
        judge(&rule, status, "").permanent
    };
    for status in [400, 401, 404, 409, 422, 499] {
        assert!(permanent(r#"["4xx"]"#, status));
    }
    for status in [408, 410, 425, 429, 300, 500, 200] {
        assert!(!permanent(r#"["4xx"]"#, status));
    }
    assert!(permanent(r#"["4xx", 429]"#, 429));
    assert!(permanent("[408]", 408) && permanent("[599]", 599) && permanent("[300]", 300));
    assert!(permanent(r#"["3xx","5xx"]"#, 301) && permanent(r#"["3xx","5xx"]"#, 503));
}

#[test]
fn a_delay_is_a_number_at_a_path() {
    let wait = |path: &str, body: &str| {
        let rule = rule(&format!("{{\"retry_after\":\"{path}\"}}"));
        assert!(rule.reads_body());
        judge(&rule, 429, body).retry_after
    };
    for (path, body, expected) in [
        ("a", r#"{"a":3}"#, after(3000)),
        ("a", r#"{"a":"3.25"}"#, after(3250)),
        ("a", r#"{"a":" 3 "}"#, after(3000)),
        ("a", r#"{"a":15e-1}"#, after(1500)),
        ("a", r#"{"a":1e999}"#, Some(LONGEST_WAIT)),
        ("a", r#"{"a":99999999999}"#, Some(LONGEST_WAIT)),
        ("a", r#"{"a":-0}"#, after(0)),
        ("a.b.c", r#"{"a":{"b":{"c":1}}}"#, after(1000)),
        ("a.b", r#"{"a.b":2,"a":{"b":1}}"#, after(2000)),
        ("a.b.c", r#"{"a":{"b.c":2}}"#, after(2000)),
        ("a.1.b", r#"{"a":[0,{"b":1}]}"#, after(1000)),
        ("0", "[1]", after(1000)),
        ("a.1", r#"{"a":[0]}"#, None),
        ("a", r#"{"a":-1}"#, None),
        ("a", r#"{"a":"-1"}"#, None),
        ("a", r#"{"a":"1e3"}"#, None),
        ("a", r#"{"a":"1."}"#, None),
        ("a", r#"{"a":"inf"}"#, None),
        ("a", r#"{"a":null}"#, None),
        ("a", r#"{"a":[1]}"#, None),
        ("a", r#"{"b":1}"#, None),
        ("a", "3", None),
        ("a", "not json", None),
        ("a", "", None),
    ] {
        assert_eq!(wait(path, body), expected, "{path} {body}");
    }
}

#[test]
fn retry_after_is_seconds_fractions_or_a_date_and_the_longer_delay_holds() {
    let both = rule(r#"{"retry_after":"in"}"#);
    let wait = |text: &str| judge_with(&both, 503, &[("retry-after", text)], r#"{"in":2}"#);
    for (text, millis) in [
        ("0", 2000),
        ("1.999", 2000),
        ("2.5", 2500),
        ("120", 120_000),
        ("Sun, 06 Nov 1994 08:51:37 GMT", 120_000),
        ("Sunday, 06-Nov-94 08:51:37 GMT", 120_000),
        ("Sun, 06 Nov 1994 08:49:36 GMT", 2000),
        ("99999999999999999999999", LONGEST_WAIT.as_millis() as u64),
        (
            "Fri, 31 Dec 9999 23:59:59 GMT",
            LONGEST_WAIT.as_millis() as u64,
        ),
        ("soon", 2000),
        ("+9", 2000),
        ("-9", 2000),
        ("9e9", 2000),
        ("inf", 2000),
        (".9", 2000),
        ("", 2000),
    ] {
        assert_eq!(wait(text).retry_after, after(millis), "{text}");
    }
}

#[test]
fn the_document_has_status_headers_and_body() {
    let pairs = [("X-One", "1"), ("set-cookie", "a"), ("set-cookie", "b")];
    let shown = |body: &[u8]| document(202, &headers(&pairs), read_body(body)).to_string();
    assert_eq!(
        shown(br#"{"a":12.50,"a":1}"#),
        r#"{"status":202,"headers":{"x-one":"1","set-cookie":["a","b"]},"body":{"a":1}}"#
    );
    assert!(shown(b" a\xff\n").ends_with("\"body\":\"a\u{fffd}\"}"));
    assert!(shown(b"").ends_with("\"body\":\"\"}"));
    let by_header = rule(r#"{"success": {"headers": {"set-cookie": "b", "x-one": "1"}}}"#);
    assert!(judge_with(&by_header, 500, &pairs, "").success);
    let failed = judge(&by_header, 599, "");
    assert_eq!(
        failed.why.as_deref(),
        Some(
            "answered 599, but `answer.success` failed at headers.set-cookie: expected \"b\", \
             found missing"
        )
    );
}

#[test]
fn a_body_is_bounded() {
    let long = format!("\"{}\"", "a".repeat(BODY_LIMIT));
    match read_body(long.as_bytes()) {
        Json::String(text) => assert_eq!(text.len(), BODY_LIMIT),
        other => panic!("{}", other.kind()),
    }
    let fits = format!("\"{}\"", "a".repeat(BODY_LIMIT - 2));
    assert_eq!(
        read_body(fits.as_bytes()),
        Json::from(fits.trim_matches('"'))
    );
    let deep = "[".repeat(BODY_LIMIT / 2) + &"]".repeat(BODY_LIMIT / 2);
    assert_eq!(read_body(deep.as_bytes()), Json::from(&*deep));
}

#[test]
fn no_message_repeats_the_body() {
    let rule =
        rule(r#"{"success":{"body":{"a":{"$neq":"s"}}},"retry_after":"a","permanent":[400]}"#);
    for body in [r#"{"a":"s"}"#, r#"{"secret":1}"#, "secret"] {
        let why = judge(&rule, 400, body).why.unwrap();
        assert!(
            why.contains("failed at body.a: expected $neq \"s\", found "),
            "{why}"
        );
        assert!(!why.contains("secret"), "{why}");
    }
}

#[test]
fn refusals_name_the_path_and_the_fix() {
    let many = format!("{{\"permanent\":[{}400]}}", "400,".repeat(MAX_PERMANENT));
    let long = format!("{{\"retry_after\":\"{}\"}}", "a".repeat(MAX_PATH_BYTES + 1));
    for (text, path, message) in [
        (
            "7",
            "",
            "this is a number; write an object such as {\"permanent\": ",
        ),
        (
            "{\"succes\":{}}",
            "succes",
            "unknown key; those of `answer` are",
        ),
        ("{\"success\":true}", "success", "must be an object"),
        (
            "{\"permanent\":400}",
            "permanent",
            "this is a number; write a list",
        ),
        (&many, "permanent", "more than 64 entries; name a class"),
        (
            "{\"permanent\":[400,200]}",
            "permanent[1]",
            "`200` is neither a status from 300 to 599",
        ),
        ("{\"permanent\":[600]}", "permanent[0]", "`600` is neither"),
        (
            "{\"permanent\":[400.0]}",
            "permanent[0]",
            "`400.0` is neither",
        ),
        (
            "{\"permanent\":[\"404\"]}",
            "permanent[0]",
            "write a status as a number",
        ),
        (
            "{\"permanent\":[\"2xx\"]}",
            "permanent[0]",
            "`\"2xx\"` is neither",
        ),
        (
            "{\"permanent\":[\"4XX\"]}",
            "permanent[0]",
            "`\"4XX\"` is neither",
        ),
        (
            "{\"permanent\":[null]}",
            "permanent[0]",
            "`null` is neither",
        ),
        ("{\"retry_after\":7}", "retry_after", "this is no path"),
        ("{\"retry_after\":\"\"}", "retry_after", "no path"),
        ("{\"retry_after\":\"a..b\"}", "retry_after", "no path"),
        (&long, "retry_after", "no path"),
    ] {
        let fault = AnswerRule::parse(&json(text)).unwrap_err();
        assert_eq!(fault.path(), path, "{text}");
        assert!(fault.to_string().contains(message), "{fault}\n{message}");
    }
}

#[test]
fn a_rule_is_shown_as_it_is_read() {
    for text in [
        "{}",
        r#"{"success":{"body":{"ok":true}},"permanent":[400,"4xx"],"retry_after":"a.b"}"#,
    ] {
        assert_eq!(rule(text).show().to_string(), text);
    }
    let nulls = rule(r#"{"success":null,"permanent":null,"retry_after":null}"#);
    assert!(nulls.is_default());
    assert!(rule(r#"{"permanent":[]}"#).is_default());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_answer_panics_or_waits_for_ever(
        status: u16,
        body in proptest::collection::vec(any::<u8>(), 0..200),
        wait in "[ -~]{0,40}",
        now: u64,
    ) {
        let rule = rule(r#"{"success":{"body":{"ok":true}},"permanent":["4xx"],"retry_after":"0"}"#);
        let headers = headers(&[("retry-after", &wait)]);
        let judged = rule.judge(status, &headers, &body, Timestamp::from_millis(now));
        prop_assert!(judged.retry_after.is_none_or(|wait| wait <= LONGEST_WAIT));
        prop_assert!([judged.success, judged.gone, judged.permanent, judged.retry_after.is_some()]
            .into_iter().filter(|set| *set).count() <= 1);
    }

    #[test]
    fn a_delay_in_the_body_is_read_to_the_nanosecond(millis in 0_u64..10_000_000) {
        let rule = rule(r#"{"retry_after":"in"}"#);
        let body = format!("{{\"in\":{}.{:03}}}", millis / 1000, millis % 1000);
        prop_assert_eq!(judge(&rule, 429, &body).retry_after, after(millis));
    }

    #[test]
    fn any_json_is_a_rule_or_is_refused(text in "[\\[\\]{}\",:a-z0-9_.]{0,60}") {
        for text in [text.clone(), format!("{{\"permanent\":{text}}}"), format!("{{\"retry_after\":{text}}}")] {
            if let Ok(json) = Json::parse(text.as_bytes())
                && let Ok(rule) = AnswerRule::parse(&json)
            {
                prop_assert_eq!(AnswerRule::parse(&rule.show()), Ok(rule));
            }
        }
    }
}
