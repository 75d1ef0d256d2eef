//! Traces to an OpenTelemetry collector, over OTLP/HTTP: a span for each event that was accepted
//! and one for each attempt. Compiled with the cargo feature `otlp` only.
//!
//! The exporter is a listener of the tail ([`Tail::listen_to_the_end`]) on a thread of its own, so it
//! can neither hold up what it reports on nor grow: what it does not read in time is overwritten,
//! and counted. opentelemetry-otlp makes the requests. The processors of the SDK are not used: their
//! threads block, and they report dropped spans only to the log of the SDK.

mod export;
mod span;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use http::HeaderValue;
use opentelemetry::KeyValue;
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, SpanExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanExporter as _;
use reqwest::redirect::Policy;
use tokio::sync::oneshot;

use crate::config::Otlp;
use crate::dispatch::Tail;
use crate::transport::tls::{TlsFault, client_config};

/// How long the last spans may take, after all else has ended.
const LAST_SPANS: Duration = Duration::from_secs(3);

/// The exporter cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    #[error("the trusted roots for the collector: {0}")]
    Tls(#[from] TlsFault),
    #[error("the client for the collector: {0}")]
    Client(#[from] reqwest::Error),
    #[error("the exporter of traces: {0}")]
    Exporter(#[from] ExporterBuildError),
    #[error("the thread that exports traces: {0}")]
    Thread(#[from] io::Error),
}

/// The exporter of traces, while it runs.
pub struct Traces {
    tail: Tail,
    /// Closed when the thread has ended; `None` without an endpoint.
    ended: Option<oneshot::Receiver<()>>,
}

impl Traces {
    /// Starts the exporter, if the configuration has an endpoint for it. Reads the system's roots.
    ///
    /// # Errors
    /// When there can be no further thread, or no client for the collector.
    pub fn start(otlp: &Otlp, tail: Tail) -> Result<Traces, OtlpError> {
        let Some(endpoint) = otlp.endpoint.as_deref() else {
            return Ok(Traces { tail, ended: None });
        };
        let exporter = exporter(endpoint, otlp)?;
        let listener = tail.listen_to_the_end();
        let spans = span::Spans::new(otlp.sample_ratio);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (ending, ended) = oneshot::channel();
        thread::Builder::new()
            .name("otlp".to_owned())
            .spawn(move || {
                let exporting = || runtime.block_on(export::run(listener, spans, &exporter));
                if catch_unwind(AssertUnwindSafe(exporting)).is_err() {
                    tracing::error!(
                        "the exporter of traces failed; no spans are exported until a restart"
                    );
                }
                drop(ending);
            })?;
        let ended = Some(ended);
        Ok(Traces { tail, ended })
    }

    /// Exports the spans that are left, within `LAST_SPANS`. Called after the last attempt.
    pub async fn finish(self) {
        self.tail.end();
        if let Some(ended) = self.ended
            && tokio::time::timeout(LAST_SPANS, ended).await.is_err()
        {
            tracing::warn!("the last spans were not exported: the collector takes too long");
        }
    }
}

fn exporter(endpoint: &str, otlp: &Otlp) -> Result<SpanExporter, OtlpError> {
    // Neither a redirect nor a proxy of the environment leads spans elsewhere.
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(client_config(None)?)
        .redirect(Policy::none())
        .no_proxy()
        .timeout(otlp.timeout)
        .build()?;
    let headers = otlp.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(HeaderValue::as_bytes(value));
        (name.as_str().to_owned(), value.into_owned())
    });
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{endpoint}/v1/traces"))
        .with_timeout(otlp.timeout)
        .with_headers(headers.collect())
        .build()?;
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource = Resource::builder_empty()
        .with_service_name(env!("CARGO_PKG_NAME"))
        .with_attribute(version);
    exporter.set_resource(&resource.build());
    Ok(exporter)
}
