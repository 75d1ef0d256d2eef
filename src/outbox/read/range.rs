//! A range of the index that is read in pieces: it remembers where it goes on.
//!
//! Each row is read once, as it was at some moment between the first piece and the last:
//! the whole is not of one moment.

use std::borrow::Cow;

use crate::domain::endpoint::EndpointNo;
use crate::domain::event::EventId;
use crate::outbox::index::Hold;
use crate::outbox::index::keys::Key;
use crate::outbox::views::ReadError;

/// The place of a delivery in a list: what follows is smaller.
pub(super) type Place = (EventId, EndpointNo);

/// What a row was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Row {
    /// Taken; the next one is wanted.
    Taken,
    /// Taken, and enough.
    Last,
    /// Not taken: it is still to come.
    Left,
}

/// How far a piece came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// There is nothing more.
    End,
    /// The rows were enough.
    Enough,
    /// The hold is spent, and there may be more.
    Spent,
}

/// What is still to be read of the rows with `from <= key < to`.
#[derive(Clone, Debug)]
pub(super) struct Range {
    pub from: Key,
    pub to: Key,
    pub backward: bool,
}

impl Range {
    pub fn forward(from: Key, to: Key) -> Range {
        Range {
            from,
            to,
            backward: false,
        }
    }

    pub fn backward(from: Key, to: Key) -> Range {
        Range {
            from,
            to,
            backward: true,
        }
    }

    /// Gives rows to `each`, in order, until it has enough or the hold is spent. Reads at
    /// least one, so that every piece comes further.
    pub fn advance<'a>(
        &mut self,
        hold: &'a Hold<'_>,
        mut each: impl FnMut(&[u8], &[u8]) -> Result<Row, ReadError>,
    ) -> Result<Piece, ReadError> {
        let mut scan = hold.entries.scan(&self.from, &self.to, self.backward);
        let mut last: Option<Cow<'a, [u8]>> = None;
        let piece = loop {
            let Some(entry) = scan.step() else {
                break Piece::End;
            };
            let (key, value) = entry?;
            let row = match &value {
                Some(value) => each(&key, value)?,
                None => Row::Taken,
            };
            if row == Row::Left {
                break Piece::Enough;
            }
            last = Some(key);
            if row == Row::Last {
                break Piece::Enough;
            }
            if hold.is_spent() {
                break Piece::Spent;
            }
        };
        if let Some(last) = last {
            self.pass(last.as_ref().into());
        }
        Ok(piece)
    }

    /// The last key that a forward walk has read, once it has read one.
    pub fn passed(&self) -> &[u8] {
        self.from.split_last().map_or(&[], |(_, key)| key)
    }

    fn pass(&mut self, mut key: Key) {
        if self.backward {
            self.to = key;
        } else {
            key.push(0);
            self.from = key;
        }
    }
}
