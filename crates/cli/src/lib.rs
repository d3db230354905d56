//! The `filejobs` binary: the service in one process, the engine on the command line, and the commands that talk to
//! a service.
//!
//! Nothing of this is an interface for other programs: scripts use the commands, their exit codes ([`exit::Exit`])
//! and `--json`.

#![warn(
    clippy::print_stderr,
    reason = "it panics when nobody reads; `terminal::note` does not"
)]

mod args;
mod check;
mod client;
mod config;
mod dev;
pub mod exit;
mod keys;
mod kubectl;
mod options;
mod probe;
mod processes;
mod release;
pub mod sample;
mod services;
mod telemetry;
mod terminal;
mod time;

pub use args::{Cli, run_as_engine};
