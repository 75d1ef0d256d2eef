//! Too little disk, and too much outbox: said before anything is accepted, while what was
//! accepted goes on.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::harness::http::Response;
use crate::harness::{Answer, Daemon, Gate, Home, Receiver, endpoint, wait_for};

/// A small disk as the home's data directory. Unmounted when dropped.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`, said aloud, without the right to mount.
    pub fn mount(home: &Home, size_mib: u32) -> Option<SmallDisk> {
        SmallDisk::mount_with(home, size_mib, "")
    }

    /// With further options of the mount, each after a comma.
    fn mount_with(home: &Home, size_mib: u32, options: &str) -> Option<SmallDisk> {
        let dir = home.data_dir();
        fs::create_dir(&dir).unwrap();
        let size = format!("size={size_mib}m,mode=0700{options}");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "outboxd-test"])
            .arg(&dir)
            .output();
        match mount {
            Ok(mounted) if mounted.status.success() => Some(SmallDisk(dir)),
            refused => {
                eprintln!("SKIPPED: no tmpfs can be mounted here: {refused:?}");
                None
            }
        }
    }

    /// Takes all space but so many bytes.
    pub fn fill(&self, but: u64) {
        let more = vec![1; self.left().saturating_sub(but) as usize];
        let path = self.0.join("ballast");
        let ballast = OpenOptions::new().create(true).append(true).open(path);
        match ballast.unwrap().write_all(&more) {
            Ok(()) => {}
            // The daemon has taken some of it meanwhile: there is no more to take.
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// How many bytes are left.
    pub fn left(&self) -> u64 {
        let free = rustix::fs::statvfs(&self.0).unwrap();
        free.f_bavail * free.f_frsize
    }

    pub fn free(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the daemon of a failed test may still be there.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

pub fn post(daemon: &Daemon, size: usize) -> Response {
    let headers = [("content-type", "text/plain")];
    daemon
        .tcp
        .request("POST", "/v1/events/a.b", &headers, &vec![b'x'; size])
}

/// Asserts a 503 problem with `Retry-After`.
#[track_caller]
pub fn refused(answer: &Response) -> String {
    assert!(
        answer.header("retry-after").is_some(),
        "{:?}",
        answer.headers
    );
    answer.problem(503)
}

/// Waits until an event is accepted again, and gives its id.
#[track_caller]
pub fn wait_accepted(daemon: &Daemon) -> String {
    wait_for(
        || Some(post(daemon, 100)).filter(|answer| answer.status == 202),
        || format!("still refused: {}", post(daemon, 100).text()),
    )
    .json()["id"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn on_a_full_disk_nothing_is_accepted_and_all_that_was_is_delivered() {
    let gate = Gate::new();
    let held_back = gate.clone();
    let receiver = Receiver::answering(move |_| Answer::status(200).behind(&held_back));
    let home = Home::new();
    let Some(disk) = SmallDisk::mount(&home, 48) else {
        return;
    };
    let config = endpoint("ok", &receiver.url("/"), "")
        + "[outbox]\nsegment_size = \"4MiB\"\ncache_size = \"4MiB\"\nmin_free_disk = \"1MiB\"\n";
    let daemon = home.start(&config);
    // Fill it until it says no: by itself, before the disk does.
    let mut accepted: Vec<String> = Vec::new();
    let last = loop {
        let answer = post(&daemon, 200_000);
        if answer.status != 202 {
            break answer;
        }
        accepted.push(answer.json()["id"].as_str().unwrap().to_owned());
        assert!(accepted.len() < 300, "48 MiB took 60 MB");
    };
    let detail = refused(&last);
    assert!(detail.contains("disk"), "{detail}");
    assert!(accepted.len() > 50, "{}", accepted.len());
    // Now nothing at all is left, and the outcomes of all of them are still to come.
    disk.fill(0);
    refused(&post(&daemon, 10));
    let batch = [("content-type", "application/x-ndjson")];
    let line = br#"{"type":"a.b","data":1}"#;
    refused(&daemon.tcp.request("POST", "/v1/events", &batch, line));
    assert_eq!(daemon.tcp.get("/healthz").status, 200);
    // What was refused was not stored. The index may just be moving to memory.
    let list = || daemon.tcp.get("/v1/events?limit=1000");
    let listed = wait_for(
        || Some(list()).filter(|answer| answer.status == 200),
        || format!("events cannot be listed: {}", list().text()),
    );
    let listed = listed.json();
    assert_eq!(listed["data"].as_array().unwrap().len(), accepted.len());
    gate.open();
    receiver.wait_until("all that was accepted", |seen| {
        let ids: HashSet<&str> = seen.iter().map(|seen| seen.id()).collect();
        accepted.iter().all(|id| ids.contains(id.as_str()))
    });
    // As finished history goes first, the oldest of them may be forgotten by now.
    let pending = || daemon.status()["backlog"]["pending"].as_u64();
    wait_for(
        || (pending() == Some(0)).then_some(()),
        || format!("{:?} are pending", pending()),
    );
    assert_eq!(daemon.status()["backlog"]["dead"], 0);

    disk.free();
    // Finished history makes room for the rest.
    let new = wait_accepted(&daemon);
    daemon.wait_status(&new, "ok", "delivered");
    daemon.kill();
    let daemon = home.start(&config);
    assert_eq!(daemon.status()["damaged_records"], 0);
    daemon.wait_status(&new, "ok", "delivered");
    drop(daemon);
}

/// Outcomes that were stored when the disk was full are stored: nothing comes twice.
#[test]
fn outcomes_of_a_full_disk_outlive_a_kill() {
    let gate = Gate::new();
    let held_back = gate.clone();
    let receiver = Receiver::answering(move |_| Answer::status(200).behind(&held_back));
    let home = Home::new();
    let Some(disk) = SmallDisk::mount(&home, 32) else {
        return;
    };
    let config = endpoint("ok", &receiver.url("/"), "max_in_flight = 64")
        + "[outbox]\nsegment_size = \"4MiB\"\ncache_size = \"4MiB\"\nmin_free_disk = \"1MiB\"\n";
    let daemon = home.start(&config);
    let accepted: Vec<String> = (0..30)
        .map(|number| daemon.send("a.b", &number.to_string()))
        .collect();
    receiver.wait(4);
    disk.fill(0);
    gate.open();
    for id in &accepted {
        daemon.wait_status(id, "ok", "delivered");
    }
    daemon.kill();
    // It starts on the full disk, too, and sends nothing again.
    let daemon = home.start(&config);
    for id in &accepted {
        daemon.wait_status(id, "ok", "delivered");
    }
    refused(&post(&daemon, 10));
    // And stops on it.
    assert_eq!(daemon.stop().code(), Some(0));
    disk.free();
    let daemon = home.start(&config);
    let new = wait_accepted(&daemon);
    daemon.wait_status(&new, "ok", "delivered");
    assert_eq!(receiver.seen().len(), accepted.len() + 1);
    drop(daemon);
}

/// Short of disk, finished history is removed before any event is refused.
#[test]
fn short_of_disk_finished_history_makes_room() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let Some(_disk) = SmallDisk::mount(&home, 64) else {
        return;
    };
    let config = endpoint("ok", &receiver.url("/"), "")
        + "[outbox]\nsegment_size = \"4MiB\"\ncache_size = \"4MiB\"\nmin_free_disk = \"8MiB\"\n";
    let daemon = home.start(&config);
    // Three times what fits, delivered as it comes; seven days of it would be kept.
    let mut patience = 0;
    let mut accepted = 0;
    while accepted < 220 {
        let answer = post(&daemon, 800_000);
        if answer.status == 202 {
            let id = answer.json()["id"].as_str().unwrap().to_owned();
            receiver.wait_until("the event", |seen| seen.iter().any(|seen| seen.id() == id));
            accepted += 1;
            continue;
        }
        // The cleaner looks once a second; a burst may be ahead of it.
        refused(&answer);
        patience += 1;
        assert!(
            patience < 100,
            "{accepted} accepted: {}\n{}",
            answer.text(),
            daemon.status()
        );
        let retry_after = answer.header("retry-after").unwrap().parse().unwrap();
        std::thread::sleep(
            std::time::Duration::from_secs(retry_after).min(std::time::Duration::from_secs(2)),
        );
    }
    assert_eq!(daemon.status()["damaged_records"], 0);
}

#[test]
fn below_min_free_disk_nothing_is_accepted() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let small = "[outbox]\nsegment_size = \"4MiB\"\n";
    let daemon = home.start(&(endpoint("ok", &receiver.url("/"), "") + small));
    let id = daemon.send("a.b", "1");
    daemon.wait_status(&id, "ok", "delivered");
    assert_eq!(daemon.stop().code(), Some(0));
    let config = endpoint("ok", &receiver.url("/"), "")
        + "[outbox]\nsegment_size = \"4MiB\"\nmin_free_disk = \"900000GiB\"\n";
    let daemon = home.start(&config);
    let detail = refused(&post(&daemon, 10));
    assert!(
        detail.contains("min_free_disk") || detail.contains("disk"),
        "{detail}"
    );
    // What is there can be read and acted upon.
    daemon
        .tcp
        .post(&format!("/v1/events/{id}/deliveries/ok/retry"))
        .expect(202);
    receiver.wait(2);
}

#[test]
fn over_max_size_of_open_bodies_nothing_is_accepted_until_it_drains() {
    let gate = Gate::new();
    let held_back = gate.clone();
    let receiver = Receiver::answering(move |_| Answer::status(200).behind(&held_back));
    let home = Home::new();
    let config = endpoint("ok", &receiver.url("/"), "")
        + "[outbox]\nsegment_size = \"4MiB\"\ncache_size = \"4MiB\"\nmax_size = \"1MiB\"\nendpoint_share = 1.0\n";
    let daemon = home.start(&config);
    let mut ids = Vec::new();
    let last = loop {
        let answer = post(&daemon, 100_000);
        if answer.status != 202 {
            break answer;
        }
        ids.push(answer.json()["id"].as_str().unwrap().to_owned());
        assert!(ids.len() < 12, "1 MiB took 1.2 MB");
    };
    assert_eq!(ids.len(), 10);
    let detail = refused(&last);
    assert!(
        detail.contains("full") || detail.contains("max_size"),
        "{detail}"
    );
    // It is the open ones that count, also after a restart.
    daemon.kill();
    let daemon = home.start(&config);
    refused(&post(&daemon, 100_000));
    gate.open();
    for id in &ids {
        daemon.wait_status(id, "ok", "delivered");
    }
    wait_accepted(&daemon);
    let backlog: Value = daemon.status()["backlog"].clone();
    assert_eq!(backlog["dead"], 0);
}

#[test]
fn inodes_that_are_used_up_are_told_as_what_they_are() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let Some(disk) = SmallDisk::mount_with(&home, 64, ",nr_inodes=200") else {
        return;
    };
    let config = endpoint("ok", &receiver.url("/"), "")
        + "[outbox]\nsegment_size = \"4MiB\"\ncache_size = \"4MiB\"\nmin_free_disk = \"1MiB\"\n";
    let daemon = home.start(&config);
    let files = disk.0.join("files");
    fs::create_dir(&files).unwrap();
    let last = (0..1000).find(|n| fs::write(files.join(n.to_string()), "").is_err());
    assert!(last.is_some(), "inodes without end");
    let mut accepted = 0;
    let answer = wait_for(
        || {
            let answer = post(&daemon, 200_000);
            accepted += u32::from(answer.status == 202);
            assert!(accepted < 300, "it never needs a new segment");
            (answer.status == 503).then_some(answer)
        },
        || daemon.log_text(),
    );
    let detail = refused(&answer);
    assert!(detail.contains("inode"), "{detail}");
    assert!(!detail.contains("min_free_disk"), "{detail}");
    let said = daemon.wait_log("nothing is accepted");
    assert!(said["reason"].as_str().unwrap().contains("inode"), "{said}");
    fs::remove_dir_all(files).unwrap();
    let event = wait_accepted(&daemon);
    daemon.wait_status(&event, "ok", "delivered");
}
