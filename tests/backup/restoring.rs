//! What a restore can be asked for, and what it refuses.

use crate::harness::*;
use crate::shop::*;

const DEAD: &str = "http://127.0.0.1:9/";

#[test]
fn a_restore_goes_back_in_time_and_keeps_erased_what_was_erased_later() {
    let home = Home::new();
    let to = file_url(&home.path("shipped"));
    let config = format!("{}{}", endpoint("orders", DEAD, ""), shipping(&to));
    let daemon = home.start(&config);
    let kept = daemon.send("order.created", r#""the-kept-body""#);
    let erased = daemon.send("order.created", r#""the-erased-body""#);
    let shown = daemon.unix.get(&format!("/v1/events/{erased}")).expect(200);
    let until = shown["accepted_at"].as_str().unwrap().to_owned();
    next_millisecond();
    let later = daemon.send("order.created", r#""the-later-body""#);
    let path = format!("/v1/events/{erased}");
    assert_eq!(daemon.unix.request("DELETE", &path, &[], b"").status, 204);
    wait_shipped(&daemon);
    daemon.kill();

    let (restored, ran) = restore(&to, &["--until", &until]);
    assert!(ran.code == Some(0), "{ran:?}");
    assert!(ran.stdout.contains("2 events accepted"), "{}", ran.stdout);
    assert!(
        ran.stdout.contains("1 events that were erased later"),
        "{}",
        ran.stdout
    );
    assert!(!is_on_disk(&restored.data_dir(), b"the-erased-body"));
    assert!(is_on_disk(&restored.data_dir(), b"the-kept-body"));
    assert!(!is_on_disk(&restored.data_dir(), b"the-later-body"));
    let daemon = restored.start(&endpoint("orders", DEAD, ""));
    assert_eq!(daemon.delivery(&kept, "orders")["status"], "pending");
    daemon
        .unix
        .get(&format!("/v1/events/{erased}"))
        .problem(410);
    daemon.unix.get(&format!("/v1/events/{later}")).problem(404);
    assert_eq!(daemon.status()["damaged_records"], 0);

    let (_, early) = restore(&to, &["--until", "2020-01-01T00:00:00Z"]);
    assert!(early.stderr.contains("the oldest is of"), "{early:?}");
}

#[test]
fn an_erased_body_is_taken_out_of_what_was_shipped() {
    let home = Home::new();
    let shipped = home.path("shipped");
    let to = file_url(&shipped);
    let config = format!("{}{}", endpoint("orders", DEAD, ""), shipping(&to));
    let daemon = home.start(&config);
    let event = daemon.send("order.created", r#""the-erased-body""#);
    wait_shipped(&daemon);
    assert!(is_on_disk(&shipped, b"the-erased-body"));
    let path = format!("/v1/events/{event}");
    assert_eq!(daemon.unix.request("DELETE", &path, &[], b"").status, 204);
    wait_for(
        || (!is_on_disk(&shipped, b"the-erased-body")).then_some(()),
        || format!("it is still in {:?}", files(&shipped)),
    );
    wait_shipped(&daemon);
    daemon.kill();
    let (restored, ran) = restore(&to, &[]);
    assert!(ran.code == Some(0), "{ran:?}");
    let daemon = restored.start(&endpoint("orders", DEAD, ""));
    daemon.unix.get(&path).problem(410);
    assert_eq!(daemon.status()["damaged_records"], 0);
}

#[test]
fn a_drill_delivers_nothing_until_an_endpoint_is_enabled() {
    let home = Home::new();
    let to = file_url(&home.path("shipped"));
    let daemon = home.start(&format!(
        "{}{}",
        endpoint("orders", DEAD, ""),
        shipping(&to)
    ));
    let event = daemon.send("order.created", "1");
    wait_shipped(&daemon);
    daemon.kill();
    let (restored, ran) = restore(&to, &["--held"]);
    assert!(ran.code == Some(0), "{ran:?}");
    let receiver = Receiver::ok();
    let config = endpoint("orders", &receiver.url("/"), "");
    let daemon = restored.start(&config);
    assert_eq!(daemon.delivery(&event, "orders")["status"], "held");
    assert_eq!(daemon.status()["backlog"]["pending"], 0);
    assert!(daemon.stop().success());
    let daemon = restored.start(&config);
    assert_eq!(daemon.delivery(&event, "orders")["status"], "held");
    assert!(receiver.seen().is_empty());
    assert_eq!(daemon.unix.post("/v1/endpoints/orders/enable").status, 204);
    daemon.wait_status(&event, "orders", "delivered");
}

#[test]
fn what_makes_no_sense_is_refused_and_says_what_does() {
    let home = Home::new();
    let shipped = home.path("shipped");
    let to = file_url(&shipped);
    let (_, ran) = restore(&to, &[]);
    assert!(ran.stderr.contains("there is no directory"), "{ran:?}");
    std::fs::create_dir(&shipped).unwrap();
    let (_, ran) = restore(&to, &[]);
    assert!(
        ran.stderr.contains("there is no generation there"),
        "{ran:?}"
    );
    let (_, ran) = restore("ftp://x", &[]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let daemon = home.start(&format!(
        "{}{}",
        endpoint("orders", DEAD, ""),
        shipping(&to)
    ));
    daemon.send("order.created", "1");
    wait_shipped(&daemon);
    daemon.kill();
    let (_, ran) = restore(&to, &["--generation", "00000009-00000000"]);
    assert!(
        ran.stderr
            .contains("there is no generation 00000009-00000000"),
        "{ran:?}"
    );
    // The directory of a living store.
    let data = home.data_dir();
    let ran = home.run(&[
        "restore",
        "--from",
        &to,
        "--data-dir",
        data.to_str().unwrap(),
    ]);
    assert!(ran.stderr.contains("is not empty"), "{ran:?}");
}

#[test]
fn what_is_missing_or_damaged_is_named_and_the_rest_comes_back() {
    let home = Home::new();
    let shipped = home.path("shipped");
    let to = file_url(&shipped);
    let daemon = home.start(&format!(
        "{}{}",
        endpoint("orders", DEAD, ""),
        shipping(&to)
    ));
    let body = format!("\"{}\"", "x".repeat(700_000));
    let events: Vec<String> = (0..15)
        .map(|_| daemon.send("order.created", &body))
        .collect();
    wait_shipped(&daemon);
    let lasts = || -> Vec<_> {
        let files = files(&shipped).into_iter();
        files
            .filter(|path| path.extension().is_some_and(|last| last == "last"))
            .collect()
    };
    // The small parts that the large ones replace are gone too.
    let is_alone = || {
        let first = lasts().into_iter().next()?;
        (lasts().len() >= 2 && files(first.parent()?).len() == 1).then_some(first)
    };
    let victim = wait_for(is_alone, || format!("{:?}", files(&shipped)));
    daemon.kill();
    // One flipped bit in a body.
    let mut bytes = std::fs::read(&victim).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::write(&victim, bytes).unwrap();
    let (restored, ran) = restore(&to, &[]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.contains("damaged body"), "{}", ran.stdout);
    let daemon = restored.start(&endpoint("orders", DEAD, ""));
    let whole = events.iter().filter(|event| {
        let path = format!("/v1/events/{event}");
        let shown = daemon.unix.get(&path);
        shown.status == 200 && shown.json()["data"].is_string()
    });
    assert_eq!(whole.count(), events.len() - 1);
    // A whole segment.
    std::fs::remove_file(&victim).unwrap();
    let (_, ran) = restore(&to, &[]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.contains("damaged segment"), "{}", ran.stdout);
}
