//! The output of `endpoints apply`, for people and programs. Secrets are not shown.

use serde_json::{Value, json};

use super::difference::Difference;
use super::plan::{Change, Refusal, Step};
use crate::cli::client::Fault;
use crate::cli::paint::plain;

/// The steps of a dry run.
pub fn preview(steps: &[Step]) -> String {
    list(steps, |mark, step, done| {
        format!("{mark} {step} would be {done}\n")
    })
}

/// The steps that were taken.
pub fn report(steps: &[Step]) -> String {
    list(steps, |_, step, done| format!("{step} {done}\n"))
}

/// Each change as `line` writes it, from its mark, its name and the action.
fn list(steps: &[Step], line: impl Fn(&str, &str, &str) -> String) -> String {
    let mut out = String::new();
    let mut unchanged = 0;
    for step in steps {
        let (mark, done) = match &step.change {
            Change::Nothing => {
                unchanged += 1;
                continue;
            }
            Change::Make { .. } => ("+", "made"),
            Change::Alter { .. } => ("~", "changed"),
            Change::Remove => ("-", "removed"),
        };
        let name = format!("{}{}", plain(&step.name()), id(step));
        out += &line(mark, &name, done);
        out += &details(step);
    }
    out + &format!("{unchanged} unchanged\n")
}

/// The id in the daemon, if it differs.
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

/// The steps that were taken, and the one that failed.
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
