//! The page of all metrics, as `docs/metrics.md` holds it.

use std::fmt::Write as _;

use crate::metric::{Descriptor, Label, Values};
use crate::table::{ALL, OF_THE_PROCESS};

const HEAD: &str = "\
# Metrics

`GET /metrics` on the ops port (9090, `--ops-listen`) of every process, in the Prometheus text format, without a key. \
`filejobs dev` has it with `--ops-listen`, for all of its parts. This page is made of the table in \
`crates/metrics/src/table.rs`, which recordings and HELP texts are made of, too; `cargo xtask generate` writes it.

Every label is a closed set: no job, file, key, namespace or host is ever one. Counters of small sets are there at zero \
from the start. Figures of the whole service (queue, jobs, workers) are told by the one scheduler that leads, and are \
absent while none does; all others are a process' own, to be summed. Nothing is recorded for each row: a task's figures \
are added once, when it is committed.

| metric | kind | unit | labels | by | tells |
|---|---|---|---|---|---|
";

const ALARMS: &str = "\
Alarms on these metrics are in [monitoring/alerts.yaml](../monitoring/alerts.yaml), each with a section in \
[operations.md](operations.md#alarms); a Grafana dashboard is in \
[monitoring/dashboard.json](../monitoring/dashboard.json). The Helm chart brings both.
";

/// The page.
#[must_use]
pub fn markdown() -> String {
    let mut page = HEAD.to_owned();
    for metric in ALL {
        row(&mut page, metric);
    }
    let of_the_process: Vec<_> = OF_THE_PROCESS
        .iter()
        .map(|name| format!("`{name}`"))
        .collect();
    // Writing to a string cannot fail.
    let _ = write!(
        page,
        "\nEvery process also tells what the operating system knows of it, without its child processes: {}.\n\n{ALARMS}",
        of_the_process.join(", ")
    );
    page
}

fn row(page: &mut String, metric: &Descriptor) {
    let labels: Vec<_> = metric.labels.iter().map(label).collect();
    let by: Vec<_> = metric.by.iter().map(|process| process.as_str()).collect();
    let by = if by.len() == 4 {
        "every process".to_owned()
    } else {
        by.join(", ")
    };
    let _ = writeln!(
        page,
        "| `{}` | {} | {} | {} | {by} | {} |",
        metric.name,
        metric.kind.as_str(),
        metric.unit(),
        labels.join("; "),
        metric.help
    );
}

fn label(label: &Label) -> String {
    let values = match label.values {
        Values::These(values) => {
            let shown = values.iter().map(|value| match *value {
                "" => "empty".to_owned(),
                value => format!("`{value}`"),
            });
            shown.collect::<Vec<_>>().join(" ")
        }
        Values::FindingCode => "a finding code of docs/errors".to_owned(),
        Values::FailureCode => "a failure code of docs/errors".to_owned(),
        Values::Of(words) => words.to_owned(),
    };
    format!("`{}`: {values}", label.name)
}
