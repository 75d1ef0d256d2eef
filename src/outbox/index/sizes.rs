//! How large what is pending and what is finished is, kept up to date with every change of
//! an endpoint.

use crate::domain::account::Total as _;
use crate::domain::endpoint::EndpointNo;

use super::rows::EVENT_COST;
use super::state::State;

impl State {
    /// The endpoint is about to change.
    pub(super) fn unweigh(&mut self, no: EndpointNo) {
        let Some(stored) = self.endpoints.get(&no) else {
            return;
        };
        let (bytes, count, aside) = self.sums.parts(stored);
        self.sums.taking_bytes.take_off(bytes);
        self.sums.taking.take_off(count);
        self.sums.aside_bytes.take_off(aside);
    }

    /// The endpoint has changed, or is new.
    pub(super) fn weigh(&mut self, no: EndpointNo) {
        let Some(stored) = self.endpoints.get(&no) else {
            self.sums.backlogged.remove(&no);
            self.sums.deleted.remove(&no);
            return;
        };
        let (bytes, count, aside) = self.sums.parts(stored);
        self.sums.taking_bytes += bytes;
        self.sums.taking += count;
        self.sums.aside_bytes += aside;
        if stored.is_backlogged() {
            self.sums.backlogged.insert(no);
            self.sums.may_have_bulk_work = true;
        } else {
            self.sums.backlogged.remove(&no);
        }
        if stored.deleted.is_some() {
            self.sums.deleted.insert(no);
            self.sums.may_have_bulk_work = true;
        }
    }

    /// Counts all endpoints anew, each for no more than `share` bytes.
    pub fn share_out(&mut self, share: u64) {
        (self.sums.taking_bytes, self.sums.taking) = (0, 0);
        self.sums.aside_bytes = 0;
        self.sums.share = share;
        let endpoints: Vec<EndpointNo> = self.endpoints.keys().copied().collect();
        endpoints.into_iter().for_each(|no| self.weigh(no));
    }

    /// The bytes that count for `outbox.max_size`: bodies that are pending, without those
    /// that are held. The lesser of two figures, neither of which is ever too low: open
    /// bodies, each once, without those that are held and go nowhere else; and the bodies
    /// that are pending, once for each endpoint.
    pub fn pending_bytes(&self) -> u64 {
        let open = self.meta.open_bytes.saturating_sub(self.sums.aside_bytes);
        open.min(self.sums.taking_bytes)
    }

    /// The bytes that count for `retention.max_size`: what is finished, dead or held. Each
    /// byte kept counts either here or as pending.
    pub fn history_bytes(&self) -> u64 {
        let pending = self.meta.open_events.min(self.sums.taking);
        let taken = self.pending_bytes() + pending * EVENT_COST;
        self.meta.kept_bytes.saturating_sub(taken)
    }
}
