//! Every metric of the service.
//!
//! To add one: a line here, in the part of its process; a recording where it happens; `cargo xtask generate` for
//! docs/metrics.md. A label is a closed set, and never an id, a name that somebody chose, a host or a path.

use Process::{Api, Controller, Scheduler, Worker};

use crate::metric::{Counter, Descriptor, Gauge, Histogram, Kind, Label, Process, Values};

/// Processes that read and write the database.
const EVERY: &[Process] = &[Api, Worker, Scheduler, Controller];
/// Processes that schedule, while they lead.
const SCHEDULING: &[Process] = &[Scheduler, Controller];

/// Buckets for what a caller waits for, in seconds.
const ANSWERS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
/// Buckets for what a job takes, in seconds.
const WORK: &[f64] = &[
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
];

const fn these(name: &'static str, values: &'static [&'static str]) -> Label {
    let values = Values::These(values);
    Label { name, values }
}

const TYPE: Label = these("type", &["csv", "xlsx", "xls"]);
const OUTCOME: Label = these(
    "outcome",
    &["completed", "completed_with_errors", "failed", "cancelled"],
);
const FAILURE_CLASS: Label = these(
    "failure_class",
    &[
        "",
        "validation",
        "limit",
        "processing",
        "infrastructure",
        "deadline",
        "source",
    ],
);
const KIND: Label = these("kind", &["whole", "plan", "piece"]);
const BACKEND: Label = these("backend", &["db", "redis", "storage"]);
const RECONCILE: Label = these(
    "result",
    &[
        "done",
        "conflict",
        "forbidden",
        "api_server",
        "unreachable",
        "db",
        "storage",
        "slow",
        "defect",
    ],
);
const METHOD: Label = these(
    "method",
    &[
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other",
    ],
);
const ROUTE: Label = Label {
    name: "route",
    values: Values::Of(
        "the path's template, such as `/api/jobs/{id}`; `other` where nothing is served",
    ),
};
const STATUS_CLASS: Label = these("status", &["1xx", "2xx", "3xx", "4xx", "5xx"]);
const PROBLEM: Label = Label {
    name: "code",
    values: Values::Of("a problem code of docs/api-design.md"),
};
const FINDING: Label = Label {
    name: "code",
    values: Values::FindingCode,
};
const FAILURE: Label = Label {
    name: "code",
    values: Values::FailureCode,
};
const ROW_RESULT: Label = these("result", &["valid", "failed"]);
const ATTEMPT_RESULT: Label = these(
    "result",
    &["done", "failed", "retried", "released", "taken_away"],
);
const FOLLOWS: Label = these("follows", &["attempt", "failure"]);
const ENGINE_END: Label = these(
    "reason",
    &[
        "result",
        "memory",
        "cpu_time",
        "file_size",
        "clock",
        "system_killed",
        "crash",
        "unreadable",
        "unwritable",
        "disk_full",
        "stopped",
        "not_started",
    ],
);
const DELIVERY: Label = these("result", &["delivered", "retried", "abandoned"]);
const JOB_STATUS: Label = these(
    "status",
    &[
        "QUEUED",
        "PROCESSING",
        "SUSPENDED",
        "COMPLETED",
        "FAILED",
        "CANCELLED",
    ],
);
const TASK_STATE: Label = these("state", &["pending", "published", "running"]);
const SLOT_STATE: Label = these("state", &["busy", "free"]);
const CONNECTION: Label = these("state", &["used", "idle"]);
const VERSION: Label = Label {
    name: "version",
    values: Values::Of("the program's version"),
};

/// One static for each line, and [`ALL`].
macro_rules! table {
    ($($kind:ident $name:ident = $text:literal [$($label:expr),*] by $by:expr $(, in $buckets:expr)?; $help:literal)*) => {
        $(
            #[doc = $help]
            pub static $name: $kind<{ <[Label]>::len(&[$($label),*]) }> = $kind(Descriptor {
                name: $text,
                kind: Kind::$kind,
                labels: &[$($label),*],
                help: $help,
                by: $by,
                buckets: table!(@buckets $($buckets)?),
            });
        )*

        /// Every line.
        pub static ALL: &[&Descriptor] = &[$(&$name.0),*];
    };
    (@buckets) => { &[] };
    (@buckets $buckets:expr) => { $buckets };
}

table! {
    // --- calls --------------------------------------------------------------------------------------------
    Histogram HTTP_DURATION = "filejobs_http_request_duration_seconds" [METHOD, ROUTE, STATUS_CLASS] by &[Api], in ANSWERS;
        "Time from a request's arrival to the head of its answer; what follows the head (downloads, event streams) is not in it."
    Counter HTTP_PROBLEMS = "filejobs_http_problems_total" [PROBLEM] by &[Api];
        "Requests that were answered with a problem."
    Counter JOBS_CREATED = "filejobs_jobs_created_total" [TYPE] by &[Api, Controller];
        "Jobs that were handed in."
    Counter UPLOADED = "filejobs_uploaded_bytes_total" [] by &[Api, Controller];
        "Bytes of the files of jobs that were handed in."

    // --- jobs ---------------------------------------------------------------------------------------------
    Counter JOBS_FINISHED = "filejobs_jobs_finished_total" [OUTCOME, FAILURE_CLASS] by EVERY;
        "Jobs that ended, counted by the process whose commit ended them; the failure class is empty unless the job failed."
    Histogram JOB_WAIT = "filejobs_job_wait_seconds" [] by &[Worker], in WORK;
        "Time from a job's hand-in (or retry, or resumption) to the first claim of its first task."
    Histogram JOB_PROCESSING = "filejobs_job_processing_seconds" [OUTCOME] by EVERY, in WORK;
        "Time from a job's first claim to its end, pauses between attempts included; jobs that were never begun are not in it."

    // --- work ---------------------------------------------------------------------------------------------
    Counter ATTEMPTS = "filejobs_attempts_total" [KIND, ATTEMPT_RESULT] by &[Worker];
        "Attempts at tasks by how they ended. `failed`: the task failed for good; `retried`: another attempt follows; `released`: given back because the worker stops; `taken_away`: the task was cancelled, suspended or given to another worker."
    Counter ATTEMPT_FAILURES = "filejobs_attempt_failures_total" [FAILURE] by &[Worker];
        "Attempts that failed, whether another follows or not, by failure code."
    Histogram ATTEMPT_DURATION = "filejobs_attempt_duration_seconds" [KIND] by &[Worker], in WORK;
        "Time from the claim of a task to the end of the attempt, results stored and committed."
    Counter ROWS = "filejobs_rows_total" [ROW_RESULT] by &[Worker];
        "Rows of committed tasks; a failed row has at least one finding."
    Counter ROW_ERRORS = "filejobs_row_errors_total" [FINDING] by &[Worker];
        "Findings of committed tasks, those beyond the stored ones included."
    Counter READ = "filejobs_read_bytes_total" [] by &[Worker];
        "Bytes of files and pieces whose tasks were committed; a plan's own reading is not counted."
    Counter ENGINE_ENDS = "filejobs_engine_ends_total" [ENGINE_END] by &[Worker];
        "Child processes that read files, by why they ended. `result`: by themselves, with a result; `stopped`: ended by the worker."
    Counter RENEWALS_FAILED = "filejobs_lease_renewals_failed_total" [] by &[Worker];
        "Times that the leases of all running tasks could not be renewed."
    Gauge WORKER_SLOTS = "filejobs_worker_slots" [SLOT_STATE] by &[Worker];
        "Slots of this worker."

    // --- scheduling ---------------------------------------------------------------------------------------
    Gauge LEADS = "filejobs_scheduler_leads" [] by SCHEDULING;
        "Whether this scheduler leads: 1 for one of them, 0 for those that stand by."
    Counter PUBLISHED = "filejobs_tickets_published_total" [] by SCHEDULING;
        "Tasks that were handed to the queue."
    Counter REPUBLISHED = "filejobs_tickets_republished_total" [] by SCHEDULING;
        "Tasks that were handed to the queue again because nobody claimed them."
    Counter LEASES_LOST = "filejobs_leases_lost_total" [FOLLOWS] by SCHEDULING;
        "Running tasks that were taken from a worker that no longer renewed them, by what followed: another attempt, or the failure of the job."
    Counter SCHEDULER_FAILURES = "filejobs_scheduler_failures_total" [BACKEND] by SCHEDULING;
        "Rounds of the scheduler's loops that a back end spoiled; each is done again."
    Counter WEBHOOK_ATTEMPTS = "filejobs_webhook_attempts_total" [DELIVERY] by SCHEDULING;
        "Attempts to deliver a webhook. `retried`: it failed and another follows; `abandoned`: it failed and none follows."
    Histogram WEBHOOK_DURATION = "filejobs_webhook_attempt_duration_seconds" [] by SCHEDULING, in ANSWERS;
        "Time that an attempt to deliver a webhook took, waiting for its host's turn not included."
    Counter JOBS_EXPIRED = "filejobs_jobs_expired_total" [] by SCHEDULING;
        "Jobs that were removed because they ended long enough ago."
    Counter ORPHANS = "filejobs_orphan_blobs_removed_total" [] by SCHEDULING;
        "Files and results that belonged to no job and were removed."

    // --- the whole service, told by the scheduler that leads -------------------------------------------------
    Gauge JOBS = "filejobs_jobs" [JOB_STATUS] by SCHEDULING;
        "Jobs that there are, by status. Only the scheduler that leads has it."
    Gauge QUEUE_TASKS = "filejobs_queue_tasks" [TASK_STATE] by SCHEDULING;
        "Tasks that are not done. `pending` waits for its turn, `published` is on its way to a worker. Only the scheduler that leads has it."
    Gauge QUEUE_OLDEST = "filejobs_queue_oldest_age_seconds" [] by SCHEDULING;
        "How long the oldest task that waits or is on its way has waited; 0 when none does. Only the scheduler that leads has it."
    Gauge DEAD_LETTERS = "filejobs_dead_letters" [] by SCHEDULING;
        "Tasks that used up their attempts and were not replayed. Only the scheduler that leads has it."
    Gauge WORKERS = "filejobs_workers" [] by SCHEDULING;
        "Workers that were heard of within the last 20 seconds. Only the scheduler that leads has it."
    Gauge SLOTS = "filejobs_slots" [SLOT_STATE] by SCHEDULING;
        "Slots of all workers that were heard of. Only the scheduler that leads has it."

    // --- objects ------------------------------------------------------------------------------------------
    Counter RECONCILES = "filejobs_reconciles_total" [RECONCILE] by &[Controller];
        "Looks at objects, by what came of them; those that failed are repeated. `conflict`: something else came first. `forbidden`: the controller lacks a right. `defect`: ours."
    Gauge MIRROR_DRIFT = "filejobs_mirror_drift" [] by &[Controller];
        "Jobs without their objects, and jobs of objects that are gone, that were found when they were last compared and could not be mended. Only the controller that leads has it."
    Histogram MIRROR_LAG = "filejobs_mirror_lag_seconds" [] by &[Controller], in ANSWERS;
        "Time from a job's end until the status of its object showed it."

    // --- every process ------------------------------------------------------------------------------------
    Gauge BACKEND_UP = "filejobs_backend_up" [BACKEND] by EVERY;
        "Whether a back end answered this process just now."
    Gauge DB_CONNECTIONS = "filejobs_db_connections" [CONNECTION] by EVERY;
        "Open connections of this process' pool to the database."
    Gauge DB_CONNECTIONS_MAX = "filejobs_db_connections_max" [] by EVERY;
        "Connections that this process' pool may open."
    Gauge BUILD_INFO = "filejobs_build_info" [VERSION] by EVERY;
        "Always 1; the label says what runs."
}

/// What every process has beside [`ALL`]: figures about itself from the operating system, under the names that
/// Prometheus client libraries share.
pub const OF_THE_PROCESS: &[&str] = &[
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_threads",
    "process_virtual_memory_bytes",
    "process_virtual_memory_max_bytes",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use filejobs_core::{FailureClass, JobState, Outcome};

    use super::*;

    #[test]
    fn names_are_one_of_a_kind_and_say_kind_and_unit() {
        let mut names = BTreeSet::new();
        for metric in ALL {
            let name = metric.name;
            assert!(names.insert(name), "{name} stands twice");
            assert!(name.starts_with("filejobs_"), "{name}");
            let sane = |b: u8| b.is_ascii_lowercase() || b == b'_';
            assert!(name.bytes().all(sane), "{name}");
            let total = name.ends_with("_total");
            assert_eq!(total, metric.kind == Kind::Counter, "{name}");
            let histogram = metric.kind == Kind::Histogram;
            assert_eq!(histogram, !metric.buckets.is_empty(), "{name}");
            assert!(!histogram || metric.unit() == "seconds", "{name}");
            for part in ["_bucket", "_sum", "_count", "_milliseconds", "_ms", "_mib"] {
                assert!(!name.ends_with(part), "{name}");
            }
        }
    }

    #[test]
    fn every_help_is_a_sentence_of_one_line() {
        for metric in ALL {
            assert!(metric.help.ends_with('.'), "{}", metric.name);
            assert!(!metric.help.contains(['\n', '\\', '|']), "{}", metric.name);
        }
    }

    #[test]
    fn no_label_holds_what_somebody_chose() {
        for label in ALL.iter().flat_map(|metric| metric.labels) {
            for word in [
                "id",
                "job",
                "file",
                "key",
                "host",
                "url",
                "namespace",
                "worker",
                "path",
            ] {
                assert_ne!(label.name, word);
            }
        }
    }

    #[test]
    fn buckets_grow() {
        for metric in ALL {
            assert!(metric.buckets.is_sorted_by(|a, b| a < b), "{}", metric.name);
        }
    }

    #[test]
    fn states_outcomes_and_classes_are_those_of_core() {
        let values = |label: Label| label.values.known().unwrap();
        assert_eq!(values(JOB_STATUS), JobState::ALL.map(JobState::as_str));
        assert_eq!(values(OUTCOME), Outcome::ALL.map(Outcome::as_str));
        let classes = FailureClass::ALL.map(FailureClass::as_str);
        assert_eq!(values(FAILURE_CLASS)[1..], classes);
    }
}
