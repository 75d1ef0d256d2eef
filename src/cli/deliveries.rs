//! `outboxd deliveries`: list, show, retry, cancel.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use super::answers::{Attempt, Delivery, List};
use super::client::{Client, Configured, Fault, Reach};
use super::filter::{Filter, Part, QueryString, more};
use super::paint::{ACCENT, BAD, BOLD, DIM, GOOD, PLAIN, Paint, excerpt, of_status, plain};
use super::table::{Cell, Table};
use super::timeline::{self, Moment};
use super::when;
use super::{Failure, print};
use crate::clock;
use crate::domain::delivery::Status;
use crate::domain::endpoint::EndpointId;
use crate::domain::event::EventId;
use crate::domain::time::Timestamp;

/// How much of a response body is shown under its attempt, in characters.
const MAX_RESPONSE: usize = 200;

/// List deliveries, show one, retry or cancel it
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    /// Print the response as JSON
    #[arg(long, global = true)]
    pub json: bool,
    #[command(flatten)]
    pub reach: Reach,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// List deliveries, newest first
    List {
        /// pending, held, delivered or dead
        #[arg(long, value_parser = status)]
        status: Option<&'static str>,
        /// Only deliveries to this endpoint
        #[arg(long)]
        endpoint: Option<String>,
        #[command(flatten)]
        filter: Filter,
        #[command(flatten)]
        part: Part,
    },
    /// Show a delivery with its attempts
    Show(Named),
    /// Try again now; delivered or dead: with a fresh retry budget
    Retry(Named),
    /// Cancel a pending or held delivery: it becomes a dead letter
    Cancel(Named),
}

#[derive(Clone, Debug, clap::Args)]
pub struct Named {
    /// The event's id: evt_…
    event: EventId,
    /// The endpoint's id
    endpoint: EndpointId,
}

impl Named {
    pub(super) fn path(&self) -> String {
        format!("/v1/events/{}/deliveries/{}", self.event, self.endpoint)
    }
}

fn status(text: &str) -> Result<&'static str, String> {
    let known = Status::ALL.iter().map(|status| status.as_str());
    known
        .into_iter()
        .find(|known| *known == text)
        .ok_or_else(|| "one of pending, held, delivered, dead".to_owned())
}

pub async fn run(args: Args, configured: Configured) -> Result<(), Failure> {
    let client = args.reach.client(configured)?;
    let now = clock::now();
    let paint = Paint::for_stdout();
    let answer = match &args.command {
        Command::List {
            status,
            endpoint,
            filter,
            part,
        } => {
            let mut query = QueryString::default();
            query.add("status", *status);
            query.add("endpoint", endpoint.as_deref());
            filter.add_to(&mut query, now)?;
            part.add_to(&mut query);
            client
                .get(&format!("/v1/deliveries{}", query.as_str()))
                .await?
        }
        Command::Show(named) => client.get(&named.path()).await?,
        Command::Retry(named) => post(&client, named, "retry").await?,
        Command::Cancel(named) => post(&client, named, "cancel").await?,
    };
    if args.json {
        return print(&format!("{}\n", String::from_utf8_lossy(&answer)));
    }
    match args.command {
        Command::List { .. } => {
            let list: List<Delivery> = client.read(&answer)?;
            print(&listed(&list, now, paint))
        }
        _ => {
            let delivery: Delivery = client.read(&answer)?;
            print(&shown(&delivery, now, paint))
        }
    }
}

pub(super) async fn post(client: &Client, named: &Named, action: &str) -> Result<Bytes, Fault> {
    let path = format!("{}/{action}", named.path());
    client.post(&path, HeaderMap::new(), Bytes::new()).await
}

