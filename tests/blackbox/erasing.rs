//! Erasing an event: no answer shows it from then on, and its bytes leave the disk.

use serde_json::Value;

use crate::harness::{Answer, Home, Receiver, endpoint, is_on_disk, wait_for};

const LATER: &str = "[retry]\nfirst = \"1h\"\nmax = \"1h\"\njitter = 0.0\n";

#[test]
fn an_erased_event_is_shown_to_nobody_and_leaves_the_disk() {
    let receiver = Receiver::answering(|seen| Answer::reply(500, &[], &seen.text()));
    let home = Home::new();
    let config = LATER.to_owned()
        + &endpoint("one", &receiver.url("/"), "")
        + &endpoint("off", &receiver.url("/"), "enabled = false");
    let daemon = home.start(&config);
    let event = daemon.send("a", "\"lipstick-4711\"");
    let other = daemon.send("a", "\"keeps-4712\"");
    for event in [&event, &other] {
        daemon.wait_delivery(event, "one", "tried", |one| one["attempt_count"] == 1);
    }
    assert!(is_on_disk(&home.data_dir(), b"lipstick-4711"));
    let path = format!("/v1/events/{event}");
    let erased = daemon.tcp.request("DELETE", &path, &[], b"");
    assert_eq!((erased.status, erased.text().as_str()), (204, ""));
    let hidden = |daemon: &crate::harness::Daemon| {
        let delivery = format!("{path}/deliveries/one");
        for answer in [
            daemon.tcp.get(&path),
            daemon.tcp.get(&delivery),
            daemon.tcp.get(&format!("{delivery}/explain")),
            daemon.tcp.post(&format!("{delivery}/retry")),
            daemon.tcp.post(&format!("{delivery}/cancel")),
        ] {
            answer.problem(410);
            assert_eq!(answer.json()["type"], "urn:outboxd:problem:erased");
        }
        for list in ["/v1/events", "/v1/deliveries", "/v1/deliveries?status=dead"] {
            let text = daemon.tcp.get(list).text();
            assert!(!text.contains("lipstick-4711"), "{list}: {text}");
        }
    };
    hidden(&daemon);
    // Again is no fault, and what never was is none of it.
    assert_eq!(daemon.tcp.request("DELETE", &path, &[], b"").status, 204);
    let none = "/v1/events/evt_01ARZ3NDEKTSV4RRFFQ69G5FAV";
    daemon.tcp.request("DELETE", none, &[], b"").problem(404);
    assert_eq!(daemon.status()["backlog"]["pending"], 1);
    assert_eq!(daemon.status()["backlog"]["held"], 1);
    let gone = || (!is_on_disk(&home.data_dir(), b"lipstick-4711")).then_some(());
    wait_for(gone, || "its bytes stay on the disk".to_owned());
    assert!(is_on_disk(&home.data_dir(), b"keeps-4712"));
    daemon.kill();
    let daemon = home.start(&config);
    hidden(&daemon);
    assert_eq!(
        daemon.tcp.get(&format!("/v1/events/{other}")).expect(200)["data"],
        "keeps-4712"
    );
}

#[test]
fn what_was_to_come_is_not_sent() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start(&endpoint("one", &receiver.url("/"), ""));
    let later = daemon.send_with("a", "1", "\"deliver_at\":\"2090-01-01T00:00:00Z\"");
    let url = daemon.url();
    let ran = home.run(&["events", "erase", &later, "--url", &url]);
    assert_eq!(
        (ran.code, ran.stdout),
        (Some(0), format!("{later} is erased\n"))
    );
    let shown = home.run(&["events", "show", &later, "--url", &url]);
    assert_eq!(shown.code, Some(1));
    assert!(shown.stderr.contains("erased"), "{shown:?}");
    let json = home
        .run(&["events", "erase", &later, "--url", &url, "--json"])
        .json();
    assert_eq!(
        (&json["id"], &json["erased"]),
        (&Value::from(later), &Value::from(true))
    );
    let none = home.run(&[
        "events",
        "erase",
        "evt_00000000000000000000000000",
        "--url",
        &url,
    ]);
    assert_eq!(none.code, Some(1));
    assert_eq!(daemon.status()["backlog"]["pending"], 0);
    assert_eq!(receiver.connections(), 0);
}
