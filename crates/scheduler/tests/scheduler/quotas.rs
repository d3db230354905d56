//! How much runs at a time.

use std::time::Duration;

use filejobs_core::{JobId, JobState, Quotas};
use filejobs_store::conformance::{effects, facts, tally};
use filejobs_store::{Claimed, NewTask, PlanCommit, TaskKind};

use crate::fixture::{LONG, Service, config, eventually};

/// Commits a task of one row.
async fn commit(service: &Service, claimed: &Claimed) {
    let committed = service
        .store()
        .commit(claimed.task, claimed.attempt, effects(1, 0));
    committed.await.unwrap();
}

/// Commits a plan of `pieces`.
async fn commit_plan(service: &Service, claimed: &Claimed, pieces: u32) {
    let plan = PlanCommit {
        facts: facts(),
        tally: tally(0, 0),
        rows_total: pieces.into(),
        pieces: (0..pieces)
            .map(|index| NewTask {
                id: service.backends.sources.task_id(),
                kind: TaskKind::Piece,
                index,
                piece: serde_json::Value::Null,
                bytes: 1,
            })
            .collect(),
        findings: None,
        spends_upload: false,
    };
    let committed = service
        .store()
        .commit_plan(claimed.task, claimed.attempt, plan);
    committed.await.unwrap();
}

fn one_job() -> Quotas {
    Quotas {
        namespace_jobs: Some(1),
        ..Quotas::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_a_namespace_run_one_after_the_other_and_those_of_another_beside_them() {
    let service = Service::start().await;
    let mut of_a = Vec::new();
    for _ in 0..3 {
        of_a.push(service.submit(|_| {}).await);
    }
    let other = service
        .submit(|new| new.namespace = "b".parse().unwrap())
        .await;
    let scheduler = service.schedule(config(|config| config.quotas = one_job()));

    let mut first = vec![service.claim(LONG).await, service.claim(LONG).await];
    first.sort_by_key(|claimed| claimed.job.id == other);
    assert_eq!(first[0].job.id, of_a[0]);
    assert_eq!(first[1].job.id, other);
    let mut running = first.swap_remove(0);
    for next in &of_a[1..] {
        // Several rounds look at what waits while the quota is used up.
        let waiting = service.store().waiting(9).await.unwrap();
        assert!(waiting.iter().any(|w| w.job == *next));
        assert_eq!(service.store().published().await.unwrap(), 0);
        commit(&service, &running).await;
        running = service.claim(LONG).await;
        assert_eq!(running.job.id, *next);
    }
    scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_under_way_gets_on_behind_any_number_of_older_ones_that_its_quota_holds() {
    let service = Service::start().await;
    let mut older = Vec::new();
    // More than fit into the window.
    for _ in 0..40 {
        older.push(service.submit(|_| {}).await);
    }
    let large = service
        .submit(|new| {
            new.task.kind = TaskKind::Plan;
            new.priority = 1;
        })
        .await;
    let scheduler = service.schedule(config(|config| config.quotas = one_job()));
    let plan = service.claim(LONG).await;
    assert_eq!(plan.job.id, large);
    for job in &older {
        service.store().set_priority(*job, 1).await.unwrap();
    }
    commit_plan(&service, &plan, 2).await;
    for _ in 0..2 {
        let piece = service.claim(LONG).await;
        assert_eq!(piece.job.id, large);
        commit(&service, &piece).await;
    }
    assert_eq!(service.job(large).await.status, JobState::Completed);
    assert_eq!(service.claim(LONG).await.job.id, older[0]);
    scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_task_lets_the_next_one_of_its_job_go() {
    let service = Service::start().await;
    let large = service.submit(|new| new.task.kind = TaskKind::Plan).await;
    let scheduler = service.schedule(config(|config| {
        config.quotas = Quotas {
            namespace_tasks: Some(1),
            total_tasks: Some(1),
            ..Quotas::default()
        };
    }));
    let plan = service.claim(LONG).await;
    commit_plan(&service, &plan, 4).await;
    for _ in 0..4 {
        let piece = service.claim(LONG).await;
        assert_eq!(service.store().published().await.unwrap(), 0);
        commit(&service, &piece).await;
    }
    assert_eq!(service.job(large).await.status, JobState::Completed);
    scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn suspended_jobs_take_no_room_in_a_quota() {
    let service = Service::start().await;
    let first = service.submit(|_| {}).await;
    let second = service.submit(|_| {}).await;
    let scheduler = service.schedule(config(|config| config.quotas = one_job()));
    assert_eq!(service.claim(LONG).await.job.id, first);
    service.store().suspend(first).await.unwrap();
    let running = service.claim(LONG).await;
    assert_eq!(running.job.id, second);

    service.store().resume(first).await.unwrap();
    commit(&service, &running).await;
    let again = service.claim(LONG).await;
    assert_eq!(again.job.id, first);
    assert_eq!(again.attempts_spent, 1);
    scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_worker_died_keeps_its_room_until_it_is_taken_on() {
    let service = Service::start().await;
    let first = service.submit(|_| {}).await;
    let second: JobId = service.submit(|_| {}).await;
    let scheduler = service.schedule(config(|config| config.quotas = one_job()));
    let lost = service.claim(Duration::from_millis(1)).await;
    assert_eq!(lost.job.id, first);
    let again = service.claim(LONG).await;
    assert_eq!((again.job.id, again.attempts_spent), (first, 2));
    commit(&service, &again).await;
    eventually("the next job is published", async || {
        service.store().published().await.unwrap() == 1
    })
    .await;
    assert_eq!(service.claim(LONG).await.job.id, second);
    scheduler.stop().await;
}
