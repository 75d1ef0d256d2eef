//! How the attempts at each endpoint ended, for the metrics that name endpoints. Only counted if
//! the configuration asks for such metrics.

use std::collections::HashMap;

use crate::domain::endpoint::EndpointNo;

/// Attempts at one endpoint since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub delivered: u64,
    pub failed: u64,
}

/// The tallies by endpoint; `None` while the configuration asks for no metrics by endpoint.
#[derive(Debug, Default)]
pub(super) struct Tallies(Option<HashMap<EndpointNo, Tally>>);

impl Tallies {
    pub fn new(are_wanted: bool) -> Tallies {
        Tallies(are_wanted.then(HashMap::new))
    }

    /// Starts or stops counting.
    pub fn want(&mut self, are_wanted: bool) {
        match are_wanted {
            true => {
                self.0.get_or_insert_default();
            }
            false => self.0 = None,
        }
    }

    pub fn count(&mut self, no: EndpointNo, delivered: bool) {
        if let Some(tallies) = &mut self.0 {
            let tally = tallies.entry(no).or_default();
            match delivered {
                true => tally.delivered += 1,
                false => tally.failed += 1,
            }
        }
    }

    pub fn of(&self, no: EndpointNo) -> Tally {
        let tallies = self.0.as_ref();
        let tally = tallies.and_then(|tallies| tallies.get(&no));
        tally.copied().unwrap_or_default()
    }

    /// The endpoint is deleted; its number is never given again.
    pub fn forget(&mut self, no: EndpointNo) {
        if let Some(tallies) = &mut self.0 {
            tallies.remove(&no);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_if_asked_to_and_forgets_the_deleted() {
        let (one, other) = (EndpointNo(1), EndpointNo(2));
        let mut tallies = Tallies::new(true);
        for delivered in [true, false, true] {
            tallies.count(one, delivered);
        }
        let tally = |delivered, failed| Tally { delivered, failed };
        assert_eq!(
            (tallies.of(one), tallies.of(other)),
            (tally(2, 1), tally(0, 0))
        );
        tallies.forget(one);
        assert_eq!(tallies.of(one), tally(0, 0));
        let mut unwanted = Tallies::new(false);
        unwanted.count(one, true);
        assert_eq!(unwanted.of(one), tally(0, 0));
        unwanted.want(true);
        unwanted.count(one, true);
        unwanted.want(true);
        assert_eq!(unwanted.of(one), tally(1, 0));
    }
}
