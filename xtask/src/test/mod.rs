//! `cargo xtask test`: what CI runs.

pub(crate) mod binary;
mod rust;

use std::time::{Duration, Instant};

use anyhow::bail;
use clap::ValueEnum;

use crate::beside::Beside;
use crate::run::say;
use crate::{chart, check, cluster, fuzz, schemathesis};

/// Which parts to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The parts; all of them when none is named.
    parts: Vec<Part>,
    /// Seconds for each fuzz target.
    #[arg(long, default_value_t = 60)]
    fuzz_seconds: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Format, lints, house rules, generated files, licences.
    Check,
    /// Unit, property, service and browser tests of every crate.
    Rust,
    /// Generated requests against the running service.
    Schemathesis,
    /// The Helm chart: rendered, against schemas and admission of a real API server.
    Chart,
    /// The chart on a whole cluster.
    Cluster,
    /// The fuzz targets.
    Fuzz,
}

/// All fuzz targets for a minute each take four.
const FUZZ_LIMIT: Duration = Duration::from_mins(30);

/// What a part counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count {
    /// Tests that passed.
    pub(crate) passed: u64,
    /// Tests that failed.
    pub(crate) failed: u64,
}

impl Count {
    /// Of one that either passed or failed.
    const fn of(passed: bool) -> Self {
        Self {
            passed: passed as u64,
            failed: !passed as u64,
        }
    }

    /// The same; says why it failed.
    pub(crate) fn one(name: &str, result: &anyhow::Result<()>) -> Self {
        if let Err(error) = result {
            say(format_args!("failed: {name}: {error:#}"));
        }
        Self::of(result.is_ok())
    }

    /// Reads the line that a run ends with: `12 passed, 3 failed`.
    fn read(line: &str) -> Option<Self> {
        let (passed, failed) = line.split_once(" passed, ")?;
        Some(Self {
            passed: passed.parse().ok()?,
            failed: failed.strip_suffix(" failed")?.parse().ok()?,
        })
    }
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// A part's count and seconds.
type Outcome = (Count, u64);

/// Runs the parts, all of them even when one fails, and ends with one line of counts.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let all = Part::value_variants();
    let parts: &[Part] = if args.parts.is_empty() {
        all
    } else {
        &args.parts
    };
    let mut total = Count::default();
    let mut lines = Vec::new();
    let mut fuzzing = None;
    for (place, part) in parts.iter().enumerate() {
        let fuzz_later = parts[place + 1..].contains(&Part::Fuzz);
        if fuzzing.is_none() && fuzz_later && part.mostly_waits() {
            fuzzing = Some(Fuzzing::start(args.fuzz_seconds));
        }
        let (count, seconds) = match (part, fuzzing.take_if(|_| *part == Part::Fuzz)) {
            (_, Some(fuzzing)) => fuzzing.end(),
            (part, None) => timed(|| part.run(fuzz_later, args)),
        };
        total += count;
        let name = format!("{part:?}").to_lowercase();
        lines.push(format!(
            "{name:<13} {:>4} passed {:>3} failed {seconds:>5} s",
            count.passed, count.failed
        ));
    }
    for line in lines {
        say(line);
    }
    eprintln!("{} passed, {} failed", total.passed, total.failed);
    if total.failed > 0 {
        bail!("{} failed", total.failed);
    }
    Ok(())
}

fn timed(part: impl FnOnce() -> Count) -> Outcome {
    let started = Instant::now();
    let count = part();
    (count, started.elapsed().as_secs())
}

impl Part {
    /// What is built for fuzzing is built on the way when `fuzz_later`.
    fn run(self, fuzz_later: bool, args: &Args) -> Count {
        match self {
            Self::Check => checks(),
            Self::Rust => rust::run(fuzz_later),
            Self::Schemathesis => Count::one(
                "schemathesis",
                &schemathesis::run(&schemathesis::Args::default()),
            ),
            Self::Chart => Count::one("chart", &chart::run(&chart::Args::default())),
            Self::Cluster => {
                Count::one("cluster", &cluster::run_test(&cluster::TestArgs::default()))
            }
            Self::Fuzz => fuzz::count(args.fuzz_seconds),
        }
    }

    /// Waits for servers more than it works, and has its programs built by what came before.
    fn mostly_waits(self) -> bool {
        matches!(self, Self::Schemathesis | Self::Chart | Self::Cluster)
    }
}

/// The fuzz targets beside parts that leave most of the machine to them.
struct Fuzzing {
    started: Instant,
    run: anyhow::Result<Beside>,
}

impl Fuzzing {
    fn start(seconds: u32) -> Self {
        let seconds = seconds.to_string();
        let arguments = ["test", "fuzz", "--fuzz-seconds", &seconds];
        Self {
            started: Instant::now(),
            run: Beside::start(&arguments, FUZZ_LIMIT),
        }
    }

    fn end(self) -> Outcome {
        let count = match self.run.map(Beside::end) {
            Ok(ended) => {
                eprint!("{}", ended.said);
                let counted = ended.said.lines().rev().find_map(Count::read);
                counted.unwrap_or_else(|| Count::one("fuzz", &ended.result))
            }
            Err(error) => Count::one("fuzz", &Err(error)),
        };
        (count, self.started.elapsed().as_secs())
    }
}

fn checks() -> Count {
    let mut count = Count::default();
    for (_, result) in check::run_all() {
        // The check has said itself what is wrong.
        count += Count::of(result.is_ok());
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_a_run_is_counted() {
        let count = Count {
            passed: 12,
            failed: 3,
        };
        assert_eq!(Count::read("12 passed, 3 failed"), Some(count));
        assert_eq!(Count::read("xtask: fuzz 12 passed 3 failed 7 s"), None);
    }
}
