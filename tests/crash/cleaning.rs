//! Giving space back: the log shrinks once what is in it is finished and past its
//! retention, and what is not finished is still there, whole.

use std::fs;

use serde_json::Value;

use crate::files::segments;
use crate::harness::{Answer, Daemon, Home, Receiver, endpoint, wait_for};
use crate::populated::recovery;

/// Finished events go after a second. A longer window for keys than for events.
const BRIEF: &str = "[retention]\ndelivered = \"1s\"\n[ingest]\nidempotency_window = \"1h\"\n";

/// Bytes of all files of the log.
fn on_disk(home: &Home) -> u64 {
    segments(home)
        .iter()
        .map(|path| fs::metadata(path).map_or(0, |file| file.len()))
        .sum()
}

/// About 900 KB each, delivered at once. Gives the ids.
fn flood(daemon: &Daemon, count: usize) -> Vec<String> {
    let body = "f".repeat(900_000);
    let headers = [("content-type", "text/plain")];
    let ids: Vec<String> = (0..count)
        .map(|_| {
            let answer =
                daemon
                    .tcp
                    .request("POST", "/v1/events/flood.x", &headers, body.as_bytes());
            answer.expect(202)["id"].as_str().unwrap().to_owned()
        })
        .collect();
    wait_for(
        || {
            (daemon.status()["totals"]["attempts_delivered"].as_u64() >= Some(count as u64))
                .then_some(())
        },
        || format!("not delivered: {}", daemon.status()),
    );
    ids
}

/// Waits until the oldest segment is another than this, and the log is small again.
#[track_caller]
fn wait_until_small(home: &Home, daemon: &Daemon) {
    let small = || on_disk(home) <= 4 * (4 << 20);
    wait_for(
        || small().then_some(()),
        || {
            format!(
                "{} bytes in {:?}\n{}",
                on_disk(home),
                segments(home),
                daemon.status()
            )
        },
    );
}

#[test]
fn disk_use_comes_back_down_after_delivery_and_retention() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let config = endpoint("ok", &receiver.url("/"), "") + BRIEF;
    let daemon = home.start(&config);
    let ids = flood(&daemon, 40);
    assert!(
        on_disk(&home) > 32 << 20 || daemon.status()["disk"]["log_bytes"].as_u64() < Some(36 << 20)
    );
    wait_until_small(&home, &daemon);
    wait_for(
        || (daemon.tcp.get(&format!("/v1/events/{}", ids[39])).status == 404).then_some(()),
        || "the last one is still kept".into(),
    );
    for id in &ids {
        daemon.tcp.get(&format!("/v1/events/{id}")).problem(404);
    }
    let shown = daemon.status()["disk"]["log_bytes"].as_u64().unwrap();
    assert!(shown <= on_disk(&home), "{shown}");
    // And it goes on so: the log is bounded by what is kept, not by what went through.
    flood(&daemon, 40);
    wait_until_small(&home, &daemon);
    assert_eq!(daemon.status()["damaged_records"], 0);
}

