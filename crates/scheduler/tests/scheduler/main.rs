//! A scheduler with a real store, queue and storage.

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod leading;
#[cfg(test)]
mod quotas;
#[cfg(test)]
mod retention;
#[cfg(test)]
mod webhooks;

use std::time::Duration;

use filejobs_core::{FailureClass, FailureCode, JobState};
use filejobs_scheduler::take_over;
use fixture::{LONG, Service, config, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn the_most_urgent_go_first_and_no_further_than_the_window() {
    let service = Service::start().await;
    for n in 0..40 {
        service.submit(|new| new.priority = n % 4).await;
    }
    let scheduler = service.schedule(config(|_| {}));
    eventually("the window is full", async || {
        service.queue().depth().await.unwrap() >= 32
    })
    .await;

    let mut priorities = Vec::new();
    for _ in 0..8 {
        priorities.push(service.claim(LONG).await.job.priority);
    }
    // These claims have made room for others, a quarter of the window.
    eventually("the window is filled up", async || {
        service.store().published().await.unwrap() == 32
    })
    .await;
    for _ in 0..32 {
        priorities.push(service.claim(LONG).await.job.priority);
    }
    assert!(priorities.is_sorted_by(|a, b| a >= b), "{priorities:?}");
    scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_handed_in_later_is_published_without_waiting_for_a_tick() {
    let service = Service::start().await;
    let scheduler = service.schedule(config(|_| {}));
    for _ in 0..3 {
        let job = service.submit(|_| {}).await;
        assert_eq!(service.claim(LONG).await.job.id, job);
    }
    scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_workers_die_is_taken_on_until_its_attempts_are_used_up() {
    let service = Service::start().await;
    let scheduler = service.schedule(config(|_| {}));
    let job = service.submit(|_| {}).await;
    for attempt in 1..=3 {
        let claimed = service.claim(Duration::from_millis(1)).await;
        assert_eq!((claimed.job.id, claimed.attempts_spent), (job, attempt));
    }
    eventually("the job has failed", async || {
        service.job(job).await.status == JobState::Failed
    })
    .await;
    let job = service.job(job).await;
    assert_eq!(job.failure_code, Some(FailureCode::AttemptsExhausted));
    assert_eq!(job.failure_class, Some(FailureClass::Processing));
    assert_eq!(service.store().queue_stats().await.unwrap().dead_letters, 1);
    scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_that_got_lost_is_published_again() {
    let service = Service::start().await;
    let scheduler = service.schedule(config(|config| {
        config.republish_after = Duration::from_millis(1);
    }));
    let job = service.submit(|_| {}).await;
    let lost = service.receive().await;
    let again = service.claim(LONG).await;
    assert_eq!(
        (again.task, again.job.id, again.attempt),
        (lost.task, job, 1)
    );
    scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_starts_again_goes_on_where_its_previous_process_was_killed() {
    let service = Service::start().await;
    let scheduler = service.schedule(config(|_| {}));
    let running = service.submit(|_| {}).await;
    let held = service.claim(LONG).await;
    let published = service.submit(|_| {}).await;
    let lost = service.receive().await;
    scheduler.stop().await;

    assert_eq!(take_over(&service.backends).await.unwrap(), 2);

    let scheduler = service.schedule(config(|_| {}));
    let mut jobs = Vec::new();
    for _ in 0..2 {
        let claimed = service.claim(LONG).await;
        assert!([held.task, lost.task].contains(&claimed.task));
        assert_eq!(claimed.attempts_spent, 1);
        jobs.push(claimed.job.id);
    }
    jobs.sort();
    assert_eq!(jobs, [running, published]);
    scheduler.stop().await;
}
