//! The settings of a service: flag, environment variable, default; all checked before anything starts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use filejobs_core::Limits;
use filejobs_core::retry::RetryPolicy;
use filejobs_scheduler::webhook;

use crate::config::Secret;

/// Most engines that run at a time unless somebody asks for more.
const SLOTS: usize = 4;

/// Where files lie and what is kept.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Storage")]
pub(crate) struct Storage {
    /// Folder for database, files and results; created when absent
    #[arg(
        long,
        alias = "data",
        env = "FILEJOBS_DATA_DIR",
        default_value = "filejobs-data",
        value_name = "DIR"
    )]
    pub(crate) data_dir: PathBuf,

    /// Folder for uploads and results [default: `files` in the data folder]
    #[arg(long, env = "UPLOAD_DIR", value_name = "DIR")]
    upload_dir: Option<PathBuf>,

    /// Largest file that is taken, in MiB
    #[arg(long, env = "MAX_UPLOAD_MB", default_value_t = 500, value_name = "MIB")]
    max_upload_mb: u64,

    /// Remove an uploaded file as soon as its job is completed
    #[arg(long, env = "DELETE_FILE_ON_COMPLETE", value_name = "BOOL", num_args = 0..=1,
          default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) delete_file_on_complete: bool,

    /// Remove jobs with their files and results this long after their end, such as `12h`; never when absent
    #[arg(long, env = "FILEJOBS_KEEP", value_name = "TIME", value_parser = crate::time::duration)]
    pub(crate) keep: Option<Duration>,
}

/// How files are worked on.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Processing")]
pub(crate) struct Processing {
    /// Files that are read at a time [default: one for each core, 4 at most]
    #[arg(long, env = "MAX_CONCURRENCY", value_name = "N")]
    max_concurrency: Option<u32>,

    /// How often a task is tried again that failed through no fault of its file
    #[arg(long, env = "MAX_RETRIES", default_value_t = 2, value_name = "N")]
    max_retries: u32,

    /// Longest pause before the first retry, such as `1s`; it doubles from one to the next
    #[arg(long, env = "BASE_BACKOFF", default_value = "1s", value_name = "TIME",
          value_parser = crate::time::duration)]
    base_backoff: Duration,

    /// Longest pause before any retry
    #[arg(long, env = "MAX_BACKOFF", default_value = "30s", value_name = "TIME",
          value_parser = crate::time::duration)]
    max_backoff: Duration,

    /// Rows that the engine handles at a time
    #[arg(long, env = "CHUNK_SIZE", default_value_t = Limits::default().batch_rows, value_name = "ROWS")]
    chunk_size: u32,

    /// CSV files above this size, in MiB, are cut into pieces that are read side by side
    #[arg(long, env = "FILEJOBS_SPLIT_MB", default_value_t = Limits::default().split_bytes >> 20, value_name = "MIB")]
    split_mb: u64,
}

/// Who is told when a job ends.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Webhooks")]
pub(crate) struct Webhooks {
    /// Key that webhooks are signed with, after Standard Webhooks: `whsec_…`; unsigned without
    #[arg(
        long,
        env = "FILEJOBS_WEBHOOK_SECRET",
        hide_env_values = true,
        value_name = "SECRET"
    )]
    pub(crate) webhook_secret: Option<Secret>,

    /// Private hosts or networks that webhooks may go to, such as `127.0.0.1/32`; public ones always may
    #[arg(
        long,
        env = "FILEJOBS_WEBHOOK_ALLOW",
        value_delimiter = ',',
        value_name = "HOST|NET"
    )]
    pub(crate) webhook_allow: Vec<String>,
}

impl Storage {
    /// The database.
    pub(crate) fn database(&self) -> PathBuf {
        self.data_dir.join("filejobs.db")
    }

    /// Uploads and results.
    pub(crate) fn files(&self) -> PathBuf {
        self.upload_dir
            .clone()
            .unwrap_or_else(|| self.data_dir.join("files"))
    }

