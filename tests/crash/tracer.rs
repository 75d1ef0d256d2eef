//! `strace` at a running daemon, which makes its system calls fail.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::Daemon;

/// How long it may take to detach.
const PATIENCE: Duration = Duration::from_secs(2);

/// `strace` on a running daemon. Lets go when dropped.
pub struct Tracer(Child);

impl Tracer {
    /// Attaches, and returns once it does what `options` say to every call from now on.
    pub fn attach(daemon: &Daemon, options: &[&str]) -> Option<Tracer> {
        Tracer::start(&["-f", "-p", &daemon.pid().to_string()], options)
    }

    /// The same for one of its threads.
    pub fn attach_thread(daemon: &Daemon, name: &str, options: &[&str]) -> Option<Tracer> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
        let mut tasks = tasks.map(|task| task.unwrap().path());
        let is_it = |task: &std::path::PathBuf| {
            std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name)
        };
        let task = tasks.find(is_it).expect("there is such a thread");
        Tracer::start(&["-p", task.file_name()?.to_str()?], options)
    }

    fn start(of: &[&str], options: &[&str]) -> Option<Tracer> {
        let child = Command::new("strace")
            .args(of)
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut tracer = match child {
            Ok(child) => Tracer(child),
            Err(error) => {
                eprintln!("SKIPPED: strace does not run here: {error}");
                return None;
            }
        };
        let stderr = tracer.0.stderr.take().expect("it is piped");
        let mut lines = BufReader::new(stderr).lines();
        let attached = lines.any(|line| line.is_ok_and(|line| line.contains("attached")));
        // What it says later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        if !attached {
            eprintln!("SKIPPED: strace may not trace here");
            return None;
        }
        Some(tracer)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let pid = Pid::from_child(&self.0);
        // It may have ended with the daemon.
        let _ = kill_process(pid, Signal::INT);
        let begin = Instant::now();
        while matches!(self.0.try_wait(), Ok(None)) {
            if begin.elapsed() > PATIENCE {
                // It does not release a call that it still delays.
                let _ = kill_process(pid, Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
