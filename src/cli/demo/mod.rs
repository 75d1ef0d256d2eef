//! `demo`: the product at work in a few seconds.
//!
//! Nothing here is simulated except the receiver's faults: the daemon is this same program on
//! a real disk and real sockets, it is really killed, and what is printed comes from its
//! API and from what the receiver got. The demo fails if one event is missing, one
//! byte differs, or one signature is wrong.

mod daemon;
mod output;
mod scenario;
mod showcase;
mod traffic;

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, timeout};

use super::Failure;
use super::answers::{Accepted, Attempt, Delivery, Event, Status};
use super::client::Client;
use super::paint::Paint;
use super::receiver::Receiver;
use super::when;
use crate::clock;
use crate::domain::event::EventId;
use crate::domain::time::Timestamp;
use daemon::Daemon;
use output::{Line, Output, Summary, What};
use scenario::{DemoEvent, EVENTS, JSON, Scenario};

/// For all of it. It takes about 2 s.
const DEADLINE: Duration = Duration::from_secs(30);
/// Between two looks at the daemon's events.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Show the product at work: events, failures, a crash, retries, deliveries
///
/// Runs the daemon on a temporary directory with a local receiver that fails at first.
/// Ends by itself; exit status 0 only if everything was delivered and verified. With --ui it runs
/// until it is interrupted.
#[derive(Clone, Debug, clap::Args)]
pub struct Demo {
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// Show the pages with sample traffic, until you end it
    #[arg(long)]
    ui: bool,
}

pub async fn run(args: Demo) -> Result<(), Failure> {
    let on = |kind| {
        signal(kind).map_err(|error| Failure::Failed(format!("cannot handle signals: {error}")))
    };
    let (mut interrupt, mut terminate) =
        (on(SignalKind::interrupt())?, on(SignalKind::terminate())?);
    // Whatever ends first, the daemon and its directory go with `daemon`.
    let mut daemon = Daemon::new()?;
    if args.ui {
        // The terminal may be closed under it.
        let mut hangup = on(SignalKind::hangup())?;
        let stop = async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        };
        return showcase::run(args.json, &mut daemon, stop).await;
    }
    tokio::select! {
        done = timeout(DEADLINE, run_scenario(&args, &mut daemon)) => match done {
            Ok(Err(Failure::Failed(what))) => Err(daemon.explain(&what)),
            Ok(result) => result,
            Err(_) => Err(daemon.explain("the demo did not end in 30 s")),
        },
        _ = interrupt.recv() => Err(Failure::Failed("interrupted".to_owned())),
        _ = terminate.recv() => Err(Failure::Failed("interrupted".to_owned())),
    }
}

async fn run_scenario(args: &Demo, daemon: &mut Daemon) -> Result<(), Failure> {
    let scenario = Scenario::new()?;
    let receiver = Receiver::bind(([127, 0, 0, 1], 0).into()).await;
    let receiver = receiver
        .map_err(|error| Failure::Failed(format!("cannot listen on 127.0.0.1: {error}")))?;
    daemon.configure("http = \"\"", &scenario.config(receiver.address()))?;
    let behind = scenario.clone();
    let answer = move |received| {
        let scenario = behind.clone();
        async move { scenario.answer(received).await }
    };
    tokio::spawn(receiver.serve(answer, std::future::pending()));
    let began = Instant::now();
    let output = Output {
        json: args.json,
        paint: Paint::for_stdout(),
        start: clock::now(),
    };
    output.begin()?;
    let client = daemon.start().await?;
    let home = daemon.home().display();
    output.line(&Line::new(
        clock::now(),
        What::Started,
        format!("data in {home}"),
    ))?;
    let mut watch = Watch::new(&output, &scenario);
    for sent in &EVENTS {
        let accepted = send(&client, sent).await?;
        watch.accepted(accepted, sent)?;
    }
    // Both troubled endpoints have failed once, and nothing of theirs is delivered.
    watch
        .until(&client, |watch| watch.failing.len() > 1)
        .await?;
    daemon.kill();
    let remark = format!("SIGKILL with {} deliveries open", watch.open());
    output.line(&Line::new(clock::now(), What::Killed, remark))?;
    let client = daemon.start().await?;
    let status: Status = client.read(&client.get("/v1/status").await?)?;
    let (recovery, pending) = (&status.recovery, status.backlog.pending);
    let took = when::span(Duration::from_secs_f64(recovery.seconds.clamp(0.0, 60.0)));
    let remark = format!(
        "in {took} ({}), {pending} deliveries pending",
        recovery.kind
    );
    output.line(&Line::new(clock::now(), What::Recovered, remark))?;
    watch.until(&client, |watch| watch.open() == 0).await?;
    daemon.stop().await?;
    output.line(&Line::new(
        clock::now(),
        What::Stopped,
        "SIGTERM".to_owned(),
    ))?;
    let (requests, wrong) = scenario.seen(|seen| (seen.requests, seen.wrong));
    if wrong > 0 {
        let failure = format!("{wrong} of {requests} requests had no valid signature");
        return Err(Failure::Failed(failure));
    }
    output.end(&Summary {
        what: "finished",
        events: watch.events.len() as u64,
        deliveries: watch.delivered.len() as u64,
        requests,
        verified: requests,
        seconds: began.elapsed().as_secs_f64(),
    })
}

