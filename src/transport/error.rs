//! Why the transport could not be set up.

use super::tls;

/// The transport could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    #[error(transparent)]
    Tls(#[from] tls::TlsFault),
    /// The error never holds the proxy's URL, which may hold a password.
    #[error("delivery.proxy cannot be used: {0}")]
    Proxy(reqwest::Error),
    #[error("the HTTP client cannot be set up: {0}")]
    Client(reqwest::Error),
}

impl TransportError {
    pub(super) fn proxy(error: reqwest::Error) -> Self {
        TransportError::Proxy(error.without_url())
    }

    pub(super) fn client(error: reqwest::Error) -> Self {
        TransportError::Client(error.without_url())
    }
}
