//! Changes to what is stored: outcomes of attempts, and what people want done.

use crate::domain::delivery::{Delivery, Move, Reason, Status};
use crate::domain::endpoint::{DisabledReason, EndpointId, EndpointNo};
use crate::domain::engine::Entry;
use crate::domain::event::EventId;
use crate::domain::time::Timestamp;
use crate::outbox::commit::{Notice, Outcome};
use crate::outbox::index::rows::{self, EventRow};
use crate::outbox::index::{Lane, PagesError, keys};
use crate::outbox::log::Log;
use crate::outbox::record::{
    self, Acted, AttemptRow, Attempted, EndpointRow, EndpointStateRow, NextRow, Record, StepRow,
};
use crate::outbox::view::{ActRefused, Action};
use crate::outbox::writer::{Draft, Writer, WriterError};

/// A delivery that somebody wants changed.
struct Found {
    no: EndpointNo,
    delivery: Delivery,
    /// Its endpoint takes no deliveries.
    holding: bool,
    /// Where the event's record is.
    lsn: u64,
}

type Acts = Result<Option<Result<(), ActRefused>>, WriterError>;

impl Writer {
    pub(super) fn outcome(
        &mut self,
        outcome: &Outcome,
        draft: &mut Draft,
    ) -> Result<(), WriterError> {
        let (event, no) = (outcome.event, outcome.no);
        draft.commit.notices.push(Notice::Stored { no, event });
        let (row, lane) = {
            let state = self.index.read();
            (
                state.delivery_row(event, no)?,
                state.lanes.get(&no).cloned(),
            )
        };
        let (Some(row), Some(lane)) = (row, lane) else {
            tracing::warn!(%event, endpoint = no.0, "an attempt ended whose delivery is no longer kept");
            return Ok(());
        };
        let mut attempt = AttemptRow::new(&outcome.attempt);
        let mut response: &[u8] = &outcome.attempt.response_body;
        if self.limits.is_tight() {
            (attempt.response, response) = (0, &[]);
        }
        let ended_at = outcome.ended_at.as_millis();
        let next = NextRow::new(outcome.next, outcome.exact);
        let previous = row.last_attempt;
        let (id, endpoint) = (event.0, no.0);
        self.push(
            &Record::Attempted(Attempted {
                id,
                endpoint,
                ended_at,
                attempt,
                next,
                previous,
            }),
            response,
        )?;
        draft.touched.insert((event, no));
        if let Some(reason) = outcome.disable
            && lane.state.disabled.is_none()
        {
            let state = lane
                .state
                .after_attempt(ended_at, next == NextRow::Delivered);
            let disabled = Some((record::disabled_number(reason), ended_at));
            self.push_endpoint(no, &lane, EndpointStateRow { disabled, ..state })?;
            draft.commit.notices.push(Notice::Held { no });
            tracing::warn!(endpoint = %lane.id, %event, reason = reason.as_str(), "endpoint disabled; its deliveries are held until it is enabled");
        }
        draft.lanes.insert(no);
        Ok(())
    }

    /// Takes an action; `None` if it must wait for the next frame.
    pub(super) fn act(&mut self, action: &Action, draft: &mut Draft) -> Acts {
        match action {
            Action::Retry { event, endpoint } => self.retry(*event, endpoint, draft),
            Action::Cancel { event, endpoint } => self.cancel(*event, endpoint, draft),
            Action::Enable { endpoint } => self.enable(endpoint, draft),
            Action::Disable { endpoint, reason } => self.disable(endpoint, *reason, draft),
        }
    }

    fn retry(&mut self, event: EventId, endpoint: &EndpointId, draft: &mut Draft) -> Acts {
        let found = match self.find(event, endpoint)? {
            Ok(found) => found,
            Err(refused) => return Ok(Some(Err(refused))),
        };
        let now = self.now();
        let step = Move::Retry { at: now };
        if found.delivery.after(step).is_err()
            || (found.holding && found.delivery.status == Status::Pending)
        {
            return Ok(Some(Err(ActRefused::Conflict(Status::Held))));
        }
        if !self.step(
            event,
            found.no,
            StepRow::Retry {
                at: now.as_millis(),
            },
            draft,
        )? {
            return Ok(None);
        }
        let entry = Entry {
            event,
            lsn: found.lsn,
            due: now,
            exact: false,
            tries: 0,
            budget_from: now,
        };
        draft.commit.notices.push(Notice::Queued {
            no: found.no,
            entry,
            content: None,
        });
        draft.commit.notices.push(Notice::Wanted { no: found.no });
        Ok(Some(Ok(())))
    }

