//! The commands that talk to a running service over its HTTP API.

mod act;
pub(crate) mod api;
pub(crate) mod follow;
pub(crate) mod job;
mod list;
mod problem;
mod rows;
pub(crate) mod submit;

use std::future::Future;
use std::time::Duration;

use clap::Args;
use reqwest::Url;

use crate::config::Secret;
use crate::exit::{Outcome, Stop};

pub(crate) use act::Target;
pub(crate) use follow::{Wait, Watch};
pub(crate) use list::{Get, List};
pub(crate) use rows::{Errors, Results};
pub(crate) use submit::Submit;

/// Which service to talk to, and how to show its answers.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Service")]
pub(crate) struct Server {
    /// Address of the service
    #[arg(
        long = "server",
        env = "FILEJOBS_URL",
        default_value = "http://127.0.0.1:8080",
        value_name = "URL"
    )]
    url: Url,

    /// API key, where the service asks for one
    #[arg(
        long,
        env = "FILEJOBS_API_KEY",
        hide_env_values = true,
        value_name = "KEY"
    )]
    api_key: Option<Secret>,

    /// How often a call is repeated when the service is out of reach or takes no more just now
    #[arg(long, default_value_t = 4, value_name = "N")]
    retries: u32,

    /// Print the service's answer as JSON
    #[arg(long)]
    json: bool,
}

impl Server {
    fn api(&self) -> Result<api::Api, Stop> {
        if !matches!(self.url.scheme(), "http" | "https") || !self.url.has_host() {
            let problem = format!("--server: {} is no http or https address", self.url);
            return Err(Stop::usage(&[problem]));
        }
        let key = self.api_key.as_ref().map(Secret::reveal);
        api::Api::new(self.url.clone(), key, self.retries)
    }
}

/// Runs a client command to its end on one thread.
pub(crate) fn block_on<T>(work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(work);
    // A file read that hangs on a dead disk must not hold the process back.
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}
