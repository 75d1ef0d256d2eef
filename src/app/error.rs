//! Why a request was not carried out.

use std::time::Duration;

use super::definition::BadDefinition;
use crate::domain::render::Unrendered;
use crate::outbox::{ActRefused, ReadError, Refused};
use crate::transport::Unsigned;

/// `Display` is a sentence for the person who asked; it never holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The outbox refused events.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// An event may be handed in again after `wait`.
    #[error("more events than ingest.rate_limit; nothing of this request was stored")]
    RateLimited { wait: Duration },
    /// The outbox refused an action.
    #[error(transparent)]
    Act(#[from] ActRefused),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Definition(#[from] BadDefinition),
    #[error("the event cannot be rendered for this endpoint: {0}")]
    Unrendered(#[from] Unrendered),
    #[error("{0}")]
    Unsigned(#[from] Unsigned),
    #[error("the endpoint has no secret; requests to it are not signed")]
    NoSecret,
    /// A fault of the daemon; the log says more.
    #[error("{0}")]
    Internal(&'static str),
}
