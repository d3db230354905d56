//! What is kept, and for how long.

use std::time::Duration;

use clap::Args;

use super::{Problems, given};

/// How long things are kept.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Retention")]
pub(crate) struct RetentionArgs {
    /// Remove jobs with their files and results this long after their end, such as `12h` or `30d`; `never` keeps them
    /// [default: 30d; `dev`: never]
    #[arg(long, env = "FILEJOBS_KEEP", value_name = "TIME")]
    keep: Option<String>,

    /// Remove files and results that belong to no job this long after they were written, at least `1h`; `never` keeps
    /// them. Longer than the time between two backups: those of jobs that a restored database does not know are all
    /// there is of them
    #[arg(
        long,
        env = "FILEJOBS_KEEP_ORPHANS",
        default_value = "7d",
        value_name = "TIME"
    )]
    keep_orphans: String,
}

/// How long services keep ended jobs unless told otherwise.
pub(crate) const KEEP: Duration = Duration::from_hours(30 * 24);

/// Longer than any upload takes from its file to its job.
const LEAST_ORPHANS: Duration = Duration::from_hours(1);

impl RetentionArgs {
    /// How long what belongs to no job is kept; for ever when `None`.
    pub(crate) fn orphans(&self, problems: &mut Problems) -> Option<Duration> {
        const NAME: &str = "FILEJOBS_KEEP_ORPHANS (--keep-orphans)";
        match given(Some(&self.keep_orphans)) {
            None => Some(filejobs_scheduler::KEEP_ORPHANS),
            Some("never") => None,
            Some(text) => Some(problems.time(NAME, text, LEAST_ORPHANS)),
        }
    }

    /// How long ended jobs are kept; as `usual` when nothing is said, for ever when `None`.
    pub(crate) fn read(
        &self,
        usual: Option<Duration>,
        problems: &mut Problems,
    ) -> Option<Duration> {
        match given(self.keep.as_deref()) {
            None => usual,
            Some("never") => None,
            Some(text) => {
                Some(problems.time("FILEJOBS_KEEP (--keep)", text, Duration::from_secs(1)))
            }
        }
    }
}
