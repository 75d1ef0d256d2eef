//! `GET /metrics`: the Prometheus text format, version 0.0.4.
//!
//! The values are gathered when they are asked for, and written by a registry. Every collector of
//! Prometheus metrics takes this format, so no content negotiation is needed.

mod counts;
mod durations;
mod endpoints;
mod exposition;
mod process;

use std::fmt;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text};
use prometheus_client::registry::Registry;

use self::exposition::Exposition;
use super::Api;
use super::problem::Problem;
use crate::app::{EndpointFigures, Figures, Status};

pub async fn metrics(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    let app = &api.app;
    let gathered = Gathered {
        status: app.monitor.status().await?,
        figures: app.monitor.figures().await?,
        calls: app.sources.outcomes(),
        endpoints: app.troubled.endpoints().await?,
    };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(gathered));
    let mut text = String::with_capacity(32 * 1024);
    Ok(match prometheus_text::encode(&mut text, &registry) {
        Ok(()) => (
            [(header::CONTENT_TYPE, prometheus_text::CONTENT_TYPE)],
            text,
        )
            .into_response(),
        // Writing to a String does not fail, and all values here can be written.
        Err(fmt::Error) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    })
}

/// The values of all metrics at one moment.
#[derive(Debug)]
struct Gathered {
    status: Status,
    figures: Figures,
    /// Calls of sources, by result.
    calls: Vec<(&'static str, u64)>,
    endpoints: Vec<EndpointFigures>,
}

impl Collector for Gathered {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Exposition(encoder);
        counts::write(&mut out, &self.status, &self.figures, &self.calls)?;
        durations::write(&mut out, &self.status)?;
        process::write(&mut out, &self.status, &self.figures)?;
        endpoints::write(&mut out, &self.endpoints)
    }
}
