//! `outboxd events`: list, show, erase.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::answers::{Counts, Event, List};
use super::client::{Configured, Reach};
use super::deliveries;
use super::filter::{Filter, Part, QueryString, more};
use super::paint::{BOLD, DIM, Paint, WARN, excerpt, plain};
use super::table::{Cell, Table};
use super::when;
use super::{Failure, print, print_json};
use crate::clock;
use crate::domain::event::EventId;
use crate::domain::time::Timestamp;

/// How much of a body is shown, in characters. All of it comes with `--json`.
const MAX_BODY: usize = 2000;

/// List events, show one and where it went, or erase it
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
    /// List events, newest first
    List {
        #[command(flatten)]
        filter: Filter,
        /// Only those with this key
        #[arg(long)]
        key: Option<String>,
        /// Only those with this idempotency key
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
        #[command(flatten)]
        part: Part,
    },
    /// Show an event with its body and every attempt so far
    Show {
        /// The event's id: evt_…
        event: EventId,
    },
    /// Erase an event for good: its body and attempts; pending deliveries are cancelled
    Erase {
        /// The event's id: evt_…
        event: EventId,
    },
}

pub async fn run(args: Args, configured: Configured) -> Result<(), Failure> {
    let client = args.reach.client(configured)?;
    let now = clock::now();
    let paint = Paint::for_stdout();
    let answer = match &args.command {
        Command::List {
            filter,
            key,
            idempotency_key,
            part,
        } => {
            let mut query = QueryString::default();
            filter.add_to(&mut query, now)?;
            query.add("key", key.as_deref());
            query.add("idempotency_key", idempotency_key.as_deref());
            part.add_to(&mut query);
            client.get(&format!("/v1/events{}", query.as_str())).await?
        }
        Command::Show { event } => client.get(&format!("/v1/events/{event}")).await?,
        Command::Erase { event } => {
            client.delete(&format!("/v1/events/{event}")).await?;
            return match args.json {
                true => print_json(&serde_json::json!({"id": event, "erased": true})),
                false => print(&format!("{event} is erased\n")),
            };
        }
    };
    if args.json {
        return print(&format!("{}\n", String::from_utf8_lossy(&answer)));
    }
    match args.command {
        Command::List { .. } => {
            let list: List<Event> = client.read(&answer)?;
            print(&listed(&list, now, paint))
        }
        Command::Show { .. } | Command::Erase { .. } => {
            let event: Event = client.read(&answer)?;
            print(&shown(&event, now, paint))
        }
    }
}

