//! A job as clients see it.

use std::collections::BTreeMap;

use axum::Json;
use axum::response::{IntoResponse, Response};
use filejobs_core::waiting::{Wait, WaitingReason};
use filejobs_core::{FailureClass, FileType, JobState, Namespace, Outcome};
use jiff::Timestamp;
use serde::Serialize;

use crate::App;
use crate::problem::{Code, Problem};

/// A file that was handed in, and what became of it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Job)]
pub(crate) struct Job {
    /// Its id, a `UUIDv7`.
    #[schema(value_type = String, format = "uuid")]
    pub(crate) id: String,
    /// The file's name, escaped so that it can be shown.
    filename: String,
    /// The file's size in bytes.
    file_size: u64,
    file_type: FileType,
    /// The file's SHA-256 in hexadecimal.
    #[schema(min_length = 64, max_length = 64)]
    sha256: String,
    pub(crate) status: JobState,
    /// How it ended; null while it has not.
    #[schema(required)]
    outcome: Option<Outcome>,
    /// Who can do something about its failure; null unless it failed.
    #[schema(required)]
    failure_class: Option<FailureClass>,
    /// The failure's stable name; null unless it failed.
    #[schema(required)]
    failure_code: Option<&'static str>,
    /// How far it has got, in percent.
    #[schema(maximum = 100)]
    progress: u8,
    /// Rows in the file; null until they are known.
    #[schema(required)]
    rows_total: Option<u64>,
    /// Rows read so far.
    rows_processed: u64,
    /// Rows with at least one error so far.
    rows_failed: u64,
    /// Errors by code, in finished parts of the file.
    errors_by_code: BTreeMap<&'static str, u64>,
    /// Whether fewer errors are kept than were counted.
    errors_truncated: bool,
    /// Why it failed, in one sentence.
    #[schema(required)]
    error_message: Option<String>,
    /// Where its end is told.
    #[schema(required)]
    webhook_url: Option<String>,
    /// 0 to 10, 10 first.
    #[schema(maximum = 10)]
    priority: u8,
    #[schema(value_type = String)]
    namespace: Namespace,
    /// What takes its rows.
    processor: String,
    /// Attempts spent on the part that needed the most.
    attempt: u32,
    /// How often it was started over.
    generation: u32,
    tasks: Tasks,
    /// Rows read for each second since it started; null until it has.
    #[schema(required)]
    rows_per_second: Option<f64>,
    /// Seconds until its end at that speed; null unless it is being processed.
    #[schema(required)]
    eta_seconds: Option<u64>,
    #[schema(value_type = String, format = "date-time")]
    created_at: Timestamp,
    /// When it last began to wait.
    #[schema(value_type = String, format = "date-time")]
    queued_at: Timestamp,
    /// When a worker first had it.
    #[schema(value_type = Option<String>, format = "date-time", required)]
    started_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = "date-time", required)]
    completed_at: Option<Timestamp>,
    links: Links,
}

/// The pieces of a job, counted.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = JobTasks)]
struct Tasks {
    total: u32,
    /// Those whose rows are committed.
    done: u32,
    /// Those that failed for good.
    failed: u32,
}

/// Paths of what belongs to a job.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = JobLinks)]
struct Links {
    #[serde(rename = "self")]
    this: String,
    errors: String,
    results: String,
    rejected: String,
    report: String,
    schema: String,
    events: String,
    webhooks: String,
}

impl Links {
    fn of(base: &str) -> Self {
        let under = |name: &str| format!("{base}/{name}");
        Self {
            this: base.to_owned(),
            errors: under("errors"),
            results: under("results"),
            rejected: under("rejected.csv"),
            report: under("report"),
            schema: under("schema"),
            events: under("events"),
            webhooks: under("webhooks"),
        }
    }
}

/// The path of a job.
pub(crate) fn path(id: filejobs_core::JobId) -> String {
    format!("/api/jobs/{id}")
}

impl From<filejobs_store::Job> for Job {
    fn from(job: filejobs_store::Job) -> Self {
        let speed = Speed::of(&job);
        Self {
            id: job.id.to_string(),
            progress: job.progress(),
            rows_per_second: speed.rows_per_second,
            eta_seconds: speed.eta_seconds,
            links: Links::of(&path(job.id)),
            filename: job.filename,
            file_size: job.file_size,
            file_type: job.file_type,
            sha256: job.sha256,
            status: job.status,
            outcome: job.outcome,
            failure_class: job.failure_class,
            failure_code: job.failure_code.map(filejobs_core::FailureCode::as_str),
            rows_total: job.rows_total,
            rows_processed: job.rows_processed,
            rows_failed: job.rows_failed,
            errors_by_code: job
                .errors_by_code
                .iter()
                .map(|(code, n)| (code.as_str(), n))
                .collect(),
            errors_truncated: job.errors_truncated,
            error_message: job.error_message,
            webhook_url: job.webhook_url,
            priority: job.priority,
            namespace: job.namespace,
            processor: job.processor["type"]
                .as_str()
                .unwrap_or("import")
                .to_owned(),
            attempt: job.attempt,
            generation: job.generation,
            tasks: Tasks {
                total: job.tasks.total,
                done: job.tasks.done,
                failed: job.tasks.failed,
            },
            created_at: job.created_at,
            queued_at: job.queued_at,
            started_at: job.started_at,
            completed_at: job.completed_at,
        }
    }
}

