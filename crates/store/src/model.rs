//! What goes into the store and what comes back.

use std::path::PathBuf;

use filejobs_core::failure::{Failure, FailureClass, FailureCode};
use filejobs_core::finding::CodeCounts;
use filejobs_core::quotas::Load;
use filejobs_core::report::{Facts, Tally};
pub use filejobs_core::task::Ticket;
use filejobs_core::{
    FileType, Finding, FindingCode, Grant, JobId, JobState, KeyHash, KeyName, KeyPrefix, Limits,
    Namespace, Options, Outcome, TableSchema, TaskId, WorkerId,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Connections to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// Those that are open and lent out.
    pub used: u32,
    /// Those that are open and wait for work.
    pub idle: u32,
    /// How many there may be.
    pub most: u32,
}

/// A job that changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Which job. Says nothing when the kind is [`ChangeKind::Missed`].
    pub job: JobId,
    /// What changed, roughly.
    pub kind: ChangeKind,
}

impl Change {
    /// Changes may have been missed, of any job and any kind.
    #[must_use]
    pub fn missed() -> Self {
        Self {
            job: JobId::from_uuid(Uuid::nil()),
            kind: ChangeKind::Missed,
        }
    }

    /// Whether a listener to one job has reason to look again.
    #[must_use]
    pub fn may_concern(&self, job: JobId) -> bool {
        self.job == job || self.kind == ChangeKind::Missed
    }
}

/// What about a job changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// A task may be waiting now.
    Work,
    /// Its state.
    State,
    /// Its counters.
    Progress,
    /// It is gone.
    Deleted,
    /// Unknown: the connection over which changes are heard was lost for a while. Every listener looks again.
    Missed,
}

/// What [`crate::Store::reserve_key`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reservation {
    /// The key is this caller's until it is taken up or released.
    Reserved,
    /// Another upload with this key is under way.
    InFlight,
    /// The key made this job, from a body with this fingerprint.
    Used {
        /// The job.
        job: JobId,
        /// See [`Idempotency::fingerprint`].
        fingerprint: String,
    },
}

/// An idempotency key as a new job takes it up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The client's key.
    pub key: String,
    /// A hash over content, file name and all other fields.
    pub fingerprint: String,
    /// When the key is forgotten.
    pub expires_at: Timestamp,
}

/// A job about to be created; its file is stored already.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// Its id, made by the caller because the blob's name holds it.
    pub id: JobId,
    /// Its first task: `Whole` or `Plan`.
    pub task: NewTask,
    /// Whose quota it counts against.
    pub namespace: Namespace,
    /// The file's name as it may be shown.
    pub filename: String,
    /// The blob that holds the file.
    pub blob: String,
    /// Its size in bytes.
    pub file_size: u64,
    /// Its kind.
    pub file_type: FileType,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
    /// What the sender overrides.
    pub options: Options,
    /// The sender's schema.
    pub schema: Option<TableSchema>,
    /// The processor with its parameters, as JSON.
    pub processor: serde_json::Value,
    /// Where the end is told.
    pub webhook_url: Option<String>,
    /// 0 to 10, 10 first.
    pub priority: u8,
    /// Cap on stored findings, kept with the job so that a later change of limits does not change its report.
    pub findings_max: u64,
    /// The client's idempotency key.
    pub idempotency: Option<Idempotency>,
    /// Refused when as many jobs of the namespace are queued already; never when absent.
    pub queued_max: Option<u32>,
}

/// A task about to be created.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTask {
    /// Its id.
    pub id: TaskId,
    /// What it does.
    pub kind: TaskKind,
    /// Its place among the job's pieces; 0 for `Whole` and `Plan`.
    pub index: u32,
    /// What the worker has to know of the task, as its JSON: the piece, and the checksums of what it reads.
    pub piece: serde_json::Value,
    /// Bytes it will read, for progress.
    pub bytes: u64,
}

/// What a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// The whole file in one go.
    Whole,
    /// Find where to cut the file.
    Plan,
    /// One piece of a planned file.
    Piece,
}

impl TaskKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Whole, Self::Plan, Self::Piece];

    /// What is to be done first with a file of `size` bytes: large CSV files are cut; workbooks are not.
    #[must_use]
    pub fn first(kind: FileType, size: u64, limits: &Limits) -> Self {
        if kind == FileType::Csv && size > limits.split_bytes {
            Self::Plan
        } else {
            Self::Whole
        }
    }

    /// The name as it stands in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Plan => "plan",
            Self::Piece => "piece",
        }
    }
}

