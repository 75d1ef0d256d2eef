//! The way of all diagnostics to stderr, which can neither end, block nor slow the daemon.
//!
//! Whoever reports puts a line into a bounded queue and goes on; one thread writes the
//! queue to stderr. A line that finds no room, or that stderr does not take (a closed pipe,
//! a full disk, a reader that has stopped), is lost and counted. Once stderr takes lines
//! again, one of them says how many were lost.
//!
//! Where stderr is a stream to systemd's journal, events go to the journal's own socket with their
//! fields ([`JournalLines`]), by the same queue and thread. What the socket does not take is written
//! to stderr.
//!
//! tracing-appender was read and not taken: it bounds lines and not bytes, does not count
//! what the file refuses, and prints to stdout (which panics if that fails as well) when it
//! cannot end in time.

mod journal;

use std::collections::VecDeque;
use std::env;
use std::fmt;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use self::journal::{Entry, Journal};

/// Bytes of lines that wait to be written.
const CAPACITY: usize = 1 << 20;
/// What a waiting line costs besides its bytes.
const LINE_COST: usize = 64;

static LINES: Lines = Lines::new(CAPACITY);

/// Starts the thread that writes. Lines from before wait for it.
///
/// # Errors
/// When there can be no further thread.
pub fn start() -> io::Result<()> {
    let name = "stderr".to_owned();
    let writing = || LINES.write_to(&mut io::stderr());
    thread::Builder::new().name(name).spawn(writing).map(drop)
}

/// Takes one line a call of `write`, and never fails.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        LINES.push(Line::Text(line.into()));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether stderr is a stream to the journal, as systemd says it in `JOURNAL_STREAM`.
pub fn is_journal() -> bool {
    let named = env::var_os("JOURNAL_STREAM");
    journal::is_stream(io::stderr().as_fd(), named.as_deref())
}

/// Sends events to the journal, and writes nothing to the writer of its layer.
pub struct JournalLines<F> {
    /// Makes what the journal shows as the message.
    pub line: F,
    /// `line` shows the level.
    pub shows_level: bool,
}

impl<S, N, F> FormatEvent<S, N> for JournalLines<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        _: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.line.format_event(ctx, Writer::new(&mut line), event)?;
        LINES.push(Line::Entry(Entry::new(event, &line, self.shows_level)));
        Ok(())
    }
}

/// Waits until everything is written or lost, but not longer than `within`.
pub fn flush(within: Duration) {
    LINES.flush(within);
}

/// Lines that reached neither stderr nor the journal since the start.
pub fn lines_lost() -> u64 {
    LINES.lost.load(Relaxed)
}

/// See the [module](self).
struct Lines {
    queue: Mutex<Queue>,
    changed: Condvar,
    capacity: usize,
    lost: AtomicU64,
}

enum Line {
    Text(Box<[u8]>),
    Entry(Entry),
}

impl Line {
    fn cost(&self) -> usize {
        let bytes = match self {
            Line::Text(text) => text.len(),
            Line::Entry(entry) => entry.len(),
        };
        LINE_COST + bytes
    }
}

struct Queue {
    lines: VecDeque<Line>,
    bytes: usize,
    /// Lines are taken out and not written yet.
    writing: bool,
}

impl Lines {
    const fn new(capacity: usize) -> Lines {
        Lines {
            queue: Mutex::new(Queue {
                lines: VecDeque::new(),
                bytes: 0,
                writing: false,
            }),
            changed: Condvar::new(),
            capacity,
            lost: AtomicU64::new(0),
        }
    }

