//! Definitions that are replaced, or go: the former one is overwritten once the batch is durable.

use crate::domain::endpoint::EndpointNo;
use crate::outbox::decide::{Basis, DecideError, Draft};
use crate::outbox::index::{PagesError, State};
use crate::outbox::log::Lsn;
use crate::outbox::record::Defined;

/// The batch replaces the definition of this endpoint, if it has one.
pub fn endpoint(basis: &Basis<'_>, no: EndpointNo, draft: &mut Draft) -> Result<(), DecideError> {
    replaced(basis, &Defined::Endpoint(no.0), draft)
}

/// The batch replaces the definition of this source, if it has one.
pub fn source(basis: &Basis<'_>, id: &str, draft: &mut Draft) -> Result<(), DecideError> {
    replaced(basis, &Defined::Source(id.to_owned()), draft)
}

fn replaced(basis: &Basis<'_>, defined: &Defined, draft: &mut Draft) -> Result<(), DecideError> {
    let former = basis.state.definition_at(defined)?;
    draft.replaced.extend(former.map(Lsn));
    Ok(())
}

/// Which of these definitions were replaced.
pub fn those_replaced(state: &State, found: Vec<(Lsn, Defined)>) -> Result<Vec<Lsn>, PagesError> {
    let mut replaced = Vec::with_capacity(found.len());
    for (lsn, defined) in found {
        if state.is_replaced(&defined, lsn.0)? {
            replaced.push(lsn);
        }
    }
    Ok(replaced)
}
