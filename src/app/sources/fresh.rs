//! Secrets and ids that the daemon makes for sources.

use crate::app::error::Error;
use crate::app::random::random_bytes;
use crate::clock;
use crate::domain::inbound::{Source, SourceId};

/// A secret for a provider that takes ours.
pub fn fresh_secret(source: &Source) -> Result<String, Error> {
    let random = random_bytes()?;
    source.fresh_secret(random).ok_or(Error::ProvidersSecret)
}

/// `src_` and a ULID of now. Its second half cannot be guessed.
pub fn new_id() -> Result<SourceId, Error> {
    let random = u128::from_be_bytes(random_bytes()?);
    let ulid = ulid::Ulid::from_parts(clock::now().as_millis(), random);
    let mut text = [0; ulid::ULID_LEN];
    SourceId::new(&format!("src_{}", ulid.array_to_str(&mut text))).map_err(|error| {
        tracing::error!(%error, "a generated source id is not valid");
        Error::Internal("the source's id could not be generated; see the log")
    })
}
