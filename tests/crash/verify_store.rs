//! `verify-store`: what is damaged is named by event, what is whole is copied, and the copy serves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::damage::{Store, answer, kind, mark};
use crate::files::{below, copy, find, find_in_log, flip, frame_of, overwrite, segments, truncate};
use crate::harness::{Answer, Daemon, Home, Ran, Receiver, endpoint};
use crate::populated::Populated;
use crate::space::SmallDisk;

/// All files below a directory with what is in them.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = below(dir).into_iter();
    paths
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

#[track_caller]
fn verified(home: &Home, dir: &Path, more: &[&str]) -> Ran {
    let before = files(dir);
    let dir_text = dir.to_str().unwrap();
    let ran = home.run(&[&["verify-store", dir_text], more].concat());
    // It changes nothing, whatever it finds.
    assert!(before == files(dir), "the store changed");
    ran
}

/// What it says in JSON, once it ended with this code.
#[track_caller]
fn found(home: &Home, dir: &Path, more: &[&str], code: i32) -> Value {
    let ran = verified(home, dir, &[&["--json"], more].concat());
    assert_eq!(ran.code, Some(code), "{ran:?}");
    let found: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(found["ok"], code == 0);
    // It says the same to people.
    let said = verified(home, dir, &[]);
    assert_eq!(said.code, Some(code), "{said:?}");
    for event in found["events"].as_array().unwrap() {
        assert!(
            said.stdout.contains(event["id"].as_str().unwrap()),
            "{said:?}"
        );
    }
    assert_eq!(
        said.stdout.contains("nothing is damaged"),
        code == 0,
        "{said:?}"
    );
    found
}

/// The ids of the damaged events.
fn ids(found: &Value) -> BTreeSet<String> {
    let events = found["events"].as_array().unwrap().iter();
    events
        .map(|event| event["id"].as_str().unwrap().to_owned())
        .collect()
}

