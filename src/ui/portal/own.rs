//! Whether what a path names is the visitor's tenant's own. What is not is as if it did not exist.

use crate::api::Api;
use crate::api::path::parse_name;
use crate::app;
use crate::domain::endpoint::EndpointId;
use crate::domain::event::{EventId, Tenant};
use crate::outbox::ReadError;
use crate::ui::base::failed::Failed;

/// Judges the path of a page, below that of all pages. No thing ever changes its tenant, so what is
/// found here stays true.
///
/// # Errors
/// 404, as for what does not exist.
pub async fn judge(api: &Api, tenant: &Tenant, below: &str) -> Result<(), Failed> {
    // No id needs an escape, and the router would decode one that is not seen here.
    if below.contains('%') {
        return Err(Failed::not_found("there is no such page"));
    }
    let mut parts = below.split('/').skip(1);
    match (parts.next(), parts.next(), parts.next()) {
        // The form for a new one. There may be an endpoint of that name, too.
        (Some("endpoints"), Some("new"), None) => Ok(()),
        (Some("endpoints"), Some(id), _) => endpoint(api, tenant, id).await,
        (Some("events"), Some(id), Some("deliveries")) => {
            event(api, tenant, id).await?;
            delivery(api, tenant, id, parts.next().unwrap_or_default()).await
        }
        (Some("events"), Some(id), _) => event(api, tenant, id).await,
        // Jobs have an end that looks like that of others: their pages judge for themselves.
        _ => Ok(()),
    }
}

async fn endpoint(api: &Api, tenant: &Tenant, id: &str) -> Result<(), Failed> {
    let id: EndpointId = parse_name(id)?;
    let (endpoint, _) = api.app().endpoints.find(id).await?;
    match endpoint.tenant == *tenant {
        true => Ok(()),
        false => Err(app::Error::from(ReadError::NoSuchEndpoint).into()),
    }
}

/// An endpoint of another tenant is like one that does not exist. One that was deleted still has its
/// deliveries.
async fn delivery(api: &Api, tenant: &Tenant, event: &str, id: &str) -> Result<(), Failed> {
    let (event, id): (EventId, EndpointId) = (parse_name(event)?, parse_name(id)?);
    let known = api.app().endpoints.find(id.clone()).await;
    let is_own = known.is_ok_and(|(endpoint, _)| endpoint.tenant == *tenant);
    if is_own || api.app().deliveries.find(event, id).await.is_ok() {
        return Ok(());
    }
    Err(app::Error::from(ReadError::NoSuchEndpoint).into())
}

async fn event(api: &Api, tenant: &Tenant, id: &str) -> Result<(), Failed> {
    let id: EventId = parse_name(id)?;
    // An erased event has no tenant.
    match api.app().events.tenant(id).await {
        Ok(own) if own == *tenant => Ok(()),
        Ok(_) | Err(app::Error::Read(ReadError::NoSuchEvent | ReadError::Erased)) => {
            Err(app::Error::from(ReadError::NoSuchEvent).into())
        }
        Err(error) => Err(error.into()),
    }
}
