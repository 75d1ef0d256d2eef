//! What the engine has to know of an endpoint.

use crate::domain::endpoint::Endpoint;
use crate::domain::engine::LanePolicy;
use crate::domain::rate::Rate;

/// The policy of an endpoint as it is defined, and as its receiver consented.
pub(super) fn policy(endpoint: &Endpoint) -> LanePolicy {
    LanePolicy {
        tenant: endpoint.tenant.clone(),
        max_in_flight: endpoint.max_in_flight,
        retry: endpoint.retry.clone(),
        ordering: endpoint.ordering,
        rate_limit: slower(endpoint.rate_limit, consented_rate(endpoint)),
    }
}

/// The rate that a receiver of CloudEvents has consented to.
fn consented_rate(endpoint: &Endpoint) -> Option<Rate> {
    let consents = endpoint.shaping.as_ref()?.consents.as_ref()?;
    consents.rate(&endpoint.url)
}

fn slower(a: Option<Rate>, b: Option<Rate>) -> Option<Rate> {
    match (a, b) {
        (Some(a), Some(b)) if b.per_second < a.per_second => Some(b),
        (a, b) => a.or(b),
    }
}
