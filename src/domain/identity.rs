//! Who outboxd is to a receiver over mutual TLS, and whom it trusts beyond the public authorities.
//!
//! Both are checked when an endpoint is defined. An expired certificate is no fault: the receiver
//! decides, and [`Identity::not_after`] lets the daemon warn before. Equal ones, by their
//! certificates, may share connections and TLS sessions; others never do.

use std::fmt;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, TrustAnchor};
use sha2::{Digest, Sha256};

use super::certificate::Certificate;
use super::time::Timestamp;

/// The longest chain or list of authorities in PEM, in bytes.
pub const MAX_PEM: usize = 64 * 1024;

/// A client certificate with its chain, and its key. `Debug` shows no key.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    not_after: Timestamp,
    fingerprint: [u8; 32],
}

/// Why a client certificate and its key were refused. Never repeats either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadIdentity {
    #[error("this is longer than {MAX_PEM} bytes")]
    CertLength,
    #[error("this is not PEM with a certificate")]
    NoCert,
    #[error("the first certificate cannot be read")]
    Cert,
    #[error("this is longer than {MAX_PEM} bytes")]
    KeyLength,
    #[error("this is not PEM with a private key")]
    NoKey,
    #[error("the private key is encrypted")]
    Encrypted,
    #[error("the private key is of a kind that outboxd cannot use")]
    Key,
    #[error("the private key does not belong to the first certificate")]
    Mismatch,
}

impl BadIdentity {
    /// Whether it is about the private key; else it is about the certificates.
    pub fn is_about_key(self) -> bool {
        !matches!(
            self,
            BadIdentity::CertLength | BadIdentity::NoCert | BadIdentity::Cert
        )
    }

    /// The key of the definition that it is about.
    pub fn key(self) -> &'static str {
        match self.is_about_key() {
            true => "client_key",
            false => "client_cert",
        }
    }

    /// What to do instead.
    pub fn fix(self) -> &'static str {
        match self {
            BadIdentity::CertLength => "leave out what the receiver has anyway, such as the root",
            BadIdentity::NoCert | BadIdentity::Cert => {
                "give the client's certificate, then those that lead to its authority"
            }
            BadIdentity::KeyLength | BadIdentity::NoKey => {
                "give the certificate's private key (PKCS#8, SEC1 or PKCS#1)"
            }
            BadIdentity::Encrypted => "decrypt it, as `openssl pkey` does",
            BadIdentity::Key => {
                "use RSA with 2048 to 4096 bits, ECDSA on P-256 or P-384, or Ed25519"
            }
            BadIdentity::Mismatch => {
                "give the key of the client's own certificate, which comes first in the chain"
            }
        }
    }
}

impl Identity {
    /// Reads a chain, the client's own certificate first, and its private key.
    ///
    /// # Errors
    /// What is wrong with which of them.
    pub fn parse(cert_chain_pem: &[u8], key_pem: &[u8]) -> Result<Identity, BadIdentity> {
        if cert_chain_pem.len() > MAX_PEM {
            return Err(BadIdentity::CertLength);
        }
        if key_pem.len() > MAX_PEM {
            return Err(BadIdentity::KeyLength);
        }
        let chain = certificates(cert_chain_pem).ok_or(BadIdentity::NoCert)?;
        let leaf = chain.first().ok_or(BadIdentity::NoCert)?;
        let not_after = not_after(leaf).ok_or(BadIdentity::Cert)?;
        let fingerprint = fingerprint(&chain);
        let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|_| no_key(key_pem))?;
        let key = any_supported_type(&key).map_err(|_| BadIdentity::Key)?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) => {}
            Err(rustls::Error::InconsistentKeys(_)) => return Err(BadIdentity::Mismatch),
            Err(_) => return Err(BadIdentity::Cert),
        }
        Ok(Identity {
            certified: Arc::new(certified),
            not_after,
            fingerprint,
        })
    }

    /// When the client's own certificate expires.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// SHA-256 over the chain. Two identities with the same chain have the same key.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// What TLS needs of it.
    pub fn certified_key(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Identity) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for Identity {}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not_after = self.not_after;
        write!(f, "Identity({}, until {not_after})", hex(&self.fingerprint))
    }
}

/// Certificate authorities that an endpoint trusts in addition to the system's roots and those of
/// `delivery.ca_file`.
#[derive(Clone)]
pub struct Authorities {
    anchors: Vec<TrustAnchor<'static>>,
    fingerprint: [u8; 32],
}

/// Why a list of authorities was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAuthorities {
    #[error("this is longer than {MAX_PEM} bytes")]
    Length,
    #[error("this is not PEM with certificates")]
    Pem,
    #[error("this holds no certificate")]
    Empty,
    /// Counted from 1.
    #[error("certificate {0} cannot be read")]
    Cert(usize),
}

impl BadAuthorities {
    /// What to do instead.
    pub fn fix(self) -> &'static str {
        match self {
            BadAuthorities::Length => {
                "leave out the authorities that sign no receiver of this endpoint"
            }
            _ => "give the certificates of the authorities that sign the receiver's, in PEM",
        }
    }
}

