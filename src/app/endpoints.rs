//! Endpoints: made, read, changed, deleted, enabled, disabled, tested; and their secrets.

use std::sync::Arc;
use std::time::Duration;

use rand::TryRng;
use rand::rngs::SysRng;

use super::definition::Definition;
use super::error::Error;
use super::reader::Reader;
use crate::clock;
use crate::domain::endpoint::{DisabledReason, Endpoint, EndpointId};
use crate::domain::event::Tenant;
use crate::domain::retry::RetryPolicy;
use crate::domain::signature::Secret;
use crate::outbox::{Action, EndpointState, Outbox, Page, ReadError};

/// How long the secrets before a new one sign too, when a rotation does not say.
const OVERLAP: Duration = Duration::from_secs(24 * 3600);
/// The longest that a rotation may say.
pub const MAX_OVERLAP: Duration = Duration::from_secs(30 * 24 * 3600);

/// An endpoint in force, and how it stands.
pub type KnownEndpoint = (Arc<Endpoint>, EndpointState);

pub struct Endpoints {
    outbox: Outbox,
    reader: Reader,
    /// The retry rule of endpoints that do not have their own.
    retry: RetryPolicy,
}

impl Endpoints {
    pub fn new(outbox: Outbox, reader: Reader, retry: RetryPolicy) -> Endpoints {
        Endpoints {
            outbox,
            reader,
            retry,
        }
    }

    /// The configuration's retry rule, which an endpoint's own values override.
    pub fn base_retry(&self) -> &RetryPolicy {
        &self.retry
    }

    /// The endpoint in force that has this id.
    pub async fn find(&self, id: EndpointId) -> Result<KnownEndpoint, Error> {
        let read = move |outbox: &Outbox| outbox.endpoint(&id).ok_or(ReadError::NoSuchEndpoint);
        self.reader.read(read).await
    }

    /// A page of endpoints in order of their ids, past `after`, as `show` renders it.
    pub async fn list<T: Send + 'static>(
        &self,
        tenant: Option<Tenant>,
        after: Option<EndpointId>,
        limit: usize,
        show: impl FnOnce(Page<KnownEndpoint>) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let read = move |outbox: &Outbox| {
            Ok(show(outbox.endpoints(
                tenant.as_ref(),
                after.as_ref(),
                limit,
            )))
        };
        self.reader.read(read).await
    }

    /// Makes an endpoint. Returns it with its secret, generated if `definition` has none.
    pub async fn create(&self, definition: Definition) -> Result<(KnownEndpoint, Secret), Error> {
        let secret = definition.secret.clone().value();
        let secret = secret.map_or_else(new_secret, Ok)?;
        let (spec, enabled) = definition.into_spec(secret.clone())?;
        let id = new_id()?;
        let action = Action::Create {
            endpoint: id.clone(),
            spec: Box::new(spec),
            enabled,
        };
        self.outbox.act(action).await?;
        Ok((self.find(id).await?, secret))
    }

    /// Changes an endpoint. Returns it as it is then.
    pub async fn change(
        &self,
        id: EndpointId,
        definition: Definition,
    ) -> Result<KnownEndpoint, Error> {
        let action = Action::Change {
            endpoint: id.clone(),
            change: Box::new(definition.into_change()?),
        };
        self.outbox.act(action).await?;
        self.find(id).await
    }

    /// Deletes an endpoint; its open deliveries are dead from then on.
    pub async fn delete(&self, endpoint: EndpointId) -> Result<(), Error> {
        Ok(self.outbox.act(Action::Delete { endpoint }).await?)
    }

    /// Sends one `outboxd.test` event to an endpoint.
    pub async fn test(&self, endpoint: EndpointId) -> Result<(), Error> {
        Ok(self.outbox.act(Action::Test { endpoint }).await?)
    }

    /// Enabling an enabled endpoint changes nothing.
    pub async fn enable(&self, endpoint: EndpointId) -> Result<(), Error> {
        Ok(self.outbox.act(Action::Enable { endpoint }).await?)
    }

    /// Disabling a disabled endpoint changes nothing.
    pub async fn disable(&self, endpoint: EndpointId) -> Result<(), Error> {
        let reason = DisabledReason::Manual;
        Ok(self
            .outbox
            .act(Action::Disable { endpoint, reason })
            .await?)
    }

    /// The newest secret of an endpoint.
    pub async fn secret(&self, id: EndpointId) -> Result<Secret, Error> {
        let (endpoint, _) = self.find(id).await?;
        let newest = endpoint.secrets.first();
        newest
            .map(|newest| newest.secret.clone())
            .ok_or(Error::NoSecret)
    }

    /// Gives an endpoint a new secret, which signs first; those before it sign too during
    /// `overlap`.
    pub async fn rotate(
        &self,
        endpoint: EndpointId,
        overlap: Option<Duration>,
    ) -> Result<Secret, Error> {
        let secret = new_secret()?;
        let action = Action::Rotate {
            endpoint,
            secret: secret.clone(),
            overlap: overlap.unwrap_or(OVERLAP),
        };
        self.outbox.act(action).await?;
        Ok(secret)
    }
}

/// `ep_` and a ULID of now.
fn new_id() -> Result<EndpointId, Error> {
    let random = u128::from_be_bytes(random_bytes()?);
    let ulid = ulid::Ulid::from_parts(clock::now().as_millis(), random);
    let mut text = [0; ulid::ULID_LEN];
    EndpointId::new(&format!("ep_{}", ulid.array_to_str(&mut text))).map_err(|error| {
        tracing::error!(%error, "a generated endpoint id is not valid");
        Error::Internal("the endpoint's id could not be generated; see the log")
    })
}

fn new_secret() -> Result<Secret, Error> {
    random_bytes().map(Secret::generate)
}

/// Bytes from the operating system.
fn random_bytes<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    match SysRng.try_fill_bytes(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) => {
            tracing::error!(%error, "the operating system gives no randomness");
            Err(Error::Internal(
                "the operating system gives no randomness; see the log",
            ))
        }
    }
}
