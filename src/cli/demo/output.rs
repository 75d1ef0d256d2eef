//! The demo's timeline, printed line by line as it happens.

use anstyle::Style;
use serde::Serialize;

use super::super::paint::{ACCENT, BAD, DIM, GOOD, PLAIN, Paint, WARN, plain};
use super::super::timeline::Moment;
use super::super::{Failure, print, print_json};
use crate::domain::time::Timestamp;

/// The width of `what`, and of whom it is about, in characters.
const WHAT: usize = 9;
const SUBJECT: usize = 23;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    Started,
    Accepted,
    Attempt,
    Delivered,
    Killed,
    Recovered,
    Stopped,
}

impl What {
    fn shown(self) -> (char, Style) {
        match self {
            What::Started | What::Recovered | What::Stopped => ('●', PLAIN),
            What::Accepted => ('●', ACCENT),
            What::Attempt => ('✗', BAD),
            What::Delivered => ('✓', GOOD),
            What::Killed => ('✗', WARN),
        }
    }
}

/// One line.
#[derive(Debug, Serialize)]
pub struct Line {
    pub at: Timestamp,
    pub what: What,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Its number, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u64>,
    /// What it was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The kind of its failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    pub remark: String,
}

impl Line {
    /// A line about the daemon.
    pub fn new(at: Timestamp, what: What, remark: String) -> Line {
        Line {
            at,
            what,
            event: None,
            event_type: None,
            endpoint: None,
            attempt: None,
            status: None,
            error: None,
            remark,
        }
    }

    fn readable(&self, start: Timestamp, paint: Paint) -> String {
        let (mark, style) = self.what.shown();
        let what = match (self.what, self.attempt) {
            (What::Attempt, Some(number)) => format!("attempt {number}"),
            (what, _) => format!("{what:?}").to_lowercase(),
        };
        let subject = match (&self.event_type, &self.endpoint) {
            (Some(event_type), Some(endpoint)) => format!("{event_type} → {endpoint}"),
            (Some(event_type), None) => event_type.clone(),
            (None, _) => "outboxd".to_owned(),
        };
        let moment = Moment {
            at: self.at,
            mark,
            style,
            what,
            remark: format!("{subject:<SUBJECT$}  {}", self.remark),
        };
        moment.brief(start, WHAT, paint)
    }
}

/// How it ended.
#[derive(Debug, Serialize)]
pub struct Summary {
    pub what: &'static str,
    pub events: u64,
    pub deliveries: u64,
    /// What the receiver got, repeated and failed attempts included.
    pub requests: u64,
    pub verified: u64,
    pub seconds: f64,
}

/// Prints for a person, or as one JSON object a line.
pub struct Output {
    pub json: bool,
    pub paint: Paint,
    pub start: Timestamp,
}

impl Output {
    pub fn line(&self, line: &Line) -> Result<(), Failure> {
        match self.json {
            true => print_json(line),
            false => print(&format!("  {}\n", line.readable(self.start, self.paint))),
        }
    }

    /// What it will show.
    pub fn begin(&self) -> Result<(), Failure> {
        let text = "The real daemon on a temporary directory, and a receiver that fails at first:\n\
                    shop answers 503 twice, billing hangs once, audit is well. Halfway the\n\
                    daemon is killed with SIGKILL and started again.\n\n";
        match self.json {
            true => Ok(()),
            false => print(&self.paint.paint(DIM, text)),
        }
    }

    /// The sum, and what to try next.
    pub fn end(&self, summary: &Summary) -> Result<(), Failure> {
        if self.json {
            return print_json(summary);
        }
        let sum = format!(
            "{} events, {} deliveries: all delivered and verified ({} requests, {:.1} s)",
            summary.events, summary.deliveries, summary.requests, summary.seconds
        );
        let program = std::env::args().next();
        let program = plain(program.as_deref().unwrap_or("outboxd")).into_owned();
        let next = format!(
            r#"Next, on your own, each in a terminal:

  {program} listen

  cat > outboxd.toml <<'END'
  [[endpoint]]
  id = "dev"
  url = "http://127.0.0.1:7718/"
  allow_networks = ["127.0.0.0/8"]
  END
  {program} serve --config outboxd.toml

  {program} send order.created '{{"id": 7}}'
  {program} deliveries list
"#
        );
        print(&format!("\n{}\n\n{next}", self.paint.paint(GOOD, &sum)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_line_up_and_say_who_it_was() {
        let start = Timestamp::from_millis(1_767_225_600_000);
        let paint = Paint { colour: false };
        let begun = Line::new(start, What::Started, "pid 1".into());
        let failed = Line {
            event_type: Some("order.created".into()),
            endpoint: Some("shop".into()),
            attempt: Some(1),
            ..Line::new(start, What::Attempt, "503".into())
        };
        let lines = [&begun, &failed].map(|line| line.readable(start, paint));
        assert_eq!(
            lines,
            [
                "    +0ms  ● started    outboxd                  pid 1",
                "    +0ms  ✗ attempt 1  order.created → shop     503",
            ]
        );
    }
}
