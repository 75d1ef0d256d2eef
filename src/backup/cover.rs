//! Which parts a segment is put together from: pure.

use std::collections::{BTreeMap, BTreeSet};

use super::names::Part;

/// Bytes `from` to `to` of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub from: u64,
    pub to: u64,
    /// Where they are. `None`: nowhere.
    pub part: Option<Part>,
}

impl Piece {
    /// How many bytes are there.
    pub fn len_there(&self) -> Option<u64> {
        self.part.map(|_| self.to - self.from)
    }
}

/// The pieces of each segment, in order. Of parts with the same bytes those count that were read
/// after the most erasures.
pub fn segments(parts: &BTreeSet<Part>) -> Vec<(u64, Vec<Piece>)> {
    let mut of_segment: BTreeMap<u64, Vec<Part>> = BTreeMap::new();
    for part in parts {
        of_segment.entry(part.base).or_default().push(*part);
    }
    let segments = of_segment.into_iter();
    segments
        .map(|(base, parts)| (base, pieces(&parts)))
        .collect()
}

fn pieces(parts: &[Part]) -> Vec<Piece> {
    let end = parts.iter().map(|part| part.to).max().unwrap_or(0);
    let mut pieces: Vec<Piece> = Vec::new();
    let mut at = 0;
    while at < end {
        let here = parts.iter().filter(|part| part.from <= at && at < part.to);
        let best = here.max_by_key(|part| (part.erasures, part.to)).copied();
        // A part that was read later may begin before this one ends.
        let newer = parts
            .iter()
            .filter(|part| part.from > at && best.is_none_or(|best| part.erasures > best.erasures));
        let newer = newer.map(|part| part.from).min();
        let to = best.map_or(end, |best| best.to);
        let to = newer.map_or(to, |newer| to.min(newer));
        pieces.push(Piece {
            from: at,
            to,
            part: best,
        });
        at = to;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part(from: u64, to: u64, erasures: u64) -> Part {
        Part {
            base: 0,
            from,
            to,
            erasures,
            is_last: false,
        }
    }

    #[test]
    fn the_newest_bytes_count_and_gaps_are_named() {
        let parts = [
            part(0, 10, 0),
            part(10, 30, 0),
            part(0, 16, 1),
            part(40, 50, 0),
        ];
        let found = segments(&parts.into_iter().collect());
        let piece = |from, to, part| Piece { from, to, part };
        let wanted = vec![
            piece(0, 16, Some(parts[2])),
            piece(16, 30, Some(parts[1])),
            piece(30, 40, None),
            piece(40, 50, Some(parts[3])),
        ];
        assert_eq!(found, [(0, wanted)]);
    }

    proptest! {
        #[test]
        fn every_byte_is_taken_from_the_newest_part(
            parts in proptest::collection::btree_set((0_u64..60, 1_u64..20, 0_u64..4), 1..20)
        ) {
            let parts: BTreeSet<Part> = parts.into_iter()
                .map(|(from, len, erasures)| part(from, from + len, erasures)).collect();
            let found = segments(&parts);
            let pieces = &found[0].1;
            let end = parts.iter().map(|part| part.to).max().unwrap();
            let mut at = 0;
            for piece in pieces {
                prop_assert_eq!(piece.from, at);
                prop_assert!(piece.to > piece.from);
                for byte in piece.from..piece.to {
                    let holds = parts.iter().filter(|part| part.from <= byte && byte < part.to);
                    let newest = holds.map(|part| part.erasures).max();
                    prop_assert_eq!(piece.part.map(|part| part.erasures), newest);
                    if let Some(part) = piece.part {
                        prop_assert!(part.from <= byte && byte < part.to);
                    }
                }
                at = piece.to;
            }
            prop_assert_eq!(at, end);
        }
    }
}
