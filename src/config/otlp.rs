//! `[otlp]`: traces to a collector.

use std::time::Duration;

use super::Otlp;
use super::endpoints::read_headers;
use super::policy::MAX_TIMEOUT;
use super::reader::{Flaw, Section, Value};
use super::request::{BadUrl, parse_url};
use super::values::{duration, unless_empty};

/// Reads the table. Every build knows its keys, so that one file does for all; an endpoint is a
/// fault where nothing could be exported.
pub(super) fn read_otlp(mut otlp: Section<'_>) -> Otlp {
    let base = Otlp::default();
    let endpoint = otlp.take("endpoint", unless_empty(collector)).flatten();
    if !cfg!(feature = "otlp") && endpoint.is_some() {
        let fix = "use a build with the cargo feature otlp (cargo build --release --features otlp), \
                   or leave out the key";
        let problem = "this build of outboxd cannot export traces";
        otlp.fault("endpoint", &Flaw::new(problem, fix));
    }
    let read = Otlp {
        endpoint,
        headers: read_headers(&mut otlp),
        timeout: otlp
            .take("timeout", duration(Duration::from_millis(1)..=MAX_TIMEOUT))
            .unwrap_or(base.timeout),
        sample_ratio: otlp
            .take("sample_ratio", ratio)
            .unwrap_or(base.sample_ratio),
    };
    otlp.finish();
    read
}

/// The address of a collector, as it is written, without slashes at its end. No address is out of
/// bounds: it is the operator's.
fn collector(value: &Value<'_>) -> Result<String, Flaw> {
    let text = value.text()?;
    let example = "write one such as \"http://127.0.0.1:4318\"";
    let url = parse_url(text).map_err(|bad| {
        let fix = match bad {
            BadUrl::Syntax | BadUrl::Length => example,
            BadUrl::UserInfo => "take it out; credentials go into otlp.headers",
            _ => bad.fix(),
        };
        Flaw::new(bad.to_string(), fix)
    })?;
    if url.query().is_some() {
        let fix = "remove everything from ? on; credentials go into otlp.headers";
        return Err(Flaw::new("the URL has a query", fix));
    }
    let base = text.trim_end_matches('/');
    if base.ends_with("/v1/traces") {
        let fix = "remove /v1/traces: outboxd adds it";
        return Err(Flaw::new("the URL ends with /v1/traces", fix));
    }
    Ok(base.to_owned())
}

fn ratio(value: &Value<'_>) -> Result<f64, Flaw> {
    let ratio = value.decimal()?;
    if (0.0..=1.0).contains(&ratio) {
        return Ok(ratio);
    }
    let problem = format!("{ratio:?} is not from 0 to 1");
    Err(Flaw::new(
        problem,
        "write such as 1.0 for all, or 0.1 for every tenth event",
    ))
}