/// A job as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Whose quota it counts against.
    pub namespace: Namespace,
    /// The file's name as it may be shown.
    pub filename: String,
    /// The blob that holds the file.
    pub blob: String,
    /// Its size in bytes.
    pub file_size: u64,
    /// Its kind.
    pub file_type: FileType,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
    /// Where it stands.
    pub status: JobState,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Who can do something about its failure.
    pub failure_class: Option<FailureClass>,
    /// The failure's name.
    pub failure_code: Option<FailureCode>,
    /// The failure's sentence.
    pub error_message: Option<String>,
    /// Rows in the file, once known.
    pub rows_total: Option<u64>,
    /// Rows read, those of running tasks included.
    pub rows_processed: u64,
    /// Rows failed, those of running tasks included.
    pub rows_failed: u64,
    /// Bytes read, those of running tasks included; a plan's own reading is not counted, since its pieces read again.
    pub bytes_processed: u64,
    /// Findings by code of finished tasks.
    pub errors_by_code: CodeCounts,
    /// Findings that can be read back.
    pub errors_stored: u64,
    /// Whether fewer findings are kept than were counted.
    pub errors_truncated: bool,
    /// All counters, once the job has ended with some.
    pub tally: Option<Tally>,
    /// Layout and schema, once found.
    pub facts: Option<Facts>,
    /// What the sender overrides.
    pub options: Options,
    /// The sender's schema.
    pub schema: Option<TableSchema>,
    /// The processor with its parameters.
    pub processor: serde_json::Value,
    /// Where the end is told.
    pub webhook_url: Option<String>,
    /// 0 to 10, 10 first.
    pub priority: u8,
    /// Cap on stored findings.
    pub findings_max: u64,
    /// Attempts spent on the task that needed the most.
    pub attempt: u32,
    /// How often it was started over.
    pub generation: u32,
    /// Its tasks, counted.
    pub tasks: TaskCounts,
    /// When it was handed in.
    pub created_at: Timestamp,
    /// When it last began to wait.
    pub queued_at: Timestamp,
    /// When a worker first had it, in this generation.
    pub started_at: Option<Timestamp>,
    /// When it ended, in this generation.
    pub completed_at: Option<Timestamp>,
    /// Last change, for entity tags.
    pub updated_at: Timestamp,
    /// Id of its newest event.
    pub last_event: u64,
}

impl Job {
    /// How far it has got, in percent. 100 is kept for the end: a file can grow no further, but work can.
    #[must_use]
    pub fn progress(&self) -> u8 {
        if self.status == JobState::Completed {
            return 100;
        }
        let part = |done: u64, all: u64| match all {
            0 => 0,
            all => (u128::from(done) * 100 / u128::from(all)).min(99) as u8,
        };
        match self.rows_total {
            // The size of a planned file is known in rows, which the plan's own reading does not move.
            Some(total) if total > 0 => part(self.rows_processed, total),
            _ => part(self.bytes_processed, self.file_size),
        }
    }
}

/// A job's tasks, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskCounts {
    /// All of them.
    pub total: u32,
    /// Those whose effects are committed.
    pub done: u32,
    /// Those that failed for good.
    pub failed: u32,
}

/// Which jobs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Only this state.
    pub status: Option<JobState>,
    /// Only this namespace.
    pub namespace: Option<Namespace>,
    /// Created then or later.
    pub from: Option<Timestamp>,
    /// Created then or earlier.
    pub to: Option<Timestamp>,
}

/// Which findings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FindingFilter {
    /// Only this code.
    pub code: Option<FindingCode>,
    /// Only this column, by name.
    pub column: Option<String>,
}

/// Which part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page<C> {
    /// Skip `offset`, take `limit`.
    Offset {
        /// How many to skip.
        offset: u64,
        /// How many to take.
        limit: u32,
    },
    /// Take `limit` after the one that `cursor` names; from the beginning without one.
    After {
        /// The last one seen.
        cursor: Option<C>,
        /// How many to take.
        limit: u32,
    },
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed<T, C> {
    /// All that the filter lets through.
    pub total: u64,
    /// The page.
    pub items: Vec<T>,
    /// Where the next page begins, when there is more.
    pub next: Option<C>,
}

