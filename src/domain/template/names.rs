//! The names that a template may use.

use std::sync::Arc;

use indexmap::IndexMap;
use minijinja::Value;

use crate::domain::json::Json;

use super::value;

/// What the templates of a request can name.
#[derive(Clone, Default)]
pub struct Names {
    names: IndexMap<Box<str>, Value>,
    absent: Vec<(&'static str, &'static str)>,
}

/// The fields of `event`.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventFields<'a> {
    pub id: &'a str,
    pub r#type: &'a str,
    pub tenant: &'a str,
    pub key: Option<&'a str>,
    /// As RFC 3339.
    pub timestamp: &'a str,
    pub channels: &'a [&'a str],
    pub source: Option<&'a str>,
}

impl Names {
    /// No names.
    pub fn new() -> Names {
        Names::default()
    }

    /// `event` and `data`, the latter absent if the body is not JSON.
    pub fn of_event(event: EventFields, data: Option<Arc<Json>>) -> Names {
        let channels = event
            .channels
            .iter()
            .map(|name| Value::from(*name))
            .collect();
        let fields = [
            ("id", Value::from(event.id)),
            ("type", Value::from(event.r#type)),
            ("tenant", Value::from(event.tenant)),
            ("key", Value::from(event.key)),
            ("timestamp", Value::from(event.timestamp)),
            ("channels", value::list(channels).unwrap_or_default()),
            ("source", Value::from(event.source)),
        ];
        let mut names = Names::new();
        names.set("event", map(fields));
        match data {
            Some(data) => names.set("data", value::document(data)),
            None => names.absent.push((
                "data",
                "the body of the event is not JSON, or nested deeper than 128",
            )),
        }
        names
    }

    /// Adds `endpoint`, with `params` beside its own fields. Cheap to do on a clone.
    #[must_use]
    pub fn with_endpoint(
        mut self,
        id: &str,
        tenant: &str,
        description: Option<&str>,
        params: &[(&str, &str)],
    ) -> Names {
        let params = params
            .iter()
            .map(|(name, value)| (*name, Value::from(*value)));
        let fields = [
            ("id", Value::from(id)),
            ("tenant", Value::from(tenant)),
            ("description", Value::from(description)),
        ];
        self.set("endpoint", map(params.chain(fields)));
        self
    }

    /// Adds a text.
    #[must_use]
    pub fn with_text(mut self, name: &str, text: &str) -> Names {
        self.set(name, Value::from(text));
        self
    }

    /// Adds a list of texts.
    #[must_use]
    pub fn with_list(mut self, name: &str, texts: &[String]) -> Names {
        let texts = texts.iter().map(|text| Value::from(&**text)).collect();
        self.set(name, value::list(texts).unwrap_or_default());
        self
    }

    /// Adds a document.
    #[must_use]
    pub fn with_json(mut self, name: &str, json: Arc<Json>) -> Names {
        self.set(name, value::document(json));
        self
    }

    fn set(&mut self, name: &str, value: Value) {
        self.names.insert(name.into(), value);
    }

    pub(super) fn root(&self) -> Value {
        value::map(self.names.clone()).unwrap_or_default()
    }

    pub(super) fn why_absent(&self, name: &str) -> Option<&'static str> {
        self.absent
            .iter()
            .find(|(absent, _)| *absent == name)
            .map(|(_, why)| *why)
    }

    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.names.get(name)
    }
}

fn map<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let fields = fields
        .into_iter()
        .map(|(name, value)| (name.into(), value))
        .collect();
    value::map(fields).unwrap_or_default()
}
