//! System calls that fail, at the daemon itself: `strace` makes them. Rules 3 and 4 of the
//! log. Skipped, aloud, where nobody may trace.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::files::segments;
use crate::harness::{Home, Receiver, endpoint};
use crate::populated::recovery;
use crate::tracer::Tracer;

/// What happens to the daemon when this call fails in the middle of its life: it refuses
/// what it cannot store, ends with a clear message, and has all that it acknowledged.
#[track_caller]
fn ends_when(inject: &str, says: &str) {
    let receiver = Receiver::ok();
    let home = Home::new();
    let config = endpoint("ok", &receiver.url("/"), "");
    let daemon = home.start(&config);
    let kept: Vec<String> = (0..10)
        .map(|number| daemon.send("a.b", &number.to_string()))
        .collect();
    for id in &kept {
        daemon.wait_status(id, "ok", "delivered");
    }
    let Some(tracer) = Tracer::attach(&daemon, &["-o", "/dev/null", "-e", inject]) else {
        return;
    };
    let headers = [("content-type", "application/json")];
    let body = br#"{"type":"a.lost","data":1,"idempotency_key":"k"}"#;
    match daemon.tcp.try_request("POST", "/v1/events", &headers, body) {
        Ok(answer) => assert_eq!(answer.status, 503, "{}", answer.text()),
        // It was gone before it could say so.
        Err(error) => eprintln!("no answer: {error}"),
    }
    let last = daemon.wait_log("outboxd cannot go on");
    assert!(last["error"].as_str().unwrap().contains(says), "{last}");
    assert_eq!(daemon.wait_exit().code(), Some(1));
    drop(tracer);
    let daemon = home.start(&config);
    assert_eq!(daemon.status()["damaged_records"], 0);
    for id in &kept {
        daemon.wait_status(id, "ok", "delivered");
    }
    // Whether it was stored or not, it is stored once now.
    let again = daemon
        .tcp
        .request("POST", "/v1/events", &headers, body)
        .expect(202);
    daemon.wait_status(again["id"].as_str().unwrap(), "ok", "delivered");
    let listed = daemon.tcp.get("/v1/events").expect(200);
    assert_eq!(listed["data"].as_array().unwrap().len(), kept.len() + 1);
}

/// Waiting for events of the network fails as it never does: tokio panics.
#[test]
fn a_thread_that_panics_ends_the_daemon_and_nothing_is_lost() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let threads = "[delivery]\nthreads = 2\nallow_networks = [\"127.0.0.0/8\"]\n";
    let config = threads.to_owned() + &endpoint("ok", &receiver.url("/"), "");
    let daemon = home.start(&config);
    let ids: Vec<String> = (0..10)
        .map(|number| daemon.send("a.b", &number.to_string()))
        .collect();
    let fails = "inject=epoll_wait,epoll_pwait,epoll_pwait2:error=EBADF";
    let options = ["-o", "/dev/null", "-e", fails];
    let Some(tracer) = Tracer::attach_thread(&daemon, "attempts-1", &options) else {
        return;
    };
    let last = daemon.wait_log("outboxd cannot go on");
    let error = last["error"].as_str().unwrap();
    assert!(
        error.contains("a thread that makes attempts panicked"),
        "{error}"
    );
    assert_eq!(daemon.wait_exit().code(), Some(1));
    drop(tracer);
    let daemon = home.start(&config);
    for id in &ids {
        daemon.wait_status(id, "ok", "delivered");
    }
}

#[test]
fn a_failed_sync_of_the_log_ends_the_daemon() {
    ends_when("inject=fdatasync:error=EIO", "could not sync");
}

#[test]
fn a_failed_write_to_the_log_ends_the_daemon() {
    ends_when("inject=pwrite64:error=EIO", "could not write");
}

/// An fsync that failed once is never believed again: the one after it may succeed, and
/// says nothing of the pages that were lost.
#[test]
fn a_sync_that_fails_only_once_ends_the_daemon_too() {
    ends_when("inject=fdatasync:error=EIO:when=1", "could not sync");
}

/// Rule 1: nothing is written before what is before it was synced, over segments too; and
/// a new segment is whole, named and synced with its directory before its first frame.
#[test]
fn a_segment_is_synced_before_the_next_one_takes_a_frame() {
    let home = Home::new();
    let daemon = home.start("");
    let out = home.path("trace").display().to_string();
    let calls = "trace=pwrite64,fsync,fdatasync,rename";
    let Some(tracer) = Tracer::attach(&daemon, &["-y", "-o", &out, "-e", calls]) else {
        return;
    };
    let body = "x".repeat(900_000);
    let headers = [("content-type", "text/plain")];
    for _ in 0..12 {
        let answer = daemon
            .tcp
            .request("POST", "/v1/events/a.b", &headers, body.as_bytes());
        answer.expect(202);
    }
    assert_eq!(daemon.stop().code(), Some(0));
    drop(tracer);
    let traced = fs::read_to_string(out).unwrap();
    // "PID  CALL(FD</path>, ..." at its beginning, or "CALL resumed" at its end.
    let begun: Vec<(&str, &str)> = traced
        .lines()
        .filter(|line| !line.contains("resumed>"))
        .filter_map(|line| line.trim_start().split_once(char::is_whitespace))
        .map(|(pid, call)| (pid, call.trim_start()))
        .collect();
    let is_frame = |call: &str| call.starts_with("pwrite64(") && call.contains("oBxF");
    let (writer, _) = begun
        .iter()
        .find(|(_, call)| is_frame(call))
        .expect("frames");
    let mut unsynced: Option<String> = None;
    let mut files: Vec<String> = Vec::new();
    for (at, (pid, call)) in begun.iter().enumerate() {
        let Some(path) = path_in(call).filter(|path| path.ends_with(".log")) else {
            continue;
        };
        if pid != writer {
            assert!(!is_frame(call), "two threads write frames");
        } else if call.starts_with("fdatasync(") {
            assert_eq!(unsynced.take().unwrap_or(path.clone()), path);
        } else if is_frame(call) {
            assert_eq!(unsynced, None, "{call} before the one before it is synced");
            unsynced = Some(path.clone());
            if !files.contains(&path) {
                files.push(path.clone());
                named_before(&begun[..at], &path, files.len() > 2);
            }
        }
    }
    assert!(files.len() >= 3, "{files:?}");
}

