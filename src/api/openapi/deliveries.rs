//! Deliveries: read, explained, retried, cancelled.

use serde_json::{Value, json};

use super::operation::Operation;
use super::shapes::{
    Named, Properties, answer, event_id, event_type, nullable, number, reference, retry_rule,
    texts, time,
};
use crate::config::schema::shapes::{duration, flag, list, name, text, words};
use crate::domain::attempt::ErrorKind;
use crate::domain::delivery::{Reason, Status};
use crate::domain::endpoint::Ordering;

const TAG: &str = "Deliveries";

pub fn operations() -> Vec<Operation> {
    let statuses = Status::ALL.map(Status::as_str);
    vec![
        Operation::new(
            ("get", "/v1/deliveries"),
            TAG,
            "listDeliveries",
            "List deliveries",
        )
        .query("status", json!({"enum": statuses}), "With this status.")
        .query("endpoint", json!({"type": "string"}), "To this endpoint.")
        .event_filter()
        .page()
        .answers("A page of deliveries", "Delivery"),
        Operation::new(
            ("get", "/v1/events/{name}/deliveries/{endpoint}"),
            TAG,
            "getDelivery",
            "Read a delivery with its attempts",
        )
        .answer(200, "The delivery", "Delivery")
        .problems(&[410]),
        Operation::new(
            ("post", "/v1/events/{name}/deliveries/{endpoint}/retry"),
            TAG,
            "retryDelivery",
            "Try a delivery again, or now",
        )
        .no_body()
        .answer(202, "The delivery, pending", "Delivery")
        .problems(&[409, 410]),
        Operation::new(
            ("post", "/v1/events/{name}/deliveries/{endpoint}/cancel"),
            TAG,
            "cancelDelivery",
            "Cancel a delivery that is pending or held",
        )
        .no_body()
        .answer(200, "The delivery, dead", "Delivery")
        .problems(&[409, 410]),
        Operation::new(
            ("get", "/v1/events/{name}/deliveries/{endpoint}/explain"),
            TAG,
            "explainDelivery",
            "Why an event did or did not reach an endpoint",
        )
        .answer(200, "The explanation", "Explanation")
        .problems(&[410]),
    ]
}

/// The fields of an attempt.
pub fn attempt() -> Properties {
    let error = answer(
        vec![
            ("kind", words(ErrorKind::ALL.map(ErrorKind::as_str))),
            ("detail", text()),
        ],
        &[],
    );
    vec![
        ("at", time()),
        ("duration_ms", number()),
        ("status", nullable(json!({"type": "integer"}))),
        ("error", nullable(error)),
        ("response_body", text()),
        ("address", nullable(text())),
    ]
}

/// The schemas of responses.
pub fn schemas() -> Named {
    let reasons = words(Reason::ALL.map(Reason::as_str));
    let delivery = answer(
        vec![
            ("event", event_id()),
            ("endpoint", name()),
            ("tenant", name()),
            ("type", event_type()),
            ("status", words(Status::ALL.map(Status::as_str))),
            ("reason", nullable(reasons)),
            ("attempts", list(&reference("Attempt"))),
            ("attempts_omitted", flag()),
            ("attempt_count", number()),
            ("next_attempt_at", nullable(time())),
            ("accepted_at", time()),
            ("finished_at", nullable(time())),
        ],
        &["attempts_omitted"],
    );
    let failed = answer(
        vec![
            ("path", text()),
            ("operator", text()),
            ("expected", json!({})),
            ("found", text()),
        ],
        &[],
    );
    vec![
        ("Attempt", answer(attempt(), &[])),
        ("Delivery", delivery),
        ("Explanation", explanation()),
        ("FailedCondition", failed),
    ]
}

fn explanation() -> Value {
    let policy = answer(
        vec![
            ("url", text()),
            ("tenant", name()),
            ("types", texts()),
            ("max_in_flight", number()),
            ("rate_limit", nullable(text())),
            ("ordering", words(Ordering::ALL.map(Ordering::as_str))),
            ("timeout", duration()),
            ("retry", retry_rule()),
        ],
        &[],
    );
    let lane = answer(
        vec![
            ("in_flight", number()),
            ("concurrency_limit", number()),
            ("breaker_open", flag()),
            ("probe_at", nullable(time())),
            ("paused_until", nullable(time())),
            ("rate_limited_until", nullable(time())),
        ],
        &[],
    );
    answer(
        vec![
            ("event", event_id()),
            ("endpoint", name()),
            ("tenant", name()),
            ("type", event_type()),
            ("matched", flag()),
            ("answer", text()),
            ("detail", text()),
            ("next_at", nullable(time())),
            ("failed", nullable(reference("FailedCondition"))),
            ("behind", nullable(event_id())),
            ("policy", nullable(policy)),
            ("lane", nullable(lane)),
            ("received", reference("Received")),
            ("delivery", nullable(reference("Delivery"))),
        ],
        &["received"],
    )
}
