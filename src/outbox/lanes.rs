//! The endpoints' numbers, names and states: brought in line with the configuration at the
//! start, and written again so that neither damage nor cleaning takes them away.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use crate::domain::endpoint::{DisabledReason, Endpoint, EndpointNo};
use crate::domain::time::Timestamp;
use crate::outbox::index::Lane;
use crate::outbox::index::keys;
use crate::outbox::index::rows::{self, SpecEntry};
use crate::outbox::log::Log;
use crate::outbox::record::{
    EndpointDeleted, EndpointRow, EndpointSpecRow, EndpointStateRow, Record,
};
use crate::outbox::writer::{Draft, Writer, WriterError};

/// A frame of endpoints is written when it has reached so many bytes.
const FRAME_BYTES: u64 = 1 << 20;
/// About what one endpoint's name and state take in the log, in bytes.
const STATE_BYTES: u64 = 96;

impl Writer {
    /// Writes endpoints again, once in each segment and after each start: the record that
    /// gives a number its endpoint may be hit by damage, and without another one like it
    /// all deliveries under that number would be nobody's. No more than an eighth of a
    /// segment is spent on it, those with something open first.
    pub(super) fn state_endpoints(&mut self) -> Result<(), WriterError> {
        let current = |log: &Log| log.segments().last().copied();
        let Some((base, len)) = current(&self.log) else {
            return Ok(());
        };
        if self.stated_in == Some(base) || self.limits.is_tight() {
            return Ok(());
        }
        let most = usize::try_from(len / 8 / STATE_BYTES).unwrap_or(usize::MAX);
        let mut wanted: Vec<(bool, EndpointNo)> = {
            let state = self.index.read();
            let lanes = state.lanes.iter();
            lanes
                .map(|(no, lane)| (lane.totals.pending + lane.totals.held == 0, *no))
                .collect()
        };
        if wanted.len() > most {
            wanted.sort_unstable();
            wanted.truncate(most);
        }
        for (_, no) in wanted {
            let lane = self.index.read().lanes.get(&no).cloned();
            if let Some(lane) = lane {
                self.push_lane(no, &lane)?;
                self.commit_if_long()?;
            }
        }
        self.commit(Draft::default())?;
        self.stated_in = current(&self.log).map(|(base, _)| base);
        Ok(())
    }

    /// Adds an endpoint's name and state to the frame, as they are.
    fn push_lane(&mut self, no: EndpointNo, lane: &Lane) -> Result<(), WriterError> {
        self.push_endpoint(no, lane, lane.state)?;
        if let Some(at) = lane.deleted {
            self.push(
                &Record::EndpointDeleted(EndpointDeleted { no: no.0, at }),
                &[],
            )?;
        }
        Ok(())
    }

    /// Whether the frame, if it was long, could be made durable.
    fn commit_if_long(&mut self) -> Result<bool, WriterError> {
        if self.frame.disk_len() <= FRAME_BYTES {
            return Ok(true);
        }
        let before = self.log.end();
        self.commit(Draft::default())?;
        Ok(self.log.end() > before)
    }

