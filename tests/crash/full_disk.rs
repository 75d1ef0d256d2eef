//! A disk without any room left: outcomes wait, everything else is answered, a stop ends, and
//! the daemon takes nothing from others.

use std::collections::HashMap;
use std::fmt::Write;

use crate::harness::{Answer, Daemon, Gate, Home, Receiver, endpoint, wait_for};
use crate::quota::QuotaDisk;
use crate::space::{SmallDisk, post, refused, wait_accepted};

/// A new endpoint gets one attempt at a time: so many are in flight.
const ENDPOINTS: usize = 240;
const SMALL: &str = "[outbox]\nsegment_size = \"4MiB\"\ncache_size = \"4MiB\"\nmin_free_disk = \"1MiB\"\n\
                     [retry]\nfirst = \"1h\"\nmax = \"1h\"\n";

/// A daemon with many attempts behind a gate, and not a byte of room for their outcomes.
struct Stuck {
    home: Home,
    config: String,
    receiver: Receiver,
    gate: Gate,
    disk: SmallDisk,
    events: Vec<String>,
}

impl Stuck {
    fn new() -> Option<(Stuck, Daemon)> {
        let gate = Gate::new();
        let held_back = gate.clone();
        let text = "e".repeat(5000);
        let receiver = Receiver::answering(move |seen| {
            let answer = match seen.path.as_str() {
                "/garbage" => Answer::Raw(b"HTTP/1.1 what is this?\r\n\r\n".to_vec()),
                "/fails" => Answer::reply(500, &[], &text),
                _ => Answer::reply(200, &[], &text),
            };
            answer.behind(&held_back)
        });
        let home = Home::new();
        let disk = SmallDisk::mount(&home, 32)?;
        let mut config = String::from(SMALL);
        for number in 0..ENDPOINTS {
            let path = ["/takes", "/fails", "/garbage"][number % 3];
            let more = "types = [\"many.*\"]\nmax_in_flight = 512";
            config += &endpoint(&format!("e{number}"), &receiver.url(path), more);
        }
        config += &endpoint("off", &receiver.url("/off"), "types = [\"a.*\"]");
        let daemon = home.start(&config);
        let off = daemon.tcp.post("/v1/endpoints/off/disable");
        assert_eq!(off.status, 204, "{}", off.text());
        let filler = format!(r#"{{"url": "{}", "types": ["no.*"]}}"#, receiver.url("/"));
        let made = daemon.tcp.post_json("/v1/endpoints", filler).expect(201);
        let off = daemon.tcp.post("/v1/endpoints/off/disable");
        assert_eq!(off.status, 204, "{}", off.text());
        let filler = format!("/v1/endpoints/{}", made["id"].as_str().unwrap());
        let events: Vec<String> = (0..2)
            .map(|number| daemon.send("many.x", &number.to_string()))
            .collect();
        let in_flight = || daemon.metric("outboxd_attempts_in_flight");
        wait_for(
            || (in_flight() >= 200.0).then_some(()),
            || format!("{} in flight", in_flight()),
        );
        let stuck = Stuck {
            home,
            config,
            receiver,
            gate,
            disk,
            events,
        };
        use_up(&stuck.disk, &daemon, &filler);
        Some((stuck, daemon))
    }

    fn passes(daemon: &Daemon) -> f64 {
        daemon.metric("outboxd_cleaning_passes_total")
    }

    /// Lets the attempts end, and sees that everybody is answered while their outcomes wait.
    #[track_caller]
    fn outcomes_wait(&self, daemon: &Daemon) {
        let pending = daemon.status()["backlog"]["pending"].clone();
        self.gate.open();
        let in_flight = || daemon.status()["backlog"]["in_flight"].as_u64();
        // They have all come back, or count as in flight until they are stored.
        let sent = self.receiver.seen().len();
        let before = Stuck::passes(daemon);
        let share = daemon.cpu_share(|| {
            // To ask costs it something, too.
            let mut looks = 0;
            wait_for(
                || {
                    looks += 1;
                    (looks % 40 == 0 && Stuck::passes(daemon) >= before + 5.0).then_some(())
                },
                || format!("cleaning is not served: {:?}", in_flight()),
            );
        });
        assert!(share < 0.25, "it uses {share} of a core while it waits");
        assert_eq!(daemon.tcp.get("/healthz").status, 200);
        daemon
            .tcp
            .get(&format!("/v1/events/{}", self.events[0]))
            .expect(200);
        refused(&post(daemon, 10));
        let path = format!("/v1/events/{}/deliveries/e0/retry", self.events[0]);
        let acted = daemon.tcp.post(&path);
        assert!([202, 503].contains(&acted.status), "{}", acted.text());
        let disabled = daemon.tcp.post("/v1/endpoints/e1/disable");
        assert!([204, 503].contains(&disabled.status), "{}", disabled.text());
        // Nothing is attempted whose outcome could not be stored.
        assert!(self.receiver.seen().len() <= sent + ENDPOINTS, "{sent}");
        assert_eq!(daemon.status()["backlog"]["pending"], pending);
    }
}

/// Takes all space of the disk, then all that the log had taken for itself.
fn use_up(disk: &SmallDisk, daemon: &Daemon, filler: &str) {
    disk.fill(10 << 20);
    // Events that stay: the cleaner cannot make room.
    let mut stay = Vec::new();
    loop {
        let answer = post(daemon, 500_000);
        if answer.status != 202 {
            break;
        }
        stay.push(answer.json()["id"].as_str().unwrap().to_owned());
        assert!(stay.len() < 100, "the disk took 50 MB");
    }
    disk.fill(0);
    let (mut connection, json) = (
        daemon.tcp.connect().unwrap(),
        [("content-type", "application/json")],
    );
    // Large ones first, then such that use up what those leave.
    for size in [3000, 1] {
        for round in 0.. {
            let mut body = String::from(r#"{"headers": {"#);
            write!(
                body,
                r#""x-filler": "{round:0>10}{}"}}}}"#,
                "f".repeat(size)
            )
            .unwrap();
            let asked = connection.ask("PATCH", filler, &json, body.as_bytes());
            let answer = asked.unwrap();
            if answer.status == 503 {
                break;
            }
            answer.expect(200);
            assert!(round < 20_000, "there is no end to it");
        }
    }
    // That a delivery is cancelled takes less than an outcome.
    let is_refused = stay.iter().any(|event| {
        let path = format!("/v1/events/{event}/deliveries/off/cancel");
        let status = daemon.tcp.post(&path).status;
        assert!([200, 503].contains(&status), "{status}");
        status == 503
    });
    assert!(is_refused, "there is no end to it");
    assert!(daemon.metric("outboxd_refused_batches_total") >= 1.0);
}

#[test]
fn outcomes_without_room_wait_and_are_stored_when_there_is_some() {
    let Some((stuck, daemon)) = Stuck::new() else {
        return;
    };
    stuck.outcomes_wait(&daemon);
    stuck.disk.free();
    // Every delivery has the outcome of its one attempt.
    let attempted = |event: &String, number: usize| {
        let shown = daemon.delivery(event, &format!("e{number}"));
        shown["attempt_count"] != 0
    };
    for event in &stuck.events {
        for number in 0..ENDPOINTS {
            // Those may have been acted upon.
            if number > 1 {
                wait_for(
                    || attempted(event, number).then_some(()),
                    || {
                        format!(
                            "e{number}: {}",
                            daemon.delivery(event, &format!("e{number}"))
                        )
                    },
                );
            }
        }
    }
    let mut attempts: HashMap<String, u64> = HashMap::new();
    for seen in stuck.receiver.seen() {
        *attempts.entry(seen.path.clone()).or_default() += 1;
    }
    let mut stored: HashMap<String, u64> = HashMap::new();
    for event in &stuck.events {
        for number in 0..ENDPOINTS {
            let path = ["/takes", "/fails", "/garbage"][number % 3];
            let shown = daemon.delivery(event, &format!("e{number}"));
            *stored.entry(path.to_owned()).or_default() += shown["attempt_count"].as_u64().unwrap();
        }
    }
    assert_eq!(stored, attempts, "an attempt was repeated or forgotten");
    let new = wait_accepted(&daemon);
    assert_ne!(new, stuck.events[0]);
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn a_stop_ends_while_outcomes_have_no_room() {
    let Some((stuck, daemon)) = Stuck::new() else {
        return;
    };
    stuck.outcomes_wait(&daemon);
    daemon.terminate();
    daemon.wait_log("the outcomes of some attempts could not be stored");
    // Those that wait for room before they begin are not waited for.
    let log = daemon.log_text();
    assert!(!log.contains("stopping with attempts in flight"), "{log}");
    assert_eq!(daemon.wait_exit().code(), Some(0));
    // What was not stored is attempted again.
    stuck.disk.free();
    let daemon = stuck.home.start(&stuck.config);
    assert_eq!(daemon.status()["damaged_records"], 0);
    for event in &stuck.events {
        daemon.wait_status(event, "e3", "delivered");
    }
}

/// Nobody tries again what is refused, so nothing but an attempt would show that there is room again.
#[test]
fn what_was_refused_on_a_full_disk_holds_up_no_attempt_afterwards() {
    let receiver = Receiver::statuses(&[500, 200]);
    let home = Home::new();
    let Some(disk) = SmallDisk::mount(&home, 32) else {
        return;
    };
    let config = String::from(SMALL).replace("1h", "8s")
        + &endpoint("ok", &receiver.url("/"), "types = [\"ok\"]")
        + &endpoint("off", &receiver.url("/off"), "types = [\"a.*\"]");
    let daemon = home.start(&config);
    assert_eq!(daemon.tcp.post("/v1/endpoints/off/disable").status, 204);
    let event = daemon.send("ok", "1");
    daemon.wait_delivery(&event, "ok", "tried once", |one| one["attempt_count"] == 1);
    let made = format!(r#"{{"url": "{}", "types": ["no.*"]}}"#, receiver.url("/"));
    let made = daemon.tcp.post_json("/v1/endpoints", made).expect(201);
    let made = format!("/v1/endpoints/{}", made["id"].as_str().unwrap());
    use_up(&disk, &daemon, &made);
    disk.free();
    // The second attempt, although nobody asks for anything that is stored.
    daemon.wait_status(&event, "ok", "delivered");
}

/// Without room for a whole segment the daemon does not take what there is, again and again.
#[track_caller]
fn leaves_alone(home: &Home, fill: impl FnOnce(u64), left: impl Fn() -> u64) {
    let receiver = Receiver::statuses(&[500]);
    let config = String::from(SMALL) + &endpoint("down", &receiver.url("/"), "");
    let daemon = home.start(&config);
    // What is pending fills it until no further segment can be made.
    fill(10 << 20);
    let mut accepted = 0;
    while post(&daemon, 500_000).status == 202 {
        accepted += 1;
        assert!(accepted < 100, "10 MiB took 50 MB");
    }
    let says = "nothing is accepted until there is room for the next segment of the log";
    daemon.wait_log(says);
    let passes = || daemon.metric("outboxd_cleaning_passes_total");
    let (before, began, written) = (passes(), left(), daemon.written());
    let (mut least, mut looks) = (began, 0);
    wait_for(
        || {
            least = least.min(left());
            looks += 1;
            // An answer is something written, too.
            (looks % 40 == 0 && passes() >= before + 5.0).then_some(())
        },
        || format!("{} passes", passes()),
    );
    assert!(
        least + (256 << 10) > began,
        "{least} of {began} bytes were left"
    );
    let written = daemon.written() - written;
    assert!(written < 1 << 20, "{written} bytes were written");
    let said = daemon.log_text().matches(says).count();
    assert_eq!(said, 1, "{}", daemon.log_text());
}

#[test]
fn a_disk_without_room_for_a_spare_is_left_alone() {
    let home = Home::new();
    if let Some(disk) = SmallDisk::mount(&home, 24) {
        leaves_alone(&home, |but| disk.fill(but), || disk.left());
    }
}

/// Of a quota only a try can tell, and it takes nothing.
#[test]
fn a_quota_without_room_for_a_spare_is_left_alone() {
    let home = Home::new();
    if let Some(disk) = QuotaDisk::mount(&home, 40) {
        leaves_alone(&home, |but| disk.fill(but), || disk.left());
    }
}

/// A quota that is full to the brim: btrfs refuses every write of the log, also in the space
/// that it has. That ends nothing, and what was accepted is there.
#[test]
fn a_quota_that_refuses_every_write_does_not_end_the_daemon() {
    let home = Home::new();
    let Some(disk) = QuotaDisk::mount(&home, 40) else {
        return;
    };
    let receiver = Receiver::ok();
    let config = String::from(SMALL) + &endpoint("ok", &receiver.url("/"), "");
    let daemon = home.start(&config);
    let id = daemon.send("a.kept", "1");
    daemon.wait_status(&id, "ok", "delivered");
    disk.fill(0);
    refused(&post(&daemon, 100));
    daemon.wait_log("the disk is full");
    daemon.wait_status(&id, "ok", "delivered");
    disk.free();
    let new = wait_accepted(&daemon);
    daemon.wait_status(&new, "ok", "delivered");
    disk.fill(0);
    refused(&post(&daemon, 100));
    assert_eq!(daemon.stop().code(), Some(0));
    disk.free();
    let daemon = home.start(&config);
    assert_eq!(daemon.status()["damaged_records"], 0);
    for id in [&id, &new] {
        daemon.wait_status(id, "ok", "delivered");
    }
}
