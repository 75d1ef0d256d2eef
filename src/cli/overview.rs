//! The screen that `outboxd status` prints.

use std::time::Duration;

use anstyle::Style;

use super::answers::{Endpoint, Shipping, Status};
use super::endpoints;
use super::paint::{BAD, BOLD, DIM, GOOD, PLAIN, Paint, WARN, plain};
use super::when;

/// The screen points out shipping that is further behind.
const SHIPPING_LATE: Duration = Duration::from_secs(10);

/// Per second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    pub accepted: f64,
    pub delivered: f64,
    pub failed: f64,
}

impl Rates {
    pub fn between(before: &Status, after: &Status, span: Duration) -> Self {
        let seconds = span.as_secs_f64().max(0.001);
        let rate = |before: u64, after: u64| after.saturating_sub(before) as f64 / seconds;
        let (before, after) = (&before.totals, &after.totals);
        Rates {
            accepted: rate(before.events_accepted, after.events_accepted),
            delivered: rate(before.attempts_delivered, after.attempts_delivered),
            failed: rate(before.attempts_failed, after.attempts_failed),
        }
    }
}

/// The rates, or dashes where there is only one status to tell them from.
pub fn rates_told(rates: Option<Rates>) -> String {
    let told = |rate: fn(&Rates) -> f64| match &rates {
        Some(rates) => format!("{:.1}/s", rate(rates)),
        None => "-".to_owned(),
    };
    let (accepted, delivered) = (told(|all| all.accepted), told(|all| all.delivered));
    let failed = told(|all| all.failed);
    format!("{accepted} accepted, {delivered} delivered, {failed} failed")
}

pub fn shown(
    status: &Status,
    rates: Option<Rates>,
    endpoints: &[Endpoint],
    paint: Paint,
) -> String {
    let mut out = format!(
        "{}  {}\n\n",
        paint.paint(BOLD, &format!("outboxd {}", plain(&status.version))),
        paint.paint(
            DIM,
            &format!("up {}", when::span(Duration::from_secs(status.uptime_s)))
        ),
    );
    let mut fact = |name: &str, style, text: &str| {
        let name = paint.paint(DIM, &format!("{name:<13}"));
        out.push_str(&format!("{name}{}\n", paint.paint(style, &plain(text))));
    };
    let backlog = &status.backlog;
    let oldest = match status.oldest_pending_s {
        Some(seconds) => format!(" (oldest {})", when::span(Duration::from_secs(seconds))),
        None => String::new(),
    };
    let pending = format!("{} pending{oldest}", backlog.pending);
    fact(
        "backlog",
        PLAIN,
        &format!(
            "{pending}, {} held, {} dead, {} in flight",
            backlog.held, backlog.dead, backlog.in_flight
        ),
    );
    fact("rates", PLAIN, &rates_told(rates));
    let known = &status.endpoints;
    let trouble = known.disabled.saturating_add(known.breaker_open) > 0;
    fact(
        "endpoints",
        if trouble { WARN } else { PLAIN },
        &format!(
            "{}, {} disabled, {} with an open breaker",
            known.total, known.disabled, known.breaker_open
        ),
    );
    for (name, text) in warnings(status) {
        fact(name, WARN, &text);
    }
    let disk = &status.disk;
    fact(
        "disk",
        PLAIN,
        &format!(
            "{} log, {} index, {} free",
            when::bytes(disk.log_bytes),
            when::bytes(disk.index_bytes),
            when::bytes(disk.free_bytes)
        ),
    );
    if let Some(shipping) = &status.backup {
        let (paint, text) = shipped(shipping);
        fact("backup", paint, &text);
    }
    let recovery = &status.recovery;
    fact(
        "recovery",
        PLAIN,
        &format!("{} in {:.1}s", recovery.kind, recovery.seconds),
    );
    match status.damaged_records {
        0 => fact("damage", GOOD, "none"),
        n => fact("damage", BAD, &format!("{n} damaged records; see the log")),
    }
    out + &in_trouble(endpoints, paint)
}

/// How shipping goes, in a line.
fn shipped(shipping: &Shipping) -> (Style, String) {
    let behind = Duration::try_from_secs_f64(shipping.behind_s).unwrap_or_default();
    match (&shipping.error, shipping.last_shipped_at) {
        (Some(error), _) => {
            let text = format!("{} behind: {}", when::span(behind), plain(error));
            (BAD, text)
        }
        (None, _) if behind >= SHIPPING_LATE => (WARN, format!("{} behind", when::span(behind))),
        (None, Some(at)) => (GOOD, format!("all is shipped, last {}", when::moment(at))),
        (None, None) => (PLAIN, "all is shipped".to_owned()),
    }
}

/// What needs attention: a name and a sentence.
fn warnings(status: &Status) -> Vec<(&'static str, String)> {
    let unrendered = status.endpoints.unrendered;
    let unrendered = (unrendered > 0).then(|| {
        let text = format!("{unrendered} with events that cannot be rendered: see explain");
        ("templates", text)
    });
    let certificates = status.expiring_certificates.iter().map(|one| {
        let at = when::moment(one.not_after);
        (
            "certificate",
            format!("that of {} expires {at}", one.endpoint),
        )
    });
    unrendered.into_iter().chain(certificates).collect()
}

fn in_trouble(endpoints: &[Endpoint], paint: Paint) -> String {
    let troubled = endpoints.iter().filter(|endpoint| {
        !endpoint.enabled || endpoint.backlog.dead > 0 || endpoint.backlog.held > 0
    });
    let table = endpoints::table(troubled);
    match table.is_empty() {
        true => String::new(),
        false => format!(
            "\n{}\n{}",
            paint.paint(BOLD, "in trouble"),
            table.render(paint)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        serde_json::from_str(
            r#"{"version":"0.1.0","uptime_s":11520,
            "backlog":{"pending":12,"held":0,"dead":2,"in_flight":4},"oldest_pending_s":3,
            "disk":{"log_bytes":67108864,"index_bytes":1024,"free_bytes":0},
            "endpoints":{"total":5,"disabled":1,"breaker_open":0},"damaged_records":0,
            "recovery":{"kind":"clean","seconds":0.05},
            "totals":{"events_accepted":100,"attempts_delivered":90,"attempts_failed":1}}"#,
        )
        .unwrap()
    }

    #[test]
    fn the_screen_shows_the_status() {
        let mut after = status();
        after.totals.events_accepted = 124;
        let rates = Rates::between(&status(), &after, Duration::from_secs(2));
        assert_eq!(
            shown(&after, Some(rates), &[], Paint { colour: false }),
            "outboxd 0.1.0  up 3h 12m\n\n\
             backlog      12 pending (oldest 3.0s), 0 held, 2 dead, 4 in flight\n\
             rates        12.0/s accepted, 0.0/s delivered, 0.0/s failed\n\
             endpoints    5, 1 disabled, 0 with an open breaker\n\
             disk         64.0 MiB log, 1.0 KiB index, 0 B free\n\
             recovery     clean in 0.1s\n\
             damage       none\n"
        );
    }
}
