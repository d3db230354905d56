//! `probe`: a health check for images that have no shell and no curl.

use std::time::Duration;

use clap::Args;
use reqwest::Url;

use crate::exit::{Exit, Outcome};
use crate::terminal;

/// Bytes of an answer that are shown.
const SHOWN: usize = 1_000;

/// Ask a process whether it does its work; exit code 0 if so, else 1
#[derive(Debug, Clone, Args)]
pub(crate) struct Probe {
    /// What to ask
    #[arg(
        long,
        env = "FILEJOBS_PROBE_URL",
        default_value = "http://127.0.0.1:9090/readyz",
        value_name = "URL"
    )]
    url: Url,

    /// How long to wait for the answer
    #[arg(long, default_value = "3s", value_name = "TIME", value_parser = crate::time::duration)]
    timeout: Duration,
}

impl Probe {
    pub(crate) async fn run(&self) -> Outcome {
        // Set already is set by us.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(self.timeout).no_proxy();
        let asked = client.build()?.get(self.url.clone()).send().await;
        let answer = match asked {
            Ok(answer) => answer,
            Err(error) => {
                terminal::note(format_args!("no answer from {}: {error}", self.url));
                return Ok(Exit::Failed);
            }
        };
        let good = answer.status().is_success();
        let text = answer.text().await.unwrap_or_default();
        terminal::line(terminal::shown(text.trim(), SHOWN))?;
        Ok(if good { Exit::Clean } else { Exit::Failed })
    }
}
