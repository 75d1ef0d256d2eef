//! Sources, and the public listener where they are called.

use serde_json::json;

use super::operation::Operation;
use super::shapes::{Named, Properties, answer, either, event_id, nullable, number, open, time};
use crate::config::schema::shapes::{duration, flag, list, name, object, source, text, words};

const TAG: &str = "Sources";
const INBOUND: &str = "Inbound";

pub fn operations() -> Vec<Operation> {
    let tenant = json!({"type": "string"});
    let mut all = vec![
        Operation::new(
            ("get", "/v1/sources"),
            TAG,
            "listSources",
            "List sources by id",
        )
        .query("tenant", tenant, "Of this tenant.")
        .page()
        .answers("A page of sources", "Source"),
        Operation::new(
            ("post", "/v1/sources"),
            TAG,
            "createSource",
            "Make a source",
        )
        .body("NewSource", true)
        .dry_run()
        .answer(201, "The source", "Source")
        .problems(&[409]),
        Operation::new(
            ("get", "/v1/sources/{id}"),
            TAG,
            "getSource",
            "Read a source",
        )
        .answer(200, "The source", "Source"),
        Operation::new(
            ("patch", "/v1/sources/{id}"),
            TAG,
            "changeSource",
            "Change a source",
        )
        .description("What is not given stays; `null` is a field's default.")
        .body("SourceChange", false)
        .dry_run()
        .respond(
            200,
            either(
                "The source as it is then, or what would change",
                ["Source", "Changes"],
            ),
        )
        .problems(&[409]),
        Operation::new(
            ("delete", "/v1/sources/{id}"),
            TAG,
            "deleteSource",
            "Remove a source",
        )
        .description("What came in stays.")
        .nothing(204, "Removed")
        .problems(&[409]),
    ];
    all.extend(acts());
    all.extend(calls());
    all
}

fn calls() -> [Operation; 4] {
    [
        inbound("post", "receiveCall", "A provider's call"),
        inbound(
            "get",
            "receiveHandshake",
            "A handshake, of providers that make one by GET",
        ),
        inbound(
            "head",
            "receiveProbe",
            "A probe, of providers that make one by HEAD",
        ),
        inbound(
            "options",
            "receivePermissionRequest",
            "The request for permission of CloudEvents",
        ),
    ]
}

fn acts() -> Vec<Operation> {
    vec![
        Operation::new(
            ("post", "/v1/sources/{id}/rotate"),
            TAG,
            "rotateSourceSecret",
            "Let a new secret count; the ones before it count too while they overlap",
        )
        .body("SourceRotation", false)
        .answer(
            200,
            "The source, and the secret if it was made here",
            "Source",
        )
        .problems(&[409]),
        Operation::new(
            ("post", "/v1/sources/{id}/test"),
            TAG,
            "testSource",
            "Sign a sample as the provider would and hand it in",
        )
        .body("SourceTest", false)
        .answer(200, "What became of it", "SourceTested")
        .problems(&[409]),
    ]
}

fn inbound(method: &'static str, id: &'static str, summary: &'static str) -> Operation {
    let refusals = [
        (400, "A handshake that is not answered, or a broken body"),
        (401, "The signature is wrong or missing"),
        (
            403,
            "The verify token is wrong, or the address may not call",
        ),
        (404, "No such source"),
        (405, "The provider does not call so"),
        (408, "The body came too slowly"),
        (413, "The body is too large"),
        (429, "More calls than `rate_limit`"),
        (503, "It could not be stored; the provider tries again"),
    ];
    let operation = Operation::new((method, "/in/{source}"), INBOUND, id, summary)
        .description(
            "On the public listener alone, `listen.inbound`. The call is verified as its provider signs, \
             made durable, and only then answered as the provider wants. Refusals have no body.",
        )
        .nothing(200, "What the provider wants to be answered; other statuses of success, too");
    refusals
        .into_iter()
        .fold(operation, |operation, (status, words)| {
            operation.nothing(status, words)
        })
}

/// What is sent and answered.
pub fn schemas() -> Named {
    let mut new = open(source());
    let change = new.clone();
    new.extend([("id", nullable(name())), ("applied", nullable(flag()))]);
    let counts = answer(
        vec![
            ("accepted", number()),
            ("duplicate", number()),
            ("handshakes", number()),
            (
                "rejected",
                json!({"type": "object", "additionalProperties": {"type": "integer"}}),
            ),
        ],
        &[],
    );
    let rejected = answer(
        vec![
            ("at", time()),
            ("remote", text()),
            ("method", text()),
            ("reason", text()),
            ("detail", text()),
            ("content_type", nullable(text())),
            ("user_agent", nullable(text())),
            ("body_bytes", nullable(number())),
        ],
        &[],
    );
    // Secrets are masked, and what is not given is its default: all shapes but those of requests.
    let shown = source().into_iter().map(|(key, _)| (key, json!({})));
    let mut fields: Properties = shown.collect();
    fields.extend([
        ("id", name()),
        ("url", nullable(text())),
        ("source", words(["toml", "api"])),
        ("applied", flag()),
        ("changed_at", nullable(time())),
        ("last_received_at", nullable(time())),
        ("last_handshake_at", nullable(time())),
        ("counts", counts),
        ("recent_rejected", list(&rejected)),
        ("secret", text()),
    ]);
    let tested = answer(
        vec![
            ("status", json!({"type": "integer"})),
            ("events", list(&event_id())),
            ("reason", text()),
            ("detail", text()),
        ],
        &["reason", "detail"],
    );
    let rotation = [
        ("overlap", nullable(duration())),
        ("secret", nullable(text())),
    ];
    vec![
        ("Source", answer(fields, &["recent_rejected", "secret"])),
        ("NewSource", object(new, &[])),
        ("SourceChange", object(change, &[])),
        ("SourceRotation", object(rotation, &[])),
        ("SourceTest", object([("body", nullable(text()))], &[])),
        ("SourceTested", tested),
    ]
}
