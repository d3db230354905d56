//! Everything that reads the tree instead of running it.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::bail;

use crate::run::{cargo, run, say};
use crate::{compose, generate, tidy, tools};

/// One named check.
type Check = (&'static str, fn() -> anyhow::Result<()>);

/// Quick ones first; every one runs, so that a single round tells all.
const CHECKS: &[Check] = &[
    ("format", format),
    ("tidy", tidy::run),
    // Before anything is built: it touches a source file.
    ("queries", generate::check_queries),
    ("compose file", compose::run_check),
    ("lints", lints),
    ("generated files", generate::check),
    ("dependencies", dependencies),
];

/// Runs all checks.
pub(crate) fn run_all() -> Vec<(&'static str, anyhow::Result<()>)> {
    let checks = CHECKS.iter().map(|(name, check)| {
        say(format_args!("check: {name}"));
        let started = Instant::now();
        let result = check();
        let seconds = started.elapsed().as_secs();
        say(format_args!("check: {name}: {seconds} s"));
        if let Err(error) = &result {
            say(format_args!("check failed: {name}: {error:#}"));
        }
        (*name, result)
    });
    checks.collect()
}

/// The subcommand.
pub(crate) fn run_command() -> anyhow::Result<()> {
    let failed: Vec<_> = run_all()
        .into_iter()
        .filter(|(_, result)| result.is_err())
        .map(|(name, _)| name)
        .collect();
    if failed.is_empty() {
        say("all checks passed");
        return Ok(());
    }
    bail!("failed: {}", failed.join(", "))
}

fn format() -> anyhow::Result<()> {
    run(&mut cargo(["fmt", "--all", "--check"]))?;
    if Path::new("fuzz/Cargo.toml").exists() {
        run(&mut cargo([
            "fmt",
            "--check",
            "--manifest-path",
            "fuzz/Cargo.toml",
        ]))?;
    }
    Ok(())
}

fn lints() -> anyhow::Result<()> {
    run(&mut cargo([
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ]))?;
    let mut docs = cargo(["doc", "--workspace", "--no-deps", "--locked", "--quiet"]);
    run(docs.env("RUSTDOCFLAGS", "-D warnings"))
}

fn dependencies() -> anyhow::Result<()> {
    let mut deny = Command::new(tools::cargo_deny()?);
    // Offline: what is checked is the tree as locked, not the day's news.
    deny.args([
        "--log-level",
        "error",
        "--locked",
        "check",
        "--hide-inclusion-graph",
    ]);
    run(deny.args(["bans", "licenses", "sources"]))
}
