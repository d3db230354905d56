//! How a process starts and ends.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{Problems, given};

/// How a process starts and ends.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Start and end")]
pub(crate) struct LifecycleArgs {
    /// How long database, Redis and storage are waited for at the start
    #[arg(
        long,
        env = "FILEJOBS_START_TIMEOUT",
        default_value = "60s",
        value_name = "TIME"
    )]
    start_timeout: String,

    /// How long what is under way may go on after SIGTERM; a task that takes longer is given back without spending an
    /// attempt
    #[arg(
        long,
        env = "FILEJOBS_GRACE",
        default_value = "20s",
        value_name = "TIME"
    )]
    grace: String,

    /// Write addresses and process id into this file, as JSON, once the process does its work
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,

    /// End when standard input does: for programs that start this one
    #[arg(long)]
    until_stdin_closes: bool,
}

/// How a process starts and ends.
#[derive(Debug, Clone)]
pub(crate) struct Lifecycle {
    /// How long back ends are waited for.
    pub(crate) start: Duration,
    /// How long work may go on after the first signal.
    pub(crate) grace: Duration,
    /// Where to tell that the process does its work.
    pub(crate) ready_file: Option<PathBuf>,
    /// Whether the end of standard input ends the process.
    pub(crate) until_stdin_closes: bool,
}

impl LifecycleArgs {
    /// How the process starts and ends.
    pub(crate) fn read(&self, problems: &mut Problems) -> Lifecycle {
        Lifecycle {
            start: problems.time(
                "FILEJOBS_START_TIMEOUT (--start-timeout)",
                &self.start_timeout,
                Duration::ZERO,
            ),
            grace: problems.time("FILEJOBS_GRACE (--grace)", &self.grace, Duration::ZERO),
            ready_file: self.ready_file.clone(),
            until_stdin_closes: self.until_stdin_closes,
        }
    }
}

/// The listener for probes and metrics.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Operations")]
pub(crate) struct OpsArgs {
    /// Where `/livez`, `/readyz` and `/metrics` are answered, without keys; `none` for nowhere
    #[arg(
        long,
        env = "FILEJOBS_OPS_LISTEN",
        default_value = "0.0.0.0:9090",
        value_name = "ADDRESS:PORT"
    )]
    ops_listen: String,
}

impl OpsArgs {
    /// Where to listen; `None` for nowhere.
    pub(crate) fn read(&self, problems: &mut Problems) -> Option<SocketAddr> {
        match given(Some(&self.ops_listen)) {
            None | Some("none") => None,
            Some(text) => problems.address("FILEJOBS_OPS_LISTEN (--ops-listen)", text),
        }
    }
}
