//! Shipping to a directory.

use std::os::unix::fs::PermissionsExt;

use crate::harness::*;
use crate::shop::*;

#[test]
fn what_was_acknowledged_comes_back_and_is_delivered() {
    let home = Home::new();
    let to = file_url(&home.path("shipped"));
    let dead = endpoint("orders", "http://127.0.0.1:9/", "");
    let daemon = home.start(&format!("{dead}{}", shipping(&to)));
    let event = daemon.send("order.created", r#"{"n": 1}"#);
    let other = daemon.send("order.paid", r#"{"n": 2}"#);
    let backup = wait_shipped(&daemon);
    assert!(
        backup["generation"]
            .as_str()
            .unwrap()
            .starts_with("00000001-")
    );
    daemon.kill();
    lose(&home);

    let (restored, ran) = restore(&to, &[]);
    assert!(ran.code == Some(0), "{ran:?}");
    assert!(ran.stdout.contains("2 events accepted"), "{}", ran.stdout);
    let receiver = Receiver::ok();
    let daemon = restored.start(&endpoint("orders", &receiver.url("/"), ""));
    assert_eq!(daemon.status()["recovery"]["kind"], "restored");
    let mut seen: Vec<String> = receiver
        .wait(2)
        .iter()
        .map(|seen| seen.id().to_owned())
        .collect();
    seen.sort();
    let mut sent = vec![event, other];
    sent.sort();
    assert_eq!(seen, sent);
    assert!(daemon.stop().success());
    let daemon = restored.start(&endpoint("orders", &receiver.url("/"), ""));
    assert_eq!(daemon.status()["recovery"]["kind"], "clean");
}

#[test]
fn a_stop_ships_what_is_left() {
    let home = Home::new();
    let to = file_url(&home.path("shipped"));
    let slow = format!("[backup]\nto = {to:?}\ninterval = \"1h\"\n");
    let dead = endpoint("orders", "http://127.0.0.1:9/", "");
    let daemon = home.start(&format!("{dead}{slow}"));
    wait_shipped(&daemon);
    let event = daemon.send("order.created", "1");
    assert!(daemon.stop().success());
    let (restored, ran) = restore(&to, &[]);
    assert!(ran.code == Some(0), "{ran:?}");
    let daemon = restored.start(&dead);
    assert_eq!(daemon.delivery(&event, "orders")["status"], "pending");
}

#[test]
fn what_is_shipped_is_private_and_sealed_with_a_key() {
    let home = Home::new();
    let shipped = home.path("shipped");
    let to = file_url(&shipped);
    let key = home.path("key");
    std::fs::write(&key, "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=\n").unwrap();
    let config = format!("{}key_file = {key:?}\n", shipping(&to));
    let daemon = home.start(&format!(
        "{}{config}",
        endpoint("orders", "http://127.0.0.1:9/", "")
    ));
    let event = daemon.send("order.created", r#""a-distinctive-body""#);
    wait_shipped(&daemon);
    daemon.kill();
    assert!(is_on_disk(&home.data_dir(), b"a-distinctive-body"));
    assert!(!is_on_disk(&shipped, b"a-distinctive-body"));
    assert!(!is_on_disk(&shipped, b"order.created"));
    for generation in generations(&shipped) {
        let mode = std::fs::metadata(shipped.join(&generation)).unwrap();
        let mode = mode.permissions().mode();
        assert_eq!(mode & 0o077, 0, "{generation} is {mode:o}");
    }

    let (_, without) = restore(&to, &[]);
    assert!(without.stderr.contains("--key-file"), "{without:?}");
    let wrong = home.path("wrong");
    std::fs::write(&wrong, "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA=").unwrap();
    let (_, other) = restore(&to, &["--key-file", wrong.to_str().unwrap()]);
    assert!(other.stderr.contains("another key"), "{other:?}");
    let (restored, ran) = restore(&to, &["--key-file", key.to_str().unwrap()]);
    assert!(ran.code == Some(0), "{ran:?}");
    let daemon = restored.start(&endpoint("orders", "http://127.0.0.1:9/", ""));
    let shown = daemon.unix.get(&format!("/v1/events/{event}")).expect(200);
    assert_eq!(shown["data"], "a-distinctive-body");
}

#[test]
fn what_was_shipped_is_checked_where_it_is() {
    let home = Home::new();
    let shipped = home.path("shipped");
    let to = file_url(&shipped);
    let daemon = home.start(&format!(
        "{}{}",
        endpoint("orders", "http://127.0.0.1:9/", ""),
        shipping(&to)
    ));
    let event = daemon.send("order.created", r#""a-distinctive-body""#);
    wait_shipped(&daemon);
    daemon.kill();
    let whole = home.run(&["verify-store", "--from", &to]);
    assert_eq!(whole.code, Some(0), "{whole:?}");
    for file in files(&shipped) {
        let mut bytes = std::fs::read(&file).unwrap();
        let body = b"a-distinctive-body";
        let at = memchr::memmem::find(&bytes, body);
        if let Some(at) = at {
            bytes[at] ^= 1;
            std::fs::write(&file, bytes).unwrap();
        }
    }
    let damaged = home.run(&["verify-store", "--from", &to]);
    assert_eq!(damaged.code, Some(1), "{damaged:?}");
    assert!(damaged.stdout.contains(&event), "{}", damaged.stdout);
}

#[test]
fn a_restart_goes_on_in_its_generation_and_a_copy_begins_another() {
    let home = Home::new();
    let shipped = home.path("shipped");
    let to = file_url(&shipped);
    let config = format!(
        "{}{}",
        endpoint("orders", "http://127.0.0.1:9/", ""),
        shipping(&to)
    );
    for count in 1..=3 {
        let daemon = home.start(&config);
        daemon.send("order.created", &count.to_string());
        wait_shipped(&daemon);
        daemon.kill();
    }
    assert_eq!(generations(&shipped).len(), 1);
    let (restored, ran) = restore(&to, &[]);
    assert!(ran.code == Some(0), "{ran:?}");
    let daemon = restored.start(&config);
    daemon.send("order.created", "4");
    wait_shipped(&daemon);
    drop(daemon);
    let names = generations(&shipped);
    assert_eq!(names.len(), 2);
    let daemon = home.start(&config);
    let backup = wait_shipped(&daemon);
    assert_eq!(backup["generation"], names[0]);
    let listed = home.run(&["restore", "--from", &to, "--list"]);
    assert!(
        names.iter().all(|name| listed.stdout.contains(name)),
        "{listed:?}"
    );
    // A copy of the directory, with all that the original remembers.
    daemon.kill();
    let copy = Home::new();
    copy_dir(&home.data_dir(), &copy.data_dir());
    let daemon = copy.start(&config);
    let backup = wait_shipped(&daemon);
    assert!(
        backup["generation"]
            .as_str()
            .unwrap()
            .starts_with("00000003-")
    );
}

#[test]
fn a_store_that_is_away_delays_nothing_and_is_caught_up_with() {
    let home = Home::new();
    let place = home.path("place");
    std::fs::write(&place, "not a directory").unwrap();
    let to = file_url(&place.join("shipped"));
    let receiver = Receiver::ok();
    let config = format!(
        "{}{}",
        endpoint("orders", &receiver.url("/"), ""),
        shipping(&to)
    );
    let daemon = home.start(&config);
    daemon.wait_log("the log cannot be shipped");
    let event = daemon.send("order.created", "1");
    daemon.wait_status(&event, "orders", "delivered");
    let backup = daemon.status()["backup"].clone();
    assert!(!backup["error"].is_null(), "{backup}");
    assert!(daemon.metric("outboxd_backup_failures_total") >= 1.0);
    std::fs::remove_file(&place).unwrap();
    daemon.wait_log("the log is shipped again");
    wait_shipped(&daemon);
    let (restored, ran) = restore(&to, &[]);
    assert!(ran.code == Some(0), "{ran:?}");
    let daemon = restored.start(&config);
    daemon.wait_status(&event, "orders", "delivered");
}

#[test]
fn full_segments_become_few_parts() {
    let home = Home::new();
    let shipped = home.path("shipped");
    let to = file_url(&shipped);
    let config = format!(
        "{}{}",
        endpoint("orders", "http://127.0.0.1:9/", ""),
        shipping(&to)
    );
    let daemon = home.start(&config);
    let body = format!("\"{}\"", "x".repeat(400_000));
    let events: Vec<String> = (0..40)
        .map(|_| daemon.send("order.created", &body))
        .collect();
    wait_shipped(&daemon);
    let parts = || {
        let files = files(&shipped);
        let of_log = files
            .iter()
            .filter(|path| path.to_str().unwrap().contains("/log/"));
        let full = of_log.filter(|path| path.extension().is_some_and(|last| last == "last"));
        full.count()
    };
    // Four megabytes each: one part for each full segment.
    wait_for(
        || (parts() >= 3).then_some(()),
        || format!("{:?}", files(&shipped)),
    );
    daemon.kill();
    let (restored, ran) = restore(&to, &[]);
    assert!(ran.code == Some(0), "{ran:?}");
    let daemon = restored.start(&endpoint("orders", "http://127.0.0.1:9/", ""));
    for event in events {
        assert_eq!(daemon.delivery(&event, "orders")["status"], "pending");
    }
    assert_eq!(daemon.status()["damaged_records"], 0);
}

fn copy_dir(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(&file, &target).unwrap();
    }
}
