//! Who is told how a job ended, how often and when.

use std::sync::mpsc;
use std::time::Duration;

use filejobs_core::sources::Fixed;
use filejobs_scheduler::run;
use filejobs_store::DeliveryRecord;
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::fixture::{
    LONG, Service, config, delivery, ended, eventually, telling, told, told_here,
};

/// What is not to pass while a test runs, however slow it is.
const HOUR: Duration = Duration::from_hours(1);

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
    // However long it takes to make them, none is given up meanwhile.
    let scheduler = telling(&service, |config| {
        config.webhooks.attempt = HOUR;
        config.webhooks.window = HOUR;
    });
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
    // Sixteen at a time: not all of them within the window.
    Mock::given(path("/hook"))
        .respond_with(ResponseTemplate::new(200).set_delay(Duration::from_secs(3)))
        .mount(&server)
        .await;
    let url = format!("{}/hook", server.uri());
    let mut jobs = Vec::new();
    for _ in 0..80 {
        jobs.push(ended(&service, &url).await);
    }
    let scheduler = telling(&service, |config| {
        config.webhooks.attempt = Duration::from_secs(10);
        config.webhooks.window = Duration::from_secs(10);
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
    let clock = Fixed::new(Timestamp::UNIX_EPOCH, 0.0);
    let service = Service::start_at(clock.sources()).await;
    let server = MockServer::start().await;
    Mock::given(path("/hook"))
        .respond_with(ResponseTemplate::new(200))
        .mount(&server)
        .await;
    let url = format!("{}/hook", server.uri());
    let job = ended(&service, &url).await;
    // Its window, and more.
    clock.advance(2 * LONG);
    let scheduler = telling(&service, |_| {});
    let record = delivery(&service, job).await;
    assert_eq!(
        (record.state.as_str(), statuses(&record)),
        ("delivered", vec![Some(200)])
    );
    scheduler.stop().await;
}

/// All the time for an end that [`what_a_scheduler_was_sending_while_it_stood_still_is_sent_again`] gives: it has to pass.
const BUDGET: Duration = Duration::from_secs(10);

/// As when its machine is paused or moved: all of its time passes with a request under way.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_scheduler_was_sending_while_it_stood_still_is_sent_again() {
    let service = Service::start().await;
    let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", receiver.local_addr().unwrap());
    let job = ended(&service, &url).await;
    let (stand_still, standing) = oneshot::channel::<()>();
    let (go_on, going_on) = mpsc::channel::<()>();
    let stop = CancellationToken::new();
    let scheduler = std::thread::spawn({
        let (backends, stop) = (service.backends.clone(), stop.clone());
        let config = config(|config| {
            told_here(config);
            config.webhooks.window = BUDGET;
            config.webhooks.attempt = BUDGET;
        });
        move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let still = async {
                    standing.await.unwrap();
                    going_on.recv().unwrap();
                    std::future::pending::<()>().await;
                };
                tokio::select! {
                    ended = run(backends, config, stop) => ended.unwrap(),
                    () = still => {}
                }
            });
        }
    });
    let accept = async || timeout(LONG, receiver.accept()).await.unwrap().unwrap();
    let (first, _) = accept().await;
    stand_still.send(()).unwrap();
    let clock = &service.backends.sources;
    let until = clock.now() + BUDGET + Duration::from_secs(2);
    eventually("all of its time has passed", async || clock.now() > until).await;
    drop(first);
    go_on.send(()).unwrap();
    let (mut second, _) = accept().await;
    assert!(second.read(&mut [0; 4096]).await.unwrap() > 0);
    second
        .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
        .await
        .unwrap();
    let record = delivery(&service, job).await;
    assert_eq!(
        (record.state.as_str(), statuses(&record)),
        ("delivered", vec![Some(204)])
    );
    stop.cancel();
    scheduler.join().unwrap();
}
