//! The daemon itself: status, health, metrics, the live tail, and this description.

use serde_json::json;

use super::operation::Operation;
use super::shapes::{Named, answer, nullable, number, time};
use crate::config::schema::shapes::{duration, list, name, object, text, words};

const TAG: &str = "Process";

pub fn operations() -> Vec<Operation> {
    let mut operations = vec![backup(), login(), portal_link(), end_portal_links()];
    operations.extend(others());
    operations
}

fn others() -> [Operation; 6] {
    [
        Operation::new(
            ("get", "/v1/status"),
            TAG,
            "getStatus",
            "Read the state of the daemon",
        )
        .answer(200, "The status", "Status"),
        Operation::new(
            ("get", "/v1/tail"),
            TAG,
            "tail",
            "Follow events and attempts as they happen",
        )
        .description(
            "Server-sent events, beginning now: `accepted` with a summary of the event, `attempt` \
                 with the attempt as it is listed, `endpoint` with an endpoint's new state, `missed` \
                 with the number of events that a slow reader lost.",
        )
        .query("tenant", text(), "Of this tenant.")
        .query(
            "endpoint",
            text(),
            "At this endpoint. No `accepted` events are sent.",
        )
        .query(
            "type",
            text(),
            "A type, a prefix that ends in `.*`, or `*`.",
        )
        .query("source", text(), "Taken in by this source.")
        .text(200, "The events", "text/event-stream"),
        Operation::new(
            ("get", "/healthz"),
            TAG,
            "getHealth",
            "Check that the process answers",
        )
        .open()
        .text(200, "The process answers", "text/plain"),
        Operation::new(
            ("get", "/readyz"),
            TAG,
            "getReadiness",
            "Check that the outbox is recovered and accepts events",
        )
        .open()
        .text(200, "The outbox is ready", "text/plain"),
        Operation::new(
            ("get", "/metrics"),
            TAG,
            "getMetrics",
            "Read metrics in the Prometheus text format",
        )
        .text(200, "The metrics", "text/plain"),
        Operation::new(
            ("get", "/openapi.json"),
            TAG,
            "getOpenApi",
            "Read this description",
        )
        .open()
        .respond(
            200,
            json!({
                "description": "OpenAPI 3.1",
                "content": {"application/json": {"schema": {"type": "object"}}},
            }),
        ),
    ]
}

fn login() -> Operation {
    Operation::new(
        ("post", "/v1/logins"),
        TAG,
        "createLogin",
        "Make a link that logs in at the pages",
    )
    .description(
        "The link works once, within two minutes, and opens a session of the caller. `outboxd login` \
         prints it.",
    )
    .answer(201, "The link", "Login")
    .problems(&[409, 413, 415])
}

fn portal_link() -> Operation {
    Operation::new(
        ("post", "/v1/portal/links"),
        TAG,
        "createPortalLink",
        "Make a link that lets a customer in at the portal",
    )
    .description(
        "For one tenant, for an hour unless `expires_in` says otherwise, and at most 7 days. The code \
         in `url` works once. `token` is a bearer token for pages of the portal, until the link ends. \
         Each capability includes `view`, the default. `session` names who uses the link, in the log and \
         for ending it. `return_url` is shown as a link.",
    )
    .body("PortalLinkWanted", true)
    .answer(201, "The link", "PortalLink")
    .problems(&[409, 413, 415, 503])
}

fn end_portal_links() -> Operation {
    Operation::new(
        ("delete", "/v1/portal/links"),
        TAG,
        "endPortalLinks",
        "End the links of a tenant, or of one of its sessions",
    )
    .description("What they opened, sessions and tails, ends within a second.")
    .required_query("tenant", name(), "Whose links end.")
    .query("session", text(), "Only those of this session.")
    .nothing(204, "Ended")
    .problems(&[413, 415])
}

fn backup() -> Operation {
    Operation::new(
        ("get", "/v1/backup"),
        TAG,
        "getBackup",
        "Copy the running store",
    )
    .description(
        "A tar archive of a data directory that `serve` opens: `log/` up to one position, and \
         `FORMAT` last. One copy is made at a time; cleaning keeps the log meanwhile. A response \
         that breaks off is not a copy. `outboxd backup DIR` writes and checks it.",
    )
    .respond(
        200,
        json!({
            "description": "The archive",
            "content": {
                "application/x-tar": {"schema": {"type": "string", "format": "binary"}},
            },
        }),
    )
    .problems(&[503])
}

/// The schemas of responses.
pub fn schemas() -> Named {
    let numbers =
        |names: &[&'static str]| answer(names.iter().map(|name| (*name, number())).collect(), &[]);
    let certificate = answer(vec![("endpoint", name()), ("not_after", time())], &[]);
    let recovery = answer(
        vec![
            (
                "kind",
                words(["created", "clean", "replayed", "rebuilt", "restored"]),
            ),
            ("seconds", json!({"type": "number", "minimum": 0})),
        ],
        &[],
    );
    let backup = answer(
        vec![
            ("generation", nullable(text())),
            ("behind_s", json!({"type": "number", "minimum": 0})),
            ("last_shipped_at", nullable(time())),
            ("error", nullable(text())),
        ],
        &[],
    );
    let status = answer(
        vec![
            ("version", text()),
            ("uptime_s", number()),
            (
                "backlog",
                numbers(&["pending", "held", "dead", "in_flight"]),
            ),
            ("oldest_pending_s", nullable(number())),
            ("disk", numbers(&["log_bytes", "index_bytes", "free_bytes"])),
            (
                "endpoints",
                numbers(&["total", "disabled", "breaker_open", "unrendered"]),
            ),
            ("expiring_certificates", list(&certificate)),
            ("damaged_records", number()),
            ("recovery", recovery),
            ("backup", nullable(backup)),
            (
                "totals",
                numbers(&["events_accepted", "attempts_delivered", "attempts_failed"]),
            ),
        ],
        &[],
    );
    let mut named = vec![("Status", status)];
    named.extend(links());
    named
}

/// Those that let people in.
fn links() -> Named {
    let login = answer(
        vec![
            ("path", text()),
            ("url", nullable(text())),
            ("expires_at", time()),
        ],
        &[],
    );
    let link = answer(
        vec![("url", text()), ("token", text()), ("expires_at", time())],
        &[],
    );
    let capabilities = words(["view", "manage", "replay", "secrets"]);
    let wanted = object(
        [
            ("tenant", name()),
            ("expires_in", duration()),
            (
                "capabilities",
                json!({"type": "array", "items": capabilities, "minItems": 1}),
            ),
            (
                "session",
                json!({"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$"}),
            ),
            ("return_url", json!({"type": "string", "format": "uri"})),
        ],
        &["tenant"],
    );
    vec![
        ("Login", login),
        ("PortalLinkWanted", wanted),
        ("PortalLink", link),
    ]
}
