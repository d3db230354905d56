//! The `filejobs` binary; everything it does is in the library.

use std::process::ExitCode;

use filejobs_cli::{Cli, run_as_engine};

fn main() -> ExitCode {
    if let Some(exit) = run_as_engine() {
        return exit;
    }
    let cli = Cli::of_this_process();
    cli.init_telemetry();
    cli.run()
}
