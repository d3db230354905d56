//! What a job's change is told with: the data of events and the body of webhooks, the same from every database.

use filejobs_core::JobState;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::Job;

/// An event's kind: the job's state changed.
pub const STATE: &str = "state";
/// An event's kind: the job has ended.
pub const FINISHED: &str = "finished";

/// Data of a `state` event.
#[must_use]
pub fn state(status: JobState, generation: u32) -> Value {
    json!({"status": status, "generation": generation})
}

/// Data of a `finished` event: the job's final counters.
#[must_use]
pub fn finished(job: &Job) -> Value {
    json!({
        "status": job.status,
        "outcome": job.outcome,
        "failure_class": job.failure_class,
        "failure_code": job.failure_code,
        "error_message": job.error_message,
        "rows_total": job.rows_total,
        "rows_processed": job.rows_processed,
        "rows_failed": job.rows_failed,
        "errors_by_code": job.errors_by_code,
        "errors_truncated": job.errors_truncated,
        "attempt": job.attempt,
        "generation": job.generation,
        "completed_at": job.completed_at,
    })
}

/// Body of the webhook that tells of a job's end at `now`. `None` for a job that has not ended.
#[must_use]
pub fn webhook_body(job: &Job, now: Timestamp) -> Option<String> {
    let kind = match job.status {
        JobState::Completed => "filejob.completed",
        JobState::Failed => "filejob.failed",
        JobState::Cancelled => "filejob.cancelled",
        JobState::Queued | JobState::Processing | JobState::Suspended => return None,
    };
    let body = json!({
        "type": kind,
        "timestamp": now,
        "job_id": job.id,
        "status": job.status,
        "rows_processed": job.rows_processed,
        "rows_failed": job.rows_failed,
        "completed_at": job.completed_at,
    });
    Some(body.to_string())
}
