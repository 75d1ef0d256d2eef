//! `outboxd filter test`: what a filter says of an event.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::{Configured, Reach};
use super::paint::{BAD, GOOD, Paint, plain};
use super::sample::{Asked, Sample, raw};
use super::shape::json_of;
use super::{Failure, print};

/// Test a filter on an event
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
    /// Say whether an event passes a filter, and if not, which condition does not hold; then
    /// the exit status is 1
    Test {
        /// The filter, such as {"data":{"amount":{"$gte":100}}}, or @FILE
        filter: String,
        #[command(flatten)]
        sample: Sample,
    },
}

#[derive(Debug, Deserialize)]
struct Tested {
    matches: bool,
    failed: Option<Failed>,
}

#[derive(Debug, Deserialize)]
struct Failed {
    path: String,
    operator: String,
    expected: Option<Box<RawValue>>,
    found: String,
}

pub async fn run(args: Args, configured: Configured) -> Result<(), Failure> {
    let Command::Test { filter, sample } = &args.command;
    let filter = json_of("FILTER", filter)?;
    let event = match sample.asked()? {
        Asked::Id(event) | Asked::New(event) => event,
    };
    let asked = format!(r#"{{"filter":{filter},"event":{event}}}"#);
    let client = args.reach.client(configured)?;
    let answer = client.post_json("/v1/filters/test", &raw(asked)?).await?;
    let tested: Tested = client.read(&answer)?;
    match args.json {
        true => print(&format!("{}\n", String::from_utf8_lossy(&answer)))?,
        false => print(&readable(&tested, Paint::for_stdout()))?,
    }
    match tested.matches {
        true => Ok(()),
        false => Err(Failure::Failed(
            "the event does not pass the filter".to_owned(),
        )),
    }
}

fn readable(tested: &Tested, paint: Paint) -> String {
    let Some(failed) = &tested.failed else {
        return format!("{}\n", paint.paint(GOOD, "matches"));
    };
    let place = match failed.path.as_str() {
        "" => "the event",
        path => path,
    };
    let expected = failed.expected.as_ref().map_or("", |raw| raw.get());
    format!(
        "{}: at {} {} {} does not hold, and what is there is {}\n",
        paint.paint(BAD, "does not match"),
        plain(place),
        plain(&failed.operator),
        plain(expected),
        plain(&failed.found)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_condition_that_does_not_hold_is_named() {
        let tested: Tested = serde_json::from_str(
            r#"{"matches":false,"failed":{"path":"data.amount","operator":"$gte","expected":100,"found":"missing"}}"#,
        )
        .unwrap();
        assert_eq!(
            readable(&tested, Paint { colour: false }),
            "does not match: at data.amount $gte 100 does not hold, and what is there is missing\n"
        );
        let tested: Tested = serde_json::from_str(r#"{"matches":true,"failed":null}"#).unwrap();
        assert_eq!(readable(&tested, Paint { colour: false }), "matches\n");
    }
}
