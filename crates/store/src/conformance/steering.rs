//! What owners and operators do with a job, in every state.

use std::time::Duration;

use filejobs_core::failure::{Failure, FailureCode};
use filejobs_core::{JobId, JobState, Outcome};

use super::{Bench, LEASE, assert_status, effects, part, tally, worker};
use crate::{
    Error, FindingFilter, Held, Job, Page, Remains, Result, TaskCounts, TaskKind, Tombstone,
};

async fn findings(bench: &Bench, id: JobId) -> u64 {
    let page = Page::Offset {
        offset: 0,
        limit: 1,
    };
    let listed = bench
        .store
        .findings(id, &FindingFilter::default(), page)
        .await;
    listed.expect("answers").expect("the job is there").total
}

/// Waiting, published and running tasks all end; asking again changes nothing.
pub async fn cancel_ends_open_tasks_and_is_idempotent(bench: &Bench) {
    let job = bench.planned(3, |_| {}).await;
    let tickets = bench.publish().await;
    let running = bench.claim(&tickets[0]).await.expect("claimed");
    bench.clock.advance(Duration::from_secs(1));
    let cancelled = bench.store.cancel(job.id).await.expect("cancelled");
    assert_status(&cancelled, JobState::Cancelled);
    assert_eq!(cancelled.outcome, Some(Outcome::Cancelled));
    assert_eq!(cancelled.completed_at, Some(bench.sources.now()));
    assert_eq!(bench.publish().await, []);
    assert_eq!(bench.claim(&tickets[1]).await, None);
    let held = Held {
        task: running.task,
        attempt: 1,
        bytes: 0,
        rows: 0,
        failed: 0,
    };
    let lost = bench.store.renew(&worker(), &[held], LEASE).await;
    assert_eq!(lost.expect("answers"), [running.task]);
    bench.clock.advance(Duration::from_secs(1));
    let again = bench.store.cancel(job.id).await.expect("cancelled");
    assert_eq!(again, cancelled);
}

/// What a task has committed is not done again.
pub async fn suspend_keeps_what_is_done(bench: &Bench) {
    let job = bench.planned(3, |_| {}).await;
    let pieces = bench.claim_all().await;
    bench.commit(&pieces[0], bench.effects(1, 10, 2)).await;
    bench
        .store
        .release(pieces[1].task, 1)
        .await
        .expect("released");
    let published = bench.publish().await;
    let suspended = bench.store.suspend(job.id).await.expect("suspended");
    assert_status(&suspended, JobState::Suspended);
    assert_eq!((suspended.rows_processed, suspended.rows_failed), (10, 2));
    assert_eq!(bench.claim(&published[0]).await, None);
    let late = bench.store.commit(pieces[2].task, 1, effects(10, 0)).await;
    assert!(matches!(late, Err(Error::Stale)));
    assert_eq!(bench.publish().await, []);

    let resumed = bench.store.resume(job.id).await.expect("resumed");
    assert_status(&resumed, JobState::Queued);
    let rest = bench.claim_all().await;
    let open: Vec<_> = rest.iter().map(|c| (c.index, c.attempts_spent)).collect();
    assert_eq!(
        open,
        [(1, 1), (2, 1)],
        "only the open ones, no attempt spent"
    );
    for claimed in &rest {
        bench.commit(claimed, effects(10, 0)).await;
    }
    let job = bench.get(job.id).await;
    assert_status(&job, JobState::Completed);
    assert_eq!(job.tally, Some(tally(30, 2)));
}

/// A job that waits can be held back before anyone had it, and waits anew from the resume on.
pub async fn a_suspended_job_waits_until_it_is_resumed(bench: &Bench) {
    let job = bench.job().await;
    bench.store.suspend(job.id).await.expect("suspended");
    let twice = bench.store.suspend(job.id).await.expect("suspended");
    assert_status(&twice, JobState::Suspended);
    assert_eq!(bench.publish().await, []);
    bench.clock.advance(Duration::from_mins(1));
    let resumed = bench.store.resume(job.id).await.expect("resumed");
    assert_status(&resumed, JobState::Queued);
    assert_eq!(resumed.queued_at, bench.sources.now());
    let again = bench.store.resume(job.id).await.expect("resumed");
    assert_eq!(again, resumed);
    let waiting = bench.store.waiting(10).await.expect("answers");
    assert_eq!(waiting[0].queued_at, resumed.queued_at);
    bench.store.suspend(job.id).await.expect("suspended");
    let cancelled = bench.store.cancel(job.id).await.expect("cancelled");
    assert_status(&cancelled, JobState::Cancelled);
}

