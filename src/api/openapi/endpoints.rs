//! Endpoints, their secrets, work on their deliveries, diagnoses, and previews of their requests.

use serde_json::{Value, json};

use super::operation::Operation;
use super::shapes::{
    Named, Properties, answer, either, event_id, event_type, nullable, number, open, reference,
    retry_rule, strings, texts, time,
};
use crate::config::policy::{MAX_DESCRIPTION, MAX_IN_FLIGHT, MAX_TYPES};
use crate::config::request::MAX_URL;
use crate::config::schema::shapes::{
    count, duration, flag, list, name, object, optional_duration, rate, retry, shaping, text,
    type_pattern, words,
};
use crate::domain::diagnosis::{StepName, StepStatus};
use crate::domain::endpoint::Ordering;

const TAG: &str = "Endpoints";

pub fn operations() -> Vec<Operation> {
    let tenant = || json!({"type": "string"});
    let mut all = vec![
        Operation::new(
            ("get", "/v1/endpoints"),
            TAG,
            "listEndpoints",
            "List endpoints by id",
        )
        .query("tenant", tenant(), "Of this tenant.")
        .page()
        .answers("A page of endpoints", "Endpoint"),
        Operation::new(
            ("post", "/v1/endpoints"),
            TAG,
            "createEndpoint",
            "Make an endpoint",
        )
        .body("NewEndpoint", true)
        .dry_run()
        .answer(
            201,
            "The endpoint, its secret in the clear for once",
            "Endpoint",
        )
        .problems(&[409]),
        Operation::new(
            ("get", "/v1/endpoints/{id}"),
            TAG,
            "getEndpoint",
            "Read an endpoint",
        )
        .answer(200, "The endpoint", "Endpoint"),
        Operation::new(
            ("patch", "/v1/endpoints/{id}"),
            TAG,
            "changeEndpoint",
            "Change an endpoint",
        )
        .description("A field that is not given stays as it is; `null` sets its default.")
        .body("EndpointChange", false)
        .dry_run()
        .respond(
            200,
            either(
                "The endpoint after the change, or what would change",
                ["Endpoint", "Changes"],
            ),
        )
        .problems(&[409]),
        Operation::new(
            ("delete", "/v1/endpoints/{id}"),
            TAG,
            "deleteEndpoint",
            "Delete an endpoint",
        )
        .description("Its open deliveries become dead, reason `endpoint_deleted`.")
        .nothing(204, "Deleted")
        .problems(&[409]),
    ];
    all.extend(acts());
    all.extend(previews_and_diagnosis());
    all
}

fn acts() -> Vec<Operation> {
    let act = |path, id, summary| {
        Operation::new(("post", path), TAG, id, summary)
            .nothing(204, "Done")
            .problems(&[409])
    };
    vec![
        Operation::new(
            ("get", "/v1/endpoints/{id}/secret"),
            TAG,
            "getEndpointSecret",
            "Read the newest secret; of an Ed25519 key the public part",
        )
        .answer(200, "The secret", "Secret"),
        Operation::new(
            ("post", "/v1/endpoints/{id}/rotate"),
            TAG,
            "rotateEndpointSecret",
            "Make a new secret; earlier ones sign too during the overlap",
        )
        .body("Rotation", false)
        .answer(200, "The new secret", "Secret")
        .problems(&[409]),
        act(
            "/v1/endpoints/{id}/enable",
            "enableEndpoint",
            "Enable an endpoint; its held deliveries are released",
        )
        .no_body(),
        act(
            "/v1/endpoints/{id}/disable",
            "disableEndpoint",
            "Disable an endpoint; its deliveries are held",
        )
        .no_body(),
        act(
            "/v1/endpoints/{id}/test",
            "testEndpoint",
            "Send one event to an endpoint, `outboxd.test` by default",
        )
        .body("TestEvent", false),
        Operation::new(
            ("post", "/v1/endpoints/{id}/replay"),
            TAG,
            "replayEndpoint",
            "Deliver dead or delivered deliveries again",
        )
        .body("Replay", false)
        .answer(200, "How many deliveries a dry run found", "Matched")
        .answer(202, "How many deliveries are sent again", "Matched")
        .problems(&[409]),
        Operation::new(
            ("post", "/v1/endpoints/{id}/purge"),
            TAG,
            "purgeEndpoint",
            "Cancel pending and held deliveries, and remove dead ones",
        )
        .body("Purge", false)
        .answer(200, "How many deliveries a dry run found", "Matched")
        .answer(
            202,
            "How many deliveries are cancelled or removed",
            "Matched",
        )
        .problems(&[409]),
    ]
}

