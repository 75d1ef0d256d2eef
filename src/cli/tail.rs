//! `outboxd tail`: follows events, attempts and endpoints as they change.

use std::io::{self, Write};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::answers::Attempt;
use super::client::{Client, Configured, Reach};
use super::deliveries::took;
use super::filter::QueryString;
use super::paint::{BAD, BOLD, GOOD, Paint, WARN, plain};
use super::selection::counted;
use super::stop::asked_to_stop;
use super::when;
use super::{Failure, print, print_json};
use crate::domain::time::Timestamp;

/// Follow accepted events, attempts and changes of endpoints, until Ctrl-C
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Only this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// Only attempts at this endpoint and changes of its state
    #[arg(long, value_name = "ID")]
    endpoint: Option<String>,
    /// Only events of this type and their attempts; a pattern such as order.* too
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Only events that this source took in and their attempts
    #[arg(long, value_name = "ID")]
    source: Option<String>,
    /// End after this many lines
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Print each as a line of JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub reach: Reach,
}

#[derive(Debug, Deserialize)]
struct Accepted {
    id: String,
    r#type: String,
    tenant: String,
    source: Option<String>,
    accepted_at: Timestamp,
    deliveries: u64,
}

#[derive(Debug, Deserialize)]
struct Attempted {
    event: String,
    endpoint: String,
    r#type: Option<String>,
    #[serde(flatten)]
    attempt: Attempt,
}

#[derive(Debug, Deserialize)]
struct Switched {
    endpoint: String,
    state: String,
    reason: Option<String>,
    at: Timestamp,
}

/// A line that `--json` prints.
#[derive(serde::Serialize)]
struct Line<'a> {
    event: &'a str,
    data: Box<RawValue>,
}

pub async fn run(args: Args, configured: Configured) -> Result<(), Failure> {
    let client = args.reach.client(configured)?;
    let stopped = asked_to_stop()?;
    tokio::select! {
        followed = follow(&client, &args) => followed,
        () = stopped => Ok(()),
    }
}

async fn follow(client: &Client, args: &Args) -> Result<(), Failure> {
    let mut query = QueryString::default();
    query.add("tenant", args.tenant.as_deref());
    query.add("endpoint", args.endpoint.as_deref());
    query.add("type", args.event_type.as_deref());
    query.add("source", args.source.as_deref());
    let path = format!("/v1/tail{}", query.as_str());
    let mut lines = client.lines(&path).await?;
    let paint = Paint::for_stdout();
    let (mut event, mut left) = (String::new(), args.count);
    while left != Some(0) {
        let Some(line) = lines.next().await? else {
            return Err(Failure::Failed(
                "the daemon ended the tail: it is stopping, or the token was removed".to_owned(),
            ));
        };
        if line == ": tail" {
            // Whether stderr takes this or not, stdout counts.
            let _ = writeln!(io::stderr(), "following; Ctrl-C ends it");
        } else if let Some(name) = line.strip_prefix("event: ") {
            event = name.to_owned();
        } else if let Some(data) = line.strip_prefix("data: ") {
            if args.json {
                let data = client.read(data.as_bytes())?;
                print_json(&Line {
                    event: &event,
                    data,
                })?;
            } else {
                print(&readable(client, &event, data, paint)?)?;
            }
            if event != "missed" {
                left = left.map(|left| left.saturating_sub(1));
            }
        }
    }
    Ok(())
}

/// A line for a person; empty for a kind of event that this version does not know.
fn readable(client: &Client, event: &str, data: &str, paint: Paint) -> Result<String, Failure> {
    let data = data.as_bytes();
    Ok(match event {
        "accepted" => accepted(&client.read(data)?, paint),
        "attempt" => attempted(&client.read(data)?, paint),
        "endpoint" => switched(&client.read(data)?, paint),
        "missed" => {
            let missed: u64 = client.read(data)?;
            let text = format!("{missed} were missed: they came faster than they were read");
            format!("{}\n", paint.paint(WARN, &text))
        }
        _ => {
            client.read::<IgnoredAny>(data)?;
            String::new()
        }
    })
}

fn accepted(event: &Accepted, paint: Paint) -> String {
    let deliveries = counted(event.deliveries);
    let mut rest = format!("{}  {deliveries}", plain(&event.r#type));
    if event.tenant != "default" {
        rest += &format!("  tenant {}", plain(&event.tenant));
    }
    if let Some(source) = &event.source {
        rest += &format!("  source {}", plain(source));
    }
    line(event.accepted_at, "● accepted", &event.id, &rest, paint)
}

fn attempted(attempted: &Attempted, paint: Paint) -> String {
    let attempt = &attempted.attempt;
    let (mark, style) = match attempt.error {
        None => ("✓ attempt", GOOD),
        Some(_) => ("✗ attempt", BAD),
    };
    let event_type = attempted.r#type.as_deref().unwrap_or("-");
    let rest = format!(
        "{} → {}  {}",
        plain(event_type),
        plain(&attempted.endpoint),
        paint.paint(style, &plain(&took(attempt)))
    );
    line(attempt.at, mark, &attempted.event, &rest, paint)
}

fn switched(switched: &Switched, paint: Paint) -> String {
    let style = match switched.state.as_str() {
        "enabled" | "breaker_closed" => GOOD,
        _ => WARN,
    };
    let mut state = plain(&switched.state.replace('_', " ")).into_owned();
    if let Some(reason) = &switched.reason {
        state += &format!(" ({})", plain(reason));
    }
    let state = paint.paint(style, &state);
    line(switched.at, "◆ endpoint", &switched.endpoint, &state, paint)
}

/// `rest` must be safe to print.
fn line(at: Timestamp, what: &str, name: &str, rest: &str, paint: Paint) -> String {
    let name = paint.paint(BOLD, &plain(name));
    format!("{}  {what:<10}  {name}  {rest}\n", when::moment(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_is_a_line_with_control_characters_escaped() {
        let paint = Paint { colour: false };
        let event: Accepted = serde_json::from_str(
            r#"{"id":"evt_1","type":"a.b","tenant":"acme","key":null,"source":"gh",
                "accepted_at":"2026-01-01T00:00:00Z","deliveries":1}"#,
        )
        .unwrap();
        assert_eq!(
            accepted(&event, paint),
            "2026-01-01 00:00:00.000Z  ● accepted  evt_1  a.b  1 delivery  tenant acme  source gh\n"
        );
        let attempt: Attempted = serde_json::from_str(
            r#"{"id":"att_1","event":"evt_1","endpoint":"e","tenant":"acme","type":"a.b",
                "at":"2026-01-01T00:00:00Z","duration_ms":41,"status":503,
                "error":{"kind":"status","detail":"answered\u001b 503"},"response_body":"busy",
                "address":"192.0.2.1:443"}"#,
        )
        .unwrap();
        assert_eq!(
            attempted(&attempt, paint),
            "2026-01-01 00:00:00.000Z  ✗ attempt   evt_1  a.b → e  503 in 41ms at 192.0.2.1:443: \
             status: answered\\u{1b} 503; it said: busy\n"
        );
        let change: Switched = serde_json::from_str(
            r#"{"endpoint":"e","tenant":"acme","state":"disabled","reason":"gone",
                "at":"2026-01-01T00:00:00Z"}"#,
        )
        .unwrap();
        assert_eq!(
            switched(&change, paint),
            "2026-01-01 00:00:00.000Z  ◆ endpoint  e  disabled (gone)\n"
        );
    }
}
