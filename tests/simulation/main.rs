//! The engine under a simulated clock, simulated receivers and a model outbox, with
//! injected crashes, late readings of the index and jumps of the wall clock. After every
//! step the model's own idea of the rules (docs/behaviour.md) is compared with what
//! the engine did.
//!
//! A failure names its seed. `OUTBOXD_SIM_SEED=7 cargo test --test simulation` replays one
//! world, `OUTBOXD_SIM_STEPS` sets how long each lives, `OUTBOXD_SIM_WORLDS` how many.

mod model;
mod receiver;
mod store;
mod world;

use std::num::NonZero;

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
    let (mut local_faults, mut lost) = (0, 0);
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
        local_faults += world.local_faults;
        lost += world.lost;
    }
    eprintln!(
        "{attempts} attempts, {delivered} delivered, {dead} dead, {crashes} crashes, {local_faults} local faults, {lost} lost"
    );
    assert!(attempts > 0 && delivered > 0);
    assert!(local_faults > 0 && lost > 0 || number("OUTBOXD_SIM_SEED").is_some());
}

/// `OUTBOXD_SIM_HISTORIES` says how many, `OUTBOXD_SIM_STEPS` how long, `OUTBOXD_SIM_FROM`
/// where to begin; `OUTBOXD_SIM_SEED` and `OUTBOXD_SIM_WITHOUT` replay one. Each core lives through its
/// share.
#[test]
fn the_store_keeps_its_promise_on_a_machine_that_fails() {
    let steps = number("OUTBOXD_SIM_STEPS").unwrap_or(250);
    let count = number("OUTBOXD_SIM_HISTORIES").unwrap_or(100);
    let from = number("OUTBOXD_SIM_FROM").unwrap_or(0);
    let without = store::Without(number("OUTBOXD_SIM_WITHOUT").unwrap_or(0) as u32);
    let seeds = match number("OUTBOXD_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => from..from + count,
    };
    let began = std::time::Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let shares: Vec<store::Counts> = std::thread::scope(|scope| {
        let shares = (0..threads).map(|first| {
            let seeds = seeds.clone().skip(first).step_by(threads);
            scope.spawn(move || live_all(seeds, steps, without))
        });
        let shares: Vec<_> = shares.collect();
        let counts = shares.into_iter().map(|share| {
            share
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        counts.collect()
    });
    let mut total = store::Counts::default();
    for counts in &shares {
        total.add(counts);
    }
    let histories = seeds.end - seeds.start;
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    eprintln!(
        "{histories} histories, 0 bad, {:.0} a minute on {threads} cores; {total}",
        histories as f64 / minutes
    );
    assert!(total.delivered > 0 || histories == 1);
    assert!(total.repeated > 0 && total.source_changes > 0 || histories == 1);
}

/// Lives through the histories of these seeds.
fn live_all(
    seeds: impl Iterator<Item = u64>,
    steps: u64,
    without: store::Without,
) -> store::Counts {
    let mut total = store::Counts::default();
    for seed in seeds {
        match store::history(seed, steps, without) {
            Ok(counts) => total.add(&counts),
            Err((at, violation)) => {
                let (steps, without, said) = store::shrunk(seed, steps);
                panic!(
                    "seed {seed}, step {at}: {violation}\nthe smallest history that fails ({said}):\n\
                     OUTBOXD_SIM_SEED={seed} OUTBOXD_SIM_STEPS={steps} OUTBOXD_SIM_WITHOUT={} \
                     cargo test --test simulation the_store",
                    without.0
                );
            }
        }
    }
    total
}
