//! Figures as Prometheus reads them, for those that nobody may see a moment longer than they are true.
//!
//! A gauge that is recorded stays until it is recorded again. What the whole service has is told by whoever leads and must
//! vanish when another does: it is written into each answer anew, and is absent where it is not known.

use std::fmt::Write as _;

use crate::metric::Gauge;

/// A text in the exposition format.
#[derive(Debug, Clone, Default)]
pub struct Exposition(String);

impl Exposition {
    /// Adds a gauge with its series.
    pub fn gauge<const N: usize>(
        &mut self,
        gauge: &Gauge<N>,
        series: impl IntoIterator<Item = ([&'static str; N], f64)>,
    ) {
        let metric = gauge.descriptor();
        let (name, help, kind) = (metric.name, metric.help, metric.kind.as_str());
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (values, now) in series {
            let labels: Vec<_> = metric
                .labels
                .iter()
                .zip(values)
                // Values of closed sets: nothing in them has to be escaped.
                .map(|(label, value)| format!("{}=\"{value}\"", label.name))
                .collect();
            let labels = match &*labels.join(",") {
                "" => String::new(),
                labels => format!("{{{labels}}}"),
            };
            let _ = writeln!(self.0, "{name}{labels} {now}");
        }
        self.0.push('\n');
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{QUEUE_OLDEST, QUEUE_TASKS};

    #[test]
    fn gauges_are_written_with_help_type_and_labels() {
        let mut text = Exposition::default();
        text.gauge(&QUEUE_OLDEST, [([], 1.5)]);
        text.gauge(&QUEUE_TASKS, [(["pending"], 3.0), (["running"], 0.0)]);
        let help = |metric: &crate::Descriptor| metric.help;
        let wanted = format!(
            "# HELP filejobs_queue_oldest_age_seconds {}\n\
             # TYPE filejobs_queue_oldest_age_seconds gauge\n\
             filejobs_queue_oldest_age_seconds 1.5\n\n\
             # HELP filejobs_queue_tasks {}\n\
             # TYPE filejobs_queue_tasks gauge\n\
             filejobs_queue_tasks{{state=\"pending\"}} 3\n\
             filejobs_queue_tasks{{state=\"running\"}} 0\n\n",
            help(QUEUE_OLDEST.descriptor()),
            help(QUEUE_TASKS.descriptor())
        );
        assert_eq!(text.as_str(), wanted);
    }
}
