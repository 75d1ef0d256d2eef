//! `outboxd endpoints`: list, show, make, change, test and remove endpoints.
//!
//! Only `add`, `rotate` and `secret` print a secret.

use bytes::Bytes;
use http::HeaderMap;

use serde_json::{Map, Value, json};

use super::answers::{Endpoint, List, Retry, Secret};
use super::apply::{self, Apply};
use super::client::{Client, Configured, Fault, Reach};
use super::define::Fields;
use super::filter::{Part, QueryString, more};
use super::paint::{BAD, BOLD, DIM, GOOD, Paint, plain};
use super::selection::{self, Selection, counted};
use super::table::{Cell, Table};
use super::when;
use super::{Failure, answered, print, print_json};
use crate::clock;
use crate::domain::endpoint::EndpointId;
use crate::domain::time::Timestamp;

/// List endpoints; create, change, test, purge or remove one; rotate its secret
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
    /// List endpoints by id
    List {
        /// Only endpoints of this tenant
        #[arg(long)]
        tenant: Option<String>,
        #[command(flatten)]
        part: Part,
    },
    /// Show an endpoint with its policy
    Show { endpoint: EndpointId },
    /// Create an endpoint and print its id and secret
    Add {
        /// Where its events go
        #[arg(value_name = "URL")]
        to: String,
        /// The tenant whose events it gets [default: default]
        #[arg(long)]
        tenant: Option<String>,
        /// Take no deliveries yet: hold them
        #[arg(long)]
        disabled: bool,
        #[command(flatten)]
        fields: Box<Fields>,
    },
    /// Change the given fields, and no others
    Set {
        endpoint: EndpointId,
        /// Where its events go
        #[arg(long = "to", value_name = "URL")]
        to: Option<String>,
        /// Back to the default: types, headers, max_in_flight, …; may be given again
        #[arg(long = "default", value_name = "FIELD", value_delimiter = ',')]
        defaults: Vec<String>,
        #[command(flatten)]
        fields: Box<Fields>,
    },
    /// Create a new secret and print it; the old one signs as well for the overlap
    Rotate {
        endpoint: EndpointId,
        /// How long the old one signs too, such as 1h [default: 24h]
        #[arg(long, value_name = "DURATION")]
        overlap: Option<String>,
    },
    /// Print the secret
    Secret { endpoint: EndpointId },
    /// Enable an endpoint; its held deliveries are released
    Enable { endpoint: EndpointId },
    /// Disable an endpoint; its deliveries are held, not lost
    Disable { endpoint: EndpointId },
    /// Send an endpoint one outboxd.test event
    Test { endpoint: EndpointId },
    /// Delete an endpoint; its open deliveries become dead letters
    Remove { endpoint: EndpointId },
    /// Create and change endpoints and sources from a file
    Apply(Apply),
    /// Cancel pending and held deliveries, and remove dead letters
    Purge {
        endpoint: EndpointId,
        /// Only those that are pending, held or dead
        #[arg(long, value_parser = ["pending", "held", "dead"])]
        status: Option<String>,
        #[command(flatten)]
        selection: Selection,
    },
}

pub async fn run(args: Args, configured: Configured) -> Result<(), Failure> {
    let client = args.reach.client(configured)?;
    let json = args.json;
    match args.command {
        Command::List { tenant, part } => list(&client, tenant.as_deref(), &part, json).await,
        Command::Show { endpoint } => {
            let answer = client.get(&path_of(&endpoint)).await?;
            answered(json, &answer, || readable(&client, &answer))
        }
        Command::Add {
            to,
            tenant,
            disabled,
            fields,
        } => {
            let definition = definition(&fields, to, tenant, disabled)?;
            let answer = client.post_json("/v1/endpoints", &definition).await?;
            answered(json, &answer, || readable(&client, &answer))
        }
        Command::Set {
            endpoint,
            to,
            defaults,
            fields,
        } => {
            let change = change(&fields, to, defaults)?;
            let answer = client.patch(&path_of(&endpoint), &change).await?;
            answered(json, &answer, || readable(&client, &answer))
        }
        Command::Rotate { endpoint, overlap } => {
            let overlap = overlap.map(|overlap| ("overlap".to_owned(), Value::from(overlap)));
            let body: Map<String, Value> = overlap.into_iter().collect();
            let path = format!("{}/rotate", path_of(&endpoint));
            let answer = client.post_json(&path, &body).await?;
            answered(json, &answer, || secret(&client, &answer))
        }
        Command::Secret { endpoint } => {
            let path = format!("{}/secret", path_of(&endpoint));
            let answer = client.get(&path).await?;
            answered(json, &answer, || secret(&client, &answer))
        }
        Command::Enable { endpoint } => {
            switch(&client, &endpoint, "enable").await?;
            done(json, &endpoint, "enabled", true, "is enabled")
        }
        Command::Disable { endpoint } => {
            switch(&client, &endpoint, "disable").await?;
            done(json, &endpoint, "enabled", false, "is disabled")
        }
        Command::Test { endpoint } => {
            switch(&client, &endpoint, "test").await?;
            done(json, &endpoint, "tested", true, "gets a test event")
        }
        Command::Remove { endpoint } => {
            client.delete(&path_of(&endpoint)).await?;
            done(json, &endpoint, "deleted", true, "is deleted")
        }
        Command::Apply(args) => apply::run(&client, &args, json).await,
        Command::Purge {
            endpoint,
            status,
            selection,
        } => purge(&client, &endpoint, status.as_deref(), &selection, json).await,
    }
}

