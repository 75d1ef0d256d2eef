//! `outboxd replay`: deliveries back to pending, many at once.

use serde_json::{Value, json};

use super::client::{Client, Configured, Reach};
use super::endpoints;
use super::paint::plain;
use super::selection::{Begun, Selection, ask, counted};
use super::{Failure, print, print_json};
use crate::clock;
use crate::domain::endpoint::EndpointId;

/// Deliver dead letters again, or what was already delivered
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Of this endpoint; may be given again
    #[arg(
        long,
        value_name = "ID",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    endpoint: Vec<EndpointId>,
    /// Of all endpoints
    #[arg(long)]
    all: bool,
    /// With --all: only those of this tenant
    #[arg(long, requires = "all", conflicts_with = "endpoint")]
    tenant: Option<String>,
    /// dead or delivered
    #[arg(long, value_parser = ["dead", "delivered"], default_value = "dead")]
    status: String,
    #[command(flatten)]
    selection: Selection,
    /// How fast for each endpoint, such as 20/s [default: 100/s]
    #[arg(long)]
    rate: Option<String>,
    /// Print the response as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub reach: Reach,
}

pub async fn run(args: Args, configured: Configured) -> Result<(), Failure> {
    let mut body = args.selection.object(Some(&args.status), clock::now())?;
    if let Some(rate) = &args.rate {
        body.insert("rate".to_owned(), Value::from(rate.as_str()));
    }
    let client = args.reach.client(configured)?;
    let endpoints = match args.all {
        true => all(&client, args.tenant.as_deref()).await?,
        false => args.endpoint,
    };
    if endpoints.len() > 1 && !args.all {
        // An endpoint that does not exist is reported before anything is replayed.
        for endpoint in &endpoints {
            client.get(&format!("/v1/endpoints/{endpoint}")).await?;
        }
    }
    let (mut found, mut sum) = (Vec::new(), 0_u64);
    for endpoint in endpoints {
        let begun = ask(&client, &endpoint, "replay", &body).await?;
        sum = sum.saturating_add(begun.matched);
        found.push((endpoint, begun));
    }
    let dry_run = args.selection.dry_run;
    if args.json {
        let found: Vec<Value> = found
            .iter()
            .map(|(endpoint, Begun { matched, job })| {
                json!({"endpoint": endpoint, "matched": matched, "job": job})
            })
            .collect();
        return print_json(&json!({"matched": sum, "dry_run": dry_run, "endpoints": found}));
    }
    print(&readable(&found, sum, dry_run))
}

/// The ids of all endpoints, list by list.
async fn all(client: &Client, tenant: Option<&str>) -> Result<Vec<EndpointId>, Failure> {
    let all = endpoints::all(client, tenant).await?.into_iter();
    let ids = all.map(|endpoint| EndpointId::new(&endpoint.id));
    let ids: Result<_, _> = ids.collect();
    ids.map_err(|error| Failure::Failed(error.to_string()))
}

fn readable(found: &[(EndpointId, Begun)], sum: u64, dry_run: bool) -> String {
    let verb = if dry_run {
        "would be replayed"
    } else {
        "to be replayed"
    };
    let some = found.iter().filter(|(_, begun)| begun.matched > 0);
    let mut out: String = some
        .map(|(endpoint, begun)| {
            let job = begun.job.as_deref().map(plain);
            let job = job.map(|job| format!(" by {job}")).unwrap_or_default();
            format!("{endpoint}  {} {verb}{job}\n", counted(begun.matched))
        })
        .collect();
    if out.is_empty() || found.len() > 1 {
        out.push_str(&format!("{} {verb}\n", counted(sum)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_by_endpoint_and_in_all() {
        let one = |text, matched, job: Option<&str>| {
            let job = job.map(str::to_owned);
            (EndpointId::new(text).unwrap(), Begun { matched, job })
        };
        assert_eq!(
            readable(&[one("a", 1, Some("job_1"))], 1, false),
            "a  1 delivery to be replayed by job_1\n"
        );
        assert_eq!(
            readable(&[one("a", 0, None)], 0, true),
            "0 deliveries would be replayed\n"
        );
        assert_eq!(
            readable(
                &[one("a", 2, None), one("b", 0, None), one("c", 5, None)],
                7,
                true
            ),
            "a  2 deliveries would be replayed\nc  5 deliveries would be replayed\n7 deliveries would be replayed\n"
        );
    }
}
