//! The data directory from outside: its segments, and what may happen to files.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::harness::Home;

/// The log's segments, oldest first, the spare included.
pub fn segments(home: &Home) -> Vec<PathBuf> {
    let dir = home.data_dir().join("log");
    let mut found: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "log"))
        .collect();
    found.sort();
    found
}

/// Where these bytes are in a file.
pub fn find(path: &Path, wanted: &[u8]) -> Option<u64> {
    let bytes = fs::read(path).unwrap();
    memchr::memmem::find(&bytes, wanted).map(|at| at as u64)
}

/// Where the frame begins that has what stands here.
pub fn frame_of(path: &Path, at: u64) -> u64 {
    let before = &fs::read(path).unwrap()[..at as usize];
    memchr::memmem::rfind(before, b"oBxF").unwrap() as u64
}

/// The segment that holds these bytes, and where there.
#[track_caller]
pub fn find_in_log(home: &Home, wanted: &str) -> (PathBuf, u64) {
    let found = segments(home)
        .into_iter()
        .find_map(|path| find(&path, wanted.as_bytes()).map(|at| (path, at)));
    found.unwrap_or_else(|| panic!("{wanted:?} is not in the log"))
}

/// Flips one bit.
pub fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

pub fn truncate(path: &Path, len: u64) {
    OpenOptions::new()
        .write(true)
        .open(path)
        .unwrap()
        .set_len(len)
        .unwrap();
}

pub fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    OpenOptions::new()
        .write(true)
        .open(path)
        .unwrap()
        .write_all_at(bytes, at)
        .unwrap();
}

/// All files below a directory.
pub fn below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(below(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// A copy of a directory.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let copied = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &copied);
        } else {
            fs::copy(path, copied).unwrap();
        }
    }
}
