//! Keeping house: sweeping, retention, workers, figures.

use std::time::Duration;

use filejobs_core::failure::{Failure, FailureCode};
use filejobs_core::{JobState, WorkerId};

use super::{Bench, LEASE, assert_status, effects, facts, tally, worker};
use crate::{
    Error, FindingFilter, Held, Page, PlanCommit, Remains, Reservation, TaskCommit, TaskKind,
    Tombstone, WorkerInfo,
};

async fn sweep(bench: &Bench, limit: u32) -> u64 {
    bench.store.sweep(limit).await.expect("swept")
}

/// Findings that no commit linked go; those being written and those that are committed stay.
pub async fn findings_of_lost_attempts_are_swept(bench: &Bench) {
    let kept = bench
        .finished(bench.new_job(), bench.effects(1, 10, 4))
        .await;
    bench.job().await;
    let claimed = bench.claim_next().await;
    // The second half of the file is broken: the first half is written, and nothing is committed.
    let mut commit = bench.effects(1, 9_000, 9_000);
    let path = commit.findings.take().expect("a file");
    let mut text = std::fs::read_to_string(&path).expect("read");
    text.push_str("broken\n");
    std::fs::write(&path, text).expect("written");
    commit.findings = Some(path);
    let broken = bench.store.commit(claimed.task, 1, commit).await;
    assert!(matches!(broken, Err(Error::Findings(_))));
    assert_eq!(sweep(bench, 100_000).await, 0, "the attempt still runs");
    bench
        .store
        .release(claimed.task, 1)
        .await
        .expect("released");
    assert!(sweep(bench, 100_000).await >= 4_000);
    assert_eq!(sweep(bench, 100_000).await, 0);
    let page = Page::Offset {
        offset: 0,
        limit: 10,
    };
    let listed = bench
        .store
        .findings(kept.id, &FindingFilter::default(), page)
        .await;
    assert_eq!(listed.expect("answers").expect("there").items.len(), 4);
}

/// However many there are, one sweep is short.
pub async fn findings_of_deleted_jobs_are_swept_in_small_steps(bench: &Bench) {
    for delete in [true, false] {
        let job = bench
            .finished(bench.new_job(), bench.effects(1, 10, 10))
            .await;
        if delete {
            bench.store.delete(job.id).await.expect("deleted");
        } else {
            let job = bench.job().await;
            let claimed = bench.claim_next().await;
            let failure = filejobs_core::Failure::new(filejobs_core::FailureCode::EmptyFile, "x");
            let commit = bench.effects(1, 10, 10);
            let failed = bench
                .store
                .fail(claimed.task, 1, failure, Some(commit))
                .await;
            assert_status(&failed.expect("failed"), JobState::Failed);
            bench.store.retry(job.id).await.expect("retried");
        }
        let mut steps = Vec::new();
        loop {
            let removed = sweep(bench, 3).await;
            if removed == 0 {
                break;
            }
            steps.push(removed);
        }
        assert!(
            steps.len() >= 4 && steps.iter().all(|n| *n <= 5),
            "{steps:?}"
        );
        assert!(steps.iter().sum::<u64>() >= 10, "{steps:?}");
    }
}

/// A key that nobody can use any more goes.
pub async fn expired_keys_are_swept(bench: &Bench) {
    let hold = Duration::from_mins(1);
    for key in ["a", "b"] {
        let namespace = filejobs_core::Namespace::default();
        let reserved = bench.store.reserve_key(&namespace, key, hold).await;
        assert_eq!(reserved.expect("answers"), Reservation::Reserved);
        bench.clock.advance(hold / 2);
    }
    assert_eq!(sweep(bench, 10).await, 1);
    assert_eq!(sweep(bench, 10).await, 0);
}

