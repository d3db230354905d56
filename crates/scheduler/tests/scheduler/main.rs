//! A scheduler with a real store, queue and storage.

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod leading;
#[cfg(test)]
mod quotas;
#[cfg(test)]
mod retention;

use std::time::Duration;

use filejobs_core::{FailureClass, FailureCode, JobState};
use filejobs_scheduler::take_over;
use filejobs_store::DeliveryRecord;
use fixture::{LONG, Service, config, delivery, ended, eventually, telling, told};
use tokio::net::TcpListener;
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

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

fn statuses(record: &DeliveryRecord) -> Vec<Option<u16>> {
    record
        .attempts
        .iter()
        .map(|attempt| attempt.status)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_is_told_once_when_it_answers() {
    let service = Service::start().await;
    let server = MockServer::start().await;
    Mock::given(path("/hook"))
        .respond_with(ResponseTemplate::new(202))
        .expect(1)
        .mount(&server)
        .await;
    let scheduler = telling(&service, |_| {});
    let record = told(&service, &format!("{}/hook", server.uri())).await;
    assert_eq!(
        (record.state.as_str(), statuses(&record)),
        ("delivered", vec![Some(202)])
    );
    let requests = server.received_requests().await.unwrap();
    assert_eq!(requests[0].body, record.delivery.body.as_bytes());
    scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_fails_is_told_four_times_and_one_that_is_gone_once() {
    let service = Service::start().await;
    let server = MockServer::start().await;
    for status in [302, 404, 410, 500] {
        let hook = format!("/{status}");
        Mock::given(path(&*hook))
            .respond_with(ResponseTemplate::new(status))
            .mount(&server)
            .await;
    }
    let scheduler = telling(&service, |_| {});
    for (status, times) in [(302, 4), (404, 4), (410, 1), (500, 4)] {
        let record = told(&service, &format!("{}/{status}", server.uri())).await;
        assert_eq!(record.state, "abandoned");
        assert_eq!(statuses(&record), vec![Some(status); times]);
        assert!(
            record
                .attempts
                .iter()
                .all(|attempt| attempt.error.is_some())
        );
    }
    scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_comes_back_is_told_by_a_retry() {
    let service = Service::start().await;
    let server = MockServer::start().await;
    let failing = ResponseTemplate::new(503);
    Mock::given(path("/hook"))
        .respond_with(failing)
        .up_to_n_times(2)
        .mount(&server)
        .await;
    Mock::given(path("/hook"))
        .respond_with(ResponseTemplate::new(200))
        .mount(&server)
        .await;
    let scheduler = telling(&service, |_| {});
    let record = told(&service, &format!("{}/hook", server.uri())).await;
    assert_eq!(record.state, "delivered");
    assert_eq!(statuses(&record), [Some(503), Some(503), Some(200)]);
    let requests = server.received_requests().await.unwrap();
    let ids: Vec<_> = requests
        .iter()
        .map(|request| &request.headers["webhook-id"])
        .collect();
    assert!(
        ids.iter().all(|id| *id == ids[0]),
        "one delivery keeps its id"
    );
    scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_address_is_refused_and_that_is_written_down() {
    let service = Service::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let scheduler = service.schedule(config(|_| {}));
    let record = told(&service, &format!("http://{address}/")).await;
    assert_eq!(
        (record.state.as_str(), record.attempts.len()),
        ("abandoned", 1)
    );
    let error = record.attempts[0].error.as_deref().unwrap();
    assert!(
        error.contains("private") && !error.contains("127"),
        "{error}"
    );
    scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_receiver_holds_up_nobody_else() {
    let service = Service::start().await;
    // Takes connections and never answers; on the very host of those that do.
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hanging = format!("http://{}/", dead.local_addr().unwrap());
    let server = MockServer::start().await;
    Mock::given(path("/hook"))
        .respond_with(ResponseTemplate::new(200))
        .mount(&server)
        .await;
    let scheduler = telling(&service, |config| config.webhooks.attempt = LONG);
    let mut jobs = Vec::new();
    for _ in 0..300 {
        jobs.push(ended(&service, &hanging).await);
    }
    let good = format!("{}/hook", server.uri());
    for _ in 0..50 {
        let record = told(&service, &good).await;
        assert_eq!(
            (record.state.as_str(), record.attempts.len()),
            ("delivered", 1)
        );
    }
    let pending = service.store().deliveries(jobs[0]).await.unwrap();
    assert_eq!(pending[0].state, "pending");
    scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_slower_than_jobs_end_is_told_of_each_all_the_same() {
    let service = Service::start().await;
    let server = MockServer::start().await;
    // Sixteen at a time: not half of them within the window.
    Mock::given(path("/hook"))
        .respond_with(ResponseTemplate::new(200).set_delay(Duration::from_millis(500)))
        .mount(&server)
        .await;
    let url = format!("{}/hook", server.uri());
    let mut jobs = Vec::new();
    for _ in 0..80 {
        jobs.push(ended(&service, &url).await);
    }
    let scheduler = telling(&service, |config| {
        config.webhooks.window = Duration::from_secs(1);
    });
    for job in jobs {
        let record = delivery(&service, job).await;
        assert_eq!(
            (record.state.as_str(), statuses(&record)),
            ("delivered", vec![Some(200)])
        );
    }
    scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_once_the_time_for_it_has_passed() {
    let service = Service::start().await;
    let server = MockServer::start().await;
    Mock::given(path("/hook"))
        .respond_with(ResponseTemplate::new(200))
        .expect(0)
        .mount(&server)
        .await;
    let scheduler = telling(&service, |config| config.webhooks.window = Duration::ZERO);
    let record = told(&service, &format!("{}/hook", server.uri())).await;
    assert_eq!(record.state, "abandoned");
    scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_no_scheduler_was_there_to_tell_is_told_once_one_is() {
    let service = Service::start().await;
    let server = MockServer::start().await;
    Mock::given(path("/hook"))
        .respond_with(ResponseTemplate::new(200))
        .mount(&server)
        .await;
    let url = format!("{}/hook", server.uri());
    let job = ended(&service, &url).await;
    let since = service.job(job).await.completed_at;
    let window = Duration::from_secs(2);
    eventually("the window has passed", async || {
        service.backends.sources.now() > since.unwrap() + window
    })
    .await;
    let scheduler = telling(&service, |config| config.webhooks.window = window);
    let record = delivery(&service, job).await;
    assert_eq!(
        (record.state.as_str(), statuses(&record)),
        ("delivered", vec![Some(200)])
    );
    scheduler.stop().await;
}
