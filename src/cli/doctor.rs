//! `outboxd doctor`: why requests to an endpoint do or do not get there, step by step.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::client::{Configured, Reach};
use super::paint::{BAD, BOLD, DIM, GOOD, Paint, WARN, plain};
use super::when;
use super::{Failure, print};
use crate::domain::endpoint::EndpointId;

/// How long a diagnosis may take: the daemon bounds each step, by an hour at most, as configured.
const PATIENCE: Duration = Duration::from_secs(4 * 3600);

/// Diagnose an endpoint: its state, its name, addresses, TCP and TLS; sends nothing by itself
///
/// The daemon takes the steps, with its own resolver, rules, proxy and certificates. Exits with 0 if
/// no step failed, else with 1.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    endpoint: EndpointId,
    /// If no step failed, send one outboxd.test event and wait for its first attempt
    #[arg(long)]
    send: bool,
    /// Print the response as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub reach: Reach,
}

#[derive(Debug, Deserialize)]
struct Diagnosis {
    endpoint: String,
    url: String,
    ok: bool,
    steps: Vec<Step>,
}

#[derive(Debug, Deserialize)]
struct Step {
    name: String,
    status: String,
    duration_ms: u64,
    detail: String,
    hint: Option<String>,
}

pub async fn run(args: Args, configured: Configured) -> Result<(), Failure> {
    let client = args.reach.client(configured)?.with_patience(PATIENCE);
    let path = format!("/v1/endpoints/{}/diagnose", args.endpoint);
    let asked = json!({"send": args.send});
    let answer = client.post_json(&path, &asked).await?;
    let diagnosis: Diagnosis = client.read(&answer)?;
    match args.json {
        // Spaces that came before the answer was there.
        true => print(&format!("{}\n", String::from_utf8_lossy(&answer).trim()))?,
        false => print(&readable(&diagnosis, Paint::for_stdout()))?,
    }
    match diagnosis.ok {
        true => Ok(()),
        false => Err(Failure::Failed(failed(&diagnosis))),
    }
}

fn failed(diagnosis: &Diagnosis) -> String {
    let steps = diagnosis.steps.iter();
    let failed = steps.filter(|step| step.status == "failed");
    let names: Vec<_> = failed.map(|step| plain(&step.name)).collect();
    format!("failed: {}", names.join(", "))
}

fn readable(diagnosis: &Diagnosis, paint: Paint) -> String {
    let endpoint = paint.paint(BOLD, &plain(&diagnosis.endpoint));
    let mut out = format!("{endpoint}  {}\n", plain(&diagnosis.url));
    for step in &diagnosis.steps {
        let (mark, style) = match step.status.as_str() {
            "ok" => ("✓", GOOD),
            "warning" => ("!", WARN),
            "failed" => ("✗", BAD),
            _ => ("-", DIM),
        };
        let took = match step.status.as_str() {
            "skipped" => "skipped".to_owned(),
            _ => when::span(Duration::from_millis(step.duration_ms)),
        };
        out.push_str(&format!(
            "{} {}  {}  {}\n",
            paint.paint(style, mark),
            paint.paint(style, &format!("{:<8}", plain(&step.name))),
            paint.paint(DIM, &format!("{took:>7}")),
            plain(&step.detail),
        ));
        if let Some(hint) = &step.hint {
            out.push_str(&format!("{:21}{}\n", "", plain(&format!("→ {hint}"))));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_has_a_line_and_what_to_do_has_another() {
        let answer = r#"  {"endpoint":"e","url":"https://a.example/","ok":false,"event":null,"steps":[
            {"name":"endpoint","status":"ok","duration_ms":1,"detail":"enabled","hint":null},
            {"name":"resolve","status":"warning","duration_ms":1200,"detail":"b\u001b","hint":"c"},
            {"name":"connect","status":"failed","duration_ms":3,"detail":"refused","hint":"start it"},
            {"name":"tls","status":"skipped","duration_ms":0,"detail":"connect failed","hint":null}]}"#;
        let diagnosis: Diagnosis = serde_json::from_str(answer).unwrap();
        assert_eq!(
            readable(&diagnosis, Paint { colour: false }),
            "e  https://a.example/\n\
             ✓ endpoint      1ms  enabled\n\
             ! resolve      1.2s  b\\u{1b}\n                     → c\n\
             ✗ connect       3ms  refused\n                     → start it\n\
             - tls       skipped  connect failed\n"
        );
        assert_eq!(failed(&diagnosis), "failed: connect");
    }
}
