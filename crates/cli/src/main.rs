//! The `filejobs` binary; everything it does is in the library.

use std::process::ExitCode;

use filejobs_cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::of_this_process();
    cli.init_telemetry();
    cli.run()
}
