//! `outboxd dead`: dead deliveries, with the reason and the endpoint's last response.

use super::answers::{Delivery, List};
use super::client::{Configured, Reach};
use super::deliveries::{self, Named, outcome};
use super::filter::{Filter, Part, QueryString, more};
use super::paint::{BAD, BOLD, Paint};
use super::table::{Cell, Table};
use super::when;
use super::{Failure, print};
use crate::clock;
use crate::domain::time::Timestamp;

/// How much of the last answer is shown, in characters.
const MAX_ANSWER: usize = 60;

/// List dead letters with the reason, show one, deliver it again
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
    /// List dead letters, newest event first
    List {
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
    /// Deliver one again, with a fresh retry budget; for many there is `replay`
    Retry(Named),
}

pub async fn run(args: Args, configured: Configured) -> Result<(), Failure> {
    let client = args.reach.client(configured)?;
    let now = clock::now();
    let paint = Paint::for_stdout();
    let answer = match &args.command {
        Command::List {
            endpoint,
            filter,
            part,
        } => {
            let mut query = QueryString::default();
            query.add("status", Some("dead"));
            query.add("endpoint", endpoint.as_deref());
            filter.add_to(&mut query, now)?;
            part.add_to(&mut query);
            let path = format!("/v1/deliveries{}", query.as_str());
            client.get(&path).await?
        }
        Command::Show(named) => client.get(&named.path()).await?,
        Command::Retry(named) => deliveries::post(&client, named, "retry").await?,
    };
    if args.json {
        return print(&format!("{}\n", String::from_utf8_lossy(&answer)));
    }
    match args.command {
        Command::List { .. } => {
            let list: List<Delivery> = client.read(&answer)?;
            print(&listed(&list, now, paint))
        }
        Command::Show(_) | Command::Retry(_) => {
            let delivery: Delivery = client.read(&answer)?;
            print(&deliveries::shown(&delivery, now, paint))
        }
    }
}

fn listed(list: &List<Delivery>, now: Timestamp, paint: Paint) -> String {
    if list.data.is_empty() && list.next.is_none() {
        return "nothing is dead\n".to_owned();
    }
    let head = [
        "EVENT", "ENDPOINT", "TYPE", "REASON", "DIED", "ATTEMPTS", "LAST", "ANSWER",
    ];
    let mut table = Table::new(&head);
    for delivery in &list.data {
        let last = delivery.attempts.last();
        let died = delivery.finished_at.map(|at| when::relative(at, now));
        let answer = last.map(|attempt| match attempt.response_body.as_str() {
            "" => attempt
                .error
                .as_ref()
                .map_or("", |error| error.detail.as_str()),
            body => body,
        });
        table.row(vec![
            Cell::styled(BOLD, &delivery.event),
            Cell::new(&delivery.endpoint),
            Cell::new(&delivery.r#type),
            Cell::styled(BAD, delivery.reason.as_deref().unwrap_or_default()),
            Cell::new(&died.unwrap_or_default()),
            Cell::number(delivery.attempt_count),
            Cell::new(&last.map(outcome).unwrap_or_default()),
            Cell::new(&cut(answer.unwrap_or_default())),
        ]);
    }
    table.render(paint) + &more(list.next.as_deref(), paint)
}

/// The beginning of a text; the cell escapes it.
fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_ANSWER) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_why_and_what_was_answered_last() {
        let list: List<Delivery> = serde_json::from_str(
            r#"{"next":null,"data":[
              {"event":"evt_1","endpoint":"e","type":"a","status":"dead","reason":"exhausted",
               "attempt_count":9,"accepted_at":"2026-01-01T00:00:00Z","next_attempt_at":null,
               "finished_at":"2026-01-01T00:00:30Z","attempts":[
                 {"at":"2026-01-01T00:00:05Z","duration_ms":41,"status":503,
                  "error":{"kind":"status","detail":"answered 503"},"response_body":"busy\u001b",
                  "address":null}]},
              {"event":"evt_2","endpoint":"e","type":"a","status":"dead","reason":"cancelled",
               "attempt_count":1,"accepted_at":"2026-01-01T00:00:00Z","next_attempt_at":null,
               "finished_at":null,"attempts":[
                 {"at":"2026-01-01T00:00:05Z","duration_ms":41,"status":null,
                  "error":{"kind":"connect","detail":"refused"},"response_body":"","address":null}]}]}"#,
        )
        .unwrap();
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        assert_eq!(
            listed(&list, now, Paint { colour: false }),
            "EVENT  ENDPOINT  TYPE  REASON     DIED     ATTEMPTS  LAST     ANSWER\n\
             evt_1  e         a     exhausted  30s ago         9  503      busy\\u{1b}\n\
             evt_2  e         a     cancelled                  1  connect  refused\n"
        );
        assert_eq!(cut(&"x".repeat(61)).chars().count(), 61);
    }
}