/// Retention asks for those that ended longest ago.
pub async fn old_jobs_are_found_oldest_first(bench: &Bench) {
    let mut ended = Vec::new();
    for _ in 0..4 {
        bench.clock.advance(Duration::from_secs(1));
        ended.push(bench.finished(bench.new_job(), effects(1, 0)).await.id);
    }
    bench.job().await;
    let now = bench.sources.now();
    let before = |time, limit| bench.store.ended_before(time, limit);
    assert_eq!(before(now, 10).await.expect("answers"), ended[..3]);
    assert_eq!(before(now, 2).await.expect("answers"), ended[..2]);
    let later = now + Duration::from_secs(1);
    assert_eq!(before(later, 10).await.expect("answers"), ended);
}

/// What retention found may have been retried, and have ended anew, before its turn comes: then it stays.
pub async fn only_a_job_that_is_still_old_expires(bench: &Bench) {
    let job = bench.job().await;
    let expire = async |before| bench.store.expire(job.id, before).await;
    let far = bench.sources.now() + Duration::from_hours(1);
    let open = expire(far).await;
    assert!(matches!(open, Err(Error::WrongState(JobState::Queued))));

    bench.store.cancel(job.id).await.expect("cancelled");
    let ended = bench.sources.now();
    let young = expire(ended).await;
    assert!(matches!(young, Err(Error::WrongState(JobState::Cancelled))));
    bench.store.retry(job.id).await.expect("retried");
    let retried = expire(far).await;
    assert!(matches!(retried, Err(Error::WrongState(JobState::Queued))));
    bench.store.suspend(job.id).await.expect("suspended");
    let held = expire(far).await;
    assert!(matches!(held, Err(Error::WrongState(JobState::Suspended))));

    bench.store.cancel(job.id).await.expect("cancelled");
    let tombstone = expire(far).await.expect("old enough");
    assert_eq!((tombstone.id, tombstone.blob), (job.id, job.blob));
    assert!(matches!(expire(far).await, Err(Error::NotFound)));
}

/// A lease that had run out may have been renewed by the time its task would be taken on.
pub async fn a_renewed_task_stays_with_its_worker(bench: &Bench) {
    let job = bench.job().await;
    let claimed = bench.claim_next().await;
    let failure = Failure::new(FailureCode::AttemptsExhausted, "Lost.");
    let rescue = async |again| {
        let store = &bench.store;
        store.rescue(claimed.task, 1, &failure, again).await
    };
    let held = [Held {
        task: claimed.task,
        attempt: 1,
        bytes: 0,
        rows: 0,
        failed: 0,
    }];
    bench.clock.advance(LEASE);
    let expired = bench.store.expired_leases(10).await.expect("answers");
    assert_eq!(expired.len(), 1);
    let renewed = bench.store.renew(&worker(), &held, LEASE).await;
    assert_eq!(renewed.expect("answers"), []);
    let now = bench.sources.now();
    assert!(matches!(rescue(Some(now)).await, Err(Error::Stale)));
    assert!(matches!(rescue(None).await, Err(Error::Stale)));
    assert_status(&bench.get(job.id).await, JobState::Processing);

    bench.clock.advance(LEASE);
    rescue(Some(bench.sources.now())).await.expect("taken on");
    let again = bench.claim_next().await;
    assert_eq!((again.task, again.attempts_spent), (claimed.task, 2));
    bench.clock.advance(LEASE);
    let store = &bench.store;
    let last = store
        .rescue(again.task, again.attempt, &failure, None)
        .await;
    last.expect("failed");
    assert_status(&bench.get(job.id).await, JobState::Failed);
}

/// The orphan sweep learns which blobs belong to nobody.
pub async fn unknown_jobs_do_not_exist(bench: &Bench) {
    let job = bench.job().await.id;
    let ids = [bench.sources.job_id(), job, bench.sources.job_id()];
    let existing = bench.store.existing(&ids).await;
    assert_eq!(existing.expect("answers"), [job]);
    let none = bench.store.existing(&[]).await;
    assert_eq!(none.expect("answers"), []);
    let unknown = bench.store.job(ids[0]).await;
    assert_eq!(unknown.expect("answers"), None);
}

