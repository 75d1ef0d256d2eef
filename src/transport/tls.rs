//! The TLS configuration of outgoing connections: versions, protocols and trusted roots.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// The TLS configuration could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    #[error("ca_file {}: {source}", path.display())]
    CaFile { path: PathBuf, source: io::Error },
    #[error("ca_file {} is not PEM with certificates: {source}", path.display())]
    Pem {
        path: PathBuf,
        source: rustls_pki_types::pem::Error,
    },
    #[error("ca_file {} holds a certificate that is not a root: {source}", path.display())]
    Root {
        path: PathBuf,
        source: rustls::Error,
    },
    #[error("ca_file {} holds no certificate", path.display())]
    Empty { path: PathBuf },
    #[error("TLS: {0}")]
    Setup(#[from] rustls::Error),
}

/// TLS 1.2 and 1.3 on ring, HTTP/2 or HTTP/1.1 by ALPN, the system's roots (Mozilla's if
/// the system has none) and those of `ca_file`. Reads files; call it once.
pub fn client_config(ca_file: Option<&Path>) -> Result<ClientConfig, TlsFault> {
    Ok(config(roots(ca_file)?)?)
}

/// The system's roots (Mozilla's if the system has none) and those of `ca_file`.
pub(super) fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, TlsFault> {
    let mut roots = RootCertStore::empty();
    // The system's store may hold certificates that are no use; the rest counts.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    if let Some(path) = ca_file {
        add_file(&mut roots, path)?;
    }
    Ok(roots)
}

/// Trusts these roots.
pub(super) fn config(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), TlsFault> {
    let at = || path.to_path_buf();
    let pem = std::fs::read(path).map_err(|source| TlsFault::CaFile { path: at(), source })?;
    let before = roots.len();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|source| TlsFault::Pem { path: at(), source })?;
        let added = roots.add(certificate);
        added.map_err(|source| TlsFault::Root { path: at(), source })?;
    }
    if roots.len() == before {
        return Err(TlsFault::Empty { path: at() });
    }
    Ok(())
}
