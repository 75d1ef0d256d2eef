//! Why a request was not carried out.

use std::time::Duration;

use super::definition::BadDefinition;
use crate::domain::inbound::{BadSource, NoSample};
use crate::domain::render::Unrendered;
use crate::outbox::{ActRefused, ReadError, Refused};
use crate::transport::Unsigned;

/// `Display` is a sentence for the person who asked; it never holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The outbox refused events.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// An event may be posted again after `wait`.
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
    #[error("there is no such source")]
    NoSuchSource,
    #[error("there is a source with this id already")]
    SourceExists,
    #[error("the source comes from the configuration file and is read-only here")]
    SourceReadOnly,
    #[error("there are too many sources; remove some")]
    TooManySources,
    #[error("field `{key}`: {0}", key = .0.key)]
    Source(BadSource),
    /// The secret is the provider's to make.
    #[error("the provider makes the secret: give it as `secret`")]
    ProvidersSecret,
    #[error("outboxd cannot sign a sample of this source: {0}")]
    Unsampled(NoSample),
    /// A fault of the daemon; the log says more.
    #[error("{0}")]
    Internal(&'static str),
}