    /// Writes these endpoints and definitions again, as far as they are still there, and
    /// those that are failing. What does not fill a frame stays in the one in the making.
    /// Whether all else is durable.
    pub(super) fn keep_lanes(
        &mut self,
        mut lanes: BTreeSet<EndpointNo>,
        specs: &BTreeSet<EndpointNo>,
    ) -> Result<bool, WriterError> {
        let last_no = {
            let state = self.index.read();
            let failing = state.lanes.iter();
            lanes.extend(
                failing
                    .filter(|(_, lane)| lane.state.failing.is_some())
                    .map(|(no, _)| *no),
            );
            let last_no = state.meta.last_no;
            (last_no > 0 && !state.lanes.contains_key(&EndpointNo(last_no))).then_some(last_no)
        };
        if let Some(no) = last_no {
            self.push(&Record::EndpointForgotten(no), &[])?;
        }
        lanes.extend(specs);
        for no in lanes {
            let lane = self.index.read().lanes.get(&no).cloned();
            let Some(lane) = lane else { continue };
            self.push_lane(no, &lane)?;
            if specs.contains(&no) {
                self.keep_spec(no)?;
            }
            if !self.commit_if_long()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn keep_spec(&mut self, no: EndpointNo) -> Result<(), WriterError> {
        let found = {
            let state = self.index.read();
            let bytes = state.entries.get(&keys::spec(no))?;
            bytes.map(|bytes| bytes.into_owned())
        };
        let Some(bytes) = found else { return Ok(()) };
        let entry: SpecEntry = rows::decode(&bytes)?;
        let row = EndpointSpecRow {
            no: no.0,
            changed_at: entry.changed_at,
            spec: entry.spec,
        };
        self.push(&Record::EndpointSpec(row), &[])?;
        Ok(())
    }

    /// Brings the endpoints that the store knows in line with the configuration's, and
    /// puts them and the API's in force.
    pub(super) fn reconcile(&mut self, configured: Vec<Endpoint>) -> Result<(), WriterError> {
        let now = self.now();
        let mut last_no = self.index.read().meta.last_no;
        let mut in_force = self.defined()?;
        let mut switched = Vec::new();
        for endpoint in configured {
            let known = {
                let state = self.index.read();
                let found = state.lane_named(&endpoint.id);
                found.map(|(no, lane)| (no, lane.clone()))
            };
            let (no, old) = match known {
                Some((no, lane)) => (no, Some(lane)),
                None => {
                    last_no = last_no.saturating_add(1);
                    (EndpointNo(last_no), None)
                }
            };
            let state = reconciled(old.as_ref().map(|lane| lane.state), endpoint.enabled, now);
            if let Some(old) = &old
                && old.state.off_in_file.is_some() != state.off_in_file.is_some()
            {
                switched.push((old.clone(), state));
            }
            if old.is_none_or(|lane| lane.state != state || lane.tenant != endpoint.tenant) {
                let (id, tenant) = (endpoint.id.as_str(), endpoint.tenant.as_str());
                let no = no.0;
                self.push(
                    &Record::Endpoint(EndpointRow {
                        no,
                        id,
                        tenant,
                        state,
                    }),
                    &[],
                )?;
                self.commit_if_long()?;
            }
            in_force.push((no, Arc::new(endpoint)));
        }
        let present: HashSet<EndpointNo> = in_force.iter().map(|(no, _)| *no).collect();
        let gone: Vec<(EndpointNo, Lane)> = {
            let state = self.index.read();
            let lanes = state.lanes.iter();
            lanes
                .filter(|(no, lane)| !present.contains(no) && lane.deleted.is_none())
                .filter(|(_, lane)| lane.state.missing.is_none())
                .map(|(no, lane)| (*no, Lane::clone(lane)))
                .collect()
        };
        for (no, lane) in gone {
            tracing::warn!(endpoint = %lane.id, "endpoint is gone from the configuration; its open deliveries are held until it is back");
            let missing = Some(now.as_millis());
            let state = EndpointStateRow {
                missing,
                ..lane.state
            };
            self.push_endpoint(no, &lane, state)?;
            self.commit_if_long()?;
        }
        self.commit(Draft::default())?;
        self.limits.refresh(&mut self.log)?;
        self.note_log_size();
        for (no, endpoint) in in_force {
            self.shared.put_in_force(no, Some(endpoint));
        }
        self.report_switched(switched)
    }

    /// Tells of endpoints that were switched on or off in the file since the last start.
    fn report_switched(
        &mut self,
        switched: Vec<(Lane, EndpointStateRow)>,
    ) -> Result<(), WriterError> {
        let mut draft = self.draft();
        for (lane, state) in switched {
            if state.off_in_file.is_some() {
                self.report_disabled(&lane, DisabledReason::Manual, None, &mut draft)?;
            } else if !state.is_holding() {
                self.report_enabled(&lane, &mut draft)?;
            }
        }
        // What these events lead to is read from the index when the lanes begin.
        draft.queued.clear();
        self.commit(draft)?;
        Ok(())
    }
}

fn reconciled(old: Option<EndpointStateRow>, enabled: bool, now: Timestamp) -> EndpointStateRow {
    let old = old.unwrap_or_default();
    let off_in_file = match (enabled, old.off_in_file) {
        (true, _) => None,
        (false, since) => since.or(Some(now.as_millis())),
    };
    let state = EndpointStateRow {
        off_in_file,
        missing: None,
        ..old
    };
    let released = old.is_holding() && !state.is_holding();
    EndpointStateRow {
        released_at: if released {
            now.as_millis()
        } else {
            old.released_at
        },
        ..state
    }
}