    /// What engines write before it is stored.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.data_dir.join("scratch")
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !(1..=1 << 20).contains(&self.max_upload_mb) {
            problems.push("MAX_UPLOAD_MB (--max-upload-mb): 1 to 1048576 is taken".to_owned());
        }
        if self.keep.is_some_and(|keep| keep < Duration::from_secs(1)) {
            problems.push("FILEJOBS_KEEP (--keep): at least 1 s is taken".to_owned());
        }
        let folder = |name: &str, path: &Path| {
            (path.as_os_str().is_empty() || path.is_file())
                .then(|| format!("{name}: a folder is taken"))
        };
        problems.extend(folder("FILEJOBS_DATA_DIR (--data-dir)", &self.data_dir));
        problems.extend(
            self.upload_dir
                .as_deref()
                .and_then(|p| folder("UPLOAD_DIR (--upload-dir)", p)),
        );
        problems
    }
}

impl Processing {
    /// Engines that run at a time.
    pub(crate) fn slots(&self) -> u32 {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.max_concurrency.unwrap_or(cores.min(SLOTS) as u32)
    }

    /// How often a task is tried.
    pub(crate) fn retry(&self) -> RetryPolicy {
        RetryPolicy {
            max_attempts: self.max_retries.saturating_add(1),
            base: self.base_backoff,
            cap: self.max_backoff,
        }
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut refuse = |ok: bool, problem: &str| {
            if !ok {
                problems.push(problem.to_owned());
            }
        };
        refuse(
            self.max_concurrency.is_none_or(|n| (1..=256).contains(&n)),
            "MAX_CONCURRENCY (--max-concurrency): 1 to 256 is taken",
        );
        refuse(
            self.max_retries <= 100,
            "MAX_RETRIES (--max-retries): 0 to 100 is taken",
        );
        refuse(
            self.base_backoff <= self.max_backoff,
            "BASE_BACKOFF (--base-backoff): no more than MAX_BACKOFF (--max-backoff) is taken",
        );
        refuse(
            (1..=1_000_000).contains(&self.chunk_size),
            "CHUNK_SIZE (--chunk-size): 1 to 1000000 is taken",
        );
        refuse(
            (1..=1 << 20).contains(&self.split_mb),
            "FILEJOBS_SPLIT_MB (--split-mb): 1 to 1048576 is taken",
        );
        problems
    }
}

/// The limits that the settings make.
pub(crate) fn limits(storage: &Storage, processing: &Processing) -> Limits {
    Limits {
        upload_bytes: storage.max_upload_mb << 20,
        batch_rows: processing.chunk_size,
        split_bytes: processing.split_mb << 20,
        ..Limits::default()
    }
}

/// Every problem with the settings.
pub(crate) fn problems(
    storage: &Storage,
    processing: &Processing,
    webhooks: &Webhooks,
) -> Vec<String> {
    let mut problems = storage.problems();
    problems.extend(processing.problems());
    problems.extend(webhooks.problems());
    problems
}

impl Webhooks {
    /// What the scheduler needs to know; what cannot be used is left out, after [`problems`] has told it.
    pub(crate) fn config(&self) -> webhook::Config {
        webhook::Config {
            secret: self
                .webhook_secret
                .as_ref()
                .and_then(|text| text.reveal().parse().ok()),
            allowed: self
                .webhook_allow
                .iter()
                .filter_map(|text| text.parse().ok())
                .collect(),
            ..webhook::Config::default()
        }
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(secret) = &self.webhook_secret
            && let Err(problem) = secret.reveal().parse::<webhook::Secret>()
        {
            problems.push(format!(
                "FILEJOBS_WEBHOOK_SECRET (--webhook-secret): {problem}"
            ));
        }
        for text in &self.webhook_allow {
            if let Err(problem) = text.parse::<webhook::Allowed>() {
                problems.push(format!(
                    "FILEJOBS_WEBHOOK_ALLOW (--webhook-allow) `{text}`: {problem}"
                ));
            }
        }
        problems
    }
}
