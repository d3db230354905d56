use filejobs_crd::FileJob;
use serde_json::{Value, json};

use super::*;
use crate::fixtures::{self, at, object};

const NOW: i64 = 1_000;

/// The steps of a plan, short.
fn planned(
    object: &FileJob,
    link: Option<Applied>,
    job: Option<&Job>,
) -> (Vec<String>, Option<Duration>) {
    let object = Object::new(object.clone()).unwrap();
    let link = link.map(|applied| ObjectLink {
        job: object.id,
        object: object.reference.clone(),
        webhook_secret: None,
        seen: filejobs_store_postgres::objects::Seen::Here,
        applied,
    });
    let wanted = link
        .is_none()
        .then(|| crate::validate::validate(&object.job.spec, &filejobs_core::Limits::default()));
    let plan = plan(&Seen {
        object: &object,
        link: link.as_ref(),
        job,
        wanted: wanted.as_ref(),
        now: at(NOW),
    });
    let short = |step: &Step| match step {
        Step::Fetch(_) => "Fetch".to_owned(),
        Step::Link(_) => "Link".to_owned(),
        Step::RemoveJob(_) => "RemoveJob".to_owned(),
        Step::Fail(failure) => format!("Fail {}: {}", failure.code.as_str(), failure.message),
        other => format!("{other:?}"),
    };
    (plan.steps.iter().map(short).collect(), plan.again)
}

fn steps(object: &FileJob, link: Option<Applied>, job: Option<&Job>) -> Vec<String> {
    planned(object, link, job).0
}

#[test]
fn a_new_object_gets_its_finalizer_before_anything_is_made() {
    assert_eq!(
        steps(&object(json!({}), false), None, None),
        ["AddFinalizer", "Fetch"]
    );
    let upload = json!({"source": {"upload": {"id": "0190f5a4-7c2e-7d3a-9b1c-2f6e8a4d5c6b"}}});
    assert_eq!(
        steps(&object(upload, false), None, None),
        ["AddFinalizer", "Link"]
    );
}

#[test]
fn an_object_that_cannot_be_carried_out_holds_nobody() {
    let bad = json!({"processor": {"type": "shred"}});
    assert_eq!(
        steps(&object(bad.clone(), false), None, None),
        ["StopFetching"]
    );
    assert_eq!(
        steps(&object(bad, true), None, None),
        ["StopFetching", "RemoveFinalizer"]
    );
}

#[test]
fn an_object_that_is_cancelled_before_its_job_gets_none() {
    let cancelled = object(json!({"cancel": true}), true);
    assert_eq!(
        steps(&cancelled, None, None),
        ["StopFetching", "RemoveFinalizer"]
    );
}

#[test]
fn a_deleted_object_is_cleaned_whatever_its_spec_says() {
    let mut deleted = object(json!({"processor": {"type": "shred"}}), true);
    deleted.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(0)));
    let cleaned = ["StopFetching", "RemoveJob", "RemoveFinalizer"];
    assert_eq!(steps(&deleted, None, None), cleaned);
    let job = fixtures::job(JobState::Processing);
    assert_eq!(
        steps(&deleted, Some(Applied::default()), Some(&job)),
        cleaned
    );
    deleted.metadata.finalizers = None;
    assert_eq!(
        steps(&deleted, Some(Applied::default()), Some(&job)),
        [""; 0]
    );
}

#[test]
fn an_object_that_names_a_foreign_upload_does_not_remove_it() {
    let upload = json!({"source": {"upload": {"id": "0190f5a4-7c2e-7d3a-9b1c-2f6e8a4d5c6b"}}});
    let mut deleted = object(upload, true);
    deleted.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(0)));
    assert_eq!(
        steps(&deleted, None, None),
        ["StopFetching", "RemoveFinalizer"]
    );
}

#[test]
fn only_what_changed_in_the_spec_is_carried_out() {
    let queued = fixtures::job(JobState::Queued);
    let held = fixtures::job(JobState::Suspended);
    let same = object(json!({}), true);
    // Held back by the API, which the spec says nothing about: it stays so.
    assert_eq!(steps(&same, Some(Applied::default()), Some(&held)), [""; 0]);
    let suspended = object(json!({"suspend": true, "priority": 7}), true);
    assert_eq!(
        steps(&suspended, Some(Applied::default()), Some(&queued)),
        [
            "Suspend",
            "Prioritise(7)",
            "Note(Applied { suspend: true, cancel: false, priority: 7, retries: 0 })"
        ]
    );
    let was = Applied {
        suspend: true,
        ..Applied::default()
    };
    assert_eq!(
        steps(&same, Some(was), Some(&held)),
        [
            "Resume",
            "Note(Applied { suspend: false, cancel: false, priority: 0, retries: 0 })"
        ]
    );
    let cancelled = object(json!({"cancel": true}), true);
    assert_eq!(
        steps(&cancelled, Some(Applied::default()), Some(&queued)),
        [
            "Cancel",
            "Note(Applied { suspend: false, cancel: true, priority: 0, retries: 0 })"
        ]
    );
}