fn listed(list: &List<Delivery>, now: Timestamp, paint: Paint) -> String {
    if list.data.is_empty() && list.next.is_none() {
        return "no deliveries\n".to_owned();
    }
    let head = [
        "EVENT", "ENDPOINT", "TYPE", "STATUS", "ACCEPTED", "ATTEMPTS", "LAST", "NEXT",
    ];
    let mut table = Table::new(&head);
    for delivery in &list.data {
        let last = delivery.attempts.last().map(outcome);
        let next = match (&delivery.reason, delivery.next_attempt_at) {
            (Some(reason), _) => reason.clone(),
            (None, Some(at)) => when::relative(at, now),
            (None, None) => String::new(),
        };
        table.row(vec![
            Cell::styled(BOLD, &delivery.event),
            Cell::new(&delivery.endpoint),
            Cell::new(&delivery.r#type),
            Cell::styled(of_status(&delivery.status), &delivery.status),
            Cell::new(&when::relative(delivery.accepted_at, now)),
            Cell::number(delivery.attempt_count),
            Cell::new(&last.unwrap_or_default()),
            Cell::new(&next),
        ]);
    }
    table.render(paint) + &more(list.next.as_deref(), paint)
}

/// The outcome of an attempt in a word: `200`, `503`, `timeout`.
pub(super) fn outcome(attempt: &Attempt) -> String {
    match (attempt.status, &attempt.error) {
        (Some(status), _) => status.to_string(),
        (None, Some(error)) => error.kind.clone(),
        (None, None) => "delivered".to_owned(),
    }
}

pub(super) fn shown(delivery: &Delivery, now: Timestamp, paint: Paint) -> String {
    let head = format!(
        "{}  {}\n\n",
        paint.paint(BOLD, &plain(&delivery.event)),
        plain(&delivery.r#type)
    );
    head + &block(delivery, now, paint)
}

/// A delivery's line and its timeline.
pub(super) fn block(delivery: &Delivery, now: Timestamp, paint: Paint) -> String {
    block_with(delivery, now, paint, &|_| String::new())
}

/// The same; `before` says something about each attempt, or nothing.
pub(super) fn block_with(
    delivery: &Delivery,
    now: Timestamp,
    paint: Paint,
    before: &dyn Fn(&Attempt) -> String,
) -> String {
    let reason = match &delivery.reason {
        Some(reason) => format!(" ({})", plain(reason)),
        None => String::new(),
    };
    let attempts = match delivery.attempt_count {
        0 => "no attempt yet".to_owned(),
        1 => "1 attempt".to_owned(),
        n => format!("{n} attempts"),
    };
    let head = format!(
        "{}  {}{reason}  {}\n",
        paint.paint(BOLD, &plain(&delivery.endpoint)),
        paint.paint(of_status(&delivery.status), &plain(&delivery.status)),
        paint.paint(DIM, &attempts),
    );
    head + &timeline::render(&moments(delivery, now, before), delivery.accepted_at, paint)
}

/// From acceptance to what comes next.
fn moments(
    delivery: &Delivery,
    now: Timestamp,
    before: &dyn Fn(&Attempt) -> String,
) -> Vec<Moment> {
    let kept = delivery.attempts.len() as u64;
    let dropped = delivery.attempt_count.saturating_sub(kept);
    let mut moments = vec![Moment {
        at: delivery.accepted_at,
        mark: '●',
        style: PLAIN,
        what: "accepted".to_owned(),
        remark: match dropped {
            0 => String::new(),
            n if delivery.attempts_omitted => {
                format!("{n} attempts are left out here; `deliveries show` has them")
            }
            n => format!("{n} earlier attempts are no longer kept"),
        },
    }];
    for (number, attempt) in (dropped.saturating_add(1)..).zip(&delivery.attempts) {
        let mut moment = of_attempt(number, attempt);
        let steps = before(attempt);
        if !steps.is_empty() {
            moment.remark = format!("{steps}, {}", moment.remark);
        }
        moments.push(moment);
    }
    if let (Some(at), "dead") = (delivery.finished_at, delivery.status.as_str()) {
        moments.push(Moment {
            at,
            mark: '✗',
            style: BAD,
            what: "dead".to_owned(),
            remark: delivery.reason.clone().unwrap_or_default(),
        });
    }
    if let Some(at) = delivery.next_attempt_at {
        moments.push(Moment {
            at,
            mark: '…',
            style: ACCENT,
            what: format!("attempt {}", delivery.attempt_count.saturating_add(1)),
            remark: when::relative(at, now),
        });
    }
    moments
}

/// What an attempt came to, in some words; not yet safe to print.
pub(super) fn took(attempt: &Attempt) -> String {
    let took = when::span(Duration::from_millis(attempt.duration_ms));
    let mut remark = match attempt.status {
        Some(status) => format!("{status} in {took}"),
        None => format!("failed after {took}"),
    };
    if let Some(address) = &attempt.address {
        remark.push_str(&format!(" at {address}"));
    }
    if let Some(error) = &attempt.error {
        remark.push_str(&format!(": {}: {}", error.kind, error.detail));
        if !attempt.response_body.is_empty() {
            remark.push_str(&format!(
                "; it said: {}",
                excerpt(&attempt.response_body, MAX_RESPONSE)
            ));
        }
    }
    remark
}

fn of_attempt(number: u64, attempt: &Attempt) -> Moment {
    let good = attempt.error.is_none();
    Moment {
        at: attempt.at,
        mark: if good { '✓' } else { '✗' },
        style: if good { GOOD } else { BAD },
        what: format!("attempt {number}"),
        remark: took(attempt),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery() -> Delivery {
        serde_json::from_str(
            r#"{"event":"evt_1","endpoint":"orders","tenant":"default","type":"order.created",
            "status":"pending","reason":null,"attempt_count":3,
            "accepted_at":"2026-01-01T00:00:00Z","next_attempt_at":"2026-01-01T00:12:30Z",
            "finished_at":null,"attempts":[
              {"at":"2026-01-01T00:00:05Z","duration_ms":41,"status":503,
               "error":{"kind":"status","detail":"answered 503"},
               "response_body":"busy\u001b[2J\n","address":"192.0.2.1:443"},
              {"at":"2026-01-01T00:00:30Z","duration_ms":5000,"status":null,
               "error":{"kind":"connect","detail":"refused"},"response_body":"","address":null}]}"#,
        )
        .unwrap()
    }

    #[test]
    fn a_delivery_is_a_timeline() {
        let now: Timestamp = "2026-01-01T00:00:30Z".parse().unwrap();
        assert_eq!(
            shown(&delivery(), now, Paint { colour: false }),
            "evt_1  order.created\n\n\
             orders  pending  3 attempts\n  \
             2026-01-01 00:00:00.000Z      +0ms  ● accepted   1 earlier attempts are no longer kept\n  \
             2026-01-01 00:00:05.000Z     +5.0s  ✗ attempt 2  503 in 41ms at 192.0.2.1:443: \
             status: answered 503; it said: busy\\u{1b}[2J\\n\n  \
             2026-01-01 00:00:30.000Z    +30.0s  ✗ attempt 3  failed after 5.0s: connect: refused\n  \
             2026-01-01 00:12:30.000Z  +12m 30s  … attempt 4  in 12m\n"
        );
    }

    #[test]
    fn a_list_is_a_table() {
        let now: Timestamp = "2026-01-01T00:00:30Z".parse().unwrap();
        let mut dead = delivery();
        dead.status = "dead".into();
        dead.reason = Some("exhausted".into());
        let list = List {
            data: vec![delivery(), dead],
            next: Some("abc".into()),
        };
        assert_eq!(
            listed(&list, now, Paint { colour: false }),
            "EVENT  ENDPOINT  TYPE           STATUS   ACCEPTED  ATTEMPTS  LAST     NEXT\n\
             evt_1  orders    order.created  pending  30s ago          3  connect  in 12m\n\
             evt_1  orders    order.created  dead     30s ago          3  connect  exhausted\n\
             more: --cursor abc\n"
        );
        let none = List {
            data: Vec::new(),
            next: None,
        };
        assert_eq!(
            listed(&none, now, Paint { colour: false }),
            "no deliveries\n"
        );
    }
}
