//! Where the daemon listens: TCP, a Unix socket, and sockets that systemd hands over.
//!
//! A socket that systemd passes replaces what the configuration says for its kind: the API over
//! TCP, the API over a Unix socket, or the public listener. `LISTEN_FDNAMES` tells the two TCP
//! kinds apart (sd_listen_fds(3)); a name that is not known is refused, since a socket meant for
//! the public must never become the API. The Unix socket appears under its name with its final permissions: it is
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
    #[error(
        "socket {index} that systemd passed is named {name:?}; FileDescriptorName= in its socket \
         unit is http, unix or inbound"
    )]
    UnknownName { index: usize, name: String },
    #[error("socket {index} that systemd passed is named {name:?}, but it is a {kind} socket")]
    WrongKind {
        index: usize,
        name: String,
        kind: &'static str,
    },
    #[error(
        "systemd passed {count} TCP sockets without names, and listen.inbound is set: it is not \
         known which is the API's; set FileDescriptorName=http or FileDescriptorName=inbound in \
         their socket units"
    )]
    Ambiguous { count: usize },
    #[error("nothing to listen on: listen.http, listen.unix and listen.inbound are empty")]
    Nothing,
    #[error(
        "{address}, a socket that systemd passed, is not loopback, and without a token \
         anyone who reaches it has full access; add a token under [auth], or listen on 127.0.0.1 or the Unix socket"
    )]
    Open { address: SocketAddr },
}

impl ListenError {
    /// Whether it would be the same at every start, until what was asked for is changed.
    pub fn is_of_configuration(&self) -> bool {
        matches!(
            self,
            ListenError::Open { .. }
                | ListenError::UnknownName { .. }
                | ListenError::WrongKind { .. }
                | ListenError::Ambiguous { .. }
        )
    }
}

