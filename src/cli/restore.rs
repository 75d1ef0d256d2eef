//! `outboxd restore`: brings a store back from what was shipped.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

use super::when::{self, moment};
use super::{Failure, print, print_json, wait};
use crate::backup::names::{Generation, Name};
use crate::backup::place::{Place, PlaceError};
use crate::backup::restore::{self, Missing, Progress, Report, Wanted};
use crate::clock;
use crate::config::{self, Backup, BackupKey, BackupUrl, S3};
use crate::domain::time::Timestamp;

/// Where what was shipped is, and how to reach it. What no option says, `[backup]` of the
/// configuration says.
#[derive(Clone, Debug, clap::Args)]
pub struct From {
    /// Where the log was shipped to: file:///path or s3://bucket/prefix
    #[arg(long, value_name = "URL")]
    pub from: String,
    #[command(flatten)]
    pub reach: Reach,
}

/// How to reach it.
#[derive(Clone, Debug, clap::Args)]
pub struct Reach {
    /// The file with the key that seals it (else backup.key_file)
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// The address of an S3-compatible store (else backup.endpoint)
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// The region of the bucket (else backup.region, else $AWS_REGION)
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// The file with the keys to the store, in the form of AWS (else backup.credentials_file, else the
    /// usual AWS variables)
    #[arg(long, value_name = "FILE")]
    credentials_file: Option<PathBuf>,
    /// The configuration that has the table
    #[arg(long, value_name = "FILE", env = "OUTBOXD_CONFIG")]
    config: Option<PathBuf>,
}

/// Restore a data directory from a backup target; start it with `serve`
///
/// Exit status: 0 if all of it is whole, 1 if something is missing or damaged or nothing could be
/// restored, 2 if the arguments make no sense.
#[derive(Clone, Debug, clap::Args)]
pub struct Restore {
    #[command(flatten)]
    from: From,
    /// The directory to restore into: it must not exist or be empty
    #[arg(long, value_name = "DIR", required_unless_present = "list")]
    data_dir: Option<PathBuf>,
    /// The generation (else the newest that is complete)
    #[arg(long, value_name = "NAME", value_parser = generation)]
    generation: Option<Generation>,
    /// Restore the store as of this time: RFC 3339, such as 2026-01-31T12:00:00Z, or how long
    /// ago, such as 2h
    #[arg(long, value_name = "TIME", value_parser = past)]
    until: Option<Timestamp>,
    /// Disable every endpoint at the first start, so that nothing is delivered: for drills
    #[arg(long)]
    held: bool,
    /// List the generations instead
    #[arg(long, conflicts_with_all = ["data_dir", "generation", "until", "held"])]
    list: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn past(text: &str) -> Result<Timestamp, String> {
    when::parse_past(text, clock::now())
}

pub fn generation(text: &str) -> Result<Generation, String> {
    Generation::parse(text)
        .ok_or_else(|| "a generation is named like 00000001-5f0c93aa; see --list".to_owned())
}

impl Reach {
    /// Opens the place; no request is made yet.
    pub fn open(&self, from: &str) -> Result<Place, Failure> {
        let usage = |error: String| Failure::Usage(error);
        let url = BackupUrl::parse(from);
        let url = url.map_err(|bad| usage(format!("--from {from:?} cannot be used: {bad}")))?;
        let configured = self.configured()?;
        let key = match &self.key_file {
            Some(path) => Some(BackupKey::read(path).map_err(usage)?),
            None => configured.key,
        };
        let given = |option: &Option<String>, configured: Option<String>| {
            option
                .clone()
                .or(configured)
                .filter(|text| !text.is_empty())
        };
        let s3 = S3 {
            endpoint: given(&self.endpoint, configured.s3.endpoint),
            region: given(&self.region, configured.s3.region),
            credentials_file: self
                .credentials_file
                .clone()
                .or(configured.s3.credentials_file),
        };
        if let BackupUrl::File(path) = &url
            && !path.is_dir()
        {
            return Err(Failure::Failed(format!(
                "there is no directory {}",
                path.display()
            )));
        }
        Place::open(&url, &s3, key).map_err(failed)
    }

