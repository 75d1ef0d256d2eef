//! The exporter of traces, in builds that have it.

use crate::config::Otlp;
use crate::dispatch::Tail;

#[cfg(feature = "otlp")]
pub use crate::otlp::OtlpError as TracesError;

/// Nothing is started, so nothing fails.
#[cfg(not(feature = "otlp"))]
#[derive(Debug, thiserror::Error)]
pub enum TracesError {}

/// What runs for it.
pub(super) struct Traces {
    #[cfg(feature = "otlp")]
    exporter: crate::otlp::Traces,
}

#[cfg(feature = "otlp")]
impl Traces {
    pub fn start(otlp: &Otlp, tail: Tail) -> Result<Traces, TracesError> {
        let exporter = crate::otlp::Traces::start(otlp, tail)?;
        Ok(Traces { exporter })
    }

    /// Sends what is left, within a bound.
    pub async fn finish(self) {
        self.exporter.finish().await;
    }
}

#[cfg(not(feature = "otlp"))]
impl Traces {
    // The configuration has no endpoint here.
    pub fn start(_: &Otlp, _: Tail) -> Result<Traces, TracesError> {
        Ok(Traces {})
    }

    pub async fn finish(self) {}
}
