//! A service manager that listens to the daemon's messages (`NOTIFY_SOCKET`).

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use super::{Home, PATIENCE};

/// A socket that receives the daemon's messages.
pub struct Manager(UnixDatagram);

impl Manager {
    /// In the abstract namespace; its name as systemd writes it.
    pub fn abstract_named(home: &Home) -> (Manager, String) {
        let name = format!("{}/manager", home.path("").display());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        (Manager::on(&address), format!("@{name}"))
    }

    /// At a path.
    pub fn at_path(home: &Home) -> (Manager, String) {
        let path = home.path("manager");
        let address = SocketAddr::from_pathname(&path).unwrap();
        (Manager::on(&address), path.display().to_string())
    }

    fn on(address: &SocketAddr) -> Manager {
        let socket = UnixDatagram::bind_addr(address).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        Manager(socket)
    }

    /// The next message, if there is one within 50 ms.
    pub fn next(&self) -> Option<String> {
        let mut buffer = [0; 4096];
        let read = self.0.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..read]).into_owned())
    }

    /// Waits for a message that has this line; those before it are dropped.
    #[track_caller]
    pub fn wait(&self, line: &str) -> String {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(message) = self.next()
                && message.lines().any(|said| said.starts_with(line))
            {
                return message;
            }
        }
        panic!("it never said {line}");
    }

    /// Whether no such message arrives for this long.
    pub fn is_silent(&self, line: &str, long: Duration) -> bool {
        let until = Instant::now() + long;
        while Instant::now() < until {
            if self.next().is_some_and(|message| message.contains(line)) {
                return false;
            }
        }
        true
    }
}