    fn configured(&self) -> Result<Backup, Failure> {
        let path = self.config.as_deref();
        let path = path.filter(|path| !path.as_os_str().is_empty());
        config::load_backup(path, &config::Environment::of_process())
            .map_err(|faults| Failure::Usage(faults.to_string()))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is passed to map_err")]
fn failed(error: PlaceError) -> Failure {
    Failure::Failed(error.to_string())
}

pub fn run(args: &Restore) -> Result<(), Failure> {
    let place = args.from.reach.open(&args.from.from)?;
    let Some(data_dir) = &args.data_dir else {
        return wait(list(&place, args.json));
    };
    let wanted = Wanted {
        generation: args.generation,
        until: args.until,
        held: args.held,
    };
    let restore = async {
        let from = &args.from.from;
        let restored = restore::restore(&place, from, data_dir, &wanted, progress()).await;
        let report = restored.map_err(|error| Failure::Failed(error.to_string()))?;
        match args.json {
            true => print_json(&as_json(&report))?,
            false => print(&in_words(&report, args))?,
        }
        let harmed = report.missing.len() as u64 + report.log.damaged;
        match harmed {
            0 => Ok(()),
            _ => Err(Failure::Failed(format!(
                "{harmed} places are missing or damaged; the rest was restored"
            ))),
        }
    };
    wait(restore)
}

/// A line on a terminal that says how far it is.
fn progress() -> Progress {
    let told = AtomicU64::new(0);
    let is_terminal = std::io::stderr().is_terminal();
    Arc::new(move |done, all| {
        let percent = (done * 100).checked_div(all).unwrap_or(100);
        if is_terminal && told.swap(percent, Ordering::Relaxed) != percent {
            let end = if percent == 100 { "\n" } else { "" };
            // Only for the eye.
            let _ = write!(std::io::stderr(), "\rrestoring: {percent} %{end}");
        }
    })
}

fn in_words(report: &Report, args: &Restore) -> String {
    let log = &report.log;
    let mut text = format!("restored generation {}\n", report.generation);
    if !report.is_complete {
        text += "it never was complete: the newest of the log may be missing\n";
    }
    match log.last_at {
        Some(at) => text += &format!("up to {} (position {:#x})\n", moment(at), log.end),
        None => text += &format!("up to position {:#x}\n", log.end),
    }
    text += &format!(
        "{} read, {} events accepted in it\n",
        when::bytes(report.bytes),
        log.accepted
    );
    if log.erased > 0 {
        text += &format!(
            "{} events that were erased later are erased here too\n",
            log.erased
        );
    }
    if log.definitions.later > 0 {
        text += &format!(
            "{} endpoints and sources have a later definition: theirs of that time was replaced and is overwritten\n",
            log.definitions.later
        );
    }
    if log.definitions.deleted > 0 {
        text += &format!(
            "{} endpoints and sources are deleted: what defined them is overwritten, and nothing that was shipped replaces it\n",
            log.definitions.deleted
        );
    }
    for generation in &report.others {
        text += &format!(
            "left out: generation {generation} is newer, but never was complete; --generation chooses it\n"
        );
    }
    for Missing { base, from, to } in &report.missing {
        text += &format!("missing: bytes {from} to {to} of the segment at {base:#x}\n");
    }
    for damage in &log.damage {
        text += &format!("{damage}\n");
    }
    if let Some(dir) = &args.data_dir {
        let held = match args.held {
            true => "; it disables every endpoint, and `outboxd endpoints enable` enables one",
            false => "",
        };
        text += &format!(
            "start it with data_dir = {:?}{held}\n",
            dir.display().to_string()
        );
    }
    text
}

fn as_json(report: &Report) -> serde_json::Value {
    let log = &report.log;
    let missing = report.missing.iter().map(|missing| {
        json!({"segment": format!("{:#x}", missing.base), "from": missing.from, "to": missing.to})
    });
    let others = report.others.iter().map(ToString::to_string);
    json!({
        "generation": report.generation.to_string(),
        "complete": report.is_complete,
        "position": format!("{:#x}", log.end),
        "until": log.last_at.map(|at| at.to_string()),
        "bytes": report.bytes,
        "events_accepted": log.accepted,
        "erased": log.erased,
        "definitions_later": log.definitions.later,
        "definitions_deleted": log.definitions.deleted,
        "incomplete_generations": others.collect::<Vec<_>>(),
        "missing": missing.collect::<Vec<_>>(),
        "damage": log.damage.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "damaged": log.damaged,
    })
}

async fn list(place: &Place, is_json: bool) -> Result<(), Failure> {
    let mut text = String::new();
    let mut rows = Vec::new();
    for generation in place.generations().await.map_err(failed)? {
        let objects = place.list(generation).await.map_err(failed)?;
        let is_complete = objects.iter().any(|it| it.name == Name::Complete);
        let bytes: u64 = objects.iter().map(|it| it.size).sum();
        let newest = objects.iter().map(|it| it.modified).max();
        let newest = newest.map(|at| at.to_string()).unwrap_or_default();
        let state = if is_complete {
            "complete"
        } else {
            "incomplete"
        };
        text += &format!(
            "{generation}  {state:<10}  {:>10}  written {newest}\n",
            when::bytes(bytes)
        );
        rows.push(
            json!({"generation": generation.to_string(), "complete": is_complete,
            "bytes": bytes, "written_at": newest}),
        );
    }
    match is_json {
        true => print_json(&rows),
        false if text.is_empty() => print("there is no generation there\n"),
        false => print(&text),
    }
}
