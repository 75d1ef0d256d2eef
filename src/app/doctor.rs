//! Diagnoses an endpoint: its state, the way of requests to it, and on request a test event.
//!
//! A diagnosis takes none of the slots of deliveries, and few run at once. Only the test event is
//! stored; it is delivered like any other.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::endpoints::KnownEndpoint;
use super::error::Error;
use super::explain::Explainer;
use super::reader::Reader;
use crate::clock;
use crate::dispatch::tail::{Happened, Heard, Listener, Tail, Wanted};
use crate::dispatch::{LaneView, Questions};
use crate::domain::attempt::Attempt;
use crate::domain::diagnosis::{self, Step, StepName, StepStatus};
use crate::domain::endpoint::{DisabledReason, Endpoint, EndpointId, Source};
use crate::domain::event::EventId;
use crate::domain::time::Timestamp;
use crate::outbox::{AttemptFilter, EndpointState, Outbox, TestEvent};

/// Diagnoses at once; more wait their turn.
const MAX_DIAGNOSES: usize = 8;
/// How many of the last attempts are searched for a failure.
const RECENT: usize = 50;
/// How long a test event may take beside its attempt.
const BESIDE: Duration = Duration::from_secs(5);

/// What was found about an endpoint.
#[derive(Debug)]
pub struct Diagnosis {
    pub endpoint: Arc<Endpoint>,
    /// Each step once, in order.
    pub steps: Vec<Step>,
    /// The test event, if one was sent.
    pub event: Option<EventId>,
}

impl Diagnosis {
    /// Whether no step failed.
    pub fn is_ok(&self) -> bool {
        diagnosis::failed(&self.steps).is_none()
    }
}

pub struct Doctor {
    outbox: Outbox,
    reader: Reader,
    questions: Questions,
    tail: Tail,
    explainer: Explainer,
    turns: Semaphore,
}

/// What is known of an endpoint without asking it.
struct Condition<'a> {
    endpoint: &'a Endpoint,
    state: &'a EndpointState,
    lane: Option<LaneView>,
    /// The newest first.
    attempts: Vec<Attempt>,
    now: Timestamp,
}

impl Doctor {
    pub fn new(outbox: Outbox, reader: Reader, questions: Questions, tail: Tail) -> Doctor {
        Doctor {
            explainer: Explainer::new(outbox.clone(), reader.clone(), questions.clone()),
            outbox,
            reader,
            questions,
            tail,
            turns: Semaphore::new(MAX_DIAGNOSES),
        }
    }

    /// Looks at every step, as far as the steps before let it. With `send` a test event is sent if
    /// no step failed, and `sent` is called once it is durable. Dropping the future ends it; an
    /// event that was sent is delivered all the same.
    pub async fn diagnose(
        &self,
        known: KnownEndpoint,
        send: bool,
        sent: impl FnOnce(EventId),
    ) -> Diagnosis {
        // The semaphore is never closed; if it were, a diagnosis without a turn is right.
        let _turn = self.turns.acquire().await;
        let endpoint = known.0.clone();
        let mut steps = vec![self.condition(&known).await];
        match self.questions.transport().await {
            Some(transport) => steps.extend(transport.diagnose(&endpoint).await),
            None => {
                let ended = Step::ok(
                    StepName::Resolve,
                    Duration::ZERO,
                    "outboxd is shutting down",
                );
                steps.push(ended.but(StepStatus::Failed, "try again when it is up"));
            }
        }
        let (step, event) = match (send, diagnosis::failed(&steps)) {
            (false, _) => (Step::skipped(StepName::Send, "not asked for"), None),
            (true, Some(failed)) => {
                let why = format!("nothing was sent, because {} failed", failed.as_str());
                (Step::skipped(StepName::Send, why), None)
            }
            (true, None) => self.send(&endpoint, sent).await,
        };
        steps.push(step);
        Diagnosis {
            endpoint,
            steps,
            event,
        }
    }

