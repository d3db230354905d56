//! The status of an object: a projection of what there is, without reading or writing anything.

use std::cmp::Reverse;

use filejobs_core::failure::FailureClass;
use filejobs_core::{JobState, Outcome};
use filejobs_crd::{
    ConditionType, FileJobStatus, MAX_CODES, MAX_MESSAGE, Phase, Reason, Rows, Tasks,
};
use filejobs_store::Job;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use url::Url;

use crate::object::Object;
use crate::validate::Rejection;

/// How an object stands.
#[derive(Debug)]
pub(crate) enum Standing<'a> {
    /// There will be no job.
    Rejected(&'a Rejection),
    /// There is no job yet.
    Pending(Reason, &'a str),
    /// It was cancelled before there was a job.
    NeverBegun,
    /// There is a job; why it waits, when it does.
    Job(&'a Job, Option<(Reason, String)>),
    /// The job was removed.
    Removed,
}

/// The conditions of a status, one after the other.
struct Conditions<'a> {
    old: &'a FileJobStatus,
    generation: i64,
    now: Timestamp,
    new: Vec<Condition>,
}

impl Conditions<'_> {
    /// Sets one. It keeps the time of its last transition while its status stays the same.
    fn set(&mut self, kind: ConditionType, status: &str, reason: Reason, message: &str) {
        let old = self.old.condition(kind);
        let since = old
            .filter(|old| old.status == status)
            .map_or(Time(seconds(self.now)), |old| {
                old.last_transition_time.clone()
            });
        self.new.push(Condition {
            type_: kind.as_str().to_owned(),
            status: status.to_owned(),
            reason: reason.as_str().to_owned(),
            message: cut(message),
            observed_generation: Some(self.generation),
            last_transition_time: since,
        });
    }
}

/// Times in a status are whole seconds, as all of Kubernetes has them.
fn seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Measured in bytes, which are what an object may have few of.
fn cut(message: &str) -> String {
    const MORE: &str = "…";
    if message.len() <= MAX_MESSAGE {
        return message.to_owned();
    }
    let end = message.floor_char_boundary(MAX_MESSAGE - MORE.len());
    format!("{}{MORE}", &message[..end])
}

/// The status of an object that stands like this.
pub(crate) fn status(
    object: &Object,
    standing: &Standing<'_>,
    public_url: Option<&Url>,
    now: Timestamp,
) -> FileJobStatus {
    let old = object.job.status.clone().unwrap_or_default();
    let mut conditions = Conditions {
        old: &old,
        generation: object.generation(),
        now,
        new: Vec::new(),
    };
    let mut status = match standing {
        Standing::Rejected(rejection) => rejected(rejection, &mut conditions),
        Standing::Pending(reason, message) => pending(*reason, message, &mut conditions),
        Standing::NeverBegun => never_begun(&mut conditions),
        Standing::Job(job, waiting) => of_job(job, waiting.as_ref(), public_url, &mut conditions),
        Standing::Removed => removed(&old, &mut conditions),
    };
    status.observed_generation = Some(object.generation());
    status.conditions = conditions.new;
    status
}

fn rejected(rejection: &Rejection, conditions: &mut Conditions<'_>) -> FileJobStatus {
    let Rejection { reason, message } = rejection;
    conditions.set(ConditionType::Accepted, "False", *reason, message);
    conditions.set(ConditionType::Finished, "True", Reason::Rejected, message);
    conditions.set(ConditionType::Succeeded, "False", Reason::Rejected, message);
    conditions.set(ConditionType::Stalled, "True", *reason, message);
    FileJobStatus {
        phase: Some(Phase::Rejected),
        reason: Some(reason.to_string()),
        message: Some(cut(message)),
        ..FileJobStatus::default()
    }
}

fn pending(reason: Reason, message: &str, conditions: &mut Conditions<'_>) -> FileJobStatus {
    let accepted = if reason == Reason::Fetching {
        "Unknown"
    } else {
        "False"
    };
    conditions.set(ConditionType::Accepted, accepted, reason, message);
    conditions.set(ConditionType::Finished, "False", Reason::InProgress, "");
    conditions.set(ConditionType::Reconciling, "True", reason, message);
    FileJobStatus {
        phase: Some(Phase::Pending),
        reason: Some(reason.to_string()),
        message: Some(cut(message)),
        ..FileJobStatus::default()
    }
}

