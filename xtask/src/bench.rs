//! Speed and memory; the figures go to `docs/benchmarks.md`.

use clap::ValueEnum;

use crate::run::{cargo, run};

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which benchmark.
    benchmark: Benchmark,
    /// Passed on to the benchmark.
    #[arg(last = true)]
    arguments: Vec<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Benchmark {
    /// Rows a second and peak memory of the engine over made-up files.
    Engine,
    /// A workbook through the engine, against the bare cell reader of the library under it.
    Workbook,
    /// Times of the whole service, from upload to result.
    E2e,
    /// Times and memory of the service as many processes, on Postgres and Redis.
    Distributed,
    /// Times, memory and requests of the controller on a real API server.
    Kubernetes,
    /// Calls of the store on Postgres, when few jobs have ended and when very many have.
    Store,
}

/// The subcommand.
pub(crate) fn run_benchmark(args: &Args) -> anyhow::Result<()> {
    let (package, name) = match args.benchmark {
        Benchmark::Engine => ("filejobs-engine", "engine"),
        Benchmark::Workbook => ("filejobs-engine", "workbook"),
        Benchmark::E2e => ("filejobs-cli", "e2e"),
        Benchmark::Distributed => ("filejobs-cli", "distributed"),
        Benchmark::Kubernetes => ("filejobs-cli", "kubernetes"),
        Benchmark::Store => ("filejobs-store-postgres", "store"),
    };
    let mut command = cargo(["bench", "--locked", "-p", package, "--bench", name, "--"]);
    run(command.args(&args.arguments))
}
