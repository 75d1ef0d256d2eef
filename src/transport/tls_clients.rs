//! The TLS configurations of outgoing connections: one for each client certificate and list of
//! authorities that endpoints have, and one for all endpoints without.
//!
//! Each keeps TLS sessions of its own. A resumed session carries the identity that it began with
//! (RFC 8446, 2.2), so sessions are never resumed across identities.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rustls::client::Resumption;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::destination::DialPolicy;
use super::lock::lock;
use super::observed::{Seen, observed};
use super::tls::{self, TlsFault};

/// Configurations that are kept; one more, and all are dropped. Those with authorities hold all
/// roots, about 60 KB. Connections keep what they need.
const MAX_CLIENTS: usize = 256;
/// TLS sessions that are kept for an identity or list of authorities.
const OWN_SESSIONS: usize = 64;

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct TlsClient {
    /// Offers HTTP/2 and HTTP/1.1.
    pub(super) both: TlsConnector,
    pub(super) http1: TlsConnector,
}

impl TlsClient {
    fn new(both: ClientConfig) -> TlsClient {
        let mut http1 = both.clone();
        http1.alpn_protocols = vec![b"http/1.1".to_vec()];
        TlsClient {
            both: TlsConnector::from(Arc::new(both)),
            http1: TlsConnector::from(Arc::new(http1)),
        }
    }
}

/// The fingerprints of an identity and of authorities.
type Key = (Option<[u8; 32]>, Option<[u8; 32]>);

/// The configurations of the whole process.
pub(super) struct TlsClients {
    roots: RootCertStore,
    /// Without identity and authorities.
    plain: ClientConfig,
    plain_client: TlsClient,
    own: Mutex<HashMap<Key, TlsClient>>,
}

impl TlsClients {
    /// Reads the root certificates. Without an identity, sessions of up to `sessions` hosts are
    /// kept.
    pub(super) fn new(ca_file: Option<&Path>, sessions: usize) -> Result<TlsClients, TlsFault> {
        let roots = tls::roots(ca_file)?;
        let mut plain = tls::config(roots.clone())?;
        plain.resumption = Resumption::in_memory_sessions(sessions);
        Ok(TlsClients {
            roots,
            plain_client: TlsClient::new(plain.clone()),
            plain,
            own: Mutex::default(),
        })
    }

    /// For endpoints with neither.
    pub(super) fn plain(&self) -> &TlsClient {
        &self.plain_client
    }

    /// For endpoints with this policy.
    pub(super) fn of(&self, policy: DialPolicy<'_>) -> Result<TlsClient, rustls::Error> {
        let key = (
            policy.identity.map(|identity| identity.fingerprint()),
            policy
                .authorities
                .map(|authorities| authorities.fingerprint()),
        );
        if key == (None, None) {
            return Ok(self.plain_client.clone());
        }
        if let Some(client) = lock(&self.own).get(&key) {
            return Ok(client.clone());
        }
        let client = TlsClient::new(self.make(policy)?);
        let mut own = lock(&self.own);
        if own.len() >= MAX_CLIENTS {
            own.clear();
        }
        // Another thread may have made one meanwhile, whose sessions are kept.
        Ok(own.entry(key).or_insert(client).clone())
    }

    /// For one handshake of an endpoint with this policy, which `seen` keeps.
    pub(super) fn observed(
        &self,
        policy: DialPolicy<'_>,
        seen: &Arc<Seen>,
    ) -> Result<TlsConnector, rustls::Error> {
        let client = self.of(policy)?;
        let connector = match policy.http1 {
            true => client.http1,
            false => client.both,
        };
        let observed = observed(connector.config(), self.roots(policy), seen);
        let observed = observed.map_err(|error| rustls::Error::General(error.to_string()))?;
        Ok(TlsConnector::from(Arc::new(observed)))
    }

    fn roots(&self, policy: DialPolicy<'_>) -> RootCertStore {
        let mut roots = self.roots.clone();
        if let Some(authorities) = policy.authorities {
            roots.extend(authorities.anchors().iter().cloned());
        }
        roots
    }

    fn make(&self, policy: DialPolicy<'_>) -> Result<ClientConfig, rustls::Error> {
        let mut config = match policy.authorities {
            None => self.plain.clone(),
            Some(_) => tls::config(self.roots(policy))?,
        };
        if let Some(identity) = policy.identity {
            let certified = identity.certified_key().clone();
            config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(certified));
        }
        config.resumption = Resumption::in_memory_sessions(OWN_SESSIONS);
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::identity::{Authorities, Identity};

    /// A certificate of its own in PEM, and its key.
    fn signed() -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["client".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn of(clients: &TlsClients, cert: &str, key: &str, authorities: bool) -> Arc<ClientConfig> {
        let identity = Arc::new(Identity::parse(cert.as_bytes(), key.as_bytes()).unwrap());
        let trusted = Arc::new(Authorities::parse(cert.as_bytes()).unwrap());
        let policy = DialPolicy {
            grants: &[],
            http1: false,
            identity: Some(&identity),
            authorities: authorities.then_some(&trusted),
        };
        clients.of(policy).unwrap().both.config().clone()
    }

    #[test]
    fn equal_ones_share_and_their_number_is_bounded() {
        let clients = TlsClients::new(None, 16).unwrap();
        let (cert, key) = signed();
        let first = of(&clients, &cert, &key, false);
        assert!(Arc::ptr_eq(&first, &of(&clients, &cert, &key, false)));
        assert!(!Arc::ptr_eq(&first, &of(&clients, &cert, &key, true)));
        for _ in 0..MAX_CLIENTS + 10 {
            let (cert, key) = signed();
            of(&clients, &cert, &key, false);
            assert!(lock(&clients.own).len() <= MAX_CLIENTS);
        }
    }
}
