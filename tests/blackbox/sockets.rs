//! Sockets that systemd passes: what each is for (sd_listen_fds(3)).

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use serde_json::Value;

use crate::harness::http::Interface;
use crate::harness::{Home, PATIENCE};

/// A daemon that is handed sockets as systemd does it. Killed when dropped.
pub struct Passed(Child);

impl Passed {
    /// Passes one socket or two, with their names if there are any.
    pub fn start(home: &Home, sockets: &[&dyn AsFd], names: Option<&str>, config: &str) -> Passed {
        Passed::start_as(home, sockets, names, "$$", config)
    }

    /// The same with the process that they are said to be for.
    fn start_as(
        home: &Home,
        sockets: &[&dyn AsFd],
        names: Option<&str>,
        pid: &str,
        config: &str,
    ) -> Passed {
        let config = home.write_config(config);
        let (count, moved) = match sockets.len() {
            1 => (1, "3<&0"),
            2 => (2, "3<&0 4<&1"),
            other => panic!("{other} sockets"),
        };
        let script = format!(
            "exec {moved} && LISTEN_FDS={count} LISTEN_PID={pid} exec \"$0\" serve --config \"$1\""
        );
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", &script, env!("CARGO_BIN_EXE_outboxd")])
            .arg(config);
        let fd = |at: usize| sockets[at].as_fd().try_clone_to_owned().unwrap();
        command.stdin(fd(0)).stderr(Stdio::piped());
        if count > 1 {
            command.stdout(fd(1));
        }
        command.env_remove("LISTEN_FDNAMES");
        command.envs(names.map(|names| ("LISTEN_FDNAMES", names)));
        Passed(command.spawn().unwrap())
    }

    /// Waits for its end: the exit code, and what it said.
    pub fn end(&mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        let mut stderr = self.0.stderr.take().unwrap();
        stderr.read_to_string(&mut said).unwrap();
        (self.0.wait().unwrap().code(), said)
    }

    /// Waits for the line of its log that says so, and gives it. The log is read from then on,
    /// so that it never waits for us.
    pub fn wait_ready(&mut self) -> Value {
        let (tell, told) = mpsc::channel();
        let log = BufReader::new(self.0.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                // The test may have ended.
                let _ = tell.send(line);
            }
        });
        loop {
            let line = told.recv_timeout(PATIENCE).unwrap();
            if line.contains("\"ready\"") {
                return serde_json::from_str(&line).unwrap();
            }
        }
    }
}

impl Drop for Passed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn tcp() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// The status of `GET /v1/status` at a socket that was passed.
fn api_at(listener: &TcpListener) -> u16 {
    let interface = Interface::Tcp(listener.local_addr().unwrap());
    interface.get("/v1/status").status
}

#[test]
fn sockets_are_told_apart_by_their_names() {
    let home = Home::new();
    let (public, private) = (tcp(), tcp());
    let sockets: &[&dyn AsFd] = &[&public, &private];
    let mut daemon = Passed::start(&home, sockets, Some("inbound:http"), "");
    let ready = daemon.wait_ready();
    assert_eq!((api_at(&public), api_at(&private)), (404, 200));
    let address = public.local_addr().unwrap().to_string();
    assert_eq!(ready["inbound"], format!("[{address}]"));
    drop(daemon);
    // One that is passed by name replaces the one of the file.
    let taken = tcp();
    let config = format!(
        "[listen]\nhttp = \"127.0.0.1:0\"\ninbound = \"{}\"\n",
        taken.local_addr().unwrap()
    );
    let mut daemon = Passed::start(&home, &[&public], Some("inbound"), &config);
    let ready = daemon.wait_ready();
    assert_eq!(ready["inbound"], format!("[{address}]"));
    assert_eq!(api_at(&public), 404);
}

#[test]
fn one_socket_without_a_name_is_the_api_s() {
    let home = Home::new();
    let listener = tcp();
    let config = "[listen]\nhttp = \"\"\ninbound = \"127.0.0.1:0\"\n";
    for names in [None, Some("unknown"), Some("outboxd.socket")] {
        let mut daemon = Passed::start(&home, &[&listener], names, config);
        let ready = daemon.wait_ready();
        assert_eq!(api_at(&listener), 200, "{names:?}");
        assert_ne!(ready["inbound"], "[]");
    }
    // A Unix socket is told by its kind.
    let path = home.path("passed.sock");
    let unix = UnixListener::bind(&path).unwrap();
    let sockets: &[&dyn AsFd] = &[&listener, &unix];
    let mut daemon = Passed::start(&home, sockets, None, config);
    daemon.wait_ready();
    assert_eq!(api_at(&listener), 200);
    Interface::Unix(path).get("/v1/status").expect(200);
}

#[test]
fn sockets_that_could_be_either_are_a_fault() {
    let home = Home::new();
    let (one, other) = (tcp(), tcp());
    let sockets: &[&dyn AsFd] = &[&one, &other];
    let config = "[listen]\nhttp = \"\"\ninbound = \"127.0.0.1:0\"\n";
    for names in [None, Some("outboxd.socket:outboxd.socket")] {
        let (code, said) = Passed::start(&home, sockets, names, config).end();
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("FileDescriptorName=inbound"), "{said}");
    }
    let (code, said) = Passed::start(&home, sockets, Some("http:inbond"), "").end();
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("inbond"), "{said}");
    // Without a public listener both are the API's, as they always were.
    let mut daemon = Passed::start(&home, sockets, None, "");
    daemon.wait_ready();
    assert_eq!((api_at(&one), api_at(&other)), (200, 200));
}

#[test]
fn sockets_for_another_process_are_left_alone() {
    let home = Home::new();
    let listener = tcp();
    let config = "[listen]\nhttp = \"127.0.0.1:0\"\n";
    let mut daemon = Passed::start_as(&home, &[&listener], Some("inbound"), "1", config);
    let ready = daemon.wait_ready();
    assert_eq!(ready["inbound"], "[]");
    let passed = listener.local_addr().unwrap().to_string();
    assert_ne!(ready["tcp"], format!("[{passed}]"));
}