fn listed(list: &List<Event>, now: Timestamp, paint: Paint) -> String {
    if list.data.is_empty() && list.next.is_none() {
        return "no events\n".to_owned();
    }
    let mut table = Table::new(&["EVENT", "TYPE", "TENANT", "ACCEPTED", "DELIVERIES"]);
    for event in &list.data {
        table.row(vec![
            Cell::styled(BOLD, &event.id),
            Cell::new(&event.r#type),
            Cell::new(&event.tenant),
            Cell::new(&when::relative(event.accepted_at, now)),
            Cell::new(&counted(&event.delivery_counts)),
        ]);
    }
    table.render(paint) + &more(list.next.as_deref(), paint)
}

/// `2 delivered, 1 pending`
fn counted(counts: &Counts) -> String {
    let statuses = [
        (counts.delivered, "delivered"),
        (counts.pending, "pending"),
        (counts.held, "held"),
        (counts.dead, "dead"),
    ];
    let some = statuses.iter().filter(|(count, _)| *count > 0);
    let words: Vec<String> = some
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    match words.is_empty() {
        true => "none".to_owned(),
        false => words.join(", "),
    }
}

fn shown(event: &Event, now: Timestamp, paint: Paint) -> String {
    let mut out = format!(
        "{}  {}\n\n",
        paint.paint(BOLD, &plain(&event.id)),
        paint.paint(BOLD, &plain(&event.r#type))
    );
    let mut fact = |name: &str, text: &str| {
        let name = paint.paint(DIM, &format!("{name:<16}"));
        out.push_str(&format!("{name}{}\n", plain(text)));
    };
    let moment = |at| format!("{} ({})", when::moment(at), when::relative(at, now));
    fact("tenant", &event.tenant);
    fact("accepted", &moment(event.accepted_at));
    if let Some(at) = event.deliver_at {
        fact("deliver at", &moment(at));
    }
    if let Some(key) = &event.key {
        fact("key", key);
    }
    if let Some(key) = &event.idempotency_key {
        fact("idempotency key", key);
    }
    if let Some(received) = &event.received {
        fact("received", &received.in_words());
        if let Some(id) = &received.delivery_id {
            fact("delivery id", id);
        }
    }
    if let Some(content_type) = &event.content_type {
        fact("content type", content_type);
    }
    let (name, text) = body(event);
    out.push_str(&paint.paint(DIM, &format!("{name:<16}")));
    out.push_str(&text);
    out.push_str("\n\n");
    if event.deliveries.is_empty() {
        out.push_str(&paint.paint(WARN, "no endpoint wanted it"));
        out.push('\n');
    }
    let blocks = event.deliveries.iter();
    let blocks: Vec<String> = blocks
        .map(|delivery| deliveries::block(delivery, now, paint))
        .collect();
    out + &blocks.join("\n")
}

/// What the event carries, escaped: its name and the beginning of its text.
fn body(event: &Event) -> (&'static str, String) {
    match (&event.data, &event.body_base64) {
        (Some(data), _) => ("data", excerpt(data.get(), MAX_BODY)),
        (None, Some(encoded)) => {
            let bytes = STANDARD.decode(encoded).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            ("body", excerpt(&text, MAX_BODY))
        }
        (None, None) => ("data", String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Paint = Paint { colour: false };

    fn now() -> Timestamp {
        "2026-01-01T00:01:00Z".parse().unwrap()
    }

    #[test]
    fn an_event_is_shown_with_its_body_and_its_deliveries() {
        let event: Event = serde_json::from_str(
            r#"{"id":"evt_1","type":"a.b","tenant":"default","key":"k\u001b","idempotency_key":null,
            "accepted_at":"2026-01-01T00:00:00Z","deliver_at":null,
            "delivery_counts":{"pending":0,"held":0,"delivered":1,"dead":0},
            "data":{"x" : 1},"new":1,"deliveries":[
              {"event":"evt_1","endpoint":"e","type":"a.b","status":"delivered","reason":null,
               "attempt_count":1,"accepted_at":"2026-01-01T00:00:00Z","next_attempt_at":null,
               "finished_at":"2026-01-01T00:00:00.050Z","attempts":[
                 {"at":"2026-01-01T00:00:00.010Z","duration_ms":40,"status":200,"error":null,
                  "response_body":"ok","address":"192.0.2.1:443"}]}]}"#,
        )
        .unwrap();
        assert_eq!(
            shown(&event, now(), PLAIN),
            "evt_1  a.b\n\n\
             tenant          default\n\
             accepted        2026-01-01 00:00:00.000Z (1m ago)\n\
             key             k\\u{1b}\n\
             data            {\"x\" : 1}\n\n\
             e  delivered  1 attempt\n  \
             2026-01-01 00:00:00.000Z      +0ms  ● accepted\n  \
             2026-01-01 00:00:00.010Z     +10ms  ✓ attempt 1  200 in 40ms at 192.0.2.1:443\n"
        );
    }

    #[test]
    fn an_opaque_body_is_shown_as_text_that_is_safe() {
        let event: Event = serde_json::from_str(
            r#"{"id":"evt_1","type":"a","tenant":"t","key":null,"idempotency_key":null,
            "accepted_at":"2026-01-01T00:00:00Z","deliver_at":null,
            "received":{"source":"stripe-live","delivery_id":"evt_1","verified_by":"secret 1",
              "remote":"203.0.113.7"},
            "content_type":"text/plain","body_base64":"aGkb/w==","deliveries":[]}"#,
        )
        .unwrap();
        let text = shown(&event, now(), PLAIN);
        let received = "received        by source stripe-live, verified by secret 1, from 203.0.113.7\n\
                        delivery id     evt_1\n";
        assert!(text.contains(received), "{text}");
        assert!(
            text.contains("body            hi\\u{1b}\u{fffd}\n"),
            "{text}"
        );
        assert!(text.ends_with("no endpoint wanted it\n"), "{text}");
    }

    #[test]
    fn counts_are_said_in_words() {
        let counts = Counts {
            delivered: 2,
            dead: 1,
            ..Counts::default()
        };
        assert_eq!(counted(&counts), "2 delivered, 1 dead");
        assert_eq!(counted(&Counts::default()), "none");
    }
}
