//! `outboxd backup`: a copy of the running store, as a data directory.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::{Buf, Bytes};
use serde_json::json;
use tokio::sync::mpsc;

use super::client::{Configured, Reach};
use super::when::bytes;
use super::{Failure, print, print_json};
use crate::outbox::restored::{self, Restored};
use crate::outbox::{mark_unfinished, write_format};

/// Pieces of the copy that wait to be written.
const AHEAD: usize = 4;

/// Copy the running store into DIR, a data directory that `serve` and `verify-store` open
///
/// The copy has the store at one moment and is checked. Exit status: 0 if all of it is whole, 1 if
/// not, 2 if the arguments make no sense.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The directory: it must not exist or be empty
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

pub async fn run(args: Args, configured: Configured) -> Result<(), Failure> {
    let client = args.reach.client(configured)?;
    let dir = args.dir.clone();
    refuse_full(&dir)?;
    let mut answer = client.stream("/v1/backup").await?;
    let (pieces, received) = mpsc::channel(AHEAD);
    let written = dir.clone();
    let writer = tokio::task::spawn_blocking(move || unpack(&written, Pieces::new(received)));
    let broke_off = loop {
        match answer.next().await {
            Ok(Some(piece)) => {
                // The writer has failed, and says why below.
                if pieces.send(piece).await.is_err() {
                    break None;
                }
            }
            Ok(None) => break None,
            Err(fault) => break Some(fault),
        }
    };
    drop(pieces);
    let unpacked = writer.await.unwrap_or_else(|error| Err(error.into()));
    let what = format!("the copy in {} is not whole", dir.display());
    if let Some(fault) = broke_off {
        return Err(Failure::Failed(format!("{what}: {fault}")));
    }
    let copied = unpacked.map_err(|error| Failure::Failed(format!("{what}: {error}")))?;
    let checking = dir.clone();
    let checked = tokio::task::spawn_blocking(move || restored::finish(&checking, None)).await;
    let checked = checked
        .map_err(|error| Failure::Failed(error.to_string()))?
        .map_err(|error| Failure::Failed(format!("{what}: {error}")))?;
    report(&args, copied, &checked)
}

fn report(args: &Args, copied: u64, log: &Restored) -> Result<(), Failure> {
    let damage = log.damage.iter().map(ToString::to_string);
    let damage: Vec<String> = damage.collect();
    if args.json {
        let position = format!("{:#x}", log.end);
        print_json(
            &json!({"directory": args.dir.display().to_string(), "bytes": copied,
            "position": position, "damage": damage, "damaged": log.damaged}),
        )?;
    } else {
        let mut text = format!(
            "copied {} into {}, up to position {:#x}\n",
            bytes(copied),
            args.dir.display(),
            log.end
        );
        for place in damage {
            text += &format!("{place}\n");
        }
        print(&text)?;
    }
    match log.damaged {
        0 => Ok(()),
        count => Err(Failure::Failed(format!(
            "{count} places are damaged, in the store as in its copy"
        ))),
    }
}

fn refuse_full(dir: &Path) -> Result<(), Failure> {
    match std::fs::read_dir(dir).map(|mut entries| entries.next().is_some()) {
        Ok(true) => Err(Failure::Usage(format!(
            "{} is not empty: name a directory that does not exist or is empty",
            dir.display()
        ))),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Failure::Usage(format!(
            "cannot read {}: {error}",
            dir.display()
        ))),
        _ => Ok(()),
    }
}

/// Writes the files of the archive, durably, and `FORMAT` last. The bytes written.
fn unpack(dir: &Path, archive: impl Read) -> io::Result<u64> {
    make_dir(dir)?;
    make_dir(&dir.join("log"))?;
    mark_unfinished(dir).map_err(io::Error::other)?;
    let mut total = 0;
    let mut is_whole = false;
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        if entry.header().entry_type().is_dir() {
            continue;
        }
        if !is_of_a_store(&path) {
            let what = format!("the copy holds {}, which no store has", path.display());
            return Err(io::Error::other(what));
        }
        // It comes last, and is written when all is durable.
        if path == Path::new("FORMAT") {
            is_whole = true;
            continue;
        }
        let mut file = create(&dir.join(&path))?;
        total += io::copy(&mut entry, &mut file)?;
        file.sync_all()?;
    }
    if !is_whole {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    File::open(dir.join("log"))?.sync_all()?;
    write_format(dir).map_err(io::Error::other)?;
    Ok(total)
}

fn is_of_a_store(path: &Path) -> bool {
    let is_segment = |name: &str| {
        let digits = name.strip_suffix(".log").unwrap_or_default();
        digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    match path.to_str() {
        Some("FORMAT") => true,
        Some(name) => name.strip_prefix("log/").is_some_and(is_segment),
        None => false,
    }
}

fn make_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path)
}

/// Reads the pieces that come, on a thread that may wait.
struct Pieces {
    received: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Pieces {
    fn new(received: mpsc::Receiver<Bytes>) -> Pieces {
        Pieces {
            received,
            piece: Bytes::new(),
        }
    }
}

impl Read for Pieces {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.received.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let count = self.piece.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..count), self.piece.get(..count)) {
            to.copy_from_slice(from);
        }
        self.piece.advance(count);
        Ok(count)
    }
}
