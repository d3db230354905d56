//! The `filejobs` binary; everything it does is in the library.

use std::process::ExitCode;

use clap::Parser;
use filejobs_cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli.init_telemetry();
    cli.run()
}
