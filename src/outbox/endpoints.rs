//! The endpoints in force. The writer alone changes them.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use crate::domain::endpoint::{Endpoint, EndpointId, EndpointNo};
use crate::domain::event::{EventType, Tenant};
use crate::domain::subscription::Subscriptions;

/// The endpoints in force, by number, id and subscription.
#[derive(Debug, Default)]
pub struct Endpoints {
    by_no: HashMap<EndpointNo, Arc<Endpoint>>,
    by_id: BTreeMap<EndpointId, EndpointNo>,
    subscriptions: Subscriptions,
}

impl Endpoints {
    /// The endpoints that want an event of this type, in order of their numbers.
    pub fn matching(&self, tenant: &Tenant, event_type: &EventType) -> Vec<EndpointNo> {
        self.subscriptions.matching(tenant, event_type, |no| {
            self.by_no.get(&no).is_some_and(|endpoint| {
                let mut types = endpoint.types.iter();
                endpoint.tenant == *tenant && types.any(|pattern| pattern.matches(event_type))
            })
        })
    }

    /// Puts an endpoint in force as it is now, or takes it out.
    pub fn put(&mut self, no: EndpointNo, endpoint: Option<Arc<Endpoint>>) {
        if let Some(old) = self.by_no.remove(&no) {
            self.subscriptions.remove(no, &old.tenant, &old.types);
            self.by_id.remove(&old.id);
        }
        if let Some(endpoint) = endpoint {
            self.subscriptions
                .add(no, &endpoint.tenant, &endpoint.types);
            self.by_id.insert(endpoint.id.clone(), no);
            self.by_no.insert(no, endpoint);
        }
    }

    pub fn get(&self, no: EndpointNo) -> Option<&Arc<Endpoint>> {
        self.by_no.get(&no)
    }

    pub fn number_of(&self, id: &EndpointId) -> Option<EndpointNo> {
        self.by_id.get(id).copied()
    }

    pub fn len(&self) -> usize {
        self.by_no.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_no.is_empty()
    }

    /// In order of their ids, past `after`.
    pub fn from(
        &self,
        after: Option<&EndpointId>,
    ) -> impl Iterator<Item = (EndpointNo, &Arc<Endpoint>)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_id
            .range::<EndpointId, _>((from, Bound::Unbounded))
            .filter_map(|(_, no)| Some((*no, self.by_no.get(no)?)))
    }
}
