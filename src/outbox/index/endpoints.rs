//! What records about endpoints change in the index: names and states, definitions,
//! endpoints that are deleted and forgotten.

use crate::domain::account::Total as _;
use crate::domain::endpoint::{EndpointId, EndpointNo};
use crate::domain::event::Tenant;
use crate::outbox::record::{EndpointDeleted, EndpointRow, EndpointSpecRow};

use super::keys;
use super::pages::PagesError;
use super::rows::{self, SPEC_COST, SpecEntry};
use super::state::State;
use super::stored_endpoint::StoredEndpoint;

impl State {
    pub(super) fn endpoint(&mut self, row: &EndpointRow<'_>) {
        let no = EndpointNo(row.no);
        let (Ok(id), Ok(tenant)) = (EndpointId::new(row.id), Tenant::new(row.tenant)) else {
            self.unknown += 1;
            return;
        };
        self.meta.last_no = self.meta.last_no.max(no.0);
        // Most such records only say again what is known.
        let same = self.endpoints.get(&no).is_some_and(|stored| {
            (stored.id == id) && (stored.tenant == tenant) && stored.state == row.state
        });
        if same && self.by_id.get(&id) == Some(&no) {
            return;
        }
        self.by_id.insert(id.clone(), no);
        self.count_tenant(&tenant);
        self.unweigh(no);
        let stored = self.endpoints.entry(no).or_insert_with(|| {
            Box::new(StoredEndpoint {
                id: id.clone(),
                tenant: tenant.clone(),
                state: row.state,
                deleted: None,
                totals: Default::default(),
                newest_attempt: 0,
                outcomes: None,
                open_stats: Default::default(),
            })
        });
        (stored.id, stored.tenant, stored.state) = (id, tenant, row.state);
        self.weigh(no);
        self.touched.insert(no);
    }

    pub(super) fn endpoint_spec(
        &mut self,
        lsn: u64,
        row: &EndpointSpecRow,
    ) -> Result<(), PagesError> {
        let no = EndpointNo(row.no);
        self.meta.last_no = self.meta.last_no.max(no.0);
        self.drop_spec(no)?;
        let spec = row.spec.clone();
        let entry = rows::encode(&SpecEntry {
            lsn,
            changed_at: row.changed_at,
            spec,
        });
        self.meta.spec_bytes += entry.len() as u64 + SPEC_COST;
        self.entries.put(keys::spec(no), entry);
        self.segments.add(lsn);
        self.endpoints
            .entry(no)
            .or_insert_with(|| Box::new(StoredEndpoint::nameless(no)));
        self.touched.insert(no);
        Ok(())
    }

    fn drop_spec(&mut self, no: EndpointNo) -> Result<(), PagesError> {
        let key = keys::spec(no);
        let known = match self.entries.get(&key)? {
            Some(bytes) => {
                let entry: SpecEntry = rows::decode(&bytes).map_err(|_| PagesError::Damaged)?;
                Some((bytes.len() as u64, entry.lsn))
            }
            None => None,
        };
        if let Some((len, lsn)) = known {
            self.segments.remove(lsn);
            self.meta.spec_bytes.take_off(len + SPEC_COST);
            self.entries.remove(key);
        }
        Ok(())
    }

    pub(super) fn endpoint_deleted(&mut self, deleted: &EndpointDeleted) -> Result<(), PagesError> {
        let no = EndpointNo(deleted.no);
        self.drop_spec(no)?;
        self.unweigh(no);
        let stored = self
            .endpoints
            .entry(no)
            .or_insert_with(|| Box::new(StoredEndpoint::nameless(no)));
        stored.deleted = Some(deleted.at);
        self.weigh(no);
        self.meta.last_no = self.meta.last_no.max(no.0);
        self.touched.insert(no);
        Ok(())
    }

    pub(super) fn endpoint_forgotten(&mut self, no: EndpointNo) -> Result<(), PagesError> {
        self.drop_spec(no)?;
        self.unweigh(no);
        if let Some(stored) = self.endpoints.remove(&no) {
            self.by_id.remove(&stored.id);
        }
        self.weigh(no);
        self.touched.remove(&no);
        self.entries.remove(keys::endpoint(no));
        self.forget_outcomes(no)?;
        self.meta.last_no = self.meta.last_no.max(no.0);
        Ok(())
    }
}
