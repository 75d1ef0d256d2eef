//! The names of what is shipped, spelled here and nowhere else.
//!
//! ```text
//! GENERATION/generation.json                   what the generation is, see `generation`
//! GENERATION/log/BASE/FROM-TO.ERASURES         bytes FROM to TO of a segment
//! GENERATION/log/BASE/FROM-TO.ERASURES.last    the same, and nothing but zeros follows them
//! GENERATION/complete                          all that the log had was shipped at least once; empty
//! GENERATION/start/START                       from when on the log began at START; empty
//! ```
//!
//! GENERATION is a number of 8 decimal digits and 8 random hexadecimal digits: `00000002-5f0c93aa`.
//! BASE is the position of a segment's first byte in the log, FROM and TO are offsets in the
//! segment, ERASURES says how often bodies in the segment had been overwritten when the part was
//! read; positions, offsets and the count are 16 hexadecimal digits. Parts of one segment may
//! overlap. Where they do they differ at most in what was erased, and the highest ERASURES counts.

use std::fmt;

/// What shipping calls one life of a store: its log, from one data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation {
    pub number: u32,
    /// Tells apart generations that begin at the same time.
    pub random: u32,
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08}-{:08x}", self.number, self.random)
    }
}

impl Generation {
    /// `None`: it is the name of something else.
    pub fn parse(name: &str) -> Option<Generation> {
        let (number, random) = name.split_once('-')?;
        let generation = Generation {
            number: number.parse().ok()?,
            random: u32::from_str_radix(random, 16).ok()?,
        };
        (generation.to_string() == name).then_some(generation)
    }
}

/// Some bytes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    pub base: u64,
    pub from: u64,
    /// Exclusive.
    pub to: u64,
    pub erasures: u64,
    /// Nothing but zeros follows in the segment.
    pub is_last: bool,
}

impl fmt::Display for Part {
    /// The name below that of the generation.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = if self.is_last { ".last" } else { "" };
        write!(
            f,
            "log/{:016x}/{:016x}-{:016x}.{:016x}{last}",
            self.base, self.from, self.to, self.erasures
        )
    }
}

/// What stands below a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    About,
    Complete,
    Part(Part),
    Start(u64),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::About => f.write_str("generation.json"),
            Name::Complete => f.write_str("complete"),
            Name::Part(part) => part.fmt(f),
            Name::Start(start) => write!(f, "start/{start:016x}"),
        }
    }
}

impl Name {
    /// Reads a name below that of a generation. `None`: it is something else's.
    pub fn parse(name: &str) -> Option<Name> {
        let found = if name == "generation.json" {
            Name::About
        } else if name == "complete" {
            Name::Complete
        } else if let Some(start) = name.strip_prefix("start/") {
            Name::Start(hex(start)?)
        } else {
            Name::Part(part(name)?)
        };
        (found.to_string() == name).then_some(found)
    }
}

fn part(name: &str) -> Option<Part> {
    let (base, rest) = name.strip_prefix("log/")?.split_once('/')?;
    let (rest, is_last) = match rest.strip_suffix(".last") {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let (range, erasures) = rest.split_once('.')?;
    let (from, to) = range.split_once('-')?;
    let part = Part {
        base: hex(base)?,
        from: hex(from)?,
        to: hex(to)?,
        erasures: hex(erasures)?,
        is_last,
    };
    (part.from < part.to).then_some(part)
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_frozen() {
        let generation = Generation {
            number: 2,
            random: 0x5f0c_93aa,
        };
        assert_eq!(generation.to_string(), "00000002-5f0c93aa");
        let part = Part {
            base: 0x400_0000,
            from: 0x1000,
            to: 0x9f40,
            erasures: 3,
            is_last: true,
        };
        assert_eq!(
            Name::Part(part).to_string(),
            "log/0000000004000000/0000000000001000-0000000000009f40.0000000000000003.last"
        );
        assert_eq!(
            Name::Start(0x400_0000).to_string(),
            "start/0000000004000000"
        );
    }

    #[test]
    fn other_names_are_left_alone() {
        for name in [
            "",
            "generation.json.tmp",
            "start/",
            "start/+000000000000001",
            "log/0000000000000000/0000000000000000-0000000000000000.0000000000000000",
            "log/0/0-1.0",
            "log/0000000000000000/0000000000000000-0000000000000001.0000000000000000.first",
        ] {
            assert_eq!(Name::parse(name), None, "{name:?}");
        }
        for name in ["2-5f0c93aa", "00000002-5F0C93AA", "lost+found", "00000002"] {
            assert_eq!(Generation::parse(name), None, "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_spelled_is_read(base: u64, from: u64, len in 1_u64.., erasures: u64,
            is_last: bool, number in 0_u32..100_000_000, random: u32) {
            let to = from.saturating_add(len);
            prop_assume!(to > from);
            let part = Name::Part(Part { base, from, to, erasures, is_last });
            prop_assert_eq!(Name::parse(&part.to_string()), Some(part));
            let start = Name::Start(base);
            prop_assert_eq!(Name::parse(&start.to_string()), Some(start));
            let generation = Generation { number, random };
            prop_assert_eq!(Generation::parse(&generation.to_string()), Some(generation));
        }

        #[test]
        fn any_text_is_read_or_refused(name in ".{0,80}") {
            if let Some(found) = Name::parse(&name) {
                prop_assert_eq!(found.to_string(), name);
            }
        }
    }
}
