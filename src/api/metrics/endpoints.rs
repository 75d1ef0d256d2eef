//! Series of single endpoints: the ones with the most trouble (`metrics.per_endpoint`).

use std::fmt;

use prometheus_client::encoding::NoLabelSet;
use prometheus_client::metrics::MetricType;

use super::exposition::Exposition;
use crate::app::EndpointFigures;

const LABEL: &str = "endpoint";

pub(super) fn write(out: &mut Exposition<'_>, endpoints: &[EndpointFigures]) -> fmt::Result {
    if endpoints.is_empty() {
        return Ok(());
    }
    type Number = fn(&EndpointFigures) -> u64;
    let gauges: [(&str, &str, Number); 6] = [
        (
            "outboxd_endpoint_pending",
            "Pending deliveries of the endpoint.",
            |it| it.pending,
        ),
        (
            "outboxd_endpoint_held",
            "Held deliveries of the endpoint.",
            |it| it.held,
        ),
        (
            "outboxd_endpoint_dead",
            "Dead deliveries of the endpoint.",
            |it| it.dead,
        ),
        (
            "outboxd_endpoint_attempts_in_flight",
            "Attempts under way at the endpoint.",
            |it| it.standing.in_flight as u64,
        ),
        (
            "outboxd_endpoint_breaker_open",
            "1 while the endpoint's circuit breaker is open.",
            |it| it.standing.breaker_open.into(),
        ),
        (
            "outboxd_endpoint_disabled",
            "1 while the endpoint is disabled, or missing from the file with deliveries left.",
            |it| it.is_disabled.into(),
        ),
    ];
    for (name, help, number) in gauges {
        let samples = endpoints.iter().map(|it| (it.id.as_str(), number(it)));
        out.gauges(name, help, LABEL, samples)?;
    }
    let age = |it: &EndpointFigures| it.oldest_pending.unwrap_or_default().as_secs_f64();
    out.gauges(
        "outboxd_endpoint_oldest_pending_seconds",
        "Age of the endpoint's oldest pending delivery; 0 without any.",
        LABEL,
        endpoints.iter().map(|it| (it.id.as_str(), age(it))),
    )?;
    let mut attempts = out.family(
        "outboxd_endpoint_attempts_total",
        "Attempts at the endpoint that ended, by result.",
        MetricType::Counter,
    )?;
    for it in endpoints {
        let (delivered, failed) = (it.standing.delivered, it.standing.failed);
        for (result, count) in [("delivered", delivered), ("failed", failed)] {
            let labels = [(LABEL, it.id.as_str()), ("result", result)];
            attempts
                .encode_family(&labels)?
                .encode_counter::<NoLabelSet, _, f64>(&count, None)?;
        }
    }
    Ok(())
}
