//! `cargo xtask test`: what CI runs.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::ValueEnum;

use crate::prepare::Beside;
use crate::run::{cargo, in_ci, run_within, say};
use crate::{chart, check, cluster, fuzz, schemathesis, test_binary, tools};

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

/// A run of all Rust tests that takes longer hangs somewhere.
const RUST_LIMIT: Duration = Duration::from_mins(40);

/// Tests that run at a time for each core: most of them wait, for servers, for leases to end, for nothing to happen.
const TESTS_PER_CORE: usize = 3;

/// What a part counted.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Count {
    /// Tests that passed.
    pub(crate) passed: u64,
    /// Tests that failed.
    pub(crate) failed: u64,
}

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
    for part in parts {
        let started = Instant::now();
        let count = match part {
            Part::Check => checks(),
            Part::Rust => rust(parts.contains(&Part::Fuzz)),
            Part::Schemathesis => one(
                "schemathesis",
                schemathesis::run(&schemathesis::Args::default()),
            ),
            Part::Chart => one("chart", chart::run(&chart::Args::default())),
            Part::Cluster => one("cluster", cluster::run_test(&cluster::TestArgs::default())),
            Part::Fuzz => fuzz::count(args.fuzz_seconds),
        };
        total.passed += count.passed;
        total.failed += count.failed;
        let seconds = started.elapsed().as_secs();
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

/// Counts a part that either passes or fails, and says why it failed.
pub(crate) fn one(name: &str, result: anyhow::Result<()>) -> Count {
    match result {
        Ok(()) => Count {
            passed: 1,
            failed: 0,
        },
        Err(error) => {
            say(format_args!("failed: {name}: {error:#}"));
            Count {
                passed: 0,
                failed: 1,
            }
        }
    }
}

fn checks() -> Count {
    let results = check::run_all();
    let failed = results.iter().filter(|(_, result)| result.is_err()).count() as u64;
    Count {
        passed: results.len() as u64 - failed,
        failed,
    }
}

/// What other parts need is built meanwhile when there is `more` to come: these tests wait more than they work.
fn rust(more: bool) -> Count {
    if let Err(error) = tools::browser() {
        if in_ci() {
            return one("browser", Err(error));
        }
        say(format_args!("browser tests will be skipped: {error:#}"));
    }
    let servers = || {
        tools::postgres()?;
        tools::redis()?;
        anyhow::Ok((tools::versitygw()?, tools::kubernetes()?))
    };
    let (versitygw, kubernetes) = match servers() {
        Ok(programs) => programs,
        Err(error) => return one("servers", Err(error)),
    };
    let mut count = Count::default();
    let mut tests = cargo([
        "test",
        "--workspace",
        "--locked",
        "--no-fail-fast",
        "--quiet",
    ]);
    tests
        .env("FILEJOBS_VERSITYGW", versitygw)
        .env("KUBEBUILDER_ASSETS", kubernetes);
    if std::env::var_os("RUST_TEST_THREADS").is_none() {
        match test_binary::as_runner() {
            Ok(setting) => tests.args(["--config", &setting]),
            Err(error) => return one("rust", Err(error)),
        };
        let threads = tests_at_a_time(TESTS_PER_CORE);
        tests.env("RUST_TEST_THREADS", threads.to_string());
    }
    let beside = more.then(Beside::start).transpose();
    let result = run_within(&mut tests, RUST_LIMIT, |line| {
        if let Some((passed, failed)) = parse_result(line) {
            count.passed += passed;
            count.failed += failed;
        }
    });
    // A test binary that dies prints no result of its own.
    if let Err(error) = result {
        say(format_args!("failed: rust: {error:#}"));
        count.failed = count.failed.max(1);
    }
    // Whoever needs it says once more what is missing, and fails.
    if let Err(error) = beside.and_then(|beside| beside.map_or(Ok(()), Beside::end)) {
        say(format_args!("not built yet: {error:#}"));
    }
    count
}

/// Tests of one binary at a time on this machine.
pub(crate) fn tests_at_a_time(per_core: usize) -> usize {
    thread::available_parallelism().map_or(1, usize::from) * per_core
}

/// Reads `test result: ok. 12 passed; 0 failed; …`.
fn parse_result(line: &str) -> Option<(u64, u64)> {
    let rest = line.strip_prefix("test result: ")?;
    let number_before = |word: &str| -> Option<u64> {
        let before = rest.split(&format!(" {word}")).next()?;
        before.rsplit(' ').next()?.parse().ok()
    };
    Some((number_before("passed")?, number_before("failed")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_line_of_a_test_binary_is_counted() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.2s";
        assert_eq!(parse_result(line), Some((12, 3)));
        assert_eq!(parse_result("running 3 tests"), None);
    }
}
