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
        let looked = tokio::task::spawn_blocking(move || this.read_if_changed()).await;
        match looked {
            Ok(Some(Ok(()))) => tracing::info!("the public listener has a new certificate"),
            Ok(Some(Err(error))) => tracing::error!(
                %error,
                "the public listener's certificate changed and cannot be used; the one before goes on"
            ),
            // Nothing changed, or the daemon ends.
            Ok(None) | Err(_) => {}
        }
    }

    /// Takes the certificate if its files changed; `None` if they did not. A change that cannot
    /// be taken is an error once.
    fn read_if_changed(&self) -> Option<Result<(), BadCertFile>> {
        // Before they are read: what is written meanwhile is seen at the next look.
        let found = stamps(&self.files);
        if std::mem::replace(&mut lock(&self.watched).seen, found) == found {
            return None;
        }
        let taken = self.files.read().map(|identity| {
            *lock(&self.certificate.0) = identity.certified_key().clone();
        });
        Some(taken)
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use rustls::{ClientConfig, RootCertStore};
    use rustls_pki_types::CertificateDer;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::client;

    /// A certificate for `localhost` and its key in files of their own.
    pub struct Certified {
        pub dir: tempfile::TempDir,
        pub files: CertFiles,
    }

    impl Certified {
        pub fn new() -> Certified {
            let dir = tempfile::tempdir().unwrap();
            let files = CertFiles {
                cert: dir.path().join("cert.pem"),
                key: dir.path().join("key.pem"),
            };
            let certified = Certified { dir, files };
            certified.renew();
            certified
        }

        /// Writes another certificate and its key, and gives the certificate.
        pub fn renew(&self) -> CertificateDer<'static> {
            let (certificate, key) = made();
            fs::write(&self.files.cert, certificate.pem()).unwrap();
            fs::write(&self.files.key, key.serialize_pem()).unwrap();
            certificate.der().clone()
        }
    }

    fn made() -> (rcgen::Certificate, rcgen::KeyPair) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.self_signed(&key).unwrap(), key)
    }

    /// Connects as a client that trusts `certificate` alone.
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        stream: S,
        certificate: &CertificateDer<'static>,
    ) -> io::Result<client::TlsStream<S>> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        connector
            .connect("localhost".try_into().unwrap(), stream)
            .await
    }

    /// Whether a new connection is given this certificate.
    async fn presents(tls: &Tls, certificate: &CertificateDer<'static>) -> bool {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (accepted, connected) = tokio::join!(tls.accept(ours), connect(theirs, certificate));
        assert_eq!(accepted.is_ok(), connected.is_ok());
        connected.is_ok()
    }

    #[tokio::test]
    async fn a_new_certificate_is_taken_at_the_next_connection() {
        let certified = Certified::new();
        let first = certified.renew();
        let tls = Tls::open(certified.files.clone(), Duration::ZERO).unwrap();
        assert!(presents(&tls, &first).await);
        let second = certified.renew();
        assert!(presents(&tls, &second).await && !presents(&tls, &first).await);
        // Certificates are often links that are moved.
        let (third, key) = made();
        for (path, text) in [
            (&certified.files.cert, third.pem()),
            (&certified.files.key, key.serialize_pem()),
        ] {
            let beside = certified.dir.path().join("beside");
            fs::write(&beside, text).unwrap();
            fs::rename(&beside, path).unwrap();
        }
        assert!(presents(&tls, third.der()).await);
    }

    #[tokio::test]
    async fn a_certificate_that_cannot_be_used_is_told_once_and_the_one_before_goes_on() {
        let certified = Certified::new();
        let first = certified.renew();
        let tls = Tls::open(certified.files.clone(), Duration::ZERO).unwrap();
        assert!(tls.read_if_changed().is_none());
        let (other, other_key) = made();
        // The certificate is there, its key is not yet.
        fs::write(&certified.files.cert, other.pem()).unwrap();
        assert!(matches!(tls.read_if_changed(), Some(Err(_))));
        assert!(tls.read_if_changed().is_none());
        assert!(presents(&tls, &first).await);
        fs::write(&certified.files.key, other_key.serialize_pem()).unwrap();
        assert!(matches!(tls.read_if_changed(), Some(Ok(()))));
        assert!(presents(&tls, other.der()).await);
        fs::remove_file(&certified.files.key).unwrap();
        assert!(matches!(tls.read_if_changed(), Some(Err(_))));
        assert!(tls.read_if_changed().is_none());
        assert!(presents(&tls, other.der()).await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_files_are_looked_at_once_in_a_while() {
        let certified = Certified::new();
        let first = certified.renew();
        let tls = Tls::open(certified.files.clone(), LOOK).unwrap();
        let second = certified.renew();
        assert!(presents(&tls, &first).await);
        tokio::time::advance(LOOK).await;
        assert!(presents(&tls, &second).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_handshake_that_stalls_is_given_up() {
        let certified = Certified::new();
        let tls = Tls::open(certified.files.clone(), LOOK).unwrap();
        let (ours, _theirs) = tokio::io::duplex(64);
        let start = Instant::now();
        let stalled = tls.accept(ours).await.unwrap_err();
        assert_eq!(stalled.kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed(), HANDSHAKE_TIMEOUT);
    }

    #[tokio::test]
    async fn there_is_no_tls_without_a_certificate() {
        let certified = Certified::new();
        fs::write(&certified.files.key, made().1.serialize_pem()).unwrap();
        let refused = Tls::open(certified.files.clone(), LOOK).err().unwrap();
        let said = refused.to_string();
        assert!(
            said.contains("key.pem") && !said.contains("BEGIN"),
            "{said}"
        );
    }
}
