//! Nothing that reports can end, block or slow what it reports on: stderr, stdout, and the
//! exit status beside them.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use crate::harness::{Daemon, Home, Receiver, endpoint, wait_for};

fn full() -> Stdio {
    File::options()
        .write(true)
        .open("/dev/full")
        .expect("/dev/full is there")
        .into()
}

/// A pipe whose reader has gone.
fn broken() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

fn lines_lost(daemon: &Daemon) -> u64 {
    let text = daemon.unix.get("/metrics").text();
    let sample = text
        .lines()
        .find_map(|line| line.strip_prefix("outboxd_log_lines_lost_total "));
    sample.expect("it is counted").parse().expect("a number")
}

/// Delivers, restarts nothing, and stops with 0.
fn serves(daemon: Daemon, receiver: &Receiver) {
    let event = daemon.send("a", "1");
    daemon.wait_status(&event, "all", "delivered");
    assert!(receiver.seen().iter().any(|seen| seen.id() == event));
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn a_daemon_whose_stderr_fails_serves_on() {
    let receiver = Receiver::ok();
    let config = endpoint("all", &receiver.url("/"), "");
    for (what, stderr) in [("a full disk", full()), ("a closed pipe", broken())] {
        let home = Home::new();
        let daemon = home.start_with(&config, home.command(), stderr);
        wait_for(
            || (lines_lost(&daemon) > 0).then_some(()),
            || format!("{what} loses no line"),
        );
        serves(daemon, &receiver);
    }
    // A closed descriptor.
    let home = Home::new();
    let command = home.command_after("exec 2>&-");
    serves(home.start_with(&config, command, Stdio::null()), &receiver);
}

#[test]
fn a_daemon_whose_stderr_nobody_reads_serves_on_and_says_what_was_lost() {
    let receiver = Receiver::ok();
    let config = endpoint("all", &receiver.url("/"), "") + "\n[log]\nlevel = \"debug\"\n";
    let home = Home::new();
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    // Full from the beginning: not one line goes through.
    let filled = vec![b'\n'; 64 << 10];
    writer.write_all(&filled).expect("it takes 64 KiB");
    let daemon = home.start_with(&config, home.command(), writer.into());
    // A line a delivery: more than the daemon keeps.
    let json = [("content-type", "application/x-ndjson")];
    let batch = "{\"type\":\"a\",\"data\":1}\n".repeat(1000);
    for _ in 0..10 {
        let answer = daemon
            .unix
            .request("POST", "/v1/events", &json, batch.as_bytes());
        answer.expect(202);
    }
    wait_for(
        || (lines_lost(&daemon) > 0).then_some(()),
        || "the queue of lines has no end".to_owned(),
    );
    // The reader goes on.
    let mut lines = BufReader::new(reader).lines().map_while(Result::ok);
    let (mut has_begun, mut told) = (false, false);
    // What is read now makes room for what comes.
    daemon.send("a", "1");
    for line in &mut lines {
        has_begun |= line.contains("ready");
        told = line.contains("log lines were lost");
        if told {
            break;
        }
    }
    assert!(has_begun, "the lines from the beginning are kept");
    assert!(told, "nothing says what was lost");
    std::thread::spawn(move || lines.count());
    serves(daemon, &receiver);
}

#[test]
fn a_stop_does_not_wait_for_a_stderr_that_is_stuck() {
    let home = Home::new();
    let (_reader, mut writer) = std::io::pipe().expect("a pipe");
    writer.write_all(&vec![b'\n'; 64 << 10]).expect("64 KiB");
    let daemon = home.start_with("", home.command(), writer.into());
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn a_command_keeps_its_exit_status_whatever_becomes_of_its_output() {
    let home = Home::new();
    std::fs::write(home.path("bad.toml"), "no_such_key = 1\n").unwrap();
    std::fs::write(home.path("good.toml"), "").unwrap();
    let status = |args: &[&str], stdout: Stdio, stderr: Stdio| {
        let mut command = home.command();
        command.args(args).stdin(Stdio::null());
        let status = command.stdout(stdout).stderr(stderr).status();
        status.expect("the binary runs").code()
    };
    let bad_check: &[&str] = &["check", "--config", "bad.toml"];
    let bad_json: &[&str] = &["check", "--json", "--config", "bad.toml"];
    let bad_serve: &[&str] = &["serve", "--config", "bad.toml"];
    let nobody: &[&str] = &["status", "--url", "http://127.0.0.1:9"];
    let unknown: &[&str] = &["no-such-command"];
    for (args, code) in [
        (bad_check, 2),
        (bad_json, 2),
        (bad_serve, 2),
        (nobody, 1),
        (unknown, 2),
    ] {
        for stderr in [full(), broken(), Stdio::null()] {
            assert_eq!(status(args, full(), stderr), Some(code), "{args:?}");
        }
    }
    let good: &[&str] = &["check", "--config", "good.toml"];
    for args in [good, &["keygen"], &["--help"], &["--version"]] {
        assert_eq!(status(args, full(), full()), Some(1), "{args:?}");
        // Whoever reads no further has what it wanted.
        assert_eq!(status(args, broken(), full()), Some(0), "{args:?}");
    }
    let path = home.path("said");
    let said = OpenOptions::new().create(true).append(true).open(&path);
    assert_eq!(status(good, full(), said.unwrap().into()), Some(1));
    let said = std::fs::read_to_string(path).unwrap();
    assert!(said.contains("cannot write to stdout"), "{said}");
}