fn never_begun(conditions: &mut Conditions<'_>) -> FileJobStatus {
    let message = "Cancelled before there was a job.";
    conditions.set(ConditionType::Finished, "True", Reason::Cancelled, message);
    conditions.set(
        ConditionType::Succeeded,
        "False",
        Reason::Cancelled,
        message,
    );
    FileJobStatus {
        phase: Some(Phase::Cancelled),
        reason: Some(Reason::Cancelled.to_string()),
        message: Some(message.to_owned()),
        ..FileJobStatus::default()
    }
}

/// All stays as it was told last, but for the condition that says so. What had not ended by then never will.
fn removed(old: &FileJobStatus, conditions: &mut Conditions<'_>) -> FileJobStatus {
    let message = "The job was removed by the API or by retention, and with it its results.";
    let ended = old.condition(ConditionType::Finished);
    let ended = ended.is_some_and(|finished| finished.status == "True");
    let mut anew = vec![ConditionType::Synced, ConditionType::Reconciling];
    if !ended {
        anew.extend([ConditionType::Finished, ConditionType::Succeeded]);
    }
    let stays = |condition: &&Condition| anew.iter().all(|kind| kind.as_str() != condition.type_);
    let others = old.conditions.iter().filter(stays);
    conditions.new.extend(others.cloned());
    let mut status = FileJobStatus {
        results_url: None,
        message: Some(message.to_owned()),
        ..old.clone()
    };
    if !ended {
        let reason = Reason::JobRemoved;
        conditions.set(ConditionType::Finished, "True", reason, message);
        conditions.set(ConditionType::Succeeded, "False", reason, message);
        status.phase = Some(Phase::Cancelled);
        status.reason = Some(reason.to_string());
    }
    conditions.set(ConditionType::Synced, "False", Reason::JobRemoved, message);
    status
}

fn of_job(
    job: &Job,
    waiting: Option<&(Reason, String)>,
    public_url: Option<&Url>,
    conditions: &mut Conditions<'_>,
) -> FileJobStatus {
    conditions.set(ConditionType::Accepted, "True", Reason::JobCreated, "");
    let admitted = admitted(job, waiting);
    let held = job.status == JobState::Suspended;
    let (reason, message) = ending(job);
    match &admitted {
        None => conditions.set(ConditionType::Admitted, "True", Reason::Started, ""),
        Some((reason, message)) => {
            conditions.set(ConditionType::Admitted, "False", *reason, message);
        }
    }
    if held {
        conditions.set(
            ConditionType::Suspended,
            "True",
            Reason::SuspendedByOwner,
            "",
        );
    } else {
        conditions.set(ConditionType::Suspended, "False", Reason::NotSuspended, "");
    }
    let ended = job.status.is_terminal();
    let finished = if ended { "True" } else { "False" };
    conditions.set(ConditionType::Finished, finished, reason, &message);
    let succeeded = match job.status {
        JobState::Completed => "True",
        JobState::Failed | JobState::Cancelled => "False",
        JobState::Queued | JobState::Processing | JobState::Suspended => "Unknown",
    };
    conditions.set(ConditionType::Succeeded, succeeded, reason, &message);
    conditions.set(ConditionType::Synced, "True", Reason::InSync, "");
    let shown = match (&admitted, held) {
        _ if ended => (reason, message),
        (_, true) => (
            Reason::SuspendedByOwner,
            "Held back by its owner.".to_owned(),
        ),
        (Some((reason, message)), _) => (*reason, message.clone()),
        (None, _) => (reason, message),
    };
    FileJobStatus {
        observed_generation: None,
        phase: Some(phase(job.status)),
        reason: Some(shown.0.to_string()),
        job_id: Some(job.id.to_string()),
        file: Some(job.filename.chars().take(255).collect()),
        progress: Some(format!("{}%", job.progress())),
        rows: Some(rows(job)),
        tasks: Some(Tasks {
            total: job.tasks.total,
            done: job.tasks.done,
            failed: job.tasks.failed,
        }),
        attempt: Some(job.attempt),
        errors_by_code: codes(job),
        queued_time: Some(Time(seconds(job.queued_at))),
        start_time: job.started_at.map(seconds).map(Time),
        completion_time: job.completed_at.map(seconds).map(Time),
        message: Some(shown.1)
            .filter(|text| !text.is_empty())
            .as_deref()
            .map(cut),
        results_url: results(job, public_url),
        conditions: Vec::new(),
    }
}

