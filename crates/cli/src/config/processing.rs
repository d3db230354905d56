//! How files are worked on.

use std::path::{Path, PathBuf};

use std::time::Duration;

use clap::Args;
use filejobs_core::retry::RetryPolicy;

use super::{Problems, given, given_path, path_or_blank};

/// Most engines that run at a time unless somebody asks for more.
const SLOTS: usize = 4;

/// How often a task is tried.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Retries")]
pub(crate) struct RetryArgs {
    /// How often a task is tried again that failed through no fault of its file
    #[arg(long, env = "MAX_RETRIES", default_value = "2", value_name = "N")]
    max_retries: String,

    /// Longest pause before the first retry, such as `1s`; it doubles from one to the next
    #[arg(long, env = "BASE_BACKOFF", default_value = "1s", value_name = "TIME")]
    base_backoff: String,

    /// Longest pause before any retry
    #[arg(long, env = "MAX_BACKOFF", default_value = "30s", value_name = "TIME")]
    max_backoff: String,
}

impl RetryArgs {
    /// How often a task is tried.
    pub(crate) fn read(&self, problems: &mut Problems) -> RetryPolicy {
        let retries = problems.whole("MAX_RETRIES (--max-retries)", &self.max_retries, 0..=100);
        let base_name = "BASE_BACKOFF (--base-backoff)";
        let base = problems.time(base_name, &self.base_backoff, Duration::ZERO);
        let cap = problems.time(
            "MAX_BACKOFF (--max-backoff)",
            &self.max_backoff,
            Duration::ZERO,
        );
        if base > cap {
            problems.add(
                base_name,
                "no more than MAX_BACKOFF (--max-backoff) is taken",
            );
        }
        RetryPolicy {
            max_attempts: retries as u32 + 1,
            base,
            cap,
        }
    }
}

/// The shortest lease: its holder renews it each second, and one renewal may be lost.
const LEASE: Duration = Duration::from_secs(3);

/// How a worker works.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Processing")]
pub(crate) struct ProcessingArgs {
    /// Files that are read at a time [default: one for each core, 4 at most]
    #[arg(long, env = "MAX_CONCURRENCY", value_name = "N")]
    max_concurrency: Option<String>,

    /// Remove an uploaded file as soon as its job is completed
    #[arg(long, env = "DELETE_FILE_ON_COMPLETE", value_name = "true|false", num_args = 0..=1,
          default_value = "false", default_missing_value = "true")]
    delete_file_on_complete: String,

    /// Folder for what engines write before it is stored; a local disk [default: `filejobs` in the system's folder
    /// for temporary files; `dev`: `scratch` in the data folder]
    #[arg(long, env = "FILEJOBS_SCRATCH_DIR", value_name = "DIR", value_parser = path_or_blank())]
    scratch_dir: Option<PathBuf>,

    /// How long a file stays with a worker that gives no sign of life; then another one begins with it
    #[arg(
        long,
        env = "FILEJOBS_LEASE",
        default_value = "30s",
        value_name = "TIME"
    )]
    lease: String,
}

/// How a worker works.
#[derive(Debug, Clone)]
pub(crate) struct Processing {
    /// Engines that run at a time.
    pub(crate) slots: u32,
    /// Whether an uploaded file goes with its job's end.
    pub(crate) delete_completed: bool,
    /// What engines write before it is stored.
    pub(crate) scratch: PathBuf,
    /// How long a task stays a worker's without a sign of life.
    pub(crate) lease: Duration,
}

impl ProcessingArgs {
    /// How a worker works; in `scratch` when nothing is said.
    pub(crate) fn read(&self, scratch: PathBuf, problems: &mut Problems) -> Processing {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let slots = match given(self.max_concurrency.as_deref()) {
            Some(text) => problems.whole("MAX_CONCURRENCY (--max-concurrency)", text, 1..=256),
            None => cores.min(SLOTS) as u64,
        };
        let named = given_path(self.scratch_dir.as_ref());
        Processing {
            slots: slots as u32,
            delete_completed: problems.yes(
                "DELETE_FILE_ON_COMPLETE (--delete-file-on-complete)",
                &self.delete_file_on_complete,
            ),
            scratch: named.map_or(scratch, Path::to_owned),
            lease: problems.time("FILEJOBS_LEASE (--lease)", &self.lease, LEASE),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        processing: ProcessingArgs,
    }

    #[test]
    fn a_blank_folder_is_as_if_it_were_not_given() {
        let mut problems = Problems::default();
        let line = Line::parse_from(["x", "--scratch-dir="]);
        let read = line.processing.read("usual".into(), &mut problems);
        assert_eq!((read.scratch, problems.told()), ("usual".into(), &[][..]));
    }

    #[test]
    fn a_worker_reads_a_file_for_each_core_up_to_four_unless_told_otherwise() {
        let slots = |words: &[&str]| {
            let mut problems = Problems::default();
            let line = Line::parse_from([&["x"], words].concat());
            let read = line.processing.read(PathBuf::new(), &mut problems);
            (read.slots as usize, problems.told().len())
        };
        let cores = std::thread::available_parallelism().unwrap().get();
        assert_eq!(slots(&[]), (cores.min(4), 0));
        assert_eq!(slots(&["--max-concurrency", "9"]), (9, 0));
        assert_eq!(slots(&["--max-concurrency", "none"]).1, 1);
    }
}
