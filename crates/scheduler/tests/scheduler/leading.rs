//! Several schedulers over one store: one works.

use std::sync::atomic::Ordering;
use std::time::Duration;

use filejobs_core::SchedulerId;
use filejobs_scheduler::{Election, run_elected};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::fixture::{LONG, Service, config, eventually};

/// A term that nobody is to lose, and whose end nobody waits for.
const LASTING: Duration = Duration::from_hours(1);

/// A term whose end is waited for.
const BRIEF: Duration = Duration::from_secs(2);

fn election(name: &str, term: Duration) -> Election {
    Election {
        term,
        renew: Duration::from_millis(50),
        margin: Duration::from_millis(500),
        ..Election::new(SchedulerId::new(name))
    }
}

struct Candidate {
    election: Election,
    stop: CancellationToken,
    task: JoinHandle<Result<(), filejobs_scheduler::Error>>,
}

impl Candidate {
    fn start(service: &Service, name: &str, term: Duration) -> Self {
        let (election, stop) = (election(name, term), CancellationToken::new());
        let backends = service.backends.clone();
        let run = run_elected(backends, config(|_| {}), election.clone(), stop.clone());
        Self {
            election,
            stop,
            task: tokio::spawn(run),
        }
    }

    fn leads(&self) -> bool {
        self.election.leads.load(Ordering::Relaxed)
    }

    async fn until_it_leads(&self) {
        eventually("it leads", async || self.leads()).await;
    }

    async fn stop(self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(LONG, self.task).await;
        ended.expect("it stops").unwrap().unwrap();
    }
}

/// A job is handed in and its ticket arrives: somebody works.
async fn works(service: &Service) {
    let job = service.submit(|_| {}).await;
    assert_eq!(service.claim(LONG).await.job.id, job);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_one_leads_as_soon_as_the_first_steps_down() {
    let service = Service::start().await;
    let first = Candidate::start(&service, "first", LASTING);
    first.until_it_leads().await;
    let second = Candidate::start(&service, "second", LASTING);
    works(&service).await;
    assert!(first.leads() && !second.leads());
    first.stop().await;
    second.until_it_leads().await;
    works(&service).await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_gone_without_a_word_is_followed_after_its_term() {
    let service = Service::start().await;
    let first = Candidate::start(&service, "first", BRIEF);
    first.until_it_leads().await;
    let second = Candidate::start(&service, "second", BRIEF);
    // As a kill would: nobody steps down.
    first.task.abort();
    assert!(first.task.await.unwrap_err().is_cancelled());
    second.until_it_leads().await;
    works(&service).await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_place_was_taken_stops_working_and_stands_by() {
    let service = Service::start().await;
    let first = Candidate::start(&service, "first", LASTING);
    first.until_it_leads().await;
    // As after a pause of the whole process that lasted for longer than its term.
    let usurper = SchedulerId::new("usurper");
    let store = service.store();
    store.step_down(&first.election.holder).await.unwrap();
    let taken = async || {
        let led = store.lead(&usurper, Duration::from_mins(1)).await.unwrap();
        led.is_some()
    };
    eventually("another leads", || async {
        // The first one may have asked again in between.
        let held = taken().await;
        if !held {
            store.step_down(&first.election.holder).await.unwrap();
        }
        held
    })
    .await;
    eventually("it notices", async || !first.leads()).await;
    let job = service.submit(|_| {}).await;
    let received = service
        .queue()
        .receive(1, Duration::from_millis(200))
        .await
        .unwrap();
    assert!(
        received.is_empty(),
        "{job} was published by nobody who leads"
    );
    store.step_down(&usurper).await.unwrap();
    first.until_it_leads().await;
    assert_eq!(service.claim(LONG).await.job.id, job);
    first.stop().await;
}
