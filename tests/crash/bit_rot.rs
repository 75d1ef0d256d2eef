//! Bits that rot after the start: whoever meets them first names and counts them, once.

use std::path::PathBuf;

use crate::files::{find_in_log, flip, segments};
use crate::harness::{Answer, Daemon, Home, Receiver, endpoint, wait_for};
use crate::populated::recovery;

/// A daemon, begun clean, with an event in an old segment whose body has rotted.
struct Rotten {
    home: Home,
    config: String,
    _receiver: Receiver,
    event: String,
    /// Beside it, and whole.
    other: String,
    segment: PathBuf,
}

impl Rotten {
    /// The daemon keeps all its history: cleaning could move the event before it rots.
    fn new() -> (Rotten, Daemon) {
        let receiver = Receiver::answering(|seen| {
            Answer::status(if seen.path == "/down" { 500 } else { 200 })
        });
        let late = "types = [\"keep.*\"]\n[endpoint.retry]\nfirst = \"1h\"\nmax = \"1h\"";
        let config = endpoint("down", &receiver.url("/down"), late)
            + &endpoint("ok", &receiver.url("/ok"), "types = [\"flood.*\"]");
        let home = Home::new();
        let daemon = home.start(&config);
        let event = daemon.send("keep.rots", "\"this-will-rot-away\"");
        let other = daemon.send("keep.stays", "\"this-will-stay\"");
        for id in [&event, &other] {
            daemon.wait_delivery(id, "down", "attempted", |found| found["attempt_count"] == 1);
        }
        // The log goes on in other segments.
        flood(&daemon, 6);
        assert_eq!(daemon.stop().code(), Some(0));
        let daemon = home.start(&config);
        assert_eq!(recovery(&daemon), "clean");
        assert_eq!(daemon.status()["damaged_records"], 0);
        let (segment, at) = find_in_log(&home, "this-will-rot-away");
        assert_ne!(segments(&home).last(), Some(&segment), "not an old segment");
        flip(&segment, at + 5);
        let rotten = Rotten {
            home,
            config,
            _receiver: receiver,
            event,
            other,
            segment,
        };
        (rotten, daemon)
    }

    /// One record is counted, and it was named once.
    #[track_caller]
    fn is_counted_once(&self, daemon: &Daemon) {
        assert_eq!(daemon.status()["damaged_records"], 1);
        let named = daemon
            .log_text()
            .matches("a damaged record was met in the log")
            .count();
        assert_eq!(named, 1, "{}", daemon.log_text());
    }

    #[track_caller]
    fn shows_damage(&self, daemon: &Daemon) {
        let path = format!("/v1/events/{}", self.event);
        daemon.tcp.get(&path).problem(500);
    }
}

/// Delivered events of about 900 KB each.
fn flood(daemon: &Daemon, count: usize) {
    let (body, headers) = ("f".repeat(900_000), [("content-type", "text/plain")]);
    for _ in 0..count {
        let path = "/v1/events/flood.x";
        let answer = daemon.tcp.request("POST", path, &headers, body.as_bytes());
        let id = answer.expect(202)["id"].as_str().unwrap().to_owned();
        // Short history: it may be forgotten by now.
        wait_for(
            || {
                let shown = daemon.tcp.get(&format!("/v1/events/{id}/deliveries/ok"));
                (shown.status == 404 || shown.json()["status"] == "delivered").then_some(())
            },
            || format!("{id} is not delivered"),
        );
    }
}

#[test]
fn a_read_that_meets_rot_names_and_counts_it_once() {
    let (rotten, daemon) = Rotten::new();
    rotten.shows_damage(&daemon);
    rotten.shows_damage(&daemon);
    daemon.wait_log("a damaged record was met in the log");
    rotten.is_counted_once(&daemon);
    // What is beside it is as it was.
    let path = format!("/v1/events/{}", rotten.other);
    assert_eq!(daemon.tcp.get(&path).expect(200)["data"], "this-will-stay");
}

#[test]
fn cleaning_that_meets_rot_counts_it_and_goes_on() {
    let (mut rotten, daemon) = Rotten::new();
    assert!(rotten.segment.exists(), "it is not an old segment");
    rotten.config += "[retention]\nmax_size = \"1MiB\"\n";
    rotten.home.write_config(&rotten.config);
    daemon.reload();
    // Until what is kept of the first segment moves.
    for round in 0.. {
        if !rotten.segment.exists() {
            break;
        }
        flood(&daemon, 1);
        assert!(round < 200, "the segment stays: {}", daemon.log_text());
    }
    daemon.wait_log("a damaged record was met in the log");
    rotten.is_counted_once(&daemon);
    // It can never be sent, which is stored after the damage was met.
    daemon.wait_status(&rotten.event, "down", "dead");
    let lost = daemon.delivery(&rotten.event, "down");
    assert_eq!(
        (&lost["status"], &lost["reason"]),
        (&"dead".into(), &"damaged".into())
    );
    rotten.shows_damage(&daemon);
    rotten.is_counted_once(&daemon);
    let kept = daemon.delivery(&rotten.other, "down");
    assert_eq!(
        (&kept["status"], &kept["attempt_count"]),
        (&"pending".into(), &1.into())
    );
    assert_eq!(daemon.stop().code(), Some(0));
    // So it stands in the log, too.
    std::fs::remove_dir_all(rotten.home.data_dir().join("index")).unwrap();
    let daemon = rotten.home.start(&rotten.config);
    let lost = daemon.delivery(&rotten.event, "down");
    assert_eq!(lost["reason"], "damaged");
    rotten.shows_damage(&daemon);
    let path = format!("/v1/events/{}", rotten.other);
    assert_eq!(daemon.tcp.get(&path).expect(200)["data"], "this-will-stay");
}
