//! `outboxd jobs`: the replays and purges under way.

use serde::Deserialize;

use super::answers::List;
use super::client::{Configured, Reach};
use super::filter::{Part, QueryString, more};
use super::paint::{BOLD, DIM, Paint, plain};
use super::table::{Cell, Table};
use super::when;
use super::{Failure, answered, print, print_json};
use crate::clock;
use crate::domain::job::JobId;
use crate::domain::time::Timestamp;

/// List replays and purges under way, show one, cancel one
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
    /// List the jobs under way
    List(Part),
    /// Show a job and its progress
    Show(Named),
    /// Cancel a job; deliveries that it has not processed stay as they are
    Cancel(Named),
}

#[derive(Clone, Debug, clap::Args)]
struct Named {
    /// The job's id, job_…
    #[arg(value_name = "JOB")]
    id: JobId,
}

#[derive(Debug, Deserialize)]
struct Job {
    id: String,
    kind: String,
    endpoint: String,
    tenant: String,
    status: Vec<String>,
    types: Vec<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    rate: Option<String>,
    matched: u64,
    done: u64,
    created_at: Option<Timestamp>,
}

pub async fn run(args: Args, configured: Configured) -> Result<(), Failure> {
    let client = args.reach.client(configured)?;
    let (now, paint) = (clock::now(), Paint::for_stdout());
    match &args.command {
        Command::List(part) => {
            let mut query = QueryString::default();
            part.add_to(&mut query);
            let answer = client.get(&format!("/v1/jobs{}", query.as_str())).await?;
            answered(args.json, &answer, || {
                Ok(listed(&client.read(&answer)?, now, paint))
            })
        }
        Command::Show(Named { id }) => {
            let answer = client.get(&format!("/v1/jobs/{id}")).await?;
            answered(args.json, &answer, || {
                Ok(shown(&client.read(&answer)?, now, paint))
            })
        }
        Command::Cancel(Named { id }) => {
            client.delete(&format!("/v1/jobs/{id}")).await?;
            match args.json {
                true => print_json(&serde_json::json!({ "cancelled": id })),
                false => print(&format!("{id} is cancelled\n")),
            }
        }
    }
}

fn listed(list: &List<Job>, now: Timestamp, paint: Paint) -> String {
    if list.data.is_empty() && list.next.is_none() {
        return "no jobs are under way\n".to_owned();
    }
    let mut table = Table::new(&[
        "JOB", "KIND", "ENDPOINT", "DONE", "MATCHED", "RATE", "BEGAN",
    ]);
    for job in &list.data {
        table.row(vec![
            Cell::styled(BOLD, &job.id),
            Cell::new(&job.kind),
            Cell::new(&job.endpoint),
            Cell::number(job.done),
            Cell::number(job.matched),
            Cell::new(job.rate.as_deref().unwrap_or("-")),
            Cell::new(&began(job, now)),
        ]);
    }
    table.render(paint) + &more(list.next.as_deref(), paint)
}

fn began(job: &Job, now: Timestamp) -> String {
    let began = job.created_at.map(|at| when::relative(at, now));
    began.unwrap_or_else(|| "-".to_owned())
}

fn shown(job: &Job, now: Timestamp, paint: Paint) -> String {
    let mut out = format!("{}\n", paint.paint(BOLD, &plain(&job.id)));
    let mut fact = |name: &str, value: &str| {
        let name = paint.paint(DIM, &format!("{name:<10}"));
        out.push_str(&format!("  {name}{}\n", plain(value)));
    };
    fact("kind", &job.kind);
    fact(
        "endpoint",
        &format!("{} (tenant {})", job.endpoint, job.tenant),
    );
    fact(
        "progress",
        &format!("{} of {} deliveries", job.done, job.matched),
    );
    fact("rate", job.rate.as_deref().unwrap_or("unlimited"));
    fact("began", &began(job, now));
    fact("status", &job.status.join(", "));
    if !job.types.is_empty() {
        fact("types", &job.types.join(", "));
    }
    for (name, at) in [("since", job.since), ("until", job.until)] {
        if let Some(at) = at {
            fact(name, &when::moment(at));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_shown_with_its_progress() {
        let job = r#"{"id":"job_1","kind":"replay","endpoint":"e","tenant":"t","status":["dead"],
            "types":["a.*"],"since":"2026-01-01T00:00:00Z","until":null,"rate":"20/s",
            "matched":300,"done":40,"created_at":"2026-01-01T00:00:00Z"}"#;
        let now: Timestamp = "2026-01-01T00:00:02Z".parse().unwrap();
        let paint = Paint { colour: false };
        assert_eq!(
            shown(&serde_json::from_str(job).unwrap(), now, paint),
            "job_1\n  kind      replay\n  endpoint  e (tenant t)\n  progress  40 of 300 deliveries\n  \
             rate      20/s\n  began     2s ago\n  status    dead\n  types     a.*\n  \
             since     2026-01-01 00:00:00.000Z\n"
        );
        let list = |jobs: &str| {
            let list = format!(r#"{{"data":[{jobs}],"next":null}}"#);
            listed(&serde_json::from_str(&list).unwrap(), now, paint)
        };
        assert_eq!(
            list(job),
            "JOB    KIND    ENDPOINT  DONE  MATCHED  RATE  BEGAN\n\
             job_1  replay  e           40      300  20/s  2s ago\n"
        );
        assert_eq!(list(""), "no jobs are under way\n");
    }
}
