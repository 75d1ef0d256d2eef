//! `outboxd status --watch`: the status of the daemon, refreshed.
//!
//! On a terminal the command uses the alternate screen and always restores the terminal at its end.
//! Otherwise it prints a line each time.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::answers::{Attempt, Endpoint, List, Status};
use super::client::Client;
use super::deliveries::took;
use super::endpoints;
use super::overview::{self, Rates};
use super::paint::{BAD, BOLD, DIM, GOOD, PLAIN, Paint, WARN, plain};
use super::stop::asked_to_stop;
use super::when;
use super::{Failure, print};
use crate::clock;
use crate::domain::time::Timestamp;

/// How many of the last attempts are searched for failures.
const ATTEMPTS: usize = 200;
/// The most failures and endpoints that are shown.
const SHOWN: usize = 5;
/// The lines of a screen whose size is not known.
const LINES: usize = 24;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Enters the alternate screen, without a cursor and with long lines cut; and leaves it.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
/// To the upper left corner; what is left of a line; what is left of the screen.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_REST: &str = "\x1b[J";

#[derive(Debug, Deserialize)]
struct Stats {
    data: Vec<Step>,
}

#[derive(Debug, Deserialize)]
struct Step {
    accepted: u64,
    delivered: u64,
    failed: BTreeMap<String, u64>,
    p95_ms: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Listed {
    event: String,
    endpoint: String,
    #[serde(flatten)]
    attempt: Attempt,
}

/// The data of one update.
struct Look {
    at: Instant,
    status: Status,
    endpoints: Vec<Endpoint>,
    hour: Vec<Step>,
    attempts: Vec<Listed>,
}

/// Updates at each interval, `count` times if it is given, until a signal asks it to stop.
pub async fn run(
    client: &Client,
    every: Duration,
    count: Option<u64>,
    json: bool,
) -> Result<(), Failure> {
    let stopped = asked_to_stop()?;
    tokio::select! {
        watched = watch(client, every, count, json) => watched,
        () = stopped => Ok(()),
    }
}

async fn watch(
    client: &Client,
    every: Duration,
    count: Option<u64>,
    json: bool,
) -> Result<(), Failure> {
    let has_screen = !json && io::stdout().is_terminal();
    let (mut before, mut left) = (None, count);
    // An unreachable daemon is reported before the screen is entered.
    let mut answer = client.get("/v1/status").await?;
    let _screen = has_screen.then(Screen::enter).transpose()?;
    loop {
        if json {
            print(&format!("{}\n", String::from_utf8_lossy(&answer)))?;
        } else {
            let status = client.read(&answer)?;
            let look = look(client, status, has_screen).await?;
            let rates = rates(before.as_ref(), &look);
            match has_screen {
                true => print(&framed(&screen(&look, rates, clock::now()), height()))?,
                false => print(&line(&look.status, rates, clock::now()))?,
            }
            before = Some(look);
        }
        left = left.map(|left| left.saturating_sub(1));
        if left == Some(0) {
            return Ok(());
        }
        tokio::time::sleep(every).await;
        answer = client.get("/v1/status").await?;
    }
}

async fn look(client: &Client, status: Status, whole: bool) -> Result<Look, Failure> {
    let mut look = Look {
        at: Instant::now(),
        status,
        endpoints: Vec::new(),
        hour: Vec::new(),
        attempts: Vec::new(),
    };
    if whole {
        let stats: Stats = client.read(&client.get("/v1/stats").await?)?;
        let path = format!("/v1/attempts?limit={ATTEMPTS}");
        let attempts: List<Listed> = client.read(&client.get(&path).await?)?;
        let old = stats.data.len().saturating_sub(60);
        look.endpoints = endpoints::all(client, None).await?;
        look.hour = stats.data.into_iter().skip(old).collect();
        look.attempts = attempts.data;
    }
    Ok(look)
}

/// Since the previous update.
fn rates(before: Option<&Look>, now: &Look) -> Option<Rates> {
    before.map(|before| {
        let span = now.at.saturating_duration_since(before.at);
        Rates::between(&before.status, &now.status, span)
    })
}

/// One line, for output that is not a terminal.
fn line(status: &Status, rates: Option<Rates>, now: Timestamp) -> String {
    let backlog = &status.backlog;
    format!(
        "{}  {} pending, {} held, {} dead, {} in flight  {}\n",
        when::moment(now),
        backlog.pending,
        backlog.held,
        backlog.dead,
        backlog.in_flight,
        overview::rates_told(rates)
    )
}

/// All that fits, with the worst first.
fn screen(look: &Look, rates: Option<Rates>, now: Timestamp) -> String {
    let paint = Paint::for_stdout();
    let mut out = overview::shown(&look.status, rates, &[], paint);
    out += &hour(&look.hour, paint);
    let mut worst: Vec<&Endpoint> = look
        .endpoints
        .iter()
        .filter(|one| trouble(one) > 0)
        .collect();
    worst.sort_by_key(|endpoint| std::cmp::Reverse(trouble(endpoint)));
    worst.truncate(SHOWN);
    if !worst.is_empty() {
        let title = paint.paint(BOLD, "worst endpoints");
        let table = endpoints::table(worst);
        out += &format!("\n{title}\n{}", table.render(paint));
    }
    out + &failures(&look.attempts, now, paint)
}

/// How urgent an endpoint is: disabled endpoints come first.
fn trouble(endpoint: &Endpoint) -> u64 {
    let backlog = &endpoint.backlog;
    let waiting = backlog.dead.saturating_add(backlog.held);
    match endpoint.enabled {
        true => waiting,
        false => waiting.saturating_add(1 << 60),
    }
}

/// The last hour, a bar for each minute.
fn hour(steps: &[Step], paint: Paint) -> String {
    let failed = |step: &Step| step.failed.values().sum::<u64>();
    let mut out = format!("\n{}\n", paint.paint(BOLD, "last hour"));
    let mut row = |name: &str, style, values: Vec<u64>, unit: &str| {
        let most = values.iter().max().copied().unwrap_or(0);
        let name = paint.paint(DIM, &format!("{name:<13}"));
        let bars = paint.paint(style, &bars(&values));
        out.push_str(&format!("{name}{bars}  at most {most}{unit}\n"));
    };
    let of = |value: fn(&Step) -> u64| steps.iter().map(value).collect::<Vec<u64>>();
    row("accepted", PLAIN, of(|step| step.accepted), " a minute");
    row("delivered", GOOD, of(|step| step.delivered), " a minute");
    row(
        "failed",
        BAD,
        steps.iter().map(failed).collect(),
        " a minute",
    );
    row("p95", WARN, of(|step| step.p95_ms.unwrap_or(0)), " ms");
    out
}

/// A bar for each value, by the largest of them.
fn bars(values: &[u64]) -> String {
    let most = values.iter().max().copied().unwrap_or(0);
    let bar = |value: &u64| match (*value, most) {
        (0, _) | (_, 0) => ' ',
        (value, most) => {
            let height = (u128::from(value) * 8).div_ceil(u128::from(most));
            let place = usize::try_from(height).unwrap_or(8).clamp(1, 8) - 1;
            BARS.get(place).copied().unwrap_or(' ')
        }
    };
    values.iter().map(bar).collect()
}

fn failures(attempts: &[Listed], now: Timestamp, paint: Paint) -> String {
    let failed = attempts.iter().filter(|one| one.attempt.error.is_some());
    let failed: Vec<&Listed> = failed.take(SHOWN).collect();
    if failed.is_empty() {
        return String::new();
    }
    let title = format!("last failures, of the last {} attempts", attempts.len());
    let mut out = format!("\n{}\n", paint.paint(BOLD, &title));
    for one in failed {
        let when = when::relative(one.attempt.at, now);
        let what = paint.paint(BAD, &plain(&took(&one.attempt)));
        let (event, endpoint) = (plain(&one.event), plain(&one.endpoint));
        out.push_str(&format!("{when:<9}{event} → {endpoint}  {what}\n"));
    }
    out
}

/// The text as a screen of so many lines.
fn framed(text: &str, height: usize) -> String {
    let lines = text.lines().take(height.saturating_sub(1));
    let lines: String = lines
        .map(|line| format!("{line}{CLEAR_LINE}\r\n"))
        .collect();
    format!("{HOME}{lines}{CLEAR_REST}")
}

fn height() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stdout());
    let rows = size.map_or(0, |size| usize::from(size.ws_row));
    if rows > 0 { rows } else { LINES }
}

