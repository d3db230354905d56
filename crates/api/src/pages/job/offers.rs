//! What can be done with a job, and what can be taken away from it.

use filejobs_core::{JobEvent, JobState};
use filejobs_store::Job;

use crate::jobs::view;

/// A button.
#[derive(Debug)]
pub(super) struct Action {
    pub(super) name: &'static str,
    pub(super) method: &'static str,
    pub(super) url: String,
    /// What to ask before it is done.
    pub(super) confirm: Option<&'static str>,
    /// Where to go afterwards.
    pub(super) then: Option<&'static str>,
    /// Whether the page starts afresh afterwards.
    pub(super) again: bool,
    pub(super) danger: bool,
}

/// Something to take away.
#[derive(Debug)]
pub(super) struct Download {
    pub(super) name: &'static str,
    pub(super) href: String,
}

/// Buttons for what the job's state allows.
pub(super) fn actions(job: &Job) -> Vec<Action> {
    let path = view::path(job.id);
    let action = |name, verb: &str| Action {
        name,
        method: "POST",
        url: format!("{path}/{verb}"),
        confirm: None,
        then: None,
        again: false,
        danger: false,
    };
    let allows = |event| job.status.after(event).is_ok_and(|next| next != job.status);
    let mut actions = Vec::new();
    if allows(JobEvent::Suspend) {
        actions.push(action("Suspend", "suspend"));
    }
    if allows(JobEvent::Resume) {
        actions.push(action("Resume", "resume"));
    }
    if allows(JobEvent::Retry) {
        actions.push(Action {
            again: true,
            ..action("Retry", "retry")
        });
    }
    if allows(JobEvent::Cancel) {
        actions.push(Action {
            confirm: Some(
                "Cancel this job? What it has found so far stays; results there will be none.",
            ),
            danger: true,
            ..action("Cancel job", "cancel")
        });
    }
    // Deleting a job that is being processed only cancels it, and there is a button for that.
    if job.status != JobState::Processing {
        actions.push(Action {
            method: "DELETE",
            url: path.clone(),
            confirm: Some(
                "Delete this job with its file, findings and results? This cannot be undone.",
            ),
            then: Some("/"),
            danger: true,
            ..action("Delete", "")
        });
    }
    actions
}

pub(super) fn downloads(job: &Job) -> Vec<Download> {
    let (api, page) = (view::path(job.id), format!("/jobs/{}", job.id));
    let completed = job.status == JobState::Completed;
    let read = completed || job.status == JobState::Failed;
    let offers = [
        (completed, "Valid rows (CSV)", format!("{page}/results.csv")),
        (
            completed,
            "Valid rows (Parquet)",
            format!("{page}/results.parquet"),
        ),
        (
            job.rows_failed > 0 && read,
            "Rejected rows (CSV)",
            format!("{api}/rejected.csv"),
        ),
        (
            job.errors_stored > 0 && read,
            "Findings (CSV)",
            format!("{page}/errors.csv"),
        ),
        (read, "Report (JSON)", format!("{api}/report")),
        (completed, "Schema (JSON)", format!("{api}/schema")),
    ];
    let offers = offers.into_iter().filter(|(offered, ..)| *offered);
    offers
        .map(|(_, name, href)| Download { name, href })
        .collect()
}
