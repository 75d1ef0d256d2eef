//! Sources for a person: as a table, and one whole.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::cli::answers::List;
use crate::cli::filter::more;
use crate::cli::paint::{BAD, BOLD, DIM, GOOD, Paint, plain};
use crate::cli::table::{Cell, Table};
use crate::cli::when;
use crate::domain::time::Timestamp;

#[derive(Debug, Deserialize)]
pub struct Source {
    pub id: String,
    pub tenant: String,
    pub preset: Option<String>,
    pub url: Option<String>,
    pub enabled: bool,
    pub source: String,
    pub counts: Counts,
    pub last_received_at: Option<Timestamp>,
    pub last_handshake_at: Option<Timestamp>,
    #[serde(default)]
    pub recent_rejected: Vec<Rejected>,
    /// Of a rotation.
    pub secret: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct Counts {
    pub accepted: u64,
    pub duplicate: u64,
    pub handshakes: u64,
    pub rejected: BTreeMap<String, u64>,
}

#[derive(Debug, Deserialize)]
pub struct Rejected {
    pub at: Timestamp,
    pub remote: String,
    pub method: String,
    pub reason: String,
    pub detail: String,
}

/// What became of a test.
#[derive(Debug, Deserialize)]
pub struct Tested {
    pub status: u16,
    pub events: Vec<String>,
    pub reason: Option<String>,
    pub detail: Option<String>,
}

pub fn table(list: &List<Source>, paint: Paint) -> String {
    if list.data.is_empty() && list.next.is_none() {
        return "no sources\n".to_owned();
    }
    let head = [
        "SOURCE",
        "TENANT",
        "PRESET",
        "STATE",
        "ACCEPTED",
        "DUPLICATE",
        "REJECTED",
        "URL",
    ];
    let mut table = Table::new(&head);
    for source in &list.data {
        let (style, state) = state(source);
        table.row(vec![
            Cell::styled(BOLD, &source.id),
            Cell::new(&source.tenant),
            Cell::new(source.preset.as_deref().unwrap_or("-")),
            Cell::styled(style, state),
            Cell::number(source.counts.accepted),
            Cell::number(source.counts.duplicate),
            Cell::number(source.counts.rejected.values().sum()),
            Cell::new(source.url.as_deref().unwrap_or("-")),
        ]);
    }
    table.render(paint) + &more(list.next.as_deref(), paint)
}

fn state(source: &Source) -> (anstyle::Style, &'static str) {
    match source.enabled {
        true => (GOOD, "enabled"),
        false => (BAD, "disabled"),
    }
}

pub fn details(source: &Source, now: Timestamp, paint: Paint) -> String {
    let (style, state) = state(source);
    let mut out = format!(
        "{}  {}\n",
        paint.paint(BOLD, &plain(&source.id)),
        paint.paint(style, state)
    );
    let mut fact = |name: &str, text: &str| {
        let name = paint.paint(DIM, &format!("{name:<16}"));
        out.push_str(&format!("{name}{}\n", plain(text)));
    };
    let moment = |at| format!("{} ({})", when::moment(at), when::relative(at, now));
    fact(
        "url",
        source
            .url
            .as_deref()
            .unwrap_or("unknown: set listen.inbound and listen.public_url"),
    );
    fact("preset", source.preset.as_deref().unwrap_or("-"));
    fact("tenant", &source.tenant);
    fact(
        "defined in",
        match source.source.as_str() {
            "toml" => "the configuration file",
            _ => "the API",
        },
    );
    let counts = &source.counts;
    fact("accepted", &counts.accepted.to_string());
    fact("duplicate", &counts.duplicate.to_string());
    fact("handshakes", &counts.handshakes.to_string());
    if let Some(at) = source.last_received_at {
        fact("last received", &moment(at));
    }
    if let Some(at) = source.last_handshake_at {
        fact("last handshake", &moment(at));
    }
    for (reason, count) in &counts.rejected {
        fact("rejected", &format!("{count} {reason}"));
    }
    if !source.recent_rejected.is_empty() {
        out.push_str("\nthe last calls that were refused\n");
    }
    for call in &source.recent_rejected {
        let (at, detail) = (when::relative(call.at, now), &call.detail);
        let line = format!(
            "  {at}  {}  {}  {}: {detail}\n",
            call.remote, call.method, call.reason
        );
        out.push_str(&plain(line.trim_end()));
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_shown_with_what_was_refused() {
        let source: Source = serde_json::from_str(
            r#"{"id":"gh","tenant":"default","preset":"github","url":"https://h.example/in/gh",
            "enabled":true,"source":"api","new":1,
            "counts":{"accepted":3,"duplicate":1,"handshakes":0,"rejected":{"bad_signature":2}},
            "last_received_at":"2026-01-01T00:00:00Z","last_handshake_at":null,
            "recent_rejected":[{"at":"2026-01-01T00:00:30Z","remote":"192.0.2.1","method":"POST",
              "reason":"bad_signature","detail":"no signature matches\u001b","body_bytes":3}]}"#,
        )
        .unwrap();
        let now = "2026-01-01T00:01:00Z".parse().unwrap();
        let text = details(&source, now, Paint { colour: false });
        assert_eq!(
            text,
            "gh  enabled\n\
             url             https://h.example/in/gh\n\
             preset          github\n\
             tenant          default\n\
             defined in      the API\n\
             accepted        3\n\
             duplicate       1\n\
             handshakes      0\n\
             last received   2026-01-01 00:00:00.000Z (1m ago)\n\
             rejected        2 bad_signature\n\n\
             the last calls that were refused\n  \
             30s ago  192.0.2.1  POST  bad_signature: no signature matches\\u{1b}\n"
        );
    }
}
