//! Who is told when a job ends.

use clap::Args;
use filejobs_scheduler::webhook;

use super::{Problems, Secret};

/// How webhooks are sent.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Webhooks")]
pub(crate) struct WebhookArgs {
    /// Keys that webhooks are signed with, after Standard Webhooks: `whsec_…`; unsigned without. Two, a comma
    /// between, while receivers change from one to the other: then each message carries both signatures
    #[arg(
        long,
        env = "FILEJOBS_WEBHOOK_SECRET",
        hide_env_values = true,
        value_delimiter = ',',
        value_name = "SECRET"
    )]
    webhook_secret: Vec<Secret>,

    /// Private hosts or networks that webhooks may go to, such as `127.0.0.1/32`; public ones always may
    #[arg(
        long,
        env = "FILEJOBS_WEBHOOK_ALLOW",
        value_delimiter = ',',
        value_name = "HOST|NET"
    )]
    webhook_allow: Vec<String>,
}

const SECRET: &str = "FILEJOBS_WEBHOOK_SECRET (--webhook-secret)";

/// Signatures that a message carries: the old key's and the new one's.
const SECRETS: usize = 2;

impl WebhookArgs {
    /// How webhooks are sent.
    pub(crate) fn read(&self, problems: &mut Problems) -> webhook::Config {
        let mut config = webhook::Config::default();
        for text in self.webhook_secret.iter().map(Secret::reveal) {
            match text.trim().parse() {
                _ if text.trim().is_empty() => {}
                Ok(secret) => config.secrets.push(secret),
                Err(webhook::InvalidSecret) => problems.add(SECRET, webhook::InvalidSecret),
            }
        }
        if config.secrets.len() > SECRETS {
            problems.add(SECRET, format_args!("at most {SECRETS} keys are taken"));
        }
        let webhook_allow = "FILEJOBS_WEBHOOK_ALLOW (--webhook-allow)";
        config.allowed = super::allowed(webhook_allow, &self.webhook_allow, problems);
        config
    }
}