    fn cancel(&mut self, event: EventId, endpoint: &EndpointId, draft: &mut Draft) -> Acts {
        let found = match self.find(event, endpoint)? {
            Ok(found) => found,
            Err(refused) => return Ok(Some(Err(refused))),
        };
        let now = self.now();
        if found
            .delivery
            .after(Move::Die {
                at: now,
                reason: Reason::Cancelled,
            })
            .is_err()
        {
            return Ok(Some(Err(ActRefused::Conflict(found.delivery.status))));
        }
        let reason = record::reason_number(Reason::Cancelled);
        if !self.step(
            event,
            found.no,
            StepRow::Die {
                at: now.as_millis(),
                reason,
            },
            draft,
        )? {
            return Ok(None);
        }
        draft.commit.notices.push(Notice::Withdrawn {
            no: found.no,
            event,
        });
        Ok(Some(Ok(())))
    }

    /// Adds an `Acted`; whether it could be in this frame.
    fn step(
        &mut self,
        event: EventId,
        no: EndpointNo,
        step: StepRow,
        draft: &mut Draft,
    ) -> Result<bool, WriterError> {
        if !draft.touched.insert((event, no)) {
            return Ok(false);
        }
        self.push(
            &Record::Acted(Acted {
                id: event.0,
                endpoint: no.0,
                step,
            }),
            &[],
        )?;
        Ok(true)
    }

    fn find(
        &self,
        event: EventId,
        endpoint: &EndpointId,
    ) -> Result<Result<Found, ActRefused>, WriterError> {
        let state = self.index.read();
        let Some(bytes) = state.entries.get(&keys::event(event))? else {
            return Ok(Err(ActRefused::NoSuchEvent));
        };
        let row: EventRow<'_> = rows::decode(&bytes)?;
        let Some((no, lane)) = state.lane_named(endpoint) else {
            return Ok(Err(ActRefused::NoSuchEndpoint));
        };
        let Some(found) = state.delivery_row(event, no)? else {
            return Ok(Err(ActRefused::NoSuchDelivery));
        };
        let delivery = found.delivery().ok_or(PagesError::Damaged)?;
        Ok(Ok(Found {
            no,
            delivery,
            holding: lane.state.is_holding(),
            lsn: row.lsn,
        }))
    }

    fn enable(&mut self, endpoint: &EndpointId, draft: &mut Draft) -> Acts {
        let Some((no, lane)) = self.lane_named(endpoint) else {
            return Ok(Some(Err(ActRefused::NoSuchEndpoint)));
        };
        if lane.state.off_in_file.is_some() {
            return Ok(Some(Err(ActRefused::DisabledInFile)));
        }
        if lane.state.disabled.is_none() {
            draft.commit.notices.push(Notice::Wanted { no });
            return Ok(Some(Ok(())));
        }
        if !draft.lanes.insert(no) {
            return Ok(None);
        }
        let now = self.now();
        let enabled = EndpointStateRow {
            disabled: None,
            failing: None,
            ..lane.state
        };
        let state = EndpointStateRow {
            released_at: now.as_millis(),
            ..enabled
        };
        self.push_endpoint(no, &lane, state)?;
        if !state.is_holding() {
            draft.commit.notices.push(Notice::Released { no, at: now });
        }
        tracing::info!(%endpoint, "endpoint enabled; its held deliveries are released");
        Ok(Some(Ok(())))
    }

