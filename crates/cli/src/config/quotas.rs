//! How much may run at a time.

use clap::Args;
use filejobs_core::Quotas;

use super::{Problems, given};

/// The largest quota: more would never be reached.
const MOST: u64 = 10_000_000;

/// How much may run at a time.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Quotas")]
#[expect(
    clippy::struct_field_names,
    reason = "fields are named like their flags"
)]
pub(crate) struct QuotaArgs {
    /// Jobs of one namespace that may run at a time, from their first task on its way to a worker to their end; others
    /// wait, however urgent. `none` for no bound
    #[arg(
        long,
        env = "FILEJOBS_MAX_RUNNING_JOBS",
        default_value = "none",
        value_name = "N|none"
    )]
    max_running_jobs: String,

    /// Jobs of all namespaces together that may run at a time
    #[arg(
        long,
        env = "FILEJOBS_MAX_RUNNING_JOBS_TOTAL",
        default_value = "none",
        value_name = "N|none"
    )]
    max_running_jobs_total: String,

    /// Tasks of one namespace that workers may have or that are on their way to them; a large file is many tasks
    #[arg(
        long,
        env = "FILEJOBS_MAX_RUNNING_TASKS",
        default_value = "none",
        value_name = "N|none"
    )]
    max_running_tasks: String,

    /// Tasks of all namespaces together that workers may have or that are on their way to them
    #[arg(
        long,
        env = "FILEJOBS_MAX_RUNNING_TASKS_TOTAL",
        default_value = "none",
        value_name = "N|none"
    )]
    max_running_tasks_total: String,
}

impl QuotaArgs {
    /// How much may run at a time.
    pub(crate) fn read(&self, problems: &mut Problems) -> Quotas {
        let mut quota = |name, text| match given(Some(text)) {
            None | Some("none") => None,
            Some(text) => Some(problems.whole(name, text, 1..=MOST) as u32),
        };
        Quotas {
            namespace_jobs: quota(
                "FILEJOBS_MAX_RUNNING_JOBS (--max-running-jobs)",
                &self.max_running_jobs,
            ),
            namespace_tasks: quota(
                "FILEJOBS_MAX_RUNNING_TASKS (--max-running-tasks)",
                &self.max_running_tasks,
            ),
            total_jobs: quota(
                "FILEJOBS_MAX_RUNNING_JOBS_TOTAL (--max-running-jobs-total)",
                &self.max_running_jobs_total,
            ),
            total_tasks: quota(
                "FILEJOBS_MAX_RUNNING_TASKS_TOTAL (--max-running-tasks-total)",
                &self.max_running_tasks_total,
            ),
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
        quotas: QuotaArgs,
    }

    fn read(line: &[&str], problems: &mut Problems) -> Quotas {
        let line = ["x"].iter().chain(line);
        Line::parse_from(line).quotas.read(problems)
    }

    #[test]
    fn nothing_is_bounded_unless_it_is_said() {
        let mut problems = Problems::default();
        assert_eq!(read(&[], &mut problems), Quotas::default());
        let said = read(
            &["--max-running-jobs=2", "--max-running-tasks-total", "40"],
            &mut problems,
        );
        let wanted = Quotas {
            namespace_jobs: Some(2),
            total_tasks: Some(40),
            ..Quotas::default()
        };
        assert_eq!(said, wanted);
        assert_eq!(problems.told(), [""; 0]);
    }

    #[test]
    fn a_quota_that_would_let_nothing_run_is_no_quota() {
        let mut problems = Problems::default();
        read(&["--max-running-jobs=0"], &mut problems);
        assert_eq!(problems.told().len(), 1);
    }
}
