//! What the writer tells the cleaner about definitions: whether one that was replaced may stand
//! in the log still, and when the next secret of one in force is past its time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use crate::domain::time::Timestamp;

/// See the module.
#[derive(Debug)]
pub struct Leftovers {
    /// After a start a crash may have come between a new definition and the overwriting of the
    /// former one.
    may_be_there: AtomicBool,
    /// The log is being searched for them.
    is_searched: AtomicBool,
    /// In milliseconds since 1970. 0: nobody has looked.
    next_expiry: AtomicU64,
}

impl Default for Leftovers {
    fn default() -> Self {
        Leftovers {
            may_be_there: AtomicBool::new(true),
            is_searched: AtomicBool::new(false),
            next_expiry: AtomicU64::new(0),
        }
    }
}

impl Leftovers {
    /// A definition that was replaced could not be overwritten.
    pub fn left(&self) {
        self.may_be_there.store(true, SeqCst);
    }

    /// Whether the log has to be searched. The caller does so, or calls [`left`](Self::left), and
    /// then [`searched`](Self::searched).
    pub fn take(&self) -> bool {
        self.is_searched.store(true, SeqCst);
        let has_to = self.may_be_there.swap(false, SeqCst);
        self.is_searched.store(has_to, SeqCst);
        has_to
    }

    /// The search is over.
    pub fn searched(&self) {
        self.is_searched.store(false, SeqCst);
    }

    /// Whether a definition that was replaced may stand in the log.
    pub fn may_be_there(&self) -> bool {
        self.is_searched.load(SeqCst) || self.may_be_there.load(SeqCst)
    }

    /// A secret of a definition that is in force is past its time then.
    pub fn expires_at(&self, at: Timestamp) {
        self.next_expiry.fetch_min(at.as_millis(), SeqCst);
    }

    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.next_expiry.load(SeqCst) <= now.as_millis()
    }

    /// All definitions are looked at from here on. A definition that comes later says by itself
    /// when it expires.
    pub fn begin_expiry(&self) {
        self.next_expiry.store(u64::MAX, SeqCst);
    }

    /// Not all were looked at.
    pub fn expiry_failed(&self) {
        self.next_expiry.store(0, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_expiry_counts_and_a_start_knows_nothing() {
        let at = Timestamp::from_millis;
        let leftovers = Leftovers::default();
        assert!(leftovers.is_expired(at(0)));
        leftovers.begin_expiry();
        assert!(!leftovers.is_expired(at(1 << 50)));
        leftovers.expires_at(at(70));
        leftovers.expires_at(at(90));
        assert!(!leftovers.is_expired(at(69)) && leftovers.is_expired(at(70)));
        leftovers.begin_expiry();
        leftovers.expiry_failed();
        assert!(leftovers.is_expired(at(1)));
    }

    #[test]
    fn the_log_is_searched_once_after_a_start_and_after_each_failure() {
        let leftovers = Leftovers::default();
        assert!(leftovers.may_be_there() && leftovers.take());
        assert!(leftovers.may_be_there(), "while it is searched");
        leftovers.searched();
        assert!(!leftovers.take() && !leftovers.may_be_there());
        leftovers.left();
        assert!(leftovers.take() && !leftovers.take());
    }
}