/// The path that `-y` shows for the descriptor.
fn path_in(call: &str) -> Option<String> {
    let (_, rest) = call.split_once('<')?;
    Some(rest.split_once('>')?.0.to_owned())
}

/// Of a segment made in the time that was traced.
#[track_caller]
fn named_before(calls: &[(&str, &str)], path: &str, expected: bool) {
    let place = |wanted: &dyn Fn(&str) -> bool| calls.iter().position(|(_, call)| wanted(call));
    let named = place(&|call| call.starts_with("rename(") && call.contains(&format!("{path}\"")));
    let Some(named) = named else {
        assert!(!expected, "{path} was never named");
        return;
    };
    let unnamed = format!("{path}.new>");
    let whole = place(&|call| call.starts_with("fsync(") && call.contains(&unnamed));
    assert!(
        whole.is_some_and(|at| at < named),
        "{path} was not synced before it was named"
    );
    let dir = format!("{}>", Path::new(path).parent().unwrap().display());
    let synced = calls[named..]
        .iter()
        .any(|(_, call)| call.starts_with("fsync(") && call.contains(&dir));
    assert!(
        synced,
        "{path} took a frame before its directory was synced"
    );
}

/// What the start of a daemon does to the log: writes and syncs of its files, in order.
fn trace_start(home: &Home, config: &str, out: &Path) -> Option<String> {
    let config = home.write_config(config);
    let binary = env!("CARGO_BIN_EXE_outboxd");
    let child = Command::new("strace")
        .args([
            // As a grandchild, so that our child is the daemon.
            "-D",
            "-f",
            "-y",
            "-e",
            "trace=pwrite64,fsync,fdatasync,rename",
            "-o",
        ])
        .arg(out)
        .args([binary, "serve", "--config"])
        .arg(config)
        .env("OUTBOXD_BOOT_ID_FILE", home.path("boot_id"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            eprintln!("SKIPPED: strace does not run here: {error}");
            return None;
        }
    };
    let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    let ready = lines.any(|line| line.is_ok_and(|line| line.contains("ready")));
    let traced = fs::read_to_string(out).unwrap_or_default();
    let _ = kill_process(Pid::from_child(&child), Signal::TERM);
    let _ = child.wait();
    if !ready {
        eprintln!("SKIPPED: strace may not trace here");
        return None;
    }
    Some(traced)
}

/// Rule 3: a frame that was written and perhaps never synced may have been read from the
/// page cache. Before anybody is answered it is written again, and synced.
#[test]
fn what_no_later_frame_proves_is_written_and_synced_again_before_it_is_ready() {
    let home = Home::new();
    fs::write(home.path("boot_id"), "boot-1").unwrap();
    let daemon = home.start("");
    daemon.send("a.b", "1");
    // Killed inside the sync of the next frame: it is in the file, and nobody was told.
    let Some(tracer) = Tracer::attach(
        &daemon,
        &["-o", "/dev/null", "-e", "inject=fdatasync:signal=KILL"],
    ) else {
        return;
    };
    let headers = [("content-type", "application/json")];
    let body = br#"{"type":"a.unsynced","data":1}"#;
    daemon
        .tcp
        .try_request("POST", "/v1/events", &headers, body)
        .expect_err("it was killed");
    daemon.wait_exit();
    drop(tracer);
    let Some(traced) = trace_start(&home, "", &home.path("trace")) else {
        return;
    };
    let name = segments(&home)[0].display().to_string();
    let of_it = |line: &&str| line.contains(&name);
    let calls: Vec<&str> = traced.lines().filter(of_it).collect();
    let wrote = calls
        .iter()
        .position(|line| line.contains("pwrite64(") && line.contains("oBxF"));
    let wrote = wrote.unwrap_or_else(|| panic!("the last frame is not written again: {calls:#?}"));
    let synced = calls[wrote..].iter().any(|line| line.contains("sync("));
    assert!(synced, "what was written again is not synced: {calls:#?}");
    let daemon = home.start("");
    assert_eq!(daemon.status()["damaged_records"], 0);
    assert_ne!(recovery(&daemon), "created");
    let listed = daemon.tcp.get("/v1/events?type=a.unsynced").expect(200);
    assert_eq!(
        listed["data"].as_array().unwrap().len(),
        1,
        "once read, it stays"
    );
}
