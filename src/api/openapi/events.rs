//! Events: posted, read, erased.

use serde_json::{Value, json};

use super::operation::Operation;
use super::shapes::{
    Named, Properties, answer, event_id, event_type, key, nullable, number, reference, strings,
    texts, time,
};
use crate::config::schema::shapes::{flag, list, matching, name, object, text};
use crate::domain::delivery::Status;

const TAG: &str = "Events";

pub fn operations() -> Vec<Operation> {
    vec![
        post(),
        post_opaque(),
        Operation::new(
            ("get", "/v1/events"),
            TAG,
            "listEvents",
            "List events, newest first",
        )
        .event_filter()
        .query("key", key(), "With this `key`.")
        .query("idempotency_key", key(), "With this `idempotency_key`.")
        .page()
        .answers("A page of events", "EventSummary"),
        Operation::new(
            ("get", "/v1/events/{name}"),
            TAG,
            "getEvent",
            "Read an event with its body and deliveries",
        )
        .description("`name` is the event's id.")
        .answer(200, "The event", "Event")
        .problems(&[410]),
        Operation::new(
            ("delete", "/v1/events/{name}"),
            TAG,
            "eraseEvent",
            "Erase an event",
        )
        .description(
            "`name` is the event's id. From then on no response shows its body or attempts, \
                 and its open deliveries are cancelled.",
        )
        .nothing(204, "Erased, now or before"),
    ]
}

fn post() -> Operation {
    let one = json!({"schema": reference("NewEvent")});
    let cloudevent = json!({"specversion": "1.0", "id": "1042", "source": "/shop", "type": "order.created",
        "datacontenttype": "application/json", "data": {"id": 1042}});
    let content = json!({
        "application/json": one,
        "application/x-ndjson": {"schema": {
            "type": "string",
            "description": "One event, as in application/json, on each line; all are accepted or none.",
        }, "example": "{\"type\":\"order.created\",\"data\":{\"id\":1042}}\n{\"type\":\"order.paid\",\"data\":{\"id\":1042}}\n"},
        "application/cloudevents+json": {"schema": {"type": "object"}, "example": cloudevent},
        "application/cloudevents-batch+json": {
            "schema": {"type": "array", "items": {"type": "object"}},
            "example": [cloudevent],
        },
    });
    let accepted = json!({"anyOf": [reference("Accepted"), reference("AcceptedBatch")]});
    let operation = Operation::new(("post", "/v1/events"), TAG, "postEvents", "Post events")
        .description(
            "202 means that the events and their deliveries are on stable storage. The same idempotency \
             key and content again is answered as before, with `duplicate`. CloudEvents in binary mode \
             are taken, too; the query parameters are for CloudEvents alone.",
        )
        .header(
            "Idempotency-Key",
            key(),
            "The same as `idempotency_key` of a single event.",
        )
        .content(content, true)
        .respond(202, json!({
            "description": "Accepted",
            "content": {"application/json": {"schema": accepted}},
        }))
        .problems(&[422, 429]);
    placed(operation)
}

fn post_opaque() -> Operation {
    let bytes = |example: &str| json!({"schema": {}, "example": example});
    let content = json!({
        "application/octet-stream": bytes("any bytes"),
        "application/xml": bytes("<order id=\"1042\"/>"),
        "text/plain": bytes("order 1042 was created"),
    });
    let operation = Operation::new(
        ("post", "/v1/events/{name}"),
        TAG,
        "postOpaqueEvent",
        "Post an event with a body of any other type",
    )
    .description(
        "`name` is the event's type. The body is delivered as it is, with its content type: the ones \
         here or any other, but for JSON and NDJSON.",
    )
    .header("Idempotency-Key", key(), "The same as `idempotency_key`.")
    .query("idempotency_key", key(), "The event is stored once in `ingest.idempotency_window`.")
    .content(content, false)
    .answer(202, "Accepted", "Accepted")
    .problems(&[422, 429]);
    placed(operation)
}

/// The query parameters of events whose body is not an outboxd event.
fn placed(operation: Operation) -> Operation {
    let time = json!({"type": "string", "format": "date-time"});
    operation
        .query(
            "tenant",
            json!({"type": "string"}),
            "The tenant; `default` if absent.",
        )
        .query("key", key(), "Of `ordering = \"key\"`.")
        .query("deliver_at", time, "Delivered at this time or later.")
        .query(
            "channels",
            json!({"type": "string"}),
            "At most 10, joined by commas.",
        )
}

/// An event that is posted.
fn new_event() -> Value {
    let channels = json!({"type": "array", "maxItems": 10,
        "items": matching("^[A-Za-z0-9_.:-]{1,128}$")});
    object(
        [
            ("type", event_type()),
            (
                "data",
                json!({"description": "Any JSON; it reaches receivers byte for byte."}),
            ),
            ("tenant", name()),
            ("key", key()),
            ("idempotency_key", key()),
            ("deliver_at", time()),
            ("channels", channels),
            (
                "headers",
                json!({"type": "object", "maxProperties": 16,
                "additionalProperties": {"type": "string"}}),
            ),
        ],
        &["type", "data"],
    )
}

/// The schemas of requests and responses.
pub fn schemas() -> Named {
    let accepted = answer(
        vec![
            ("id", event_id()),
            ("type", event_type()),
            ("accepted_at", time()),
            ("deliveries", number()),
            ("duplicate", flag()),
        ],
        &[],
    );
    let batch = answer(
        vec![
            ("accepted", number()),
            ("events", list(&reference("Accepted"))),
        ],
        &[],
    );
    let mut event = summary();
    event.extend([
        ("channels", texts()),
        ("headers", strings()),
        ("cloudevent", json!({"type": "object"})),
        ("received", reference("Received")),
        (
            "data",
            json!({"description": "The data of a JSON event, as it was posted."}),
        ),
        ("content_type", text()),
        ("body_base64", text()),
        ("deliveries", list(&reference("Delivery"))),
    ]);
    let optional = [
        "cloudevent",
        "received",
        "data",
        "content_type",
        "body_base64",
    ];
    let received = vec![
        ("source", text()),
        ("delivery_id", nullable(text())),
        ("verified_by", nullable(text())),
        ("remote", nullable(text())),
    ];
    vec![
        ("NewEvent", new_event()),
        ("Accepted", accepted),
        ("AcceptedBatch", batch),
        ("EventSummary", answer(summary(), &[])),
        ("Event", answer(event, &optional)),
        ("Received", answer(received, &[])),
    ]
}

fn summary() -> Properties {
    let counts = Status::ALL.map(|status| (status.as_str(), number()));
    vec![
        ("id", event_id()),
        ("type", event_type()),
        ("tenant", name()),
        ("key", nullable(text())),
        ("idempotency_key", nullable(text())),
        ("accepted_at", time()),
        ("deliver_at", nullable(time())),
        ("delivery_counts", answer(counts.to_vec(), &[])),
    ]
}
