//! The promise under pressure: the disk is full, or over quota, and cleaning has work to do.
//! What was accepted is still there afterwards, and everything that can finish does.

use std::path::Path;

use crate::harness::{Answer, Daemon, Home, Receiver, endpoint, wait_for};
use crate::quota::QuotaDisk;
use crate::space::SmallDisk;
use crate::tracer::Tracer;

/// A segment of 4 MiB of which so many bytes are left.
const ROOM_LEFT: u64 = 700_000;
const SEGMENT: u64 = 4 << 20;
const BIG: usize = 100_000;

fn config(receiver: &Receiver, retention: &str) -> String {
    // A receiver that always fails, and one that takes all.
    endpoint(
        "dead",
        &receiver.url("/dead"),
        "types = [\"dead.*\"]\nretry = { first = \"1h\", max = \"1h\" }",
    ) + &endpoint("ok", &receiver.url("/ok"), "types = [\"ok.*\"]")
        + "[outbox]\nsegment_size = \"4MiB\"\ncache_size = \"4MiB\"\nmin_free_disk = \"1MiB\"\n"
        + &format!("[retention]\ndelivered = \"{retention}\"\n")
}

fn receiver() -> Receiver {
    Receiver::answering(|seen| {
        let dead = seen.path.starts_with("/dead");
        Answer::status(if dead { 500 } else { 200 })
    })
}

