//! What a request to make or change a source would do, without doing it.

use super::{Error, Sources, Written, definition, new_id, overlay};
use crate::domain::inbound::{self, EARLIER_SECRETS, Given, KEYS, SourceId, read_stored};

impl Sources {
    /// The keys of a new source.
    ///
    /// # Errors
    /// As [`Sources::create`].
    pub fn would_create(
        &self,
        id: Option<SourceId>,
        written: Written,
    ) -> Result<Vec<&'static str>, Error> {
        let id = match id {
            Some(id) => id,
            None => new_id()?,
        };
        let mut given = Given::new();
        overlay(&mut given, written);
        let source = inbound::read(id, &given).map_err(Error::Source)?;
        definition::check(&source, self.public_url.is_some())?;
        match self.find(&source.id) {
            Ok(_) => Err(Error::SourceExists),
            Err(_) => Ok(KEYS
                .into_iter()
                .filter(|key| given.contains_key(*key))
                .collect()),
        }
    }

    /// The keys that a change would change.
    ///
    /// # Errors
    /// As [`Sources::change`].
    pub fn would_change(
        &self,
        id: &SourceId,
        written: Written,
    ) -> Result<Vec<&'static str>, Error> {
        let before = self.own(id)?.source.definition();
        let mut given = before.clone();
        if written.iter().any(|(key, _)| *key == "secrets") {
            given.shift_remove(EARLIER_SECRETS);
        }
        overlay(&mut given, written);
        let source = read_stored(id.clone(), &given).map_err(Error::Source)?;
        definition::check(&source, self.public_url.is_some())?;
        let after = source.definition();
        let differs = |key: &&str| before.get(*key) != after.get(*key);
        Ok(KEYS.into_iter().filter(differs).collect())
    }
}
