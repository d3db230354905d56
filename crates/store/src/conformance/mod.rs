//! What every store must do, as functions that the tests of each implementation call.
//!
//! [`conformance_tests!`](crate::conformance_tests) makes one test of each; every function gets a [`Bench`] with an
//! empty store of its own, whose clock stands still until it is told to move on.

#![expect(
    clippy::missing_panics_doc,
    reason = "these functions are tests: panicking is how they report"
)]

pub mod admitting;
pub mod dropping;
pub mod ending;
pub mod finding;
pub mod handing_in;
pub mod keeping;
pub mod leading;
pub mod running;
pub mod steering;
pub mod telling;
pub mod waiting;
pub mod working;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use filejobs_core::finding::CodeCounts;
use filejobs_core::report::{Facts, Layout, Tally};
use filejobs_core::sources::Fixed;
use filejobs_core::{
    FileType, Finding, FindingCode, JobId, JobState, Namespace, Options, Sources, TableSchema,
    TaskId, WorkerId,
};
use tempfile::TempDir;

use crate::{
    Claimed, Job, NewJob, NewTask, PlanCommit, Store, StoredPart, TaskCommit, TaskCounts, TaskKind,
    Ticket,
};

/// Long enough never to run out in a test whose clock stands still.
pub const LEASE: Duration = Duration::from_secs(30);

/// A store with the things that a test needs around it.
#[derive(Debug)]
pub struct Bench {
    /// The store under test, empty at first.
    pub store: Arc<dyn Store>,
    /// Its clock.
    pub clock: Arc<Fixed>,
    /// Clock and ids for what the test makes itself.
    pub sources: Sources,
    scratch: TempDir,
    files: AtomicUsize,
}

impl Bench {
    /// Opens a store with the bench's sources. What it needs on disk goes into the folder it is given.
    pub async fn new<F>(open: impl FnOnce(PathBuf, Sources) -> F) -> Self
    where
        F: Future<Output = Arc<dyn Store>>,
    {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let start = "2026-11-22T10:00:00Z".parse().expect("a time");
        let clock = Fixed::new(start, 0.5);
        Self {
            store: open(scratch.path().to_owned(), clock.sources()).await,
            sources: clock.sources(),
            clock,
            scratch,
            files: AtomicUsize::new(0),
        }
    }

    /// A job about to be handed in: a CSV file of one task.
    #[must_use]
    pub fn new_job(&self) -> NewJob {
        let id = self.sources.job_id();
        NewJob {
            id,
            task: self.new_task(TaskKind::Whole, 0),
            namespace: Namespace::default(),
            filename: "orders.csv".to_owned(),
            blob: format!("uploads/{id}_orders.csv"),
            file_size: 1_000,
            file_type: FileType::Csv,
            sha256: "00".repeat(32),
            options: Options::default(),
            schema: None,
            processor: serde_json::json!({"type": "import"}),
            webhook_url: None,
            priority: 0,
            findings_max: 1_000_000,
            idempotency: None,
            queued_max: None,
        }
    }

    /// A task of 1,000 bytes.
    #[must_use]
    pub fn new_task(&self, kind: TaskKind, index: u32) -> NewTask {
        NewTask {
            id: self.sources.task_id(),
            kind,
            index,
            piece: serde_json::Value::Null,
            bytes: 1_000,
        }
    }

    /// Hands in a job of one task.
    pub async fn job(&self) -> Job {
        self.hand_in(self.new_job()).await
    }

    /// Hands in `new`.
    pub async fn hand_in(&self, new: NewJob) -> Job {
        self.store.create_job(new).await.expect("created")
    }

    /// Hands in a job whose plan cuts it into `pieces`, and commits the plan.
    pub async fn planned(&self, pieces: u32, change: impl FnOnce(&mut NewJob)) -> Job {
        let mut new = self.new_job();
        new.task.kind = TaskKind::Plan;
        change(&mut new);
        let job = self.hand_in(new).await;
        let plan = self.claim_next().await;
        assert_eq!((plan.kind, plan.job.id), (TaskKind::Plan, job.id));
        let plan_commit = PlanCommit {
            facts: facts(),
            tally: Tally::default(),
            rows_total: u64::from(pieces) * 10,
            pieces: (0..pieces)
                .map(|index| self.new_task(TaskKind::Piece, index))
                .collect(),
            findings: None,
            spends_upload: false,
        };
        let committed = self.store.commit_plan(plan.task, plan.attempt, plan_commit);
        committed.await.expect("committed");
        self.get(job.id).await
    }

