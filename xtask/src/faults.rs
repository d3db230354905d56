//! The kill test with chosen seeds: to replay one that failed, and to search for longer than CI does.

use std::time::{Duration, Instant};

use anyhow::Context;

use crate::run::{cargo, run, say};
use crate::tools;

/// Which seeds, how many kills each, and for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The seed, or the first of several.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Kills for each seed.
    #[arg(long, default_value_t = 100)]
    kills: u32,
    /// Go on with the next seeds until so many minutes have passed.
    #[arg(long, default_value_t = 0)]
    minutes: u64,
}

/// The test that does what the variables say.
const TEST: &str = "kills::kills_lose_nothing_and_do_nothing_twice";

/// The subcommand. Ends with the first seed that fails; the test's last words name the command that replays it.
pub(crate) fn run_seeds(args: &Args) -> anyhow::Result<()> {
    tools::postgres()?;
    tools::redis()?;
    let until = Instant::now() + Duration::from_secs(args.minutes * 60);
    let mut seed = args.seed;
    loop {
        run_seed(seed, args.kills).with_context(|| format!("seed {seed} failed"))?;
        seed += 1;
        if Instant::now() >= until {
            let seeds = seed - args.seed;
            say(format_args!("{seeds} seeds passed, from {}", args.seed));
            return Ok(());
        }
    }
}

fn run_seed(seed: u64, kills: u32) -> anyhow::Result<()> {
    // As a part of the whole workspace, so that what `cargo xtask test` has built is used.
    let mut test = cargo(["test", "--locked", "--workspace", "--test", "faults"]);
    test.args(["--", "--exact", "--nocapture", TEST])
        .env("FILEJOBS_FAULTS_SEED", seed.to_string())
        .env("FILEJOBS_FAULTS_KILLS", kills.to_string());
    run(&mut test)
}
