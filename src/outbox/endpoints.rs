//! The endpoints in force. The writer alone changes them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use crate::domain::endpoint::{Endpoint, EndpointId, EndpointNo};
use crate::domain::event::{NewEvent, Tenant};
use crate::domain::subscription::Subscriptions;
use crate::domain::time::Timestamp;

/// The endpoints in force, by number, id and subscription.
#[derive(Debug, Default)]
pub struct Endpoints {
    by_no: HashMap<EndpointNo, Arc<Endpoint>>,
    by_id: BTreeMap<EndpointId, EndpointNo>,
    subscriptions: Subscriptions,
    /// How many endpoints of a tenant have a filter.
    filters: HashMap<Tenant, usize>,
    /// Those with a client certificate.
    certified: BTreeSet<EndpointNo>,
}

impl Endpoints {
    /// The endpoints that want an event by its tenant, type and channels, in order of their
    /// numbers. What their filters say is another matter.
    pub fn matching(&self, event: &NewEvent) -> Vec<EndpointNo> {
        let (tenant, event_type) = (&event.tenant, &event.event_type);
        let extras = event.extras.as_deref();
        self.subscriptions.matching(tenant, event_type, |no| {
            self.by_no.get(&no).is_some_and(|endpoint| {
                let mut types = endpoint.types.iter();
                endpoint.tenant == *tenant
                    && types.any(|pattern| pattern.matches(event_type))
                    && endpoint.takes_channels(extras)
            })
        })
    }

    /// Whether any endpoint of the tenant has a filter.
    pub fn has_filters(&self, tenant: &Tenant) -> bool {
        self.filters.contains_key(tenant)
    }

    fn count_filter(&mut self, endpoint: &Endpoint, add: bool) {
        if !endpoint.has_filter() {
            return;
        }
        let count = self.filters.entry(endpoint.tenant.clone()).or_default();
        *count = if add {
            *count + 1
        } else {
            count.saturating_sub(1)
        };
        if *count == 0 {
            self.filters.remove(&endpoint.tenant);
        }
    }

    /// Puts an endpoint in force as it is now, or takes it out.
    pub fn put(&mut self, no: EndpointNo, endpoint: Option<Arc<Endpoint>>) {
        if let Some(old) = self.by_no.remove(&no) {
            self.subscriptions.remove(no, &old.tenant, &old.types);
            self.count_filter(&old, false);
            self.certified.remove(&no);
            self.by_id.remove(&old.id);
        }
        if let Some(endpoint) = endpoint {
            self.subscriptions
                .add(no, &endpoint.tenant, &endpoint.types);
            self.count_filter(&endpoint, true);
            if endpoint.identity().is_some() {
                self.certified.insert(no);
            }
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

    /// Until when the client certificates of endpoints are valid, in order of the numbers.
    pub fn certificates(&self) -> impl Iterator<Item = (EndpointId, Timestamp)> {
        self.certified.iter().filter_map(|no| {
            let endpoint = self.by_no.get(no)?;
            Some((endpoint.id.clone(), endpoint.identity()?.not_after()))
        })
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
