//! `kill -9` at any moment, and what must be true after it.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::http::{Connection, Interface, Response};
use crate::harness::{Answer, Daemon, Home, PATIENCE, Receiver, endpoint, wait_for};
use crate::populated::{Populated, recovery};

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";

/// What was acknowledged: ids, and under which key. Filled by many senders at once.
#[derive(Default)]
struct Book {
    told: Mutex<Vec<(String, Option<String>)>>,
    changed: Condvar,
}

impl Book {
    fn note(&self, answers: impl IntoIterator<Item = (String, Option<String>)>) {
        self.told.lock().unwrap().extend(answers);
        self.changed.notify_all();
    }

    /// Waits until so many are acknowledged.
    #[track_caller]
    fn wait(&self, count: usize) {
        let told = self.told.lock().unwrap();
        let short = |told: &mut Vec<_>| told.len() < count;
        let waited = self
            .changed
            .wait_timeout_while(told, PATIENCE, short)
            .unwrap();
        assert!(
            !waited.1.timed_out(),
            "the load does not get on: {}",
            waited.0.len()
        );
    }

    fn len(&self) -> usize {
        self.told.lock().unwrap().len()
    }
}

/// A request that is made again if nobody knows what became of it.
#[derive(Clone)]
struct Request {
    content_type: &'static str,
    body: String,
    keys: Vec<Option<String>>,
}

fn post(connection: &mut Connection, request: &Request) -> std::io::Result<Response> {
    let headers = [("content-type", request.content_type)];
    connection.ask("POST", "/v1/events", &headers, request.body.as_bytes())
}

/// Notes what a 202 acknowledges.
#[track_caller]
fn note(book: &Book, request: &Request, answer: &Response) {
    let answer = answer.expect(202);
    let events = match &answer["events"] {
        Value::Array(events) => events.clone(),
        _ => vec![answer],
    };
    assert_eq!(events.len(), request.keys.len());
    let ids = events
        .iter()
        .map(|event| event["id"].as_str().unwrap().to_owned());
    book.note(ids.zip(request.keys.iter().cloned()));
}

/// Senders at work. They end when the daemon does, and give what nobody answered.
struct Load {
    threads: Vec<JoinHandle<Vec<Request>>>,
}

impl Load {
    fn start(
        interface: &Interface,
        book: &Arc<Book>,
        senders: usize,
        next: impl Fn(u64) -> Request + Send + Sync + 'static,
    ) -> Load {
        let next = Arc::new(next);
        static MADE: AtomicU64 = AtomicU64::new(0);
        let threads = (0..senders).map(|_| {
            let (interface, book, next) = (interface.clone(), book.clone(), next.clone());
            std::thread::spawn(move || {
                let Ok(mut connection) = interface.connect() else {
                    return Vec::new();
                };
                loop {
                    let request = next(MADE.fetch_add(1, Ordering::Relaxed));
                    match post(&mut connection, &request) {
                        Ok(answer) => note(&book, &request, &answer),
                        Err(_) => return vec![request],
                    }
                }
            })
        });
        Load {
            threads: threads.collect(),
        }
    }

    /// What was sent and never answered, once the daemon is gone.
    #[track_caller]
    fn unanswered(self) -> Vec<Request> {
        let ended = self
            .threads
            .into_iter()
            .map(|thread| thread.join().expect("all were 202"));
        ended.flatten().collect()
    }
}

