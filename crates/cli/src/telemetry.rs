//! Logs: where they go, how they look, how much is said.

use std::io::IsTerminal as _;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for log pipelines.
    Json,
}

/// Logs, written to standard error.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Logs")]
pub(crate) struct Telemetry {
    /// What to log: `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `warn,filejobs_worker=debug`
    #[arg(long, global = true, env = "FILEJOBS_LOG", value_name = "FILTER")]
    log: Option<String>,

    /// How log lines look
    #[arg(
        long,
        global = true,
        env = "FILEJOBS_LOG_FORMAT",
        value_enum,
        default_value = "text",
        value_name = "FORMAT"
    )]
    log_format: LogFormat,
}

impl Telemetry {
    /// Starts logging; `default` is the filter when none is given.
    pub(crate) fn init(&self, default: &str) {
        let wanted = self.log.as_deref().unwrap_or(default);
        let (filter, problem) = match EnvFilter::try_new(wanted) {
            Ok(filter) => (filter, None),
            Err(problem) => (EnvFilter::new(default), Some(problem)),
        };
        let lines = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_timer(SystemTime)
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(std::io::stderr)
            // Lines that cannot be written would be told by `eprintln`, which panics where they cannot.
            .log_internal_errors(false);
        // A second call in one process (tests) keeps the first subscriber, which is what they want.
        let started = match self.log_format {
            LogFormat::Text => lines.try_init().is_ok(),
            LogFormat::Json => lines.json().try_init().is_ok(),
        };
        if let (true, Some(problem)) = (started, problem) {
            tracing::warn!(filter = wanted, %problem, "the log filter cannot be used, the default is");
        }
    }
}
