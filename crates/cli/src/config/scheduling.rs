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
}

/// How long services keep ended jobs unless told otherwise.
pub(crate) const KEEP: Duration = Duration::from_hours(30 * 24);

impl RetentionArgs {
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