    /// The job as the store has it.
    pub async fn get(&self, id: JobId) -> Job {
        let found = self.store.job(id).await.expect("the store answers");
        found.expect("the job is there")
    }

    /// Publishes all that waits. In the order of admission within a namespace: priority, then age.
    pub async fn publish(&self) -> Vec<Ticket> {
        let waiting = self.store.waiting(1_000).await.expect("the store answers");
        let mut tasks: Vec<_> = waiting.iter().collect();
        tasks.sort_by_key(|w| (std::cmp::Reverse(w.priority), w.queued_at));
        let tasks: Vec<TaskId> = tasks.iter().map(|w| w.task).collect();
        self.store.publish(&tasks).await.expect("published")
    }

    /// Claims by ticket.
    pub async fn claim(&self, ticket: &Ticket) -> Option<Claimed> {
        let claimed = self.store.claim(ticket, &worker(), LEASE).await;
        claimed.expect("the store answers")
    }

    /// Publishes all that waits and claims the first.
    pub async fn claim_next(&self) -> Claimed {
        let tickets = self.publish().await;
        let ticket = tickets.first().expect("a task waits");
        self.claim(ticket).await.expect("claimed")
    }

    /// Publishes and claims all that waits, in the order of the file.
    pub async fn claim_all(&self) -> Vec<Claimed> {
        let mut all = Vec::new();
        for ticket in self.publish().await {
            all.push(self.claim(&ticket).await.expect("claimed"));
        }
        all.sort_by_key(|c| c.index);
        all
    }

    /// Hands in a job, claims its task and commits `commit`.
    pub async fn finished(&self, new: NewJob, commit: TaskCommit) -> Job {
        self.hand_in(new).await;
        let claimed = self.claim_next().await;
        self.commit(&claimed, commit).await
    }

    /// Commits a claimed task.
    pub async fn commit(&self, claimed: &Claimed, commit: TaskCommit) -> Job {
        let committed = self.store.commit(claimed.task, claimed.attempt, commit);
        committed.await.expect("committed")
    }

    /// A file of findings as the engine writes it.
    #[must_use]
    pub fn findings_file(&self, findings: &[Finding]) -> PathBuf {
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        let path = self.scratch.path().join(format!("{number}.ndjson"));
        let lines = findings.iter().map(|finding| {
            let mut line = serde_json::to_string(finding).expect("serialised");
            line.push('\n');
            line
        });
        std::fs::write(&path, lines.collect::<String>()).expect("written");
        path
    }

    /// What a task leaves that read `rows` rows of which the last `failed` have one finding each. The first row has
    /// number `first_row`.
    #[must_use]
    pub fn effects(&self, first_row: u64, rows: u64, failed: u64) -> TaskCommit {
        let bad: Vec<_> = (first_row + rows - failed..first_row + rows)
            .map(|row| finding(row, 0, FindingCode::TypeError, "value"))
            .collect();
        let mut commit = effects(rows, failed);
        commit.findings = (failed > 0).then(|| self.findings_file(&bad));
        commit
    }
}

/// The worker of most tests.
#[must_use]
pub fn worker() -> WorkerId {
    WorkerId::new("worker-1")
}

/// Layout and schema as an engine finds them.
#[must_use]
pub fn facts() -> Facts {
    Facts {
        layout: Some(Layout {
            format: FileType::Csv,
            dialect: None,
            sheet: None,
            header: true,
            columns: Vec::new(),
            dropped_columns: 0,
        }),
        schema: Some(TableSchema::default()),
        schema_inferred: true,
    }
}

