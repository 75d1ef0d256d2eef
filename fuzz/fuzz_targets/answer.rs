//! Answer rules and the answers that they judge. The input is a rule, a status, `Retry-After` and
//! a body, each ended by a zero byte.

#![no_main]

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use outboxd::domain::answer_rule::{AnswerRule, LONGEST_WAIT};
use outboxd::domain::json::Json;
use outboxd::domain::time::Timestamp;

const RULE: &[u8] = br#"{"success": {"body": {"ok": true}}, "permanent": ["4xx", 503],
    "retry_after": "parameters.retry_after"}"#;

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(4, |byte| *byte == 0);
    let mut part = || parts.next().unwrap_or_default();
    let (rule, status, wait, body) = (part(), part(), part(), part());
    let status = match status {
        [high, low, ..] => u16::from_be_bytes([*high, *low]),
        [low] => 400 + u16::from(*low),
        [] => 200,
    };
    let mut headers = HeaderMap::new();
    if let Ok(wait) = HeaderValue::from_bytes(wait) {
        headers.insert(RETRY_AFTER, wait);
    }
    for rule in [rule, RULE] {
        let Some(rule) = Json::parse(rule)
            .ok()
            .and_then(|json| AnswerRule::parse(&json).ok())
        else {
            continue;
        };
        assert_eq!(AnswerRule::parse(&rule.show()).as_ref(), Ok(&rule));
        let judged = rule.judge(
            status,
            &headers,
            body,
            Timestamp::from_millis(784_111_777_000),
        );
        assert!(judged.retry_after.is_none_or(|wait| wait <= LONGEST_WAIT));
        assert!(!(judged.success && (judged.gone || judged.permanent)));
    }
});
