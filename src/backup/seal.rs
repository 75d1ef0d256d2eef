//! Sealing: what is shipped is encrypted and authenticated before it leaves the machine.
//!
//! AES-256-GCM (NIST SP 800-38D) with a key for each object, which HKDF-SHA256 (RFC 5869) makes of
//! the operator's key, a random salt and the object's name. So no nonce is ever used twice with a
//! key, and an object under another name does not open. As in the STREAM construction (Hoang,
//! Reyhanitabar, Rogaway, Vizár 2015) a nonce is the number of its piece and whether it is the
//! last one, so that no piece can be left out, repeated or moved.
//!
//! ```text
//!  0 magic "oBxS"
//!  4 version u8          1
//!  5 zeros
//!  8 salt [u8; 32]
//! 40 pieces              1 MiB each (the last one: the rest), and 16 bytes of tag after each
//! ```

use rand::TryRng;
use rand::rngs::SysRng;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};

use crate::config::BackupKey;

const MAGIC: [u8; 8] = *b"oBxS\x01\0\0\0";
const HEADER: usize = 40;
const PIECE: usize = 1 << 20;
const TAG: usize = 16;

/// Why something sealed cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("it is not sealed, or by a newer outboxd")]
    Unknown,
    #[error("it was sealed with another key or changed since")]
    Forged,
    #[error("the operating system gives no random bytes")]
    NoRandom,
}

/// Bytes of a key that is made of another.
struct KeyLen(usize);

impl KeyType for KeyLen {
    fn len(&self) -> usize {
        self.0
    }
}

/// `N` bytes that follow from `key`, `salt` and `info` alone.
fn derive<const N: usize>(key: &BackupKey, salt: &[u8], info: &[&[u8]]) -> [u8; N] {
    let mut out = [0; N];
    let secret = Salt::new(HKDF_SHA256, salt).extract(&key.0);
    // Fails for more than 255 times 32 bytes only; N is 8 or 32.
    if let Ok(okm) = secret.expand(info, KeyLen(N)) {
        let _ = okm.fill(&mut out);
    }
    out
}

/// Names a key without telling anything of it.
pub fn key_id(key: &BackupKey) -> String {
    let id: [u8; 8] = derive(key, &[], &[b"outboxd backup key id"]);
    format!("{:016x}", u64::from_be_bytes(id))
}

fn object_key(key: &BackupKey, salt: &[u8], name: &str) -> Result<LessSafeKey, SealError> {
    let bytes: [u8; 32] = derive(key, salt, &[b"outboxd backup 1\0", name.as_bytes()]);
    let unbound = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| SealError::Unknown)?;
    Ok(LessSafeKey::new(unbound))
}

fn nonce(piece: usize, is_last: bool) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    let (number, rest) = nonce.split_at_mut(8);
    number.copy_from_slice(&(piece as u64).to_be_bytes());
    rest.fill(u8::from(is_last));
    Nonce::assume_unique_for_key(nonce)
}

/// How many bytes [`seal`] makes of so many.
pub fn sealed_len(len: u64) -> u64 {
    let pieces = len.div_ceil(PIECE as u64).max(1);
    HEADER as u64 + len + pieces * TAG as u64
}

/// Seals `content` as the object `name`.
pub fn seal(key: &BackupKey, name: &str, content: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut salt = [0; 32];
    SysRng
        .try_fill_bytes(&mut salt)
        .map_err(|_| SealError::NoRandom)?;
    seal_with(key, &salt, name, content)
}

fn seal_with(
    key: &BackupKey,
    salt: &[u8; 32],
    name: &str,
    content: &[u8],
) -> Result<Vec<u8>, SealError> {
    let object = object_key(key, salt, name)?;
    let count = content.len().div_ceil(PIECE).max(1);
    let mut out = Vec::with_capacity(HEADER + content.len() + count * TAG);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(salt);
    for number in 0..count {
        let from = number * PIECE;
        let to = (from + PIECE).min(content.len());
        let at = out.len();
        out.extend_from_slice(content.get(from..to).unwrap_or_default());
        let nonce = nonce(number, number + 1 == count);
        let piece = out.get_mut(at..).unwrap_or_default();
        let tag = object
            .seal_in_place_separate_tag(nonce, Aad::empty(), piece)
            .map_err(|_| SealError::Unknown)?;
        out.extend_from_slice(tag.as_ref());
    }
    Ok(out)
}