/// Counters of `rows` rows of which `failed` have one `type-error` each.
#[must_use]
pub fn tally(rows: u64, failed: u64) -> Tally {
    let mut errors_by_code = CodeCounts::default();
    for _ in 0..failed {
        errors_by_code.add(FindingCode::TypeError);
    }
    Tally {
        rows_processed: rows,
        rows_valid: rows - failed,
        rows_failed: failed,
        errors_by_code,
        errors_stored: failed,
        columns: Vec::new(),
    }
}

/// A job of a small CSV file that was just handed in, for tests of what shows jobs.
#[must_use]
pub fn sample_job() -> Job {
    let at = "2026-01-31T12:00:00Z".parse().expect("a time");
    Job {
        id: "0190f5a4-7c2e-7d3a-9b1c-2f6e8a4d5c6b"
            .parse()
            .expect("an id"),
        namespace: Namespace::default(),
        filename: "orders.csv".to_owned(),
        blob: "uploads/orders.csv".to_owned(),
        file_size: 100,
        file_type: FileType::Csv,
        sha256: "0".repeat(64),
        status: JobState::Queued,
        outcome: None,
        failure_class: None,
        failure_code: None,
        error_message: None,
        rows_total: None,
        rows_processed: 0,
        rows_failed: 0,
        bytes_processed: 0,
        errors_by_code: CodeCounts::default(),
        errors_stored: 0,
        errors_truncated: false,
        tally: None,
        facts: None,
        options: Options::default(),
        schema: None,
        processor: serde_json::json!({"type": "import"}),
        webhook_url: None,
        priority: 0,
        findings_max: 100,
        attempt: 0,
        generation: 0,
        tasks: TaskCounts::default(),
        created_at: at,
        queued_at: at,
        started_at: None,
        completed_at: None,
        updated_at: at,
        last_event: 1,
    }
}

/// What a task leaves that read `rows` rows, without a findings file.
#[must_use]
pub fn effects(rows: u64, failed: u64) -> TaskCommit {
    TaskCommit {
        facts: facts(),
        tally: tally(rows, failed),
        parts: Vec::new(),
        rejected: None,
        findings: None,
        processor: serde_json::Value::Null,
        spends_upload: false,
    }
}

/// A finding at a place.
#[must_use]
pub fn finding(row_number: u64, seq: u32, code: FindingCode, column: &str) -> Finding {
    Finding {
        row_number,
        seq,
        line: row_number + 1,
        byte_offset: Some(row_number * 10),
        column_name: Some(column.to_owned()),
        column_number: Some(3),
        cell: Some(format!("C{}", row_number + 1)),
        code,
        message: "an integer is expected".to_owned(),
        raw_value: Some(format!("x{row_number}")),
    }
}

/// A part of valid rows.
#[must_use]
pub fn part(task_index: u32, name: &str, rows: u64) -> StoredPart {
    StoredPart {
        task_index,
        blob: format!("{name}.parquet"),
        rows_blob: format!("{name}.rows"),
        rows,
        bytes: rows * 8,
    }
}

/// Asserts where a job stands.
#[track_caller]
pub fn assert_status(job: &Job, status: JobState) {
    assert_eq!(job.status, status, "{job:?}");
    assert_eq!(job.completed_at.is_some(), status.is_terminal(), "{job:?}");
}

