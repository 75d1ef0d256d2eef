//! Which endpoints want an event: an index by tenant and type, so that the cost of a
//! match follows the number of endpoints that want it and not of those there are.

use std::collections::HashMap;

use super::endpoint::{Endpoint, EndpointNo, TypePattern};
use super::event::{EventType, RESERVED_PREFIX, Tenant};

/// The subscriptions of all endpoints. Immutable; built anew when endpoints change.
#[derive(Debug, Default)]
pub struct Subscriptions {
    tenants: HashMap<Tenant, Wanted>,
}

#[derive(Debug, Default)]
struct Wanted {
    any: Vec<EndpointNo>,
    exact: HashMap<Box<str>, Vec<EndpointNo>>,
    /// By prefix, its dot included.
    prefix: HashMap<Box<str>, Vec<EndpointNo>>,
}

impl Subscriptions {
    pub fn new<'a>(endpoints: impl Iterator<Item = (EndpointNo, &'a Endpoint)>) -> Self {
        let mut tenants: HashMap<Tenant, Wanted> = HashMap::new();
        for (no, endpoint) in endpoints {
            let wanted = tenants.entry(endpoint.tenant.clone()).or_default();
            for pattern in &endpoint.types {
                match pattern {
                    TypePattern::Any => wanted.any.push(no),
                    TypePattern::Prefix(prefix) => {
                        wanted
                            .prefix
                            .entry((&**prefix).into())
                            .or_default()
                            .push(no);
                    }
                    TypePattern::Exact(name) => {
                        wanted
                            .exact
                            .entry(name.as_str().into())
                            .or_default()
                            .push(no);
                    }
                }
            }
        }
        Subscriptions { tenants }
    }

    /// The endpoints of `tenant` that want `event_type`, each once, in order of their numbers.
    pub fn matching(&self, tenant: &Tenant, event_type: &EventType) -> Vec<EndpointNo> {
        let Some(wanted) = self.tenants.get(tenant) else {
            return Vec::new();
        };
        let name = event_type.as_str();
        let reserved = event_type.is_reserved();
        let mut found = if reserved {
            Vec::new()
        } else {
            wanted.any.clone()
        };
        found.extend(wanted.exact.get(name).into_iter().flatten());
        if !wanted.prefix.is_empty() {
            for (dot, _) in name.match_indices('.') {
                let prefix = &name[..=dot];
                if !reserved || prefix.starts_with(RESERVED_PREFIX) {
                    found.extend(wanted.prefix.get(prefix).into_iter().flatten());
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}
