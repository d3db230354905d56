//! Holds the served API against its own OpenAPI document with requests that schemathesis makes up.

use std::process::Command;
use std::time::Duration;

use crate::run::run_within;
use crate::service::Service;
use crate::tools;

/// Pinned: a newer release makes up other requests, and CI must not change by itself.
pub(crate) const VERSION: &str = "4.32.5";
/// A run that takes longer hangs somewhere.
const LIMIT: Duration = Duration::from_mins(8);

/// How thorough to be.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Requests made up for each call and phase.
    #[arg(long, default_value_t = Self::default().examples)]
    examples: u32,
    /// The start of the random numbers; the same one makes up the same requests.
    #[arg(long, default_value_t = Self::default().seed)]
    seed: u32,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            examples: 25,
            seed: 1,
        }
    }
}

/// The subcommand: no 5xx, no undocumented status or body, against a service of our own.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let bin = tools::python_env("schemathesis", VERSION)?;
    let mut service = Service::start()?;
    let scratch = tempfile::tempdir()?;
    std::fs::write(
        scratch.path().join("schemathesis.toml"),
        known_ids(&service)?,
    )?;
    let mut command = Command::new(bin.join("schemathesis"));
    command
        .current_dir(scratch.path())
        .args(["run", &format!("{}/api/openapi.json", service.url())])
        .args(["--checks", CHECKS])
        .args(["--max-examples", &args.examples.to_string()])
        .args(["--seed", &args.seed.to_string()])
        .args([
            "--request-timeout",
            "10",
            "--workers",
            "2",
            "--max-failures",
            "20",
        ])
        .args(["--generation-deterministic", "--no-color"])
        // Event streams stay open by design and would only time out.
        .args(["--exclude-path-regex", "/events$"]);
    run_within(&mut command, LIMIT, |line| eprintln!("{line}"))?;
    service.still_runs()
}

/// Ids of jobs that exist: made-up ones would show no more than how a 404 looks. The job that is deleted is another
/// than the one that everything else is about.
fn known_ids(service: &Service) -> anyhow::Result<String> {
    let (kept, deleted) = (service.job(EXAMPLE)?, service.job(EXAMPLE)?);
    Ok(format!(
        "[parameters]\n\"path.id\" = \"{kept}\"\n\n[[operations]]\ninclude-operation-id = \"delete_job\"\n\
        parameters = {{ \"path.id\" = \"{deleted}\" }}\n"
    ))
}

/// A file with good and bad rows.
const EXAMPLE: &str = "examples/orders.csv";

const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
response_headers_conformance,response_schema_conformance";
