//! Objects and jobs for the tests of what is pure.

use filejobs_core::{FileType, JobState, Options};
use filejobs_crd::{FINALIZER, FileJob};
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
        filename: "orders.csv".to_owned(),
        blob: "uploads/orders.csv".to_owned(),
        file_size: 100,
        file_type: FileType::Csv,
        sha256: "0".repeat(64),
        status,
        outcome: None,
        failure_class: None,
        failure_code: None,
        error_message: None,
        rows_total: None,
        rows_processed: 0,
        rows_failed: 0,
        bytes_processed: 0,
        errors_by_code: filejobs_core::finding::CodeCounts::default(),
        errors_stored: 0,
        errors_truncated: false,
        tally: None,
        facts: None,
        options: Options::default(),
        schema: None,
        processor: json!({"type": "import"}),
        webhook_url: None,
        priority: 0,
        findings_max: 1_000,
        attempt: 0,
        generation: 0,
        tasks: TaskCounts {
            total: 1,
            done: 0,
            failed: 0,
        },
        created_at: at(0),
        queued_at: at(10),
        started_at: None,
        completed_at: None,
        updated_at: at(10),
        last_event: 1,
    }
}
