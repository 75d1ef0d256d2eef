//! `verify-store`: reads a data directory, and names what of it is damaged.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::{Value, json};

use super::paint::plain;
use super::restore::{Reach, generation};
use super::when::bytes;
use super::{Failure, unprinted};
use crate::backup::names::Generation;
use crate::backup::remote::Remote;
use crate::outbox::OpenError;
use crate::outbox::salvage::{Fate, SalvageError, Salvaged, salvage};
use crate::outbox::verify::{
    DamagedEvent, DamagedPlace, Harm, Hit, Later, Place, Report, Store, VerifyError,
};

/// Check a data directory or what was shipped, and name what of it is damaged
///
/// Reads the whole log and changes nothing. No daemon may have the directory open; to check the
/// store of a daemon that runs, make a copy with `outboxd backup`. The index is not looked at: it is
/// built anew from the log.
///
/// Exit status: 0 the store is whole, 1 something of it is damaged, 2 it could not be looked at, or
/// the copy could not be made.
#[derive(Clone, Debug, clap::Args)]
pub struct VerifyStore {
    /// The data directory
    #[arg(value_name = "DIR", required_unless_present = "from")]
    dir: Option<PathBuf>,
    /// Copy what is whole into this directory, which must be absent or empty
    #[arg(long, value_name = "DIR", requires = "dir")]
    salvage: Option<PathBuf>,
    /// Check what was shipped to file:///path or s3://bucket/prefix instead
    #[arg(long, value_name = "URL", conflicts_with = "dir")]
    from: Option<String>,
    /// The generation of it (else the newest that is complete)
    #[arg(long, value_name = "NAME", value_parser = generation, requires = "from")]
    generation: Option<Generation>,
    #[command(flatten)]
    reach: Reach,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const WHOLE: u8 = 0;
const DAMAGED: u8 = 1;
const FAILED: u8 = 2;

/// Runs the command over stdout and stderr of this process.
pub fn run(args: &VerifyStore) -> ExitCode {
    let (out, err) = (&mut io::stdout().lock(), &mut io::stderr());
    let status = match verify(args, out) {
        Ok(status) => status,
        // A reader that went away changes nothing but the rest of the output.
        Err(Stopped { status, failure }) => {
            if !matches!(failure, Failure::OutputClosed) {
                // The status says it as well.
                let _ = writeln!(err, "outboxd: {failure}");
            }
            status
        }
    };
    ExitCode::from(status)
}

/// Why nothing more is said, and the exit status.
struct Stopped {
    status: u8,
    failure: Failure,
}

impl Stopped {
    fn failed(error: impl std::fmt::Display) -> Stopped {
        Stopped {
            status: FAILED,
            failure: Failure::Failed(error.to_string()),
        }
    }
}

fn verify(args: &VerifyStore, out: &mut dyn Write) -> Result<u8, Stopped> {
    let mut progress = Progress::new("reading");
    let (store, report) = match (&args.dir, &args.from) {
        (Some(dir), _) => {
            let store = Store::open(dir).map_err(unseen)?;
            let report = store.verify(&mut |done, total| progress.show(done, total));
            (store, report)
        }
        (None, from) => {
            let store = shipped(args, from.as_deref().unwrap_or_default())?;
            let report = store.verify_unfinished(&mut |done, total| progress.show(done, total));
            (store, report)
        }
    };
    progress.end();
    let report = report.map_err(unseen)?;
    let status = if report.is_whole() { WHOLE } else { DAMAGED };
    let mut said = match args.json {
        true => Ok(()),
        false => write_report(&report, out),
    };
    let salvaged = args.salvage.as_deref().map(|into| {
        let mut progress = Progress::new("copying what is whole");
        progress.begin();
        let salvaged = salvage(&store, &report, into, &mut |done, total| {
            progress.show(done, total);
        });
        progress.end();
        (into, salvaged)
    });
    if args.json {
        said = writeln!(out, "{}", to_json(store.dir(), &report, salvaged.as_ref()));
    } else if let (Ok(()), Some((into, Ok(salvaged)))) = (&said, &salvaged) {
        said = write_salvaged(into, salvaged, out);
    }
    if let Some((_, Err(error))) = salvaged {
        return Err(Stopped::failed(error));
    }
    match said.and_then(|()| out.flush()).map_err(unprinted) {
        Ok(()) => Ok(status),
        Err(failure @ Failure::OutputClosed) => Err(Stopped { status, failure }),
        Err(failure) => Err(Stopped {
            status: FAILED,
            failure,
        }),
    }
}

/// What was shipped, as a store.
fn shipped(args: &VerifyStore, from: &str) -> Result<Store, Stopped> {
    let place = args.reach.open(from).map_err(Stopped::failed)?;
    let remote = Remote::open(place, args.generation).map_err(Stopped::failed)?;
    let name = format!("generation {}", remote.generation());
    Ok(Store::on(Path::new(&name), Arc::new(remote)))
}

/// Why a store could not be looked at. One that is in use can be copied.
fn unseen(error: VerifyError) -> Stopped {
    match &error {
        VerifyError::Open(OpenError::Locked(_)) => Stopped::failed(format!(
            "{error}: stop it first, or make a copy with `outboxd backup DIR` and check that"
        )),
        _ => Stopped::failed(error),
    }
}

/// Says on a terminal how far it is.
struct Progress {
    doing: &'static str,
    is_shown: bool,
    percent: Option<u64>,
}

impl Progress {
    fn new(doing: &'static str) -> Progress {
        Progress {
            doing,
            is_shown: io::stderr().is_terminal(),
            percent: None,
        }
    }

