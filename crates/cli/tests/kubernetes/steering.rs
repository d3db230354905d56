//! What an author does with a job through its object: hold it back, end it, start it over, bound its time.

use std::fmt::Write as _;

use filejobs_controller::Config;
use filejobs_crd::{EventReason, FINALIZER, FileJob, Phase};
use filejobs_testkit::cluster::Member;
use filejobs_testkit::gateway::Fate;
use filejobs_testkit::http::Upload;
use filejobs_testkit::processes;
use filejobs_testkit::wait;
use kube::ResourceExt as _;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::place::{Crew, Place, condition, job_id, phase};
use crate::{DEADLINE, schema};

/// Enough rows that an engine is still at work when it is looked for.
const ROWS: u64 = 1_000_000;

/// Changes something of a spec.
async fn change(place: &Place, name: &str, spec: Value) {
    place.change(name, json!({ "spec": spec })).await;
}

/// Waits until a condition has this status and this reason.
async fn shows(place: &Place, name: &str, kind: &str, wanted: (&str, &str)) -> FileJob {
    let what = format!("{name} to show {kind} {wanted:?}");
    let shown = |object: &FileJob| {
        let (status, reason) = condition(object, kind);
        (&*status, &*reason) == wanted
    };
    place.until(name, &what, shown).await
}

/// An object's job, as the API has it.
async fn job(place: &Place, crew: &Crew, object: &FileJob) -> Value {
    let path = format!("jobs/{}", job_id(object));
    let answer = place.call(crew, Method::GET, &path).await;
    answer.assert_status(200);
    answer.json()
}

/// Waits until no engine of this worker is there.
async fn released(worker: &Member) {
    let gone = wait::until("the engine to go", DEADLINE, async || {
        Ok(processes::descendants(worker.pid())
            .is_empty()
            .then_some(()))
    });
    gone.await.unwrap();
}

#[tokio::test]
async fn an_object_that_stood_in_line_is_taken_as_it_is_when_its_turn_comes() {
    let (place, gateway) = Place::gated().await;
    let (release, held) = watch::channel(());
    gateway.judge(move |asked| {
        let holds = asked.what == "get configmaps" && asked.name.starts_with("held-");
        if holds {
            Fate::Held(held.clone())
        } else {
            Fate::Pass
        }
    });
    let crew = place.crew().await;
    let at_a_time = usize::from(Config::CONCURRENCY);
    for n in 0..at_a_time {
        place.orders(&format!("held-{n}"), json!({})).await;
    }
    let taken = wait::until("every turn to be taken", DEADLINE, async || {
        let asked = gateway.asked();
        let held = asked.iter().filter(|one| one.what == "get configmaps");
        Ok((held.count() == at_a_time).then_some(()))
    });
    taken.await.unwrap();
    place.orders("late", json!({})).await;
    change(&place, "late", json!({"suspend": true})).await;
    drop(release);
    let object = shows(&place, "late", "Suspended", ("True", "SuspendedByOwner")).await;
    assert_eq!(job(&place, &crew, &object).await["started_at"], Value::Null);
}

#[tokio::test]
async fn a_job_that_waits_for_a_worker_says_so_and_does_what_its_spec_says() {
    let place = Place::new().await;
    let crew = place.office().await;
    place.orders("orders", json!({})).await;
    let waits = ("False", "NoWorkers");
    let object = shows(&place, "orders", "Admitted", waits).await;
    assert_eq!(phase(&object), Some(Phase::Queued));
    let status = object.status.as_ref().unwrap();
    assert_eq!(status.reason.as_deref(), Some("NoWorkers"));
    assert_eq!(object.finalizers(), [FINALIZER]);

    change(&place, "orders", json!({"priority": 7})).await;
    let prioritised = wait::until("the priority to be taken", DEADLINE, async || {
        Ok((job(&place, &crew, &object).await["priority"] == 7).then_some(()))
    });
    prioritised.await.unwrap();

    change(&place, "orders", json!({"suspend": true})).await;
    let held = ("True", "SuspendedByOwner");
    let object = shows(&place, "orders", "Suspended", held).await;
    assert_eq!(phase(&object), Some(Phase::Suspended));
    change(&place, "orders", json!({"suspend": false})).await;
    shows(&place, "orders", "Suspended", ("False", "NotSuspended")).await;
    place.told("orders", EventReason::Suspended).await;
    place.told("orders", EventReason::Resumed).await;

    change(&place, "orders", json!({"cancel": true})).await;
    let object = shows(&place, "orders", "Finished", ("True", "Cancelled")).await;
    assert_eq!(condition(&object, "Succeeded").0, "False");
    assert_eq!(phase(&object), Some(Phase::Cancelled));
    assert_eq!(job(&place, &crew, &object).await["status"], "CANCELLED");
    place.told("orders", EventReason::Cancelled).await;

    change(
        &place,
        "orders",
        json!({"cancel": false, "retryGeneration": 1}),
    )
    .await;
    let object = shows(&place, "orders", "Admitted", waits).await;
    assert_eq!(condition(&object, "Finished").0, "False");
    assert_eq!(job(&place, &crew, &object).await["generation"], 1);
    place.told("orders", EventReason::Retried).await;

    let _worker = place.worker().await;
    let object = place.finished("orders").await;
    assert_eq!(condition(&object, "Succeeded").0, "True");
    // What has ended well stays so, and whoever asks for more is told.
    change(
        &place,
        "orders",
        json!({"retryGeneration": 2, "priority": 3}),
    )
    .await;
    place.told("orders", EventReason::RetryRefused).await;
    place.told("orders", EventReason::PriorityRefused).await;
    let job = job(&place, &crew, &object).await;
    assert_eq!(
        (&job["status"], &job["priority"]),
        (&json!("COMPLETED"), &json!(7))
    );
}

