//! The definitions of endpoints and sources in a log that a restore brings back.
//!
//! A definition that was replaced is overwritten wherever it stands, what was shipped included. A
//! log that is cut before it was replaced has its record, and nothing in it: the next whole
//! definition takes its place. If there is none the endpoint or source was deleted later, or what
//! replaced the definition was not shipped: it is deleted in the restored store.

use std::collections::BTreeMap;

use crate::clock;
use crate::outbox::log::{Body, Log, LogError, Lsn, Record as Raw};
use crate::outbox::record::{Defined, EndpointDeleted, Record};

/// How many records are committed together.
const BATCH: usize = 256;

/// See the module.
#[derive(Debug, Default)]
pub struct Definitions {
    found: BTreeMap<Defined, Found>,
}

#[derive(Debug, Default)]
struct Found {
    /// What the log up to its end has; `None`: it does not know the endpoint or source.
    in_force: Option<Content>,
    /// The next one that is whole, if `in_force` is not: the record's kind, head and body.
    next: Option<(u8, Vec<u8>, Vec<u8>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Whole,
    Overwritten,
    Damaged,
}

/// What was made of definitions that are gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mended {
    /// Endpoints and sources that have a later definition.
    pub later: u64,
    /// Those that are deleted.
    pub deleted: u64,
}

impl Definitions {
    /// Takes the next record of a log that will end at `end`.
    pub fn note(&mut self, record: &Raw<'_>, end: Lsn) {
        let is_kept = record.lsn < end;
        if let Some(defined) = Defined::by(record.kind, record.head) {
            self.defined(defined, record, is_kept);
        } else if is_kept {
            self.deleted(record);
        }
    }

    fn defined(&mut self, defined: Defined, record: &Raw<'_>, is_kept: bool) {
        if is_kept {
            let content = match record.body {
                Body::Intact(_) => Content::Whole,
                Body::Erased => Content::Overwritten,
                Body::Damaged => Content::Damaged,
            };
            self.found.entry(defined).or_default().in_force = Some(content);
            return;
        }
        // What begins later is no part of the restored store.
        let Some(found) = self.found.get_mut(&defined) else {
            return;
        };
        let is_wanted = found.in_force.is_some_and(|known| known != Content::Whole);
        if let Body::Intact(body) = record.body
            && is_wanted
            && found.next.is_none()
        {
            found.next = Some((record.kind, record.head.to_vec(), body.to_vec()));
        }
    }

    fn deleted(&mut self, record: &Raw<'_>) {
        let defined = match Record::decode(record.kind, record.head, record.body.intact()) {
            Ok(Some(Record::EndpointDeleted(deleted))) => Defined::Endpoint(deleted.no),
            Ok(Some(Record::EndpointForgotten(no))) => Defined::Endpoint(no),
            Ok(Some(Record::SourceForgotten(id))) => Defined::Source(id.to_owned()),
            _ => return,
        };
        self.found.remove(&defined);
    }

    /// Whether [`push`](Self::push) would write anything.
    pub fn are_whole(&self) -> bool {
        self.found.values().all(|found| !found.is_to_mend())
    }

    /// Writes at the end of the log what takes the place of definitions that are gone.
    pub fn push(&self, log: &mut Log) -> Result<Mended, LogError> {
        let mut mended = Mended::default();
        let mut batch = log.batch();
        let mut pushed = 0;
        for (defined, found) in &self.found {
            if !found.is_to_mend() {
                continue;
            }
            if let Some((kind, head, body)) = &found.next {
                batch.push_with(*kind, |out| out.extend_from_slice(head), body)?;
                mended.later += 1;
            } else {
                let record = gone(defined);
                batch.push_with(record.kind(), |out| record.encode(out), &[])?;
                mended.deleted += 1;
            }
            pushed += 1;
            if pushed % BATCH == 0 {
                log.commit(&mut batch)?;
                batch.clear();
            }
        }
        if pushed % BATCH != 0 {
            log.commit(&mut batch)?;
        }
        Ok(mended)
    }
}

impl Found {
    fn is_to_mend(&self) -> bool {
        match self.in_force {
            None | Some(Content::Whole) => false,
            Some(Content::Overwritten) => true,
            // If nothing takes its place, the restore reports it as damage.
            Some(Content::Damaged) => self.next.is_some(),
        }
    }
}

fn gone(defined: &Defined) -> Record<'_> {
    match defined {
        Defined::Endpoint(no) => Record::EndpointDeleted(EndpointDeleted {
            no: *no,
            at: clock::now().as_millis(),
        }),
        Defined::Source(id) => Record::SourceForgotten(id),
    }
}