/// The parts of an event that are harmed, and how.
#[track_caller]
fn harm(found: &Value, id: &str) -> Vec<(String, String)> {
    let events = found["events"].as_array().unwrap();
    let event = events.iter().find(|event| event["id"] == id);
    let event = event.unwrap_or_else(|| panic!("{id} is not named: {found:#}"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let hits = event["damage"].as_array().unwrap().iter();
    hits.map(|hit| (text(&hit["part"]), text(&hit["harm"])))
        .collect()
}

fn pair(part: &str, harm: &str) -> (String, String) {
    (part.to_owned(), harm.to_owned())
}

impl Store {
    fn id(&self, number: usize) -> &str {
        &self.events[number].0
    }

    fn dir(&self) -> PathBuf {
        self.home.data_dir()
    }

    /// Every event is to be attempted again at once, which the last segment says of all of them.
    fn name_all_again(&self) {
        let refusing = Receiver::answering(|_| Answer::status(500));
        let later = "[endpoint.retry]\nfirst = \"1h\"\nmax = \"1h\"";
        let daemon = self.home.start(&endpoint("ok", &refusing.url("/"), later));
        for (id, _) in &self.events {
            let path = format!("/v1/events/{id}/deliveries/ok/retry");
            daemon.tcp.post(&path).expect(202);
        }
        assert_eq!(daemon.stop().code(), Some(0));
    }

    /// Salvages it, and serves the copy to an endpoint that is well: all but these are delivered,
    /// and there is no damage.
    #[track_caller]
    fn salvaged_but(&self, lost: &[usize]) -> (Daemon, Receiver, Value) {
        let into = self.home.path("salvaged");
        let found = found_and_salvaged(&self.home, &into);
        let (daemon, receiver) = serve(&self.home, &into);
        assert_eq!(daemon.status()["damaged_records"], 0);
        for (number, (id, _)) in self.events.iter().enumerate() {
            if !lost.contains(&number) {
                daemon.wait_status(id, "ok", "delivered");
            }
        }
        let new = daemon.send("a.new", "1");
        daemon.wait_status(&new, "ok", "delivered");
        (daemon, receiver, found)
    }
}

/// Salvages the store of `home`, which is damaged; the copy is whole, private, and not served
/// before.
#[track_caller]
fn found_and_salvaged(home: &Home, into: &Path) -> Value {
    let dir = home.data_dir();
    let flags = ["--json", "--salvage", into.to_str().unwrap()];
    let ran = verified(home, &dir, &flags);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let found: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(found["salvage"]["ok"], true, "{found:#}");
    for path in below(into) {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    assert_eq!(mode(into), 0o700);
    let copy = verified(home, into, &["--json"]).json();
    assert_eq!(copy["counts"]["events"], found["salvage"]["kept_events"]);
    found
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Serves a copy in the place of the store.
#[track_caller]
fn serve(home: &Home, copied: &Path) -> (Daemon, Receiver) {
    fs::rename(home.data_dir(), home.path("damaged")).unwrap();
    fs::rename(copied, home.data_dir()).unwrap();
    let receiver = Receiver::ok();
    let soon = "[endpoint.retry]\nfirst = \"20ms\"\nmax = \"20ms\"";
    let daemon = home.start(&endpoint("ok", &receiver.url("/"), soon));
    (daemon, receiver)
}

#[test]
fn a_store_is_whole_and_so_is_a_copy_of_it() {
    let (store, daemon) = Populated::new();
    let erased = daemon.send("a.erased", "\"erase-me\"");
    daemon.wait_status(&erased, "ok", "delivered");
    let gone = daemon
        .tcp
        .request("DELETE", &format!("/v1/events/{erased}"), &[], b"");
    assert_eq!(gone.status, 204, "{}", gone.text());
    assert_eq!(daemon.stop().code(), Some(0));
    let home = &store.home;
    let shown = found(home, &home.data_dir(), &[], 0);
    assert!(shown["counts"]["events"].as_u64() >= Some(4), "{shown:#}");
    assert!(
        shown["counts"]["erased_bodies"].as_u64() > Some(0),
        "{shown:#}"
    );
    assert_eq!(shown["torn"], Value::Null);
    let copied = home.path("copied");
    copy(&home.data_dir(), &copied);
    for unneeded in ["LOCK", "index"] {
        let path = copied.join(unneeded);
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
    }
    assert_eq!(found(home, &copied, &[], 0)["counts"], shown["counts"]);
    // Nothing was made in it either.
    assert!(!copied.join("LOCK").exists());
}

#[test]
fn a_write_that_was_cut_short_is_not_damage() {
    let (store, daemon) = Populated::new();
    let event = daemon.send("a.last", "1");
    daemon.wait_status(&event, "ok", "delivered");
    daemon.kill();
    let home = &store.home;
    found(home, &home.data_dir(), &[], 0);
    // Half of a frame that was being written.
    let path = segments(home).into_iter().next().unwrap();
    let bytes = fs::read(&path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() / 64 * 64 + 64;
    overwrite(&path, end as u64, b"oBxF\x01\x02\x03\x04 and so on");
    let shown = found(home, &home.data_dir(), &[], 0);
    assert_eq!(shown["torn"]["bytes"], 18, "{shown:#}");
    assert_eq!(shown["torn"]["position"], end);
}

#[test]
fn a_store_in_use_is_not_looked_at() {
    let (store, daemon) = Populated::new();
    let dir = store.home.data_dir();
    let ran = store.home.run(&["verify-store", dir.to_str().unwrap()]);
    assert_eq!((ran.code, &*ran.stdout), (Some(2), ""), "{ran:?}");
    assert!(ran.stderr.contains("in use"), "{ran:?}");
    assert!(ran.stderr.contains("outboxd backup"), "{ran:?}");
    store.is_all_there(&daemon);
}

#[test]
fn what_is_not_a_store_is_not_looked_at() {
    let home = Home::new();
    let empty = home.path("empty");
    fs::create_dir(&empty).unwrap();
    for dir in [empty, home.path("nowhere")] {
        let ran = home.run(&["verify-store", dir.to_str().unwrap()]);
        assert_eq!((ran.code, &*ran.stdout), (Some(2), ""), "{ran:?}");
        assert!(ran.stderr.contains("not the data directory"), "{ran:?}");
    }
    let store = Store::new(1, 10);
    fs::write(store.dir().join("FORMAT"), "outboxd 2\n").unwrap();
    let ran = store
        .home
        .run(&["verify-store", store.dir().to_str().unwrap()]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("newer"), "{ran:?}");
}

#[test]
fn a_damaged_format_is_named_and_mended_in_the_copy() {
    let store = Store::new(2, 10);
    fs::write(store.dir().join("FORMAT"), "").unwrap();
    let shown = found(&store.home, &store.dir(), &[], 1);
    assert_eq!(shown["places"][0]["kind"], "format");
    fs::remove_file(store.dir().join("FORMAT")).unwrap();
    let shown = found(&store.home, &store.dir(), &[], 1);
    assert_eq!(shown["places"][0]["detail"], "it is missing");
    let _ = store.salvaged_but(&[]);
}

#[test]
fn a_flip_in_a_body_is_named_and_costs_that_body() {
    let store = Store::new(8, 100);
    let (path, at) = find_in_log(&store.home, &mark(3));
    flip(&path, at + 6);
    let shown = found(&store.home, &store.dir(), &[], 1);
    assert_eq!(ids(&shown), [store.id(3).to_owned()].into());
    assert_eq!(harm(&shown, store.id(3)), [pair("body", "damaged")]);
    let event = &shown["events"][0];
    assert_eq!(event["type"], kind(3));
    assert_eq!(event["tenant"], "default");
    let hit = &event["damage"][0];
    assert_eq!(
        hit["file"],
        format!("log/{}", path.file_name().unwrap().to_str().unwrap())
    );
    assert!(hit["offset"].as_u64().unwrap() < at);
    let (daemon, receiver, shown) = store.salvaged_but(&[3]);
    assert_eq!(shown["salvage"]["events"][0]["fate"], "without_body");
    assert_eq!(shown["salvage"]["events"][0]["dead_deliveries"], 1);
    let delivery = daemon.delivery(store.id(3), "ok");
    assert_eq!(
        (&delivery["status"], &delivery["reason"]),
        (&"dead".into(), &"damaged".into())
    );
    assert!(receiver.seen().iter().all(|seen| seen.id() != store.id(3)));
    // From now on the store knows of the loss, and it does not count as damage.
    assert_eq!(daemon.stop().code(), Some(0));
    let shown = found(&store.home, &store.dir(), &[], 0);
    assert_eq!(shown["counts"]["lost_bodies"], 1);
}

/// A definition that was replaced is not damage, and one that is in force and damaged is.
#[test]
fn a_damaged_definition_is_named_and_an_overwritten_one_is_not() {
    let home = Home::new();
    let daemon = home.start("");
    let url = |path: &str| json!({"url": format!("http://127.0.0.1:9/{path}")}).to_string();
    let made = daemon.tcp.post_json("/v1/endpoints", url("first-form"));
    let made = made.expect(201);
    let path = format!("/v1/endpoints/{}", made["id"].as_str().unwrap());
    let headers = [("content-type", "application/json")];
    let second = url("second-form");
    let patched = daemon
        .tcp
        .request("PATCH", &path, &headers, second.as_bytes());
    patched.expect(200);
    let source = json!({"id": "gh", "preset": "github", "secrets": ["a-source-secret-of-16"]});
    let made = daemon.tcp.post_json("/v1/sources", source.to_string());
    made.expect(201);
    assert_eq!(daemon.stop().code(), Some(0));
    let shown = found(&home, &home.data_dir(), &[], 0);
    assert_eq!(shown["counts"]["erased_bodies"], 1, "{shown}");
    for text in ["second-form", "a-source-secret-of-16"] {
        let (path, at) = find_in_log(&home, text);
        flip(&path, at + 2);
    }
    let shown = found(&home, &home.data_dir(), &[], 1);
    let places = shown["places"].as_array().unwrap().iter();
    let details: Vec<&str> = places
        .map(|place| place["detail"].as_str().unwrap())
        .collect();
    let expected = [
        "the definition of an endpoint is damaged",
        "the definition of source gh is damaged",
    ];
    assert_eq!(details, expected);
}

#[test]
fn a_flip_in_a_head_is_named() {
    let store = Store::new(8, 100);
    // The head holds the type.
    let (path, at) = find_in_log(&store.home, &kind(3));
    flip(&path, at + 7);
    let shown = found(&store.home, &store.dir(), &[], 1);
    assert_eq!(ids(&shown), [store.id(3).to_owned()].into());
    assert_eq!(harm(&shown, store.id(3))[0], pair("acceptance", "damaged"));
    assert_eq!(shown["events"][0]["type"], kind(3));
    assert_eq!(shown["places"], Value::Array(Vec::new()));
    let (daemon, _receiver, shown) = store.salvaged_but(&[3]);
    assert_eq!(shown["salvage"]["events"][0]["fate"], "lost");
    let path = format!("/v1/events/{}", store.id(3));
    assert_eq!(daemon.tcp.get(&path).status, 404);
}

/// More of it is gone than a bit: only the attempt says whose record it was.
#[test]
fn an_event_without_its_acceptance_is_named() {
    let store = Store::new(8, 100);
    let (path, at) = find_in_log(&store.home, &kind(3));
    overwrite(&path, at, b"*******");
    let shown = found(&store.home, &store.dir(), &[], 1);
    assert_eq!(ids(&shown), [store.id(3).to_owned()].into());
    assert_eq!(harm(&shown, store.id(3)), [pair("acceptance", "missing")]);
    assert_eq!(shown["places"][0]["kind"], "record");
    let (_daemon, _receiver, shown) = store.salvaged_but(&[3]);
    assert_eq!(shown["salvage"]["events"][0]["fate"], "lost");
}

/// A daemon leaves out what is in the frame; a salvage saves it.
#[test]
fn a_flip_in_a_frames_header_is_named_and_costs_nothing() {
    let store = Store::new(8, 100);
    let (path, at) = find_in_log(&store.home, &mark(3));
    let frame = frame_of(&path, at);
    flip(&path, frame + 8);
    let shown = found(&store.home, &store.dir(), &[], 1);
    assert!(ids(&shown).contains(store.id(3)), "{shown:#}");
    assert!(harm(&shown, store.id(3)).contains(&pair("acceptance", "stray")));
    assert_eq!(shown["places"][0]["kind"], "frames");
    assert_eq!(shown["places"][0]["offset"], frame);
    let (_daemon, _receiver, shown) = store.salvaged_but(&[]);
    let fates = shown["salvage"]["events"].as_array().unwrap();
    assert!(
        fates.iter().all(|fate| fate["fate"] == "saved"),
        "{shown:#}"
    );
}

/// A store of at least four segments that hold events, all of which are named in the last one.
fn large() -> (Store, Vec<PathBuf>) {
    let store = Store::new(20, 850_000);
    let used: Vec<PathBuf> = segments(&store.home)
        .into_iter()
        .filter(|path| find(path, b"-of-this-event").is_some())
        .collect();
    assert!(used.len() >= 4, "{used:?}");
    store.name_all_again();
    (store, used)
}

/// Harms a segment. What was in it and is not found there any more is named, and nothing else is;
/// all else is saved.
#[track_caller]
fn names_what_was_in(which: usize, is_all_gone: bool, harm: impl FnOnce(&PathBuf)) {
    let (store, used) = large();
    let those = |is_in_it: &dyn Fn(usize) -> bool| -> BTreeSet<String> {
        let numbers = (0..store.events.len()).filter(|number| is_in_it(*number));
        numbers.map(|number| store.id(number).to_owned()).collect()
    };
    let accepted = those(&|number| store.events[number].1 == used[which]);
    // An attempt may be in a later segment than the event.
    let attempted = those(&|number| find(&used[which], answer(number).as_bytes()).is_some());
    let all: BTreeSet<String> = accepted.union(&attempted).cloned().collect();
    harm(&used[which]);
    let shown = found(&store.home, &store.dir(), &[], 1);
    let named = ids(&shown);
    assert!(!named.is_empty() && named.is_subset(&all), "{shown:#}");
    assert!(!is_all_gone || named.is_superset(&accepted), "{shown:#}");
    let places = shown["places"].as_array().unwrap();
    let file = used[which].file_name().unwrap().to_str().unwrap();
    assert!(
        places.iter().any(|place| place.to_string().contains(file)),
        "{shown:#}"
    );
    let lost: Vec<usize> = (0..store.events.len())
        .filter(|number| named.contains(store.id(*number)))
        .collect();
    let _ = store.salvaged_but(&lost);
}

#[test]
fn a_missing_middle_segment_is_named() {
    names_what_was_in(1, true, |path| fs::remove_file(path).unwrap());
}

#[test]
fn a_missing_first_segment_is_named() {
    names_what_was_in(0, true, |path| fs::remove_file(path).unwrap());
}

#[test]
fn a_segment_cut_short_is_named() {
    names_what_was_in(1, false, |path| truncate(path, 1 << 20));
}

#[test]
fn a_zeroed_segment_is_named() {
    names_what_was_in(2, true, |path| {
        let len = fs::metadata(path).unwrap().len();
        truncate(path, 0);
        truncate(path, len);
    });
}

#[test]
fn a_zeroed_range_is_named() {
    names_what_was_in(1, false, |path| overwrite(path, 1 << 20, &[0; 1 << 20]));
}

/// Nothing is known of what was in the last segment but that it is gone.
#[test]
fn a_missing_last_segment_is_named_by_its_place() {
    let store = Store::new(20, 850_000);
    let used: Vec<PathBuf> = segments(&store.home)
        .into_iter()
        .filter(|path| find(path, b"-of-this-event").is_some())
        .collect();
    let last = used.last().unwrap();
    let lost: Vec<usize> = (0..store.events.len())
        .filter(|number| store.events[*number].1 == *last)
        .collect();
    fs::remove_file(last).unwrap();
    let shown = found(&store.home, &store.dir(), &[], 1);
    let places = shown["places"].as_array().unwrap();
    let file = last.file_name().unwrap().to_str().unwrap();
    assert!(
        places.iter().any(|place| place.to_string().contains(file)),
        "{shown:#}"
    );
    let _ = store.salvaged_but(&lost);
}

/// All that a store knows is written again, and is as it was: only the segment's header is harmed.
#[test]
fn a_salvage_keeps_all_that_is_whole() {
    let (store, daemon) = Populated::new();
    // So that there is another segment with the store's id.
    let body = "f".repeat(900_000);
    for _ in 0..5 {
        let headers = [("content-type", "text/plain")];
        daemon
            .tcp
            .request("POST", "/v1/events/flood.x", &headers, body.as_bytes())
            .expect(202);
    }
    assert_eq!(daemon.stop().code(), Some(0));
    let first = segments(&store.home).into_iter().next().unwrap();
    flip(&first, 20);
    let into = store.home.path("salvaged");
    let shown = found_and_salvaged(&store.home, &into);
    assert_eq!(shown["events"], Value::Array(Vec::new()));
    assert_eq!(shown["places"][0]["kind"], "segment");
    assert!(!into.join("log").join(first.file_name().unwrap()).exists());
    fs::remove_dir_all(store.home.data_dir()).unwrap();
    fs::rename(&into, store.home.data_dir()).unwrap();
    let daemon = store.start();
    store.is_all_there(&daemon);
    store.goes_on(&daemon);
}

/// With nothing to leave out the copy is the log itself.
#[test]
fn a_salvage_of_a_whole_store_is_a_copy() {
    let (store, daemon) = Populated::new();
    assert_eq!(daemon.stop().code(), Some(0));
    let into = store.home.path("salvaged");
    let flags = ["--salvage", into.to_str().unwrap()];
    let ran = verified(&store.home, &store.home.data_dir(), &flags);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    verified(&store.home, &into, &["--json"]).json();
    fs::remove_dir_all(store.home.data_dir()).unwrap();
    fs::rename(&into, store.home.data_dir()).unwrap();
    let daemon = store.start();
    store.is_all_there(&daemon);
    store.goes_on(&daemon);
}

#[test]
fn a_salvage_never_mixes_with_what_is_there() {
    let store = Store::new(2, 10);
    let salvage = |into: &Path| {
        let ran = verified(
            &store.home,
            &store.dir(),
            &["--salvage", into.to_str().unwrap()],
        );
        assert_eq!(ran.code, Some(2), "{ran:?}");
        ran.stderr
    };
    let full = store.home.path("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("mine"), "x").unwrap();
    assert!(salvage(&full).contains("not empty"));
    assert_eq!(files(&full).len(), 1);
    assert!(salvage(&store.dir().join("inside")).contains("in the store itself"));
    assert!(salvage(&store.dir()).contains("in the store itself"));
}

/// A copy that found no room is not served as if it were all there was.
#[test]
fn a_salvage_without_room_is_marked_as_unfinished() {
    let store = Store::new(12, 850_000);
    let (path, at) = find_in_log(&store.home, &mark(3));
    flip(&path, at + 6);
    let small = Home::new();
    let Some(_disk) = SmallDisk::mount(&small, 10) else {
        return;
    };
    let into = small.data_dir();
    let ran = verified(
        &store.home,
        &store.dir(),
        &["--salvage", into.to_str().unwrap()],
    );
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("no room"), "{ran:?}");
    // What was found was said before.
    assert!(ran.stdout.contains(store.id(3)), "{ran:?}");
    for command in [
        vec![
            "serve",
            "--config",
            small.write_config("").to_str().unwrap(),
        ],
        vec!["verify-store", into.to_str().unwrap()],
    ] {
        let refused = small.run(&command);
        assert_ne!(refused.code, Some(0), "{refused:?}");
        assert!((refused.stderr + &refused.stdout).contains("not finished"));
    }
}
