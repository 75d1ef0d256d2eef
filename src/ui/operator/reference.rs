//! The description of the API, rendered from `/openapi.json` without a script and without another host.

use std::sync::OnceLock;

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use serde_json::Value;

use crate::api::document;
use crate::ui::base::failed::Failed;
use crate::ui::base::shell::{Shell, html};
use crate::ui::base::visit::Visit;
use crate::ui::pages::page::shell;
use crate::ui::views::schema::{Field, Word, fields, name_of, words};

const METHODS: [&str; 5] = ["get", "post", "patch", "put", "delete"];

#[derive(Template)]
#[template(path = "reference.html")]
struct Page {
    shell: Shell,
    reference: &'static Reference,
}

#[derive(Template)]
#[template(path = "reference_object.html")]
struct ObjectPage {
    shell: Shell,
    object: &'static Object,
}

/// The description in words. It is part of the binary, so it is made once.
struct Reference {
    description: String,
    groups: Vec<Group>,
    objects: Vec<Object>,
}

struct Group {
    name: String,
    description: String,
    calls: Vec<Call>,
}

struct Call {
    id: String,
    method: String,
    path: String,
    summary: String,
    description: String,
    parameters: Vec<Parameter>,
    bodies: Vec<Content>,
    answers: Vec<Answer>,
}

struct Parameter {
    name: String,
    /// `path`, `query` or `header`.
    place: String,
    kind: Vec<Word>,
    words: String,
}

/// A content type, and what is in it.
struct Content {
    media: String,
    kind: Vec<Word>,
    /// Its fields, where it has no name of its own.
    fields: Vec<Field>,
}

struct Answer {
    status: String,
    words: String,
    kind: Vec<Word>,
}

/// A named schema.
struct Object {
    name: String,
    words: String,
    fields: Vec<Field>,
    /// In JSON.
    example: String,
}

/// `GET /ui/api`
pub async fn show(visit: Visit) -> Result<Response, Failed> {
    html(&Page {
        shell: shell(&visit, "/status", "API"),
        reference: known(),
    })
}

/// `GET /ui/api/{object}`
pub async fn object(Path(name): Path<String>, visit: Visit) -> Result<Response, Failed> {
    let mut objects = known().objects.iter();
    let object = objects.find(|object| object.name == name);
    html(&ObjectPage {
        shell: shell(&visit, "/status", "API"),
        object: object.ok_or_else(|| Failed::not_found("the API has no such object"))?,
    })
}

fn known() -> &'static Reference {
    static REFERENCE: OnceLock<Reference> = OnceLock::new();
    REFERENCE.get_or_init(|| reference(&document()))
}

fn reference(document: &Value) -> Reference {
    let tags = document["tags"].as_array().into_iter().flatten();
    let schemas = document["components"]["schemas"].as_object();
    Reference {
        description: text(&document["info"]["description"]),
        groups: tags.map(|tag| group(document, tag)).collect(),
        objects: schemas
            .into_iter()
            .flatten()
            .map(|(name, schema)| Object {
                name: name.clone(),
                words: text(&schema["description"]),
                fields: fields(schema),
                example: schema
                    .pointer("/examples/0")
                    .map(pretty)
                    .unwrap_or_default(),
            })
            .collect(),
    }
}

fn group(document: &Value, tag: &Value) -> Group {
    let paths = document["paths"].as_object().into_iter().flatten();
    let calls = paths.flat_map(|(path, methods)| {
        let calls = METHODS.iter().filter_map(move |method| {
            let operation = methods.get(method)?;
            Some((path, *method, operation))
        });
        calls.filter(|(_, _, operation)| {
            let tags = operation["tags"].as_array();
            tags.is_some_and(|tags| tags.contains(&tag["name"]))
        })
    });
    Group {
        name: text(&tag["name"]),
        description: text(&tag["description"]),
        calls: calls
            .map(|(path, method, operation)| call(document, path, method, operation))
            .collect(),
    }
}

fn call(document: &Value, path: &str, method: &str, operation: &Value) -> Call {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let bodies = operation["requestBody"]["content"].as_object();
    let answers = operation["responses"].as_object().into_iter().flatten();
    Call {
        id: text(&operation["operationId"]),
        method: method.to_uppercase(),
        path: path.to_owned(),
        summary: text(&operation["summary"]),
        description: text(&operation["description"]),
        parameters: parameters.map(parameter).collect(),
        bodies: bodies.into_iter().flatten().map(content).collect(),
        answers: answers
            .map(|(status, answer)| self::answer(document, status, answer))
            .collect(),
    }
}

fn parameter(parameter: &Value) -> Parameter {
    Parameter {
        name: text(&parameter["name"]),
        place: text(&parameter["in"]),
        kind: words(&parameter["schema"]),
        words: text(&parameter["description"]),
    }
}

fn content((media, content): (&String, &Value)) -> Content {
    let schema = &content["schema"];
    Content {
        media: media.clone(),
        kind: words(schema),
        fields: fields(schema),
    }
}

fn answer(document: &Value, status: &str, answer: &Value) -> Answer {
    let shared = answer["$ref"].as_str().map(name_of);
    let answer = match shared {
        Some(name) => &document["components"]["responses"][name],
        None => answer,
    };
    let contents = answer["content"].as_object().into_iter().flatten();
    Answer {
        status: status.to_owned(),
        words: text(&answer["description"]),
        // Only requests have several content types.
        kind: contents
            .flat_map(|(_, one)| words(&one["schema"]))
            .collect(),
    }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_and_object_of_the_description_is_there_with_words() {
        let document = document();
        let reference = reference(&document);
        let calls = || reference.groups.iter().flat_map(|group| &group.calls);
        let paths = document["paths"].as_object().unwrap();
        let methods = paths
            .values()
            .flat_map(|path| path.as_object().unwrap().keys());
        let described = methods
            .filter(|name| METHODS.contains(&name.as_str()))
            .count();
        assert_eq!(calls().count(), described);
        let schemas = document["components"]["schemas"].as_object().unwrap();
        assert_eq!(reference.objects.len(), schemas.len());
        for call in calls() {
            let place = format!("{} {}", call.method, call.path);
            assert!(
                !call.summary.is_empty() && !call.answers.is_empty(),
                "{place}"
            );
            for answer in &call.answers {
                assert!(!answer.words.is_empty(), "{place}: {}", answer.status);
            }
        }
    }
}
