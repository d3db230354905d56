//! How tasks and jobs end, and what a worker that is late can no longer do.

use filejobs_core::failure::{Failure, FailureClass, FailureCode};
use filejobs_core::{JobState, Options, Outcome};

use super::{Bench, assert_status, effects, facts, part, tally};
use crate::{Error, FindingFilter, NewJob, Page, PlanCommit, TaskCounts, TaskKind};

/// All that a task leaves is in the job, once.
pub async fn a_committed_task_completes_its_job(bench: &Bench) {
    let mut commit = bench.effects(1, 10, 2);
    commit.parts = vec![part(0, "a", 8)];
    commit.rejected = Some("rejected".to_owned());
    let job = bench.finished(bench.new_job(), commit.clone()).await;
    assert_status(&job, JobState::Completed);
    assert_eq!(job, bench.get(job.id).await);
    assert_eq!(job.outcome, Some(Outcome::CompletedWithErrors));
    assert_eq!(job.rows_total, Some(10));
    assert_eq!((job.rows_processed, job.rows_failed), (10, 2));
    assert_eq!(job.bytes_processed, 1_000);
    assert_eq!(job.errors_by_code, commit.tally.errors_by_code);
    assert_eq!((job.errors_stored, job.errors_truncated), (2, false));
    assert_eq!(job.tally, Some(commit.tally));
    assert_eq!(job.facts, Some(commit.facts));
    assert_eq!((job.failure_code, job.error_message), (None, None));
    let done = TaskCounts {
        total: 1,
        done: 1,
        failed: 0,
    };
    assert_eq!(job.tasks, done);

    let clean = bench.finished(bench.new_job(), effects(10, 0)).await;
    assert_eq!(clean.outcome, Some(Outcome::Completed));
}

/// The fence: a worker that lost its lease can do nothing, whatever it tries.
pub async fn a_late_worker_changes_nothing(bench: &Bench) {
    bench.job().await;
    let late = bench.claim_next().await;
    bench.store.release(late.task, 1).await.expect("released");
    let failure = Failure::new(FailureCode::LimitExceeded, "too large");
    // While the task waits, while the next attempt runs, and after it is done.
    for round in 0..3 {
        let before = bench.get(late.job.id).await;
        let commit = bench.effects(1, 5, 5);
        let tried = [
            bench.store.commit(late.task, 1, commit.clone()).await.err(),
            (bench.store)
                .fail(late.task, 1, failure.clone(), Some(commit))
                .await
                .err(),
            (bench.store)
                .fail(late.task, 1, failure.clone(), None)
                .await
                .err(),
            (bench.store)
                .retry_task(late.task, 1, &failure, bench.sources.now())
                .await
                .err(),
            bench.store.release(late.task, 1).await.err(),
        ];
        for error in tried {
            assert!(matches!(error, Some(Error::Stale)), "{round}: {error:?}");
        }
        assert_eq!(bench.get(late.job.id).await, before, "{round}");
        let findings = found(bench, &before.id.to_string()).await;
        assert_eq!(findings, 0, "{round}");
        match round {
            0 => assert_eq!(bench.claim_next().await.attempt, 2),
            1 => {
                let commit = effects(7, 0);
                let job = bench.store.commit(late.task, 2, commit).await;
                assert_eq!(job.expect("committed").rows_processed, 7);
            }
            _ => {}
        }
    }
}

async fn found(bench: &Bench, job: &str) -> u64 {
    let page = Page::Offset {
        offset: 0,
        limit: 1,
    };
    let id = job.parse().expect("an id");
    let filter = FindingFilter::default();
    let page = bench.store.findings(id, &filter, page);
    page.await
        .expect("answers")
        .expect("the job is there")
        .total
}

/// Cancelling wins over a commit that comes after it.
pub async fn a_commit_after_a_cancel_is_stale(bench: &Bench) {
    bench.job().await;
    let claimed = bench.claim_next().await;
    let job = bench.store.cancel(claimed.job.id).await.expect("cancelled");
    let late = bench.store.commit(claimed.task, 1, bench.effects(1, 10, 3));
    assert!(matches!(late.await, Err(Error::Stale)));
    assert_eq!(bench.get(job.id).await, job);
    assert_eq!(job.rows_processed, 0);
}

/// Pieces may end in any order; the sums are the same.
pub async fn the_last_piece_closes_the_job(bench: &Bench) {
    let job = bench.planned(3, |_| {}).await;
    assert_eq!(job.rows_total, Some(30));
    assert_eq!((job.tasks.total, job.tasks.done), (4, 1));
    assert_eq!(job.tally, None, "it has not ended");
    let pieces = bench.claim_all().await;
    for (order, n) in [2, 0, 1].into_iter().enumerate() {
        let claimed = &pieces[n];
        assert_eq!(claimed.kind, TaskKind::Piece);
        let first = 1 + 10 * n as u64;
        let job = bench
            .commit(claimed, bench.effects(first, 10, n as u64))
            .await;
        let done = order as u64 + 1;
        assert_eq!(
            (job.rows_processed, job.bytes_processed),
            (done * 10, done * 1_000)
        );
        assert_eq!(job.status.is_terminal(), done == 3);
    }
    let job = bench.get(job.id).await;
    assert_status(&job, JobState::Completed);
    assert_eq!((job.rows_total, job.rows_failed), (Some(30), 3));
    assert_eq!(job.tally, Some(tally(30, 3)));
    assert_eq!(job.errors_stored, 3);
}

/// An odd plan must not leave a job that waits for nothing.
pub async fn a_plan_without_pieces_closes_the_job(bench: &Bench) {
    let job = bench.planned(0, |_| {}).await;
    assert_status(&job, JobState::Completed);
    assert_eq!(job.rows_total, Some(0));
}

