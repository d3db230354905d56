//! From waiting to a lease, and how a lease is kept, lost and given back.

use std::time::Duration;

use filejobs_core::failure::{Failure, FailureCode};
use filejobs_core::{JobState, TaskId, WorkerId};

use super::{Bench, LEASE, assert_status, effects, worker};
use crate::{Error, Held, Ticket, WorkerInfo};

async fn renew(bench: &Bench, worker: &WorkerId, held: &[Held], lease: Duration) -> Vec<TaskId> {
    let renewed = bench.store.renew(worker, held, lease).await;
    renewed.expect("the store answers")
}

async fn waiting(bench: &Bench, per_group: u32) -> Vec<crate::Waiting> {
    let waiting = bench.store.waiting(per_group).await;
    waiting.expect("the store answers")
}

/// Of each namespace and priority the oldest few, with how busy the namespace is.
pub async fn the_oldest_of_each_group_wait(bench: &Bench) {
    let mut wanted = Vec::new();
    for n in 0..12u32 {
        let mut new = bench.new_job();
        new.namespace = ["a", "b", "default"][n as usize % 3]
            .parse()
            .expect("valid");
        new.priority = [0, 10][n as usize / 3 % 2];
        bench.clock.advance(Duration::from_secs(1));
        let job = bench.hand_in(new).await;
        if n < 6 {
            wanted.push((job.namespace, job.priority, job.id, job.queued_at));
        }
    }
    let mut got: Vec<_> = waiting(bench, 1)
        .await
        .into_iter()
        .map(|w| (w.namespace, w.priority, w.job, w.queued_at))
        .collect();
    wanted.sort();
    got.sort();
    assert_eq!(got, wanted);
    assert_eq!(waiting(bench, 2).await.len(), 12);

    let of_a: Vec<TaskId> = waiting(bench, 9)
        .await
        .iter()
        .filter(|w| w.namespace.as_str() == "a" && w.priority == 0)
        .map(|w| w.task)
        .collect();
    bench.store.publish(&of_a).await.expect("published");
    let rest = waiting(bench, 9).await;
    assert_eq!(rest.len(), 10);
    for left in rest {
        let busy = if left.namespace.as_str() == "a" { 2 } else { 0 };
        assert_eq!(left.namespace_busy, busy, "{left:?}");
    }
    assert_eq!(bench.store.published().await.expect("counted"), 2);
}

/// Two schedulers and two workers cannot both have it.
pub async fn a_task_is_published_once_and_claimed_once(bench: &Bench) {
    let job = bench.job().await;
    let task = waiting(bench, 1).await[0].task;
    let unknown = bench.sources.task_id();
    let tickets = bench
        .store
        .publish(&[unknown, task])
        .await
        .expect("answers");
    assert_eq!(tickets, [Ticket { task, attempt: 0 }]);
    let again = bench.store.publish(&[task]).await.expect("answers");
    assert_eq!(again, []);
    assert_eq!(waiting(bench, 1).await, []);

    let mut claims = Vec::new();
    for _ in 0..8 {
        let (store, ticket) = (bench.store.clone(), tickets[0]);
        claims.push(tokio::spawn(async move {
            store.claim(&ticket, &worker(), LEASE).await
        }));
    }
    let mut won = Vec::new();
    for claim in claims {
        won.extend(claim.await.expect("no panic").expect("answers"));
    }
    assert_eq!(won.len(), 1);
    let claimed = &won[0];
    assert_eq!((claimed.task, claimed.job.id), (task, job.id));
    assert_eq!((claimed.attempt, claimed.attempts_spent), (1, 1));
    assert_eq!(bench.store.published().await.expect("counted"), 0);
}

