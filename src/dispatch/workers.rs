//! Where attempts are made: on the dispatcher's own thread, or on threads of their own.
//!
//! Opening a TLS connection costs more CPU than the rest of a delivery. With several threads,
//! none of them is the thread that answers the API. Each thread has a runtime and connections of
//! its own. Each endpoint has a thread, so that its connections are used where they were opened;
//! while that thread has many more attempts under way than another, the endpoint's attempts go to
//! the other.
//! The dispatcher hands over all attempts of one turn together.
//!
//! Handing over costs about as much as a small request over plain HTTP. With fewer than [`CORES`]
//! cores such attempts stay on the dispatcher's thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::mpsc;

use super::attempts::{self, Guard};
use crate::config::DeliveryLimits;
use crate::domain::content::Content;
use crate::domain::endpoint::{Endpoint, EndpointNo};
use crate::outbox::{Outbox, forbid_reads_here};
use crate::transport::{Transport, TransportError, TransportFigures};

/// An attempt is made on another thread than its endpoint's only when the difference of their
/// attempts under way is larger than this.
const SPILL: usize = 16;

/// The most threads that `delivery.threads = 0` stands for.
const MOST_THREADS: usize = 4;
/// With this many cores or more, attempts without TLS are handed over too.
const CORES: usize = 3;
/// Attempts with a body of this many bytes or more are always handed over: signing it takes as long
/// as the rest.
const LARGE: usize = 16 << 10;

/// What makes the attempts of each thread.
pub struct Transports {
    /// For the dispatcher's own thread.
    here: Transport,
    threads: Vec<Transport>,
    keeps_plain: bool,
}

impl Transports {
    /// With `limits.threads` of 1 the dispatcher's own thread makes all attempts. 0 stands for one
    /// thread for each of the `cores`, up to 4. All transports count in `figures`.
    pub fn new(
        limits: &DeliveryLimits,
        cores: usize,
        figures: Arc<TransportFigures>,
    ) -> Result<Transports, TransportError> {
        let threads = match limits.threads {
            0 => cores.min(MOST_THREADS),
            asked => asked,
        };
        let others = if threads > 1 { threads } else { 0 };
        let (here, threads) = Transport::several(limits, others, figures)?;
        Ok(Transports {
            here,
            threads,
            keeps_plain: cores < CORES,
        })
    }
}

/// An attempt to be made.
pub(super) struct Start {
    pub guard: Guard,
    pub endpoint: Arc<Endpoint>,
    pub body: Body,
}

pub(super) enum Body {
    Kept(Arc<Content>),
    /// In the log, at this position when the attempt was planned.
    Stored(Outbox, u64),
}

impl Start {
    async fn attempt(self, transport: Transport) {
        let (guard, endpoint) = (self.guard, self.endpoint);
        match self.body {
            Body::Kept(content) => attempts::of_kept(guard, transport, endpoint, content).await,
            Body::Stored(outbox, lsn) => {
                attempts::of_stored(guard, transport, endpoint, outbox, lsn).await;
            }
        }
    }
}

/// Makes attempts on the dispatcher's thread or on threads of their own.
pub(super) struct Workers {
    /// Empty if the dispatcher's own thread makes all attempts.
    threads: Vec<Worker>,
    here: Transport,
    /// Attempts without TLS are made on the dispatcher's thread.
    keeps_plain: bool,
}

enum Work {
    Attempts(Vec<Start>),
    /// The transport for new attempts.
    Transport(Transport),
}

pub(super) struct Worker {
    work: mpsc::UnboundedSender<Work>,
    /// Attempts of this turn.
    batch: Vec<Start>,
    /// Attempts handed over that have not ended.
    under_way: Arc<AtomicUsize>,
}

impl Workers {
    /// Starts the threads. They end with the dispatcher.
    pub fn start(transports: Transports, outbox: &Outbox) -> std::io::Result<Workers> {
        let threads = transports.threads.into_iter().enumerate();
        let threads = threads.map(|(n, transport)| Worker::start(n, transport, outbox.clone()));
        Ok(Workers {
            threads: threads.collect::<Result<_, _>>()?,
            here: transports.here,
            keeps_plain: transports.keeps_plain,
        })
    }

    /// Uses other transports for new attempts. The number of threads stays the same.
    pub fn set_transports(&mut self, transports: Transports) {
        self.here = transports.here;
        for (worker, transport) in self.threads.iter().zip(transports.threads) {
            // A thread that has ended has reported why.
            let _ = worker.work.send(Work::Transport(transport));
        }
    }

