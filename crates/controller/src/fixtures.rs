//! Objects and jobs for the tests of what is pure.

use filejobs_core::JobState;
use filejobs_crd::{FINALIZER, FileJob};
use filejobs_store::conformance::sample_job;
use filejobs_store::{Job, TaskCounts};
use jiff::Timestamp;
use serde_json::{Value, json};

/// A moment: seconds from a fixed one.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + seconds).unwrap()
}

/// An object with this spec, whose source is a ConfigMap unless it says otherwise.
#[expect(clippy::needless_pass_by_value, reason = "called with literals")]
pub(crate) fn object(spec: Value, finalizer: bool) -> FileJob {
    let mut full = json!({"source": {"configMap": {"name": "orders", "key": "orders.csv"}}});
    let object = full.as_object_mut().unwrap();
    object.extend(spec.as_object().unwrap().clone());
    let finalizers: Vec<_> = finalizer.then_some(FINALIZER).into_iter().collect();
    serde_json::from_value(json!({
        "apiVersion": "filejobs.dev/v1alpha1",
        "kind": "FileJob",
        "metadata": {
            "name": "orders", "namespace": "team-a", "uid": "8d6e1c2a-1111-4222-8333-444455556666",
            "generation": 3, "creationTimestamp": at(0).to_string(), "finalizers": finalizers
        },
        "spec": full
    }))
    .unwrap()
}

/// A job of a small CSV file.
pub(crate) fn job(status: JobState) -> Job {
    Job {
        id: "019b76da-a800-7111-8222-333344445555".parse().unwrap(),
        namespace: "team-a".parse().unwrap(),
        status,
        findings_max: 1_000,
        tasks: TaskCounts {
            total: 1,
            done: 0,
            failed: 0,
        },
        created_at: at(0),
        queued_at: at(10),
        updated_at: at(10),
        ..sample_job()
    }
}
