//! Endpoints: made, read, changed, deleted, enabled, disabled, tested; and their secrets.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::changes::changed;
use super::definition::{self, Definition, FreshKeys, Given};
use super::error::Error;
use super::random::random_bytes;
use super::reader::Reader;
use crate::clock;
use crate::domain::endpoint::{DisabledReason, Endpoint, EndpointId};
use crate::domain::event::{EventId, Tenant};
use crate::domain::retry::RetryPolicy;
use crate::domain::signature::{BadSecret, Secret};
use crate::outbox::{ActRefused, Action, EndpointState, Outbox, Page, ReadError, TestEvent};

/// How long the secrets before a new one sign too, when a rotation does not say.
const OVERLAP: Duration = Duration::from_secs(24 * 3600);
/// The longest that a rotation may say.
pub const MAX_OVERLAP: Duration = Duration::from_secs(30 * 24 * 3600);

/// How often a change is tried again because the definition changed meanwhile.
const CHANGE_TRIES: usize = 8;

/// An endpoint in force, and how it stands.
pub type KnownEndpoint = (Arc<Endpoint>, EndpointState);

pub struct Endpoints {
    outbox: Outbox,
    reader: Reader,
    /// The retry rule of endpoints that do not have their own.
    retry: ArcSwap<RetryPolicy>,
}

impl Endpoints {
    pub fn new(outbox: Outbox, reader: Reader, retry: RetryPolicy) -> Endpoints {
        Endpoints {
            outbox,
            reader,
            retry: ArcSwap::from_pointee(retry),
        }
    }

    /// The configuration's retry rule, which an endpoint's own values override.
    pub fn base_retry(&self) -> Arc<RetryPolicy> {
        self.retry.load_full()
    }

    /// Puts another configuration in force.
    pub fn set_base_retry(&self, retry: RetryPolicy) {
        self.retry.store(Arc::new(retry));
    }

    /// The endpoint in force that has this id.
    pub async fn find(&self, id: EndpointId) -> Result<KnownEndpoint, Error> {
        let read = move |outbox: &Outbox| outbox.endpoint(&id).ok_or(ReadError::NoSuchEndpoint);
        self.reader.read(read).await
    }

    /// The same as [`Endpoints::find`], without its state and without a read of the store.
    pub fn in_force(&self, id: &EndpointId) -> Option<Arc<Endpoint>> {
        self.outbox.in_force(self.outbox.number_of(id)?)
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
        let (spec, enabled) = definition.into_spec(fresh_keys()?)?;
        let secret = spec.secrets.first().map(|kept| kept.secret.clone());
        let secret = secret.ok_or(Error::NoSecret)?;
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
        // What shapes requests is checked here and not by the writer, over the definition as it is
        // now. Should that change meanwhile, it is checked again.
        let fresh = fresh_keys()?;
        for _ in 0..CHANGE_TRIES {
            let (endpoint, _) = self.find(id.clone()).await?;
            let change = definition.clone().into_change(&endpoint, &fresh)?;
            let action = Action::Change {
                endpoint: id.clone(),
                change: Box::new(change),
                over: endpoint,
            };
            match self.outbox.act(action).await {
                Err(ActRefused::ChangedMeanwhile) => {}
                answer => {
                    answer?;
                    return self.find(id).await;
                }
            }
        }
        Err(ActRefused::ChangedMeanwhile.into())
    }

    /// The fields of a new endpoint that would differ from the defaults.
    ///
    /// # Errors
    /// As [`create`](Self::create), except faults that only the store finds.
    pub fn would_create(&self, definition: Definition) -> Result<Vec<&'static str>, Error> {
        let fresh = fresh_keys()?;
        let plain = Definition {
            url: definition.url.clone(),
            secret: Given::Value(fresh.secret.clone()),
            ..Definition::default()
        };
        let (plain, _) = plain.into_spec(fresh.clone())?;
        let (spec, enabled) = definition.into_spec(fresh)?;
        let mut fields = vec!["url"];
        fields.extend(changed(&plain, &spec));
        if !enabled {
            fields.push("enabled");
        }
        Ok(fields)
    }

    /// The fields that a change would change.
    ///
    /// # Errors
    /// As [`change`](Self::change), except faults that only the store finds.
    pub async fn would_change(
        &self,
        id: EndpointId,
        definition: Definition,
    ) -> Result<Vec<&'static str>, Error> {
        let (endpoint, state) = self.find(id.clone()).await?;
        let read = move |outbox: &Outbox| outbox.definition(&id);
        let spec = self.reader.read(read).await?.ok_or(ActRefused::ReadOnly)?;
        let change = definition.into_change(&endpoint, &fresh_keys()?)?;
        let mut after = spec.clone();
        change.apply(&mut after);
        let mut fields = changed(&spec, &after);
        if change
            .enabled
            .is_some_and(|enabled| enabled != state.disabled.is_none())
        {
            fields.push("enabled");
        }
        Ok(fields)
    }

    /// Deletes an endpoint; its open deliveries are dead from then on.
    pub async fn delete(&self, endpoint: EndpointId) -> Result<(), Error> {
        Ok(self.outbox.act(Action::Delete { endpoint }).await?)
    }

    /// Sends one event to an endpoint, and to no other. Returns its id.
    pub async fn test(&self, endpoint: EndpointId, event: TestEvent) -> Result<EventId, Error> {
        Ok(self.outbox.test(endpoint, event).await?)
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
        let overlap = overlap.unwrap_or(OVERLAP);
        for _ in 0..CHANGE_TRIES {
            let (known, _) = self.find(endpoint.clone()).await?;
            let random = random_bytes()?;
            let secret = match known.secrets.first() {
                Some(newest) => newest.secret.fresh_like(random).map_err(unusable_key)?,
                None => Secret::generate(random),
            };
            let now = clock::now();
            let key = Secret::generate_ed25519(random_bytes()?).map_err(unusable_key)?;
            let shaping = definition::with_signing_key(&known, &key, now, now + overlap)?;
            let action = Action::Rotate {
                endpoint: endpoint.clone(),
                secret: secret.clone(),
                overlap,
                shaping,
                over: known,
            };
            match self.outbox.act(action).await {
                Err(ActRefused::ChangedMeanwhile) => {}
                answer => return Ok(answer.map(|()| secret)?),
            }
        }
        Err(ActRefused::ChangedMeanwhile.into())
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

fn fresh_keys() -> Result<FreshKeys, Error> {
    Ok(FreshKeys {
        secret: Secret::generate(random_bytes()?),
        signing_key: Secret::generate_ed25519(random_bytes()?).map_err(unusable_key)?,
    })
}

fn unusable_key(error: BadSecret) -> Error {
    tracing::error!(%error, "a generated key is not valid");
    Error::Internal("a key could not be generated; see the log")
}
