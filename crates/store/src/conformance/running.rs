//! What runs, and what waits of jobs that have begun: what quotas are counted by.

use std::collections::BTreeMap;
use std::time::Duration;

use filejobs_core::failure::{Failure, FailureCode};
use filejobs_core::quotas::Load;
use filejobs_core::{JobId, TaskId};

use super::{Bench, LEASE, effects, worker};
use crate::{NewJob, Waiting};

/// What runs, by namespace: jobs and tasks.
async fn running(bench: &Bench) -> BTreeMap<String, (u64, u64)> {
    let running = bench.store.running().await.expect("the store answers");
    let counted = running.into_iter().map(|one| {
        let Load { jobs, tasks } = one.load;
        (one.namespace.to_string(), (jobs, tasks))
    });
    counted.collect()
}

async fn of_begun(bench: &Bench, per_job: u32) -> Vec<Waiting> {
    let found = bench.store.waiting_of_begun(per_job).await;
    found.expect("the store answers")
}

async fn begun(bench: &Bench, job: JobId) -> Vec<bool> {
    let waiting = bench.store.waiting(100).await.expect("the store answers");
    let its = waiting.iter().filter(|w| w.job == job);
    its.map(|w| w.begun).collect()
}

/// The waiting tasks of a job, in the order of its file.
async fn tasks_of(bench: &Bench, job: JobId) -> Vec<TaskId> {
    let waiting = bench.store.waiting(100).await.expect("the store answers");
    let its = waiting.iter().filter(|w| w.job == job);
    its.map(|w| w.task).collect()
}

async fn publish(bench: &Bench, task: TaskId) -> crate::Ticket {
    let tickets = bench.store.publish(&[task]).await.expect("published");
    tickets[0]
}

fn named(namespace: &str) -> impl FnOnce(&mut NewJob) {
    let namespace = namespace.parse().expect("a namespace");
    move |new| new.namespace = namespace
}

/// A job counts from its first published task to its end, a task while it is published or running.
pub async fn what_runs_is_counted_by_namespace(bench: &Bench) {
    let planned = bench.planned(3, named("a")).await;
    let mut other = bench.new_job();
    named("b")(&mut other);
    let other = bench.hand_in(other).await;
    assert_eq!(running(bench).await, BTreeMap::from([("a".into(), (1, 0))]));

    // Published, and not claimed yet: it is still queued.
    let task = tasks_of(bench, other.id).await[0];
    let ticket = publish(bench, task).await;
    let piece = tasks_of(bench, planned.id).await[0];
    publish(bench, piece).await;
    let both = BTreeMap::from([("a".into(), (1, 1)), ("b".into(), (1, 1))]);
    assert_eq!(running(bench).await, both);

    let claimed = bench.claim(&ticket).await.expect("claimed");
    assert_eq!(running(bench).await, both);
    bench.commit(&claimed, effects(1, 0)).await;
    assert_eq!(running(bench).await, BTreeMap::from([("a".into(), (1, 1))]));
    bench.store.cancel(planned.id).await.expect("cancelled");
    assert_eq!(running(bench).await, BTreeMap::new());
}

/// One whose first task is on its way, one whose attempt failed and one whose pieces wait have begun; one that was
/// handed in, suspended or retried has not.
pub async fn a_waiting_task_says_whether_its_job_has_begun(bench: &Bench) {
    let job = bench.planned(3, |_| {}).await;
    assert_eq!(begun(bench, job.id).await, [true; 3]);
    bench.store.suspend(job.id).await.expect("suspended");
    assert_eq!(running(bench).await, BTreeMap::new());
    bench.store.resume(job.id).await.expect("resumed");
    assert_eq!(begun(bench, job.id).await, [false; 3]);
    assert_eq!(of_begun(bench, 9).await, []);

    let first = tasks_of(bench, job.id).await[0];
    let ticket = publish(bench, first).await;
    assert_eq!(begun(bench, job.id).await, [true; 2]);
    let claimed = bench.claim(&ticket).await.expect("claimed");
    let failure = Failure::new(FailureCode::ParserCrash, "The parser crashed.");
    let put_off = bench
        .store
        .retry_task(
            claimed.task,
            claimed.attempt,
            &failure,
            claimed.job.queued_at,
        )
        .await;
    put_off.expect("put off");
    assert_eq!(begun(bench, job.id).await, [true; 3]);

    bench.store.cancel(job.id).await.expect("cancelled");
    bench.store.retry(job.id).await.expect("retried");
    assert_eq!(begun(bench, job.id).await, [false]);
}

/// They are found however many others wait before them, and none of them that may not run yet.
pub async fn tasks_of_jobs_under_way_are_found_behind_others(bench: &Bench) {
    let job = bench.planned(3, |_| {}).await;
    let whole = bench.job().await;
    let task = tasks_of(bench, whole.id).await[0];
    let ticket = publish(bench, task).await;
    let claimed = bench.store.claim(&ticket, &worker(), LEASE).await;
    let claimed = claimed.expect("the store answers").expect("claimed");
    let failure = Failure::new(FailureCode::ParserCrash, "The parser crashed.");
    let pause = Duration::from_secs(10);
    let not_before = bench.sources.now() + pause;
    let put_off = bench
        .store
        .retry_task(claimed.task, claimed.attempt, &failure, not_before)
        .await;
    put_off.expect("put off");
    for _ in 0..5 {
        bench.job().await;
    }

    let pieces = tasks_of(bench, job.id).await;
    let found = |waiting: Vec<Waiting>| {
        assert!(waiting.iter().all(|w| w.begun), "{waiting:?}");
        let mut tasks: Vec<_> = waiting.iter().map(|w| w.task).collect();
        tasks.sort();
        tasks
    };
    let sorted = |mut tasks: Vec<TaskId>| {
        tasks.sort();
        tasks
    };
    assert_eq!(
        found(of_begun(bench, 2).await),
        sorted(pieces[..2].to_vec())
    );
    bench.clock.advance(pause);
    let mut all = pieces.clone();
    all.push(claimed.task);
    assert_eq!(found(of_begun(bench, 9).await), sorted(all));
    publish(bench, pieces[0]).await;
    let left = vec![pieces[1], claimed.task];
    assert_eq!(found(of_begun(bench, 1).await), sorted(left));
}