/// A defect of ours shows as a failure, not as a wrong result: rows that the plan found and no piece has read, too.
pub async fn counters_that_do_not_add_up_are_never_committed(bench: &Bench) {
    let mut commit = effects(10, 0);
    commit.tally.rows_valid = 9;
    let job = bench.finished(bench.new_job(), commit).await;
    assert_status(&job, JobState::Failed);
    assert_eq!(job.failure_code, Some(FailureCode::InvariantBroken));
    assert_eq!(job.rows_processed, 0);

    bench.planned(2, |_| {}).await;
    let pieces = bench.claim_all().await;
    bench.commit(&pieces[0], effects(10, 0)).await;
    let job = bench.commit(&pieces[1], effects(9, 0)).await;
    assert_status(&job, JobState::Failed);
    assert_eq!(job.failure_code, Some(FailureCode::InvariantBroken));
}

fn with_options(bench: &Bench, options: Options) -> NewJob {
    NewJob {
        options,
        ..bench.new_job()
    }
}

/// `max_errors` counts over all tasks, and does not wait for the last.
pub async fn too_many_errors_fail_the_job_at_once(bench: &Bench) {
    let options = Options {
        max_errors: Some(4),
        ..Options::default()
    };
    let job = bench.planned(3, |new| new.options = options.clone()).await;
    let pieces = bench.claim_all().await;
    let job_after = bench.commit(&pieces[0], bench.effects(1, 10, 3)).await;
    assert_status(&job_after, JobState::Processing);
    let failed = bench.commit(&pieces[1], bench.effects(11, 10, 2)).await;
    assert_status(&failed, JobState::Failed);
    assert_eq!(failed.failure_code, Some(FailureCode::TooManyErrors));
    assert_eq!(failed.failure_class, Some(FailureClass::Validation));
    assert_eq!(failed.outcome, Some(Outcome::Failed));
    assert_eq!((failed.rows_processed, failed.rows_failed), (20, 5));
    assert_eq!(failed.tally, Some(tally(20, 5)));
    assert_eq!(found(bench, &job.id.to_string()).await, 5);
    let late = bench.store.commit(pieces[2].task, 1, effects(10, 0)).await;
    assert!(matches!(late, Err(Error::Stale)));

    let enough = with_options(bench, options);
    let job = bench.finished(enough, bench.effects(1, 10, 4)).await;
    assert_status(&job, JobState::Completed);
}

/// `max_error_ratio` is a share of the whole file.
pub async fn too_large_a_share_of_errors_fails_the_job_at_the_end(bench: &Bench) {
    let options = Options {
        max_error_ratio: Some(0.25),
        ..Options::default()
    };
    for (second, status) in [(0, JobState::Completed), (1, JobState::Failed)] {
        bench.planned(2, |new| new.options = options.clone()).await;
        let pieces = bench.claim_all().await;
        let job = bench.commit(&pieces[0], bench.effects(1, 10, 5)).await;
        assert_status(&job, JobState::Processing);
        let commit = bench.effects(11, 10, second);
        assert_status(&bench.commit(&pieces[1], commit).await, status);
    }
}

/// A failure that no attempt can mend ends the job with what was counted until then.
pub async fn a_failed_task_fails_its_job_and_keeps_what_it_found(bench: &Bench) {
    let job = bench.planned(3, |_| {}).await;
    let pieces = bench.claim_all().await;
    bench.commit(&pieces[0], bench.effects(1, 10, 1)).await;
    let failure = Failure::new(FailureCode::LimitExceeded, "a record is too long");
    let commit = bench.effects(11, 4, 2);
    let failed = bench.store.fail(pieces[1].task, 1, failure, Some(commit));
    let failed = failed.await.expect("failed");
    assert_status(&failed, JobState::Failed);
    assert_eq!(failed, bench.get(job.id).await);
    assert_eq!(failed.failure_code, Some(FailureCode::LimitExceeded));
    assert_eq!(
        failed.error_message.as_deref(),
        Some("a record is too long")
    );
    assert_eq!((failed.rows_processed, failed.rows_failed), (14, 3));
    assert_eq!((failed.tasks.done, failed.tasks.failed), (2, 1));
    assert_eq!(found(bench, &job.id.to_string()).await, 3);
    let late = bench.store.commit(pieces[2].task, 1, effects(10, 0)).await;
    assert!(matches!(late, Err(Error::Stale)));
    assert_eq!(bench.publish().await, []);
}

/// Results are put together in the order of the file, whatever the order of commits.
pub async fn parts_and_rejected_rows_come_in_row_order(bench: &Bench) {
    let job = bench.planned(2, |_| {}).await;
    let pieces = bench.claim_all().await;
    let mut second = effects(10, 0);
    second.parts = vec![part(1, "c", 10)];
    second.rejected = Some("r2".to_owned());
    bench.commit(&pieces[1], second).await;
    let mut first = effects(10, 0);
    first.parts = vec![part(0, "a", 6), part(0, "b", 4)];
    first.rejected = Some("r1".to_owned());
    bench.commit(&pieces[0], first).await;
    let parts = bench.store.parts(job.id).await.expect("answers");
    assert_eq!(parts, [part(0, "a", 6), part(0, "b", 4), part(1, "c", 10)]);
    let rejected = bench.store.rejected(job.id).await.expect("answers");
    assert_eq!(rejected, ["r1", "r2"]);

    let plan = PlanCommit {
        facts: facts(),
        tally: tally(0, 0),
        rows_total: 0,
        pieces: Vec::new(),
        findings: None,
        spends_upload: false,
    };
    let not_a_plan = bench.store.commit_plan(pieces[0].task, 1, plan).await;
    assert!(matches!(not_a_plan, Err(Error::Stale)));
}
