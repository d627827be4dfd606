//! Writes families of metrics. Names come without the prefix `watchkeeper_`, those of counters without `_total`.

use std::fmt;

use prometheus_client::{
    encoding::{
        DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, MetricEncoder,
        NoLabelSet,
    },
    metrics::MetricType,
};

/// See the module.
pub(super) struct Writer<'a>(DescriptorEncoder<'a>);

impl<'a> Writer<'a> {
    pub(super) fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }

    /// A gauge without labels.
    pub(super) fn gauge(
        &mut self,
        name: &str,
        help: &str,
        value: impl EncodeGaugeValue + Copy,
    ) -> fmt::Result {
        self.0
            .encode_descriptor(name, help, None, MetricType::Gauge)?
            .encode_gauge(&value)
    }

    /// A gauge for each set of labels.
    pub(super) fn gauges<L: EncodeLabelSet, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        self.family(
            MetricType::Gauge,
            (name, help),
            samples,
            |mut sample, value| sample.encode_gauge(value),
        )
    }

    /// A counter without labels.
    pub(super) fn counter(
        &mut self,
        name: &str,
        help: &str,
        value: impl EncodeCounterValue + Copy,
    ) -> fmt::Result {
        self.0
            .encode_descriptor(name, help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    /// A counter for each set of labels.
    pub(super) fn counters<L: EncodeLabelSet, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        self.family(
            MetricType::Counter,
            (name, help),
            samples,
            |mut sample, value| sample.encode_counter::<NoLabelSet, _, u64>(value, None),
        )
    }

    fn family<L: EncodeLabelSet, V>(
        &mut self,
        kind: MetricType,
        (name, help): (&str, &str),
        samples: impl IntoIterator<Item = (L, V)>,
        encode: impl Fn(MetricEncoder<'_>, &V) -> fmt::Result,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in samples {
            encode(family.encode_family(&labels)?, &value)?;
        }
        Ok(())
    }

    /// What something is, in labels.
    pub(super) fn info(
        &mut self,
        name: &str,
        help: &str,
        labels: &impl EncodeLabelSet,
    ) -> fmt::Result {
        self.0
            .encode_descriptor(name, help, None, MetricType::Info)?
            .encode_info(labels)
    }

    /// A histogram: the sum of what was observed, and how many observations each class has, with the class's upper bound.
    pub(super) fn histogram(
        &mut self,
        name: &str,
        help: &str,
        sum: f64,
        classes: &[(f64, u64)],
    ) -> fmt::Result {
        let count = classes.iter().map(|(_, count)| count).sum();
        self.0
            .encode_descriptor(name, help, None, MetricType::Histogram)?
            .encode_histogram::<NoLabelSet>(sum, count, classes, None)
    }
}
