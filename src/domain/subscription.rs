//! Which endpoints want an event: an index by tenant and type, so that the cost of a
//! match follows the number of endpoints that want it and not of those there are.

use std::collections::HashMap;

use super::endpoint::{EndpointNo, TypePattern};
use super::event::{EventType, RESERVED_PREFIX, Tenant};

/// The subscriptions of all endpoints. Changed in place: built anew for each change, ten
/// thousand new endpoints would cost the square of that.
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
    /// Takes in an endpoint's patterns; the endpoint is not in here yet.
    pub fn add(&mut self, no: EndpointNo, tenant: &Tenant, types: &[TypePattern]) {
        let wanted = self.tenants.entry(tenant.clone()).or_default();
        for pattern in types {
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

    /// Takes out an endpoint that was added with these patterns.
    pub fn remove(&mut self, no: EndpointNo, tenant: &Tenant, types: &[TypePattern]) {
        let Some(wanted) = self.tenants.get_mut(tenant) else {
            return;
        };
        for pattern in types {
            match pattern {
                TypePattern::Any => wanted.any.retain(|other| *other != no),
                TypePattern::Prefix(prefix) => take_out(&mut wanted.prefix, prefix, no),
                TypePattern::Exact(name) => take_out(&mut wanted.exact, name.as_str(), no),
            }
        }
        if wanted.any.is_empty() && wanted.exact.is_empty() && wanted.prefix.is_empty() {
            self.tenants.remove(tenant);
        }
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

fn take_out(from: &mut HashMap<Box<str>, Vec<EndpointNo>>, name: &str, no: EndpointNo) {
    if let Some(numbers) = from.get_mut(name) {
        numbers.retain(|other| *other != no);
        if numbers.is_empty() {
            from.remove(name);
        }
    }
}