/// A place in a list of jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobCursor {
    /// The last one's creation.
    pub created_at: Timestamp,
    /// The last one's id.
    pub id: JobId,
}

/// A place in a job's findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingCursor {
    /// Row of the last one.
    pub row_number: u64,
    /// Ordinal of the last one within its row.
    pub seq: u32,
}

/// A finding with the time it was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFinding {
    /// The finding.
    pub finding: Finding,
    /// When its task was committed.
    pub created_at: Timestamp,
}

/// A part of a job's valid rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPart {
    /// The task's place among the job's pieces.
    pub task_index: u32,
    /// The blob of the Parquet file.
    pub blob: String,
    /// The blob of its row numbers.
    pub rows_blob: String,
    /// Rows in it.
    pub rows: u64,
    /// Its size in bytes.
    pub bytes: u64,
}

/// One thing that happened to a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Ascending within the job, from 1.
    pub id: u64,
    /// `state` or `finished`.
    pub kind: String,
    /// When.
    pub at: Timestamp,
    /// What, as JSON.
    pub data: serde_json::Value,
}

/// Blobs that are to be removed: what remembers them until they are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    /// The job.
    pub id: JobId,
    /// The blob that holds its file.
    pub blob: String,
    /// What goes.
    pub remains: Remains,
    /// How often they could not be removed.
    pub tries: u32,
}

/// What is to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remains {
    /// Everything that a deleted job has stored.
    Job,
    /// The file of a completed job; its results stay.
    Upload,
}

/// A task that may be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The task.
    pub task: TaskId,
    /// Its job.
    pub job: JobId,
    /// Its job's namespace.
    pub namespace: Namespace,
    /// Its job's priority.
    pub priority: u8,
    /// Since when its job waits.
    pub queued_at: Timestamp,
    /// Whether its job has begun: a task of it is or was published, and it was not suspended or taken up again since.
    pub begun: bool,
    /// Tasks of the namespace that are published or running.
    pub namespace_busy: u32,
}

/// What runs in one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// The namespace.
    pub namespace: Namespace,
    /// How much.
    pub load: Load,
}

/// A running task whose lease has run out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expired {
    /// The task.
    pub task: TaskId,
    /// Its job.
    pub job: JobId,
    /// The fence of the lost attempt.
    pub attempt: u32,
    /// Attempts spent, this one included.
    pub attempts_spent: u32,
    /// Who held it.
    pub worker: WorkerId,
}

/// Depth, age and speed of the queue.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueueStats {
    /// Tasks that wait or are on their way.
    pub depth: u64,
    /// Of these, on their way through the queue.
    pub published: u64,
    /// Tasks that workers hold.
    pub running: u64,
    /// Tasks that used up their attempts.
    pub dead_letters: u64,
    /// How long the oldest has waited, in seconds; 0 when none waits.
    pub oldest_age_seconds: u64,
    /// Rows of the jobs that ended within the last minute, for each second of it.
    pub rows_per_second: f64,
    /// Jobs by state.
    pub jobs_by_status: Vec<(JobState, u64)>,
}

/// A task that used up its attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The task.
    pub task: TaskId,
    /// Its job.
    pub job: JobId,
    /// Its place among the job's pieces.
    pub index: u32,
    /// Attempts spent.
    pub attempts: u32,
    /// What the last attempt failed with.
    pub failure: Option<Failure>,
    /// When it failed.
    pub failed_at: Timestamp,
}

/// A task whose lease a worker has just taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    /// The task.
    pub task: TaskId,
    /// The fence for everything that this worker writes about it: attempts begun, this one included.
    pub attempt: u32,
    /// Attempts spent, this one included: releases are not counted.
    pub attempts_spent: u32,
    /// What it does.
    pub kind: TaskKind,
    /// Its place among the job's pieces.
    pub index: u32,
    /// What the worker has to know of the task, as it was stored.
    pub piece: serde_json::Value,
    /// Its job.
    pub job: Job,
}

/// A task that a worker holds, with its progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The task.
    pub task: TaskId,
    /// The fence.
    pub attempt: u32,
    /// Bytes read so far.
    pub bytes: u64,
    /// Rows read so far.
    pub rows: u64,
    /// Rows failed so far.
    pub failed: u64,
}

