//! How values are spelled: bincode 2.0.1, `standard` (little endian, variable-length integers).

use bincode::config::{Configuration, Limit, LittleEndian, Varint, standard};
use bincode::{BorrowDecode, Encode};

/// The bytes are no record of this kind, or the kind is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record kind {kind} cannot be read")]
pub struct BadRecord {
    pub kind: u8,
}

/// The most memory that one record's head may ask for: far over what any needs, so that
/// bytes which are no record cannot ask for more.
const HEAD_MAX: usize = 256 << 20;
const SPELLING: Configuration<LittleEndian, Varint, Limit<HEAD_MAX>> =
    standard().with_limit::<HEAD_MAX>();

/// Appends `value` in the frozen spelling.
pub fn put<T: Encode>(value: &T, out: &mut impl std::io::Write) {
    // Encoding these plain structures into memory has no way to fail.
    let _ = bincode::encode_into_std_write(value, out, SPELLING);
}

/// Writes `value` to the beginning of `place`, and answers how long it is. `None`: it is longer.
pub fn put_in<T: Encode>(value: &T, place: &mut [u8]) -> Option<usize> {
    bincode::encode_into_slice(value, place, SPELLING).ok()
}

pub fn put_unless_zero(value: u32, out: &mut Vec<u8>) {
    if value > 0 {
        put(&value, out);
    }
}

/// Reads a value that `bytes` begin with, and gives the bytes after it.
pub fn take_first<'a, T: BorrowDecode<'a, ()>>(
    kind: u8,
    bytes: &'a [u8],
) -> Result<(T, &'a [u8]), BadRecord> {
    let bad = BadRecord { kind };
    let (value, used) = bincode::borrow_decode_from_slice(bytes, SPELLING).map_err(|_| bad)?;
    Ok((value, bytes.get(used..).ok_or(bad)?))
}

/// Reads a value that fills `bytes`. `kind` is only told on.
pub fn take<'a, T: BorrowDecode<'a, ()>>(kind: u8, bytes: &'a [u8]) -> Result<T, BadRecord> {
    match bincode::borrow_decode_from_slice(bytes, SPELLING) {
        Ok((value, used)) if used == bytes.len() => Ok(value),
        _ => Err(BadRecord { kind }),
    }
}