    async fn condition(&self, (endpoint, state): &KnownEndpoint) -> Step {
        let began = Instant::now();
        let lane = match self.outbox.number_of(&endpoint.id) {
            Some(no) => self.questions.lane(no).await,
            None => None,
        };
        let filter = AttemptFilter {
            endpoint: Some(endpoint.id.clone()),
            ..AttemptFilter::default()
        };
        let read = move |outbox: &Outbox| outbox.attempts(&filter, None, RECENT);
        let attempts = match self.reader.read(read).await {
            Ok(page) => page.items.into_iter().map(|one| one.attempt).collect(),
            Err(error) => {
                let unread = format!("the endpoint's attempts cannot be read: {error}");
                let step = Step::ok(StepName::Endpoint, began.elapsed(), unread);
                return step.but(StepStatus::Failed, "see the daemon's log");
            }
        };
        let condition = Condition {
            endpoint,
            state,
            lane,
            attempts,
            now: clock::now(),
        };
        condition.step(began.elapsed())
    }

    /// Sends a test event and waits for its first attempt.
    async fn send(
        &self,
        endpoint: &Endpoint,
        sent: impl FnOnce(EventId),
    ) -> (Step, Option<EventId>) {
        let began = Instant::now();
        let failed = |detail: String, hint: String| {
            Step::ok(StepName::Send, began.elapsed(), detail).but(StepStatus::Failed, hint)
        };
        // Opened before, so that it misses nothing.
        let Some(listener) = self.tail.listen(Wanted {
            endpoint: Some(endpoint.id.clone()),
            ..Wanted::default()
        }) else {
            let busy = "nothing was sent: too many tails are open, or outboxd is stopping";
            return (failed(busy.to_owned(), "try again".to_owned()), None);
        };
        let id = &endpoint.id;
        let event = match self.outbox.test(id.clone(), TestEvent::default()).await {
            Ok(event) => event,
            Err(refused) => {
                let detail = format!("nothing was sent: {refused}");
                return (failed(detail, "see `outboxd status`".to_owned()), None);
            }
        };
        sent(event);
        let patience = endpoint.timeout.saturating_add(BESIDE);
        let first = timeout(patience, self.first_attempt(listener, event, id)).await;
        let attempt = match first {
            Ok(Ok(attempt)) => attempt,
            Ok(Err(error)) => {
                let detail = format!("what became of {event} is not known: {error}");
                return (
                    failed(detail, format!("`outboxd explain {event} {id}`")),
                    Some(event),
                );
            }
            Err(_) => {
                let why = self.explainer.explain(event, id.clone()).await;
                let why = why.map_or_else(|error| error.to_string(), |told| told.verdict.detail);
                let detail = format!("{event} was not attempted within {patience:?}: {why}");
                let hint = format!("it stays queued; `outboxd explain {event} {id}` says more");
                return (failed(detail, hint), Some(event));
            }
        };
        let took = attempt.duration.as_millis();
        let at = attempt
            .address
            .map_or(String::new(), |at| format!(" by {at}"));
        let step = match (&attempt.error, attempt.status) {
            (None, Some(status)) => {
                let detail = format!("{event} was answered with {status}{at} after {took} ms");
                Step::ok(StepName::Send, began.elapsed(), detail)
            }
            (None, None) => {
                let detail = format!("{event} was delivered after {took} ms");
                Step::ok(StepName::Send, began.elapsed(), detail)
            }
            (Some(error), _) => {
                let (kind, detail) = (error.kind.as_str(), &error.detail);
                let detail = format!("{event} was not delivered: {kind}: {detail}");
                let hint = format!(
                    "`outboxd explain {event} {id}` shows the answer and what comes next; \
                     `outboxd deliveries cancel {event} {id}` ends its retries"
                );
                failed(detail, hint)
            }
        };
        (step, Some(event))
    }