impl Authorities {
    /// Reads certificates of authorities, or a server's own that nobody else has signed.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(pem: &[u8]) -> Result<Authorities, BadAuthorities> {
        if pem.len() > MAX_PEM {
            return Err(BadAuthorities::Length);
        }
        let certificates = certificates(pem).ok_or(BadAuthorities::Pem)?;
        if certificates.is_empty() {
            return Err(BadAuthorities::Empty);
        }
        let mut roots = RootCertStore::empty();
        for (n, certificate) in certificates.iter().enumerate() {
            let added = roots.add(certificate.clone());
            added.map_err(|_| BadAuthorities::Cert(n + 1))?;
        }
        Ok(Authorities {
            anchors: roots.roots,
            fingerprint: fingerprint(&certificates),
        })
    }

    /// SHA-256 over the certificates.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// What TLS needs of them.
    pub fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }
}

impl PartialEq for Authorities {
    fn eq(&self, other: &Authorities) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for Authorities {}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.anchors.len();
        write!(f, "Authorities({}, {count})", hex(&self.fingerprint))
    }
}

fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .ok()
}

/// Why there is no private key in a PEM.
fn no_key(pem: &[u8]) -> BadIdentity {
    let label = b"BEGIN ENCRYPTED PRIVATE KEY";
    // The form before PKCS#8 says so in a header (RFC 1421, 4.6.1.1).
    let header = b"Proc-Type: 4,ENCRYPTED";
    let holds = |text: &[u8]| pem.windows(text.len()).any(|window| window == text);
    match holds(label) || holds(header) {
        true => BadIdentity::Encrypted,
        false => BadIdentity::NoKey,
    }
}

fn not_after(leaf: &CertificateDer<'_>) -> Option<Timestamp> {
    Certificate::read(leaf).map(|certificate| certificate.not_after)
}

fn fingerprint(certificates: &[CertificateDer<'_>]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for certificate in certificates {
        digest.update((certificate.len() as u64).to_be_bytes());
        digest.update(certificate);
    }
    digest.finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    fn signed(year: i32) -> (String, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["client".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        (params.self_signed(&key).unwrap().pem(), key)
    }

    fn parse(chain: &str, key: &str) -> Result<Identity, BadIdentity> {
        Identity::parse(chain.as_bytes(), key.as_bytes())
    }

    #[test]
    fn a_pair_is_read_even_if_it_has_expired() {
        for (year, until) in [
            (2020, "2020-01-01T00:00:00.000Z"),
            (2100, "2100-01-01T00:00:00.000Z"),
        ] {
            let (chain, key) = signed(year);
            let other = signed(2100).0;
            let identity = parse(&(chain.clone() + &other), &key.serialize_pem()).unwrap();
            assert_eq!(identity.not_after().to_string(), until);
            let shown = format!("{identity:?}");
            assert!(shown.contains(until) && shown.len() < 80, "{shown}");
            let alone = parse(&chain, &key.serialize_pem()).unwrap();
            assert_ne!(alone, identity);
            assert_eq!(alone, parse(&chain, &key.serialize_pem()).unwrap());
        }
    }

    #[test]
    fn a_pair_that_is_none_is_refused() {
        let ((chain, key), (another, _)) = (signed(2100), signed(2100));
        let pem = key.serialize_pem();
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let encrypted =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        let other = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let long = " ".repeat(MAX_PEM + 1);
        for (chain, key, bad) in [
            (&*another, &*pem, BadIdentity::Mismatch),
            (&(another.clone() + &chain), &pem, BadIdentity::Mismatch),
            ("", &pem, BadIdentity::NoCert),
            (&pem, &pem, BadIdentity::NoCert),
            (garbage, &pem, BadIdentity::Cert),
            (&chain, "", BadIdentity::NoKey),
            (&chain, &chain, BadIdentity::NoKey),
            (&chain, encrypted, BadIdentity::Encrypted),
            (&chain, other, BadIdentity::Key),
            (&long, &pem, BadIdentity::CertLength),
            (&chain, &long, BadIdentity::KeyLength),
        ] {
            assert_eq!(parse(chain, key).unwrap_err(), bad);
            assert!(["client_cert", "client_key"].contains(&bad.key()) && !bad.fix().is_empty());
        }
    }

    #[test]
    fn authorities_are_one_certificate_or_more() {
        let (one, two) = (signed(2100).0, signed(2100).0);
        let both = Authorities::parse((one.clone() + &two).as_bytes()).unwrap();
        assert_eq!(both.anchors().len(), 2);
        assert_ne!(both, Authorities::parse(one.as_bytes()).unwrap());
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let cut = one.replace("-----END", "----END");
        for (pem, bad) in [
            (String::new(), BadAuthorities::Empty),
            ("no pem".to_owned(), BadAuthorities::Empty),
            (cut, BadAuthorities::Pem),
            (one + garbage, BadAuthorities::Cert(2)),
            (" ".repeat(MAX_PEM + 1), BadAuthorities::Length),
        ] {
            assert_eq!(Authorities::parse(pem.as_bytes()).unwrap_err(), bad);
            assert!(!bad.fix().is_empty());
        }
    }
}
