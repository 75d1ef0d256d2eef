//! In which fields two definitions of an endpoint differ: what a dry run answers. Only names, no values:
//! some of them are secret.

use std::sync::Arc;

use crate::domain::endpoint::EndpointSpec;
use crate::domain::shaping::{Given, KEYS, Shaping};

/// The fields that differ, as the API names them.
pub fn changed(before: &EndpointSpec, after: &EndpointSpec) -> Vec<&'static str> {
    let newest = |spec: &EndpointSpec| spec.secrets.first().map(|kept| kept.secret.clone());
    let own = [
        ("url", before.url != after.url),
        ("tenant", before.tenant != after.tenant),
        ("types", before.types != after.types),
        ("secret", newest(before) != newest(after)),
        ("headers", before.headers != after.headers),
        ("max_in_flight", before.max_in_flight != after.max_in_flight),
        ("rate_limit", before.rate_limit != after.rate_limit),
        ("ordering", before.ordering != after.ordering),
        ("timeout", before.timeout != after.timeout),
        ("http2", before.http2 != after.http2),
        ("retry", before.retry != after.retry),
        ("description", before.description != after.description),
        ("applied_as", before.applied_as != after.applied_as),
    ];
    let own = own
        .into_iter()
        .filter_map(|(name, differs)| differs.then_some(name));
    let given = |shaping: &Option<Arc<Shaping>>| match shaping {
        Some(shaping) => shaping.given().clone(),
        None => Given::new(),
    };
    let (shaped, reshaped) = (given(&before.shaping), given(&after.shaping));
    let shaping = KEYS
        .into_iter()
        .filter(|key| shaped.get(*key) != reshaped.get(*key));
    own.chain(shaping).collect()
}
