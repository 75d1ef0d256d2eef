//! The differences of a change that may be shown: fields, and values that are not secret.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::domain::inbound::Given;
use crate::domain::json::Json;

/// Fields whose values may be shown. Of all others, only that they change: they are secrets or may hold
/// one. A URL is shown only without a preset.
const SHOWN: [&str; 30] = [
    "types",
    "max_in_flight",
    "rate_limit",
    "ordering",
    "timeout",
    "http2",
    "retry",
    "filter",
    "channels",
    "format",
    "template",
    "content_type",
    "preset",
    "text",
    "method",
    "answer",
    "signatures",
    "cloudevents_handshake",
    "cloudevents_source",
    "enabled",
    "tenant",
    "type",
    "forward_headers",
    "tolerance",
    "allow_from",
    "split",
    "max_event_size",
    "idempotency_window",
    "description",
    "app_id",
];

/// A field that changes.
pub struct Difference {
    pub field: String,
    /// The values before and after; `None` if they are not shown.
    pub values: Option<(String, String)>,
}

/// The fields that change, with the values that may be shown.
pub fn differences(
    changed: &[String],
    before: &BTreeMap<String, Value>,
    after: &Given,
) -> Vec<Difference> {
    let is_plain_url = |fields: &[Option<&str>]| fields.iter().all(|preset| preset.is_none());
    let presets = [
        before.get("preset").and_then(Value::as_str),
        after.get("preset").and_then(Json::as_str),
    ];
    let may_show = |field: &str| match field {
        // With a preset all of the URL but its host is secret.
        "url" => is_plain_url(&presets),
        field => SHOWN.contains(&field),
    };
    let difference = |field: &String| {
        let value = after.get(field.as_str());
        let is_default = value.is_none_or(|value| *value == Json::Null);
        let after = match value {
            Some(value) if !is_default => value.to_string(),
            _ => "(default)".to_owned(),
        };
        let before = before
            .get(field)
            .map_or("(none)".to_owned(), Value::to_string);
        Difference {
            field: field.clone(),
            values: may_show(field).then_some((before, after)),
        }
    };
    changed.iter().map(difference).collect()
}
