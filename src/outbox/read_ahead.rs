//! Reading the log on a thread of its own, ahead of what is made of it.
//!
//! A second core finds the records, checks their checksums and decodes them, while the first one changes
//! the index by those before. So a start without an index ends sooner.

use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Builder;

use yoke::{Yoke, Yokeable};

use crate::outbox::log::{Damage, LogError, LogReader, Lsn, Replayed};
use crate::outbox::record::{BadRecord, Record};

/// How many bytes of heads are handed over at once, at least.
const PIECE_BYTES: usize = 64 << 10;
/// How many pieces wait at most.
const PIECES_AHEAD: usize = 2;

/// What a replay comes upon, as far as the index needs it.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are records, and a box for each costs more than the room"
)]
#[derive(Clone, Debug)]
pub enum Met<'a> {
    /// See [`Record::decode`].
    Record(Lsn, Result<Option<Record<'a>>, BadRecord>),
    FrameEnd(Lsn),
    Damage(Damage),
}

impl<'a> Met<'a> {
    fn of(replayed: Replayed<'a>) -> Met<'a> {
        match replayed {
            Replayed::Record(found) => {
                let record = Record::decode(found.kind, found.head, found.body.intact());
                Met::Record(found.lsn, record)
            }
            Replayed::FrameEnd { end, .. } => Met::FrameEnd(end),
            Replayed::Damage(damage) => Met::Damage(damage),
        }
    }
}

/// What makes a replay end early.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError<E> {
    #[error(transparent)]
    Log(LogError),
    #[error(transparent)]
    Refused(E),
}

/// Gives everything from `from` to the log's end to `each`, in order, as
/// [`LogReader::replay`] does, and returns where the end is.
pub fn replay<E>(
    reader: &LogReader,
    from: Lsn,
    mut each: impl FnMut(&Met<'_>) -> Result<(), E>,
) -> Result<Lsn, ReplayError<E>> {
    let broken = |outcome: Result<(), E>| match outcome {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    };
    let read = reader.replay(from, Lsn::MAX, |replayed| broken(each(&Met::of(replayed))));
    match read.map_err(ReplayError::Log)? {
        ControlFlow::Continue(end) => Ok(end),
        ControlFlow::Break(error) => Err(ReplayError::Refused(error)),
    }
}

/// [`replay`] with a thread that reads ahead, if there can be one.
pub fn replay_ahead<E>(
    reader: &LogReader,
    from: Lsn,
    mut each: impl FnMut(&Met<'_>) -> Result<(), E>,
) -> Result<Lsn, ReplayError<E>> {
    std::thread::scope(|scope| {
        let (send, receive) = sync_channel(PIECES_AHEAD);
        let reading = Builder::new().name("log-ahead".into());
        let reading = reading.spawn_scoped(scope, || hand_over(reader, from, send));
        let Ok(reading) = reading else {
            return replay(reader, from, each);
        };
        // When `each` refuses something the receiver is dropped, and the thread ends with its next send.
        let taken = take_over(receive, &mut each);
        let read = reading.join();
        taken.map_err(ReplayError::Refused)?;
        match read {
            Ok(read) => read.map_err(ReplayError::Log),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn hand_over(reader: &LogReader, from: Lsn, send: SyncSender<Piece>) -> Result<Lsn, LogError> {
    let mut copied = Copied::default();
    let read = reader.replay(from, Lsn::MAX, |replayed| {
        copied.add(replayed);
        if copied.bytes.len() < PIECE_BYTES {
            return ControlFlow::Continue(());
        }
        match send.send(std::mem::take(&mut copied).decoded()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    })?;
    // The send fails only when the receiver was dropped; `replay_ahead` then returns why.
    let _ = send.send(copied.decoded());
    Ok(match read {
        ControlFlow::Continue(end) => end,
        ControlFlow::Break(()) => from,
    })
}

fn take_over<E>(
    receive: Receiver<Piece>,
    each: &mut impl FnMut(&Met<'_>) -> Result<(), E>,
) -> Result<(), E> {
    for piece in receive {
        piece.get().0.iter().try_for_each(&mut *each)?;
    }
    Ok(())
}

/// Some of what a replay comes upon, with the bytes that it borrows from.
type Piece = Yoke<AllMet<'static>, Vec<u8>>;

#[derive(Yokeable)]
struct AllMet<'a>(Vec<Met<'a>>);

/// Some of what a replay comes upon, copied.
#[derive(Default)]
struct Copied {
    /// Heads and bodies, one after the other.
    bytes: Vec<u8>,
    found: Vec<Found>,
}

enum Found {
    Record {
        lsn: Lsn,
        kind: u8,
        head_len: usize,
        /// Only of the kinds that are decoded with it, and only if it is as it was written.
        body_len: Option<usize>,
    },
    FrameEnd(Lsn),
    Damage(Damage),
}

impl Copied {
    fn add(&mut self, replayed: Replayed<'_>) {
        self.found.push(match replayed {
            Replayed::Record(found) => {
                let wanted = Record::is_read_with_body(found.kind);
                let body = found.body.intact().filter(|_| wanted);
                self.bytes.extend_from_slice(found.head);
                self.bytes.extend_from_slice(body.unwrap_or_default());
                Found::Record {
                    lsn: found.lsn,
                    kind: found.kind,
                    head_len: found.head.len(),
                    body_len: body.map(<[u8]>::len),
                }
            }
            Replayed::FrameEnd { end, .. } => Found::FrameEnd(end),
            Replayed::Damage(damage) => Found::Damage(damage),
        });
    }

    fn decoded(self) -> Piece {
        let Copied { bytes, found } = self;
        Yoke::attach_to_cart(bytes, |mut rest| {
            let mut next = |len| rest.split_off(..len).unwrap_or_default();
            let met = found.iter().map(|found| match *found {
                Found::Record {
                    lsn,
                    kind,
                    head_len,
                    body_len,
                } => {
                    let (head, body) = (next(head_len), body_len.map(&mut next));
                    Met::Record(lsn, Record::decode(kind, head, body))
                }
                Found::FrameEnd(end) => Met::FrameEnd(end),
                Found::Damage(damage) => Met::Damage(damage),
            });
            AllMet(met.collect())
        })
    }
}
