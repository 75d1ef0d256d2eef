//! Log lines as entries of the systemd journal, with the fields of what happened.
//!
//! tracing-journald was read and not taken: it sends on the thread that logs, from a socket that
//! blocks while the journal does not read, and what the journal does not take is lost without a
//! count. Its entries are those of <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>, and so are these.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fstat, memfd_create};
use rustix::io::Errno;
use rustix::net::{
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, sendmsg_addr,
};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata};

/// Where systemd's journal takes entries, on every machine.
const SOCKET: &str = "/run/systemd/journal/socket";
/// Before the names of an event's own fields, so that none has the name of a field of the journal.
const PREFIX: &str = "OUTBOXD_";
/// The journal ignores fields with longer names.
const NAME_MAX: usize = 64;

/// Whether `stderr` is the stream that `JOURNAL_STREAM` names as `device:inode`. A process that
/// was started with another stderr can have the variable of its parent.
pub fn is_stream(stderr: BorrowedFd<'_>, variable: Option<&OsStr>) -> bool {
    let named = variable.and_then(OsStr::to_str);
    let Some((device, inode)) = named.and_then(|text| text.split_once(':')) else {
        return false;
    };
    fstat(stderr)
        .is_ok_and(|file| device.parse() == Ok(file.st_dev) && inode.parse() == Ok(file.st_ino))
}

/// One entry, as the journal takes it.
pub struct Entry {
    bytes: Box<[u8]>,
    /// Where `MESSAGE` stands.
    message: Range<usize>,
    /// The level, for a line that does not show it itself.
    level: Option<Level>,
}

impl Entry {
    /// `line` is what the journal shows. `shows_level`: the line says its level itself.
    pub fn new(event: &Event<'_>, line: &str, shows_level: bool) -> Entry {
        let metadata = event.metadata();
        let mut bytes = Vec::with_capacity(512 + line.len());
        let message = put(&mut bytes, "MESSAGE", line.trim_end().as_bytes());
        put_standing(&mut bytes, metadata);
        event.record(&mut Fields(&mut bytes));
        Entry {
            bytes: bytes.into(),
            message,
            level: (!shows_level).then(|| *metadata.level()),
        }
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// What is written to stderr where the journal does not take the entry.
    pub fn line(&self) -> Vec<u8> {
        let mut line = Vec::new();
        if let Some(level) = self.level {
            line.extend_from_slice(level.as_str().as_bytes());
            line.push(b' ');
        }
        line.extend_from_slice(self.bytes.get(self.message.clone()).unwrap_or_default());
        line.push(b'\n');
        line
    }
}

/// The fields that every entry has.
fn put_standing(bytes: &mut Vec<u8>, metadata: &Metadata<'_>) {
    // Those of syslog(3). What operators read every day is "informational".
    let priority = match *metadata.level() {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        Level::DEBUG | Level::TRACE => "7",
    };
    put(bytes, "PRIORITY", priority.as_bytes());
    put(
        bytes,
        "SYSLOG_IDENTIFIER",
        env!("CARGO_PKG_NAME").as_bytes(),
    );
    put(bytes, "TARGET", metadata.target().as_bytes());
    if let Some(file) = metadata.file() {
        put(bytes, "CODE_FILE", file.as_bytes());
    }
    if let Some(line) = metadata.line() {
        put(bytes, "CODE_LINE", line.to_string().as_bytes());
    }
}

/// Adds a field, in the form that takes any bytes; answers where its value stands.
fn put(bytes: &mut Vec<u8>, name: &str, value: &[u8]) -> Range<usize> {
    bytes.extend_from_slice(name.as_bytes());
    bytes.push(b'\n');
    bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
    let from = bytes.len();
    bytes.extend_from_slice(value);
    let to = bytes.len();
    bytes.push(b'\n');
    from..to
}

/// Adds the fields of an event.
struct Fields<'a>(&'a mut Vec<u8>);

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: &[u8]) {
        // It is part of the line.
        if field.name() != "message" {
            put(self.0, &name(field.name()), value);
        }
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.as_bytes());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").as_bytes());
    }
}

/// The name of a field in the journal, which knows A to Z, digits and `_`.
fn name(field: &str) -> String {
    let own = field.trim_start_matches("r#").bytes();
    let own = own.map(|byte| match byte.to_ascii_uppercase() {
        byte @ (b'A'..=b'Z' | b'0'..=b'9') => char::from(byte),
        _ => '_',
    });
    PREFIX.chars().chain(own).take(NAME_MAX).collect()
}

/// The way to the journal.
pub struct Journal {
    path: PathBuf,
    socket: Option<UnixDatagram>,
}

impl Default for Journal {
    fn default() -> Journal {
        Journal {
            path: SOCKET.into(),
            socket: None,
        }
    }
}