    /// The transport of the dispatcher's own thread.
    pub fn transport(&self) -> Transport {
        self.here.clone()
    }

    /// Starts an attempt. Another thread begins it after [`hand_over`](Self::hand_over).
    pub fn attempt(&mut self, no: EndpointNo, start: Start) {
        let is_small = !matches!(&start.body, Body::Kept(content) if content.body.len() >= LARGE);
        let stays = self.keeps_plain && is_small && start.endpoint.url.scheme() != "https";
        let worker = match stays {
            true => None,
            false => chosen(&mut self.threads, no),
        };
        match worker {
            Some(worker) => {
                worker.under_way.fetch_add(1, Relaxed);
                worker.batch.push(start);
            }
            None => drop(tokio::spawn(start.attempt(self.here.clone()))),
        }
    }

    /// Hands over the attempts of this turn.
    pub fn hand_over(&mut self) {
        for worker in &mut self.threads {
            if !worker.batch.is_empty() {
                // If the thread has ended, it has reported why, and the guard of each attempt
                // reports that it was not made.
                let batch = std::mem::take(&mut worker.batch);
                let _ = worker.work.send(Work::Attempts(batch));
            }
        }
    }
}

/// The endpoint's own thread, or one that has far fewer attempts under way.
fn chosen(threads: &mut [Worker], no: EndpointNo) -> Option<&mut Worker> {
    let own = usize::try_from(no.0).unwrap_or(0) % threads.len().max(1);
    let load = |worker: &Worker| worker.under_way.load(Relaxed);
    let least = (0..threads.len()).min_by_key(|n| threads.get(*n).map_or(usize::MAX, load))?;
    let loads = (load(threads.get(own)?), load(threads.get(least)?));
    let to = match loads.0 > loads.1.saturating_add(SPILL) {
        true => least,
        false => own,
    };
    threads.get_mut(to)
}

impl Worker {
    fn start(n: usize, mut transport: Transport, outbox: Outbox) -> std::io::Result<Worker> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (work, mut asked) = mpsc::unbounded_channel::<Work>();
        let under_way = Arc::new(AtomicUsize::new(0));
        let count = under_way.clone();
        let working = async move {
            while let Some(work) = asked.recv().await {
                let batch = match work {
                    Work::Attempts(batch) => batch,
                    Work::Transport(new) => {
                        transport = new;
                        continue;
                    }
                };
                for start in batch {
                    let (transport, leaving) = (transport.clone(), Leaving(count.clone()));
                    tokio::spawn(async move {
                        let _leaving = leaving;
                        start.attempt(transport).await;
                    });
                }
            }
        };
        let run = move || {
            forbid_reads_here();
            let working = AssertUnwindSafe(|| runtime.block_on(working));
            if catch_unwind(working).is_err() {
                outbox.fail("a thread that makes attempts panicked");
            }
            // Reads that hang on a broken disk are not waited for.
            runtime.shutdown_background();
        };
        std::thread::Builder::new()
            .name(format!("attempts-{n}"))
            .spawn(run)?;
        Ok(Worker {
            work,
            batch: Vec::new(),
            under_way,
        })
    }
}

/// Counts an attempt of a thread until it ends, in whatever way it ends.
struct Leaving(Arc<AtomicUsize>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_under_way(under_way: usize) -> Worker {
        Worker {
            work: mpsc::unbounded_channel().0,
            batch: Vec::new(),
            under_way: Arc::new(AtomicUsize::new(under_way)),
        }
    }

    #[test]
    fn an_endpoint_keeps_its_thread_until_another_one_has_much_less_to_do() {
        let chosen = |loads: [usize; 3], no: u32| {
            let mut threads = loads.map(with_under_way);
            let worker = chosen(&mut threads, EndpointNo(no)).unwrap();
            let it = Arc::as_ptr(&worker.under_way);
            threads
                .iter()
                .position(|worker| Arc::as_ptr(&worker.under_way) == it)
        };
        assert_eq!(chosen([0, 0, 0], 4), Some(1));
        assert_eq!(chosen([0, SPILL, 0], 4), Some(1));
        assert_eq!(chosen([1, SPILL + 1, 0], 4), Some(2));
        assert_eq!(chosen([0, SPILL + 1, 0], 3), Some(0));
    }
}