#[test]
fn a_retry_takes_a_cancelled_job_further_and_no_other() {
    let retried = object(json!({"retryGeneration": 1}), true);
    let was = Applied {
        cancel: true,
        ..Applied::default()
    };
    let cancelled = fixtures::job(JobState::Cancelled);
    assert_eq!(steps(&retried, Some(was), Some(&cancelled)), ["Retry(1)"]);
    let running = fixtures::job(JobState::Processing);
    assert_eq!(
        steps(&retried, Some(Applied::default()), Some(&running)),
        [
            "Retry(1)",
            "Tell(RetryRefused, \"A job that is PROCESSING cannot be retried.\")"
        ]
    );
    // Held back before its end: what the spec says of that is carried out anew.
    let held = object(json!({"retryGeneration": 1, "suspend": true}), true);
    let was = Applied {
        suspend: true,
        cancel: true,
        ..Applied::default()
    };
    assert_eq!(
        steps(&held, Some(was), Some(&cancelled)),
        [
            "Retry(1)",
            "Suspend",
            "Note(Applied { suspend: true, cancel: false, priority: 0, retries: 0 })"
        ]
    );
    // Seen is seen.
    let seen = Applied {
        retries: 1,
        ..Applied::default()
    };
    assert_eq!(steps(&retried, Some(seen), Some(&cancelled)), [""; 0]);
}

#[test]
fn deadlines_and_time_to_live_are_kept_to_the_second() {
    let mut job = fixtures::job(JobState::Queued);
    job.queued_at = at(NOW - 10);
    let applied = Some(Applied::default());
    let waits = object(json!({"queueDeadlineSeconds": 11}), true);
    assert_eq!(
        planned(&waits, applied, Some(&job)),
        (vec![], Some(Duration::from_secs(1)))
    );
    let over = object(json!({"queueDeadlineSeconds": 10}), true);
    assert_eq!(
        steps(&over, applied, Some(&job)),
        [
            "Fail DEADLINE_EXCEEDED: The job waited for a worker for longer than the 10 s that its FileJob allows."
        ]
    );
    let mut active = fixtures::job(JobState::Processing);
    active.started_at = Some(at(NOW - 10));
    let over = object(
        json!({"activeDeadlineSeconds": 10, "queueDeadlineSeconds": 1}),
        true,
    );
    assert_eq!(
        steps(&over, applied, Some(&active)),
        [
            "Fail DEADLINE_EXCEEDED: The job was active for longer than the 10 s that its FileJob allows."
        ]
    );
    let mut ended = fixtures::job(JobState::Completed);
    ended.completed_at = Some(at(NOW - 10));
    let spec = |ttl: u32| {
        object(
            json!({"ttlSecondsAfterFinished": ttl, "activeDeadlineSeconds": 1}),
            true,
        )
    };
    assert_eq!(
        planned(&spec(15), applied, Some(&ended)),
        (vec![], Some(Duration::from_secs(5)))
    );
    assert_eq!(steps(&spec(10), applied, Some(&ended)), ["DeleteObject"]);
    assert_eq!(steps(&spec(0), applied, Some(&ended)), ["DeleteObject"]);
}

/// An object that shows since `ended` that it has ended, of another generation than its own when `old`.
fn shows_rejection(spec: Value, ended: i64, old: bool) -> FileJob {
    let mut object = object(spec, true);
    let condition = |kind: &str, status: &str, reason: &str| {
        json!({"type": kind, "status": status, "reason": reason, "message": "It redirects.",
            "lastTransitionTime": at(ended).to_string()})
    };
    let status = json!({
        "phase": "Rejected",
        "observedGeneration": object.metadata.generation.unwrap() - i64::from(old),
        "conditions": [
            condition("Accepted", "False", "SourceRefused"),
            condition("Finished", "True", "Rejected"),
        ]
    });
    object.status = Some(serde_json::from_value(status).unwrap());
    object
}

#[test]
fn a_rejection_stands_until_the_spec_changes() {
    let shown = |old| Object::new(shows_rejection(json!({}), NOW - 10, old)).unwrap();
    let rejection = shown(false).rejection().unwrap();
    assert_eq!(
        (rejection.reason.as_str(), &*rejection.message),
        ("SourceRefused", "It redirects.")
    );
    assert_eq!(shown(true).rejection(), None);
    assert_eq!(
        Object::new(object(json!({}), true)).unwrap().rejection(),
        None
    );
}

#[test]
fn an_object_without_a_job_goes_when_its_time_is_over() {
    let rejected = |ttl: u32, old| {
        let spec = json!({"ttlSecondsAfterFinished": ttl, "processor": {"type": "shred"}});
        planned(&shows_rejection(spec, NOW - 10, old), None, None)
    };
    let let_go = ["StopFetching", "RemoveFinalizer"].map(str::to_owned);
    let (steps, again) = rejected(15, false);
    assert_eq!(
        (&*steps, again),
        (&let_go[..], Some(Duration::from_secs(5)))
    );
    assert_eq!(rejected(10, false).0.last().unwrap(), "DeleteObject");
    // Whether the spec as it is now is rejected, too, is not shown yet.
    assert_eq!(rejected(10, true), (let_go.to_vec(), None));
}

#[test]
fn an_object_whose_job_is_gone_stays_unless_an_upload_made_it() {
    let applied = Some(Applied::default());
    assert_eq!(
        steps(&object(json!({}), true), applied, None),
        ["RemoveFinalizer"]
    );
    let upload = json!({"source": {"upload": {"id": "0190f5a4-7c2e-7d3a-9b1c-2f6e8a4d5c6b"}}});
    let mut made = object(upload, true);
    made.metadata.labels = Some(
        [(
            "filejobs.dev/job-id".to_owned(),
            "0190f5a4-7c2e-7d3a-9b1c-2f6e8a4d5c6b".to_owned(),
        )]
        .into(),
    );
    assert_eq!(
        steps(&made, applied, None),
        ["RemoveFinalizer", "DeleteObject"]
    );
}