/// The segments in `log/` by the position of their first byte, in order; a spare comes last.
fn segments(data_dir: &Path) -> Vec<(u64, std::path::PathBuf)> {
    let mut found: Vec<_> = std::fs::read_dir(data_dir.join("log"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter_map(|path| {
            let digits = path.file_name()?.to_str()?.strip_suffix(".log")?;
            Some((u64::from_str_radix(digits, 16).ok()?, path.clone()))
        })
        .collect();
    found.sort();
    found
}

/// How many bytes of the segment come after its last one that is not zero.
fn left_in(path: &Path) -> u64 {
    let bytes = std::fs::read(path).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
    (bytes.len() - used) as u64
}

/// Twelve pending events at the beginning of the first segment, and delivered ones up to a
/// place in the third where `ROOM_LEFT` bytes are left; then `kill -9`.
fn twelve_pending(home: &Home, config: &str) -> Vec<String> {
    let daemon = home.start(config);
    let accept = |kind: &str, size: usize| {
        let headers = [("content-type", "text/plain")];
        let path = format!("/v1/events/{kind}");
        let answer = daemon
            .tcp
            .request("POST", &path, &headers, &vec![b'x'; size]);
        answer.expect(202)["id"].as_str().unwrap().to_owned()
    };
    let pending: Vec<String> = (0..12).map(|_| accept("dead.letter", BIG)).collect();
    let third = 2 * SEGMENT;
    loop {
        let id = accept("ok.event", 50_000);
        daemon.wait_status(&id, "ok", "delivered");
        let known = segments(&home.data_dir());
        let there = known.iter().find(|(base, _)| *base == third);
        // The third holds something, and as much as it should.
        if let Some((_, path)) = there
            && left_in(path) < ROOM_LEFT
        {
            break;
        }
    }
    daemon.kill();
    pending
}

/// All of them are still pending, with their bodies, and nothing counts as damaged.
#[track_caller]
fn all_there(daemon: &Daemon, pending: &[String]) {
    assert_eq!(daemon.status()["damaged_records"], 0);
    for id in pending {
        let event = daemon.tcp.get(&format!("/v1/events/{id}")).expect(200);
        let body = event["body_base64"].as_str().unwrap();
        assert_eq!(body.len(), BIG.div_ceil(3) * 4, "{id}");
        assert_eq!(event["deliveries"][0]["status"], "pending", "{event:#}");
    }
}

/// Starts on the full disk with a retention that makes the cleaner want the first segments,
/// and sees that what is pending stays.
fn starts_and_keeps(home: &Home, receiver: &Receiver, pending: &[String]) {
    let daemon = home.start(&config(receiver, "1h"));
    // Finished events are forgotten, so the first segments are mostly free.
    wait_for(
        || {
            let listed = daemon
                .tcp
                .get("/v1/events?type=ok.event&limit=1000")
                .expect(200);
            listed["data"].as_array().unwrap().is_empty().then_some(())
        },
        || format!("history stays: {}\n{}", daemon.status(), daemon.log_text()),
    );
    // The cleaner has tried what it could, several times over.
    let passes = || daemon.metric("outboxd_cleaning_passes_total");
    let before = passes();
    wait_for(
        || (passes() >= before + 3.0).then_some(()),
        || format!("{} passes", passes()),
    );
    all_there(&daemon, pending);
    daemon.kill();
    // From the log alone, too.
    std::fs::remove_dir_all(home.data_dir().join("index")).unwrap();
    let daemon = home.start(&config(receiver, "1h"));
    all_there(&daemon, pending);
    assert_eq!(daemon.stop().code(), Some(0));
}

/// Takes away the spare segment.
fn remove_spare(home: &Home) {
    let (_, spare) = segments(&home.data_dir()).pop().unwrap();
    assert!(left_in(&spare) > SEGMENT - 4096, "the last is a spare");
    std::fs::remove_file(spare).unwrap();
}

#[test]
fn cleaning_on_a_full_disk_without_a_spare_loses_nothing() {
    let (home, receiver) = (Home::new(), receiver());
    let Some(disk) = SmallDisk::mount(&home, 40) else {
        return;
    };
    let pending = twelve_pending(&home, &config(&receiver, "1h"));
    remove_spare(&home);
    disk.fill(ROOM_LEFT);
    starts_and_keeps(&home, &receiver, &pending);
}

#[test]
fn cleaning_on_a_full_disk_with_the_spare_loses_nothing() {
    let (home, receiver) = (Home::new(), receiver());
    let Some(disk) = SmallDisk::mount(&home, 40) else {
        return;
    };
    let pending = twelve_pending(&home, &config(&receiver, "1h"));
    disk.fill(ROOM_LEFT);
    starts_and_keeps(&home, &receiver, &pending);
}

/// A full quota: the file system says that there is room, and refuses.
#[test]
fn cleaning_over_quota_without_a_spare_loses_nothing() {
    let (home, receiver) = (Home::new(), receiver());
    let Some(disk) = QuotaDisk::mount(&home, 40) else {
        return;
    };
    let pending = twelve_pending(&home, &config(&receiver, "1h"));
    remove_spare(&home);
    disk.fill(ROOM_LEFT);
    over_quota_keeps(&home, &receiver, &pending, &disk);
}

#[test]
fn cleaning_over_quota_with_the_spare_loses_nothing() {
    let (home, receiver) = (Home::new(), receiver());
    let Some(disk) = QuotaDisk::mount(&home, 40) else {
        return;
    };
    let pending = twelve_pending(&home, &config(&receiver, "1h"));
    disk.fill(ROOM_LEFT);
    over_quota_keeps(&home, &receiver, &pending, &disk);
}

/// Starts over quota with a retention that makes the cleaner want the first segments: what is
/// free does not say that room is short.
fn over_quota_keeps(home: &Home, receiver: &Receiver, pending: &[String], disk: &QuotaDisk) {
    let config = config(receiver, "1s");
    let daemon = home.start(&config);
    let passes = || daemon.metric("outboxd_cleaning_passes_total");
    let before = passes();
    wait_for(
        || (passes() >= before + 5.0).then_some(()),
        || format!("{} passes", passes()),
    );
    all_there(&daemon, pending);
    daemon.kill();
    disk.free();
    let daemon = home.start(&config);
    all_there(&daemon, pending);
    let new = daemon.send("ok.event", "1");
    daemon.wait_status(&new, "ok", "delivered");
    assert_eq!(daemon.stop().code(), Some(0));
}

/// The log's files are overwritten in place where btrfs can be told so, and the daemon says
/// so where it was not told.
#[test]
fn on_btrfs_a_new_log_is_overwritten_in_place() {
    let says = "does not overwrite in place";
    let home = Home::new();
    let Some(_disk) = QuotaDisk::mount(&home, 40) else {
        return;
    };
    let daemon = home.start("");
    assert!(!daemon.log_text().contains(says), "{}", daemon.log_text());
    assert_eq!(daemon.stop().code(), Some(0));
    // A log from elsewhere, as a copy of it would be.
    let (log, aside) = (home.data_dir().join("log"), home.data_dir().join("aside"));
    crate::files::copy(&log, &aside);
    std::fs::remove_dir_all(&log).unwrap();
    std::fs::rename(&aside, &log).unwrap();
    let daemon = home.start("");
    daemon.wait_log(says);
}

/// An I/O error while the cleaner reads what it must write again is no answer: the segment
/// stays, nothing counts as damaged, and cleaning goes on once the disk reads again.
#[test]
fn an_io_error_while_cleaning_loses_nothing() {
    let (home, receiver) = (Home::new(), receiver());
    // What is delivered goes for want of space in the history.
    let config = config(&receiver, "1h") + "max_size = \"2MiB\"\n";
    let daemon = home.start(&config);
    let headers = [("content-type", "text/plain")];
    let accept = |path: &str, size: usize| {
        let body = vec![b'x'; size];
        let answer = daemon.tcp.request("POST", path, &headers, &body);
        answer.expect(202)["id"].as_str().unwrap().to_owned()
    };
    let pending: Vec<String> = (0..12)
        .map(|_| accept("/v1/events/dead.letter", BIG))
        .collect();
    let (_, first) = segments(&home.data_dir()).remove(0);
    let path = first.display().to_string();
    let options = [
        "-o",
        "/dev/null",
        "-P",
        path.as_str(),
        "-e",
        "inject=pread64:error=EIO",
    ];
    let Some(tracer) = Tracer::attach(&daemon, &options) else {
        return;
    };
    let cut_short = || daemon.metric("outboxd_cleaning_cut_short_total");
    let mut sent = 0;
    let mut deliver = || {
        accept("/v1/events/ok.event", 50_000);
        sent += 1;
        let delivered = || daemon.status()["totals"]["attempts_delivered"].as_u64();
        wait_for(
            || (delivered() >= Some(sent)).then_some(()),
            || format!("{:?} of {sent} are delivered", delivered()),
        );
        assert!(sent < 2000, "{sent} sent");
        sent
    };
    // So much that the first segment is to go: the search for replaced definitions fails, too.
    while deliver() < 300 {}
    let before = cut_short();
    while cut_short() < before + 4.0 {
        deliver();
        assert!(first.exists());
    }
    daemon.wait_log("cleaning could not read the log");
    assert!(first.exists());
    assert_eq!(daemon.status()["damaged_records"], 0);
    drop(tracer);
    wait_for(
        || (!first.exists()).then_some(()),
        || format!("the first segment stays: {}", daemon.log_text()),
    );
    all_there(&daemon, &pending);
    daemon.kill();
    std::fs::remove_dir_all(home.data_dir().join("index")).unwrap();
    let daemon = home.start(&config);
    all_there(&daemon, &pending);
}
