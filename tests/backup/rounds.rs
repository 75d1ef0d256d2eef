//! Rounds of the worst day: load, `kill -9` at a moment that is drawn, the data directory deleted,
//! restored, and everything asked for. `OUTBOXD_ROUNDS` says how many (4); `OUTBOXD_SEED` replays one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::*;
use crate::s3;
use crate::shop::*;

/// What was acknowledged longer ago than this is there (`backup.interval` is 1 s).
const LATEST: Duration = Duration::from_secs(2);

/// xorshift64*, from a seed that is printed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit
    }
}

/// What the load has been told.
#[derive(Default)]
struct Told {
    /// Events, with their key and number, and when they were acknowledged.
    accepted: Vec<(String, String, u64, Instant)>,
    erased: Vec<(String, Instant)>,
}

/// Posts events under a few keys, and erases some, until told to stop or refused.
fn load(
    api: &http::Interface,
    told: &Mutex<Told>,
    is_over: &AtomicBool,
    keys: std::ops::Range<u64>,
) {
    let mut n = 0;
    while !is_over.load(Ordering::Relaxed) {
        n += 1;
        let key = format!("key-{}", keys.start + n % (keys.end - keys.start));
        let body = json!({"type": "order.created", "key": key, "data": {"n": n, "key": key, "x": "y".repeat(2000)}});
        let json = [("content-type", "application/json")];
        let sent = api.try_request("POST", "/v1/events", &json, body.to_string().as_bytes());
        let Ok(sent) = sent else { return };
        assert_eq!(sent.status, 202, "{}", sent.text());
        let id = sent.json()["id"].as_str().unwrap().to_owned();
        let now = Instant::now();
        told.lock()
            .unwrap()
            .accepted
            .push((id.clone(), key, n, now));
        if n % 10 == 0 {
            let path = format!("/v1/events/{id}");
            let Ok(erased) = api.try_request("DELETE", &path, &[], b"") else {
                return;
            };
            assert_eq!(erased.status, 204);
            told.lock().unwrap().erased.push((id, Instant::now()));
        }
    }
}

/// The numbers that each key received, in order.
fn received(seen: &[Seen]) -> BTreeMap<String, Vec<u64>> {
    let mut found = BTreeMap::<String, Vec<u64>>::new();
    for one in seen {
        let body: Value = serde_json::from_str(&one.text()).unwrap();
        let n = body["data"]["n"].as_u64().unwrap();
        let key = body["data"]["key"].as_str().unwrap().to_owned();
        found.entry(key).or_default().push(n);
    }
    found
}

fn round(seed: u64, store: &Store) {
    println!("round with OUTBOXD_SEED={seed}");
    let mut dice = Dice(seed.max(1));
    let home = Home::new();
    let receiver = Receiver::ok();
    let ordered = "ordering = \"key\"\nmax_in_flight = 4\n";
    // The first round's receiver is slow to answer some, so that deliveries are pending at the end.
    let failing = Receiver::answering(|seen| match seen.text().len() % 7 {
        0 => Answer::status(503),
        _ => Answer::status(200),
    });
    let shipping = store
        .shipping(&home, &format!("round-{seed}"))
        .replace("200ms", "1s");
    let before = endpoint("orders", &failing.url("/"), ordered);
    let daemon = home.start(&format!("{before}{shipping}"));
    let told = Mutex::new(Told::default());
    let is_over = AtomicBool::new(false);
    let killed = std::thread::scope(|scope| {
        for worker in 0..3 {
            let (api, told, is_over) = (&daemon.unix, &told, &is_over);
            scope.spawn(move || load(api, told, is_over, worker * 5..worker * 5 + 5));
        }
        wait_shipped_once(&daemon);
        // What this round draws: when the machine dies.
        std::thread::sleep(Duration::from_millis(2500 + dice.below(4000)));
        let killed = Instant::now();
        is_over.store(true, Ordering::Relaxed);
        let pid = rustix::process::Pid::from_raw(daemon.pid() as i32).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        killed
    });
    drop(daemon);
    lose(&home);

    let (restored, ran) = store.restore(&home, &format!("round-{seed}"));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let told = told.into_inner().unwrap();
    let after = endpoint("orders", &receiver.url("/"), ordered);
    let daemon = restored.start(&after);
    let status = daemon.status();
    assert_eq!(status["recovery"]["kind"], "restored");
    assert_eq!(status["damaged_records"], 0);
    let is_old = |at: &Instant| killed.saturating_duration_since(*at) > LATEST;
    let erased: BTreeSet<&String> = told.erased.iter().map(|(id, _)| id).collect();
    let mut old = 0;
    for (id, _, _, at) in &told.accepted {
        let shown = daemon.unix.get(&format!("/v1/events/{id}"));
        if is_old(at) {
            old += 1;
            assert!(matches!(shown.status, 200 | 410), "{id}: {}", shown.text());
        }
        if shown.status == 410 {
            assert!(erased.contains(id), "{id} was never erased");
        }
    }
    for (id, at) in &told.erased {
        if is_old(at) {
            daemon.unix.get(&format!("/v1/events/{id}")).problem(410);
        }
    }
    wait_for(
        || (daemon.status()["backlog"]["pending"] == 0).then_some(()),
        || format!("{}", daemon.status()),
    );
    println!(
        "{} accepted, {old} of them old, {} erased",
        told.accepted.len(),
        erased.len()
    );
    assert!(old > 0, "nothing was old enough to be asked for");
    for (key, numbers) in received(&receiver.seen()) {
        assert!(numbers.is_sorted(), "{key} came as {numbers:?}");
    }
}

fn wait_shipped_once(daemon: &Daemon) {
    wait_for(
        || (!daemon.status()["backup"]["last_shipped_at"].is_null()).then_some(()),
        || format!("{}", daemon.status()["backup"]),
    );
}

/// Where a round ships to.
enum Store {
    Directory(tempfile::TempDir),
    S3(&'static s3::Server),
}

impl Store {
    fn shipping(&self, home: &Home, prefix: &str) -> String {
        match self {
            Store::Directory(dir) => shipping(&file_url(&dir.path().join(prefix))),
            Store::S3(server) => s3::to_s3(home, server.address(), prefix),
        }
    }

    fn restore(&self, home: &Home, prefix: &str) -> (Home, Ran) {
        match self {
            Store::Directory(dir) => restore(&file_url(&dir.path().join(prefix)), &[]),
            Store::S3(server) => s3::restore_s3(home, server, prefix, &[]),
        }
    }
}

#[test]
fn nothing_that_is_older_than_two_seconds_is_lost() {
    let number = |name: &str| -> Option<u64> { std::env::var(name).ok()?.parse().ok() };
    let began = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let drawn = began.unwrap().as_nanos() as u64;
    let (seed, rounds) = match number("OUTBOXD_SEED") {
        Some(seed) => (seed, 1),
        None => (drawn, number("OUTBOXD_ROUNDS").unwrap_or(4)),
    };
    for n in 0..rounds {
        let server = (n % 2 == 1).then(s3::server).flatten();
        let store = match server {
            Some(server) => Store::S3(server),
            None => Store::Directory(tempfile::tempdir().unwrap()),
        };
        round(seed.wrapping_add(n), &store);
    }
}
