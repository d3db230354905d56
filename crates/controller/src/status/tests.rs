use serde_json::json;

use super::*;
use crate::fixtures::{at, job, object};

fn shown(standing: &Standing<'_>) -> String {
    let object = Object::new(object(json!({}), true)).unwrap();
    let url = "https://files.example.org/".parse().unwrap();
    let status = status(&object, standing, Some(&url), at(1_000));
    serde_json::to_string_pretty(&status).unwrap()
}

#[test]
fn a_job_is_shown_through_its_life() {
    let queued = job(JobState::Queued);
    let mut running = job(JobState::Processing);
    running.started_at = Some(at(20));
    running.bytes_processed = 50;
    running.rows_processed = 5;
    running.rows_failed = 1;
    let mut done = job(JobState::Completed);
    done.started_at = Some(at(20));
    done.completed_at = Some(at(30));
    done.outcome = Some(Outcome::CompletedWithErrors);
    (done.rows_total, done.rows_processed, done.rows_failed) = (Some(10), 10, 2);
    done.errors_by_code
        .add_many(filejobs_core::FindingCode::ALL[0], 2);
    let mut failed = job(JobState::Failed);
    failed.completed_at = Some(at(30));
    failed.outcome = Some(Outcome::Failed);
    failed.failure_class = Some(FailureClass::Validation);
    failed.error_message = Some("The file has no column `day`.".to_owned());
    let held = job(JobState::Suspended);
    insta::assert_snapshot!("queued", shown(&Standing::Job(&queued, None)));
    insta::assert_snapshot!("running", shown(&Standing::Job(&running, None)));
    insta::assert_snapshot!("completed", shown(&Standing::Job(&done, None)));
    insta::assert_snapshot!("failed", shown(&Standing::Job(&failed, None)));
    insta::assert_snapshot!("suspended", shown(&Standing::Job(&held, None)));
}

#[test]
fn an_object_without_a_job_says_why() {
    let rejection = Rejection::new(Reason::InvalidSchema, "fields/0: no name.");
    insta::assert_snapshot!("rejected", shown(&Standing::Rejected(&rejection)));
    let fetching = Standing::Pending(Reason::Fetching, "The file is on its way.");
    insta::assert_snapshot!("fetching", shown(&fetching));
    let missing = Standing::Pending(Reason::SourceNotFound, "There is no ConfigMap `a`.");
    insta::assert_snapshot!("missing", shown(&missing));
    insta::assert_snapshot!("never_begun", shown(&Standing::NeverBegun));
}

/// The status of an object that shows `old` already.
fn again(old: &FileJobStatus, standing: &Standing<'_>, now: i64) -> FileJobStatus {
    let mut shown = object(json!({}), true);
    shown.status = Some(old.clone());
    status(&Object::new(shown).unwrap(), standing, None, at(now))
}

#[test]
fn what_has_not_changed_is_not_told_again() {
    let queued = job(JobState::Queued);
    let first = again(
        &FileJobStatus::default(),
        &Standing::Job(&queued, None),
        1_000,
    );
    assert_eq!(again(&first, &Standing::Job(&queued, None), 2_000), first);
    let removed = again(&first, &Standing::Removed, 3_000);
    assert_eq!(again(&removed, &Standing::Removed, 4_000), removed);
    assert_eq!(removed.phase, Some(Phase::Cancelled));
}

/// Whoever waits for the end of it gets one.
#[test]
fn an_object_whose_job_is_removed_has_ended_and_stays_as_it_ended() {
    let of = |status: &FileJobStatus, kind| {
        let condition = status.condition(kind).unwrap();
        (condition.status.clone(), condition.reason.clone())
    };
    let words = |status: &str, reason: &str| (status.to_owned(), reason.to_owned());
    let show = |job: &Job| again(&FileJobStatus::default(), &Standing::Job(job, None), 1_000);
    let queued = again(&show(&job(JobState::Queued)), &Standing::Removed, 2_000);
    let (finished, succeeded) = (ConditionType::Finished, ConditionType::Succeeded);
    assert_eq!(of(&queued, finished), words("True", "JobRemoved"));
    assert_eq!(of(&queued, succeeded), words("False", "JobRemoved"));

    let mut completed = job(JobState::Completed);
    completed.completed_at = Some(at(30));
    let before = show(&completed);
    let after = again(&before, &Standing::Removed, 2_000);
    assert_eq!(after.phase, Some(Phase::Completed));
    for kind in [finished, succeeded] {
        assert_eq!(of(&after, kind), of(&before, kind));
    }
}

#[test]
fn whoever_writes_into_a_status_is_overwritten() {
    let queued = job(JobState::Queued);
    let first = again(
        &FileJobStatus::default(),
        &Standing::Job(&queued, None),
        1_000,
    );
    let mut edited = first.clone();
    edited.phase = Some(Phase::Completed);
    edited.job_id = None;
    edited.conditions.retain(|one| one.type_ != "Finished");
    let right = again(&edited, &Standing::Job(&queued, None), 1_000);
    assert_eq!(right, first);
}

#[test]
fn an_object_stays_small_whatever_its_job_says() {
    let mut failed = job(JobState::Failed);
    failed.completed_at = Some(at(30));
    failed.error_message = Some("ü".repeat(100_000));
    failed.filename = "ü".repeat(10_000);
    for code in filejobs_core::FindingCode::ALL {
        failed.errors_by_code.add_many(*code, u64::from(u32::MAX));
    }
    let text = shown(&Standing::Job(&failed, None));
    let status: FileJobStatus = serde_json::from_str(&text).unwrap();
    assert!(status.errors_by_code.len() <= MAX_CODES);
    let bytes = serde_json::to_vec(&status).unwrap().len();
    assert!(bytes < 8 * 1024, "{bytes}");
}