/// A ticket from before the last attempt is out of date.
pub async fn an_old_ticket_claims_nothing(bench: &Bench) {
    bench.job().await;
    let ticket = bench.publish().await[0];
    let unpublished = bench.job().await;
    let task = waiting(bench, 1).await[0].task;
    assert_eq!(waiting(bench, 1).await[0].job, unpublished.id);
    assert_eq!(bench.claim(&Ticket { task, attempt: 0 }).await, None);
    let claimed = bench.claim(&ticket).await.expect("claimed");
    let released = bench.store.release(claimed.task, claimed.attempt).await;
    released.expect("released");
    let tickets = bench.publish().await;
    assert!(tickets.contains(&Ticket {
        attempt: 1,
        ..ticket
    }));
    assert_eq!(bench.claim(&ticket).await, None);
}

/// A job is under way from its first claim on.
pub async fn the_first_claim_starts_the_job(bench: &Bench) {
    let job = bench.planned(2, |_| {}).await;
    assert_status(&job, JobState::Processing);
    assert_eq!(job.started_at, Some(job.created_at));
    bench.clock.advance(Duration::from_secs(5));
    let claimed = bench.claim_all().await;
    assert_eq!(claimed.len(), 2);
    for (index, piece) in claimed.iter().enumerate() {
        assert_eq!(piece.index as usize, index);
        assert_status(&piece.job, JobState::Processing);
        assert_eq!(piece.job.started_at, Some(job.created_at));
        assert!(piece.job.facts.is_some(), "the plan's facts come along");
    }
}

/// What the queue lost is published again, with the same ticket.
pub async fn unclaimed_tasks_are_published_again(bench: &Bench) {
    bench.job().await;
    let first = bench.publish().await;
    let age = Duration::from_secs(10);
    let republish = || async { bench.store.republish(age, 10).await.expect("answers") };
    assert_eq!(republish().await, []);
    bench.clock.advance(age);
    assert_eq!(republish().await, first);
    assert_eq!(republish().await, [], "published anew a moment ago");
    bench.clock.advance(age);
    bench.claim(&first[0]).await.expect("claimed");
    assert_eq!(republish().await, []);
}

/// Counters of running tasks are part of the job's.
pub async fn renewing_keeps_the_lease_and_shows_progress(bench: &Bench) {
    let job = bench.planned(2, |_| {}).await;
    let claimed = bench.claim_all().await;
    let held = |n: usize, rows| Held {
        task: claimed[n].task,
        attempt: claimed[n].attempt,
        bytes: rows * 10,
        rows,
        failed: 1,
    };
    bench.clock.advance(Duration::from_secs(20));
    let foreign = Held {
        attempt: 9,
        ..held(1, 99)
    };
    let lost = renew(bench, &worker(), &[held(0, 5), foreign], LEASE).await;
    assert_eq!(lost, [claimed[1].task]);
    let other = WorkerId::new("worker-2");
    let lost = renew(bench, &other, &[held(1, 99)], LEASE).await;
    assert_eq!(lost, [claimed[1].task]);
    assert_eq!(renew(bench, &worker(), &[], LEASE).await, []);

    let running = bench.get(job.id).await;
    assert_eq!((running.rows_processed, running.rows_failed), (5, 1));
    assert_eq!(running.bytes_processed, 50);
    assert!(running.updated_at > job.updated_at);
    bench.commit(&claimed[0], effects(10, 2)).await;
    let lost = renew(bench, &worker(), &[held(0, 7), held(1, 3)], LEASE).await;
    assert_eq!(lost, [claimed[0].task]);
    let running = bench.get(job.id).await;
    assert_eq!((running.rows_processed, running.rows_failed), (13, 3));
    assert_eq!(running.bytes_processed, 1_030);
}