/// What a plan step leaves.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanCommit {
    /// Layout and schema for every piece.
    pub facts: Facts,
    /// Counters of the header's findings.
    pub tally: Tally,
    /// Rows of the whole file.
    pub rows_total: u64,
    /// One task for each piece.
    pub pieces: Vec<NewTask>,
    /// Findings of the header as NDJSON of [`Finding`].
    pub findings: Option<PathBuf>,
    /// Whether the job's file goes when this completes the job: nothing was left to do.
    pub spends_upload: bool,
}

/// What a task leaves; its blobs are stored already.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskCommit {
    /// Layout and schema.
    pub facts: Facts,
    /// Its counters.
    pub tally: Tally,
    /// Its parts of valid rows.
    pub parts: Vec<StoredPart>,
    /// The blob of its rejected rows, when there are any.
    pub rejected: Option<String>,
    /// Its findings as NDJSON of [`Finding`], in the worker's scratch folder.
    pub findings: Option<PathBuf>,
    /// What its processor has to tell.
    pub processor: serde_json::Value,
    /// Whether the job's file goes when this completes the job.
    pub spends_upload: bool,
}

/// A worker process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerInfo {
    /// Its id.
    pub id: WorkerId,
    /// Tasks it can run at a time.
    pub slots: u32,
    /// Tasks it runs.
    pub busy: u32,
    /// The program's version.
    pub version: String,
    /// When it started.
    pub started_at: Timestamp,
    /// When it was last heard of.
    pub last_seen: Timestamp,
}

/// That a scheduler leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leadership {
    /// Counts the leaders: grows with each one that takes over, never goes down.
    pub epoch: u64,
}

/// Identifies a webhook delivery; also its `webhook-id`.
pub type DeliveryId = Uuid;

/// A webhook to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its id.
    pub id: DeliveryId,
    /// The job it tells of.
    pub job: JobId,
    /// Where to.
    pub url: String,
    /// The body, sent and signed byte for byte.
    pub body: String,
    /// Attempts made before in this round: the first, or the one that [`crate::Store::resend_delivery`] began.
    pub attempts: u32,
    /// Attempts made before this round, which tell it from the others.
    pub earlier_attempts: u32,
    /// When the job ended.
    pub created_at: Timestamp,
    /// When this round began: the time limit counts from here.
    pub since: Timestamp,
}

/// One try to deliver a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryAttempt {
    /// When it began.
    pub at: Timestamp,
    /// How long it took.
    pub duration_ms: u64,
    /// The answer's status.
    pub status: Option<u16>,
    /// Why there was none, or why it does not count; no addresses.
    pub error: Option<String>,
}

/// What follows an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextDelivery {
    /// Nothing: it was taken.
    Delivered,
    /// Another try at this time.
    At(Timestamp),
    /// Nothing: given up.
    Abandoned,
}

/// A delivery and how it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// The delivery.
    pub delivery: Delivery,
    /// `pending`, `delivered` or `abandoned`.
    pub state: String,
    /// Its attempts, oldest first.
    pub attempts: Vec<DeliveryAttempt>,
}

/// An API key about to be written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewApiKey {
    /// The part that may be shown; no two keys have the same.
    pub prefix: KeyPrefix,
    /// What is kept of the whole key.
    pub hash: KeyHash,
    /// What it is for.
    pub name: KeyName,
    /// What it allows.
    pub grant: Grant,
    /// From when on it is refused; never when absent.
    pub expires_at: Option<Timestamp>,
}

/// An API key as the store keeps it: everything but its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredApiKey {
    /// The part that may be shown.
    pub prefix: KeyPrefix,
    /// What is kept of the whole key.
    pub hash: KeyHash,
    /// What it is for.
    pub name: KeyName,
    /// What it allows.
    pub grant: Grant,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
    /// Since when it is refused for good.
    pub revoked_at: Option<Timestamp>,
    /// When it was last noted as used.
    pub last_used_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_large_csv_files_are_planned() {
        let limits = Limits::default();
        let large = limits.split_bytes + 1;
        let first = |kind, size| TaskKind::first(kind, size, &limits);
        assert_eq!(first(FileType::Csv, large), TaskKind::Plan);
        assert_eq!(first(FileType::Csv, large - 1), TaskKind::Whole);
        assert_eq!(first(FileType::Xlsx, large), TaskKind::Whole);
    }
}
