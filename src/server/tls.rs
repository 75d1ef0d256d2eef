//! TLS for the public listener, and its certificate, which is replaced while the daemon runs.
//!
//! Whoever renews a certificate writes two files, one after the other. So they are looked at
//! again at a new connection, at most once in [`LOOK`], on a blocking thread, and taken only if
//! both fit together. Until then the old certificate goes on.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::{BadCertFile, CertFiles};

/// Between two looks at the files.
pub const LOOK: Duration = Duration::from_secs(10);
/// For a whole handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the public listener has no certificate: {0}")]
    Certificate(#[from] BadCertFile),
    #[error("the public listener cannot speak TLS: {0}")]
    Configuration(#[from] rustls::Error),
}

/// The server's side of TLS. Clones share the certificate.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    certificate: Arc<Certificate>,
    files: Arc<CertFiles>,
    watched: Arc<Mutex<Watched>>,
    look: Duration,
}

/// The certificate in use. `Debug` shows no key.
struct Certificate(Mutex<Arc<CertifiedKey>>);

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificate")
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(lock(&self.0).clone())
    }
}

/// What is known of the files.
#[derive(Debug)]
struct Watched {
    /// As they were when they were read last, whether they were taken or not.
    seen: Stamps,
    /// When to look again.
    next: Instant,
}

/// What tells that a file has changed: where it is, and what it was made or written.
type Stamp = Option<(u64, u64, u64, (i64, i64), (i64, i64))>;
type Stamps = (Stamp, Stamp);

impl Tls {
    /// Reads the certificate. Blocks on the disk. `look`: how often the files are looked at.
    ///
    /// # Errors
    /// When the files cannot be read, or do not fit together.
    pub fn open(files: CertFiles, look: Duration) -> Result<Tls, TlsError> {
        let seen = stamps(&files);
        let identity = files.read()?;
        let certificate = Certificate(Mutex::new(identity.certified_key().clone()));
        let certificate = Arc::new(certificate);
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(certificate.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let next = Instant::now() + look;
        Ok(Tls {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            certificate,
            files: Arc::new(files),
            watched: Arc::new(Mutex::new(Watched { seen, next })),
            look,
        })
    }

    /// The handshake on a new connection, with the certificate as it is on the disk by now.
    ///
    /// # Errors
    /// When it fails, or takes longer than [`HANDSHAKE_TIMEOUT`].
    pub async fn accept<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let accepting = async {
            self.refresh().await;
            self.acceptor.accept(stream).await
        };
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, accepting).await {
            Ok(accepted) => accepted,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Looks at the files if it is time to. One connection does; others go on meanwhile.
    async fn refresh(&self) {
        let now = Instant::now();
        {
            let mut watched = lock(&self.watched);
            if now < watched.next {
                return;
            }
            watched.next = now + self.look;
        }
        let this = self.clone();
        // It only fails when the daemon ends.
        let _ = tokio::task::spawn_blocking(move || this.read_if_changed()).await;
    }

    fn read_if_changed(&self) {
        // Before they are read: what is written meanwhile is seen at the next look.
        let found = stamps(&self.files);
        if std::mem::replace(&mut lock(&self.watched).seen, found) == found {
            return;
        }
        match self.files.read() {
            Ok(identity) => {
                *lock(&self.certificate.0) = identity.certified_key().clone();
                tracing::info!("the public listener has a new certificate");
            }
            Err(error) => tracing::error!(
                %error,
                "the public listener's certificate changed and cannot be used; the one before goes on"
            ),
        }
    }
}

fn stamps(files: &CertFiles) -> Stamps {
    (stamp(&files.cert), stamp(&files.key))
}

fn stamp(path: &Path) -> Stamp {
    let file = fs::metadata(path).ok()?;
    Some((
        file.dev(),
        file.ino(),
        file.len(),
        (file.mtime(), file.mtime_nsec()),
        (file.ctime(), file.ctime_nsec()),
    ))
}

/// What the lock holds stays whole: it is only replaced.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
