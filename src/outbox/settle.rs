//! Changes to what is stored: outcomes of attempts, and what people want done.

use crate::domain::delivery::{Delivery, Move, Next, Reason, Status};
use crate::domain::endpoint::{DisabledReason, EndpointId, EndpointNo};
use crate::domain::engine::{Entry, chain_of};
use crate::domain::event::EventId;
use crate::outbox::commit::{Notice, Outcome};
use crate::outbox::index::rows::{self, EventRow};
use crate::outbox::index::{Lane, PagesError, keys};
use crate::outbox::record::{
    self, Acted, AttemptRow, Attempted, EndpointRow, EndpointStateRow, NextRow, Record, StepRow,
};
use crate::outbox::report::Death;
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
    /// That of the event's key.
    chain: u64,
}

pub(super) type Acts = Result<Option<Result<(), ActRefused>>, WriterError>;

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
        let Some(lane) = lane else {
            tracing::debug!(%event, endpoint = no.0, "an attempt ended whose endpoint is forgotten");
            return Ok(());
        };
        let Some(row) = row else {
            tracing::debug!(%event, endpoint = %lane.id, "an attempt ended whose delivery is no longer kept");
            // The engine holds the lane: what the answer says of the endpoint holds all the same.
            self.disabled_by(outcome, &lane, draft)?;
            draft.lanes.insert(no);
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
        self.disabled_by(outcome, &lane, draft)?;
        draft.lanes.insert(no);
        let pending = row.status == record::status_number(Status::Pending);
        if let Next::Dead { reason } = outcome.next
            && pending
            && lane.deleted.is_none()
        {
            let attempt_count = row.attempt_count.saturating_add(1);
            let death = Death {
                event,
                no,
                reason,
                attempt_count,
            };
            self.report_dead(death, draft)?;
        }
        Ok(())
    }

    /// Disables the endpoint if the outcome says so.
    fn disabled_by(
        &mut self,
        outcome: &Outcome,
        lane: &Lane,
        draft: &mut Draft,
    ) -> Result<(), WriterError> {
        let (event, no) = (outcome.event, outcome.no);
        let Some(reason) = outcome.disable else {
            return Ok(());
        };
        if lane.state.disabled.is_some() || lane.deleted.is_some() {
            return Ok(());
        }
        let ended_at = outcome.ended_at.as_millis();
        let state = lane.state.after_attempt(ended_at, false);
        let disabled = Some((record::disabled_number(reason), ended_at));
        self.push_endpoint(no, lane, EndpointStateRow { disabled, ..state })?;
        draft.commit.notices.push(Notice::Held { no });
        self.report_disabled(lane, reason, Some(event), draft)?;
        tracing::warn!(endpoint = %lane.id, %event, reason = reason.as_str(), "endpoint disabled; its deliveries are held until it is enabled");
        Ok(())
    }

    /// Takes an action; `None` if it must wait for the next frame.
    pub(super) fn act(&mut self, action: &Action, draft: &mut Draft) -> Acts {
        match action {
            Action::Retry { event, endpoint } => self.retry(*event, endpoint, draft),
            Action::Cancel { event, endpoint } => self.cancel(*event, endpoint, draft),
            Action::Enable { endpoint } => self.enable(endpoint, draft),
            Action::Disable { endpoint, reason } => self.disable(endpoint, *reason, draft),
            Action::Create {
                endpoint,
                spec,
                enabled,
            } => self.create_endpoint(endpoint, spec, *enabled, draft),
            Action::Change { endpoint, change } => self.change_endpoint(endpoint, change, draft),
            Action::Delete { endpoint } => self.delete_endpoint(endpoint, draft),
            Action::Rotate {
                endpoint,
                secret,
                overlap,
            } => self.rotate_secret(endpoint, secret, *overlap, draft),
            Action::Erase { event } => self.erase(*event, draft),
            Action::Test { endpoint } => self.test_endpoint(endpoint, draft),
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
            chain: found.chain,
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
        let attempt_count = found.delivery.attempt_count;
        let death = Death {
            event,
            no: found.no,
            reason: Reason::Cancelled,
            attempt_count,
        };
        self.report_dead(death, draft)?;
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
            let erased = state.entries.get(&keys::erased(event))?.is_some();
            return Ok(Err(match erased {
                true => ActRefused::Erased,
                false => ActRefused::NoSuchEvent,
            }));
        };
        let row: EventRow<'_> = rows::decode(&bytes)?;
        let named = state.lane_named(endpoint);
        let Some((no, lane)) = named.filter(|(_, lane)| lane.deleted.is_none()) else {
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
            chain: chain_of(row.key),
        }))
    }

    fn enable(&mut self, endpoint: &EndpointId, draft: &mut Draft) -> Acts {
        let Some((no, lane)) = self.lane_named(endpoint) else {
            return Ok(Some(Err(ActRefused::NoSuchEndpoint)));
        };
        if lane.state.off_in_file.is_some() {
            return Ok(Some(Err(ActRefused::DisabledInFile)));
        }
        if !draft.lanes.insert(no) {
            return Ok(None);
        }
        self.switch_on(no, &lane, draft)?;
        Ok(Some(Ok(())))
    }

    /// Adds what enabling takes to the frame. One that is enabled gets its next probe now.
    pub(super) fn switch_on(
        &mut self,
        no: EndpointNo,
        lane: &Lane,
        draft: &mut Draft,
    ) -> Result<(), WriterError> {
        if lane.state.disabled.is_none() {
            draft.commit.notices.push(Notice::Wanted { no });
            return Ok(());
        }
        let now = self.now();
        let state = EndpointStateRow {
            disabled: None,
            failing: None,
            released_at: now.as_millis(),
            ..lane.state
        };
        self.push_endpoint(no, lane, state)?;
        if !state.is_holding() {
            draft.commit.notices.push(Notice::Released { no, at: now });
        }
        self.report_enabled(lane, draft)?;
        tracing::info!(endpoint = %lane.id, "endpoint enabled; its held deliveries are released");
        Ok(())
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
        if !draft.lanes.insert(no) {
            return Ok(None);
        }
        self.switch_off(no, &lane, reason, draft)?;
        Ok(Some(Ok(())))
    }

    /// Adds what disabling takes to the frame; nothing if it is disabled.
    pub(super) fn switch_off(
        &mut self,
        no: EndpointNo,
        lane: &Lane,
        reason: DisabledReason,
        draft: &mut Draft,
    ) -> Result<(), WriterError> {
        if lane.state.disabled.is_some() {
            return Ok(());
        }
        let disabled = Some((record::disabled_number(reason), self.now().as_millis()));
        let state = EndpointStateRow {
            disabled,
            ..lane.state
        };
        self.push_endpoint(no, lane, state)?;
        draft.commit.notices.push(Notice::Held { no });
        self.report_disabled(lane, reason, None, draft)?;
        tracing::info!(endpoint = %lane.id, reason = reason.as_str(), "endpoint disabled; its deliveries are held");
        Ok(())
    }

    /// An endpoint that is in force: neither deleted nor gone from the file.
    pub(super) fn lane_named(&self, endpoint: &EndpointId) -> Option<(EndpointNo, Lane)> {
        let state = self.index.read();
        let (no, lane) = state.lane_named(endpoint)?;
        let there = lane.deleted.is_none() && self.shared.endpoints().by_no.contains_key(&no);
        there.then(|| (no, Lane::clone(lane)))
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
}