    /// For what takes a while and cannot tell how long.
    fn begin(&mut self) {
        if self.is_shown {
            self.percent = Some(0);
            // The exit status does not depend on what a terminal shows.
            let _ = write!(io::stderr(), "{}", self.doing);
        }
    }

    fn show(&mut self, done: u64, total: u64) {
        let percent = done.saturating_mul(100) / total.max(1);
        if self.is_shown && self.percent != Some(percent) {
            self.percent = Some(percent);
            // As above.
            let _ = write!(io::stderr(), "\r{}: {percent} %", self.doing);
        }
    }

    fn end(&self) {
        if self.percent.is_some() {
            // As above.
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn write_report(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for event in &report.events {
        writeln!(out, "{}", event_line(event))?;
    }
    for place in &report.places {
        writeln!(out, "{}", place_line(place))?;
    }
    let verdict = match (report.events.len(), report.places.len()) {
        (0, 0) => "nothing is damaged".to_owned(),
        (events, 0) => format!("damaged: {}", counted(events, "event")),
        (0, places) => format!("damaged: {}", counted(places, "place")),
        (events, places) => format!(
            "damaged: {}, {}",
            counted(events, "event"),
            counted(places, "place")
        ),
    };
    writeln!(out, "{verdict}")?;
    let counts = &report.counts;
    writeln!(
        out,
        "read: {} of {}, {}, {}, {}; the log goes from {:#x} to {:#x}",
        counted(counts.segments, "segment"),
        bytes(counts.bytes),
        counted(counts.frames, "frame"),
        counted(counts.records, "record"),
        counted(counts.events, "event"),
        report.start,
        report.end
    )?;
    if let Some((at, torn)) = report.torn {
        writeln!(
            out,
            "not damage: {} at {at:#x} of a write that was cut short and never acknowledged",
            counted(torn, "byte")
        )?;
    }
    if counts.erased > 0 {
        writeln!(
            out,
            "not damage: {} erased on purpose",
            counted_as(counts.erased, "body was", "bodies were")
        )?;
    }
    if counts.lost > 0 {
        writeln!(
            out,
            "known before: {} lost to damage, and the event is kept without it",
            counted_as(counts.lost, "body was", "bodies were")
        )?;
    }
    writeln!(
        out,
        "not looked at: the index, which is built anew from the log"
    )
}

fn event_line(event: &DamagedEvent) -> String {
    let mut line = event.id.to_string();
    if let Some(event_type) = &event.event_type {
        line += &format!(" {}", plain(event_type));
    }
    if let Some(tenant) = &event.tenant {
        line += &format!(" of {}", plain(tenant));
    }
    let hits: Vec<String> = event.hits.iter().map(hit_text).collect();
    line += &format!(": {}", hits.join("; "));
    line += match event.later {
        Later::Nothing => "",
        Later::Whole => "; a later copy is whole",
        Later::Erased => "; the event is erased",
        Later::Forgotten => "; the event is past its retention",
    };
    line
}

fn hit_text(hit: &Hit) -> String {
    let part = hit.part.as_str();
    let endpoint = hit.endpoint.as_ref();
    let at = endpoint.map_or(String::new(), |id| format!(" at {}", plain(id)));
    let place = place_text(&hit.place);
    match hit.harm {
        Harm::Damaged => format!("{part}{at} damaged in {place}"),
        Harm::Missing => format!("{part}{at} missing, named in {place}"),
        Harm::Stray => format!("{part}{at} whole in a damaged frame, in {place}"),
    }
}

fn place_line(found: &DamagedPlace) -> String {
    let place = place_text(&found.place);
    match found.bytes {
        0 => format!("{place}: {}", found.detail),
        length => format!("{place}: {} ({})", found.detail, counted(length, "byte")),
    }
}

fn place_text(place: &Place) -> String {
    match place.position {
        Some(position) => format!(
            "{} at {} (position {position:#x})",
            place.file, place.offset
        ),
        None => place.file.clone(),
    }
}

fn counted(count: impl TryInto<u64>, noun: &str) -> String {
    counted_as(count, noun, &format!("{noun}s"))
}

fn counted_as(count: impl TryInto<u64>, one: &str, many: &str) -> String {
    match count.try_into().unwrap_or(u64::MAX) {
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    }
}

fn write_salvaged(into: &Path, salvaged: &Salvaged, out: &mut dyn Write) -> io::Result<()> {
    for (id, fate) in &salvaged.fates {
        match fate {
            Fate::Saved => {}
            Fate::SavedInPart => writeln!(out, "{id}: saved, but not all of its attempts")?,
            Fate::WithoutBody { dead } => writeln!(
                out,
                "{id}: saved without its body; {} dead",
                counted_as(*dead, "delivery is", "deliveries are")
            )?,
            Fate::Lost => writeln!(out, "{id}: lost")?,
        }
    }
    let lost = salvaged.fates.iter();
    let lost = lost.filter(|(_, fate)| *fate == Fate::Lost).count();
    writeln!(
        out,
        "{}: a store with {}, read again and whole; {} lost",
        into.display(),
        counted(salvaged.copy.counts.events, "event"),
        counted_as(lost, "known event is", "known events are")
    )
}

fn to_json(
    dir: &Path,
    report: &Report,
    salvaged: Option<&(&Path, Result<Salvaged, SalvageError>)>,
) -> Value {
    let counts = &report.counts;
    let torn = report.torn;
    let torn = torn.map(|(position, bytes)| json!({"position": position, "bytes": bytes}));
    let events: Vec<Value> = report.events.iter().map(event_json).collect();
    let places: Vec<Value> = report.places.iter().map(place_json).collect();
    json!({
        "dir": dir.display().to_string(),
        "ok": report.is_whole(),
        "events": events,
        "places": places,
        "log": {"start": report.start, "end": report.end},
        "counts": {
            "segments": counts.segments,
            "bytes": counts.bytes,
            "frames": counts.frames,
            "records": counts.records,
            "events": counts.events,
            "erased_bodies": counts.erased,
            "lost_bodies": counts.lost,
        },
        "torn": torn,
        "salvage": salvaged.map(salvage_json),
    })
}

fn salvage_json((into, salvaged): &(&Path, Result<Salvaged, SalvageError>)) -> Value {
    let dir = into.display().to_string();
    match salvaged {
        Ok(salvaged) => {
            let fates: Vec<Value> = salvaged.fates.iter().map(fate_json).collect();
            let events = salvaged.copy.counts.events;
            json!({"dir": dir, "ok": true, "kept_events": events, "events": fates})
        }
        Err(error) => json!({"dir": dir, "ok": false, "error": error.to_string()}),
    }
}

fn event_json(event: &DamagedEvent) -> Value {
    let hits = event.hits.iter().map(|hit| {
        json!({
            "part": hit.part.as_str(),
            "harm": hit.harm.as_str(),
            "endpoint": hit.endpoint,
            "file": hit.place.file,
            "offset": hit.place.offset,
            "position": hit.place.position,
        })
    });
    json!({
        "id": event.id,
        "type": event.event_type,
        "tenant": event.tenant,
        "damage": hits.collect::<Vec<Value>>(),
        "later": match event.later {
            Later::Nothing => Value::Null,
            Later::Whole => "whole".into(),
            Later::Erased => "erased".into(),
            Later::Forgotten => "forgotten".into(),
        },
    })
}

fn place_json(found: &DamagedPlace) -> Value {
    json!({
        "kind": found.kind.as_str(),
        "file": found.place.file,
        "offset": found.place.offset,
        "position": found.place.position,
        "bytes": found.bytes,
        "detail": found.detail,
    })
}

fn fate_json((id, fate): &(crate::domain::event::EventId, Fate)) -> Value {
    let (fate, dead) = match fate {
        Fate::Saved => ("saved", 0),
        Fate::SavedInPart => ("saved_in_part", 0),
        Fate::WithoutBody { dead } => ("without_body", *dead),
        Fate::Lost => ("lost", 0),
    };
    json!({"id": id, "fate": fate, "dead_deliveries": dead})
}
