//! A provider that got no answer calls again: `kill -9` between durable and answered.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Call, app, assert_empty, events, github, push, shown, start};
use crate::harness::{Answer, Daemon, Home, PATIENCE, Receiver};

/// Deliveries whose calls were answered with success.
#[derive(Default)]
struct Answered {
    deliveries: Mutex<Vec<u64>>,
    changed: Condvar,
}

impl Answered {
    fn note(&self, delivery: u64) {
        self.deliveries.lock().unwrap().push(delivery);
        self.changed.notify_all();
    }

    fn len(&self) -> usize {
        self.deliveries.lock().unwrap().len()
    }

    #[track_caller]
    fn wait(&self, count: usize) {
        let short = |deliveries: &mut Vec<u64>| deliveries.len() < count;
        let guard = self.deliveries.lock().unwrap();
        let waited = self.changed.wait_timeout_while(guard, PATIENCE, short);
        assert!(!waited.unwrap().1.timed_out(), "the load does not get on");
    }
}

/// The same call for the same delivery, byte for byte.
fn call(delivery: u64) -> Call {
    let pad = "p".repeat((delivery % 7) as usize * 300);
    let body = format!("{{\"delivery\":{delivery},\"pad\":\"{pad}\"}}");
    push(&format!("delivery-{delivery}"), body.as_bytes())
}

/// Providers at work. They end when the daemon does, and give what nobody answered.
fn load(daemon: &Daemon, answered: &Arc<Answered>, next: &Arc<AtomicU64>) -> Vec<JoinHandle<u64>> {
    let provider = |_| {
        let (public, answered, next) = (daemon.public(), answered.clone(), next.clone());
        std::thread::spawn(move || {
            let mut connection = public.connect().expect("it listens");
            loop {
                let delivery = next.fetch_add(1, Ordering::Relaxed);
                match call(delivery).send_on(&mut connection, "gh") {
                    Ok(answer) => {
                        assert_eq!(answer.status, 200);
                        answered.note(delivery);
                    }
                    Err(_) => return delivery,
                }
            }
        })
    };
    (0..6).map(provider).collect()
}

/// A number that looks drawn, of a seed.
fn drawn(seed: &mut u64) -> u64 {
    // SplitMix64.
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn duplicates(daemon: &Daemon) -> u64 {
    shown(daemon, "gh")["counts"]["duplicate"].as_u64().unwrap()
}

#[test]
fn a_retry_after_a_kill_is_a_success_and_the_event_is_delivered_once() {
    let given = std::env::var("OUTBOXD_SEED").ok();
    let mut seed: u64 = given.map_or(20_261_126, |seed| seed.parse().expect("a number"));
    println!("OUTBOXD_SEED={seed}");
    // It has of each event at most one, as a receiver does that keeps their ids.
    let receiver =
        Receiver::answering(|seen| Answer::status(if seen.number % 13 == 5 { 503 } else { 200 }));
    let home = Home::new();
    let config =
        github("gh", "forward_headers = [\"x-github-delivery\"]") + &app(&receiver.url("/"));
    let answered = Arc::new(Answered::default());
    let next = Arc::new(AtomicU64::new(0));
    let mut unanswered: Vec<u64> = Vec::new();
    let mut known = 0;
    for round in 0.. {
        let daemon = start(&home, &config);
        let before = duplicates(&daemon);
        for delivery in unanswered.drain(..) {
            // As the provider does, and once more since it may have missed that answer, too.
            assert_empty(&call(delivery).send(&daemon, "gh"), 200);
            assert_empty(&call(delivery).send(&daemon, "gh"), 200);
            answered.note(delivery);
            known -= 1;
        }
        known += i64::try_from(duplicates(&daemon) - before).unwrap();
        if round >= 8 && known > 0 {
            break;
        }
        assert!(round < 40, "no call was durable and not answered");
        let providers = load(&daemon, &answered, &next);
        answered.wait(answered.len() + 20 + (drawn(&mut seed) % 100) as usize);
        // Somewhere within a commit.
        std::thread::sleep(Duration::from_micros(drawn(&mut seed) % 3000));
        daemon.kill();
        let ended = providers.into_iter().map(|thread| thread.join().unwrap());
        unanswered.extend(ended);
    }
    let daemon = start(&home, &config);
    let wanted: HashSet<String> = {
        let deliveries = answered.deliveries.lock().unwrap();
        deliveries
            .iter()
            .map(|delivery| format!("delivery-{delivery}"))
            .collect()
    };
    let seen = receiver.wait_until("all that was answered", |seen| {
        let there: HashSet<&str> = seen
            .iter()
            .map(|one| one.header("x-github-delivery"))
            .collect();
        wanted
            .iter()
            .all(|delivery| there.contains(delivery.as_str()))
    });
    let mut ids: HashMap<&str, &str> = HashMap::new();
    for one in &seen {
        let delivery = one.header("x-github-delivery");
        let first = *ids.entry(delivery).or_insert(one.id());
        assert_eq!(first, one.id(), "{delivery} is two events");
        assert!(wanted.contains(delivery), "{delivery} was never answered");
    }
    assert_eq!(wanted.len(), answered.len());
    assert_eq!(daemon.status()["damaged_records"], 0);
}

/// A provider that calls again before it was answered.
#[test]
fn of_equal_calls_at_once_one_is_an_event() {
    let home = Home::new();
    let daemon = start(&home, &github("gh", ""));
    for round in 0..10 {
        let barrier = Arc::new(Barrier::new(8));
        let callers = (0..8).map(|_| {
            let (public, barrier) = (daemon.public(), barrier.clone());
            std::thread::spawn(move || {
                let mut connection = public.connect().unwrap();
                barrier.wait();
                call(round).send_on(&mut connection, "gh").unwrap()
            })
        });
        let callers: Vec<_> = callers.collect();
        for caller in callers {
            assert_empty(&caller.join().unwrap(), 200);
        }
    }
    assert_eq!(events(&daemon).len(), 10);
    super::assert_counts(&daemon, "gh", 10, 70);
}

/// The delivery id is known after a restart, and after the index is deleted.
#[test]
fn a_delivery_is_known_after_restarts_and_without_the_index() {
    let home = Home::new();
    let config = github("gh", "");
    let daemon = start(&home, &config);
    assert_empty(&push("d-1", b"{\"n\":1}").send(&daemon, "gh"), 200);
    assert!(daemon.stop().success());
    let daemon = start(&home, &config);
    assert_empty(&push("d-1", b"{\"n\":1}").send(&daemon, "gh"), 200);
    daemon.kill();
    std::fs::remove_dir_all(home.data_dir().join("index")).unwrap();
    let daemon = start(&home, &config);
    assert_empty(&push("d-1", b"{\"n\":2}").send(&daemon, "gh"), 200);
    assert_empty(&push("d-2", b"{\"n\":2}").send(&daemon, "gh"), 200);
    assert_eq!(events(&daemon).len(), 2);
}