    /// The first attempt of the event at the endpoint.
    async fn first_attempt(
        &self,
        mut listener: Listener,
        event: EventId,
        id: &EndpointId,
    ) -> Result<Attempt, Error> {
        loop {
            match listener.next().await {
                Some(Heard::Happened(happened)) => match &*happened {
                    Happened::Attempt(attempted) if attempted.event == event => {
                        return Ok(attempted.attempt.clone());
                    }
                    _ => {}
                },
                Some(Heard::Missed(_)) => {
                    // The attempt may be among what was missed.
                    let (id, of) = (id.clone(), event);
                    let read = move |outbox: &Outbox| outbox.delivery(of, &id);
                    let stored = self.reader.read(read).await?;
                    if let Some(attempt) = stored.attempts.into_iter().next() {
                        return Ok(attempt);
                    }
                }
                None => return Err(Error::Internal("outboxd is shutting down")),
            }
        }
    }
}

impl Condition<'_> {
    fn step(&self, took: Duration) -> Step {
        let in_file = (!self.endpoint.enabled).then_some(DisabledReason::Manual);
        let disabled = in_file.or(self.state.disabled);
        let mut facts = vec![match (disabled, self.state.disabled_at) {
            (None, _) => "enabled".to_owned(),
            (Some(reason), None) => format!("disabled ({})", reason.as_str()),
            (Some(reason), Some(at)) => format!("disabled ({}) since {at}", reason.as_str()),
        }];
        let waits = self.waits();
        facts.extend(waits.clone());
        facts.push(self.signs());
        let EndpointState {
            pending,
            held,
            dead,
            ..
        } = self.state;
        facts.push(format!("{pending} pending, {held} held, {dead} dead"));
        facts.push(self.last_failure());
        let step = Step::ok(StepName::Endpoint, took, facts.join("; "));
        if disabled.is_some() {
            return step.but(StepStatus::Failed, self.how_to_enable());
        }
        match waits {
            None => step,
            Some(_) => step.but(
                StepStatus::Warning,
                "deliveries wait until then; see the last failure and the steps below",
            ),
        }
    }

    /// Why no delivery starts now although the endpoint is enabled.
    fn waits(&self) -> Option<String> {
        let lane = self.lane?;
        if lane.breaker_open {
            return Some(match lane.probe_at {
                Some(at) => format!("circuit breaker open, next probe at {at}"),
                None => "circuit breaker open, a probe is under way".to_owned(),
            });
        }
        let (paused, local) = (lane.paused_until, lane.local_until);
        let paused = paused.map(|at| format!("paused until {at}, as the receiver asked"));
        paused.or_else(|| {
            local.map(|at| format!("paused until {at}, because attempts failed by a local fault"))
        })
    }

    fn signs(&self) -> String {
        let secrets = self.endpoint.secrets.iter();
        match secrets.filter(|secret| secret.signs(self.now)).count() {
            0 => "no secret: requests are not signed".to_owned(),
            1 => "1 secret".to_owned(),
            secrets => format!("{secrets} secrets"),
        }
    }

    fn last_failure(&self) -> String {
        let mut failures = self.attempts.iter().filter_map(|attempt| {
            let error = attempt.error.as_ref()?;
            Some((attempt.at, error))
        });
        match (failures.next(), self.attempts.len()) {
            (Some((at, error)), _) => {
                let kind = error.kind.as_str();
                format!("last failure at {at}: {kind}: {}", error.detail)
            }
            (None, 0) => "no attempt is known".to_owned(),
            (None, 1) => "the last attempt succeeded".to_owned(),
            (None, attempts) => format!("the last {attempts} attempts succeeded"),
        }
    }

    fn how_to_enable(&self) -> String {
        let id = &self.endpoint.id;
        match (self.endpoint.enabled, self.endpoint.source) {
            (false, Source::Toml) => format!(
                "set `enabled = true` for {id} in the configuration file and reload; its \
                 deliveries are held until then"
            ),
            _ => format!(
                "`outboxd endpoints enable {id}` releases what is held, once the receiver is ready"
            ),
        }
    }
}