async fn list(
    client: &Client,
    tenant: Option<&str>,
    part: &Part,
    json: bool,
) -> Result<(), Failure> {
    let mut query = QueryString::default();
    query.add("tenant", tenant);
    part.add_to(&mut query);
    let path = format!("/v1/endpoints{}", query.as_str());
    let answer = client.get(&path).await?;
    let paint = Paint::for_stdout();
    answered(json, &answer, || Ok(listed(&client.read(&answer)?, paint)))
}

async fn purge(
    client: &Client,
    endpoint: &EndpointId,
    status: Option<&str>,
    selection: &Selection,
    json: bool,
) -> Result<(), Failure> {
    let body = selection.object(status, clock::now())?;
    let begun = selection::ask(client, endpoint, "purge", &body).await?;
    let matched = begun.matched;
    let dry_run = selection.dry_run;
    if json {
        let job = begun.job;
        let answer = json!({"id": endpoint, "matched": matched, "dry_run": dry_run, "job": job});
        return print_json(&answer);
    }
    let verb = if dry_run { "would go" } else { "to go" };
    print(&format!("{endpoint}  {} {verb}\n", counted(matched)))
}

/// The body that makes an endpoint.
fn definition(
    fields: &Fields,
    url: String,
    tenant: Option<String>,
    disabled: bool,
) -> Result<Map<String, Value>, Failure> {
    let mut definition = fields.object()?;
    definition.insert("url".to_owned(), url.into());
    if let Some(tenant) = tenant {
        definition.insert("tenant".to_owned(), tenant.into());
    }
    if disabled {
        definition.insert("enabled".to_owned(), false.into());
    }
    Ok(definition)
}

fn path_of(endpoint: &EndpointId) -> String {
    format!("/v1/endpoints/{endpoint}")
}

fn readable(client: &Client, answer: &[u8]) -> Result<String, Failure> {
    let endpoint: Endpoint = client.read(answer)?;
    Ok(shown(&endpoint, clock::now(), Paint::for_stdout()))
}

fn secret(client: &Client, answer: &[u8]) -> Result<String, Failure> {
    let Secret { secret } = client.read(answer)?;
    Ok(format!("{}\n", plain(&secret)))
}

/// The body of a change: what was given, and `null` for what goes back to its default.
fn change(
    fields: &Fields,
    to: Option<String>,
    defaults: Vec<String>,
) -> Result<Map<String, Value>, Failure> {
    let mut change = fields.object()?;
    if let Some(url) = to {
        change.insert("url".to_owned(), url.into());
    }
    for field in defaults {
        let field = field.replace('-', "_");
        if change.insert(field.clone(), Value::Null).is_some() {
            return Err(Failure::Usage(format!(
                "--default {field} and a value for it"
            )));
        }
    }
    match change.is_empty() {
        true => Err(Failure::Usage("say what to change, see --help".to_owned())),
        false => Ok(change),
    }
}

async fn switch(client: &Client, endpoint: &EndpointId, action: &str) -> Result<(), Fault> {
    let path = format!("/v1/endpoints/{endpoint}/{action}");
    let answer = client.post(&path, HeaderMap::new(), Bytes::new()).await;
    answer.map(drop)
}

/// The API answers 204 without a body; `--json` prints an object.
fn done(
    json: bool,
    endpoint: &EndpointId,
    name: &str,
    value: bool,
    told: &str,
) -> Result<(), Failure> {
    match json {
        true => print_json(&json!({"id": endpoint, name: value})),
        false => print(&format!("{endpoint} {told}\n")),
    }
}

/// The endpoints of a tenant, or of all.
pub async fn all(client: &Client, tenant: Option<&str>) -> Result<Vec<Endpoint>, Failure> {
    let (mut endpoints, mut cursor) = (Vec::new(), None);
    loop {
        let mut query = QueryString::default();
        query.add("limit", Some("1000"));
        query.add("tenant", tenant);
        query.add("cursor", cursor.as_deref());
        let path = format!("/v1/endpoints{}", query.as_str());
        let list: List<Endpoint> = client.read(&client.get(&path).await?)?;
        endpoints.extend(list.data);
        cursor = list.next;
        if cursor.is_none() {
            return Ok(endpoints);
        }
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
        (
            "http",
            match endpoint.http2 {
                true => "HTTP/2 or HTTP/1.1".to_owned(),
                false => "HTTP/1.1".to_owned(),
            },
        ),
        ("retry", retried(&endpoint.retry)),
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

/// A retry rule in words.
pub(super) fn retried(retry: &Retry) -> String {
    match retry.schedule.is_empty() {
        true => format!(
            "{}, then times {} up to {}; given up after {}",
            retry.first, retry.factor, retry.max, retry.give_up_after
        ),
        false => format!("after {}", retry.schedule.join(", ")),
    }
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
