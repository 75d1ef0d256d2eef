//! `outboxd endpoints`: list, show, enable, disable.

use bytes::Bytes;
use http::HeaderMap;

use super::answers::{Endpoint, List};
use super::client::{Client, Configured, Fault, Reach};
use super::filter::{Part, QueryString, more};
use super::paint::{BAD, BOLD, DIM, GOOD, Paint, plain};
use super::table::{Cell, Table};
use super::when;
use super::{Failure, print};
use crate::clock;
use crate::domain::endpoint::EndpointId;
use crate::domain::time::Timestamp;

/// List endpoints, look at one, switch it on or off
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    /// Print the answer as JSON
    #[arg(long, global = true)]
    pub json: bool,
    #[command(flatten)]
    pub reach: Reach,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// List endpoints by id
    List {
        /// Only this tenant's
        #[arg(long)]
        tenant: Option<String>,
        #[command(flatten)]
        part: Part,
    },
    /// Show an endpoint with its policy
    Show { endpoint: EndpointId },
    /// Take deliveries again; what was held is released
    Enable { endpoint: EndpointId },
    /// Take no deliveries; they are held, not lost
    Disable { endpoint: EndpointId },
}

pub async fn run(args: Args, configured: Configured) -> Result<(), Failure> {
    let client = args.reach.client(configured)?;
    let paint = Paint::for_stdout();
    match args.command {
        Command::List { tenant, part } => {
            let mut query = QueryString::default();
            query.add("tenant", tenant.as_deref());
            part.add_to(&mut query);
            let path = format!("/v1/endpoints{}", query.as_str());
            let answer = client.get(&path).await?;
            if args.json {
                return print(&format!("{}\n", String::from_utf8_lossy(&answer)));
            }
            let list: List<Endpoint> = client.read(&answer)?;
            print(&listed(&list, paint))
        }
        Command::Show { endpoint } => {
            let answer = client.get(&format!("/v1/endpoints/{endpoint}")).await?;
            if args.json {
                return print(&format!("{}\n", String::from_utf8_lossy(&answer)));
            }
            let endpoint: Endpoint = client.read(&answer)?;
            print(&shown(&endpoint, clock::now(), paint))
        }
        Command::Enable { endpoint } => {
            switch(&client, &endpoint, "enable").await?;
            done(&endpoint, "enabled", args.json)
        }
        Command::Disable { endpoint } => {
            switch(&client, &endpoint, "disable").await?;
            done(&endpoint, "disabled", args.json)
        }
    }
}

async fn switch(client: &Client, endpoint: &EndpointId, action: &str) -> Result<(), Fault> {
    let path = format!("/v1/endpoints/{endpoint}/{action}");
    let answer = client.post(&path, HeaderMap::new(), Bytes::new()).await;
    answer.map(drop)
}

/// The API answers 204; scripts get an object all the same.
fn done(endpoint: &EndpointId, state: &str, json: bool) -> Result<(), Failure> {
    if json {
        let enabled = state == "enabled";
        print(&format!(
            "{{\"id\":\"{endpoint}\",\"enabled\":{enabled}}}\n"
        ))
    } else {
        print(&format!("{endpoint} is {state}\n"))
    }
}

/// The table that `endpoints list` and `status` print.
pub(super) fn table<'a>(endpoints: impl IntoIterator<Item = &'a Endpoint>) -> Table {
    let head = [
        "ENDPOINT", "TENANT", "STATE", "PENDING", "HELD", "DEAD", "TYPES", "URL",
    ];
    let mut table = Table::new(&head);
    for endpoint in endpoints {
        let (style, state) = state(endpoint);
        table.row(vec![
            Cell::styled(BOLD, &endpoint.id),
            Cell::new(&endpoint.tenant),
            Cell::styled(style, &state),
            Cell::number(endpoint.backlog.pending),
            Cell::number(endpoint.backlog.held),
            Cell::number(endpoint.backlog.dead),
            Cell::new(&endpoint.types.join(" ")),
            Cell::new(&endpoint.url),
        ]);
    }
    table
}

