//! Where the daemon listens: TCP, a Unix socket, and sockets that systemd hands over.
//!
//! A socket of another kind that systemd passes replaces what the configuration says for
//! that kind. The Unix socket appears under its name with its final permissions: it is
//! bound inside a private directory, given its mode, and renamed into place.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixSocket, UnixStream};

use super::accept::Listener;
use crate::config::{Auth, Listen};

/// Connections that the kernel completes ahead of us.
const BACKLOG: u32 = 1024;

/// Why the daemon cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("cannot listen on {address}: {source}")]
    Tcp {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("cannot listen on {}: {source}", path.display())]
    Unix { path: PathBuf, source: io::Error },
    #[error("{} is in use: something answers on it", path.display())]
    InUse { path: PathBuf },
    #[error("{} exists and is not a socket; outboxd does not replace it", path.display())]
    NotASocket { path: PathBuf },
    #[error("socket {index} that systemd passed is not a listening TCP or Unix socket: {source}")]
    Passed { index: usize, source: io::Error },
    #[error("nothing to listen on: both listen.http and listen.unix are empty")]
    Nothing,
    #[error(
        "{address}, a socket that systemd passed, is not loopback, and without a token \
         anyone who reaches it has full access; add a token under [auth], or listen on 127.0.0.1 or the Unix socket"
    )]
    Open { address: SocketAddr },
}

/// The sockets that are listened on.
#[derive(Debug, Default)]
pub struct Listeners {
    pub tcp: Vec<TcpListener>,
    pub unix: Vec<OwnedUnixListener>,
}

/// A Unix socket, and its file if it is ours to remove.
#[derive(Debug)]
pub struct OwnedUnixListener {
    listener: UnixListener,
    file: Option<SocketFile>,
}

impl Listener for OwnedUnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Listeners {
    /// Opens what `listen` and the environment name. To be called on the runtime.
    ///
    /// # Errors
    /// When something named cannot be listened on, or nothing is named.
    pub fn open(listen: &Listen) -> Result<Self, ListenError> {
        let mut listeners = Self::passed(&mut ListenFd::from_env())?;
        if let (Some(address), true) = (listen.http, listeners.tcp.is_empty()) {
            let tcp = bind_tcp(address).map_err(|source| ListenError::Tcp { address, source })?;
            listeners.tcp.push(tcp);
        }
        if let (Some(path), true) = (&listen.unix, listeners.unix.is_empty()) {
            listeners.unix.push(bind_unix(path, listen.unix_mode)?);
        }
        if listeners.tcp.is_empty() && listeners.unix.is_empty() {
            return Err(ListenError::Nothing);
        }
        Ok(listeners)
    }

    /// Takes over the sockets that systemd passed.
    fn passed(fds: &mut ListenFd) -> Result<Self, ListenError> {
        let mut listeners = Listeners::default();
        for index in 0..fds.len() {
            let failed = |source| ListenError::Passed { index, source };
            if let Ok(taken) = fds.take_tcp_listener(index) {
                let Some(tcp) = taken else { continue };
                tcp.set_nonblocking(true).map_err(failed)?;
                listeners
                    .tcp
                    .push(TcpListener::from_std(tcp).map_err(failed)?);
            } else if let Some(unix) = fds.take_unix_listener(index).map_err(failed)? {
                unix.set_nonblocking(true).map_err(failed)?;
                listeners.unix.push(OwnedUnixListener {
                    listener: UnixListener::from_std(unix).map_err(failed)?,
                    file: None,
                });
            }
        }
        Ok(listeners)
    }

    /// The configuration was checked with its own addresses; a socket that systemd passed is
    /// only known here.
    ///
    /// # Errors
    /// When a client on another machine could connect and would need no token.
    pub fn require_tokens(&self, auth: &Auth) -> Result<(), ListenError> {
        let beyond = |address: &SocketAddr| !address.ip().to_canonical().is_loopback();
        match self.tcp_addresses().into_iter().find(beyond) {
            Some(address) if auth.tokens.is_empty() => Err(ListenError::Open { address }),
            _ => Ok(()),
        }
    }

    /// The TCP addresses, with the ports that the system chose.
    pub fn tcp_addresses(&self) -> Vec<SocketAddr> {
        self.tcp
            .iter()
            .filter_map(|tcp| tcp.local_addr().ok())
            .collect()
    }

