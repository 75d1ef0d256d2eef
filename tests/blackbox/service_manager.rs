//! Messages to a service manager: readiness, reloads, the stop, and progress for the watchdog.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::manager::Manager;
use crate::harness::{Daemon, Home, Receiver, endpoint};

#[test]
fn readiness_reloads_and_the_stop_are_reported() {
    for make in [Manager::abstract_named, Manager::at_path] {
        let mut home = Home::new();
        let (manager, name) = make(&home);
        home.set_env("NOTIFY_SOCKET", name);
        let daemon = home.start("");
        manager.wait("READY=1");
        manager.wait("STATUS=0 pending");
        daemon.reload();
        let reloading = manager.wait("RELOADING=1");
        assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
        manager.wait("READY=1");
        daemon.terminate();
        manager.wait("STOPPING=1");
        assert_eq!(daemon.wait_exit().code(), Some(0));
    }
}

/// Stops one thread of the daemon, and nothing else, for as long as it lives.
struct Stopped(std::process::Child);

const STOP_THREAD: &str = "
import ctypes, sys, os
ptrace = ctypes.CDLL(None, use_errno=True).ptrace
ptrace.argtypes = [ctypes.c_long] * 4
ptrace.restype = ctypes.c_long
tid = int(sys.argv[1])
for request in (0x4206, 0x4207):
    if ptrace(request, tid, 0, 0) != 0:
        print('refused', ctypes.get_errno(), flush=True)
        sys.exit(1)
os.waitpid(tid, 0x40000000)
print('stopped', flush=True)
sys.stdin.read()
";

impl Stopped {
    /// `None` if this machine does not permit tracing.
    fn thread(daemon: &Daemon, name: &str) -> Option<Stopped> {
        use std::io::{BufRead, BufReader};
        let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
        let named = tasks.flatten().find(|task| {
            let comm = std::fs::read_to_string(task.path().join("comm"));
            comm.is_ok_and(|comm| comm.trim() == name)
        });
        let tid = named.expect("the thread is there").file_name();
        let mut child = Command::new("python3")
            .args(["-c", STOP_THREAD])
            .arg(tid)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .ok()?;
        let mut line = String::new();
        let stdout = child.stdout.take()?;
        BufReader::new(stdout).read_line(&mut line).ok()?;
        match line.trim() {
            "stopped" => Some(Stopped(child)),
            _ => None,
        }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn keep_alives_are_sent_while_dispatcher_and_writer_make_progress() {
    let mut home = Home::new();
    let (manager, name) = Manager::abstract_named(&home);
    home.set_env("NOTIFY_SOCKET", name);
    home.set_env("WATCHDOG_USEC", "900000");
    for thread in ["writer", "outboxd"] {
        let daemon = home.start("");
        for _ in 0..3 {
            manager.wait("WATCHDOG=1");
        }
        let Some(stopped) = Stopped::thread(&daemon, thread) else {
            eprintln!(
                "SKIPPED: a thread of the daemon cannot be stopped here (python3 and ptrace)"
            );
            return;
        };
        // Some may have been on their way when the thread stopped.
        assert!(
            (0..20).any(|_| manager.is_silent("WATCHDOG", Duration::from_secs(2))),
            "keep-alives are sent although {thread} is stopped"
        );
        drop(stopped);
        manager.wait("WATCHDOG=1");
        assert_eq!(daemon.stop().code(), Some(0));
    }
}

/// The load is of all that the daemon does: commits, deliveries and lists.
#[test]
fn keep_alives_are_in_time_at_full_load() {
    const LIMIT: Duration = Duration::from_secs(3);
    let mut home = Home::new();
    let (manager, name) = Manager::abstract_named(&home);
    home.set_env("NOTIFY_SOCKET", name);
    home.set_env("WATCHDOG_USEC", LIMIT.as_micros().to_string());
    let receiver = Receiver::ok();
    let daemon = home.start(&endpoint("ok", &receiver.url("/"), ""));
    let lines = "{\"type\":\"a.b\",\"data\":1}\n".repeat(200);
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let headers = [("content-type", "application/x-ndjson")];
                while !ended.load(Ordering::Relaxed) {
                    let events = lines.as_bytes();
                    let answer = daemon.tcp.request("POST", "/v1/events", &headers, events);
                    assert!(matches!(answer.status, 202 | 503), "{answer:?}");
                    daemon.tcp.get("/v1/deliveries?limit=1000").expect(200);
                }
            });
        }
        manager.wait("WATCHDOG=1");
        let mut last = Instant::now();
        let mut longest = Duration::ZERO;
        for _ in 0..8 {
            manager.wait("WATCHDOG=1");
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        ended.store(true, Ordering::Relaxed);
        assert!(longest < LIMIT, "a keep-alive came after {longest:?}");
    });
    assert!(receiver.wait(1000).len() >= 1000);
    assert_eq!(daemon.stop().code(), Some(0));
}
