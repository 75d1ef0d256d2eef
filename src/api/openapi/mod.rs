//! The description of the API, OpenAPI 3.1: served at `GET /openapi.json` and kept in
//! `docs/openapi.json`.
//!
//! One file a noun lists its operations and the schemas of what they send and answer; `operation` and
//! `shapes` have what is the same for several. Tests hold it true: the kept file is what is made here, every route and method is
//! here and every operation here is answered, and answers of a daemon fit their schemas.
//!
//! To add a route: add an `Operation` to its noun's file, and write the kept file anew with
//! `WRITE_OPENAPI=1 cargo test --lib openapi`.

mod deliveries;
mod endpoints;
mod events;
mod history;
mod operation;
mod process;
mod shapes;
mod sources;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;

use axum::response::{IntoResponse, Response};
use http::header::{self, HeaderValue};
use serde_json::{Map, Value, json};

use operation::Operation;

/// `GET /openapi.json`
pub async fn openapi() -> Response {
    static TEXT: OnceLock<String> = OnceLock::new();
    let text = TEXT.get_or_init(|| document().to_string()).as_str();
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json)], text).into_response()
}

/// The whole description.
fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations() {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method] = operation.to_json();
        if operation.is_inbound() {
            path["servers"] = json!([{
                "url": "https://hooks.example.com",
                "description": "The public listener, `listen.inbound`. Nothing else is there.",
            }]);
        }
    }
    link(&mut paths);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "outboxd",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "A durable webhook outbox",
            "description": "The same on TCP and on the Unix socket. JSON in and out, UTF-8, times in \
                RFC 3339 and UTC. Errors are problems of RFC 9457. Unknown fields and parameters are \
                errors that name them. Lists go on from `next` until that is null.",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "http://127.0.0.1:7717", "description": "`listen.http`, by default"}],
        "security": [{"token": []}, {}],
        "tags": operation::tags(),
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {
                "type": "http",
                "scheme": "bearer",
                "description": "One of `auth.tokens`. Without tokens, and on the Unix socket, none is \
                    asked for. The scope `ingest` may hand events in, `admin` may do everything.",
            }},
            "responses": operation::responses(),
            "schemas": schemas(),
        },
    })
}

/// Which operation's answer names what others are about: where it is made or listed, with which
/// status, the paths of the others, and where the answer has the names in those.
type Link = (
    [&'static str; 3],
    &'static str,
    &'static [(&'static str, &'static str)],
);

const LINKS: [Link; 5] = [
    (
        ["/v1/endpoints", "post", "201"],
        "/v1/endpoints/{id}",
        &[("id", "/id")],
    ),
    (
        ["/v1/sources", "post", "201"],
        "/v1/sources/{id}",
        &[("id", "/id")],
    ),
    (
        ["/v1/events", "post", "202"],
        "/v1/events/{name}",
        &[("name", "/id")],
    ),
    (
        ["/v1/events/{name}", "post", "202"],
        "/v1/events/{name}",
        &[("name", "/id")],
    ),
    (
        ["/v1/deliveries", "get", "200"],
        "/v1/events/{name}/deliveries/{endpoint}",
        &[("name", "/data/0/event"), ("endpoint", "/data/0/endpoint")],
    ),
];

/// Says in which answers the names are that paths take.
fn link(paths: &mut Map<String, Value>) {
    for ([path, method, status], below, names) in LINKS {
        let parameters: Map<String, Value> = names
            .iter()
            .map(|(name, at)| ((*name).to_owned(), json!(format!("$response.body#{at}"))))
            .collect();
        let takes_these = |one: &Operation| {
            let rest = one.path.strip_prefix(below);
            // An event's type is not an event.
            rest.is_some_and(|rest| !rest.contains('{')) && one.id != "postOpaqueEvent"
        };
        let links: Map<String, Value> = operations()
            .into_iter()
            .filter(takes_these)
            .map(|one| {
                let link = json!({"operationId": one.id, "parameters": parameters});
                (one.id.to_owned(), link)
            })
            .collect();
        if let Some(response) = paths.get_mut(path) {
            response[method]["responses"][status]["links"] = json!(links);
        }
    }
}

fn operations() -> Vec<Operation> {
    let nouns = [
        events::operations(),
        deliveries::operations(),
        endpoints::operations(),
        sources::operations(),
        history::operations(),
        process::operations(),
    ];
    nouns.into_iter().flatten().collect()
}

/// By their names in `components`.
fn schemas() -> Map<String, Value> {
    let nouns = [
        shapes::problems(),
        events::schemas(),
        deliveries::schemas(),
        endpoints::schemas(),
        sources::schemas(),
        history::schemas(),
        process::schemas(),
    ];
    let named = nouns.into_iter().flatten();
    named
        .map(|(name, schema)| (name.to_owned(), schema))
        .collect()
}
