//! Definitions of sources, as requests give them and as they are stored.

use crate::app::error::Error;
use crate::app::random::random_bytes;
use crate::clock;
use crate::domain::inbound::{BadSource, Given, Source, SourceId, read_stored};
use crate::domain::json::Json;
use crate::outbox::KeyBytes;

/// The keys of a definition that a request gives, `None` for those that go back to their default.
pub type Written = Vec<(&'static str, Option<Json>)>;

/// Checks the rules that depend on more than the definition.
///
/// # Errors
/// Nothing verifies the source, or it needs `public_url` and there is none.
pub fn check(source: &Source, has_public_url: bool) -> Result<(), Error> {
    if source.verifies_nothing() {
        return Err(Error::Source(BadSource {
            key: "verify".to_owned(),
            problem: "\"none\" is for the configuration file alone".to_owned(),
            fix: "give the source a preset, a token, or a recipe".to_owned(),
        }));
    }
    if source.needs_url() && !has_public_url {
        return Err(Error::Source(BadSource {
            key: "preset".to_owned(),
            problem: "the provider signs the URL, which outboxd does not know".to_owned(),
            fix: "set listen.public_url in the configuration file".to_owned(),
        }));
    }
    Ok(())
}

/// The source of a stored definition; `None` if the definition cannot be read.
pub fn stored_source(id: &str, definition: &KeyBytes) -> Option<Source> {
    let id = SourceId::new(id).ok()?;
    match Json::parse(&definition.0) {
        Ok(Json::Object(given)) => read_stored(id, &given).ok(),
        _ => None,
    }
}

/// Replaces the keys that are written; `None` removes a key.
pub fn overlay(given: &mut Given, written: Written) {
    for (key, value) in written {
        match value {
            Some(value) => drop(given.insert(key.into(), value)),
            None => drop(given.shift_remove(key)),
        }
    }
}

/// A new secret, for a provider that accepts one from outboxd.
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
