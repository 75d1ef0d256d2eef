//! The real store and the real engine on a simulated machine, from a seed.
//!
//! What decides, the log with its codec and recovery, the index with its overlay, reads and
//! maintenance are the daemon's own code; the disk, the clocks, the index's files, users and
//! receivers are simulated. A model says after each step what has to be true.

mod counts;
mod disk;
mod machine;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use counts::{Counts, KINDS, Without};
use world::World;

/// Lives through one history.
pub fn history(seed: u64, steps: u64, without: Without) -> Result<Counts, (u64, String)> {
    let mut world = World::new(seed, without);
    let lived = catch_unwind(AssertUnwindSafe(|| world.live(steps)));
    let at = world.counts.steps;
    match lived {
        Ok(Ok(())) => Ok(world.counts),
        Ok(Err(violation)) => Err((at, violation)),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err((at, format!("it panicked: {}", text.unwrap_or_default())))
        }
    }
}

/// The smallest history that fails in any way: the fewest steps, and the fewest kinds of
/// accidents.
pub fn shrunk(seed: u64, steps: u64) -> (u64, Without, String) {
    let (mut steps, mut without) = (steps, Without::default());
    let mut said = String::new();
    let fails = |steps: u64, without: Without| match history(seed, steps, without) {
        Ok(_) => None,
        Err((at, violation)) => Some((at, violation)),
    };
    for _ in 0..2 {
        if let Some((at, violation)) = fails(steps, without) {
            (steps, said) = (at.min(steps), violation);
        }
        for kind in 0..KINDS.len() as u32 {
            let fewer = Without(without.0 | 1 << kind);
            if let Some((at, violation)) = fails(steps, fewer) {
                (without, steps, said) = (fewer, at.min(steps), violation);
            }
        }
    }
    (steps, without, said)
}
