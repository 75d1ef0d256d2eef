//! The fields of a form that makes or changes something: how each is typed, and the JSON that the
//! API would be given for it.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::ui::base::form::Form;

/// How a field is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// A string of several lines.
    Long,
    /// A list of strings, one a line.
    Lines,
    /// JSON.
    Json,
    /// A whole number.
    Number,
    /// `true`, `false`, or as it is.
    Flag,
    /// One of these, or none.
    Choice(&'static [&'static str]),
    /// JSON that is not shown again. Empty leaves it as it is.
    Hidden,
    /// A string that is not shown again, in one line or, for PEM, in several.
    Secret,
    Pem,
}

/// A field as it is defined.
#[derive(Debug)]
pub struct Field {
    pub name: &'static str,
    pub label: &'static str,
    pub hint: &'static str,
    pub kind: Kind,
}

/// A field as a page shows it.
#[derive(Clone, Debug)]
pub struct FieldShown {
    pub name: &'static str,
    pub label: &'static str,
    pub hint: &'static str,
    pub kind: Kind,
    pub value: String,
    pub error: Option<String>,
}

impl FieldShown {
    /// The choices, the chosen one marked.
    pub fn choices(&self) -> Vec<(&'static str, bool)> {
        let all: &[&str] = match self.kind {
            Kind::Choice(all) => all,
            Kind::Flag => &["true", "false"],
            _ => &[],
        };
        all.iter().map(|one| (*one, *one == self.value)).collect()
    }

    pub fn is_choice(&self) -> bool {
        matches!(self.kind, Kind::Choice(_) | Kind::Flag)
    }

    pub fn is_long(&self) -> bool {
        matches!(
            self.kind,
            Kind::Long | Kind::Lines | Kind::Json | Kind::Hidden | Kind::Pem
        )
    }

    /// How many lines a box for it has.
    pub fn rows(&self) -> usize {
        self.value.lines().count().clamp(2, 14)
    }
}

impl Field {
    /// The field, with the value that is in force.
    pub fn shown(&self, current: &Value) -> FieldShown {
        FieldShown {
            name: self.name,
            label: self.label,
            hint: self.hint,
            kind: self.kind,
            value: self.written(current.get(self.name).unwrap_or(&Value::Null)),
            error: None,
        }
    }

    /// The value as it is typed.
    fn written(&self, value: &Value) -> String {
        match (self.kind, value) {
            (Kind::Hidden | Kind::Secret | Kind::Pem, _) | (_, Value::Null) => String::new(),
            (Kind::Lines, Value::Array(items)) => {
                let items = items.iter().filter_map(Value::as_str);
                items.collect::<Vec<_>>().join("\n")
            }
            (Kind::Json, value) => format!("{value:#}"),
            (_, Value::String(text)) => text.clone(),
            (_, value) => value.to_string(),
        }
    }

    /// What was typed, as JSON. `None`: it is as it was.
    fn given(&self, form: &Form, before: &str) -> Option<Box<RawValue>> {
        let typed = form.raw(self.name)?.replace("\r\n", "\n");
        let text = typed.trim();
        if text == before.trim() {
            return None;
        }
        let json = match self.kind {
            _ if text.is_empty() => "null".to_owned(),
            Kind::Hidden | Kind::Json | Kind::Number | Kind::Flag => {
                // What is not JSON becomes a string: the API's reader says what is wrong with that.
                let raw: Result<Box<RawValue>, _> = serde_json::from_str(text);
                raw.map_or_else(
                    |_| Value::from(text).to_string(),
                    |raw| raw.get().to_owned(),
                )
            }
            Kind::Lines => {
                let lines = text.split(['\n', ',']).map(str::trim);
                let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
                Value::from(lines).to_string()
            }
            Kind::Long => Value::from(typed.as_str()).to_string(),
            Kind::Text | Kind::Choice(_) | Kind::Secret | Kind::Pem => {
                Value::from(text).to_string()
            }
        };
        RawValue::from_string(json).ok()
    }
}

/// The JSON of the fields that are not as they were, for the API's own reader.
pub fn changes<'a>(
    fields: impl IntoIterator<Item = &'a Field>,
    form: &Form,
    current: &Value,
) -> Vec<u8> {
    let mut out = Vec::from("{");
    for field in fields {
        let before = field.shown(current).value;
        let Some(json) = field.given(form, &before) else {
            continue;
        };
        if out.len() > 1 {
            out.push(b',');
        }
        out.extend_from_slice(Value::from(field.name).to_string().as_bytes());
        out.push(b':');
        out.extend_from_slice(json.get().as_bytes());
    }
    out.push(b'}');
    out
}

/// A field as it was typed, with the fault if it has it. What is secret is typed again.
pub fn typed(field: &'static Field, form: &Form, fault: Option<(&str, &str)>) -> FieldShown {
    let is_secret = matches!(field.kind, Kind::Secret | Kind::Pem);
    let value = form
        .raw(field.name)
        .filter(|_| !is_secret)
        .unwrap_or_default();
    let error = fault.filter(|(name, _)| *name == field.name);
    FieldShown {
        value: value.to_owned(),
        error: error.map(|(_, why)| why.to_owned()),
        ..field.shown(&Value::Object(Map::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const FIELDS: &[Field] = &[
        Field {
            name: "url",
            label: "",
            hint: "",
            kind: Kind::Text,
        },
        Field {
            name: "types",
            label: "",
            hint: "",
            kind: Kind::Lines,
        },
        Field {
            name: "max",
            label: "",
            hint: "",
            kind: Kind::Number,
        },
        Field {
            name: "filter",
            label: "",
            hint: "",
            kind: Kind::Json,
        },
        Field {
            name: "headers",
            label: "",
            hint: "",
            kind: Kind::Hidden,
        },
        Field {
            name: "flag",
            label: "",
            hint: "",
            kind: Kind::Flag,
        },
    ];

    fn changed(form: &str, current: &Value) -> Value {
        let bytes = changes(FIELDS, &Form::parse(form.as_bytes()), current);
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn only_what_is_not_as_it_was_is_given() {
        let current = json!({"url": "https://a/…", "types": ["a", "b.*"], "max": 16,
            "filter": {"data": 1}, "headers": {"x": "…"}, "flag": true});
        let shown: Vec<String> = FIELDS
            .iter()
            .map(|field| field.shown(&current).value)
            .collect();
        assert_eq!(
            shown,
            [
                "https://a/…",
                "a\nb.*",
                "16",
                "{\n  \"data\": 1\n}",
                "",
                "true"
            ]
        );
        let pairs = FIELDS.iter().zip(&shown);
        let same: String = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs.map(|(field, value)| (field.name, value.replace('\n', "\r\n"))))
            .finish();
        assert_eq!(changed(&same, &current), json!({}));
        assert_eq!(
            changed("types=a,%20c&max=x&filter=&flag=false", &current),
            json!({"types": ["a", "c"], "max": "x", "filter": null, "flag": false})
        );
        // Numbers stay as they were typed.
        let bytes = changes(FIELDS, &Form::parse(b"filter=1.00"), &current);
        assert_eq!(bytes, br#"{"filter":1.00}"#);
    }
}