/// Nothing of the first generation is left but the file and what was asked for.
pub async fn retry_starts_over(bench: &Bench) {
    let job = bench.planned(2, |new| new.priority = 4).await;
    let pieces = bench.claim_all().await;
    let mut commit = bench.effects(1, 10, 3);
    commit.parts = vec![part(0, "a", 7)];
    commit.rejected = Some("r".to_owned());
    bench.commit(&pieces[0], commit).await;
    bench.store.cancel(job.id).await.expect("cancelled");
    bench.clock.advance(Duration::from_mins(1));
    let retried = bench.store.retry(job.id).await.expect("retried");
    assert_status(&retried, JobState::Queued);
    assert_eq!(retried.generation, 1);
    assert_eq!(retried.queued_at, bench.sources.now());
    let fresh = Job {
        generation: 1,
        queued_at: retried.queued_at,
        updated_at: retried.updated_at,
        last_event: retried.last_event,
        status: JobState::Queued,
        tasks: TaskCounts {
            total: 1,
            done: 0,
            failed: 0,
        },
        attempt: 0,
        rows_total: None,
        rows_processed: 0,
        rows_failed: 0,
        bytes_processed: 0,
        errors_by_code: filejobs_core::finding::CodeCounts::default(),
        errors_stored: 0,
        facts: None,
        started_at: None,
        ..job.clone()
    };
    assert_eq!(retried, fresh);
    assert_eq!(findings(bench, job.id).await, 0);
    assert_eq!(bench.store.parts(job.id).await.expect("answers"), []);
    let rejected = bench.store.rejected(job.id).await.expect("answers");
    assert_eq!(rejected, Vec::<String>::new());
    let claimed = bench.claim_next().await;
    assert_eq!((claimed.kind, claimed.attempt), (TaskKind::Plan, 1));
    assert_eq!(claimed.job.started_at, Some(bench.sources.now()));
    let late = bench.store.commit(pieces[1].task, 1, effects(1, 0)).await;
    assert!(matches!(late, Err(Error::Stale)), "{late:?}");
}

/// Priority is a matter of waiting.
pub async fn priority_changes_only_while_waiting(bench: &Bench) {
    let low = bench.job().await;
    let high = bench.job().await;
    let changed = bench.store.set_priority(high.id, 9).await.expect("changed");
    assert_eq!(changed.priority, 9);
    assert!(changed.updated_at >= high.updated_at);
    bench.store.suspend(high.id).await.expect("suspended");
    bench
        .store
        .set_priority(high.id, 10)
        .await
        .expect("changed");
    bench.store.resume(high.id).await.expect("resumed");
    let claimed = bench.claim_next().await;
    assert_eq!((claimed.job.id, claimed.job.priority), (high.id, 10));
    let refused = bench.store.set_priority(high.id, 1).await;
    assert!(matches!(
        refused,
        Err(Error::WrongState(JobState::Processing))
    ));
    bench.store.cancel(low.id).await.expect("cancelled");
    let refused = bench.store.set_priority(low.id, 1).await;
    assert!(matches!(
        refused,
        Err(Error::WrongState(JobState::Cancelled))
    ));
}

/// A deleted job is gone at once; its blobs are remembered until they are gone, too.
pub async fn a_deleted_job_leaves_a_tombstone(bench: &Bench) {
    let job = bench
        .finished(bench.new_job(), bench.effects(1, 10, 2))
        .await;
    let queued = bench.job().await;
    let ticket = bench.publish().await[0];
    for job in [&job, &queued] {
        let tombstone = bench.store.delete(job.id).await.expect("deleted");
        let wanted = Tombstone {
            id: job.id,
            blob: job.blob.clone(),
            remains: Remains::Job,
            tries: 0,
        };
        assert_eq!(tombstone, wanted);
        assert_eq!(bench.store.job(job.id).await.expect("answers"), None);
        let again = bench.store.delete(job.id).await;
        assert!(matches!(again, Err(Error::NotFound)));
        let events = bench.store.events(job.id, 0, 10).await.expect("answers");
        assert_eq!(events, []);
        let page = Page::Offset {
            offset: 0,
            limit: 1,
        };
        let listed = bench
            .store
            .findings(job.id, &FindingFilter::default(), page)
            .await;
        assert_eq!(listed.expect("answers"), None);
    }
    assert_eq!(bench.claim(&ticket).await, None);
    let left = bench.store.tombstones(10).await.expect("answers");
    assert_eq!(left.len(), 2);
    for tombstone in &left {
        bench.store.bury(tombstone).await.expect("buried");
        bench.store.bury(tombstone).await.expect("twice is fine");
    }
    assert_eq!(bench.store.tombstones(10).await.expect("answers"), []);
}

/// The caller cancels it instead.
pub async fn a_processing_job_is_not_deleted(bench: &Bench) {
    bench.job().await;
    let claimed = bench.claim_next().await;
    let refused = bench.store.delete(claimed.job.id).await;
    assert!(matches!(
        refused,
        Err(Error::WrongState(JobState::Processing))
    ));
    assert_eq!(bench.get(claimed.job.id).await, claimed.job);
}

async fn try_all(bench: &Bench, id: JobId) -> [Result<Job>; 4] {
    let store = &bench.store;
    [
        store.cancel(id).await,
        store.suspend(id).await,
        store.resume(id).await,
        store.retry(id).await,
    ]
}