/// Opens what [`seal`] made of the object `name`.
pub fn open(key: &BackupKey, name: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    let (header, pieces) = sealed.split_at_checked(HEADER).ok_or(SealError::Unknown)?;
    let salt = header.strip_prefix(&MAGIC).ok_or(SealError::Unknown)?;
    let object = object_key(key, salt, name)?;
    let mut out = Vec::with_capacity(pieces.len());
    let mut chunks = pieces.chunks(PIECE + TAG).enumerate().peekable();
    if chunks.peek().is_none() {
        return Err(SealError::Forged);
    }
    while let Some((number, chunk)) = chunks.next() {
        let nonce = nonce(number, chunks.peek().is_none());
        let at = out.len();
        out.extend_from_slice(chunk);
        let piece = out.get_mut(at..).unwrap_or_default();
        let opened = object.open_in_place(nonce, Aad::empty(), piece);
        let len = opened.map_err(|_| SealError::Forged)?.len();
        out.truncate(at + len);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: BackupKey = BackupKey([7; 32]);

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_format_is_frozen() {
        let sealed = seal_with(&KEY, &[9; 32], "a/b", b"hello").unwrap();
        let (header, piece) = sealed.split_at(HEADER);
        assert_eq!(hex(header), format!("6f42785301000000{}", "09".repeat(32)));
        assert_eq!(hex(piece), GOLDEN);
        assert_eq!(open(&KEY, "a/b", &sealed).unwrap(), b"hello");
        assert_eq!(key_id(&KEY), GOLDEN_ID);
    }

    const GOLDEN: &str = "553ab442ad5a8c22b47d9f5ef151a6e7d21919c7fe";
    const GOLDEN_ID: &str = "83525d558cf82b37";

    #[test]
    fn another_key_name_or_length_does_not_open() {
        let content = vec![1; 2 * PIECE + 5];
        let sealed = seal(&KEY, "a", &content).unwrap();
        assert_eq!(open(&KEY, "a", &sealed).unwrap(), content);
        let forged = Err(SealError::Forged);
        assert_eq!(open(&BackupKey([8; 32]), "a", &sealed), forged);
        assert_eq!(open(&KEY, "b", &sealed), forged);
        let piece = PIECE + TAG;
        for cut in [HEADER, HEADER + piece, HEADER + 2 * piece, sealed.len() - 1] {
            assert_eq!(open(&KEY, "a", &sealed[..cut]), forged, "{cut}");
        }
        let mut swapped = sealed.clone();
        let (first, second) = swapped[HEADER..].split_at_mut(piece);
        first.swap_with_slice(&mut second[..piece]);
        assert_eq!(open(&KEY, "a", &swapped), forged);
        assert_eq!(open(&KEY, "a", b"oBxF"), Err(SealError::Unknown));
        assert_eq!(open(&KEY, "a", &content), Err(SealError::Unknown));
    }

    proptest! {
        #[test]
        fn any_change_is_seen(content in proptest::collection::vec(any::<u8>(), 0..300),
            at: prop::sample::Index, bit in 0_u8..8) {
            let mut sealed = seal(&KEY, "name", &content).unwrap();
            prop_assert_eq!(sealed.len() as u64, sealed_len(content.len() as u64));
            prop_assert_eq!(open(&KEY, "name", &sealed).unwrap(), content);
            let at = at.index(sealed.len());
            sealed[at] ^= 1 << bit;
            prop_assert!(open(&KEY, "name", &sealed).is_err());
        }

        #[test]
        fn any_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(open(&KEY, "name", &bytes).is_err());
        }
    }
}
