//! How big anything may grow, as far as operators choose it.

use clap::Args;
use filejobs_core::Limits;

use super::Problems;

/// The setting that bounds what is taken.
pub(super) const MAX_UPLOAD: &str = "MAX_UPLOAD_MB (--max-upload-mb)";

/// Sizes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArgs {
    /// Largest file that is taken, in MiB
    #[arg(long, env = "MAX_UPLOAD_MB", default_value = "500", value_name = "MIB")]
    max_upload_mb: String,

    /// Rows that the engine handles at a time
    #[arg(long, env = "CHUNK_SIZE", default_value = "10000", value_name = "ROWS")]
    chunk_size: String,

    /// CSV files above this size, in MiB, are cut into pieces that are read side by side
    #[arg(
        long,
        env = "FILEJOBS_SPLIT_MB",
        default_value = "64",
        value_name = "MIB"
    )]
    split_mb: String,

    /// Jobs that may wait in one namespace; more are refused until some are done
    #[arg(
        long,
        env = "FILEJOBS_MAX_QUEUED_JOBS",
        default_value = "100000",
        value_name = "N"
    )]
    max_queued_jobs: String,

    /// Findings that are stored for a job; the rest is only counted
    #[arg(
        long,
        env = "FILEJOBS_MAX_FINDINGS",
        default_value = "1000000",
        value_name = "N"
    )]
    max_findings: String,
}

impl LimitArgs {
    /// The limits that they make.
    pub(crate) fn read(&self, problems: &mut Problems) -> Limits {
        let mut mib = |name: &str, text: &str| problems.whole(name, text, 1..=1 << 20) << 20;
        let limits = Limits {
            upload_bytes: mib(MAX_UPLOAD, &self.max_upload_mb),
            split_bytes: mib("FILEJOBS_SPLIT_MB (--split-mb)", &self.split_mb),
            batch_rows: problems.whole("CHUNK_SIZE (--chunk-size)", &self.chunk_size, 1..=1_000_000)
                as u32,
            queued_jobs: problems.whole(
                "FILEJOBS_MAX_QUEUED_JOBS (--max-queued-jobs)",
                &self.max_queued_jobs,
                1..=10_000_000,
            ) as u32,
            findings_per_job: problems.whole(
                "FILEJOBS_MAX_FINDINGS (--max-findings)",
                &self.max_findings,
                0..=100_000_000,
            ),
            ..Limits::default()
        };
        problems.takes(limits.upload_bytes);
        limits
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        limits: LimitArgs,
    }

    #[test]
    fn the_defaults_are_the_limits_own() {
        let mut problems = Problems::default();
        let limits = Line::parse_from(["x"]).limits.read(&mut problems);
        assert_eq!(limits, Limits::default());
        assert_eq!(problems.told(), [""; 0]);
    }
}
