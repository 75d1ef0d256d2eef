//! What a server shows and asks for during a TLS handshake, also if that fails: a diagnosis names the
//! certificate that was refused.
//!
//! The rules are those of every other connection: each call is passed on to what decides there.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, VerifierBuilderError, WebPkiServerVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::domain::certificate::Certificate;

/// What was seen of the server.
#[derive(Debug, Default)]
pub(super) struct Seen {
    certificate: OnceLock<Option<Certificate>>,
    asked: AtomicBool,
}

impl Seen {
    /// The server's own certificate, if it showed one that can be read.
    pub(super) fn certificate(&self) -> Option<&Certificate> {
        self.certificate.get()?.as_ref()
    }

    /// Whether the server asked for a client certificate.
    pub(super) fn asks_for_client(&self) -> bool {
        self.asked.load(Relaxed)
    }
}

/// `config`, which trusts `roots`, for one handshake that `seen` keeps. It never resumes a session,
/// since the server shows no certificate then.
pub(super) fn observed(
    config: &ClientConfig,
    roots: RootCertStore,
    seen: &Arc<Seen>,
) -> Result<ClientConfig, VerifierBuilderError> {
    let provider = config.crypto_provider().clone();
    let deciding = WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build()?;
    let mut config = config.clone();
    config.resumption = Resumption::disabled();
    config.client_auth_cert_resolver = Arc::new(Asked {
        deciding: config.client_auth_cert_resolver,
        seen: seen.clone(),
    });
    let shown = Shown {
        deciding,
        seen: seen.clone(),
    };
    config.dangerous().set_certificate_verifier(Arc::new(shown));
    Ok(config)
}

#[derive(Debug)]
struct Shown {
    deciding: Arc<WebPkiServerVerifier>,
    seen: Arc<Seen>,
}

impl ServerCertVerifier for Shown {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // One handshake has one certificate.
        let _ = self.seen.certificate.set(Certificate::read(own));
        self.deciding
            .verify_server_cert(own, others, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.deciding
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.deciding
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.deciding.supported_verify_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        self.deciding.root_hint_subjects()
    }
}

#[derive(Debug)]
struct Asked {
    deciding: Arc<dyn ResolvesClientCert>,
    seen: Arc<Seen>,
}

impl ResolvesClientCert for Asked {
    fn resolve(
        &self,
        authorities: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.seen.asked.store(true, Relaxed);
        self.deciding.resolve(authorities, schemes)
    }

    fn only_raw_public_keys(&self) -> bool {
        self.deciding.only_raw_public_keys()
    }

    fn has_certs(&self) -> bool {
        self.deciding.has_certs()
    }
}
