//! Which generation a store ships under.
//!
//! A generation is one life of a store. The data directory remembers its own in `backup/STATE`,
//! with what tells the directory apart from a copy of it. A directory that was restored or copied
//! begins a new generation, and so does one whose generation holds anything that its log does not
//! have: a copy may have gone on writing there.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::names::Generation;
use crate::domain::time::Timestamp;

/// What `generation.json` says. `format` rises when what is shipped can no longer be read by an
/// older outboxd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    pub format: u32,
    /// Of the outboxd that began it.
    pub version: String,
    pub begun_at: String,
    /// Names the key that seals it; absent: it is not sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// The format that is written.
pub const FORMAT: u32 = 1;

impl About {
    pub fn new(key: Option<String>, now: Timestamp) -> About {
        About {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            begun_at: now.to_string(),
            key,
        }
    }
}

/// What the data directory remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    generation: String,
    to: String,
    /// Names the directory on its machine; a copy has another.
    directory: String,
    /// [`Swept::at`], in milliseconds since 1970.
    #[serde(default)]
    swept_at: u64,
    #[serde(default)]
    swept_below: u64,
}

/// How far what the log has dropped is rid of what was to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swept {
    /// Events that were erased before are erased in all that is there.
    pub at: Timestamp,
    /// Below this position of the log no definition is there that was replaced.
    pub below: u64,
}

/// `backup/STATE` of a data directory.
#[derive(Clone, Debug)]
pub struct Memory {
    dir: PathBuf,
    to: String,
}

impl Memory {
    /// For what is shipped to `to`.
    pub fn new(data_dir: &Path, to: String) -> Memory {
        Memory {
            dir: data_dir.join("backup"),
            to,
        }
    }

    /// The generation of this very directory at this place, if it has one, and how far it is swept.
    pub fn recall(&self) -> Option<(Generation, Swept)> {
        let text = fs::read(self.dir.join("STATE")).ok()?;
        let state: State = serde_json::from_slice(&text).ok()?;
        let is_ours = state.to == self.to && Some(state.directory) == self.identity();
        let generation = Generation::parse(&state.generation).filter(|_| is_ours)?;
        let swept = Swept {
            at: Timestamp::from_millis(state.swept_at),
            below: state.swept_below,
        };
        Some((generation, swept))
    }

    /// Remembers the generation, durably.
    pub fn remember(&self, generation: Generation, swept: Swept) -> io::Result<()> {
        make_dir(&self.dir)?;
        let state = State {
            generation: generation.to_string(),
            to: self.to.clone(),
            directory: self.identity().unwrap_or_default(),
            swept_at: swept.at.as_millis(),
            swept_below: swept.below,
        };
        let (path, aside) = (self.dir.join("STATE"), self.dir.join("STATE.new"));
        let mut options = fs::OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&aside)?;
        file.write_all(&serde_json::to_vec(&state)?)?;
        file.sync_all()?;
        fs::rename(&aside, &path)?;
        fs::File::open(&self.dir)?.sync_all()
    }

    /// The next start begins a new generation.
    pub fn forget(&self) {
        // What is left of it is compared again then.
        let _ = fs::remove_file(self.dir.join("STATE"));
    }

    /// The directory's device and inode, and the machine.
    fn identity(&self) -> Option<String> {
        let meta = fs::metadata(&self.dir).ok()?;
        let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
        Some(format!("{}:{}:{}", meta.dev(), meta.ino(), machine.trim()))
    }
}

fn make_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GENERATION: Generation = Generation {
        number: 3,
        random: 9,
    };

    fn swept() -> Swept {
        Swept {
            at: Timestamp::from_millis(5),
            below: 7,
        }
    }

    #[test]
    fn a_directory_knows_its_generation_and_a_copy_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let memory = Memory::new(&data, "s3://b".to_owned());
        assert_eq!(memory.recall(), None);
        memory.remember(GENERATION, swept()).unwrap();
        assert_eq!(memory.recall(), Some((GENERATION, swept())));
        let elsewhere = Memory::new(&data, "s3://c".to_owned());
        assert_eq!(elsewhere.recall(), None);
        let copy = dir.path().join("copy");
        fs::create_dir_all(copy.join("backup")).unwrap();
        fs::copy(data.join("backup/STATE"), copy.join("backup/STATE")).unwrap();
        assert_eq!(Memory::new(&copy, "s3://b".to_owned()).recall(), None);
    }

    #[test]
    fn what_cannot_be_read_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::new(dir.path(), "s3://b".to_owned());
        memory.remember(GENERATION, swept()).unwrap();
        for text in ["", "{}", "{\"generation\": 5}"] {
            fs::write(dir.path().join("backup/STATE"), text).unwrap();
            assert_eq!(memory.recall(), None, "{text:?}");
        }
    }
}
