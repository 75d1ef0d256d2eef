//! Compares `GET /openapi.json` with the responses of a daemon: every operation, every method, and
//! the schemas of responses.

use std::collections::BTreeSet;

use jsonschema::Validator;
use serde_json::{Map, Value, json};

use crate::harness::http::{Interface, Response, head};
use crate::harness::{Daemon, Home, Receiver, endpoint};

/// Methods that a path may have.
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// The description that a daemon serves.
struct Description(Value);

impl Description {
    fn of(api: &Interface) -> Description {
        let answer = api.get("/openapi.json");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        Description(answer.expect(200))
    }

    /// Path, method and the operation, but for those of the public listener.
    fn operations(&self) -> Vec<(String, String, Value)> {
        let mut all = Vec::new();
        for (path, item) in self.0["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                if METHODS.contains(&method.as_str()) && path != "/in/{source}" {
                    all.push((path.clone(), method.clone(), operation.clone()));
                }
            }
        }
        all
    }

    fn validator(&self, schema: &Value) -> Validator {
        let mut schema = json!({"allOf": [schema], "components": self.0["components"]});
        // Later versions may add fields for clients. Here a field without a description is a fault.
        forbid_more(&mut schema);
        jsonschema::options()
            .with_draft(jsonschema::Draft::Draft202012)
            .should_validate_formats(true)
            .build(&schema)
            .unwrap()
    }

    /// Checks that the response is one of those of the operation.
    #[track_caller]
    fn check(&self, operation: &Value, answer: &Response) {
        let id = &operation["operationId"];
        let told = &operation["responses"][answer.status.to_string()];
        let shared = told["$ref"]
            .as_str()
            .and_then(|at| self.0.pointer(&at[1..]));
        let told = shared.unwrap_or(told);
        assert!(
            told.is_object(),
            "{id}: {} is not described: {}",
            answer.status,
            answer.text()
        );
        let Some(content) = told.get("content") else {
            assert_eq!(answer.body, b"", "{id}: {} has a body", answer.status);
            return;
        };
        let media_type = answer.header("content-type").unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap();
        let schema = &content[media_type]["schema"];
        assert!(
            schema.is_object(),
            "{id}: {} as {media_type}",
            answer.status
        );
        if media_type.ends_with("json") {
            let body = answer.json();
            let faults: Vec<String> = self
                .validator(schema)
                .iter_errors(&body)
                .map(|fault| format!("{}: {fault}", fault.instance_path()))
                .collect();
            assert!(faults.is_empty(), "{id}: {faults:#?}\n{body:#}");
        }
    }

    fn operation(&self, id: &str) -> (String, String, Value) {
        let mut all = self.operations().into_iter();
        let found = all.find(|(_, _, operation)| operation["operationId"] == id);
        found.unwrap_or_else(|| panic!("no operation {id}"))
    }

    /// Checks that a request with this body conforms to the operation.
    fn takes(&self, operation: &Value, body: &Value) -> bool {
        let content = &operation["requestBody"]["content"]["application/json"]["schema"];
        self.validator(content).is_valid(body)
    }
}

/// Objects with properties have no others.
fn forbid_more(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let is_object = fields.get("properties").is_some_and(Value::is_object)
                && fields.get("type").is_some_and(|kind| kind == "object");
            fields.values_mut().for_each(forbid_more);
            if is_object {
                fields.entry("additionalProperties").or_insert(json!(false));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(forbid_more),
        _ => {}
    }
}

/// A daemon with something of each kind.
struct Site {
    daemon: Daemon,
    _home: Home,
    _receiver: Receiver,
}

impl Site {
    fn new() -> Site {
        let receiver = Receiver::answering(|seen| {
            crate::harness::Answer::status(if seen.path == "/bad" { 503 } else { 200 })
        });
        let home = Home::new();
        let config =
            "[listen]\nhttp = \"127.0.0.1:0\"\nunix = \"api.sock\"\ninbound = \"127.0.0.1:0\"\n"
                .to_owned()
                + "[delivery]\nallow_networks = [\"127.0.0.0/8\"]\nallow_http = true\n"
                + &endpoint(
                    "ok",
                    &receiver.url("/ok"),
                    "secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"",
                )
                + &endpoint("bad", &receiver.url("/bad"), "types = [\"order.*\"]");
        let daemon = home.start(&config);
        let site = Site {
            daemon,
            _home: home,
            _receiver: receiver,
        };
        // No list is empty.
        let event = site.daemon.send("order.created", "{\"n\": 1}");
        site.job(&event);
        let source = r#"{"preset": "github", "secrets": ["x"]}"#;
        site.daemon.tcp.post_json("/v1/sources", source).expect(201);
        site
    }

