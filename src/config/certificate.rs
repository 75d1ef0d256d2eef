//! The certificate of the public listener: two files that are checked at the start, and read
//! again by the listener when they change.

use std::io;
use std::path::PathBuf;

use super::files::read_whole;
use crate::domain::identity::{BadIdentity, Identity, MAX_PEM};

/// Where a certificate with its chain is, and where its private key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Why a certificate cannot be used. Never repeats what a file holds.
#[derive(Debug, thiserror::Error)]
pub enum BadCertFile {
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Unusable { path: PathBuf, source: BadIdentity },
}

impl CertFiles {
    /// Reads both files. Blocks on the disk.
    ///
    /// # Errors
    /// When one cannot be read or parsed, or they do not fit together.
    pub fn read(&self) -> Result<Identity, BadCertFile> {
        let read = |path: &PathBuf| {
            read_whole(path, MAX_PEM as u64).map_err(|source| BadCertFile::Unreadable {
                path: path.clone(),
                source,
            })
        };
        Identity::parse(&read(&self.cert)?, &read(&self.key)?).map_err(|source| {
            let path = match source.is_about_key() {
                true => self.key.clone(),
                false => self.cert.clone(),
            };
            BadCertFile::Unusable { path, source }
        })
    }
}

impl BadCertFile {
    /// The file that it is about.
    pub(super) fn path(&self) -> &PathBuf {
        match self {
            BadCertFile::Unreadable { path, .. } | BadCertFile::Unusable { path, .. } => path,
        }
    }

    /// What to do instead.
    pub(super) fn fix(&self) -> &'static str {
        let source = match self {
            BadCertFile::Unreadable { .. } => {
                return "name a file of at most 64KiB that the daemon's user can read; under systemd, one from LoadCredential=";
            }
            BadCertFile::Unusable { source, .. } => source,
        };
        match source {
            BadIdentity::CertLength => "leave out what callers have anyway, such as the root",
            BadIdentity::NoCert | BadIdentity::Cert => {
                "name a file in PEM with the listener's certificate, then those that lead to its authority"
            }
            BadIdentity::KeyLength | BadIdentity::NoKey => {
                "name a file in PEM with the certificate's private key (PKCS#8, SEC1 or PKCS#1)"
            }
            BadIdentity::Mismatch => {
                "name the key of the listener's own certificate, which comes first in the chain"
            }
            BadIdentity::Encrypted | BadIdentity::Key => source.fix(),
        }
    }
}
