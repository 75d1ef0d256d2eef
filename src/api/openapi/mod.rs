//! The description of the API, OpenAPI 3.1: served at `GET /openapi.json` and kept in
//! `docs/openapi.json`.
//!
//! The file of a noun lists its operations and the schemas of their requests and responses;
//! `operation` and `shapes` have the parts that several nouns share. Tests check that the file in
//! `docs` is up to date, that every route is described and every described operation is routed, and
//! that the responses of a daemon conform to their schemas.
//!
//! To add a route, add an `Operation` to the file of its noun; to add a field, describe it in
//! `words.toml` and show it in `examples.json`. Write `docs/openapi.json` again with
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
mod words;

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
pub fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations() {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method] = operation.to_json();
        if operation.is_inbound() {
            path["servers"] = json!([{
                "url": "https://hooks.example.com",
                "description": "The public listener, `listen.inbound`. It serves only this path.",
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
            "description": "The API is the same on TCP and on the Unix socket. Requests and \
                responses are JSON in UTF-8; times are RFC 3339 in UTC. Errors are problems of \
                RFC 9457. An unknown field or parameter is an error that names it. A list continues \
                with `cursor` set to `next` until `next` is null.",
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
                "description": "One of `auth.tokens`. No token is required on the Unix socket, or \
                    if none is configured. The scope `ingest` allows posting events, `admin` \
                    everything.",
            }},
            "responses": operation::responses(),
            "schemas": schemas(),
        },
    })
}

/// A link from an operation whose response names an object to the operations on that object: the
/// path, method and status of the first, the path of the others, and each path parameter with its
/// place in the response.
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

/// Adds the links to the responses that give values for path parameters.
fn link(paths: &mut Map<String, Value>) {
    for ([path, method, status], below, names) in LINKS {
        let parameters: Map<String, Value> = names
            .iter()
            .map(|(name, at)| ((*name).to_owned(), json!(format!("$response.body#{at}"))))
            .collect();
        let takes_these = |one: &Operation| {
            let rest = one.path.strip_prefix(below);
            // The name in the path of `postOpaqueEvent` is a type, not an event.
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

/// The schemas by their names in `components`.
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
    let mut schemas = named
        .map(|(name, schema)| (name.to_owned(), schema))
        .collect();
    words::describe(&mut schemas);
    schemas
}