/// The alternate screen, until this value is dropped.
struct Screen;

impl Screen {
    fn enter() -> Result<Screen, Failure> {
        // Even if only a part is written, the screen must be left.
        let screen = Screen;
        print(ENTER)?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut out = io::stdout().lock();
        // An error means that the terminal has been closed.
        let _ = out.write_all(LEAVE.as_bytes()).and_then(|()| out.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_high_as_their_values() {
        assert_eq!(bars(&[0, 1, 50, 100]), " ▁▄█");
        assert_eq!(bars(&[u64::MAX, 1]), "█▁");
        assert_eq!((bars(&[]), bars(&[0, 0])), (String::new(), "  ".to_owned()));
    }

    #[test]
    fn the_last_hour_and_failures_are_shown_with_control_characters_escaped() {
        let paint = Paint { colour: false };
        let step = r#"{"accepted":4,"delivered":3,"failed":{"dns":1,"status":1},"p95_ms":40}"#;
        let steps: Vec<Step> = vec![serde_json::from_str(step).unwrap()];
        assert_eq!(
            hour(&steps, paint),
            "\nlast hour\naccepted     █  at most 4 a minute\ndelivered    █  at most 3 a minute\n\
             failed       █  at most 2 a minute\np95          █  at most 40 ms\n"
        );
        let attempt = |error: &str| {
            let text = format!(
                r#"{{"event":"evt_1","endpoint":"e\u001b","at":"2026-01-01T00:00:00Z","duration_ms":41,
                "status":503,"error":{error},"response_body":"","address":null}}"#
            );
            serde_json::from_str::<Listed>(&text).unwrap()
        };
        let now: Timestamp = "2026-01-01T00:00:03Z".parse().unwrap();
        let failed = attempt(r#"{"kind":"status","detail":"answered 503"}"#);
        assert_eq!(
            failures(&[attempt("null"), failed], now, paint),
            "\nlast failures, of the last 2 attempts\n\
             3s ago   evt_1 → e\\u{1b}  503 in 41ms: status: answered 503\n"
        );
        assert_eq!(failures(&[attempt("null")], now, paint), "");
    }

    #[test]
    fn a_frame_is_no_longer_than_the_screen() {
        let frame = framed("a\nb\nc\n", 3);
        assert_eq!(frame, "\x1b[Ha\x1b[K\r\nb\x1b[K\r\n\x1b[J");
    }
}
