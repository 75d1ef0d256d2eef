//! Attempts, counts over time, and jobs under way.

use serde_json::json;

use super::operation::Operation;
use super::shapes::{Named, answer, event_id, event_type, nullable, number, time};
use crate::config::schema::shapes::{list, name, text, words};
use crate::domain::attempt::ErrorKind;
use crate::domain::delivery::Status;

const TAG: &str = "History";

pub fn operations() -> Vec<Operation> {
    let kinds = ErrorKind::ALL.map(ErrorKind::as_str);
    let attempts = Operation::new(
        ("get", "/v1/attempts"),
        TAG,
        "listAttempts",
        "List attempts, newest first",
    )
    .query("endpoint", json!({"type": "string"}), "At this endpoint.")
    .query(
        "kind",
        json!({"enum": kinds}),
        "Failed with an error of this kind.",
    )
    .query(
        "status_code",
        json!({"type": "string", "pattern": "^([1-9][0-9]{2}|[1-9]xx)$"}),
        "Answered with this status, or one of this class (`5xx`).",
    )
    .tenant_and_type()
    .query("since", time(), "Begun at this time or later.")
    .query("until", time(), "Begun before this time.")
    .page()
    .answers("A page of attempts", "ListedAttempt");
    vec![
        attempts,
        over_time(
            ("get", "/v1/stats"),
            "getStats",
            "Count accepted events and attempts over time, of all tenants or of one",
        )
        .query("tenant", name(), "Of this tenant."),
        over_time(
            ("get", "/v1/endpoints/{id}/stats"),
            "getEndpointStats",
            "Count an endpoint's deliveries and attempts over time",
        ),
        Operation::new(
            ("get", "/v1/jobs"),
            TAG,
            "listJobs",
            "List the replays, purges and releases under way",
        )
        .page()
        .answers("A page of jobs", "Job"),
        Operation::new(("get", "/v1/jobs/{id}"), TAG, "getJob", "Read a job")
            .description("404 after the job has ended.")
            .answer(200, "The job", "Job"),
        Operation::new(
            ("delete", "/v1/jobs/{id}"),
            TAG,
            "cancelJob",
            "Cancel a job; deliveries that it has not processed stay as they are",
        )
        .nothing(204, "The job has ended"),
    ]
}

fn over_time(
    call: (&'static str, &'static str),
    id: &'static str,
    summary: &'static str,
) -> Operation {
    Operation::new(call, TAG, id, summary)
        .description("In minutes for the last 2 h, in quarters of an hour for the last 7 d.")
        .query("since", time(), "Inclusive.")
        .query("until", time(), "Exclusive.")
        .query(
            "step",
            text(),
            "Whole minutes, such as `1m`; a multiple of `15m` for times more than 2 h ago.",
        )
        .answer(200, "The counts", "Stats")
}

/// The schemas of responses.
pub fn schemas() -> Named {
    let mut counts = serde_json::Map::new();
    for kind in ErrorKind::ALL {
        counts.insert(kind.as_str().to_owned(), number());
    }
    let step = answer(
        vec![
            ("at", time()),
            ("accepted", number()),
            ("delivered", number()),
            ("failed", json!({"type": "object", "properties": counts})),
            ("p50_ms", nullable(number())),
            ("p95_ms", nullable(number())),
        ],
        &[],
    );
    let stats = answer(
        vec![
            ("since", time()),
            ("until", time()),
            ("step_s", number()),
            ("data", list(&step)),
        ],
        &[],
    );
    let mut listed = super::deliveries::attempt();
    listed.extend([
        ("id", text()),
        ("event", event_id()),
        ("endpoint", name()),
        ("tenant", name()),
        ("type", nullable(event_type())),
    ]);
    let statuses = words(Status::ALL.map(Status::as_str));
    let job = answer(
        vec![
            ("id", text()),
            ("kind", words(["replay", "purge", "release"])),
            ("endpoint", name()),
            ("tenant", name()),
            ("status", list(&statuses)),
            ("types", list(&text())),
            ("since", nullable(time())),
            ("until", nullable(time())),
            ("rate", nullable(text())),
            ("matched", number()),
            ("done", number()),
            ("created_at", nullable(time())),
        ],
        &[],
    );
    vec![
        ("ListedAttempt", answer(listed, &[])),
        ("Stats", stats),
        ("Job", job),
    ]
}