#[tokio::test]
async fn a_running_job_is_held_back_ended_and_started_over_by_its_spec() {
    let mut place = Place::new().await;
    place.environment("FILEJOBS_MAX_RUNNING_JOBS", "1");
    let crew = place.office().await;
    let worker = place.worker().await;
    let mut text = "id,name,amount\n".to_owned();
    for row in 0..ROWS {
        writeln!(text, "{row},Amara,1.5").unwrap();
    }
    let upload = Upload::new("big.csv", text);
    let id = place.upload(&crew, upload.field("schema", schema())).await;
    processes::hold_engine(worker.pid()).await.unwrap();
    let name = format!("big-{}", &id[24..]);
    shows(&place, &name, "Admitted", ("True", "Started")).await;
    // Another job of the namespace waits for the first, and says so.
    place.orders("other", json!({})).await;
    shows(&place, "other", "Admitted", ("False", "NamespaceJobQuota")).await;
    change(&place, &name, json!({"priority": 3})).await;
    place.told(&name, EventReason::PriorityRefused).await;

    change(&place, &name, json!({"cancel": true})).await;
    shows(&place, &name, "Finished", ("True", "Cancelled")).await;
    released(&worker).await;
    let other = place.finished("other").await;
    assert_eq!(condition(&other, "Succeeded").0, "True");

    change(
        &place,
        &name,
        json!({"cancel": false, "retryGeneration": 1}),
    )
    .await;
    processes::hold_engine(worker.pid()).await.unwrap();
    shows(&place, &name, "Finished", ("False", "InProgress")).await;
    change(&place, &name, json!({"suspend": true})).await;
    shows(&place, &name, "Suspended", ("True", "SuspendedByOwner")).await;
    released(&worker).await;
    change(&place, &name, json!({"suspend": false})).await;
    processes::hold_engine(worker.pid()).await.unwrap();

    change(&place, &name, json!({"activeDeadlineSeconds": 1})).await;
    let object = shows(&place, &name, "Finished", ("True", "DeadlineExceeded")).await;
    let status = object.status.unwrap();
    assert_eq!(status.phase, Some(Phase::Failed));
    let message = status.message.unwrap();
    assert!(
        message.contains("the 1 s that its FileJob allows"),
        "{message}"
    );
    released(&worker).await;

    let again = json!({"activeDeadlineSeconds": 3600, "retryGeneration": 2});
    change(&place, &name, again).await;
    let object = shows(&place, &name, "Succeeded", ("True", "Completed")).await;
    let rows = object.status.unwrap().rows.unwrap();
    assert_eq!((rows.processed, rows.failed), (ROWS, 0));
}

#[tokio::test]
async fn a_job_that_is_held_back_from_the_beginning_goes_when_it_may() {
    let place = Place::new().await;
    let crew = place.crew().await;
    place.orders("orders", json!({"suspend": true})).await;
    let held = ("False", "SuspendedByOwner");
    let object = shows(&place, "orders", "Admitted", held).await;
    assert_eq!(condition(&object, "Suspended").0, "True");
    assert_eq!(job(&place, &crew, &object).await["status"], "SUSPENDED");
    // The worker is there, and has others.
    place.orders("other", json!({})).await;
    place.finished("other").await;
    let held = job(&place, &crew, &object).await;
    assert_eq!(
        (&held["status"], &held["started_at"]),
        (&json!("SUSPENDED"), &Value::Null)
    );
    change(&place, "orders", json!({"suspend": false})).await;
    let object = place.finished("orders").await;
    assert_eq!(condition(&object, "Succeeded").0, "True");
}

#[tokio::test]
async fn an_object_goes_with_all_it_has_when_its_time_is_over() {
    let place = Place::new().await;
    let crew = place.crew().await;
    // Gone as soon as it has ended, before anybody may have seen the end.
    place
        .orders("short", json!({"ttlSecondsAfterFinished": 0}))
        .await;
    place.orders("orders", json!({})).await;
    let kept = place.finished("orders").await;
    change(&place, "orders", json!({"ttlSecondsAfterFinished": 1})).await;
    for name in ["short", "orders"] {
        place.gone(name).await;
    }
    let path = format!("jobs/{}", job_id(&kept));
    place
        .call(&crew, Method::GET, &path)
        .await
        .assert_status(404);
    place.nothing_stored().await;
}

#[tokio::test]
async fn a_job_that_no_worker_takes_in_time_fails_and_can_be_started_over() {
    let place = Place::new().await;
    let _crew = place.office().await;
    place
        .orders("orders", json!({"queueDeadlineSeconds": 1}))
        .await;
    let object = shows(&place, "orders", "Finished", ("True", "DeadlineExceeded")).await;
    assert_eq!(condition(&object, "Admitted").0, "False");
    place.told("orders", EventReason::Failed).await;
    let again = json!({"queueDeadlineSeconds": 3600, "retryGeneration": 1});
    change(&place, "orders", again).await;
    let _worker = place.worker().await;
    shows(
        &place,
        "orders",
        "Succeeded",
        ("True", "CompletedWithErrors"),
    )
    .await;
}
