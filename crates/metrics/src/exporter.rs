//! Keeps what is recorded in this process, and shows it to Prometheus.

use std::fmt;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;

use crate::exposition::Exposition;
use crate::metric::{Descriptor, Kind, Process};
use crate::table::{ALL, BUILD_INFO};

/// The media type of [`Exporter::page`].
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Most series that a counter shows before anything was counted: a larger product of labels is mostly of combinations
/// that cannot be.
const AT_ZERO: usize = 64;

/// The place for recordings could not be made.
#[derive(Debug, thiserror::Error)]
#[error("metrics cannot be recorded")]
pub struct Error(#[source] BuildError);

/// What is recorded in this process.
#[derive(Clone)]
pub struct Exporter {
    recorded: PrometheusHandle,
    process: Collector,
    version: &'static str,
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}

impl Exporter {
    /// From here on every recording of the process is kept. An error when that was done before.
    ///
    /// Counters of `processes` are there from the start, at zero: the first thing that happens is an increase, too.
    pub fn install(version: &'static str, processes: &[Process]) -> Result<Self, Error> {
        let mut builder = PrometheusBuilder::new();
        for metric in ALL.iter().filter(|metric| metric.kind == Kind::Histogram) {
            let name = Matcher::Full(metric.name.to_owned());
            builder = builder
                .set_buckets_for_metric(name, metric.buckets)
                .map_err(Error)?;
        }
        let recorded = builder.install_recorder().map_err(Error)?;
        let process = Collector::default();
        process.describe();
        for metric in ALL {
            describe(metric);
            if metric.kind == Kind::Counter && metric.by.iter().any(|by| processes.contains(by)) {
                begin(metric);
            }
        }
        Ok(Self {
            recorded,
            process,
            version,
        })
    }

    /// All metrics, with `more` that is true for this answer only.
    #[must_use]
    pub fn page(&self, more: &Exposition) -> String {
        BUILD_INFO.set([self.version], 1);
        self.process.collect();
        let mut page = self.recorded.render();
        page.push_str(more.as_str());
        page
    }

    /// Sorts measurements into their buckets. To be called every few seconds: until then each takes memory.
    pub fn tidy(&self) {
        self.recorded.run_upkeep();
    }
}

fn describe(metric: &Descriptor) {
    let (name, help) = (metric.name, metric.help);
    match metric.kind {
        Kind::Counter => metrics::describe_counter!(name, help),
        Kind::Gauge => metrics::describe_gauge!(name, help),
        Kind::Histogram => metrics::describe_histogram!(name, help),
    }
}

/// Shows every series of a counter at zero, where they are known and few.
fn begin(metric: &Descriptor) {
    let mut series = vec![Vec::new()];
    for label in metric.labels {
        let Some(values) = label.values.known() else {
            return;
        };
        let longer = series.iter().flat_map(|before| {
            values.iter().map(|value| {
                let pair = metrics::Label::from_static_parts(label.name, value);
                [&before[..], &[pair]].concat()
            })
        });
        series = longer.collect();
    }
    if series.len() <= AT_ZERO {
        for labels in series {
            metrics::counter!(metric.name, labels).absolute(0);
        }
    }
}
