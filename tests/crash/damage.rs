//! A damaged log: what was hit is named and counted, and the rest goes on.

use std::fs;
use std::path::PathBuf;

use crate::files::{find, find_in_log, flip, frame_of, overwrite, segments, truncate};
use crate::harness::{Answer, Daemon, Home, Receiver, endpoint};
use crate::populated::recovery;

/// A store of events that wait for an endpoint that fails; each has a body of its own.
pub struct Store {
    pub home: Home,
    /// Id, and the segment that its record is in.
    pub events: Vec<(String, PathBuf)>,
}

pub fn mark(number: usize) -> String {
    format!("mark-{number:04}-of-this-event")
}

/// What the endpoint answers to the event, which its attempt keeps.
pub fn answer(number: usize) -> String {
    format!("answer-{number:04}-to-this-event")
}

pub fn kind(number: usize) -> String {
    format!("a.kind{number:04}")
}

impl Store {
    /// `count` events with bodies of `size` bytes, none of them delivered.
    pub fn new(count: usize, size: usize) -> Store {
        let home = Home::new();
        let refusing = Receiver::answering(|seen| {
            let text = seen.text();
            let number = text.split("mark-").nth(1).and_then(|rest| rest.get(..4));
            let number = number.and_then(|number| number.parse().ok());
            Answer::reply(500, &[], &answer(number.expect("a body of the store")))
        });
        let later = "[endpoint.retry]\nfirst = \"1h\"\nmax = \"1h\"";
        let daemon = home.start(&endpoint("ok", &refusing.url("/"), later));
        let pad = "p".repeat(size);
        let ids: Vec<String> = (0..count)
            .map(|number| daemon.send(&kind(number), &format!(r#"["{}","{pad}"]"#, mark(number))))
            .collect();
        assert_eq!(daemon.stop().code(), Some(0));
        let place = |number| find_in_log(&home, &mark(number)).0;
        let events = ids.into_iter().enumerate();
        Store {
            events: events.map(|(number, id)| (id, place(number))).collect(),
            home,
        }
    }

    /// As a power cut would have it: the index is of another boot.
    fn drop_index(&self) {
        fs::remove_dir_all(self.home.data_dir().join("index")).unwrap();
    }

    /// Starts it with an endpoint that is well, which gets all that can be delivered at
    /// once.
    #[track_caller]
    fn start(&self) -> (Daemon, Receiver) {
        let receiver = Receiver::ok();
        let soon = "[endpoint.retry]\nfirst = \"20ms\"\nmax = \"20ms\"";
        (
            self.home.start(&endpoint("ok", &receiver.url("/"), soon)),
            receiver,
        )
    }

    /// All but these are delivered, and so is what is new.
    #[track_caller]
    fn all_but(&self, lost: &[usize], daemon: &Daemon) {
        for (number, (id, _)) in self.events.iter().enumerate() {
            if lost.contains(&number) {
                let answer = daemon.tcp.get(&format!("/v1/events/{id}"));
                assert!(
                    [404, 500].contains(&answer.status),
                    "{number}: {}",
                    answer.text()
                );
            } else {
                let delivery = daemon.wait_status(id, "ok", "delivered");
                assert_eq!(delivery["type"], kind(number));
            }
        }
        let new = daemon.send("a.new", "1");
        daemon.wait_status(&new, "ok", "delivered");
    }
}

/// The damage is counted and named, and counted again after the next restart; a daemon
/// that saw damage stops and starts like any other.
#[track_caller]
fn is_told(store: &Store, daemon: Daemon, lost: &[usize]) {
    assert!(daemon.status()["damaged_records"].as_u64() > Some(0));
    daemon.wait_log("damaged");
    assert_eq!(daemon.stop().code(), Some(0));
    let (daemon, _receiver) = store.start();
    store.all_but(lost, &daemon);
    daemon.kill();
    store.drop_index();
    let (daemon, _receiver) = store.start();
    assert!(daemon.status()["damaged_records"].as_u64() > Some(0));
    store.all_but(lost, &daemon);
}

#[test]
fn a_flip_in_a_body_costs_that_body() {
    let store = Store::new(8, 100);
    let (path, at) = find_in_log(&store.home, &mark(3));
    flip(&path, at + 6);
    store.drop_index();
    let (daemon, receiver) = store.start();
    assert_eq!(daemon.status()["damaged_records"], 1);
    store.all_but(&[3], &daemon);
    // The event is known, and it is said what it lost.
    let (id, _) = &store.events[3];
    let detail = daemon.tcp.get(&format!("/v1/events/{id}")).problem(500);
    assert!(detail.contains("checksum"), "{detail}");
    let listed = daemon.tcp.get("/v1/events").expect(200);
    let listed = listed["data"].as_array().unwrap();
    assert!(listed.iter().any(|event| event["id"] == id.as_str()));
    assert!(
        receiver.seen().iter().all(|seen| seen.id() != id),
        "a damaged body was sent"
    );
    is_told(&store, daemon, &[3]);
}

/// With the index at hand nobody reads the whole log at the start; damage is met later.
#[test]
fn a_flip_in_a_body_is_met_when_it_is_to_be_sent() {
    let (store, used) = large();
    assert_eq!(store.events[3].1, used[0], "not in an old segment");
    let (path, at) = find_in_log(&store.home, &mark(3));
    flip(&path, at + 6);
    let (daemon, receiver) = store.start();
    assert_eq!(recovery(&daemon), "clean");
    store.all_but(&[3], &daemon);
    daemon.wait_log("damaged");
    assert_eq!(daemon.status()["damaged_records"], 1);
    let (id, _) = &store.events[3];
    // It can never be sent: nobody waits for it, and the endpoint has not failed.
    let delivery = daemon.wait_status(id, "ok", "dead");
    assert_eq!(delivery["reason"], "damaged");
    let error = &delivery["attempts"].as_array().unwrap().last().unwrap()["error"];
    assert_eq!(error["kind"], "local");
    let said = daemon
        .tcp
        .get(&format!("/v1/events/{id}/deliveries/ok/explain"));
    assert!(said.text().contains("damaged"), "{}", said.text());
    assert!(
        receiver.seen().iter().all(|seen| seen.id() != id),
        "a damaged body was sent"
    );
}

#[test]
fn a_flip_in_a_records_head_costs_that_record() {
    let store = Store::new(8, 100);
    // The head holds the type.
    let (path, at) = find_in_log(&store.home, &kind(3));
    flip(&path, at + 7);
    store.drop_index();
    let (daemon, _receiver) = store.start();
    store.all_but(&[3], &daemon);
    is_told(&store, daemon, &[3]);
}

#[test]
fn a_flip_in_a_frames_header_costs_that_frame() {
    let store = Store::new(8, 100);
    let (path, at) = find_in_log(&store.home, &mark(3));
    flip(&path, frame_of(&path, at) + 8);
    store.drop_index();
    let (daemon, _receiver) = store.start();
    store.all_but(&[3], &daemon);
    is_told(&store, daemon, &[3]);
}

/// The very last frame, too: the mark of a clean stop proves it.
#[test]
fn a_flip_in_the_last_frame_is_damage_and_no_tear() {
    let store = Store::new(8, 100);
    let (path, at) = find_in_log(&store.home, &mark(7));
    flip(&path, at + 6);
    store.drop_index();
    let (daemon, _receiver) = store.start();
    store.all_but(&[7], &daemon);
    is_told(&store, daemon, &[7]);
}

/// What nobody was told of: a frame that no later one proves, cut short.
#[test]
fn a_torn_tail_is_no_damage() {
    let home = Home::new();
    let receiver = Receiver::ok();
    let config = endpoint("ok", &receiver.url("/"), "");
    let daemon = home.start(&config);
    let kept = daemon.send("a.kept", "1");
    daemon.wait_status(&kept, "ok", "delivered");
    assert_eq!(daemon.stop().code(), Some(0));
    // Half of a frame that was being written when the power went.
    let path = segments(&home).into_iter().next().unwrap();
    let bytes = fs::read(&path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() / 64 * 64 + 64;
    overwrite(&path, end as u64, b"oBxF\x01\x02\x03\x04 and so on");
    fs::remove_dir_all(home.data_dir().join("index")).unwrap();
    let daemon = home.start(&config);
    assert_eq!(daemon.status()["damaged_records"], 0);
    daemon.wait_log("never acknowledged");
    assert!(!daemon.log_text().contains("damaged"));
    daemon.wait_status(&kept, "ok", "delivered");
    let new = daemon.send("a.new", "2");
    daemon.wait_status(&new, "ok", "delivered");
}

/// A store of at least four segments that hold events.
fn large() -> (Store, Vec<PathBuf>) {
    let store = Store::new(20, 850_000);
    let used: Vec<PathBuf> = segments(&store.home)
        .into_iter()
        .filter(|path| find(path, b"-of-this-event").is_some())
        .collect();
    assert!(used.len() >= 4, "{used:?}");
    (store, used)
}

/// Harms a segment; what is in it may be lost, and nothing else is.
#[track_caller]
fn costs_at_most(which: usize, harm: impl FnOnce(&PathBuf)) {
    let (store, used) = large();
    let in_it =
        |(number, (_, path)): (usize, &(String, PathBuf))| (*path == used[which]).then_some(number);
    let lost: Vec<usize> = store.events.iter().enumerate().filter_map(in_it).collect();
    harm(&used[which]);
    let (daemon, _receiver) = store.start();
    for (number, (id, _)) in store.events.iter().enumerate() {
        if !lost.contains(&number) {
            daemon.wait_status(id, "ok", "delivered");
        }
    }
    let new = daemon.send("a.new", "1");
    daemon.wait_status(&new, "ok", "delivered");
    assert!(daemon.status()["damaged_records"].as_u64() > Some(0));
    daemon.wait_log("damaged");
    assert_eq!(daemon.stop().code(), Some(0));
    store.drop_index();
    let (daemon, _receiver) = store.start();
    assert!(daemon.status()["damaged_records"].as_u64() > Some(0));
    daemon.wait_status(&new, "ok", "delivered");
}

#[test]
fn a_missing_middle_segment_costs_what_was_in_it() {
    costs_at_most(1, |path| fs::remove_file(path).unwrap());
}

#[test]
fn a_missing_first_segment_costs_what_was_in_it() {
    costs_at_most(0, |path| fs::remove_file(path).unwrap());
}

#[test]
fn a_missing_last_segment_costs_what_was_in_it() {
    costs_at_most(3, |path| fs::remove_file(path).unwrap());
}

#[test]
fn a_segment_cut_short_costs_what_was_cut() {
    costs_at_most(1, |path| truncate(path, 1 << 20));
}

#[test]
fn the_last_segment_cut_short_costs_what_was_cut() {
    costs_at_most(3, |path| truncate(path, 1 << 20));
}

#[test]
fn a_zeroed_segment_costs_what_was_in_it() {
    costs_at_most(2, |path| {
        let len = fs::metadata(path).unwrap().len();
        truncate(path, 0);
        truncate(path, len);
    });
}

#[test]
fn a_bad_segment_header_costs_no_event() {
    let (store, used) = large();
    flip(&used[1], 20);
    store.drop_index();
    let (daemon, _receiver) = store.start();
    store.all_but(&[], &daemon);
    assert!(daemon.status()["damaged_records"].as_u64() > Some(0));
    daemon.wait_log("damaged");
}

/// Nothing of it can be read: there is nothing to go on from, and nothing is overwritten.
#[test]
fn a_log_without_one_good_header_is_refused() {
    let store = Store::new(2, 100);
    for path in segments(&store.home) {
        overwrite(&path, 0, &[0xFF; 4096]);
    }
    let path = store.home.path("outboxd.toml");
    let ran = store
        .home
        .run(&["serve", "--config", path.to_str().unwrap()]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("valid header"), "{ran:?}");
    let (path, _) = find_in_log(&store.home, &mark(0));
    assert!(path.exists());
}
