//! The real daemon, as built for this bench, on a directory of this build.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A rebuild of a large outbox takes its time.
const READY_DEADLINE: Duration = Duration::from_secs(120);

pub struct Daemon {
    pub child: Child,
    pub address: SocketAddr,
    /// From the start of the process until it was ready.
    pub ready_after: Duration,
}

/// A directory on the disk that the build is on, not in memory as `/tmp` may be.
pub fn home() -> tempfile::TempDir {
    let root = env!("CARGO_TARGET_TMPDIR");
    std::fs::create_dir_all(root).expect("the build has a directory");
    let home = tempfile::Builder::new().prefix("bench-").tempdir_in(root);
    home.expect("a directory can be made")
}

/// Starts it in `home` with `rest` as the end of its configuration, and waits until it is ready.
/// What comes before the first table of `rest` belongs to `[listen]`.
pub fn start(home: &Path, rest: &str) -> Daemon {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let address = free.expect("there is a free port");
    let config = home.join("outboxd.toml");
    let text = format!(
        "data_dir = {:?}\n[log]\nlevel = \"error\"\n[listen]\nhttp = \"{address}\"\n{rest}",
        home.join("data")
    );
    std::fs::write(&config, text).expect("the configuration can be written");
    let start = Instant::now();
    // Another build can be measured the same way.
    let binary = std::env::var_os("OUTBOXD_BIN");
    let child = Command::new(binary.unwrap_or(env!("CARGO_BIN_EXE_outboxd").into()))
        .args(["serve", "--config"])
        .arg(&config)
        .env_clear()
        .stdout(Stdio::null())
        .spawn();
    let mut daemon = Daemon {
        child: child.expect("the daemon starts"),
        address,
        ready_after: Duration::ZERO,
    };
    while !get(address, "/readyz").starts_with("HTTP/1.1 200") {
        let ended = daemon.child.try_wait().expect("it is ours");
        assert!(ended.is_none(), "the daemon ended: {ended:?}");
        assert!(start.elapsed() < READY_DEADLINE, "it does not become ready");
        std::thread::sleep(Duration::from_millis(2));
    }
    daemon.ready_after = start.elapsed();
    daemon
}

/// The whole answer, head included; empty if there is none.
pub fn get(address: SocketAddr, path: &str) -> String {
    let mut answer = String::new();
    let exchange = TcpStream::connect(address).and_then(|mut stream| {
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        )?;
        stream.read_to_string(&mut answer)
    });
    // Not listening yet.
    exchange.map(|_| answer).unwrap_or_default()
}

impl Drop for Daemon {
    /// `kill -9`.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