/// The sockets that are listened on.
#[derive(Debug, Default)]
pub struct Listeners {
    /// The API's.
    pub tcp: Vec<TcpListener>,
    pub unix: Vec<OwnedUnixListener>,
    /// Public: nothing of the API is there.
    pub inbound: Vec<TcpListener>,
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
        let mut fds = ListenFd::from_env();
        let names = names(std::env::var("LISTEN_FDNAMES").ok().as_deref(), fds.len());
        let mut listeners = sorted(passed(&mut fds, names)?, listen.inbound.is_some())?;
        let tcp =
            |address| bind_tcp(address).map_err(|source| ListenError::Tcp { address, source });
        if let (Some(address), true) = (listen.http, listeners.tcp.is_empty()) {
            listeners.tcp.push(tcp(address)?);
        }
        if let (Some(address), true) = (listen.inbound, listeners.inbound.is_empty()) {
            listeners.inbound.push(tcp(address)?);
        }
        if let (Some(path), true) = (&listen.unix, listeners.unix.is_empty()) {
            listeners.unix.push(bind_unix(path, listen.unix_mode)?);
        }
        if listeners.tcp.is_empty() && listeners.unix.is_empty() && listeners.inbound.is_empty() {
            return Err(ListenError::Nothing);
        }
        Ok(listeners)
    }

    /// The configuration was checked with its own addresses; a socket that systemd passed is
    /// only known here.
    ///
    /// # Errors
    /// When a client on another machine could connect and would need no token.
    pub fn require_tokens(&self, auth: &Auth) -> Result<(), ListenError> {
        match self.exposed() {
            Some(address) if auth.tokens.is_empty() => Err(ListenError::Open { address }),
            _ => Ok(()),
        }
    }

    /// An address of the API that clients on other machines may reach.
    pub fn exposed(&self) -> Option<SocketAddr> {
        let beyond = |address: &SocketAddr| !address.ip().to_canonical().is_loopback();
        self.tcp_addresses().into_iter().find(beyond)
    }

    /// The API's TCP addresses, with the ports that the system chose.
    pub fn tcp_addresses(&self) -> Vec<SocketAddr> {
        addresses(&self.tcp)
    }

    /// The addresses of the public listener, with the ports that the system chose.
    pub fn inbound_addresses(&self) -> Vec<SocketAddr> {
        addresses(&self.inbound)
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

fn addresses(listeners: &[TcpListener]) -> Vec<SocketAddr> {
    let addresses = listeners.iter().map(TcpListener::local_addr);
    addresses.filter_map(Result::ok).collect()
}

/// A socket that systemd passed.
enum Socket {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

/// The names of `count` sockets; empty where there is none.
fn names(variable: Option<&str>, count: usize) -> Vec<String> {
    let names: Vec<String> = variable
        .unwrap_or_default()
        .split(':')
        .map(str::to_owned)
        .collect();
    match names.len() == count {
        true => names,
        false => vec![String::new(); count],
    }
}

/// Takes over the sockets that systemd passed, each with its name.
fn passed(fds: &mut ListenFd, names: Vec<String>) -> Result<Vec<(String, Socket)>, ListenError> {
    let mut sockets = Vec::new();
    for (index, name) in names.into_iter().enumerate() {
        let socket = match fds.take_tcp_listener(index) {
            Ok(tcp) => tcp.map(Socket::Tcp),
            Err(_) => {
                let unix = fds.take_unix_listener(index);
                unix.map_err(|source| ListenError::Passed { index, source })?
                    .map(Socket::Unix)
            }
        };
        sockets.extend(socket.map(|socket| (name, socket)));
    }
    Ok(sockets)
}

/// Whether a socket's unit gives it no name: systemd then takes that of the unit, or `unknown`.
fn is_unnamed(name: &str) -> bool {
    matches!(name, "" | "unknown") || name.ends_with(".socket")
}

/// Puts each socket where its kind and its name belong. `inbound`: whether the configuration has
/// a public listener, so that a TCP socket without a name could be meant for it.
fn sorted(sockets: Vec<(String, Socket)>, inbound: bool) -> Result<Listeners, ListenError> {
    let mut listeners = Listeners::default();
    let mut unnamed = 0;
    for (index, (name, socket)) in sockets.into_iter().enumerate() {
        let failed = |source| ListenError::Passed { index, source };
        unnamed += usize::from(matches!(socket, Socket::Tcp(_)) && is_unnamed(&name));
        let known = is_unnamed(&name) || matches!(&*name, "http" | "unix" | "inbound");
        match socket {
            _ if !known => return Err(ListenError::UnknownName { index, name }),
            // One unit may pass both kinds under one name, so only what would be public matters.
            Socket::Unix(_) if name == "inbound" => {
                let kind = "Unix";
                return Err(ListenError::WrongKind { index, name, kind });
            }
            Socket::Tcp(_) if name == "unix" => {
                let kind = "TCP";
                return Err(ListenError::WrongKind { index, name, kind });
            }
            Socket::Tcp(tcp) => {
                tcp.set_nonblocking(true).map_err(failed)?;
                let tcp = TcpListener::from_std(tcp).map_err(failed)?;
                match &*name {
                    "inbound" => listeners.inbound.push(tcp),
                    _ => listeners.tcp.push(tcp),
                }
            }
            Socket::Unix(unix) => {
                unix.set_nonblocking(true).map_err(failed)?;
                listeners.unix.push(OwnedUnixListener {
                    listener: UnixListener::from_std(unix).map_err(failed)?,
                    file: None,
                });
            }
        }
    }
    if inbound && unnamed > 1 {
        return Err(ListenError::Ambiguous { count: unnamed });
    }
    Ok(listeners)
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

    fn tcp(name: &str) -> (String, Socket) {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        (name.to_owned(), Socket::Tcp(socket))
    }

    fn unix(name: &str) -> (String, Socket) {
        let dir = tempfile::tempdir().unwrap();
        let socket = std::os::unix::net::UnixListener::bind(dir.path().join("s")).unwrap();
        (name.to_owned(), Socket::Unix(socket))
    }

    /// How many sockets of each kind there are.
    fn counts(sockets: Vec<(String, Socket)>, inbound: bool) -> [usize; 3] {
        let listeners = sorted(sockets, inbound).unwrap();
        let Listeners { tcp, unix, inbound } = &listeners;
        [tcp.len(), unix.len(), inbound.len()]
    }

    #[tokio::test]
    async fn sockets_go_where_their_names_say() {
        let named = vec![tcp("inbound"), tcp("http"), unix("unix"), tcp("inbound")];
        let addresses: Vec<SocketAddr> = named
            .iter()
            .filter_map(|(_, socket)| match socket {
                Socket::Tcp(tcp) => tcp.local_addr().ok(),
                Socket::Unix(_) => None,
            })
            .collect();
        let listeners = sorted(named, false).unwrap();
        assert_eq!(listeners.tcp_addresses(), [addresses[1]]);
        assert_eq!(listeners.inbound_addresses(), [addresses[0], addresses[2]]);
        assert_eq!(listeners.unix.len(), 1);
        // A unit that passes both kinds gives them one name.
        assert_eq!(counts(vec![tcp("http"), unix("http")], true), [1, 1, 0]);
    }

    #[tokio::test]
    async fn one_tcp_socket_without_a_name_is_the_api_s_and_several_are_not_guessed() {
        for name in ["", "unknown", "outboxd.socket"] {
            assert_eq!(counts(vec![tcp(name)], true), [1, 0, 0], "{name}");
            assert_eq!(counts(vec![unix(name), tcp(name)], true), [1, 1, 0]);
            assert_eq!(counts(vec![tcp(name), tcp(name)], false), [2, 0, 0]);
            let refused = sorted(vec![tcp(name), unix(name), tcp(name)], true).unwrap_err();
            assert!(matches!(refused, ListenError::Ambiguous { count: 2 }));
            assert!(refused.to_string().contains("FileDescriptorName="));
            assert!(refused.is_of_configuration());
        }
        assert_eq!(counts(vec![tcp(""), tcp("inbound")], true), [1, 0, 1]);
    }

    #[tokio::test]
    async fn a_socket_meant_for_the_public_never_becomes_the_api_s() {
        for (socket, part) in [
            (tcp("inbond"), "named \"inbond\"; FileDescriptorName="),
            (unix("Inbound"), "named \"Inbound\"; FileDescriptorName="),
            (
                unix("inbound"),
                "named \"inbound\", but it is a Unix socket",
            ),
            (tcp("unix"), "named \"unix\", but it is a TCP socket"),
        ] {
            let refused = sorted(vec![tcp("http"), socket], false).unwrap_err();
            let said = refused.to_string();
            assert!(
                said.contains(part) && said.starts_with("socket 1 "),
                "{said}"
            );
            assert!(refused.is_of_configuration());
        }
    }

    #[test]
    fn names_count_only_if_there_is_one_for_each_socket() {
        assert_eq!(names(Some("http:inbound"), 2), ["http", "inbound"]);
        assert_eq!(names(Some("http"), 2), ["", ""]);
        assert_eq!(names(Some("http:x:y"), 2), ["", ""]);
        assert_eq!(names(None, 1), [""]);
        assert_eq!(names(Some("http:inbound"), 0), [""; 0]);
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
