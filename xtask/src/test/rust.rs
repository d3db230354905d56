//! The tests of every crate.

use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::{Count, binary};
use crate::run::{cargo, in_ci, run_within, say};
use crate::{prepare, tools};

/// Tests of one binary that run at a time for each core: most of them wait, for servers, for leases to end.
const TESTS_PER_CORE: usize = 3;

/// The binary most of whose tests wait a minute in which nothing may happen. It runs beside all others.
const PATIENT: &str = "kubernetes";

/// The same for that binary.
const PATIENT_TESTS_PER_CORE: usize = 9;

/// A run of Rust tests that takes longer hangs somewhere.
const LIMIT: Duration = Duration::from_mins(40);

/// What tests need is built meanwhile for later parts when `prepare_fuzz`: these tests wait more than they work.
pub(super) fn run(prepare_fuzz: bool) -> Count {
    if let Err(error) = tools::browser() {
        if in_ci() {
            return Count::one("browser", &Err(error));
        }
        say(format_args!("browser tests will be skipped: {error:#}"));
    }
    let servers = match Servers::install() {
        Ok(servers) => servers,
        Err(error) => return Count::one("servers", &Err(error)),
    };
    // Both runs below find everything built, and none waits for the other.
    if let Err(error) = tools::filejobs() {
        return Count::one("rust", &Err(error));
    }
    let beside = prepare_fuzz.then(prepare::beside);
    let count = thread::scope(|scope| {
        let patient = scope.spawn(|| patient(&servers));
        let mut count = others(&servers);
        count += patient
            .join()
            .unwrap_or_else(|_| Count::one(PATIENT, &Err(anyhow::anyhow!("its run panicked"))));
        count
    });
    let Some(beside) = beside else { return count };
    let prepared = beside.and_then(|beside| {
        let ended = beside.end();
        ended.result.inspect_err(|_| eprint!("{}", ended.said))
    });
    // Whoever needs it says once more what is missing, and fails.
    if let Err(error) = prepared {
        say(format_args!("not built yet: {error:#}"));
    }
    count
}

/// The servers that tests start and that no package manager has.
struct Servers {
    versitygw: PathBuf,
    kubernetes: PathBuf,
}

impl Servers {
    fn install() -> anyhow::Result<Self> {
        tools::postgres()?;
        tools::redis()?;
        Ok(Self {
            versitygw: tools::versitygw()?,
            kubernetes: tools::kubernetes()?,
        })
    }

    /// `cargo test` with them, so many tests at a time unless the environment says how many.
    fn tests(&self, per_core: usize) -> Command {
        let mut tests = cargo([
            "test",
            "--workspace",
            "--locked",
            "--no-fail-fast",
            "--quiet",
        ]);
        tests
            .env("FILEJOBS_VERSITYGW", &self.versitygw)
            .env("KUBEBUILDER_ASSETS", &self.kubernetes);
        if std::env::var_os(THREADS).is_none() {
            let cores = thread::available_parallelism().map_or(1, usize::from);
            tests.env(THREADS, (cores * per_core).to_string());
        }
        tests
    }
}

/// How many tests of one binary libtest runs at a time.
const THREADS: &str = "RUST_TEST_THREADS";

/// Tells what it printed in one piece: it runs beside the others.
fn patient(servers: &Servers) -> Count {
    let mut tests = servers.tests(PATIENT_TESTS_PER_CORE);
    let mut said = String::new();
    let count = counted(tests.args(["--test", PATIENT]), |line| {
        said.push_str(line);
        said.push('\n');
    });
    eprint!("{said}");
    count
}

fn others(servers: &Servers) -> Count {
    let mut tests = servers.tests(TESTS_PER_CORE);
    match binary::as_runner(PATIENT) {
        Ok(setting) => counted(tests.args(["--config", &setting]), |line| {
            eprintln!("{line}");
        }),
        Err(error) => Count::one("rust", &Err(error)),
    }
}

fn counted(tests: &mut Command, mut say: impl FnMut(&str)) -> Count {
    let mut count = Count::default();
    let result = run_within(tests, LIMIT, |line| {
        say(line);
        count += parse_result(line).unwrap_or_default();
    });
    // A test binary that dies prints no result of its own.
    if count.failed == 0 {
        count += Count {
            passed: 0,
            ..Count::one("rust", &result)
        };
    }
    count
}

/// Reads `test result: ok. 12 passed; 0 failed; …`.
fn parse_result(line: &str) -> Option<Count> {
    let rest = line.strip_prefix("test result: ")?;
    let number_before = |word: &str| -> Option<u64> {
        let before = rest.split(&format!(" {word}")).next()?;
        before.rsplit(' ').next()?.parse().ok()
    };
    Some(Count {
        passed: number_before("passed")?,
        failed: number_before("failed")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_line_of_a_test_binary_is_counted() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.2s";
        let count = Count {
            passed: 12,
            failed: 3,
        };
        assert_eq!(parse_result(line), Some(count));
        assert_eq!(parse_result("running 3 tests"), None);
    }
}