    /// The paths of the Unix sockets.
    pub fn unix_paths(&self) -> Vec<PathBuf> {
        let path = |socket: &OwnedUnixListener| match &socket.file {
            Some(file) => Some(file.path.clone()),
            None => Some(socket.listener.local_addr().ok()?.as_pathname()?.to_owned()),
        };
        self.unix.iter().filter_map(path).collect()
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The file of a socket that was bound here. Removed when dropped, unless somebody else
/// has put another in its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|now| now.dev() == self.device && now.ino() == self.inode);
        if ours {
            // A stale socket is replaced at the next start in any case.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn bind_unix(path: &Path, mode: u32) -> Result<OwnedUnixListener, ListenError> {
    refuse_if_taken(path)?;
    let failed = |source| ListenError::Unix {
        path: path.to_owned(),
        source,
    };
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let private = PrivateDir::create(parent).map_err(failed)?;
    let inside = private.0.join("s");
    let socket = UnixSocket::new_stream().map_err(failed)?;
    socket.bind(&inside).map_err(failed)?;
    fs::set_permissions(&inside, Permissions::from_mode(mode & 0o777)).map_err(failed)?;
    let listener = socket.listen(BACKLOG).map_err(failed)?;
    let metadata = fs::symlink_metadata(&inside).map_err(failed)?;
    fs::rename(&inside, path).map_err(failed)?;
    let file = SocketFile {
        path: path.to_owned(),
        device: metadata.dev(),
        inode: metadata.ino(),
    };
    Ok(OwnedUnixListener {
        listener,
        file: Some(file),
    })
}

/// Only a socket on which nobody answers may be replaced.
fn refuse_if_taken(path: &Path) -> Result<(), ListenError> {
    let owned = || path.to_owned();
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            return Err(ListenError::Unix {
                path: owned(),
                source,
            });
        }
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(ListenError::NotASocket { path: owned() });
        }
        Ok(_) => {}
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Connected, its queue is full, or it is not ours to know: somebody is there.
        _ => Err(ListenError::InUse { path: owned() }),
    }
}

/// A directory that nobody else may enter. Removed when dropped.
struct PrivateDir(PathBuf);

impl PrivateDir {
    fn create(parent: &Path) -> io::Result<Self> {
        // Short: a socket's path has 107 bytes.
        let path = parent.join(format!(".ob{}", std::process::id()));
        match fs::remove_dir_all(&path) {
            // Left over by a crash of a process that had our number.
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(PrivateDir(path))
    }
}

impl Drop for PrivateDir {
    fn drop(&mut self) {
        // What is left of it hurts nobody and is removed at the next start.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(unix: Option<PathBuf>) -> Listen {
        Listen {
            http: None,
            unix,
            ..Listen::default()
        }
    }

    #[tokio::test]
    async fn a_socket_has_its_mode_and_goes_when_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("o.sock");
        let listeners = Listeners::open(&listen(Some(path.clone()))).unwrap();
        let metadata = fs::symlink_metadata(&path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o660);
        assert_eq!(listeners.unix_paths(), std::slice::from_ref(&path));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        tokio::net::UnixStream::connect(&path).await.unwrap();
        drop(listeners);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_socket_that_answers_is_left_alone_and_a_stale_one_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("o.sock");
        let theirs = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let taken = Listeners::open(&listen(Some(path.clone()))).unwrap_err();
        assert!(matches!(taken, ListenError::InUse { .. }), "{taken}");
        drop(theirs);
        let ours = Listeners::open(&listen(Some(path.clone()))).unwrap();
        tokio::net::UnixStream::connect(&path).await.unwrap();
        // Somebody else's socket in our place is not removed.
        fs::remove_file(&path).unwrap();
        let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(ours);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn a_file_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("precious");
        fs::write(&path, "data").unwrap();
        let refused = Listeners::open(&listen(Some(path.clone()))).unwrap_err();
        assert!(matches!(refused, ListenError::NotASocket { .. }));
        assert_eq!(fs::read_to_string(&path).unwrap(), "data");
    }

    #[tokio::test]
    async fn a_taken_port_and_nothing_at_all_are_errors() {
        let theirs = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = Listen {
            http: Some(theirs.local_addr().unwrap()),
            ..listen(None)
        };
        let error = Listeners::open(&taken).unwrap_err();
        assert!(error.to_string().contains("127.0.0.1"), "{error}");
        assert!(matches!(
            Listeners::open(&listen(None)),
            Err(ListenError::Nothing)
        ));
    }
}
