//! Cursors of lists that are in the order of ids.

use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::problem::Problem;
use super::query::malformed;
use crate::outbox::Cursor;

/// A list's cursors begin with its name before they are encoded: those of another list are none.
#[derive(Clone, Copy, Debug)]
pub struct IdCursors(pub &'static str);

impl IdCursors {
    /// The cursor of a list that goes on after this id.
    pub fn after(self, id: &str) -> Cursor {
        Cursor(URL_SAFE_NO_PAD.encode(format!("{}/{id}", self.0)))
    }

    /// The id that the list goes on after.
    ///
    /// # Errors
    /// 400 if no list of this name gave the cursor.
    pub fn place<T: FromStr>(self, Cursor(text): &Cursor) -> Result<T, Problem> {
        let bytes = URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
        let text = std::str::from_utf8(&bytes).unwrap_or_default();
        let id = text.strip_prefix(self.0);
        let id = id.and_then(|rest| rest.strip_prefix('/')?.parse().ok());
        id.ok_or_else(|| malformed("cursor", "not one that a list gave"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::endpoint::EndpointId;

    #[test]
    fn a_cursor_is_read_by_the_list_that_gave_it() {
        let (endpoints, sources) = (IdCursors("endpoint"), IdCursors("source"));
        let id = EndpointId::new("a-1").unwrap();
        let cursor = endpoints.after(id.as_str());
        assert_eq!(endpoints.place::<EndpointId>(&cursor).unwrap(), id);
        assert!(sources.place::<EndpointId>(&cursor).is_err());
        for text in ["", "a.b", "ZW5kcG9pbnQ", "ZW5kcG9pbnQv"] {
            let cursor = Cursor(text.to_owned());
            assert!(endpoints.place::<EndpointId>(&cursor).is_err(), "{text}");
        }
    }
}
