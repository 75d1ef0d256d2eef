//! Totals that go up and down with what they count.
//!
//! Nothing is taken off a total that was not added to it before. Where that is broken, a
//! debug build stops; a daemon goes on with a total of 0 and counts the fault, so that it
//! can be seen: a total that is silently wrong refuses events or lets in too many.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

static FAULTS: AtomicU64 = AtomicU64::new(0);

/// How often more was taken off a total than it had, since the process began.
pub fn faults() -> u64 {
    FAULTS.load(Relaxed)
}

/// A total of something.
pub trait Total {
    /// Takes off what was added before.
    fn take_off(&mut self, by: Self);
}

macro_rules! totals {
    ($($number:ty),*) => {$(
        impl Total for $number {
            fn take_off(&mut self, by: Self) {
                debug_assert!(*self >= by, "{by} taken off a total of {self}");
                *self = self.checked_sub(by).unwrap_or_else(|| {
                    FAULTS.fetch_add(1, Relaxed);
                    0
                });
            }
        }
    )*};
}

totals!(u32, u64, usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_taken_off() {
        let mut total = 5_u64;
        total.take_off(2);
        total.take_off(3);
        assert_eq!(total, 0);
    }

    #[test]
    #[cfg_attr(debug_assertions, should_panic(expected = "2 taken off a total of 1"))]
    fn what_was_never_added_is_a_fault() {
        let before = faults();
        let mut total = 1_usize;
        total.take_off(2);
        assert_eq!(total, 0);
        assert!(faults() > before);
    }
}
