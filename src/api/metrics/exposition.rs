//! Families of metrics, as they are written.

use std::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;

use crate::domain::histogram::HistogramView;

/// One label and its value.
pub(super) type Label<'a> = [(&'a str, &'a str); 1];

/// Takes families, one after the other.
pub(super) struct Exposition<'a>(pub DescriptorEncoder<'a>);

impl Exposition<'_> {
    /// A counter. Its name ends in `_total`.
    pub fn counter(
        &mut self,
        name: &str,
        help: &str,
        value: impl EncodeCounterValue,
    ) -> fmt::Result {
        let mut family = self.family(name, help, MetricType::Counter)?;
        family.encode_counter::<NoLabelSet, _, f64>(&value, None)
    }

    pub fn gauge(&mut self, name: &str, help: &str, value: impl EncodeGaugeValue) -> fmt::Result {
        self.family(name, help, MetricType::Gauge)?
            .encode_gauge(&value)
    }

    /// A counter for each value of `label`.
    pub fn counters<'v>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        samples: impl IntoIterator<Item = (&'v str, u64)>,
    ) -> fmt::Result {
        let mut family = self.family(name, help, MetricType::Counter)?;
        for (value, count) in samples {
            family
                .encode_family(&[(label, value)])?
                .encode_counter::<NoLabelSet, _, f64>(&count, None)?;
        }
        Ok(())
    }

    /// A gauge for each value of `label`.
    pub fn gauges<'v, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        samples: impl IntoIterator<Item = (&'v str, V)>,
    ) -> fmt::Result {
        let mut family = self.family(name, help, MetricType::Gauge)?;
        for (value, number) in samples {
            let labels: Label<'_> = [(label, value)];
            family.encode_family(&labels)?.encode_gauge(&number)?;
        }
        Ok(())
    }

    pub fn histogram(&mut self, name: &str, help: &str, view: &HistogramView) -> fmt::Result {
        let mut family = self.family(name, help, MetricType::Histogram)?;
        write(&mut family, view)
    }

    /// A histogram for each value of `label`.
    pub fn histograms<'v>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        samples: impl IntoIterator<Item = (&'v str, &'v HistogramView)>,
    ) -> fmt::Result {
        let mut family = self.family(name, help, MetricType::Histogram)?;
        for (value, view) in samples {
            let labels: Label<'_> = [(label, value)];
            write(&mut family.encode_family(&labels)?, view)?;
        }
        Ok(())
    }

    /// Begins a family, for samples of another shape.
    pub fn family<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        kind: MetricType,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        // The encoder adds it to the names of counters.
        let stem = match kind {
            MetricType::Counter => name.strip_suffix("_total").unwrap_or(name),
            _ => name,
        };
        self.0.encode_descriptor(stem, help, None, kind)
    }
}

fn write(metric: &mut MetricEncoder<'_>, view: &HistogramView) -> fmt::Result {
    metric.encode_histogram::<NoLabelSet>(view.sum, view.count, &view.buckets, None)
}