/// A worker is listed from its first beat until it leaves or falls silent.
pub async fn workers_are_listed_while_they_live(bench: &Bench) {
    let info = |name: &str, busy| WorkerInfo {
        id: WorkerId::new(name),
        slots: 4,
        busy,
        version: "1.2.3".to_owned(),
        started_at: bench.sources.now(),
        last_seen: bench.sources.now(),
    };
    let within = Duration::from_secs(30);
    let list = || async { bench.store.workers(within).await.expect("answers") };
    let beat = |info: WorkerInfo| async move { bench.store.beat(&info).await.expect("beat") };
    let silent = info("b", 0);
    beat(silent.clone()).await;
    beat(info("a", 0)).await;
    beat(info("c", 0)).await;
    bench.clock.advance(within);
    assert_eq!(list().await.len(), 3);
    let a = WorkerInfo {
        busy: 3,
        last_seen: bench.sources.now(),
        ..info("a", 0)
    };
    beat(a.clone()).await;
    bench.store.leave(&WorkerId::new("c")).await.expect("left");
    assert_eq!(list().await, [a.clone(), silent]);
    bench.clock.advance(Duration::from_millis(1));
    assert_eq!(list().await, [a]);
    bench.clock.advance(Duration::from_hours(48));
    assert_eq!(sweep(bench, 10).await, 2, "long gone ones are forgotten");
}

/// Every figure of the queue is right at every step.
pub async fn the_queue_is_measured(bench: &Bench) {
    let stats = || async { bench.store.queue_stats().await.expect("answers") };
    let empty = stats().await;
    assert_eq!((empty.depth, empty.oldest_age_seconds), (0, 0));
    assert_eq!(empty.jobs_by_status.len(), JobState::ALL.len());
    for _ in 0..3 {
        bench.job().await;
    }
    bench.clock.advance(Duration::from_secs(40));
    let tickets = bench.publish().await;
    bench.job().await;
    let held = bench.job().await;
    bench.store.suspend(held.id).await.expect("suspended");
    let claimed = bench.claim(&tickets[0]).await.expect("claimed");
    let now = stats().await;
    assert_eq!((now.depth, now.published, now.running), (3, 2, 1));
    assert_eq!(now.oldest_age_seconds, 40);
    let count = |status| {
        let found = now.jobs_by_status.iter().find(|(s, _)| *s == status);
        found.map(|(_, n)| *n)
    };
    assert_eq!(count(JobState::Queued), Some(3));
    assert_eq!(count(JobState::Processing), Some(1));
    assert_eq!(count(JobState::Suspended), Some(1));
    assert_eq!(count(JobState::Completed), Some(0));
    bench.commit(&claimed, effects(600, 0)).await;
    let now = stats().await;
    assert_eq!((now.running, now.dead_letters), (0, 0));
    assert!((now.rows_per_second - 10.0).abs() < f64::EPSILON, "{now:?}");
    bench.clock.advance(Duration::from_secs(61));
    assert!(stats().await.rows_per_second < f64::EPSILON);
    let claimed = bench.claim(&tickets[1]).await.expect("claimed");
    let failure = filejobs_core::Failure::new(filejobs_core::FailureCode::ParserCrash, "x");
    let failed = bench.store.fail(claimed.task, 1, failure, None).await;
    failed.expect("failed");
    assert_eq!(stats().await.dead_letters, 1);
    bench.store.ping().await.expect("the store answers");
}

async fn tombstones(bench: &Bench, limit: u32) -> Vec<Tombstone> {
    bench.store.tombstones(limit).await.expect("answers")
}