    fn disable(
        &mut self,
        endpoint: &EndpointId,
        reason: DisabledReason,
        draft: &mut Draft,
    ) -> Acts {
        let Some((no, lane)) = self.lane_named(endpoint) else {
            return Ok(Some(Err(ActRefused::NoSuchEndpoint)));
        };
        if lane.state.disabled.is_some() {
            return Ok(Some(Ok(())));
        }
        if !draft.lanes.insert(no) {
            return Ok(None);
        }
        let disabled = Some((record::disabled_number(reason), self.now().as_millis()));
        self.push_endpoint(
            no,
            &lane,
            EndpointStateRow {
                disabled,
                ..lane.state
            },
        )?;
        draft.commit.notices.push(Notice::Held { no });
        tracing::info!(%endpoint, reason = reason.as_str(), "endpoint disabled; its deliveries are held");
        Ok(Some(Ok(())))
    }

    fn lane_named(&self, endpoint: &EndpointId) -> Option<(EndpointNo, Lane)> {
        self.index
            .read()
            .lane_named(endpoint)
            .map(|(no, lane)| (no, lane.clone()))
    }

    /// Adds an endpoint's new state to the frame.
    pub(super) fn push_endpoint(
        &mut self,
        no: EndpointNo,
        lane: &Lane,
        state: EndpointStateRow,
    ) -> Result<(), WriterError> {
        let (id, tenant) = (lane.id.as_str(), lane.tenant.as_str());
        self.push(
            &Record::Endpoint(EndpointRow {
                no: no.0,
                id,
                tenant,
                state,
            }),
            &[],
        )?;
        Ok(())
    }

    /// Writes all endpoints again, once in each segment and after each start: the record
    /// that gives a number its endpoint may be hit by damage, and without another one like
    /// it all deliveries under that number would be nobody's.
    pub(super) fn state_endpoints(&mut self) -> Result<(), WriterError> {
        let current = |log: &Log| log.segments().last().map(|(base, _)| *base);
        if self.stated_in == current(&self.log) || self.limits.is_tight() {
            return Ok(());
        }
        let lanes = self.index.read().lanes.clone();
        for (no, lane) in &lanes {
            self.push_endpoint(*no, lane, lane.state)?;
        }
        self.commit(Draft::default())?;
        self.stated_in = current(&self.log);
        Ok(())
    }

    /// Brings the endpoints that the store knows in line with the configuration's, and
    /// tells which number each has. The configuration's endpoints in force are set with it.
    pub(super) fn reconcile(
        &mut self,
        configured: Vec<crate::domain::endpoint::Endpoint>,
    ) -> Result<(), WriterError> {
        let now = self.now();
        let lanes = self.index.read().lanes.clone();
        let mut next_no = lanes
            .keys()
            .next_back()
            .map_or(1, |no| no.0.saturating_add(1));
        let by_id = self.index.read().by_id.clone();
        let mut in_force = Vec::with_capacity(configured.len());
        for endpoint in configured {
            let known = by_id
                .get(&endpoint.id)
                .and_then(|no| lanes.get(no).map(|lane| (*no, lane)));
            let (no, old) = match known {
                Some((no, lane)) => (no, Some(lane)),
                None => (EndpointNo(next_no), None),
            };
            next_no = next_no.max(no.0.saturating_add(1));
            let state = reconciled(old.map(|lane| lane.state), endpoint.enabled, now);
            if old.is_none_or(|lane| lane.state != state || lane.tenant != endpoint.tenant) {
                let (id, tenant) = (endpoint.id.as_str(), endpoint.tenant.as_str());
                self.push(
                    &Record::Endpoint(EndpointRow {
                        no: no.0,
                        id,
                        tenant,
                        state,
                    }),
                    &[],
                )?;
            }
            in_force.push((no, endpoint));
        }
        let present: std::collections::HashSet<EndpointNo> =
            in_force.iter().map(|(no, _)| *no).collect();
        for (no, lane) in &lanes {
            if !present.contains(no) && lane.state.missing.is_none() {
                tracing::warn!(endpoint = %lane.id, "endpoint is gone from the configuration; its open deliveries are held until it is back");
                let missing = Some(now.as_millis());
                self.push_endpoint(
                    *no,
                    lane,
                    EndpointStateRow {
                        missing,
                        ..lane.state
                    },
                )?;
            }
        }
        self.commit(Draft::default())?;
        self.limits.refresh(&mut self.log)?;
        self.note_log_size();
        self.shared.set_endpoints(in_force);
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
