//! The ways to recover: clean, by replay, by building the index anew; each seen in
//! `status`, and each with everything there.

use std::fs;

use crate::files::{below, copy, overwrite, truncate};
use crate::harness::{Answer, Daemon, Home, Receiver, endpoint};
use crate::populated::{Populated, recovery};

/// Stops it, does this to its data directory, and starts it again: all must be there, and
/// the index built anew.
#[track_caller]
fn rebuilt_after(harm: impl FnOnce(&Populated)) {
    let (store, daemon) = Populated::new();
    assert_eq!(daemon.stop().code(), Some(0));
    harm(&store);
    let daemon = store.start();
    assert_eq!(recovery(&daemon), "rebuilt");
    store.is_all_there(&daemon);
    store.goes_on(&daemon);
    // Once is enough.
    assert_eq!(daemon.stop().code(), Some(0));
    assert_eq!(recovery(&store.start()), "clean");
}

#[test]
fn a_clean_stop_is_a_clean_start() {
    let (store, daemon) = Populated::new();
    assert_eq!(recovery(&daemon), "created");
    assert_eq!(daemon.stop().code(), Some(0));
    let daemon = store.start();
    assert_eq!(recovery(&daemon), "clean");
    store.is_all_there(&daemon);
    store.goes_on(&daemon);
}

#[test]
fn after_a_kill_the_log_is_replayed() {
    let (store, daemon) = Populated::new();
    // From here on the index on disk is whole.
    assert_eq!(daemon.stop().code(), Some(0));
    let daemon = store.start();
    let event = daemon.send("a.last", "1");
    daemon.wait_status(&event, "ok", "delivered");
    daemon.kill();
    let daemon = store.start();
    assert_eq!(recovery(&daemon), "replayed");
    store.is_all_there(&daemon);
    daemon.wait_status(&event, "ok", "delivered");
    store.goes_on(&daemon);
}

#[test]
fn an_index_of_another_boot_is_not_trusted() {
    rebuilt_after(|store| fs::write(store.home.path("boot_id"), "boot-2\n").unwrap());
}

#[test]
fn an_index_of_an_unknown_boot_is_not_trusted() {
    let (store, daemon) = Populated::new();
    fs::remove_file(store.home.path("boot_id")).unwrap();
    assert_eq!(daemon.stop().code(), Some(0));
    for _ in 0..2 {
        let daemon = store.start();
        assert_eq!(recovery(&daemon), "rebuilt");
        store.is_all_there(&daemon);
        assert_eq!(daemon.stop().code(), Some(0));
    }
}

#[test]
fn a_missing_index_is_built_anew() {
    rebuilt_after(|store| fs::remove_dir_all(store.home.data_dir().join("index")).unwrap());
}

#[test]
fn an_index_without_its_tree_is_built_anew() {
    rebuilt_after(|store| {
        for path in below(&store.home.data_dir().join("index")) {
            if path.file_name().is_some_and(|name| name != "CURRENT") {
                fs::remove_file(path).unwrap();
            }
        }
    });
}

#[test]
fn a_half_made_rebuild_is_thrown_away() {
    let (store, daemon) = Populated::new();
    assert_eq!(daemon.stop().code(), Some(0));
    let index = store.home.data_dir().join("index");
    fs::create_dir(index.join("00000002")).unwrap();
    fs::write(index.join("00000002/db"), "half").unwrap();
    fs::write(index.join("CURRENT.new"), "generation 2\n").unwrap();
    let daemon = store.start();
    assert_eq!(recovery(&daemon), "clean");
    store.is_all_there(&daemon);
}

#[test]
fn garbage_in_place_of_the_index_is_built_anew() {
    rebuilt_after(|store| {
        for path in below(&store.home.data_dir().join("index")) {
            if path.file_name().is_some_and(|name| name != "CURRENT") {
                let len = fs::metadata(&path).unwrap().len() as usize;
                overwrite(&path, 0, &vec![0xA5; len.max(64)]);
            }
        }
    });
}

