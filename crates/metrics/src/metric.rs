//! What a metric is, and how something is recorded under it.

use filejobs_core::{FailureCode, FindingCode};

/// What kind of figure a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while its process lives.
    Counter,
    /// What is now.
    Gauge,
    /// How many of what size.
    Histogram,
}

impl Kind {
    /// The name as Prometheus has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A process that shows metrics. `filejobs dev` shows what api, worker and scheduler do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// `filejobs api`.
    Api,
    /// `filejobs worker`.
    Worker,
    /// `filejobs scheduler`.
    Scheduler,
    /// `filejobs controller`.
    Controller,
}

impl Process {
    /// The command's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Worker => "worker",
            Self::Scheduler => "scheduler",
            Self::Controller => "controller",
        }
    }
}

/// A label and the values that it can have.
#[derive(Debug, Clone, Copy)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// What it can be.
    pub values: Values,
}

/// The closed set of a label's values.
#[derive(Debug, Clone, Copy)]
pub enum Values {
    /// These.
    These(&'static [&'static str]),
    /// A finding code.
    FindingCode,
    /// A failure code.
    FailureCode,
    /// A set that the recording crate owns: what it is, in words.
    Of(&'static str),
}

impl Values {
    /// Every value, where this crate knows them.
    #[must_use]
    pub fn known(self) -> Option<Vec<&'static str>> {
        match self {
            Self::These(values) => Some(values.to_vec()),
            Self::FindingCode => Some(FindingCode::ALL.iter().map(|c| c.as_str()).collect()),
            Self::FailureCode => Some(FailureCode::ALL.iter().map(|c| c.as_str()).collect()),
            Self::Of(_) => None,
        }
    }
}

/// A line of the table.
#[derive(Debug)]
pub struct Descriptor {
    /// The name; its end says the unit.
    pub name: &'static str,
    /// The kind of figure.
    pub kind: Kind,
    /// The labels of each series.
    pub labels: &'static [Label],
    /// What it tells.
    pub help: &'static str,
    /// Which processes have it.
    pub by: &'static [Process],
    /// Upper bounds of a histogram's buckets.
    pub buckets: &'static [f64],
}

impl Descriptor {
    /// The unit, a base unit always; empty for a number of things.
    #[must_use]
    pub fn unit(&self) -> &'static str {
        let name = self.name.trim_end_matches("_total");
        ["seconds", "bytes"]
            .into_iter()
            .find(|unit| name.ends_with(unit))
            .unwrap_or_default()
    }

    /// Names and values of one series' labels.
    fn series(&self, values: &[&'static str]) -> Vec<metrics::Label> {
        debug_assert!(self.takes(values), "{} has no series {values:?}", self.name);
        self.labels
            .iter()
            .zip(values)
            .map(|(label, value)| metrics::Label::from_static_parts(label.name, value))
            .collect()
    }

    fn takes(&self, values: &[&'static str]) -> bool {
        self.labels.iter().zip(values).all(|(label, value)| {
            label
                .values
                .known()
                .is_none_or(|known| known.contains(value))
        })
    }
}

/// A counter with `N` labels.
#[derive(Debug)]
pub struct Counter<const N: usize>(pub(crate) Descriptor);

impl<const N: usize> Counter<N> {
    /// Adds `n` to the series with these label values, in the order of the table.
    pub fn add(&self, values: [&'static str; N], n: u64) {
        metrics::counter!(self.0.name, self.0.series(&values)).increment(n);
    }

    /// Adds one.
    pub fn one(&self, values: [&'static str; N]) {
        self.add(values, 1);
    }
}

/// A gauge with `N` labels.
#[derive(Debug)]
pub struct Gauge<const N: usize>(pub(crate) Descriptor);

impl<const N: usize> Gauge<N> {
    /// Says what is now.
    pub fn set(&self, values: [&'static str; N], now: impl metrics::IntoF64) {
        metrics::gauge!(self.0.name, self.0.series(&values)).set(now);
    }

    /// Its line of the table.
    pub(crate) fn descriptor(&self) -> &Descriptor {
        &self.0
    }
}

/// A histogram with `N` labels.
#[derive(Debug)]
pub struct Histogram<const N: usize>(pub(crate) Descriptor);

impl<const N: usize> Histogram<N> {
    /// Adds one measurement.
    pub fn observe(&self, values: [&'static str; N], measured: impl metrics::IntoF64) {
        metrics::histogram!(self.0.name, self.0.series(&values)).record(measured);
    }
}
