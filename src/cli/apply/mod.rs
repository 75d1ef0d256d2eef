//! `outboxd endpoints apply`: brings the endpoints and sources of the API in line with a file.
//!
//! A definition is recognised by its id in the file, which the daemon keeps: as `applied_as` of an
//! endpoint, and as the id of a source that has the mark `applied`. Only what carries that mark is
//! ever changed or removed. The daemon compares, because only it knows the secrets in force, and
//! names the fields that differ; only these are sent. So a second run changes nothing, and a
//! rotated secret is kept when something else changes.

mod difference;
mod plan;
mod show;

use std::path::PathBuf;

use serde_json::json;

use super::client::{Client, Fault};
use super::{Failure, print, print_json};
use crate::config::{Environment, definitions};
use plan::{Change, Step};

/// Create and change endpoints and sources from a file
///
/// The file holds tables of endpoints and sources as the configuration does. They are made through the
/// API, and recognised by their ids in the file when it is applied again: a second run changes nothing.
/// A key that the file does not have is set to its default, except secrets and enabled, which are
/// left as they are.
#[derive(Clone, Debug, clap::Args)]
pub struct Apply {
    /// The file
    file: PathBuf,
    /// Also remove what was applied before and is no longer in the file
    #[arg(long)]
    prune: bool,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

pub async fn run(client: &Client, args: &Apply, json: bool) -> Result<(), Failure> {
    let definitions = match definitions::load(&args.file, &Environment::of_process()) {
        Ok(definitions) => definitions,
        Err(faults) if json => {
            print_json(&json!({"ok": false, "faults": faults.list}))?;
            return Err(Failure::Usage(format!(
                "{} has faults",
                args.file.display()
            )));
        }
        Err(faults) => return Err(Failure::Usage(faults.to_string())),
    };
    let (steps, refused) = plan::plan(client, &definitions, args.prune).await?;
    if !refused.is_empty() {
        if json {
            print_json(
                &json!({"ok": false, "refused": refused.iter().map(show::refusal).collect::<Vec<_>>()}),
            )?;
        }
        let lines: Vec<String> = refused.iter().map(ToString::to_string).collect();
        return Err(Failure::Failed(format!(
            "nothing was changed:\n{}",
            lines.join("\n")
        )));
    }
    if args.dry_run {
        return match json {
            true => print_json(&show::to_json(&steps, None, true)),
            false => print(&show::preview(&steps)),
        };
    }
    carry_out(client, steps, json).await
}

/// Takes the steps one after the other, up to the first that fails.
async fn carry_out(client: &Client, steps: Vec<Step>, json: bool) -> Result<(), Failure> {
    let mut done = Vec::new();
    let mut steps = steps.into_iter();
    for mut step in steps.by_ref() {
        match take(client, &mut step).await {
            Ok(()) => done.push(step),
            Err(fault) => {
                let left: Vec<Step> = steps.filter(Step::does_something).collect();
                match json {
                    true => print_json(&show::to_json(&done, Some((&step, &fault)), false))?,
                    false => print(&show::report(&done))?,
                }
                let mut told = format!("{}: {fault}", step.name());
                if !left.is_empty() {
                    let names: Vec<String> = left.iter().map(Step::name).collect();
                    told += &format!("\nnot done: {}", names.join(", "));
                }
                return Err(Failure::Failed(told));
            }
        }
    }
    match json {
        true => print_json(&show::to_json(&done, None, false)),
        false => print(&show::report(&done)),
    }
}

async fn take(client: &Client, step: &mut Step) -> Result<(), Fault> {
    match &step.change {
        Change::Nothing => Ok(()),
        Change::Make { body } => {
            let answer = client.post_json(step.kind.path(), body).await?;
            step.id = Some(client.read::<plan::Known>(&answer)?.id);
            Ok(())
        }
        Change::Alter { body, .. } => client.patch(&step.path(), body).await.map(drop),
        Change::Remove => client.delete(&step.path()).await,
    }
}
