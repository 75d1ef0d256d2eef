//! Comparing what a request brings with what would be right, in a time that tells nothing.
//!
//! Every candidate is compared with every key, and a match ends nothing: neither the time nor an
//! error says which key exists, which matched, or how far a guess was right.

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

/// The outcome of comparing all candidates with all keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Comparison {
    matched: Choice,
    /// Of the first key that matched.
    number: u32,
    /// How often something was compared.
    compared: usize,
}

impl Comparison {
    pub(super) fn new() -> Comparison {
        Comparison {
            matched: Choice::from(0),
            number: 0,
            compared: 0,
        }
    }

    /// Compares one candidate with what the key of that number makes.
    pub(super) fn offer(&mut self, candidate: &[u8], right: &[u8], number: u32) {
        self.note(candidate.ct_eq(right), number);
    }

    /// Takes the verdict of a comparison that was made elsewhere.
    pub(super) fn note(&mut self, equal: Choice, number: u32) {
        self.number
            .conditional_assign(&number, equal & !self.matched);
        self.matched |= equal;
        self.compared = self.compared.saturating_add(1);
    }

    /// The number of the key that matched.
    pub(super) fn matched(&self) -> Option<u32> {
        bool::from(self.matched).then_some(self.number)
    }

    #[cfg(test)]
    pub(super) fn compared(&self) -> usize {
        self.compared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_match_ends_nothing_and_the_first_key_counts() {
        let mut comparison = Comparison::new();
        for (candidate, number) in [(b"no", 1), (b"ok", 2), (b"ok", 3), (b"no", 4)] {
            comparison.offer(candidate, b"ok", number);
        }
        assert_eq!(comparison.matched(), Some(2));
        assert_eq!(comparison.compared(), 4);
        assert_eq!(Comparison::new().matched(), None);
    }
}
