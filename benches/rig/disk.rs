//! The disk's limit: append to a preallocated file, then `fdatasync`, as any store must
//! that keeps its word.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

const FILE_SIZE: u64 = 16 << 20;

pub struct Disk {
    file: File,
    at: u64,
}

impl Disk {
    /// A file of zeros in `home`.
    pub fn new(home: &Path) -> Disk {
        let path = home.join("bare");
        std::fs::write(&path, vec![0; FILE_SIZE as usize]).expect("there is space");
        let file = File::options().write(true).open(path);
        let file = file.expect("it was just made");
        file.sync_all().expect("the disk works");
        Disk { file, at: 0 }
    }

    /// Writes so many bytes and makes them durable; returns how long that took.
    pub fn append(&mut self, bytes: &[u8]) -> Duration {
        if self.at + bytes.len() as u64 > FILE_SIZE {
            self.at = 0;
        }
        let start = Instant::now();
        let written = self.file.write_all_at(bytes, self.at);
        written
            .and_then(|()| self.file.sync_data())
            .expect("the disk works");
        self.at += bytes.len() as u64;
        start.elapsed()
    }
}