async fn send(client: &Client, sent: &DemoEvent) -> Result<Accepted, Failure> {
    let mut headers = HeaderMap::new();
    let content_type = HeaderValue::from_static(sent.content_type);
    headers.insert(header::CONTENT_TYPE, content_type);
    let (path, body) = match sent.content_type {
        JSON => (
            "/v1/events".to_owned(),
            format!(
                "{{\"type\":\"{}\",\"data\":{}}}",
                sent.event_type, sent.body
            ),
        ),
        _ => (
            format!("/v1/events/{}", sent.event_type),
            sent.body.to_owned(),
        ),
    };
    let answer = client.post(&path, headers, Bytes::from(body)).await?;
    Ok(client.read(&answer)?)
}

/// What the daemon says of the events, and what of it has been printed.
struct Watch<'a> {
    output: &'a Output,
    scenario: &'a Scenario,
    events: Vec<(String, &'a DemoEvent)>,
    printed: HashSet<(String, String, Timestamp)>,
    /// Endpoints with a failed attempt.
    failing: HashSet<String>,
    /// Event and endpoint.
    delivered: HashSet<(String, String)>,
    /// Not printed yet.
    lines: Vec<Line>,
}

impl<'a> Watch<'a> {
    fn new(output: &'a Output, scenario: &'a Scenario) -> Self {
        Watch {
            output,
            scenario,
            events: Vec::new(),
            printed: HashSet::new(),
            failing: HashSet::new(),
            delivered: HashSet::new(),
            lines: Vec::new(),
        }
    }

    fn accepted(&mut self, accepted: Accepted, sent: &'a DemoEvent) -> Result<(), Failure> {
        if accepted.deliveries != sent.endpoints.len() as u64 {
            let (event, count) = (sent.event_type, accepted.deliveries);
            let failure = format!("{event} went to {count} endpoints");
            return Err(Failure::Failed(failure));
        }
        // The moment in the id: attempts are quicker than the answer that came to us.
        let at = accepted.id.parse::<EventId>();
        let at = at.map_or_else(|_| clock::now(), EventId::timestamp);
        let line = Line {
            event: Some(accepted.id.clone()),
            event_type: Some(accepted.r#type),
            ..Line::new(
                at,
                What::Accepted,
                format!("{} for {}", accepted.id, sent.endpoints.join(", ")),
            )
        };
        self.events.push((accepted.id, sent));
        self.lines.push(line);
        Ok(())
    }

    fn open(&self) -> usize {
        let all = self.events.iter().map(|(_, sent)| sent.endpoints.len());
        all.sum::<usize>().saturating_sub(self.delivered.len())
    }

    /// Prints what happens until `enough`.
    async fn until(
        &mut self,
        client: &Client,
        enough: impl Fn(&Self) -> bool,
    ) -> Result<(), Failure> {
        loop {
            sleep(LOOK_AGAIN).await;
            for (id, sent) in self.events.clone() {
                let answer = client.get(&format!("/v1/events/{id}")).await?;
                let event: Event = client.read(&answer)?;
                for delivery in &event.deliveries {
                    self.look_at(delivery, sent)?;
                }
            }
            self.lines.sort_by_key(|line| line.at);
            for line in self.lines.drain(..) {
                self.output.line(&line)?;
            }
            if enough(self) {
                return Ok(());
            }
        }
    }

    /// The lines of attempts that have ended since the last look.
    fn look_at(&mut self, delivery: &Delivery, sent: &DemoEvent) -> Result<(), Failure> {
        let (event, endpoint) = (&delivery.event, &delivery.endpoint);
        let of_delivery = format!("{} → {endpoint}", delivery.r#type);
        if delivery.status == "dead" {
            return Err(Failure::Failed(format!("{of_delivery} is dead")));
        }
        for (number, attempt) in (1..).zip(&delivery.attempts) {
            let key = (event.clone(), endpoint.clone(), attempt.at);
            if !self.printed.insert(key) {
                continue;
            }
            let is_last = number == delivery.attempts.len() as u64;
            let next = delivery.next_attempt_at.filter(|_| is_last);
            self.lines.push(of_attempt(delivery, number, attempt, next));
            if attempt.error.is_some() {
                self.failing.insert(endpoint.clone());
            }
        }
        if delivery.status == "delivered" {
            let has_taken = |seen: &mut scenario::Seen| seen.has_taken(event, endpoint, sent);
            if !self.scenario.seen(has_taken) {
                return Err(Failure::Failed(format!(
                    "{of_delivery} is delivered, but the receiver has not verified it"
                )));
            }
            self.delivered.insert((event.clone(), endpoint.clone()));
        }
        Ok(())
    }
}

fn of_attempt(
    delivery: &Delivery,
    number: u64,
    attempt: &Attempt,
    next: Option<Timestamp>,
) -> Line {
    let took = Duration::from_millis(attempt.duration_ms);
    let came = match (attempt.status, &attempt.error) {
        (Some(status), _) => format!("{status} in {}", when::span(took)),
        (None, Some(error)) => format!("{} after {}", error.kind, when::span(took)),
        (None, None) => format!("done in {}", when::span(took)),
    };
    let ended = attempt.at + took;
    let (what, remark) = match (&attempt.error, next) {
        (None, _) => (
            What::Delivered,
            format!("attempt {number}: {came}, signature verified"),
        ),
        (Some(_), None) => (What::Attempt, came),
        (Some(_), Some(next)) => {
            let again = when::span(next.since(ended));
            (What::Attempt, format!("{came}; retry in {again}"))
        }
    };
    Line {
        event: Some(delivery.event.clone()),
        event_type: Some(delivery.r#type.clone()),
        endpoint: Some(delivery.endpoint.clone()),
        attempt: Some(number),
        status: attempt.status,
        error: attempt.error.as_ref().map(|error| error.kind.clone()),
        ..Line::new(ended, what, remark)
    }
}