/// What was there before the flood, of each sort, and how it stood.
struct Kept {
    deliveries: Vec<(String, &'static str, Value)>,
    keys: Vec<(String, String)>,
}

const FUTURE: &str = "\"deliver_at\": \"2099-01-01T00:00:00Z\"";

fn keyed(number: usize) -> String {
    format!(r#"{{"type": "flood.keyed", "data": {number}, "idempotency_key": "key-{number}"}}"#)
}

impl Kept {
    fn new(daemon: &Daemon) -> Kept {
        let disabled = daemon.tcp.post("/v1/endpoints/off/disable");
        assert_eq!(disabled.status, 204);
        let one = daemon.send("keep.one", r#"{"kept" :  true}"#);
        let later = daemon.send_with("keep.later", "2", FUTURE);
        daemon.wait_status(&one, "broken", "dead");
        daemon.wait_status(&one, "off", "held");
        daemon.wait_delivery(&one, "down", "attempted", |found| {
            found["attempt_count"] == 1
        });
        let mut deliveries = Vec::new();
        for event in [one, later] {
            for endpoint in ["broken", "off", "down"] {
                let shown = daemon.delivery(&event, endpoint);
                deliveries.push((event.clone(), endpoint, shown));
            }
        }
        let mut keys = Vec::new();
        for number in 0..20 {
            let answer = daemon
                .tcp
                .post_json("/v1/events", keyed(number))
                .expect(202);
            keys.push((keyed(number), answer["id"].as_str().unwrap().to_owned()));
        }
        Kept { deliveries, keys }
    }

    #[track_caller]
    fn is_there(&self, daemon: &Daemon) {
        for (event, endpoint, shown) in &self.deliveries {
            assert_eq!(&daemon.delivery(event, endpoint), shown);
        }
        let (one, _, _) = &self.deliveries[0];
        let event = daemon.tcp.get(&format!("/v1/events/{one}"));
        assert!(
            event.text().contains(r#""data":{"kept" :  true}"#),
            "{}",
            event.text()
        );
        assert_eq!(daemon.endpoint("off")["disabled_reason"], "manual");
        for (body, id) in &self.keys {
            let again = daemon.tcp.post_json("/v1/events", body).expect(202);
            assert_eq!(
                (&again["id"], &again["duplicate"]),
                (&id.as_str().into(), &true.into())
            );
        }
        assert_eq!(daemon.status()["damaged_records"], 0);
    }
}

#[test]
fn cleaning_keeps_what_is_not_finished_and_keys_in_their_window() {
    let receiver =
        Receiver::answering(|seen| Answer::status(if seen.path == "/ok" { 200 } else { 500 }));
    let home = Home::new();
    let late = "types = [\"keep.*\"]\n[endpoint.retry]\nfirst = \"1h\"\nmax = \"1h\"";
    let brief = "types = [\"keep.*\"]\n[endpoint.retry]\nschedule = [\"10ms\"]";
    let config = endpoint("ok", &receiver.url("/ok"), "types = [\"flood.*\"]")
        + &endpoint("down", &receiver.url("/down"), late)
        + &endpoint("broken", &receiver.url("/broken"), brief)
        + &endpoint("off", &receiver.url("/off"), "types = [\"keep.*\"]")
        + BRIEF;
    let daemon = home.start(&config);
    let kept = Kept::new(&daemon);
    let first = segments(&home).remove(0);
    flood(&daemon, 24);
    wait_until_small(&home, &daemon);
    assert!(!first.exists(), "the first segment is still there");
    // The events of the keys are forgotten, the keys are not.
    for (_, id) in &kept.keys {
        daemon.tcp.get(&format!("/v1/events/{id}")).problem(404);
    }
    kept.is_there(&daemon);

    assert_eq!(daemon.stop().code(), Some(0));
    let daemon = home.start(&config);
    assert_eq!(recovery(&daemon), "clean");
    kept.is_there(&daemon);
    daemon.kill();
    fs::remove_dir_all(home.data_dir().join("index")).unwrap();
    let daemon = home.start(&config);
    assert_eq!(recovery(&daemon), "rebuilt");
    kept.is_there(&daemon);
    daemon.kill();

    // Killed while it cleans, over and over.
    for _ in 0..3 {
        let daemon = home.start(&config);
        flood(&daemon, 12);
        daemon.kill();
    }
    let daemon = home.start(&config);
    kept.is_there(&daemon);
}

/// Rule 5: the log's start is durable before a segment goes, so one that a power cut
/// brings back is no part of it.
#[test]
fn a_segment_that_a_power_cut_brings_back_goes_again() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let config = endpoint("ok", &receiver.url("/"), "") + BRIEF;
    let daemon = home.start(&config);
    let first = segments(&home).remove(0);
    let old = flood(&daemon, 6);
    fs::copy(&first, home.path("kept")).unwrap();
    flood(&daemon, 18);
    wait_until_small(&home, &daemon);
    let kept = daemon.send("keep.it", "1");
    daemon.wait_status(&kept, "ok", "delivered");
    let sent = receiver.seen().len();
    daemon.kill();
    assert!(!first.exists());
    fs::copy(home.path("kept"), &first).unwrap();
    fs::remove_dir_all(home.data_dir().join("index")).unwrap();
    let daemon = home.start(&config);
    assert!(!first.exists(), "it is back for good");
    assert_eq!(daemon.status()["damaged_records"], 0);
    daemon
        .tcp
        .get(&format!("/v1/events/{}", old[0]))
        .problem(404);
    let new = daemon.send("keep.it", "2");
    daemon.wait_status(&new, "ok", "delivered");
    assert_eq!(
        receiver.seen().len(),
        sent + 1,
        "something old was sent again"
    );
}

/// Over `retention.max_size` the oldest finished events go, before their time.
#[test]
fn over_its_size_history_goes_oldest_first() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let config = endpoint("ok", &receiver.url("/"), "") + "[retention]\nmax_size = \"5MiB\"\n";
    let daemon = home.start(&config);
    // One after the other: the order of their ends is what counts.
    let delivered = |_| {
        let id = flood(&daemon, 1).remove(0);
        daemon.wait_status(&id, "ok", "delivered");
        id
    };
    let ids: Vec<String> = (0..12).map(delivered).collect();
    let is_kept = |id: &String| daemon.tcp.get(&format!("/v1/events/{id}")).status == 200;
    wait_for(
        || (!is_kept(&ids[0])).then_some(()),
        || "the oldest is still there".into(),
    );
    assert!(is_kept(&ids[11]), "the newest is gone");
    // The newest first: more may go meanwhile, and of those that are left the oldest.
    let kept: Vec<bool> = ids.iter().rev().map(is_kept).collect();
    assert!(
        kept.is_sorted_by_key(|kept| !kept),
        "not the oldest first: {kept:?}"
    );
}
