//! `list` and `get`: jobs as they stand.

use clap::Args;
use comfy_table::Cell;
use filejobs_core::JobState;
use serde_json::Value;

use super::Server;
use super::job::Job;
use crate::exit::{Exit, Outcome};
use crate::terminal::{self, counted, shown};

/// List jobs, newest first
#[derive(Debug, Clone, Args)]
pub(crate) struct List {
    /// Only jobs in this state
    #[arg(long, value_name = "STATE", value_parser = state)]
    status: Option<JobState>,

    /// Only jobs of this namespace
    #[arg(long, short = 'n', value_name = "NAME")]
    namespace: Option<String>,

    /// Only jobs from then on: RFC 3339 or `YYYY-MM-DD`
    #[arg(long, value_name = "DATE")]
    from: Option<String>,

    /// Only jobs until then: RFC 3339 or `YYYY-MM-DD`
    #[arg(long, value_name = "DATE")]
    to: Option<String>,

    /// Which page, from 1
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    page: u64,

    /// Jobs on a page
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=500))]
    page_size: u64,

    #[command(flatten)]
    server: Server,
}

/// Show one job
#[derive(Debug, Clone, Args)]
pub(crate) struct Get {
    /// The job
    #[arg(value_name = "JOB")]
    job: String,

    #[command(flatten)]
    server: Server,
}

fn state(text: &str) -> Result<JobState, String> {
    text.to_ascii_uppercase()
        .parse()
        .map_err(|e: filejobs_core::job::UnknownState| e.to_string())
}

impl List {
    pub(crate) async fn run(&self) -> Outcome {
        let api = self.server.api()?;
        let mut query = vec![
            ("page", self.page.to_string()),
            ("page_size", self.page_size.to_string()),
        ];
        let given = [
            ("status", self.status.map(|s| s.to_string())),
            ("namespace", self.namespace.clone()),
            ("from_date", self.from.clone()),
            ("to_date", self.to.clone()),
        ];
        query.extend(
            given
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        let answer = api.get(&["api", "jobs"], &query).await?;
        if self.server.json {
            terminal::json(&answer)?;
            return Ok(Exit::Clean);
        }
        let mut table =
            terminal::table(&["job", "status", "done", "rows", "bad", "file", "created"]);
        let jobs = answer
            .get("jobs")
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        for entry in jobs {
            let job = Job::read(&api, entry)?;
            table.add_row(vec![
                Cell::new(&job.id),
                Cell::new(job.status),
                Cell::new(format!("{:.0} %", job.progress)),
                terminal::number(job.rows_processed),
                terminal::number(job.rows_failed),
                Cell::new(shown(&job.filename, 40)),
                Cell::new(shown(&job.created_at, 30)),
            ]);
        }
        if !jobs.is_empty() {
            terminal::print(&table)?;
        }
        terminal::line(page_line(&answer, "job"))?;
        Ok(Exit::Clean)
    }
}

impl Get {
    pub(crate) async fn run(&self) -> Outcome {
        let api = self.server.api()?;
        let answer = api.get(&["api", "jobs", &self.job], &[]).await?;
        if self.server.json {
            terminal::json(&answer)?;
        } else {
            terminal::line(Job::read(&api, &answer)?.describe())?;
        }
        Ok(Exit::Clean)
    }
}

/// Which part of how much a page shows.
pub(crate) fn page_line(answer: &Value, noun: &str) -> String {
    let number = |name| answer.get(name).and_then(Value::as_u64).unwrap_or(0);
    let total = counted(number("total"), noun);
    match number("total_pages") {
        0 | 1 => total,
        pages => format!("{total}; page {} of {pages}", number("page")),
    }
}
