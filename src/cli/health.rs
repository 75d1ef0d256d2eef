//! `outboxd health`: an exit status that says whether the daemon is ready, for the health checks of
//! containers and for scripts.

use std::time::Duration;

use serde_json::json;

use super::client::{Configured, Reach};
use super::{Failure, print, print_json};
use crate::config::units::parse_duration;

/// Exit with 0 if the daemon is ready, else with 1; needs no token
///
/// Asks `GET /readyz`: the daemon is ready when the outbox is recovered and accepts events.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How long to wait for the response
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = wait_time)]
    timeout: Duration,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

fn wait_time(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(Duration::ZERO) => Err("0 leaves no time for an answer".to_owned()),
        Ok(time) => Ok(time),
        Err(bad) => Err(format!("{}; {}", bad.problem(), bad.fix())),
    }
}

pub async fn run(args: Args, configured: Configured) -> Result<(), Failure> {
    let client = args.reach.client_without_token(configured)?;
    let asked = tokio::time::timeout(args.timeout, client.get("/readyz")).await;
    let why = match asked {
        Ok(Ok(_)) => {
            return match args.json {
                true => print_json(&json!({"ready": true})),
                false => print("ready\n"),
            };
        }
        Ok(Err(fault)) => fault.to_string(),
        Err(_) => {
            let target = client.target();
            format!("{target} does not answer within {:?}", args.timeout)
        }
    };
    if args.json {
        print_json(&json!({"ready": false, "detail": why}))?;
    }
    Err(Failure::Failed(format!("not ready: {why}")))
}