fn previews_and_diagnosis() -> Vec<Operation> {
    vec![
        Operation::new(
            ("post", "/v1/endpoints/{id}/diagnose"),
            TAG,
            "diagnoseEndpoint",
            "Diagnose an endpoint: state, name, addresses, TCP, TLS",
        )
        .description(
            "No request is sent, unless `send` is true: then one `outboxd.test` event goes to the \
             endpoint if no other step failed. Spaces may come before the object, one a second.",
        )
        .body("Diagnose", false)
        .answer(200, "The steps, whether they failed or not", "Diagnosis"),
        Operation::new(
            ("post", "/v1/endpoints/{id}/render"),
            TAG,
            "renderEvent",
            "Render the request that the endpoint would get; nothing is sent",
        )
        .body("RenderRequest", true)
        .answer(200, "The request, secrets masked", "Rendered")
        .problems(&[410, 422]),
        Operation::new(
            ("post", "/v1/filters/test"),
            TAG,
            "testFilter",
            "Test a filter with an event",
        )
        .body("FilterTest", true)
        .answer(200, "Whether the event passes", "FilterTested")
        .problems(&[404, 410]),
    ]
}

/// The fields of an endpoint that a request may give.
fn endpoint_fields() -> Properties {
    let types = json!({"type": "array", "items": type_pattern(), "minItems": 1,
        "maxItems": MAX_TYPES});
    let description = json!({"type": "string", "maxLength": MAX_DESCRIPTION});
    let mut fields = vec![
        ("types", types),
        ("headers", strings()),
        ("max_in_flight", count(1, MAX_IN_FLIGHT)),
        ("rate_limit", rate()),
        ("ordering", words(Ordering::ALL.map(Ordering::as_str))),
        ("timeout", optional_duration()),
        ("http2", flag()),
        ("retry", object(open(retry()), &[])),
        ("description", description),
        ("enabled", flag()),
        ("applied_as", name()),
    ];
    fields.extend(shaping());
    let mut fields = open(fields);
    fields.push(("secret", text()));
    fields
}

fn endpoint() -> Value {
    let backlog = ["pending", "held", "dead"].map(|status| (status, number()));
    let any = || json!({});
    answer(
        vec![
            ("id", name()),
            ("tenant", name()),
            ("url", text()),
            ("types", texts()),
            ("secret", nullable(text())),
            ("public_key", nullable(text())),
            ("headers", strings()),
            ("max_in_flight", number()),
            ("rate_limit", nullable(text())),
            ("ordering", words(Ordering::ALL.map(Ordering::as_str))),
            ("timeout", duration()),
            ("http2", flag()),
            ("retry", retry_rule()),
            ("description", text()),
            ("filter", any()),
            ("channels", texts()),
            ("format", text()),
            ("template", nullable(text())),
            ("content_type", nullable(text())),
            ("preset", nullable(text())),
            ("text", nullable(text())),
            ("method", text()),
            ("answer", any()),
            ("signatures", json!({"type": "array"})),
            ("auth", json!({"type": ["object", "null"]})),
            ("client_cert_not_after", nullable(time())),
            ("ca", nullable(text())),
            ("cloudevents_handshake", flag()),
            ("cloudevents_source", nullable(text())),
            ("enabled", flag()),
            (
                "disabled_reason",
                nullable(words(["manual", "gone", "failing"])),
            ),
            ("disabled_at", nullable(time())),
            ("source", words(["toml", "api"])),
            ("applied_as", nullable(name())),
            ("backlog", answer(backlog.to_vec(), &[])),
        ],
        &[],
    )
}

