//! Counts of a span of time: accepted events, attempts by their result, and how long attempts
//! took.
//!
//! Durations are counted on a logarithmic scale, four slots to each doubling: a percentile of
//! them is at most an eighth off. Few slots are in use, so only those are kept.

use std::time::Duration;

use super::attempt::ErrorKind;

/// Deliveries of an endpoint, or events of a tenant.
const ACCEPTED: u8 = 0;
const DELIVERED: u8 = 1;
/// Attempts that failed, by the place of their kind in [`ErrorKind::ALL`].
const FAILED: u8 = 2;
/// How long attempts took.
const TOOK: u8 = 32;
/// Durations up to this many milliseconds have a slot each.
const EXACT: u32 = 8;

/// Counts by slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(Vec<(u8, u32)>);

impl Counts {
    /// Counts from their stored form.
    pub fn of_slots(slots: Vec<(u8, u32)>) -> Counts {
        Counts(slots)
    }

    pub fn slots(&self) -> &[(u8, u32)] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn accept(&mut self) {
        self.add(ACCEPTED, 1);
    }

    /// Counts an attempt that ended, with the kind of its error if it failed. The duration is left
    /// out if the attempt failed by the daemon's own fault, which says nothing about the endpoint.
    pub fn attempt(&mut self, error: Option<ErrorKind>, took_ms: u32) {
        let slot = error.and_then(failed_slot).unwrap_or(DELIVERED);
        self.add(slot, 1);
        if error != Some(ErrorKind::Local) {
            self.add(TOOK + took_slot(took_ms), 1);
        }
    }

    /// Adds other counts to these.
    pub fn merge(&mut self, others: &Counts) {
        others
            .0
            .iter()
            .for_each(|(slot, count)| self.add(*slot, *count));
    }

    /// The counts of attempts, without that of accepted events.
    pub fn of_attempts(&self) -> Counts {
        let slots = self.0.iter().filter(|(slot, _)| *slot != ACCEPTED);
        Counts(slots.copied().collect())
    }

    pub fn accepted(&self) -> u64 {
        self.get(ACCEPTED)
    }

    pub fn delivered(&self) -> u64 {
        self.get(DELIVERED)
    }

    pub fn failed(&self, kind: ErrorKind) -> u64 {
        failed_slot(kind).map_or(0, |slot| self.get(slot))
    }

    /// How long this many hundredths of the attempts took at most; `None` without attempts.
    pub fn percentile(&self, hundredths: u64) -> Option<Duration> {
        let mut took: Vec<(u8, u64)> = self
            .0
            .iter()
            .filter(|(slot, _)| *slot >= TOOK)
            .map(|(slot, count)| (slot - TOOK, u64::from(*count)))
            .collect();
        took.sort_unstable();
        let all: u64 = took.iter().map(|(_, count)| count).sum();
        let wanted = (all * hundredths).div_ceil(100).max(1);
        let mut seen = 0;
        let found = took.iter().find(|(_, count)| {
            seen += count;
            seen >= wanted
        });
        found.map(|(slot, _)| Duration::from_millis(took_middle(*slot)))
    }

    fn add(&mut self, slot: u8, count: u32) {
        match self.0.iter_mut().find(|(known, _)| *known == slot) {
            Some((_, counted)) => *counted = counted.saturating_add(count),
            None => self.0.push((slot, count)),
        }
    }

    fn get(&self, slot: u8) -> u64 {
        let found = self.0.iter().find(|(known, _)| *known == slot);
        found.map_or(0, |(_, count)| (*count).into())
    }
}

fn failed_slot(kind: ErrorKind) -> Option<u8> {
    let place = ErrorKind::ALL.iter().position(|one| *one == kind)?;
    Some(FAILED + u8::try_from(place).ok()?)
}

fn took_slot(ms: u32) -> u8 {
    if ms < EXACT {
        return ms.to_le_bytes()[0];
    }
    // From 3 to 31, and the two bits after the highest.
    let doublings = ms.ilog2();
    let quarter = (ms >> (doublings - 2)) & 3;
    (EXACT + (doublings - 3) * 4 + quarter).to_le_bytes()[0]
}

/// The middle of the durations that a slot counts, in milliseconds.
fn took_middle(slot: u8) -> u64 {
    let slot = u32::from(slot);
    let Some(above) = slot.checked_sub(EXACT) else {
        return slot.into();
    };
    let (doublings, quarter) = ((above / 4 + 3).min(62), above % 4);
    let width = 1u64 << (doublings - 2);
    u64::from(4 + quarter) * width + width / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn counts_are_read_back_and_merged() {
        let mut counts = Counts::default();
        counts.accept();
        counts.attempt(None, 3);
        counts.attempt(Some(ErrorKind::Timeout), 20_000);
        counts.attempt(Some(ErrorKind::Local), 0);
        let mut twice = counts.clone();
        twice.merge(&counts);
        assert_eq!((twice.accepted(), twice.delivered()), (2, 2));
        assert_eq!(twice.failed(ErrorKind::Timeout), 2);
        assert_eq!(
            (
                twice.failed(ErrorKind::Local),
                twice.failed(ErrorKind::Auth)
            ),
            (2, 0)
        );
        assert_eq!(twice.percentile(50), Some(Duration::from_millis(3)));
        assert_eq!(twice.of_attempts().accepted(), 0);
        assert_eq!(twice.of_attempts().delivered(), 2);
        assert_eq!(Counts::default().percentile(95), None);
    }

    #[test]
    fn percentiles_follow_from_the_counted_durations() {
        let mut counts = Counts::default();
        (1..=100).for_each(|_| counts.attempt(None, 5));
        (1..=10).for_each(|_| counts.attempt(None, 1000));
        assert_eq!(counts.percentile(50), Some(Duration::from_millis(5)));
        assert_eq!(counts.percentile(90), Some(Duration::from_millis(5)));
        let high = counts.percentile(95).unwrap().as_millis();
        assert!((875..=1125).contains(&high), "{high}");
    }

    proptest! {
        #[test]
        fn a_slot_is_at_most_an_eighth_off(ms in any::<u32>()) {
            let middle = took_middle(took_slot(ms));
            let off = middle.abs_diff(ms.into());
            prop_assert!(off * 8 <= u64::from(ms), "{ms}: {middle}");
            prop_assert!(TOOK.checked_add(took_slot(ms)).is_some());
        }
    }
}
