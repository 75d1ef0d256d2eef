//! Why the transport could not be set up.

use super::tls;

/// The transport could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    #[error(transparent)]
    Tls(#[from] tls::TlsFault),
    #[error("delivery.proxy cannot be used: {0}")]
    Proxy(http::uri::InvalidUri),
    #[error("delivery.user_agent cannot be sent: {0}")]
    UserAgent(http::header::InvalidHeaderValue),
}
