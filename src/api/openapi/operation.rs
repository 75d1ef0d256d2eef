//! One operation of the API, and the parts that many operations share.

use serde_json::{Map, Value, json};

use super::shapes::{reference, time};

/// The groups of operations, each with a description.
const TAGS: [(&str, &str); 7] = [
    ("Events", "Events that an application posts"),
    ("Deliveries", "One event for one endpoint"),
    ("Endpoints", "URLs that receive events"),
    ("Sources", "Providers whose webhooks are received"),
    ("History", "Attempts, counts over time, and jobs under way"),
    ("Process", "The state of the daemon"),
    ("Inbound", "The public listener, which providers call"),
];

const INBOUND: &str = "Inbound";

pub fn tags() -> Value {
    let tags = TAGS.map(|(name, words)| json!({"name": name, "description": words}));
    json!(tags)
}

/// A method of a path.
pub struct Operation {
    pub method: &'static str,
    pub path: &'static str,
    tag: &'static str,
    pub id: &'static str,
    summary: &'static str,
    description: Option<&'static str>,
    parameters: Vec<Value>,
    body: Option<Value>,
    responses: Map<String, Value>,
    is_open: bool,
}

impl Operation {
    /// `call` is the method and the path; `id` a name that is the operation's own.
    pub fn new(
        call: (&'static str, &'static str),
        tag: &'static str,
        id: &'static str,
        summary: &'static str,
    ) -> Operation {
        let (method, path) = call;
        let named = path
            .split('{')
            .skip(1)
            .filter_map(|rest| rest.split('}').next());
        let mut operation = Operation {
            method,
            path,
            tag,
            id,
            summary,
            description: None,
            parameters: named.map(path_parameter).collect(),
            body: None,
            responses: Map::new(),
            is_open: false,
        };
        if tag == INBOUND {
            return operation;
        }
        let has_name = !operation.parameters.is_empty();
        operation = operation.problems(&[400, 401, 403, 431, 500, 503]);
        match has_name {
            true => operation.problems(&[404]),
            false => operation,
        }
    }

    pub fn description(mut self, text: &'static str) -> Operation {
        self.description = Some(text);
        self
    }

    /// The operation takes no token.
    pub fn open(mut self) -> Operation {
        self.is_open = true;
        self.responses.remove("401");
        self
    }

    pub fn query(mut self, name: &'static str, schema: Value, words: &'static str) -> Operation {
        self.parameters.push(json!({
            "name": name, "in": "query", "schema": schema, "description": words,
        }));
        self
    }

    /// A query parameter that has to be there.
    pub fn required_query(
        mut self,
        name: &'static str,
        schema: Value,
        words: &'static str,
    ) -> Operation {
        self.parameters.push(json!({
            "name": name, "in": "query", "required": true, "schema": schema, "description": words,
        }));
        self
    }

    pub fn header(mut self, name: &'static str, schema: Value, words: &'static str) -> Operation {
        self.parameters.push(json!({
            "name": name, "in": "header", "schema": schema, "description": words,
        }));
        self
    }

    /// The parameters of a list.
    pub fn page(self) -> Operation {
        let limit = json!({"type": "integer", "minimum": 1, "maximum": 1000, "default": 100});
        self.query("limit", limit, "The most items of a page.")
            .query(
                "cursor",
                json!({"type": "string"}),
                "The `next` of the previous page.",
            )
    }

    /// The parameters that choose events by their tenant, type and time.
    pub fn event_filter(self) -> Operation {
        self.tenant_and_type()
            .query("since", time(), "Accepted at this time or later.")
            .query("until", time(), "Accepted before this time.")
    }

    /// The parameters of lists that choose by the event alone.
    pub fn tenant_and_type(self) -> Operation {
        let pattern = "A type, a prefix that ends in `.*`, or `*`.";
        self.query("tenant", json!({"type": "string"}), "Of this tenant.")
            .query("type", json!({"type": "string"}), pattern)
    }

    pub fn dry_run(self) -> Operation {
        self.query(
            "dry_run",
            json!({"type": "boolean", "default": false}),
            "Check and compare, and change nothing: 200 with the names of the fields.",
        )
        .answer(200, "What would change", "Changes")
    }

    /// A body of JSON; optional if nothing of it is required.
    pub fn body(self, schema: &str, required: bool) -> Operation {
        let content = json!({"application/json": {"schema": reference(schema)}});
        self.content(content, required)
    }

