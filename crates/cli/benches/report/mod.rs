//! What the benchmarks of the service share: cases by name, each with the rows of the table in `docs/benchmarks.md`
//! that it prints.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use filejobs_cli::sample::Sample;
use filejobs_testkit::http::Upload;
use tokio::runtime::Runtime;

/// What a case measures, at its own size or at the one it is given.
pub(crate) type Run = fn(&Runtime, Option<u64>) -> anyhow::Result<Vec<Row>>;

/// A row of the table.
pub(crate) struct Row {
    pub(crate) case: String,
    pub(crate) goal: String,
    pub(crate) measured: String,
    pub(crate) met: bool,
}

/// Runs the cases that the arguments name, all when there are none, and prints their rows. `NAME=SIZE` runs a case at
/// another size than that of its goal.
pub(crate) fn run(cases: &[(&str, Run)]) -> anyhow::Result<()> {
    // cargo adds `--bench` to whatever it is given.
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with("--"))
        .collect();
    let wanted = wanted
        .iter()
        .map(|argument| {
            let (name, size) = argument.split_once('=').unwrap_or((argument, ""));
            anyhow::ensure!(
                cases.iter().any(|(case, _)| *case == name),
                "no case is called `{name}`"
            );
            let size = (!size.is_empty()).then(|| size.parse()).transpose();
            Ok((name, size.with_context(|| format!("`{argument}`"))?))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "| case | goal | measured | |\n|---|---|---|---|")?;
    for (name, run) in cases {
        let size = match wanted.iter().find(|(case, _)| case == name) {
            Some((_, size)) => *size,
            None if wanted.is_empty() => None,
            None => continue,
        };
        for row in run(&runtime, size).with_context(|| format!("case `{name}`"))? {
            let verdict = if row.met { "met" } else { "missed" };
            let Row {
                case,
                goal,
                measured,
                ..
            } = row;
            writeln!(out, "| {case} | {goal} | {measured} | {verdict} |")?;
            out.flush()?;
        }
    }
    Ok(())
}

/// A row that is met by a time that is no longer than its goal.
pub(crate) fn at_most(case: impl Into<String>, goal: Duration, measured: Duration) -> Row {
    Row {
        case: case.into(),
        goal: format!("≤ {} ms", goal.as_millis()),
        measured: format!("{:.1} ms", measured.as_secs_f64() * 1e3),
        met: measured <= goal,
    }
}

/// A row that is met by times of which 99 in a hundred are no longer than its goal. The median beside it tells whether
/// the service is slow or the machine was busy.
pub(crate) fn p99(case: impl Into<String>, goal: Duration, times: &mut [Duration]) -> Row {
    let row = at_most(case, goal, percentile(times, 99));
    let median = percentile(times, 50).as_secs_f64() * 1e3;
    Row {
        measured: format!("{} (median {median:.1} ms)", row.measured),
        ..row
    }
}

/// A row that is met by a memory that is no more than its goal.
pub(crate) fn memory(case: impl Into<String>, goal_mib: u64, bytes: u64) -> Row {
    Row {
        case: case.into(),
        goal: format!("≤ {goal_mib} MiB"),
        measured: format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
        met: bytes <= goal_mib << 20,
    }
}

/// The time within which so many percent of them are; zero for none at all.
pub(crate) fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    let at = times.len() * percent / 100;
    times
        .get(at.min(times.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}

/// A made-up file with its schema.
pub(crate) fn sample(rows: u64, bad: f64) -> anyhow::Result<Upload> {
    let sample = Sample {
        rows,
        bad,
        ..Sample::default()
    };
    let mut bytes = Vec::new();
    sample.write(&mut bytes)?;
    Ok(Upload::new("sample.csv", bytes).field("schema", Sample::schema()))
}