    /// Held for moments only, never while anything is written.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: Line) {
        let size = line.cost();
        let mut queue = self.queue();
        if queue.bytes + size > self.capacity {
            drop(queue);
            self.lost.fetch_add(1, Relaxed);
            return;
        }
        queue.bytes += size;
        queue.lines.push_back(line);
        drop(queue);
        self.changed.notify_all();
    }

    /// Writes what comes, for ever.
    fn write_to(&self, out: &mut impl Write) {
        let mut file = Output::default();
        loop {
            self.write_waiting(out, &mut file);
        }
    }

    /// Waits for lines and writes all that are there.
    fn write_waiting(&self, out: &mut impl Write, file: &mut Output) {
        let mut queue = self.queue();
        while queue.lines.is_empty() {
            let woken = self.changed.wait(queue);
            queue = woken.unwrap_or_else(PoisonError::into_inner);
        }
        let lines = std::mem::take(&mut queue.lines);
        queue.writing = true;
        drop(queue);
        for line in &lines {
            self.write_line(line, out, file);
            // The room is free as the lines go, so that what waits stays bounded.
            self.queue().bytes -= line.cost();
        }
        self.queue().writing = false;
        self.changed.notify_all();
    }

    fn write_line(&self, line: &Line, out: &mut impl Write, file: &mut Output) {
        let written = match line {
            Line::Text(text) => file.write(text, out),
            Line::Entry(entry) => file.send(entry) || file.write(&entry.line(), out),
        };
        if !written {
            self.lost.fetch_add(1, Relaxed);
            return;
        }
        let lost = self.lost.load(Relaxed);
        if lost > file.told {
            let lines = lost - file.told;
            // Told before the line about it is queued: should that one be lost, the next is of it.
            file.told = lost;
            tracing::warn!(lines, "log lines were lost: stderr did not take them");
        }
    }

    fn flush(&self, within: Duration) {
        let deadline = Instant::now() + within;
        let mut queue = self.queue();
        while !queue.lines.is_empty() || queue.writing {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let woken = self.changed.wait_timeout(queue, left);
            queue = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// How it stands with the file behind stderr.
#[derive(Default)]
struct Output {
    /// The last line broke off.
    torn: bool,
    /// Of the lost lines, how many stderr was told of.
    told: u64,
    journal: Journal,
    /// The journal did not take the last entry.
    journal_fails: bool,
}

impl Output {
    /// Whether the journal took the entry.
    fn send(&mut self, entry: &Entry) -> bool {
        let sent = self.journal.send(entry);
        let failed_before = std::mem::replace(&mut self.journal_fails, sent.is_err());
        match sent {
            Ok(()) => true,
            Err(error) => {
                if !failed_before {
                    tracing::warn!(%error, "the journal's socket does not take log lines: they go to stderr");
                }
                false
            }
        }
    }

    /// Whether the line went out whole. One that breaks off is ended before the next.
    fn write(&mut self, line: &[u8], out: &mut impl Write) -> bool {
        if self.torn {
            if out.write_all(b"\n").is_err() {
                return false;
            }
            self.torn = false;
        }
        let mut rest = line;
        while !rest.is_empty() {
            match out.write(rest) {
                Ok(written) if written > 0 => {
                    rest = rest.get(written..).unwrap_or_default();
                    self.torn = !rest.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes and then refuses, until a test lets it take more.
    struct Limited {
        taken: Vec<u8>,
        room: usize,
    }

    impl Write for Limited {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.room);
            if taken == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.taken.extend(&bytes[..taken]);
            self.room -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_stderr_refuses_is_counted_and_a_torn_line_is_ended() {
        let lines = Lines::new(CAPACITY);
        let (mut out, mut file) = (
            Limited {
                taken: Vec::new(),
                room: 7,
            },
            Output::default(),
        );
        for line in ["first\n", "second\n", "third\n"] {
            lines.push(Line::Text(line.as_bytes().into()));
        }
        lines.write_waiting(&mut out, &mut file);
        assert_eq!(lines.lost.load(Relaxed), 2);
        out.room = 100;
        lines.push(Line::Text((*b"fourth\n").into()));
        lines.write_waiting(&mut out, &mut file);
        assert_eq!(out.taken, b"first\ns\nfourth\n");
        assert_eq!((lines.lost.load(Relaxed), file.told), (2, 2));
        assert_eq!(lines.queue().bytes, 0);
    }

    #[test]
    fn what_finds_no_room_is_lost_and_nobody_waits() {
        let lines = Lines::new(3 * (LINE_COST + 10));
        for _ in 0..5 {
            lines.push(Line::Text((*b"123456789\n").into()));
        }
        assert_eq!(lines.lost.load(Relaxed), 2);
        // Nobody writes: it ends all the same.
        lines.flush(Duration::ZERO);
        let mut out = Vec::new();
        lines.write_waiting(&mut out, &mut Output::default());
        assert_eq!(out.len(), 30);
    }

    #[test]
    fn a_flush_waits_for_what_is_being_written() {
        let lines = Lines::new(CAPACITY);
        let (reader, mut writer) = io::pipe().unwrap();
        lines.push(Line::Text([b'x'; 128 << 10].into()));
        thread::scope(|scope| {
            scope.spawn(|| lines.write_waiting(&mut writer, &mut Output::default()));
            let read = scope.spawn(move || io::copy(&mut reader.take(128 << 10), &mut io::sink()));
            lines.flush(Duration::from_secs(30));
            assert!(!lines.queue().writing && lines.queue().lines.is_empty());
            assert_eq!(read.join().unwrap().unwrap(), 128 << 10);
        });
    }

    use std::io::Read;
}