    /// A body of the given media types.
    pub fn content(mut self, content: Value, required: bool) -> Operation {
        self.body = Some(json!({"content": content, "required": required}));
        self.problems(&[408, 413, 415])
    }

    /// A body without content: no body, or an empty object.
    pub fn no_body(self) -> Operation {
        self.problems(&[408, 413, 415])
    }

    pub fn answer(self, status: u16, words: &str, schema: &str) -> Operation {
        let content = json!({"application/json": {"schema": reference(schema)}});
        self.respond(status, json!({"description": words, "content": content}))
    }

    /// A page of items.
    pub fn answers(self, words: &str, schema: &str) -> Operation {
        let list = json!({
            "type": "object",
            "properties": {
                "data": {"type": "array", "items": reference(schema)},
                "next": {"type": ["string", "null"], "description": "The `cursor` of the next page."},
            },
            "required": ["data", "next"],
        });
        let content = json!({"application/json": {"schema": list}});
        self.respond(200, json!({"description": words, "content": content}))
    }

    pub fn nothing(self, status: u16, words: &str) -> Operation {
        self.respond(status, json!({"description": words}))
    }

    pub fn text(self, status: u16, words: &str, media_type: &str) -> Operation {
        let content = json!({media_type: {"schema": {"type": "string"}}});
        self.respond(status, json!({"description": words, "content": content}))
    }

    pub fn respond(mut self, status: u16, response: Value) -> Operation {
        self.responses.insert(status.to_string(), response);
        self
    }

    pub fn problems(mut self, statuses: &[u16]) -> Operation {
        for status in statuses {
            let response = format!("#/components/responses/Problem{status}");
            let response = json!({"$ref": response});
            self.responses.insert(status.to_string(), response);
        }
        self
    }

    pub fn is_inbound(&self) -> bool {
        self.tag == INBOUND
    }

    pub fn to_json(&self) -> Value {
        let mut operation = json!({
            "operationId": self.id,
            "tags": [self.tag],
            "summary": self.summary,
            "responses": self.responses,
        });
        if let Some(text) = self.description {
            operation["description"] = json!(text);
        }
        if !self.parameters.is_empty() {
            operation["parameters"] = json!(self.parameters);
        }
        if let Some(body) = &self.body {
            operation["requestBody"] = body.clone();
        }
        if self.is_open || self.is_inbound() {
            operation["security"] = json!([]);
        }
        operation
    }
}

fn path_parameter(name: &str) -> Value {
    json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "minLength": 1}})
}

/// The statuses of problems.
const PROBLEMS: [u16; 14] = [
    400, 401, 403, 404, 408, 409, 410, 413, 415, 422, 429, 431, 500, 503,
];

/// The responses that many operations share, by their names in `components`.
pub fn responses() -> Map<String, Value> {
    let named = PROBLEMS.map(|status| (format!("Problem{status}"), problem(status)));
    named.into_iter().collect()
}

/// What each status of an error means, whichever operation answers it.
fn problem(status: u16) -> Value {
    let words = match status {
        400 => "A malformed request; `detail` names the field or parameter",
        401 => "The token is missing or not valid",
        403 => "The token's scope is too small, or the `Host` or `Origin` is not allowed",
        404 => "The path or the object does not exist",
        408 => "The body arrived too slowly",
        409 => "The state does not allow the operation, or the object is read-only",
        410 => "The event was erased",
        413 => "The body is too large",
        415 => "The content type is missing or not supported",
        422 => "The idempotency key was used with other content, or the event cannot be rendered",
        429 => "More events than `ingest.rate_limit`",
        431 => "The request line and headers are too large",
        500 => "A fault of the daemon, or a damaged record",
        _ => "outboxd is full, failed, busy, starting or stopping",
    };
    let content = json!({"application/problem+json": {"schema": reference("Problem")}});
    let mut response = json!({"description": words, "content": content});
    let header = match status {
        401 => Some(("WWW-Authenticate", json!({"type": "string"}))),
        429 | 503 => Some(("Retry-After", json!({"type": "integer", "minimum": 1}))),
        _ => None,
    };
    if let Some((name, schema)) = header {
        response["headers"] = json!({name: {"schema": schema}});
    }
    response
}
