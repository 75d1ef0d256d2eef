//! Records about sources: what they are and what they have counted. The store does not read
//! either; the bytes are the application's.

use bincode::{BorrowDecode, Encode};

use super::endpoint::KeyBytes;

/// A source's definition, secrets included; replaces the one before.
#[derive(Clone, Debug, PartialEq, Eq, BorrowDecode)]
pub struct SourceRow<'a> {
    pub id: &'a str,
    pub changed_at: u64,
    pub definition: KeyBytes,
}

/// What a source has counted; replaces what was counted before. A source of the configuration
/// file has no other record.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct SourceCountsRow<'a> {
    pub id: &'a str,
    pub counts: &'a [u8],
}
