//! Sources: what the API made of them and what they have counted, as bytes that the application
//! reads. Which of them are in force is the application's to know.

use crate::outbox::decide::{Acts, Basis, DecideError, Draft, replaced};
use crate::outbox::record::{KeyBytes, Record, SourceCountsRow, SourceRow};
use crate::outbox::views::{ActRefused, SourceDefinition};

/// Stores a definition, which replaces the earlier one.
pub fn put(basis: &Basis<'_>, id: &str, definition: &SourceDefinition, draft: &mut Draft) -> Acts {
    if !draft.touched_sources.insert(id.to_owned()) {
        return Ok(None);
    }
    let changed_at = definition.changed_at.as_millis();
    push(basis, changed_at, id, &definition.bytes, draft)?;
    let id = id.to_owned();
    draft.log(move || tracing::info!(source = id, "source stored"));
    Ok(Some(Ok(())))
}

/// Forgets the definition and what was counted.
pub fn remove(basis: &Basis<'_>, id: &str, draft: &mut Draft) -> Acts {
    if !draft.touched_sources.insert(id.to_owned()) {
        return Ok(None);
    }
    let state = basis.state;
    if state.source_entry(id)?.is_none() && state.source_counts_entry(id)?.is_none() {
        return Ok(Some(Ok(())));
    }
    replaced::source(basis, id, draft)?;
    draft.push(&Record::SourceForgotten(id), &[])?;
    let id = id.to_owned();
    draft.log(move || tracing::info!(source = id, "source forgotten"));
    Ok(Some(Ok(())))
}

/// Stores what sources have counted. While no event would be accepted it is refused: the room there
/// is belongs to the outcomes of attempts, and the next counts say the same and more.
pub fn put_counts(basis: &Basis<'_>, counts: &[(String, Vec<u8>)], draft: &mut Draft) -> Acts {
    if let Err(refused) = basis.limits.admit(0, 0) {
        return Ok(Some(Err(ActRefused::NoRoom(refused))));
    }
    let is_touched = |(id, _): &(String, Vec<u8>)| draft.touched_sources.contains(id);
    if counts.iter().any(is_touched) {
        return Ok(None);
    }
    for (id, counts) in counts {
        draft.touched_sources.insert(id.clone());
        push_counts(id, counts, draft)?;
    }
    Ok(Some(Ok(())))
}

/// Adds a source's definition as it stands.
pub fn keep(basis: &Basis<'_>, id: &str, draft: &mut Draft) -> Result<(), DecideError> {
    match basis.state.source_entry(id)? {
        Some(entry) => push(basis, entry.changed_at, id, &entry.definition, draft),
        None => Ok(()),
    }
}

/// Adds a source's counts as they stand.
pub fn keep_counts(basis: &Basis<'_>, id: &str, draft: &mut Draft) -> Result<(), DecideError> {
    match basis.state.source_counts_entry(id)? {
        Some(entry) => push_counts(id, &entry.counts, draft),
        None => Ok(()),
    }
}

fn push(
    basis: &Basis<'_>,
    changed_at: u64,
    id: &str,
    definition: &KeyBytes,
    draft: &mut Draft,
) -> Result<(), DecideError> {
    replaced::source(basis, id, draft)?;
    let definition = definition.clone();
    let row = SourceRow {
        id,
        changed_at,
        definition,
    };
    draft.push(&Record::Source(row), &[])?;
    Ok(())
}

fn push_counts(id: &str, counts: &[u8], draft: &mut Draft) -> Result<(), DecideError> {
    let row = SourceCountsRow { id, counts };
    draft.push(&Record::SourceCounts(row), &[])?;
    Ok(())
}
