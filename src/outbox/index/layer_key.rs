//! Keys as the layers in memory hold them: without a heap allocation, and compared as numbers.
//!
//! An event changes some twenty rows, and each change finds its place among thousands of keys.
//! Nearly all keys are shorter than [`SHORT`]: those are in the tree's nodes themselves.

use std::cmp::Ordering;

/// The longest key that needs no allocation.
const SHORT: usize = 31;
const WORD: usize = 8;

/// A key. They are ordered as their bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayerKey {
    /// With zeros behind its `len` bytes.
    Short {
        bytes: [u8; SHORT],
        len: u8,
    },
    Long(Box<[u8]>),
}

impl From<&[u8]> for LayerKey {
    fn from(key: &[u8]) -> LayerKey {
        let mut bytes = [0; SHORT];
        match (bytes.get_mut(..key.len()), u8::try_from(key.len())) {
            (Some(begin), Ok(len)) => {
                begin.copy_from_slice(key);
                LayerKey::Short { bytes, len }
            }
            _ => LayerKey::Long(key.into()),
        }
    }
}

impl LayerKey {
    pub fn as_slice(&self) -> &[u8] {
        match self {
            LayerKey::Short { bytes, len } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            LayerKey::Long(bytes) => bytes,
        }
    }

    pub fn len(&self) -> usize {
        self.as_slice().len()
    }
}

impl Ord for LayerKey {
    fn cmp(&self, other: &LayerKey) -> Ordering {
        match (self, other) {
            (
                LayerKey::Short { bytes, len },
                LayerKey::Short {
                    bytes: others,
                    len: other_len,
                },
            ) => words(bytes).cmp(&words(others)).then(len.cmp(other_len)),
            _ => self.as_slice().cmp(other.as_slice()),
        }
    }
}

impl PartialOrd for LayerKey {
    fn partial_cmp(&self, other: &LayerKey) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The bytes as numbers in the same order. The last one overlaps the one before it by a byte, which
/// is equal when it counts.
fn words(bytes: &[u8; SHORT]) -> [u64; 4] {
    let word = |at: usize| {
        let word = bytes.get(at..at + WORD).and_then(<[u8]>::first_chunk);
        u64::from_be_bytes(word.copied().unwrap_or_default())
    };
    [word(0), word(WORD), word(2 * WORD), word(SHORT - WORD)]
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Of few values, so that they often begin alike.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            vec(0..3_u8, 0..40),
            vec(any::<u8>(), 0..40),
            (vec(0..2_u8, 20..34), any::<u8>()).prop_map(|(mut bytes, last)| {
                bytes.push(last);
                bytes
            }),
        ]
    }

    proptest! {
        #[test]
        fn keys_are_ordered_as_their_bytes(one in bytes(), other in bytes()) {
            let (key, other_key) = (LayerKey::from(&one[..]), LayerKey::from(&other[..]));
            prop_assert_eq!(key.cmp(&other_key), one.cmp(&other));
            prop_assert_eq!(key == other_key, one == other);
            prop_assert_eq!(key.as_slice(), &one[..]);
            prop_assert_eq!(key.len(), one.len());
        }
    }

    #[test]
    fn a_key_takes_five_words() {
        assert!(size_of::<LayerKey>() <= 40);
    }
}