/// Terminal states take a retry only (where the state allows it), and unknown jobs take nothing.
pub async fn what_the_state_forbids_changes_nothing(bench: &Bench) {
    let completed = bench.finished(bench.new_job(), effects(1, 0)).await;
    for refused in try_all(bench, completed.id).await {
        assert!(matches!(refused, Err(Error::Illegal(_))), "{refused:?}");
    }
    assert_eq!(bench.get(completed.id).await, completed);
    let queued = bench.job().await;
    let refused = bench.store.retry(queued.id).await;
    assert!(matches!(refused, Err(Error::Illegal(_))), "{refused:?}");
    assert_eq!(bench.get(queued.id).await, queued);
    for refused in try_all(bench, bench.sources.job_id()).await {
        assert!(matches!(refused, Err(Error::NotFound)), "{refused:?}");
    }
    let priority = bench.store.set_priority(bench.sources.job_id(), 1).await;
    assert!(matches!(priority, Err(Error::NotFound)));
}

fn crash() -> Failure {
    Failure::new(FailureCode::ParserCrash, "the parser ended three times")
}

/// A task whose failure was not the file's is kept for an operator, newest first.
pub async fn a_dead_task_is_listed_and_replayed(bench: &Bench) {
    let mut dead = Vec::new();
    for n in 0..3 {
        bench.job().await;
        let claimed = bench.claim_next().await;
        bench.clock.advance(Duration::from_secs(1));
        let code = [FailureCode::ParserCrash, FailureCode::MissingColumn][n % 2];
        let failure = Failure::new(code, "why");
        let failed = bench
            .store
            .fail(claimed.task, 1, failure.clone(), None)
            .await;
        assert_status(&failed.expect("failed"), JobState::Failed);
        if n % 2 == 0 {
            dead.insert(0, (claimed.task, claimed.job.id, bench.sources.now()));
        }
    }
    let mut listed = Vec::new();
    let mut cursor = None;
    loop {
        let page = Page::After { cursor, limit: 1 };
        let page = bench.store.dead_letters(page).await.expect("listed");
        assert_eq!(page.total, 2);
        for letter in page.items {
            assert_eq!(letter.attempts, 1);
            let failure = letter.failure.expect("a failure");
            assert_eq!(failure, Failure::new(FailureCode::ParserCrash, "why"));
            listed.push((letter.task, letter.job, letter.failed_at));
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(listed, dead);

    let (task, job, _) = dead[0];
    let replayed = bench.store.replay(task).await.expect("replayed");
    assert_status(&replayed, JobState::Queued);
    assert_eq!((replayed.id, replayed.generation), (job, 0));
    assert_eq!((replayed.failure_code, replayed.attempt), (None, 0));
    let again = bench.store.replay(task).await;
    assert!(matches!(again, Err(Error::NotFound)), "{again:?}");
    let claimed = bench.claim_next().await;
    assert_eq!(claimed.task, task);
    assert_eq!((claimed.attempt, claimed.attempts_spent), (2, 1));
    let late = bench.store.commit(task, 1, effects(1, 0)).await;
    assert!(matches!(late, Err(Error::Stale)));
    assert_status(
        &bench.commit(&claimed, effects(1, 0)).await,
        JobState::Completed,
    );
}

/// Counters and findings after a replay are those of the tasks that are done, no row twice.
pub async fn a_replay_keeps_what_other_tasks_have_done(bench: &Bench) {
    let job = bench.planned(3, |_| {}).await;
    let pieces = bench.claim_all().await;
    let mut done = bench.effects(1, 10, 2);
    done.parts = vec![part(0, "a", 8)];
    bench.commit(&pieces[0], done).await;
    let mut half = bench.effects(11, 4, 3);
    half.parts = vec![part(1, "half", 1)];
    half.rejected = Some("half".to_owned());
    let failed = bench
        .store
        .fail(pieces[1].task, 1, crash(), Some(half))
        .await;
    assert_eq!(failed.expect("failed").rows_processed, 14);
    let replayed = bench.store.replay(pieces[1].task).await.expect("replayed");
    assert_eq!((replayed.rows_processed, replayed.rows_failed), (10, 2));
    assert_eq!(
        (replayed.bytes_processed, replayed.errors_stored),
        (1_000, 2)
    );
    assert_eq!((replayed.tasks.done, replayed.tasks.failed), (2, 0));
    assert_eq!(findings(bench, job.id).await, 2);
    let rest = bench.claim_all().await;
    assert_eq!(rest.iter().map(|c| c.index).collect::<Vec<_>>(), [1, 2]);
    bench.commit(&rest[1], bench.effects(21, 10, 1)).await;
    bench.commit(&rest[0], bench.effects(11, 10, 4)).await;
    let job = bench.get(job.id).await;
    assert_status(&job, JobState::Completed);
    assert_eq!(job.tally, Some(tally(30, 7)));
    assert_eq!(findings(bench, job.id).await, 7);
    let parts = bench.store.parts(job.id).await.expect("answers");
    assert_eq!(parts, [part(0, "a", 8)]);
    let rejected = bench.store.rejected(job.id).await.expect("answers");
    assert_eq!(rejected, Vec::<String>::new());
}