/// The commit that completes a job writes down that its file goes; nobody has to remember it afterwards.
pub async fn the_file_of_a_completed_job_is_to_go_where_that_is_wanted(bench: &Bench) {
    let spends = |mut commit: TaskCommit| {
        commit.spends_upload = true;
        commit
    };
    let kept = bench.finished(bench.new_job(), effects(1, 0)).await;
    assert_status(&kept, JobState::Completed);
    // A failed job can be done again.
    let mut strict = bench.new_job();
    strict.options.max_errors = Some(0);
    let failed = bench.finished(strict, spends(bench.effects(1, 2, 1))).await;
    assert_status(&failed, JobState::Failed);
    assert_eq!(tombstones(bench, 10).await, []);

    let job = bench.planned(2, |_| {}).await;
    let pieces = bench.claim_all().await;
    bench.commit(&pieces[1], spends(effects(10, 0))).await;
    assert_eq!(tombstones(bench, 10).await, [], "it is not completed yet");
    bench.commit(&pieces[0], spends(effects(10, 0))).await;
    let upload = Tombstone {
        id: job.id,
        blob: job.blob.clone(),
        remains: Remains::Upload,
        tries: 0,
    };
    assert_eq!(tombstones(bench, 10).await, std::slice::from_ref(&upload));
    bench.store.bury(&upload).await.expect("buried");
    assert_eq!(tombstones(bench, 10).await, []);
    assert_status(&bench.get(job.id).await, JobState::Completed);

    let job = bench.finished(bench.new_job(), spends(effects(1, 0))).await;
    let whole = bench.store.delete(job.id).await.expect("deleted");
    assert_eq!(
        tombstones(bench, 10).await,
        [whole],
        "the file goes with its job"
    );
}

/// What a plan without pieces completes is completed like all others.
pub async fn the_file_of_a_job_without_pieces_is_to_go_as_well(bench: &Bench) {
    let mut new = bench.new_job();
    new.task.kind = TaskKind::Plan;
    let job = bench.hand_in(new).await;
    let plan = bench.claim_next().await;
    let empty = PlanCommit {
        facts: facts(),
        tally: tally(0, 0),
        rows_total: 0,
        pieces: Vec::new(),
        findings: None,
        spends_upload: true,
    };
    let committed = bench.store.commit_plan(plan.task, 1, empty).await;
    committed.expect("committed");
    assert_status(&bench.get(job.id).await, JobState::Completed);
    let left: Vec<_> = tombstones(bench, 10).await;
    let left: Vec<_> = left.iter().map(|t| (t.id, t.remains)).collect();
    assert_eq!(left, [(job.id, Remains::Upload)]);
}

/// However many cannot be removed, the others have their turn.
pub async fn what_cannot_be_removed_lets_the_others_go_first(bench: &Bench) {
    let mut spent = effects(1, 0);
    spent.spends_upload = true;
    let mut stuck = vec![bench.finished(bench.new_job(), spent).await.id];
    for _ in 0..4 {
        let job = bench.finished(bench.new_job(), effects(1, 0)).await;
        bench.store.delete(job.id).await.expect("deleted");
        stuck.push(job.id);
    }
    bench.clock.advance(Duration::from_secs(1));
    let other = bench.finished(bench.new_job(), effects(1, 0)).await;
    bench.store.delete(other.id).await.expect("deleted");

    let pause = Duration::from_mins(1);
    let first = tombstones(bench, 5).await;
    let mut ids: Vec<_> = first.iter().map(|tombstone| tombstone.id).collect();
    ids.sort();
    assert_eq!(ids, stuck, "what has waited longest comes first");
    for tombstone in &first {
        let postponed = bench.store.postpone_burial(tombstone, pause).await;
        postponed.expect("postponed");
    }
    let left = tombstones(bench, 5).await;
    assert_eq!(left.iter().map(|t| t.id).collect::<Vec<_>>(), [other.id]);
    bench.store.bury(&left[0]).await.expect("buried");
    assert_eq!(tombstones(bench, 5).await, []);

    bench.clock.advance(pause);
    let again = tombstones(bench, 10).await;
    assert_eq!(again.len(), 5);
    assert!(again.iter().all(|tombstone| tombstone.tries == 1));
}