/// Nothing expires while it is renewed; what is not renewed is found, and its worker's words count no more.
pub async fn a_lost_lease_is_found(bench: &Bench) {
    let job = bench.job().await;
    let claimed = bench.claim_next().await;
    let expired = || async { bench.store.expired_leases(10).await.expect("answers") };
    assert_eq!(expired().await, []);
    let held = Held {
        task: claimed.task,
        attempt: claimed.attempt,
        bytes: 0,
        rows: 0,
        failed: 0,
    };
    let lost = renew(bench, &worker(), &[held], Duration::ZERO).await;
    assert_eq!(lost, []);
    let lost = expired().await;
    assert_eq!(lost.len(), 1);
    assert_eq!((lost[0].task, lost[0].job), (claimed.task, job.id));
    assert_eq!((lost[0].attempt, lost[0].attempts_spent), (1, 1));
    assert_eq!(lost[0].worker, worker());
    let failure = Failure::new(FailureCode::ParserCrash, "gone");
    let now = bench.sources.now();
    let moved = bench.store.retry_task(claimed.task, 1, &failure, now).await;
    moved.expect("moved on");
    assert_eq!(expired().await, []);
    let lost = renew(bench, &worker(), &[held], LEASE).await;
    assert_eq!(lost, [claimed.task]);
}

/// The pause before the next attempt is kept; the attempt is spent.
pub async fn a_failed_attempt_waits_for_its_next(bench: &Bench) {
    let job = bench.job().await;
    let claimed = bench.claim_next().await;
    let failure = Failure::new(FailureCode::ParserCrash, "the parser ended");
    let later = bench.sources.now() + Duration::from_secs(3);
    let retry = |attempt| {
        bench
            .store
            .retry_task(claimed.task, attempt, &failure, later)
    };
    assert!(matches!(retry(2).await, Err(Error::Stale)));
    retry(1).await.expect("put off");
    assert!(matches!(retry(1).await, Err(Error::Stale)));
    assert_eq!(waiting(bench, 10).await, []);
    assert_status(&bench.get(job.id).await, JobState::Processing);
    bench.clock.advance(Duration::from_secs(3));
    let claimed = bench.claim_next().await;
    assert_eq!((claimed.attempt, claimed.attempts_spent), (2, 2));
    assert_eq!(claimed.job.attempt, 2);
}

/// A drained worker costs its tasks nothing but time.
pub async fn a_released_attempt_is_not_spent(bench: &Bench) {
    bench.job().await;
    for n in 1..=5 {
        let claimed = bench.claim_next().await;
        assert_eq!((claimed.attempt, claimed.attempts_spent), (n, 1));
        let release = |attempt| bench.store.release(claimed.task, attempt);
        assert!(matches!(release(n + 1).await, Err(Error::Stale)));
        release(n).await.expect("released");
        assert!(matches!(release(n).await, Err(Error::Stale)));
        assert_eq!(bench.get(claimed.job.id).await.attempt, 0);
    }
}

/// After a crash of the only process nothing waits for a lease to run out.
pub async fn a_service_that_is_alone_takes_everything_back(bench: &Bench) {
    let job = bench.planned(3, |_| {}).await;
    let tickets = bench.publish().await;
    let running = bench.claim(&tickets[0]).await.expect("claimed");
    let info = WorkerInfo {
        id: worker(),
        slots: 1,
        busy: 1,
        version: "1".to_owned(),
        started_at: bench.sources.now(),
        last_seen: bench.sources.now(),
    };
    bench.store.beat(&info).await.expect("registered");
    assert_eq!(bench.store.take_back_all().await.expect("answers"), 3);
    assert_eq!(waiting(bench, 10).await.len(), 3);
    let workers = bench.store.workers(LEASE).await;
    assert_eq!(workers.expect("answers"), []);
    let late = bench.store.commit(running.task, 1, effects(10, 0)).await;
    assert!(matches!(late, Err(Error::Stale)), "{late:?}");
    assert_eq!(bench.claim(&tickets[1]).await, None);
    for piece in bench.claim_all().await {
        assert_eq!(piece.attempts_spent, 1, "no attempt was spent");
        bench.commit(&piece, effects(10, 0)).await;
    }
    assert_status(&bench.get(job.id).await, JobState::Completed);
}
