//! What the tests do again and again: a daemon that ships, and a store that is restored.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::*;

/// The table that ships to `to`.
pub fn shipping(to: &str) -> String {
    format!("[backup]\nto = {to:?}\ninterval = \"200ms\"\n")
}

/// The URL of a directory.
pub fn file_url(path: &Path) -> String {
    format!("file://{}", path.display())
}

/// Waits until everything that is acknowledged now was shipped.
pub fn wait_shipped(daemon: &Daemon) -> Value {
    wait_for(
        || {
            let backup = daemon.status()["backup"].clone();
            let is_there = backup["behind_s"] == 0.0 && backup["error"].is_null();
            (is_there && !backup["last_shipped_at"].is_null()).then_some(backup)
        },
        || format!("the log is not shipped: {}", daemon.status()["backup"]),
    )
}

/// Restores into the data directory of a new home.
pub fn restore(from: &str, more: &[&str]) -> (Home, Ran) {
    let home = Home::new();
    let data = home.data_dir();
    let mut args = vec!["restore", "--from", from, "--data-dir"];
    args.push(data.to_str().expect("a path in UTF-8"));
    args.extend(more);
    let ran = home.run(&args);
    (home, ran)
}

/// Deletes a data directory, as a disk that dies does.
pub fn lose(home: &Home) {
    std::fs::remove_dir_all(home.data_dir()).expect("the data directory is deleted");
}

/// All files below `dir`.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(dir) else {
        return found;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

/// The newest generation below `dir`.
pub fn generations(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("the directory is there");
    let names = entries.flatten().map(|entry| entry.file_name());
    let mut names: Vec<String> = names
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