impl Journal {
    /// Waits while the journal does not read.
    ///
    /// # Errors
    /// When the journal does not take the entry, such as when its socket is not there. The next
    /// call tries again: the path is looked up at each of them.
    pub fn send(&mut self, entry: &Entry) -> io::Result<()> {
        let socket = match &self.socket {
            Some(socket) => socket,
            None => self.socket.insert(UnixDatagram::unbound()?),
        };
        loop {
            let sent = socket.send_to(&entry.bytes, &self.path);
            match sent.map_err(|error| (Errno::from_io_error(&error), error)) {
                Ok(_) => return Ok(()),
                Err((Some(Errno::INTR), _)) => {}
                // Larger than a datagram may be here.
                Err((Some(Errno::MSGSIZE | Errno::NOBUFS), _)) => {
                    return send_as_file(socket, &self.path, &entry.bytes);
                }
                Err((_, error)) => return Err(error),
            }
        }
    }
}

/// Sends the descriptor of a sealed file in memory instead of the bytes.
fn send_as_file(socket: &UnixDatagram, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(memfd_create("outboxd-log-entry", flags)?);
    file.write_all(bytes)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(&file, seals)?;
    let files = [file.as_fd()];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&files));
    let address = SocketAddrUnix::new(path)?;
    let nothing = [IoSlice::new(&[])];
    rustix::io::retry_on_intr(|| {
        sendmsg_addr(socket, &address, &nothing, &mut control, SendFlags::empty())
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{IoSliceMut, Read, Seek};
    use std::mem::MaybeUninit;
    use std::os::linux::fs::MetadataExt;

    use rustix::fs::fcntl_get_seals;
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

    use super::*;

    fn entry(len: usize) -> Entry {
        Entry {
            bytes: vec![b'x'; len].into(),
            message: 0..len,
            level: Some(Level::WARN),
        }
    }

    #[test]
    fn an_entry_that_no_datagram_holds_is_sent_as_a_sealed_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let receiver = UnixDatagram::bind(&path).unwrap();
        let mut journal = Journal { path, socket: None };
        for (len, as_file) in [(1000, false), (8 << 20, true)] {
            journal.send(&entry(len)).unwrap();
            let mut bytes = vec![0; 2000];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut buffers = [IoSliceMut::new(&mut bytes)];
            let flags = RecvFlags::CMSG_CLOEXEC;
            let received = recvmsg(&receiver, &mut buffers, &mut control, flags).unwrap();
            let file = control.drain().find_map(|message| match message {
                RecvAncillaryMessage::ScmRights(mut files) => files.next(),
                _ => None,
            });
            assert_eq!(file.is_some(), as_file);
            let Some(file) = file else {
                assert_eq!(received.bytes, len);
                continue;
            };
            let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
            assert_eq!(fcntl_get_seals(&file).unwrap(), seals);
            let (mut file, mut read) = (File::from(file), Vec::new());
            file.rewind().unwrap();
            file.read_to_end(&mut read).unwrap();
            assert_eq!((received.bytes, read.len()), (0, len));
        }
    }

    #[test]
    fn without_a_journal_an_entry_has_a_line_and_a_journal_that_comes_back_gets_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let mut journal = Journal {
            path: path.clone(),
            socket: None,
        };
        let small = entry(3);
        assert_eq!(small.line(), b"WARN xxx\n");
        for _ in 0..2 {
            let error = journal.send(&small).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
            let _receiver = UnixDatagram::bind(&path).unwrap();
            journal.send(&small).unwrap();
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn the_stream_is_known_by_device_and_inode() {
        let file = tempfile::tempfile().unwrap();
        let metadata = file.metadata().unwrap();
        let (device, inode) = (metadata.st_dev(), metadata.st_ino());
        let is = |text: &str| is_stream(file.as_fd(), Some(OsStr::new(text)));
        assert!(is(&format!("{device}:{inode}")));
        for text in [
            "",
            ":",
            "8",
            "8:x",
            &format!("{device}:"),
            &format!("{device}:{}", inode + 1),
            &format!("{}:{inode}", device + 1),
            &format!("{device}:{inode}:1"),
            &format!(" {device}:{inode}"),
        ] {
            assert!(!is(text), "{text:?}");
        }
        assert!(!is_stream(file.as_fd(), None));
    }

    #[test]
    fn names_are_those_that_the_journal_takes() {
        assert_eq!(name("endpoint"), "OUTBOXD_ENDPOINT");
        assert_eq!(name("r#type"), "OUTBOXD_TYPE");
        assert_eq!(name("http.status-code"), "OUTBOXD_HTTP_STATUS_CODE");
        assert_eq!(name("é"), "OUTBOXD___");
        assert_eq!(name(&"x".repeat(100)).len(), NAME_MAX);
    }

    #[test]
    fn a_value_may_hold_any_bytes() {
        let mut bytes = Vec::new();
        let at = put(&mut bytes, "MESSAGE", b"a\nPRIORITY=0");
        assert_eq!(bytes, b"MESSAGE\n\x0c\0\0\0\0\0\0\0a\nPRIORITY=0\n");
        assert_eq!(&bytes[at], b"a\nPRIORITY=0");
    }
}
