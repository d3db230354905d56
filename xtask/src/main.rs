//! Developer commands: `cargo xtask --help`.

mod bench;
mod beside;
mod chart;
mod check;
mod cluster;
mod compose;
mod faults;
mod freeze;
mod fuzz;
mod generate;
mod kind;
mod prepare;
mod run;
mod schemathesis;
mod service;
mod test;
mod tidy;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What developers and CI do with this project.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Installs or finds what the tests need and runs all of them.
    Test(test::Args),
    /// Runs one test binary; `test` has cargo call it.
    #[command(hide = true)]
    TestBinary(test::binary::Args),
    /// Builds what tests need beside our own programs; `test` does so by itself.
    Prepare,
    /// Format, lints, house rules, generated files, licences.
    Check,
    /// House rules alone: dependencies between crates, sizes, unfinished code, paths of a machine.
    Tidy,
    /// Writes the committed files that are made from code.
    Generate(generate::Args),
    /// Notes what this release sends to Postgres, for the tests of the next one; to be run when a release is made.
    Freeze,
    /// Measures speed and memory.
    Bench(bench::Args),
    /// Kills everything at random moments while files are handed in: one seed, or many for a while.
    Faults(faults::Args),
    /// Runs each fuzz target for a while, from the committed corpus.
    Fuzz(fuzz::Args),
    /// Sends generated requests to a running service and holds its answers against its OpenAPI document.
    Schemathesis(schemathesis::Args),
    /// Renders the Helm chart and holds it against a real API server's schemas and admission.
    Chart(chart::Args),
    /// A real Kubernetes cluster of one node on this machine, without Docker.
    Cluster(cluster::Args),
    /// The chart on a cluster in Docker, by kind.
    Kind(kind::Args),
}

fn main() -> ExitCode {
    let Err(error) = dispatch(Args::parse().command) else {
        return ExitCode::SUCCESS;
    };
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

fn dispatch(command: Command) -> anyhow::Result<()> {
    // A test binary runs where cargo has started it.
    if !matches!(command, Command::TestBinary(_)) {
        std::env::set_current_dir(run::root())?;
    }
    match command {
        Command::Test(args) => test::run(&args),
        Command::TestBinary(args) => test::binary::run(&args),
        Command::Prepare => prepare::run(),
        Command::Check => check::run_command(),
        Command::Tidy => tidy::run(),
        Command::Generate(args) => generate::run(&args),
        Command::Freeze => freeze::run(),
        Command::Bench(args) => bench::run_benchmark(&args),
        Command::Faults(args) => faults::run_seeds(&args),
        Command::Fuzz(args) => fuzz::run_targets(&args),
        Command::Schemathesis(args) => schemathesis::run(&args),
        Command::Chart(args) => chart::run(&args),
        Command::Cluster(args) => cluster::run(&args),
        Command::Kind(args) => kind::run_kind(&args),
    }
}