fn state(endpoint: &Endpoint) -> (anstyle::Style, String) {
    match (&endpoint.disabled_reason, endpoint.enabled) {
        (_, true) => (GOOD, "enabled".to_owned()),
        (Some(reason), false) => (BAD, format!("disabled ({reason})")),
        (None, false) => (BAD, "disabled".to_owned()),
    }
}

fn listed(list: &List<Endpoint>, paint: Paint) -> String {
    let table = table(&list.data);
    if table.is_empty() && list.next.is_none() {
        return "no endpoints\n".to_owned();
    }
    table.render(paint) + &more(list.next.as_deref(), paint)
}

fn shown(endpoint: &Endpoint, now: Timestamp, paint: Paint) -> String {
    let (style, mut state) = state(endpoint);
    if let (Some(at), false) = (endpoint.disabled_at, endpoint.enabled) {
        state.push_str(&format!(" since {}", when::relative(at, now)));
    }
    let mut out = format!(
        "{}  {}\n\n",
        paint.paint(BOLD, &plain(&endpoint.id)),
        paint.paint(style, &plain(&state))
    );
    let retry = &endpoint.retry;
    let retried = match retry.schedule.is_empty() {
        true => format!(
            "{}, then times {} up to {}; given up after {}",
            retry.first, retry.factor, retry.max, retry.give_up_after
        ),
        false => format!("after {}", retry.schedule.join(", ")),
    };
    let backlog = &endpoint.backlog;
    let secret = endpoint.secret.as_deref().unwrap_or("none: unsigned");
    let facts = [
        ("url", endpoint.url.clone()),
        ("tenant", endpoint.tenant.clone()),
        ("types", endpoint.types.join(" ")),
        ("secret", secret.to_owned()),
        ("description", endpoint.description.clone()),
        (
            "backlog",
            format!(
                "{} pending, {} held, {} dead",
                backlog.pending, backlog.held, backlog.dead
            ),
        ),
        ("in flight", format!("at most {}", endpoint.max_in_flight)),
        (
            "rate limit",
            endpoint.rate_limit.clone().unwrap_or_else(|| "none".into()),
        ),
        ("ordering", endpoint.ordering.clone()),
        ("timeout", endpoint.timeout.clone()),
        ("retry", retried),
        ("source", endpoint.source.clone()),
    ];
    let headers = endpoint.headers.iter();
    let headers = headers.map(|(name, value)| ("header", format!("{name}: {value}")));
    for (name, text) in facts.into_iter().chain(headers) {
        if !text.is_empty() {
            let name = paint.paint(DIM, &format!("{name:<13}"));
            out.push_str(&format!("{name}{}\n", plain(&text)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Endpoint {
        serde_json::from_str(
            r#"{"id":"orders","tenant":"default","url":"https://example.com/hook",
            "types":["order.*"],"secret":"whsec_…","headers":{"x-team":"a"},"max_in_flight":16,
            "rate_limit":null,"ordering":"none","timeout":"20s","description":"",
            "retry":{"first":"5s","factor":3.0,"max":"6h","jitter":0.5,"give_up_after":"3d",
              "schedule":[]},
            "enabled":false,"disabled_reason":"gone","disabled_at":"2026-01-01T00:00:00Z",
            "source":"toml","backlog":{"pending":0,"held":12,"dead":1}}"#,
        )
        .unwrap()
    }

    #[test]
    fn a_list_is_a_table() {
        let list = List {
            data: vec![endpoint()],
            next: None,
        };
        assert_eq!(
            listed(&list, Paint { colour: false }),
            "ENDPOINT  TENANT   STATE            PENDING  HELD  DEAD  TYPES    URL\n\
             orders    default  disabled (gone)        0    12     1  order.*  https://example.com/hook\n"
        );
    }

    #[test]
    fn an_endpoint_is_shown_with_its_policy() {
        let now: Timestamp = "2026-01-01T02:00:00Z".parse().unwrap();
        let text = shown(&endpoint(), now, Paint { colour: false });
        assert!(
            text.starts_with("orders  disabled (gone) since 2h ago\n\n"),
            "{text}"
        );
        assert!(
            text.contains("retry        5s, then times 3 up to 6h; given up after 3d\n"),
            "{text}"
        );
        assert!(text.contains("header       x-team: a\n"), "{text}");
        assert!(!text.contains("description"), "{text}");
    }
}
