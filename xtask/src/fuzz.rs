//! Runs the fuzz targets under `fuzz/`.

use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context, bail};

use crate::run::{cargo_of, run, say};
use crate::test::Count;
use crate::tools;

/// Which targets, for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these targets; all of them when none is named.
    targets: Vec<String>,
    /// Seconds for each target.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

/// More memory than this for one input is a finding.
const MEMORY_MIB: u32 = 2048;
/// Longer than this for one input is a finding.
const SECONDS_PER_INPUT: u32 = 20;

/// The subcommand.
pub(crate) fn run_targets(args: &Args) -> anyhow::Result<()> {
    let known = targets()?;
    for wanted in &args.targets {
        if !known.contains(wanted) {
            bail!("no fuzz target `{wanted}`; there are: {}", known.join(", "));
        }
    }
    let chosen = if args.targets.is_empty() {
        known
    } else {
        args.targets.clone()
    };
    let failed: Vec<_> = fuzz(&chosen, args.seconds)?
        .into_iter()
        .filter_map(|(target, result)| result.err().map(|error| format!("{target}: {error:#}")))
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    bail!("{}", failed.join("; "))
}

/// All targets, as a part of the tests.
pub(crate) fn count(seconds: u32) -> Count {
    let results = targets().and_then(|targets| fuzz(&targets, seconds));
    match results {
        Ok(results) => {
            let mut count = Count::default();
            for (target, result) in results {
                count += Count::one(&target, &result);
            }
            count
        }
        Err(error) => Count::one("fuzz", &Err(error)),
    }
}

/// One file under `fuzz/fuzz_targets` for each target.
fn targets() -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in
        std::fs::read_dir("fuzz/fuzz_targets").context("fuzz/fuzz_targets cannot be listed")?
    {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "rs") {
            names.extend(
                path.file_stem()
                    .map(|stem| stem.to_string_lossy().into_owned()),
            );
        }
    }
    names.sort();
    Ok(names)
}

type Results = Vec<(String, anyhow::Result<()>)>;

/// Builds all targets.
pub(crate) fn build() -> anyhow::Result<()> {
    tools::nightly()?;
    run(&mut cargo_fuzz(&tools::cargo_fuzz()?, &["build"])?)
}

fn fuzz(targets: &[String], seconds: u32) -> anyhow::Result<Results> {
    build()?;
    let tool = tools::cargo_fuzz()?;
    // One target keeps one core busy.
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut results = Vec::new();
    for group in targets.chunks(cores) {
        let tool = &tool;
        let done: Results = thread::scope(|scope| {
            let running: Vec<_> = group
                .iter()
                .map(|target| (target, scope.spawn(move || fuzz_one(tool, target, seconds))))
                .collect();
            running
                .into_iter()
                .map(|(target, handle)| {
                    let result = handle.join().unwrap_or_else(|_| bail!("the run panicked"));
                    (target.clone(), result)
                })
                .collect()
        });
        results.extend(done);
    }
    Ok(results)
}

/// Found inputs go to a folder of their own; the committed corpus is only read.
fn fuzz_one(tool: &Path, target: &str, seconds: u32) -> anyhow::Result<()> {
    let found = tempfile::tempdir()?;
    let mut command = cargo_fuzz(tool, &["run", target])?;
    command.arg(found.path());
    let corpus = crate::run::root().join("fuzz/corpus").join(target);
    if corpus.exists() {
        command.arg(corpus);
    } else {
        say(format_args!("fuzz: {target} has no committed corpus"));
    }
    command.arg("--").args([
        format!("-max_total_time={seconds}"),
        format!("-rss_limit_mb={MEMORY_MIB}"),
        format!("-timeout={SECONDS_PER_INPUT}"),
        "-print_final_stats=1".to_owned(),
        "-verbosity=0".to_owned(),
    ]);
    run(&mut command)
}

/// `cargo-fuzz` as cargo would start it, on nightly.
fn cargo_fuzz(tool: &Path, args: &[&str]) -> anyhow::Result<Command> {
    let bin = tool.parent().context("the tool lies in a folder")?;
    let mut command = cargo_of(tools::NIGHTLY, ["fuzz"]);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(
        std::iter::once(bin.to_path_buf()).chain(std::env::split_paths(&path)),
    )?;
    command
        .args(args)
        .env("PATH", path)
        .env("CARGO_TARGET_DIR", tools::target_dir().join("fuzz"));
    Ok(command)
}
