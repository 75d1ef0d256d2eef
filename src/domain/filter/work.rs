//! The steps of one judgement, charged before they are done.

use super::bounds::MAX_STEPS;

/// The steps are spent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exhausted;

/// The steps that are left.
pub(super) struct Work {
    left: u32,
}

impl Work {
    pub(super) fn new() -> Work {
        Work { left: MAX_STEPS }
    }

    pub(super) fn spend(&mut self, steps: usize) -> Result<(), Exhausted> {
        let steps = u32::try_from(steps).map_err(|_| Exhausted)?;
        self.left = self.left.checked_sub(steps).ok_or(Exhausted)?;
        Ok(())
    }
}
