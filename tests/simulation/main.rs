//! The engine under a simulated clock, simulated receivers and a model outbox, with
//! injected crashes, late readings of the index and jumps of the wall clock. After every
//! step the model's own idea of the rules (README, "What it decides") is compared with what
//! the engine did.
//!
//! A failure names its seed. `OUTBOXD_SIM_SEED=7 cargo test --test simulation` replays one
//! world, `OUTBOXD_SIM_STEPS` sets how long each lives, `OUTBOXD_SIM_WORLDS` how many.

mod model;
mod receiver;
mod world;

use world::World;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn many_worlds_keep_the_rules() {
    let steps = number("OUTBOXD_SIM_STEPS").unwrap_or(4000);
    let worlds = number("OUTBOXD_SIM_WORLDS").unwrap_or(60);
    let seeds = match number("OUTBOXD_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..worlds,
    };
    let mut attempts = 0;
    let mut delivered = 0;
    let mut dead = 0;
    let mut crashes = 0;
    for seed in seeds {
        // Shown with a failure, which panics.
        eprintln!("OUTBOXD_SIM_SEED={seed}");
        let mut world = World::new(seed);
        for _ in 0..steps {
            world.step();
        }
        world.settle();
        attempts += world.attempts;
        delivered += world.delivered();
        dead += world.dead();
        crashes += world.crashes;
    }
    eprintln!("{attempts} attempts, {delivered} delivered, {dead} dead, {crashes} crashes");
    assert!(attempts > 0 && delivered > 0);
}