/// A job, and why it waits.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = JobDetail)]
pub(crate) struct Detail {
    #[serde(flatten)]
    job: Job,
    #[serde(flatten)]
    standing: Standing,
}

/// Why a job waits. All null when it does not: it has ended, or a worker has a part of it.
#[derive(Debug, Default, Serialize, utoipa::ToSchema)]
#[schema(as = JobWaiting)]
struct Standing {
    /// Why it waits.
    #[schema(required)]
    waiting_reason: Option<WaitingReason>,
    /// The reason as a sentence that says what can be done.
    #[schema(required)]
    waiting_message: Option<&'static str>,
    /// Where it stands in line, counted in parts of files: 1 is next. An approximation: priorities, waiting times and
    /// turns of namespaces are counted in, pauses and quotas of others are not. Null while it is suspended or pauses.
    #[schema(required, minimum = 1)]
    queue_position: Option<u64>,
    /// Whether the line before it is longer than was counted: then the position is the least that it can be.
    #[schema(required)]
    queue_position_at_least: Option<bool>,
    /// Seconds until it starts, estimated from what was done lately; null when nothing tells.
    #[schema(required)]
    estimated_start_seconds: Option<u64>,
}

impl Detail {
    pub(crate) fn new(job: filejobs_store::Job, wait: Option<Wait>) -> Self {
        let standing = wait.map_or_else(Standing::default, |wait| Standing {
            waiting_reason: Some(wait.reason),
            waiting_message: Some(wait.reason.sentence()),
            queue_position: wait.place.map(|place| place.position),
            queue_position_at_least: wait.place.map(|place| place.at_least),
            estimated_start_seconds: wait.seconds,
        });
        Self {
            job: job.into(),
            standing,
        }
    }
}

/// Why the job waits; `None` when it does not.
pub(crate) async fn wait(app: &App, job: &filejobs_store::Job) -> Result<Option<Wait>, Problem> {
    if job.status.is_terminal() {
        return Ok(None);
    }
    Ok(app.store().why_waiting(job.id).await?)
}

impl IntoResponse for Job {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

/// How fast a job goes. Both figures count up to the job's last change, not to the clock, so that the same job
/// gives the same bytes and entity tag.
pub(crate) struct Speed {
    pub(crate) rows_per_second: Option<f64>,
    pub(crate) eta_seconds: Option<u64>,
}

impl Speed {
    pub(crate) fn of(job: &filejobs_store::Job) -> Self {
        let seconds = job.started_at.map(|start| {
            let end = job.completed_at.unwrap_or(job.updated_at);
            end.duration_since(start).as_secs_f64().max(0.0)
        });
        let Some(seconds) = seconds.filter(|s| *s > 0.0) else {
            return Self {
                rows_per_second: None,
                eta_seconds: None,
            };
        };
        let rows = job.rows_processed as f64 / seconds;
        Self {
            rows_per_second: Some((rows * 10.0).round() / 10.0),
            eta_seconds: eta(job, seconds),
        }
    }
}

#[expect(
    clippy::cast_sign_loss,
    reason = "neither seconds nor remaining bytes are ever negative"
)]
fn eta(job: &filejobs_store::Job, seconds: f64) -> Option<u64> {
    if job.status != JobState::Processing {
        return None;
    }
    let (done, all) = match job.rows_total {
        Some(total) if total > 0 => (job.rows_processed, total),
        _ => (job.bytes_processed, job.file_size),
    };
    if done == 0 {
        return None;
    }
    let left = all.saturating_sub(done) as f64;
    Some((seconds * left / done as f64).ceil() as u64)
}

/// What was asked for exists once the job has ended.
pub(crate) fn not_ready(job: &filejobs_store::Job) -> Problem {
    let todo = match job.status {
        JobState::Suspended => "Resume it, wait for its end and ask again",
        _ => "Wait for its end (GET its `events` to be told) and ask again",
    };
    Problem::new(
        Code::NotReady,
        format!("The job is {} and has not ended. {todo}.", job.status),
    )
}

/// Only a job that read its file to the end has this. Tells why another has not.
pub(crate) fn only_completed(job: &filejobs_store::Job) -> Result<(), Problem> {
    match job.status {
        JobState::Completed => Ok(()),
        JobState::Queued | JobState::Processing | JobState::Suspended => Err(not_ready(job)),
        JobState::Failed => Err(Problem::new(
            Code::NoResults,
            "The job failed, so it has no results. GET the job for the reason, correct the file or the options and hand it in again, or retry the job.",
        )),
        JobState::Cancelled => Err(Problem::new(
            Code::NoResults,
            "The job was cancelled, so it has no results. Retry it to have its file read to the end.",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_reaches_a_hundred_only_at_the_end() {
        use JobState::{Completed, Processing, Queued};

        let mut job = filejobs_store::conformance::sample_job();
        let mut at = |bytes, rows, total, status| {
            job.bytes_processed = bytes;
            job.rows_processed = rows;
            job.rows_total = total;
            job.status = status;
            job.progress()
        };
        assert_eq!(at(0, 0, None, Queued), 0);
        assert_eq!(at(50, 5, None, Processing), 50);
        assert_eq!(at(100, 10, None, Processing), 99);
        assert_eq!(at(200, 1, Some(4), Processing), 25);
        assert_eq!(at(0, 0, None, Completed), 100);
    }
}
