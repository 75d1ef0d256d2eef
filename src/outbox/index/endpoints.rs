//! What records about endpoints change in the index: names and states, definitions,
//! endpoints that are deleted and forgotten.

use crate::domain::endpoint::{EndpointId, EndpointNo};
use crate::domain::event::Tenant;
use crate::outbox::record::{EndpointDeleted, EndpointRow, EndpointSpecRow};

use super::keys;
use super::lane::Lane;
use super::pages::PagesError;
use super::rows::{self, SPEC_COST, SpecEntry};
use super::state::State;

impl State {
    pub(super) fn endpoint(&mut self, row: &EndpointRow<'_>) {
        let no = EndpointNo(row.no);
        let (Ok(id), Ok(tenant)) = (EndpointId::new(row.id), Tenant::new(row.tenant)) else {
            self.unknown += 1;
            return;
        };
        self.meta.last_no = self.meta.last_no.max(no.0);
        // Most such records only say again what is known.
        let same = self.lanes.get(&no).is_some_and(|lane| {
            (lane.id == id) && (lane.tenant == tenant) && lane.state == row.state
        });
        if same && self.by_id.get(&id) == Some(&no) {
            return;
        }
        self.by_id.insert(id.clone(), no);
        self.unweigh(no);
        let lane = self.lanes.entry(no).or_insert_with(|| {
            Box::new(Lane {
                id: id.clone(),
                tenant: tenant.clone(),
                state: row.state,
                deleted: None,
                totals: Default::default(),
            })
        });
        (lane.id, lane.tenant, lane.state) = (id, tenant, row.state);
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
        self.lanes
            .entry(no)
            .or_insert_with(|| Box::new(Lane::nameless(no)));
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
            self.meta.spec_bytes = self.meta.spec_bytes.saturating_sub(len + SPEC_COST);
            self.entries.remove(key);
        }
        Ok(())
    }

    pub(super) fn endpoint_deleted(&mut self, deleted: &EndpointDeleted) -> Result<(), PagesError> {
        let no = EndpointNo(deleted.no);
        self.drop_spec(no)?;
        self.unweigh(no);
        let lane = self
            .lanes
            .entry(no)
            .or_insert_with(|| Box::new(Lane::nameless(no)));
        lane.deleted = Some(deleted.at);
        self.weigh(no);
        self.meta.last_no = self.meta.last_no.max(no.0);
        self.touched.insert(no);
        Ok(())
    }

    pub(super) fn endpoint_forgotten(&mut self, no: EndpointNo) -> Result<(), PagesError> {
        self.drop_spec(no)?;
        self.unweigh(no);
        if let Some(lane) = self.lanes.remove(&no) {
            self.by_id.remove(&lane.id);
        }
        self.weigh(no);
        self.touched.remove(&no);
        self.entries.remove(keys::lane(no));
        self.meta.last_no = self.meta.last_no.max(no.0);
        Ok(())
    }
}
