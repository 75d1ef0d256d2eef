//! The state of the daemon, and the configuration in effect.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::state::Operator;
use crate::app::Status;
use crate::clock;
use crate::domain::time::Timestamp;
use crate::domain::when;
use crate::outbox::RecoveryKind;
use crate::ui::base::failed::Failed;
use crate::ui::base::shell::{Shell, html};
use crate::ui::base::visit::Visit;
use crate::ui::pages::page::shell;
use crate::ui::views::badge::Badge;
use crate::ui::views::moment::Moment;

/// How much of the configuration is shown, in bytes. Thousands of endpoints would make a page of
/// megabytes.
const MOST_CONFIG: usize = 64 * 1024;

#[derive(Template)]
#[template(path = "status.html")]
struct Page {
    shell: Shell,
    facts: Vec<(&'static str, String)>,
    backup: Option<Backup>,
    expiring: Vec<(String, Moment)>,
    config: String,
    /// Only its beginning is shown.
    is_cut: bool,
}

struct Backup {
    badge: Badge,
    generation: String,
    last: Option<Moment>,
}

/// `GET /ui/status`
pub async fn show(State(operator): State<Arc<Operator>>, visit: Visit) -> Result<Response, Failed> {
    let now = clock::now();
    let status = operator.app().monitor.status().await?;
    let expiring = status.expiring.iter();
    let config = operator.config.load();
    let shown = beginning(&config, MOST_CONFIG);
    let page = Page {
        shell: shell(&visit, "/status", "Status"),
        facts: facts(&status),
        backup: backup(&status, now),
        expiring: expiring
            .map(|(id, at)| (id.to_string(), Moment::new(*at, now)))
            .collect(),
        config: shown.to_owned(),
        is_cut: shown.len() < config.len(),
    };
    html(&page)
}

/// Whole lines of a text, at most so many bytes.
fn beginning(text: &str, most: usize) -> &str {
    let Some(fitting) = text.as_bytes().get(..most) else {
        return text;
    };
    let end = fitting.iter().rposition(|byte| *byte == b'\n');
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

fn facts(status: &Status) -> Vec<(&'static str, String)> {
    let outbox = &status.outbox;
    let dispatched = &status.dispatched;
    let recovery = match outbox.recovery {
        RecoveryKind::Created => "a new store was made",
        RecoveryKind::Clean => "after a clean stop: nothing had to be recovered",
        RecoveryKind::Replayed => "the log was replayed after a crash or kill",
        RecoveryKind::Rebuilt => "the index was built anew from the log",
        RecoveryKind::Restored => "from a backup; what was delivered after its end goes out again",
    };
    let failed: u64 = dispatched.attempts_failed.iter().sum();
    vec![
        ("Version", status.version.to_owned()),
        ("Up for", when::span(status.uptime)),
        (
            "Last start",
            format!("{recovery} ({})", when::span(outbox.recovery_took)),
        ),
        (
            "Endpoints",
            format!(
                "{}, of which {} disabled, {} with an open breaker",
                outbox.endpoints, outbox.endpoints_disabled, dispatched.breakers_open
            ),
        ),
        ("Attempts under way", dispatched.in_flight.to_string()),
        (
            "Since the start",
            format!(
                "{} events accepted, {} attempts delivered, {failed} failed",
                status.ingested.accepted, dispatched.attempts_delivered
            ),
        ),
        ("Log", when::bytes(outbox.log_bytes)),
        ("Index", when::bytes(outbox.index_bytes)),
        ("Free on the disk", when::bytes(outbox.free_bytes)),
        ("Damaged records", outbox.damaged_records.to_string()),
    ]
}

fn backup(status: &Status, now: Timestamp) -> Option<Backup> {
    let shipping = status.shipping.as_ref()?;
    let behind = when::span(shipping.behind);
    Some(Backup {
        badge: match &shipping.error {
            Some(error) => Badge::bad(format!("{error}; {behind} behind")),
            None => Badge::good(format!("{behind} behind")),
        },
        generation: shipping.generation.clone(),
        last: shipping.last_shipped_at.map(|at| Moment::new(at, now)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_configuration_is_cut_between_lines() {
        assert_eq!(beginning("a = 1\nb = 2\n", 100), "a = 1\nb = 2\n");
        assert_eq!(beginning("a = 1\nb = 2\n", 11), "a = 1");
        assert_eq!(beginning("a = \"ää\"\nb = 2\n", 6), "");
        assert_eq!(beginning("é\né\n", 4), "é");
    }
}
