//! What was done or would be done, for people and programs. Secrets are not shown.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::plan::{Change, Refusal, Step};
use crate::cli::client::Fault;
use crate::cli::paint::plain;
use crate::domain::inbound::Given;
use crate::domain::json::Json;

/// Fields whose values may be shown. Of all others, only that they change: they are secrets, hold
/// them, or, as a URL, often do.
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
    field: String,
    /// Before and after; `None` if neither is shown.
    values: Option<(String, String)>,
}

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
        // With a preset it is a secret but for its host.
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

/// What would be done.
pub fn preview(steps: &[Step]) -> String {
    let mut out = String::new();
    let mut unchanged = 0;
    for step in steps {
        let (mark, verb) = match &step.change {
            Change::Nothing => {
                unchanged += 1;
                continue;
            }
            Change::Make { .. } => ("+", "would be made"),
            Change::Alter { .. } => ("~", "would be changed"),
            Change::Remove => ("-", "would be removed"),
        };
        out += &format!("{mark} {}{} {verb}\n", plain(&step.name()), id(step));
        out += &details(step);
    }
    out + &format!("{unchanged} unchanged\n")
}

/// What was done.
pub fn report(steps: &[Step]) -> String {
    let mut out = String::new();
    let mut unchanged = 0;
    for step in steps {
        let verb = match &step.change {
            Change::Nothing => {
                unchanged += 1;
                continue;
            }
            Change::Make { .. } => "made",
            Change::Alter { .. } => "changed",
            Change::Remove => "removed",
        };
        out += &format!("{}{} {verb}\n", plain(&step.name()), id(step));
        out += &details(step);
    }
    out + &format!("{unchanged} unchanged\n")
}

/// The id in the daemon, where it is another.
fn id(step: &Step) -> String {
    match &step.id {
        Some(id) if *id != step.applied_as => format!(" ({})", plain(id)),
        _ => String::new(),
    }
}

fn details(step: &Step) -> String {
    let Change::Alter { differences, .. } = &step.change else {
        return String::new();
    };
    let line = |one: &Difference| match &one.values {
        Some((before, after)) => {
            format!("    {}: {} -> {}\n", one.field, plain(before), plain(after))
        }
        None => format!("    {}: (not shown)\n", one.field),
    };
    differences.iter().map(line).collect()
}

pub fn refusal(refused: &Refusal) -> Value {
    json!({"name": refused.name, "detail": refused.why})
}

/// What was done, and what failed of it.
pub fn to_json(steps: &[Step], failed: Option<(&Step, &Fault)>, dry_run: bool) -> Value {
    let shown = |step: &Step| {
        let (action, changed): (_, Vec<&str>) = match &step.change {
            Change::Nothing => ("none", Vec::new()),
            Change::Make { .. } => ("make", Vec::new()),
            Change::Alter { differences, .. } => (
                "change",
                differences.iter().map(|one| one.field.as_str()).collect(),
            ),
            Change::Remove => ("remove", Vec::new()),
        };
        json!({"kind": step.kind.as_str(), "applied_as": step.applied_as, "id": step.id,
            "action": action, "changed": changed})
    };
    let list: Vec<Value> = steps.iter().map(shown).collect();
    let failed = failed.map(|(step, fault)| {
        let mut failed = shown(step);
        failed["detail"] = fault.to_string().into();
        failed
    });
    json!({"ok": failed.is_none(), "dry_run": dry_run, "data": list, "failed": failed})
}