/// The schemas of requests and responses.
pub fn schemas() -> Named {
    let mut all = definitions();
    all.extend(diagnosis());
    all.extend(acts_and_previews());
    all
}

fn definitions() -> Named {
    let url = json!({"type": "string", "maxLength": MAX_URL,
        "examples": ["https://example.com/hook"]});
    let mut new = endpoint_fields();
    new.extend([("url", url.clone()), ("tenant", nullable(name()))]);
    let mut change = endpoint_fields();
    change.push(("url", url));
    vec![
        ("Endpoint", endpoint()),
        ("NewEndpoint", object(new, &["url"])),
        ("EndpointChange", object(change, &[])),
        ("Changes", answer(vec![("changed", texts())], &[])),
    ]
}

fn diagnosis() -> Named {
    let step = answer(
        vec![
            ("name", words(StepName::ALL.map(StepName::as_str))),
            ("status", words(StepStatus::ALL.map(StepStatus::as_str))),
            ("duration_ms", number()),
            ("detail", text()),
            ("hint", nullable(text())),
        ],
        &[],
    );
    let steps = json!({"type": "array", "items": reference("DiagnosisStep")});
    let fields = vec![
        ("endpoint", name()),
        ("url", text()),
        ("ok", flag()),
        ("event", nullable(event_id())),
        ("steps", steps),
    ];
    vec![
        ("Diagnose", object([("send", nullable(flag()))], &[])),
        ("Diagnosis", answer(fields, &[])),
        ("DiagnosisStep", step),
    ]
}

/// The fields by which a replay or a purge selects deliveries.
fn selection(statuses: &[&str]) -> Properties {
    let types = list(&type_pattern());
    open(vec![
        ("status", json!({"enum": statuses})),
        ("since", time()),
        ("until", time()),
        ("types", types),
        ("dry_run", flag()),
    ])
}

fn acts_and_previews() -> Named {
    let mut replay = selection(&["dead", "delivered"]);
    replay.push(("rate", nullable(rate())));
    let purge = selection(&["pending", "held", "dead"]);
    let any = || json!({});
    let sample = json!({"anyOf": [event_id(), reference("NewEvent")]});
    let secret = answer(
        vec![("secret", text()), ("public_key", text())],
        &["secret", "public_key"],
    );
    let rendered = answer(
        vec![
            ("method", text()),
            ("url", text()),
            ("headers", strings()),
            ("body", text()),
            ("body_base64", text()),
        ],
        &["body", "body_base64"],
    );
    let tested = answer(
        vec![
            ("matches", flag()),
            ("failed", nullable(reference("FailedCondition"))),
        ],
        &[],
    );
    vec![
        ("Secret", secret),
        ("Rotation", object([("overlap", nullable(duration()))], &[])),
        (
            "TestEvent",
            object([("type", nullable(event_type())), ("data", any())], &[]),
        ),
        ("Replay", object(replay, &[])),
        ("Purge", object(purge, &[])),
        (
            "Matched",
            answer(
                vec![("matched", number()), ("job", nullable(text()))],
                &["job"],
            ),
        ),
        (
            "RenderRequest",
            object(
                [
                    ("event", nullable(event_id())),
                    ("type", nullable(event_type())),
                    ("data", any()),
                ],
                &[],
            ),
        ),
        ("Rendered", rendered),
        (
            "FilterTest",
            object(
                [
                    ("filter", json!({"type": ["object", "string"]})),
                    ("event", sample),
                ],
                &["filter", "event"],
            ),
        ),
        ("FilterTested", tested),
    ]
}