/// Makes a test of each function of the suite. The argument is a future of a fresh [`Bench`](conformance::Bench).
#[macro_export]
macro_rules! conformance_tests {
    ($make:expr) => {
        $crate::conformance_tests!(@each $make;
            handing_in {
                a_new_job_comes_back_as_it_was_handed_in
                a_key_is_reserved_once
                a_released_or_expired_key_can_be_reserved_again
                a_renewed_key_stays_reserved
                a_job_takes_up_its_key
                no_more_jobs_are_queued_than_a_namespace_may_have
                jobs_handed_in_at_once_do_not_pass_the_bound_together
                jobs_are_listed_newest_first
                a_list_is_filtered_and_counted
                a_cursor_walks_the_whole_list
            }
            working {
                the_oldest_of_each_group_wait
                a_task_is_published_once_and_claimed_once
                an_old_ticket_claims_nothing
                the_first_claim_starts_the_job
                unclaimed_tasks_are_published_again
                renewing_keeps_the_lease_and_shows_progress
                a_lost_lease_is_found
                a_failed_attempt_waits_for_its_next
                a_released_attempt_is_not_spent
                a_service_that_is_alone_takes_everything_back
            }
            ending {
                a_committed_task_completes_its_job
                a_late_worker_changes_nothing
                a_commit_after_a_cancel_is_stale
                the_last_piece_closes_the_job
                a_plan_without_pieces_closes_the_job
                counters_that_do_not_add_up_are_never_committed
                too_many_errors_fail_the_job_at_once
                too_large_a_share_of_errors_fails_the_job_at_the_end
                a_failed_task_fails_its_job_and_keeps_what_it_found
                parts_and_rejected_rows_come_in_row_order
            }
            finding {
                findings_come_back_in_row_order
                findings_are_filtered_by_code_and_column
                deep_pages_are_exact
                a_cursor_walks_all_findings
                the_cap_keeps_the_first_rows
                nobody_sees_findings_that_are_not_committed
                a_broken_findings_file_commits_nothing
                an_unknown_job_has_no_findings
            }
            steering {
                cancel_ends_open_tasks_and_is_idempotent
                suspend_keeps_what_is_done
                a_suspended_job_waits_until_it_is_resumed
                retry_starts_over
                priority_changes_only_while_waiting
                a_deleted_job_leaves_a_tombstone
                a_processing_job_is_not_deleted
                what_the_state_forbids_changes_nothing
                a_dead_task_is_listed_and_replayed
                a_replay_keeps_what_other_tasks_have_done
            }
            telling {
                every_transition_is_told_once
                the_end_is_told_to_the_webhook
                a_delivery_is_hidden_while_it_is_tried
                a_delivery_ends_delivered_or_abandoned
                what_has_been_delivered_stays_so
                a_retried_job_tells_again_with_a_new_id
                the_newest_delivery_is_sent_again_in_a_round_of_its_own
                listeners_hear_of_changes
            }
            keeping {
                findings_of_lost_attempts_are_swept
                findings_of_deleted_jobs_are_swept_in_small_steps
                expired_keys_are_swept
                old_jobs_are_found_oldest_first
                a_renewed_task_stays_with_its_worker
                only_a_job_that_is_still_old_expires
                unknown_jobs_do_not_exist
                workers_are_listed_while_they_live
                the_queue_is_measured
                the_file_of_a_completed_job_is_to_go_where_that_is_wanted
                the_file_of_a_job_without_pieces_is_to_go_as_well
                what_cannot_be_removed_lets_the_others_go_first
            }
            leading {
                one_scheduler_leads_at_a_time
                a_leader_keeps_its_epoch
                a_silent_leader_is_followed_after_its_term
                who_steps_down_is_followed_at_once
            }
            running {
                what_runs_is_counted_by_namespace
                a_waiting_task_says_whether_its_job_has_begun
                tasks_of_jobs_under_way_are_found_behind_others
            }
            waiting {
                a_waiting_job_knows_its_place
                a_job_waits_until_a_worker_has_it_and_while_its_attempts_pause
                a_quota_that_holds_a_job_is_told
                a_queue_that_carries_nothing_is_told
                the_start_is_estimated_from_what_ended_lately
            }
            admitting {
                an_api_key_comes_back_as_it_was_written_down
                no_two_api_keys_have_one_prefix
                api_keys_are_listed_newest_first
                a_revoked_api_key_stays_revoked
                the_use_of_an_api_key_is_noted_now_and_then
            }
            dropping {
                a_dropped_call_is_done_in_full_or_not_at_all
            }
        );
    };
    (@each $make:expr; $($module:ident { $($name:ident)* })*) => {
        $(
            mod $module {
                use super::*;
                $(
                    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                    async fn $name() {
                        let bench: $crate::conformance::Bench = $make.await;
                        $crate::conformance::$module::$name(&bench).await;
                    }
                )*
            }
        )*
    };
}