#[test]
fn files_of_the_index_cut_short_are_built_anew() {
    rebuilt_after(|store| {
        for path in below(&store.home.data_dir().join("index")) {
            if path.file_name().is_some_and(|name| name != "CURRENT") {
                truncate(&path, fs::metadata(&path).unwrap().len() / 2);
            }
        }
    });
}

#[test]
fn a_current_file_that_says_nothing_is_built_anew() {
    rebuilt_after(|store| {
        fs::write(store.home.data_dir().join("index/CURRENT"), [0, 255, 1]).unwrap();
    });
}

/// A damaged page may be met only when it is read. Nothing wrong is ever shown, and a
/// start after that builds the index anew.
#[test]
fn damaged_pages_show_nothing_wrong_and_are_built_anew() {
    let (store, daemon) = Populated::new();
    assert_eq!(daemon.stop().code(), Some(0));
    let (index, good) = (store.home.data_dir().join("index"), store.home.path("good"));
    copy(&index, &good);
    let tree = fs::read(good.join("00000001/db")).unwrap();
    let used = tree.iter().rposition(|byte| *byte != 0).unwrap();
    let mut met = 0;
    for round in 0..8 {
        fs::remove_dir_all(&index).unwrap();
        copy(&good, &index);
        for at in (round * used / 8..used).step_by(used / 4 + 1) {
            overwrite(&index.join("00000001/db"), at as u64, &[tree[at] ^ 0x04]);
        }
        let daemon = store.start();
        let whole = store.shows_nothing_wrong(&daemon);
        if whole {
            met += u32::from(recovery(&daemon) == "rebuilt");
            store.is_all_there(&daemon);
            continue;
        }
        met += 1;
        assert_eq!(daemon.wait_exit().code(), Some(1));
        let daemon = store.start();
        assert_eq!(recovery(&daemon), "rebuilt");
        store.is_all_there(&daemon);
    }
    assert!(met > 0, "no flip was met");
}

/// All ids of the events, newest first, or `None` if the daemon refuses or ends.
fn try_list(daemon: &Daemon) -> Option<Vec<String>> {
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/events?limit=1000{cursor}");
        let answer = daemon.tcp.try_request("GET", &path, &[], b"").ok()?;
        if answer.status != 200 {
            assert!(answer.status >= 500, "{}", answer.text());
            return None;
        }
        let page = answer.json();
        for event in page["data"].as_array().unwrap() {
            assert_eq!(event["delivery_counts"]["pending"], 1, "{event}");
            ids.push(event["id"].as_str().unwrap().to_owned());
        }
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Some(ids),
        }
    }
}

/// The same with a tree of many pages, one flip at a time: met at the start or later, it
/// leaves no part of the backlog out of reach.
#[test]
fn a_flip_in_a_large_index_is_met_and_built_anew() {
    let receiver = Receiver::answering(|_| Answer::status(500));
    let home = Home::new();
    let late = "[endpoint.retry]\nfirst = \"1h\"\nmax = \"1h\"";
    let config = endpoint("ok", &receiver.url("/"), late);
    let daemon = home.start(&config);
    let lines = r#"{"type":"a.b","data":1}"#.to_owned() + "\n";
    for _ in 0..6 {
        let headers = [("content-type", "application/x-ndjson")];
        let answer = daemon.tcp.request(
            "POST",
            "/v1/events",
            &headers,
            lines.repeat(1000).as_bytes(),
        );
        answer.expect(202);
    }
    let known = try_list(&daemon).unwrap();
    assert_eq!(daemon.stop().code(), Some(0));
    let (index, good) = (home.data_dir().join("index"), home.path("good"));
    copy(&index, &good);
    let tree = fs::read(good.join("00000001/db")).unwrap();
    let used = tree.iter().rposition(|byte| *byte != 0).unwrap();
    for round in 1..=6 {
        fs::remove_dir_all(&index).unwrap();
        copy(&good, &index);
        let at = round * used / 7;
        let db = index.join("00000001/db");
        overwrite(&db, at as u64, &[tree[at] ^ 0x04]);
        let mut daemon = home.start(&config);
        let found = try_list(&daemon);
        if found.is_none() {
            assert_eq!(daemon.wait_exit().code(), Some(1));
            daemon = home.start(&config);
            assert_eq!(recovery(&daemon), "rebuilt");
        }
        let wrong = found.is_some_and(|found| found != known);
        assert!(!wrong, "something else is shown after a flip at {at}");
        assert_eq!(try_list(&daemon).as_ref(), Some(&known));
        assert_eq!(daemon.stop().code(), Some(0));
    }
}

