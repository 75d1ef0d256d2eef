//! `outboxd status`: how the daemon is doing, on one screen.

use std::time::{Duration, Instant};

use super::answers::Status;
use super::client::{Configured, Reach};
use super::endpoints;
use super::overview::{Rates, shown};
use super::paint::Paint;
use super::watch;
use super::{Failure, print};

/// Between the two readings that rates are made of.
const SAMPLE: Duration = Duration::from_secs(1);

/// Show backlog, rates, endpoints in trouble, disk and version
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Print the response as JSON, without waiting for rates
    #[arg(long)]
    pub json: bool,
    /// Refresh until Ctrl-C, with the last hour and the last failures; if stdout is not a terminal,
    /// print a line each time
    #[arg(long)]
    watch: bool,
    /// The seconds between two updates
    #[arg(long, value_name = "SECONDS", default_value_t = 2, requires = "watch",
        value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
    /// End after this many updates
    #[arg(long, value_name = "N", requires = "watch", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    pub reach: Reach,
}

pub async fn run(args: Args, configured: Configured) -> Result<(), Failure> {
    let client = args.reach.client(configured)?;
    if args.watch {
        let every = Duration::from_secs(args.interval);
        return watch::run(&client, every, args.count, args.json).await;
    }
    let answer = client.get("/v1/status").await?;
    if args.json {
        return print(&format!("{}\n", String::from_utf8_lossy(&answer)));
    }
    let before: Status = client.read(&answer)?;
    let start = Instant::now();
    tokio::time::sleep(SAMPLE).await;
    let after: Status = client.read(&client.get("/v1/status").await?)?;
    let rates = Rates::between(&before, &after, start.elapsed());
    let endpoints = endpoints::all(&client, None).await?;
    print(&shown(&after, Some(rates), &endpoints, Paint::for_stdout()))
}
