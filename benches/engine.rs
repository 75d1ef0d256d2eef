//! Decisions of the engine per second, with a million deliveries pending over ten
//! endpoints and over ten thousand. A decision is one input handled with all that it leads to.
//!
//! The outbox is a model that costs little: each endpoint's backlog is a deque. Where the
//! system tells it (Linux), the time is that of the CPU, so that a busy machine does not
//! blur the figure.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use outboxd::domain::attempt::ErrorKind;
use outboxd::domain::delivery::Next;
use outboxd::domain::endpoint::{EndpointNo, Ordering};
use outboxd::domain::engine::{Command, Engine, Entry, Input, LanePolicy, Now, Outcome};
use outboxd::domain::event::{EventId, Tenant};
use outboxd::domain::retry::RetryPolicy;
use outboxd::domain::time::Timestamp;
use rand::SeedableRng;
use rand::rngs::SmallRng;

const PENDING: u32 = 1_000_000;
/// Inputs of one measurement.
const INPUTS: u64 = 100_000;

struct Bench {
    engine: Engine,
    rng: SmallRng,
    micros: u64,
    /// Pending deliveries not yet read, by endpoint.
    index: Vec<VecDeque<Entry>>,
    attempts: Vec<u64>,
    inputs: VecDeque<Input>,
    out: Vec<Command>,
    last_event: u128,
}

impl Bench {
    fn new(endpoints: u32) -> Bench {
        let mut bench = Bench {
            engine: Engine::new(512),
            rng: SmallRng::seed_from_u64(1),
            micros: 0,
            index: (0..endpoints).map(|_| VecDeque::new()).collect(),
            attempts: vec![0; endpoints as usize],
            inputs: VecDeque::new(),
            out: Vec::new(),
            last_event: 1 << 80,
        };
        let retry = Arc::new(RetryPolicy::default());
        for no in (0..endpoints).map(EndpointNo) {
            let tenant = Tenant::new(&format!("tenant-{}", no.0 % 100)).unwrap_or_default();
            let policy = LanePolicy {
                tenant,
                max_in_flight: 16,
                retry: Arc::clone(&retry),
                ordering: Ordering::None,
                rate_limit: None,
            };
            bench.inputs.push_back(Input::Configure { no, policy });
        }
        for n in 0..PENDING {
            let entry = bench.entry();
            bench.index[(n % endpoints) as usize].push_back(entry);
        }
        for no in (0..endpoints).map(EndpointNo) {
            bench.inputs.push_back(Input::Backlog { no });
        }
        bench
    }

    fn now(&self) -> Now {
        Now {
            wall: Timestamp::from_millis(1_800_000_000_000 + self.micros / 1000),
            mono: Duration::from_micros(self.micros),
        }
    }

    fn entry(&mut self) -> Entry {
        self.last_event += 1;
        let due = self.now().wall;
        Entry {
            event: EventId(self.last_event),
            lsn: 0,
            due,
            exact: false,
            tries: 0,
            budget_from: due,
            chain: 0,
        }
    }

    /// Handles one input; each leads to the next ones.
    fn step(&mut self) {
        self.micros += 1;
        let input = self.inputs.pop_front().unwrap_or(Input::Wake);
        let now = self.now();
        self.engine.handle(input, now, &mut self.rng, &mut self.out);
        let mut out = std::mem::take(&mut self.out);
        for command in out.drain(..) {
            match command {
                Command::Start { no, entry } => {
                    let event = entry.event;
                    // Of each endpoint's every eighth fails: no breaker opens.
                    let attempts = &mut self.attempts[no.0 as usize];
                    *attempts += 1;
                    let fails = attempts.is_multiple_of(8);
                    let outcome = Outcome {
                        status: Some(if fails { 500 } else { 200 }),
                        error: fails.then_some(ErrorKind::Status),
                        retry_after: None,
                        permanent: false,
                    };
                    self.inputs.push_back(Input::Ended { no, event, outcome });
                }
                Command::Store {
                    no, event, next, ..
                } => {
                    self.inputs.push_back(Input::Stored { no, event });
                    // The backlog stays as it is: for each delivered one a new one comes.
                    if next == Next::Delivered {
                        let entry = self.entry();
                        self.index[no.0 as usize].push_back(entry);
                        self.inputs.push_back(Input::Queued { no, entry });
                    }
                }
                Command::Refill {
                    no, from, limit, ..
                } => {
                    let index = &mut self.index[no.0 as usize];
                    while index.front().is_some_and(|entry| entry.key() < from) {
                        index.pop_front();
                    }
                    let entries = index.iter().take(limit).copied().collect();
                    let next = index.get(limit).map(Entry::key);
                    self.inputs.push_back(Input::Refilled { no, entries, next });
                }
                Command::Head { .. } | Command::BreakerChanged { .. } => {}
            }
        }
        self.out = out;
    }
}

/// The CPU time that this process has used.
fn cpu_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/schedstat").ok()?;
    let nanos = stat.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}

fn decisions(c: &mut Criterion) {
    let mut group = c.benchmark_group("engine, a million pending");
    group.throughput(Throughput::Elements(INPUTS));
    group.sample_size(20);
    for endpoints in [10, 10_000] {
        let mut bench = Bench::new(endpoints);
        for _ in 0..1_000_000 {
            bench.step();
        }
        let stats = bench.engine.stats();
        assert!(stats.in_flight > 0 && stats.breakers_open == 0, "{stats:?}");
        group.bench_function(format!("{endpoints} endpoints"), |b| {
            b.iter_custom(|iterations| {
                let (clock, cpu) = (Instant::now(), cpu_time());
                for _ in 0..iterations * INPUTS {
                    bench.step();
                }
                match (cpu, cpu_time()) {
                    (Some(before), Some(after)) => after.saturating_sub(before),
                    _ => clock.elapsed(),
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decisions);
criterion_main!(benches);