/// Single events, most with a key, and batches.
fn mixed(number: u64) -> Request {
    if number.is_multiple_of(5) {
        let lines = (0..7).map(|line| format!(r#"{{"type":"a.b","data":[{number},{line}]}}"#));
        return Request {
            content_type: NDJSON,
            body: lines.collect::<Vec<_>>().join("\n"),
            keys: vec![None; 7],
        };
    }
    let key = (!number.is_multiple_of(3)).then(|| format!("key-{number}"));
    let field = key.as_ref().map_or(String::new(), |key| {
        format!(r#","idempotency_key":"{key}""#)
    });
    Request {
        content_type: JSON,
        body: format!(r#"{{"type":"a.b","data":{number}{field}}}"#),
        keys: vec![key],
    }
}

#[test]
fn killed_again_and_again_every_acknowledged_event_is_delivered() {
    // One in eleven fails at first, so that retries are under way as well.
    let receiver =
        Receiver::answering(|seen| Answer::status(if seen.number % 11 == 3 { 503 } else { 200 }));
    let home = Home::new();
    let config = endpoint("ok", &receiver.url("/"), "");
    let book = Arc::new(Book::default());
    let mut unanswered: Vec<Request> = Vec::new();
    for round in 1..=6_usize {
        let daemon = home.start(&config);
        // As an app does that got no answer: the same again.
        let mut connection = daemon.unix.connect().unwrap();
        for request in unanswered
            .drain(..)
            .filter(|request| request.keys != [None])
        {
            note(&book, &request, &post(&mut connection, &request).unwrap());
        }
        let load = Load::start(&daemon.unix, &book, 4, mixed);
        book.wait(book.len() + 60 * round);
        daemon.kill();
        unanswered = load.unanswered();
    }
    let daemon = home.start(&config);
    let told = book.told.lock().unwrap().clone();
    assert!(told.len() > 1000);
    receiver.wait_until("all that was acknowledged", |seen| {
        let ids: HashSet<&str> = seen.iter().map(|seen| seen.id()).collect();
        told.iter().all(|(id, _)| ids.contains(id.as_str()))
    });
    all_delivered(&daemon);
    // One event a key, whatever was sent twice.
    let mut by_key: HashMap<&str, &str> = HashMap::new();
    for (id, key) in &told {
        if let Some(key) = key {
            assert_eq!(*by_key.entry(key).or_insert(id), id, "{key}");
        }
    }
    let listed = everything(&daemon, "/v1/events");
    let mut keys = HashSet::new();
    for event in &listed {
        if let Some(key) = event["idempotency_key"].as_str() {
            assert!(keys.insert(key.to_owned()), "two events of {key}");
        }
    }
    assert_eq!(daemon.status()["damaged_records"], 0);
}

/// Waits until nothing is pending and nothing is dead.
#[track_caller]
fn all_delivered(daemon: &Daemon) {
    let backlog = || daemon.status()["backlog"].clone();
    wait_for(
        || (backlog()["pending"] == 0).then_some(()),
        || format!("still {}", backlog()),
    );
    assert_eq!(backlog()["dead"], 0);
}

/// All rows of a list.
#[track_caller]
fn everything(daemon: &Daemon, path: &str) -> Vec<Value> {
    let mut rows = Vec::new();
    let mut cursor = String::new();
    loop {
        let mut page = daemon
            .tcp
            .get(&format!("{path}?limit=1000{cursor}"))
            .expect(200);
        rows.append(page["data"].as_array_mut().unwrap());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return rows,
        }
    }
}

#[test]
fn killed_at_any_moment_a_batch_is_there_whole_or_not_at_all() {
    const LINES: usize = 60;
    let home = Home::new();
    let batch = |number: u64| {
        // Long lines, so that a frame is many pages.
        let pad = "p".repeat(700);
        let lines = (0..LINES)
            .map(|line| format!(r#"{{"type":"batch.n{number}","data":[{line},"{pad}"]}}"#));
        Request {
            content_type: NDJSON,
            body: lines.collect::<Vec<_>>().join("\n"),
            keys: vec![None; LINES],
        }
    };
    let book = Arc::new(Book::default());
    let mut unanswered = 0;
    for _ in 0..5 {
        let daemon = home.start("");
        let load = Load::start(&daemon.unix, &book, 4, batch);
        book.wait(book.len() + 6 * LINES);
        daemon.kill();
        unanswered += load.unanswered().len();
    }
    assert!(unanswered > 0, "no batch was under way");
    let daemon = home.start("");
    let mut found: HashMap<String, HashSet<String>> = HashMap::new();
    for event in everything(&daemon, "/v1/events") {
        let ids = found
            .entry(event["type"].as_str().unwrap().to_owned())
            .or_default();
        ids.insert(event["id"].as_str().unwrap().to_owned());
    }
    for (event_type, ids) in &found {
        assert_eq!(ids.len(), LINES, "{event_type} is there in part");
    }
    let ids: HashSet<&String> = found.values().flatten().collect();
    let told = book.told.lock().unwrap();
    assert!(
        told.iter().all(|(id, _)| ids.contains(id)),
        "an acknowledged batch is gone"
    );
}

#[test]
fn a_key_that_nobody_answered_is_stored_once() {
    let home = Home::new();
    let book = Arc::new(Book::default());
    let keyed = |number: u64| Request {
        content_type: JSON,
        body: format!(r#"{{"type":"a.b","data":0,"idempotency_key":"k{number}"}}"#),
        keys: vec![Some(format!("k{number}"))],
    };
    let mut known: HashMap<String, String> = HashMap::new();
    for _ in 0..5 {
        let daemon = home.start("");
        let load = Load::start(&daemon.unix, &book, 8, keyed);
        book.wait(book.len() + 40);
        daemon.kill();
        let unanswered = load.unanswered();
        let daemon = home.start("");
        let mut connection = daemon.unix.connect().unwrap();
        // Twice: the second answer is the first one, as a duplicate.
        for request in &unanswered {
            let first = post(&mut connection, request).unwrap().expect(202);
            let again = post(&mut connection, request).unwrap().expect(202);
            assert_eq!(
                (&first["id"], &again["duplicate"]),
                (&again["id"], &true.into())
            );
        }
        for (id, key) in book.told.lock().unwrap().iter() {
            known.insert(key.clone().unwrap(), id.clone());
        }
        for (key, id) in known.iter().take(50) {
            let number = key.trim_start_matches('k').parse().unwrap();
            let again = post(&mut connection, &keyed(number)).unwrap().expect(202);
            assert_eq!(
                (&again["id"], &again["duplicate"]),
                (&id.as_str().into(), &true.into())
            );
        }
        daemon.kill();
    }
    let daemon = home.start("");
    let events = everything(&daemon, "/v1/events");
    let keys: HashSet<&str> = events
        .iter()
        .map(|event| event["idempotency_key"].as_str().unwrap())
        .collect();
    assert_eq!(keys.len(), events.len(), "a key is stored twice");
}

#[test]
fn killed_while_it_recovers_it_recovers() {
    let (store, daemon) = Populated::new();
    daemon.kill();
    for delay_ms in [0, 3, 6, 10, 15, 20, 30, 45, 60, 80] {
        let daemon = store.home.spawn(&store.config);
        // The moment is the point, whichever it is.
        std::thread::sleep(Duration::from_millis(delay_ms));
        daemon.kill();
    }
    let daemon = store.start();
    store.is_all_there(&daemon);
    store.goes_on(&daemon);
}

/// Only attempts that were in flight, or in the last commit interval, are repeated (docs/safety.md).
#[test]
fn what_was_delivered_and_stored_is_not_sent_again() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let config = endpoint("ok", &receiver.url("/"), "");
    let daemon = home.start(&config);
    let ids: Vec<String> = (0..150)
        .map(|number| daemon.send("a.b", &number.to_string()))
        .collect();
    for id in &ids {
        daemon.wait_status(id, "ok", "delivered");
    }
    daemon.kill();
    std::fs::remove_dir_all(home.data_dir().join("index")).unwrap();
    let daemon = home.start(&config);
    assert_eq!(recovery(&daemon), "rebuilt");
    let last = daemon.send("a.last", "1");
    daemon.wait_status(&last, "ok", "delivered");
    assert_eq!(receiver.seen().len(), ids.len() + 1);
}

/// At most those in flight, and those of the last commit interval, come twice.
#[test]
fn a_kill_repeats_no_more_than_what_was_under_way() {
    let stopped = Arc::new(AtomicBool::new(false));
    let hung = stopped.clone();
    let receiver = Receiver::answering(move |_| {
        if hung.load(Ordering::SeqCst) {
            Answer::hang()
        } else {
            Answer::status(200)
        }
    });
    let home = Home::new();
    let config = endpoint("ok", &receiver.url("/"), "max_in_flight = 4");
    let daemon = home.start(&config);
    let before: Vec<String> = (0..50)
        .map(|number| daemon.send("a.b", &number.to_string()))
        .collect();
    for id in &before {
        daemon.wait_status(id, "ok", "delivered");
    }
    stopped.store(true, Ordering::SeqCst);
    let after: Vec<String> = (0..20)
        .map(|number| daemon.send("a.b", &number.to_string()))
        .collect();
    // Four are in flight, and no answer comes.
    receiver.wait(before.len() + 4);
    daemon.kill();
    stopped.store(false, Ordering::SeqCst);
    let daemon = home.start(&config);
    for id in &after {
        daemon.wait_status(id, "ok", "delivered");
    }
    assert_eq!(receiver.seen().len(), before.len() + after.len() + 4);
}

/// Ids go up whatever the restarts do, so that order of acceptance is order of ids.
#[test]
fn ids_go_on_growing_over_kills() {
    let home = Home::new();
    let mut last = String::new();
    for _ in 0..4 {
        let daemon = home.start("");
        let began = Instant::now();
        for number in 0..20 {
            let id = daemon.send("a.b", &number.to_string());
            assert!(id > last, "{id} after {last}, {:?}", began.elapsed());
            last = id;
        }
        daemon.kill();
    }
}