/// Why no worker has it yet; `None` when one has, or had.
fn admitted(job: &Job, waiting: Option<&(Reason, String)>) -> Option<(Reason, String)> {
    if job.started_at.is_some() {
        return None;
    }
    Some(match job.status {
        JobState::Suspended => (Reason::SuspendedByOwner, String::new()),
        JobState::Cancelled => (Reason::Cancelled, String::new()),
        JobState::Failed => (failure(job), String::new()),
        JobState::Queued | JobState::Processing | JobState::Completed => waiting
            .cloned()
            .unwrap_or((Reason::Queued, "Waits for its turn.".to_owned())),
    })
}

/// What an object shows of its job's state.
pub(crate) fn phase(state: JobState) -> Phase {
    match state {
        JobState::Queued => Phase::Queued,
        JobState::Processing => Phase::Processing,
        JobState::Suspended => Phase::Suspended,
        JobState::Completed => Phase::Completed,
        JobState::Failed => Phase::Failed,
        JobState::Cancelled => Phase::Cancelled,
    }
}

fn failure(job: &Job) -> Reason {
    match job.failure_class {
        Some(FailureClass::Validation) => Reason::ValidationFailed,
        Some(FailureClass::Limit) => Reason::LimitExceeded,
        Some(FailureClass::Processing) | None => Reason::ProcessingFailed,
        Some(FailureClass::Infrastructure) => Reason::InfrastructureFailed,
        Some(FailureClass::Deadline) => Reason::DeadlineExceeded,
        Some(FailureClass::Source) => Reason::SourceFailed,
    }
}

/// How it ended, or that it has not.
fn ending(job: &Job) -> (Reason, String) {
    match job.status {
        JobState::Completed if job.outcome == Some(Outcome::CompletedWithErrors) => {
            let message = match job.rows_failed {
                0 => "Every row is valid; the file has findings that cost no row.".to_owned(),
                failed => format!("{failed} of {} rows have errors.", job.rows_processed),
            };
            (Reason::CompletedWithErrors, message)
        }
        JobState::Completed => {
            let message = format!("All {} rows are valid.", job.rows_processed);
            (Reason::Completed, message)
        }
        JobState::Failed => (failure(job), job.error_message.clone().unwrap_or_default()),
        JobState::Cancelled => (Reason::Cancelled, "Ended by its owner.".to_owned()),
        JobState::Queued | JobState::Processing | JobState::Suspended => {
            (Reason::InProgress, String::new())
        }
    }
}

fn rows(job: &Job) -> Rows {
    Rows {
        processed: job.rows_processed,
        valid: job.rows_processed.saturating_sub(job.rows_failed),
        failed: job.rows_failed,
    }
}

fn codes(job: &Job) -> std::collections::BTreeMap<String, u64> {
    let mut codes: Vec<_> = job.errors_by_code.iter().filter(|(_, n)| *n > 0).collect();
    codes.sort_by_key(|(code, n)| (Reverse(*n), code.as_str()));
    let most = codes.into_iter().take(MAX_CODES);
    most.map(|(code, n)| (code.as_str().to_owned(), n))
        .collect()
}

fn results(job: &Job, public_url: Option<&Url>) -> Option<String> {
    if job.status != JobState::Completed {
        return None;
    }
    let url = public_url?.join(&format!("api/jobs/{}/results", job.id));
    url.ok().map(String::from).filter(|url| url.len() <= 2048)
}

#[cfg(test)]
mod tests;