#[test]
fn an_index_that_is_ahead_of_the_log_is_damage_and_built_anew() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let config = endpoint("ok", &receiver.url("/"), "");
    let daemon = home.start(&config);
    let kept = daemon.send("a.kept", "1");
    daemon.wait_status(&kept, "ok", "delivered");
    assert_eq!(daemon.stop().code(), Some(0));
    let (log, old) = (home.data_dir().join("log"), home.path("old"));
    copy(&log, &old);
    let daemon = home.start(&config);
    let lost = daemon.send("a.lost", "2");
    daemon.wait_status(&lost, "ok", "delivered");
    assert_eq!(daemon.stop().code(), Some(0));
    fs::remove_dir_all(&log).unwrap();
    copy(&old, &log);

    let daemon = home.start(&config);
    assert_eq!(recovery(&daemon), "rebuilt");
    assert!(daemon.status()["damaged_records"].as_u64() > Some(0));
    daemon.wait_log("damaged");
    daemon.wait_status(&kept, "ok", "delivered");
    daemon.tcp.get(&format!("/v1/events/{lost}")).problem(404);
    let new = daemon.send("a.new", "3");
    daemon.wait_status(&new, "ok", "delivered");
}

#[test]
fn an_index_of_another_store_is_built_anew() {
    let (other, daemon) = Populated::new();
    assert_eq!(daemon.stop().code(), Some(0));
    rebuilt_after(|store| {
        let index = store.home.data_dir().join("index");
        fs::remove_dir_all(&index).unwrap();
        fs::rename(other.home.data_dir().join("index"), index).unwrap();
    });
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let (store, daemon) = Populated::new();
    assert_eq!(daemon.stop().code(), Some(0));
    let format = store.home.data_dir().join("FORMAT");
    fs::write(&format, "outboxd 2\n").unwrap();
    let path = store.home.write_config(&store.config);
    let ran = store
        .home
        .run(&["serve", "--config", path.to_str().unwrap()]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("newer outboxd"), "{ran:?}");
    fs::write(&format, "outboxd 1\n").unwrap();
    let daemon = store.start();
    assert_eq!(recovery(&daemon), "clean");
    store.is_all_there(&daemon);
}

/// The log is the store: without it nothing may be made up, and nothing overwritten.
#[test]
fn a_store_whose_log_is_gone_is_refused() {
    let (store, daemon) = Populated::new();
    assert_eq!(daemon.stop().code(), Some(0));
    let (log, aside) = (store.home.data_dir().join("log"), store.home.path("aside"));
    fs::rename(&log, &aside).unwrap();
    let path = store.home.write_config(&store.config);
    let ran = store
        .home
        .run(&["serve", "--config", path.to_str().unwrap()]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("no log"), "{ran:?}");
    fs::remove_dir_all(&log).ok();
    fs::rename(&aside, &log).unwrap();
    store.is_all_there(&store.start());
}

/// Making the store can be cut short anywhere; what was begun is not in the way.
#[test]
fn a_store_that_was_never_finished_is_made() {
    let home = Home::new();
    fs::create_dir_all(home.data_dir().join("log")).unwrap();
    fs::write(home.data_dir().join("log/0000000000000000.log.new"), "half").unwrap();
    fs::write(home.data_dir().join("FORMAT.new"), "").unwrap();
    let daemon = home.start("");
    assert_eq!(recovery(&daemon), "created");
    daemon.send("a.b", "1");
}