    /// A replay that stays under way.
    fn job(&self, event: &str) -> String {
        let another = self.daemon.send("order.created", "{\"n\": 2}");
        for event in [event, &another] {
            self.daemon.wait_status(event, "ok", "delivered");
        }
        let slow = r#"{"status": "delivered", "rate": "1/m"}"#;
        let begun = self.daemon.tcp.post_json("/v1/endpoints/ok/replay", slow);
        begun.expect(202)["job"].as_str().unwrap().to_owned()
    }

    /// A path with names in it of things that are there, made anew, as an earlier call may have removed
    /// them.
    fn path(&self, template: &str, operation: &Value) -> String {
        let id = operation["operationId"].as_str().unwrap();
        let event = self.daemon.send("order.created", "{\"n\": 1}");
        if template.contains("{endpoint}") && id != "retryDelivery" {
            // The attempts of the event exist too.
            self.daemon.wait_delivery(&event, "bad", "tried", |one| {
                one["attempt_count"].as_u64() > Some(0)
            });
        }
        let made = |path: &str, body: &str| {
            let made = self.daemon.tcp.post_json(path, body).expect(201);
            made["id"].as_str().unwrap().to_owned()
        };
        let id_of = if template.starts_with("/v1/sources/") {
            made("/v1/sources", r#"{"preset": "github", "secrets": ["x"]}"#)
        } else if template.starts_with("/v1/jobs/") {
            self.job(&event)
        } else {
            made(
                "/v1/endpoints",
                r#"{"url": "https://example.invalid/hook", "types": ["none"]}"#,
            )
        };
        let name = match id {
            "postOpaqueEvent" => "report.ready",
            _ => &event,
        };
        let query = match id {
            "endPortalLinks" => "?tenant=default",
            _ => "",
        };
        let path = template
            .replace("{name}", name)
            .replace("{endpoint}", "bad")
            .replace("{id}", &id_of);
        path + query
    }
}

/// A body that the operation takes; empty where it needs none.
fn body(operation: &str, event: &str) -> Value {
    match operation {
        "createPortalLink" => json!({"tenant": "default", "capabilities": ["view"]}),
        "postEvents" => {
            json!({"type": "order.created", "data": 1, "channels": ["eu"], "headers": {"x-a": "1"},
            "key": "k", "tenant": "default", "deliver_at": "2026-01-01T00:00:00Z"})
        }
        "createEndpoint" => {
            json!({"url": "https://example.invalid/hook", "retry": {"first": "1s", "max": null},
            "filter": {"data": {"a": {"$gte": 1}}}, "signatures": ["v1", "v1a"], "answer": {"permanent": [400, "5xx"]},
            "auth": {"type": "basic", "username": "u", "password": "p"}, "applied_as": "mine"})
        }
        "changeEndpoint" => {
            json!({"timeout": "5s", "types": ["a.*", "b"], "preset": null, "channels": ["eu"]})
        }
        "createSource" => {
            json!({"id": "gh", "preset": "github", "secrets": ["x"], "tolerance": "", "applied": true})
        }
        "changeSource" => {
            json!({"rate_limit": "5/s", "description": "d", "forward_headers": ["x-github-event"]})
        }
        "rotateEndpointSecret" => json!({"overlap": "1h"}),
        "rotateSourceSecret" => json!({"overlap": "1h", "secret": "y"}),
        "testEndpoint" => json!({"type": "order.test", "data": {"a": 1}}),
        "replayEndpoint" => {
            json!({"status": "dead", "since": "2026-01-01T00:00:00Z", "types": ["a.*"], "rate": "5/s"})
        }
        "purgeEndpoint" => json!({"status": "held", "dry_run": true}),
        "renderEvent" => json!({"event": event}),
        "testFilter" => json!({"filter": {"data": {"n": 2}}, "event": event}),
        _ => json!({}),
    }
}

fn ask(site: &Site, method: &str, path: &str, operation: &Value) -> Response {
    let id = operation["operationId"].as_str().unwrap();
    if id == "tail" {
        let mut tail = site.daemon.tcp.connect().unwrap();
        tail.send(&head("GET", path, &[], None)).unwrap();
        let begun = tail.until(": tail\n\n").unwrap();
        assert!(
            begun.starts_with("HTTP/1.1 200 OK\r\n") && begun.contains("text/event-stream"),
            "{begun}"
        );
        let headers = vec![("content-type".to_owned(), "text/event-stream".to_owned())];
        return Response {
            status: 200,
            headers,
            body: Vec::new(),
        };
    }
    let event = site.daemon.send("order.created", "{\"n\": 1}");
    let (content_type, body) = match id {
        "postOpaqueEvent" => ("text/plain", b"hello".to_vec()),
        _ => (
            "application/json",
            body(id, &event).to_string().into_bytes(),
        ),
    };
    match operation.get("requestBody") {
        Some(_) => site.daemon.tcp.request(
            &method.to_uppercase(),
            path,
            &[("content-type", content_type)],
            &body,
        ),
        None => site
            .daemon
            .tcp
            .request(&method.to_uppercase(), path, &[], b""),
    }
}

#[test]
fn every_operation_answers_as_it_is_described() {
    let site = Site::new();
    let description = Description::of(&site.daemon.tcp);
    let operations = description.operations();
    assert!(operations.len() > 30, "{}", operations.len());
    for (path, method, operation) in &operations {
        if operation.get("requestBody").is_some() && operation["operationId"] != "postOpaqueEvent" {
            let id = operation["operationId"].as_str().unwrap();
            let sample = body(id, "evt_01ARZ3NDEKTSV4RRFFQ69G5FAV");
            assert!(
                description.takes(operation, &sample),
                "{id} does not take {sample}"
            );
            let mut more = sample.as_object().cloned().unwrap_or_else(Map::new);
            more.insert("no_such_field".into(), json!(1));
            assert!(!description.takes(operation, &Value::Object(more)), "{id}");
        }
        let answer = ask(&site, method, &site.path(path, operation), operation);
        assert!(
            answer.status < 300,
            "{method} {path}: {} {}",
            answer.status,
            answer.text()
        );
        description.check(operation, &answer);
        let is_json = answer.header("content-type") == Some("application/json");
        if is_json && let Some(items) = answer.json()["data"].as_array() {
            assert!(!items.is_empty(), "{method} {path} lists nothing");
        }
    }
}

/// A request of the description with things of this site in it.
fn example(site: &Site, description: &Description, operation: &Value) -> Option<Value> {
    let content = &operation["requestBody"]["content"]["application/json"];
    let schema = content["schema"]["$ref"].as_str()?;
    let example = &description.0.pointer(&schema[1..])?["examples"][0];
    let event = site.daemon.send("order.created", "{\"id\": 1}");
    let mut text = example.to_string();
    for (shown, own) in [
        (
            r#""evt_01KD5P3N8Z4V7C2H9T6QX1M0RA""#,
            &*format!("{event:?}"),
        ),
        ("https://hooks.acme.example/", "https://hooks.acme.invalid/"),
    ] {
        text = text.replace(shown, own);
    }
    Some(serde_json::from_str(&text).unwrap())
}

#[test]
fn the_example_of_each_request_is_taken() {
    let site = Site::new();
    let description = Description::of(&site.daemon.tcp);
    let mut taken = 0;
    for (path, method, operation) in &description.operations() {
        let Some(body) = example(&site, &description, operation) else {
            continue;
        };
        let path = site.path(path, operation);
        let answer = site.daemon.tcp.request(
            &method.to_uppercase(),
            &path,
            &[("content-type", "application/json")],
            body.to_string().as_bytes(),
        );
        assert!(
            answer.status < 300,
            "{method} {path} {body}: {}",
            answer.text()
        );
        description.check(operation, &answer);
        taken += 1;
    }
    assert!(taken > 10, "only {taken} were tried");
}

#[test]
fn no_path_takes_a_method_that_is_not_described() {
    let site = Site::new();
    let description = Description::of(&site.daemon.tcp);
    let operations = description.operations();
    let paths: BTreeSet<&String> = operations.iter().map(|(path, _, _)| path).collect();
    for path in paths {
        for method in METHODS {
            let is_described = operations
                .iter()
                .any(|(other, own, _)| other == path && own == method);
            if is_described {
                continue;
            }
            let at = path.replace(['{', '}'], "");
            let answer = site
                .daemon
                .tcp
                .request(&method.to_uppercase(), &at, &[], b"");
            assert_eq!(answer.status, 405, "{method} {path}");
        }
    }
    assert_eq!(site.daemon.tcp.get("/v1/nothing").status, 404);
}

#[test]
fn problems_are_those_that_are_described() {
    let site = Site::new();
    let api = &site.daemon.tcp;
    let description = Description::of(api);
    let check = |id: &str, status: u16, answer: Response| {
        let (_, _, operation) = description.operation(id);
        assert_eq!(answer.status, status, "{id}: {}", answer.text());
        description.check(&operation, &answer);
    };
    let patch = |path: &str, body: &str| {
        api.request(
            "PATCH",
            path,
            &[("content-type", "application/json")],
            body.as_bytes(),
        )
    };
    check("listEvents", 400, api.get("/v1/events?limit=0"));
    check(
        "getEvent",
        404,
        api.get("/v1/events/evt_01ARZ3NDEKTSV4RRFFQ69G5FAV"),
    );
    check(
        "changeEndpoint",
        409,
        patch("/v1/endpoints/ok", "{\"timeout\": \"5s\"}"),
    );
    check("changeEndpoint", 404, patch("/v1/endpoints/none", "{}"));
    check(
        "createEndpoint",
        415,
        api.request(
            "POST",
            "/v1/endpoints",
            &[("content-type", "text/plain")],
            b"x",
        ),
    );
    let long = "x".repeat(300 * 1024);
    check(
        "createEndpoint",
        413,
        api.post_json("/v1/endpoints", format!("{{\"url\": \"{long}\"}}")),
    );
    check(
        "postEvents",
        413,
        api.post_json("/v1/events", "x".repeat(2 << 20)),
    );
    check("postEvents", 400, api.post_json("/v1/events", "{}"));
    let keyed =
        |data: &str| format!("{{\"type\": \"a\", \"data\": {data}, \"idempotency_key\": \"k\"}}");
    check("postEvents", 202, api.post_json("/v1/events", keyed("1")));
    check("postEvents", 422, api.post_json("/v1/events", keyed("2")));
    check(
        "createSource",
        201,
        api.post_json(
            "/v1/sources",
            r#"{"id": "a", "preset": "github", "secrets": ["x"]}"#,
        ),
    );
    check(
        "createSource",
        409,
        api.post_json(
            "/v1/sources",
            r#"{"id": "a", "preset": "github", "secrets": ["x"]}"#,
        ),
    );
    check(
        "changeSource",
        200,
        patch("/v1/sources/a?dry_run=true", "{\"description\": \"d\"}"),
    );
    check(
        "changeEndpoint",
        400,
        patch("/v1/endpoints/ok?dry_run=1", "{}"),
    );
    let event = site.daemon.send("order.created", "1");
    api.request("DELETE", &format!("/v1/events/{event}"), &[], b"");
    check("getEvent", 410, api.get(&format!("/v1/events/{event}")));
    check(
        "listEvents",
        403,
        api.request("GET", "/v1/events", &[("host", "evil.example")], b""),
    );
    // A call that a source refuses, as it is remembered.
    let public = site.daemon.public();
    assert_eq!(public.request("POST", "/in/a", &[], b"{}").status, 401);
    check("getSource", 200, api.get("/v1/sources/a"));
    let page = site
        .daemon
        .tcp
        .get("/v1/deliveries?status=delivered&limit=1");
    check("listDeliveries", 200, page);
    let batch = "{\"type\": \"a\", \"data\": 1}\n";
    check(
        "postEvents",
        202,
        api.request(
            "POST",
            "/v1/events",
            &[("content-type", "application/x-ndjson")],
            batch.as_bytes(),
        ),
    );
}

#[test]
fn the_description_needs_no_token_and_the_rest_does() {
    let home = Home::new();
    std::fs::write(home.path("token"), "s3cret-token").unwrap();
    let token = home.path("token");
    let auth = format!(
        "[auth]\ntokens = [{{ name = \"a\", token_file = {token:?}, scope = \"admin\" }}]\n"
    );
    let daemon = home.start(&auth);
    let description = Description::of(&daemon.tcp);
    for (path, method, operation) in description.operations() {
        let at = path.replace(['{', '}'], "");
        let answer = daemon.tcp.request(&method.to_uppercase(), &at, &[], b"");
        let is_open = operation.get("security") == Some(&json!([]));
        assert_eq!(
            answer.status != 401,
            is_open,
            "{method} {path}: {}",
            answer.status
        );
        if answer.status == 401 {
            description.check(&operation, &answer);
        }
    }
}
