//! The number of attempts at once follows what the endpoint can take. It also follows a receiver that the
//! machine wakes late, hence `unless_late`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::harness::{Answer, Home, Receiver, Seen, endpoint, unless_late};

/// How many are taken at once, and the most that were.
#[derive(Default)]
struct Taken {
    capacity: AtomicUsize,
    working: AtomicUsize,
    most: AtomicUsize,
}

impl Taken {
    fn at_once(capacity: usize) -> Arc<Taken> {
        Arc::new(Taken {
            capacity: capacity.into(),
            ..Taken::default()
        })
    }
}

/// Takes so many at once and refuses what is more, after `refusing`.
fn limited(
    at_once: Arc<Taken>,
    taking: Duration,
    refusing: Duration,
) -> impl Fn(&Seen) -> Answer + Send + Sync + 'static {
    move |_| {
        let Taken {
            capacity,
            working,
            most,
        } = &*at_once;
        let before = working.fetch_add(1, Ordering::SeqCst);
        let taken = before < capacity.load(Ordering::SeqCst);
        match taken {
            true => most.fetch_max(before + 1, Ordering::SeqCst),
            false => working.fetch_sub(1, Ordering::SeqCst),
        };
        std::thread::sleep(if taken { taking } else { refusing });
        if taken {
            working.fetch_sub(1, Ordering::SeqCst);
        }
        Answer::status(if taken { 200 } else { 503 })
    }
}

#[test]
fn a_receiver_that_refuses_beyond_a_few_is_seldom_made_to() {
    unless_late(|_| {
        let (refused, most) = refused_and_then_taken();
        match refused <= 30 && most >= 8 {
            true => Ok(()),
            false => Err(format!(
                "{refused} refusals for 600 deliveries, then {most} at once"
            )),
        }
    });
}

/// How many of 600 deliveries a receiver refused that takes 4 at once, and how many it took at once when it
/// took 64.
fn refused_and_then_taken() -> (usize, usize) {
    let at_once = Taken::at_once(4);
    let taking = Duration::from_millis(20);
    let receiver = Receiver::answering(limited(at_once.clone(), taking, Duration::ZERO));
    let home = Home::new();
    let wide = endpoint("e", &receiver.url("/"), "max_in_flight = 64\n");
    let daemon = home.start(&wide);
    let lines: String = (0..600)
        .map(|n| format!("{{\"type\": \"a\", \"data\": {n}}}\n"))
        .collect();
    let headers = [("content-type", "application/x-ndjson")];
    let send = || {
        let answer = daemon
            .tcp
            .request("POST", "/v1/events", &headers, lines.as_bytes());
        answer.expect(202);
    };
    let all_ids = |seen: &[Seen]| {
        let ids: std::collections::HashSet<&str> = seen.iter().map(Seen::id).collect();
        ids.len()
    };
    send();
    let pending = || daemon.status()["backlog"]["pending"].as_u64();
    crate::harness::wait_for(
        || (pending() == Some(0)).then_some(()),
        || format!("{:#}", daemon.status()),
    );
    let seen = receiver.seen();
    assert_eq!(all_ids(&seen), 600);
    let refused = seen.len() - 600;

    // It gets wider, and is used.
    at_once.capacity.store(64, Ordering::SeqCst);
    for _ in 0..4 {
        send();
    }
    crate::harness::wait_for(
        || (pending() == Some(0)).then_some(()),
        || format!("{:#}", daemon.status()),
    );
    (refused, at_once.most.load(Ordering::SeqCst))
}

#[test]
fn a_receiver_that_is_slow_to_refuse_is_seldom_made_to() {
    unless_late(|_| match refused_slowly() {
        0..=20 => Ok(()),
        refused => Err(format!("{refused} refusals for 400 deliveries")),
    });
}

fn refused_slowly() -> usize {
    let (taking, refusing) = (Duration::from_millis(50), Duration::from_millis(400));
    let receiver = Receiver::answering(limited(Taken::at_once(4), taking, refusing));
    let home = Home::new();
    let wide = endpoint("e", &receiver.url("/"), "max_in_flight = 64\n");
    let daemon = home.start(&(wide + "[retry]\nfirst = \"200ms\"\n"));
    let lines = "{\"type\": \"a\", \"data\": 1}\n".repeat(400);
    let headers = [("content-type", "application/x-ndjson")];
    let answer = daemon
        .tcp
        .request("POST", "/v1/events", &headers, lines.as_bytes());
    answer.expect(202);
    crate::harness::wait_for(
        || (daemon.status()["backlog"]["pending"] == 0).then_some(()),
        || format!("{:#}", daemon.status()),
    );
    receiver.seen().len() - 400
}

#[test]
fn a_receiver_that_queues_in_silence_is_not_sent_more_than_it_works_on() {
    unless_late(|_| match usually_at_once() {
        3..8 => Ok(()),
        usual => Err(format!("{usual} at once")),
    });
}

/// How many a receiver usually has that works on four and lets the others wait.
fn usually_at_once() -> usize {
    // Four work, and the others wait for one of them.
    let free = Arc::new((Mutex::new(4), Condvar::new()));
    let (here, seen) = (AtomicUsize::new(0), Arc::new(Mutex::new(Vec::new())));
    let noted = seen.clone();
    let receiver = Receiver::answering(move |_| {
        let many = here.fetch_add(1, Ordering::SeqCst) + 1;
        noted.lock().unwrap().push(many);
        let (workers, changed) = &*free;
        let workers = workers.lock().unwrap();
        let mut workers = changed.wait_while(workers, |free| *free == 0).unwrap();
        *workers -= 1;
        drop(workers);
        std::thread::sleep(Duration::from_millis(50));
        *free.0.lock().unwrap() += 1;
        changed.notify_one();
        here.fetch_sub(1, Ordering::SeqCst);
        Answer::status(200)
    });
    let home = Home::new();
    let wide = endpoint("e", &receiver.url("/"), "max_in_flight = 64\n");
    let daemon = home.start(&wide);
    let lines = "{\"type\": \"a\", \"data\": 1}\n".repeat(600);
    let headers = [("content-type", "application/x-ndjson")];
    let answer = daemon
        .tcp
        .request("POST", "/v1/events", &headers, lines.as_bytes());
    answer.expect(202);
    receiver.wait(600);
    let mut usual = seen.lock().unwrap().split_off(100);
    usual.sort_unstable();
    usual[usual.len() / 2]
}
