//! Why a job waits, and where it stands.

use std::time::Duration;

use filejobs_core::failure::{Failure, FailureCode};
use filejobs_core::waiting::{ALIVE, Wait, WaitingReason};
use filejobs_core::{JobId, Quotas};

use super::{Bench, effects, worker};
use crate::{Job, NewJob, WorkerInfo};

async fn why(bench: &Bench, job: JobId) -> Option<Wait> {
    let told = bench.store.why_waiting(job).await;
    told.expect("the store answers")
}

async fn reason(bench: &Bench, job: JobId) -> Option<WaitingReason> {
    why(bench, job).await.map(|wait| wait.reason)
}

async fn position(bench: &Bench, job: JobId) -> Option<u64> {
    let place = why(bench, job).await.and_then(|wait| wait.place);
    place.map(|place| {
        assert!(!place.at_least);
        place.position
    })
}

/// A second later than the one before, so that their order is known.
async fn later(bench: &Bench, change: impl FnOnce(&mut NewJob)) -> Job {
    bench.clock.advance(Duration::from_secs(1));
    let mut new = bench.new_job();
    change(&mut new);
    bench.hand_in(new).await
}

/// A worker says that it lives.
async fn beat(bench: &Bench, slots: u32, busy: u32) {
    let now = bench.sources.now();
    let info = WorkerInfo {
        id: worker(),
        slots,
        busy,
        version: "1".to_owned(),
        started_at: now,
        last_seen: now,
    };
    bench.store.beat(&info).await.expect("registered");
}

/// In the order of admission: what is more urgent, then what is older, namespaces in turns.
pub async fn a_waiting_job_knows_its_place(bench: &Bench) {
    beat(bench, 1, 1).await;
    let first = later(bench, |_| {}).await;
    let second = later(bench, |_| {}).await;
    let urgent = later(bench, |new| new.priority = 5).await;
    let elsewhere = later(bench, |new| new.namespace = "b".parse().expect("valid")).await;
    assert_eq!(reason(bench, first.id).await, Some(WaitingReason::Queued));
    assert_eq!(position(bench, urgent.id).await, Some(1));
    // The other namespace is busier once what is urgent has gone.
    assert_eq!(position(bench, elsewhere.id).await, Some(2));
    // Equally busy namespaces: the other one is taken to go first.
    assert_eq!(position(bench, first.id).await, Some(3));
    assert_eq!(position(bench, second.id).await, Some(4));

    bench.store.suspend(first.id).await.expect("suspended");
    assert_eq!(position(bench, second.id).await, Some(3));
    // What is on its way goes before everything that is not.
    bench.store.cancel(urgent.id).await.expect("cancelled");
    let waiting = bench.store.waiting(9).await.expect("the store answers");
    let task = waiting.iter().find(|w| w.job == elsewhere.id);
    let task = task.expect("it waits").task;
    bench.store.publish(&[task]).await.expect("published");
    assert_eq!(position(bench, elsewhere.id).await, Some(1));
    assert_eq!(position(bench, second.id).await, Some(2));
}

/// It is told while no worker has a task of it, and only then.
pub async fn a_job_waits_until_a_worker_has_it_and_while_its_attempts_pause(bench: &Bench) {
    let unknown = bench.sources.job_id();
    assert_eq!(why(bench, unknown).await, None);
    let job = bench.job().await;
    assert_eq!(reason(bench, job.id).await, Some(WaitingReason::NoWorkers));
    beat(bench, 2, 0).await;
    let wait = why(bench, job.id).await.expect("it waits");
    assert_eq!(
        (wait.reason, wait.seconds),
        (WaitingReason::Queued, Some(0))
    );
    bench.clock.advance(ALIVE + Duration::from_secs(1));
    assert_eq!(reason(bench, job.id).await, Some(WaitingReason::NoWorkers));

    beat(bench, 2, 0).await;
    let claimed = bench.claim_next().await;
    assert_eq!(why(bench, job.id).await, None);
    let failure = Failure::new(FailureCode::ParserCrash, "The parser crashed.");
    let not_before = bench.sources.now() + Duration::from_secs(7);
    let put_off = bench
        .store
        .retry_task(claimed.task, claimed.attempt, &failure, not_before)
        .await;
    put_off.expect("put off");
    let wait = why(bench, job.id).await.expect("it waits");
    assert_eq!(
        (wait.reason, wait.place, wait.seconds),
        (WaitingReason::BackingOff, None, Some(7))
    );
    bench.clock.advance(Duration::from_secs(7));
    assert_eq!(reason(bench, job.id).await, Some(WaitingReason::Queued));

    bench.store.suspend(job.id).await.expect("suspended");
    assert_eq!(reason(bench, job.id).await, Some(WaitingReason::Suspended));
    bench.store.cancel(job.id).await.expect("cancelled");
    assert_eq!(why(bench, job.id).await, None);
}

/// The quotas that the scheduler has written down last are the ones that count.
pub async fn a_quota_that_holds_a_job_is_told(bench: &Bench) {
    beat(bench, 4, 1).await;
    let running = bench.job().await;
    bench.claim_next().await;
    assert_eq!(why(bench, running.id).await, None);
    let job = bench.job().await;
    let quota = async |quotas: Quotas| {
        let told = bench.store.set_quotas(quotas).await;
        told.expect("written");
        reason(bench, job.id).await.expect("it waits")
    };
    let none = Quotas::default();
    assert_eq!(quota(none).await, WaitingReason::Queued);
    let jobs = Quotas {
        namespace_jobs: Some(1),
        ..none
    };
    assert_eq!(quota(jobs).await, WaitingReason::NamespaceJobQuota);
    let tasks = Quotas {
        namespace_tasks: Some(1),
        ..none
    };
    assert_eq!(quota(tasks).await, WaitingReason::NamespaceTaskQuota);
    let total = Quotas {
        total_jobs: Some(1),
        total_tasks: Some(9),
        ..none
    };
    assert_eq!(quota(total).await, WaitingReason::TotalQuota);
    assert_eq!(quota(none).await, WaitingReason::Queued);
}

/// Tickets that do not arrive, though workers are idle, are the queue's fault.
pub async fn a_queue_that_carries_nothing_is_told(bench: &Bench) {
    let job = bench.job().await;
    bench.publish().await;
    let behind = bench.job().await;
    bench.clock.advance(Duration::from_secs(30));
    beat(bench, 2, 2).await;
    assert_eq!(reason(bench, job.id).await, Some(WaitingReason::Queued));
    beat(bench, 2, 1).await;
    let stuck = Some(WaitingReason::QueueUnavailable);
    assert_eq!(reason(bench, job.id).await, stuck);
    assert_eq!(reason(bench, behind.id).await, stuck);
}

/// At the pace of the jobs that ended lately.
pub async fn the_start_is_estimated_from_what_ended_lately(bench: &Bench) {
    for _ in 0..10 {
        bench.finished(bench.new_job(), effects(1, 0)).await;
        bench.clock.advance(Duration::from_secs(2));
    }
    beat(bench, 1, 1).await;
    let mut last = None;
    for _ in 0..5 {
        last = Some(later(bench, |_| {}).await.id);
    }
    let wait = why(bench, last.expect("one")).await.expect("it waits");
    // Ten in 25 seconds; it is the fifth.
    assert_eq!(wait.place.map(|place| place.position), Some(5));
    assert_eq!(wait.seconds, Some(13));
}
