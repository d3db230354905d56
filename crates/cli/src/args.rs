//! The command line.

use std::io;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use filejobs_core::Limits;

use crate::check::Check;
use crate::client::{self, Errors, Get, List, Results, Submit, Target, Wait, Watch};
use crate::dev::Dev;
use crate::exit::{Exit, Outcome, Stop};
use crate::keys::Keys;
use crate::kubectl::{self, Kubectl};
use crate::probe::Probe;
use crate::processes::{Api, Controller, Migrate, Scheduler, Worker};
use crate::release::Release;
use crate::sample::Sample;
use crate::telemetry::Telemetry;
use crate::terminal;

/// Takes CSV and Excel files that people hand in, checks every row, and keeps the good ones as typed data
#[derive(Debug, Parser)]
#[command(
    name = "filejobs",
    version,
    propagate_version = true,
    max_term_width = 100
)]
#[command(
    after_help = "Exit codes: 0 done and clean, 1 failed or findings, 2 usage, 3 out of reach or refused, \
                        4 timed out, 5 cancelled"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    command: Command,

    /// Logs.
    #[command(flatten)]
    telemetry: Telemetry,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Dev(Box<Dev>),
    Api(Box<Api>),
    Worker(Box<Worker>),
    Scheduler(Box<Scheduler>),
    Controller(Box<Controller>),
    Migrate(Migrate),
    Release(Release),
    Check(Box<Check>),
    Submit(Box<Submit>),
    List(List),
    Get(Get),
    Watch(Watch),
    Wait(Wait),
    Errors(Errors),
    Results(Results),

    /// Stop a job for good
    Cancel(Target),

    /// Do a failed or cancelled job again from the beginning
    Retry(Target),

    /// Hold a job back; finished parts are kept
    Suspend(Target),

    /// Let a suspended job go on
    Resume(Target),

    /// Remove a job with its file, findings and results; a running one is cancelled instead
    Delete(Target),

    Keys(Keys),
    Kubectl(Kubectl),
    Probe(Probe),
    Sample(Sample),

    /// Print the description of the HTTP API (OpenAPI 3.1)
    Openapi,

    /// Print the definition of `FileJob` for a Kubernetes cluster
    Crd,

    /// Print the page of all metrics: what docs/metrics.md is made of
    #[command(hide = true)]
    Metrics,

    /// Read one file as its working folder says: what workers start
    #[command(hide = true)]
    Engine,

    /// Print a script that completes the commands in a shell
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
}

/// Does the work of `filejobs engine`, when this process was started as one. A worker starts one for each task, and
/// with a small file the tree of all commands and options would take longer to build than the file to read.
#[must_use]
pub fn run_as_engine() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let only = arguments.next().filter(|_| arguments.next().is_none());
    (only? == "engine").then(filejobs_engine::child::main)
}

impl Cli {
    /// Reads the command line of this process; ends it when there is nothing more to do, or nothing that can be done.
    #[must_use]
    pub fn of_this_process() -> Self {
        Self::parse_from(kubectl::arguments(std::env::args_os()))
    }

    /// What to do.
    pub(crate) fn into_command(self) -> Command {
        self.command
    }

    /// Starts logging, as the arguments say.
    pub fn init_telemetry(&self) {
        let usual = match self.command {
            // The engine's standard error says only why it could not end by itself.
            Command::Engine => return,
            Command::Api(_)
            | Command::Worker(_)
            | Command::Scheduler(_)
            | Command::Controller(_)
            | Command::Migrate(_) => "info",
            _ => "warn",
        };
        self.telemetry.init(usual);
    }

    /// Does what the arguments say, to its end; what went wrong is told on standard error.
    #[must_use]
    pub fn run(self) -> ExitCode {
        if matches!(self.command, Command::Engine) {
            return filejobs_engine::child::main();
        }
        let exit = match self.command.run() {
            Ok(exit) => exit,
            Err(stop) => {
                terminal::note(format_args!("error: {:#}", stop.error));
                stop.exit
            }
        };
        exit.into()
    }
}

impl Command {
    /// Whether it is one of the client's, which need nothing but a service and a key.
    pub(crate) fn talks_to_a_service(&self) -> bool {
        matches!(
            self,
            Self::Submit(_)
                | Self::List(_)
                | Self::Get(_)
                | Self::Watch(_)
                | Self::Wait(_)
                | Self::Errors(_)
                | Self::Results(_)
                | Self::Cancel(_)
                | Self::Retry(_)
                | Self::Suspend(_)
                | Self::Resume(_)
                | Self::Delete(_)
        )
    }

    pub(crate) fn run(self) -> Outcome {
        use client::block_on;
        match self {
            Self::Dev(dev) => dev.run(),
            Self::Api(api) => api.run(),
            Self::Worker(worker) => worker.run(),
            Self::Scheduler(scheduler) => scheduler.run(),
            Self::Controller(controller) => controller.run(),
            Self::Migrate(migrate) => migrate.run(),
            Self::Release(release) => block_on(release.run()),
            Self::Check(check) => block_on(check.run()),
            Self::Submit(submit) => block_on(submit.run()),
            Self::List(list) => block_on(list.run()),
            Self::Get(get) => block_on(get.run()),
            Self::Watch(watch) => block_on(watch.run()),
            Self::Wait(wait) => block_on(wait.run()),
            Self::Errors(errors) => block_on(errors.run()),
            Self::Results(results) => block_on(results.run()),
            Self::Cancel(target) => block_on(target.cancel()),
            Self::Retry(target) => block_on(target.retry()),
            Self::Suspend(target) => block_on(target.suspend()),
            Self::Resume(target) => block_on(target.resume()),
            Self::Delete(target) => block_on(target.delete()),
            Self::Keys(keys) => block_on(keys.run()),
            Self::Kubectl(kubectl) => kubectl.run(),
            Self::Probe(probe) => block_on(probe.run()),
            Self::Sample(sample) => sample.run().or_else(unread),
            Self::Openapi => {
                let document = filejobs_api::document(&Limits::default());
                terminal::line(serde_json::to_string_pretty(&document)?)?;
                Ok(Exit::Clean)
            }
            Self::Crd => {
                terminal::line(filejobs_crd::yaml()?.trim_end())?;
                Ok(Exit::Clean)
            }
            Self::Metrics => {
                terminal::line(filejobs_metrics::page::markdown().trim_end())?;
                Ok(Exit::Clean)
            }
            Self::Engine => Ok(Exit::Clean),
            Self::Completions { shell } => completions(shell),
        }
    }
}

fn completions(shell: Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "filejobs", &mut script);
    terminal::line(String::from_utf8(script)?.trim_end())?;
    Ok(Exit::Clean)
}

/// Takes a broken pipe for a reader that has seen enough (`filejobs sample | head`); only for commands that have no
/// other pipe than their output.
fn unread(stop: Stop) -> Outcome {
    let broken = stop.error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    });
    if broken { Ok(Exit::Clean) } else { Err(stop) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
