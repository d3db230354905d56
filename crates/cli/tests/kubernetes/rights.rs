//! A controller that may not do all that it has to.

use std::time::{Duration, Instant};

use filejobs_crd::EventReason;
use filejobs_testkit::gateway::Gateway;
use filejobs_testkit::kube::KubeServer;
use filejobs_testkit::wait::{self, DEADLINE};
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use reqwest::Method;
use serde_json::json;

use crate::place::Place;

/// How long the controller is watched while it lacks the right.
const WATCHED: Duration = Duration::from_secs(20);

/// How long the last change of the job may be on its way to the controller.
const LAST: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_missing_verb_is_told_and_counted_and_does_not_make_a_hot_loop() {
    let place = Place::new().await;
    let gateway = Gateway::start(KubeServer::shared()).unwrap();
    place.go_by(gateway.address());
    let crew = place.crew().await;
    place.orders("before", json!({})).await;
    place.finished("before").await;
    place
        .grant(|rule| rule["resources"][0] != "filejobs/status")
        .await;
    place.orders("during", json!({})).await;
    let note = wait::until("the missing right to be told of", DEADLINE, async || {
        let all = place.all::<Event>().list(&ListParams::default()).await?;
        let found = all
            .items
            .into_iter()
            .find(|event| event.reason.as_deref() == Some(EventReason::Forbidden.as_str()));
        Ok(found.and_then(|event| event.note))
    });
    let note = note.await.unwrap();
    assert!(
        note.contains("filejobs/status") && note.contains("patch"),
        "{note}"
    );
    let figures = place.cluster.figures(&crew.controller).await.unwrap();
    let counted = figures.value("filejobs_reconciles_total", &[("result", "forbidden")]);
    assert!(counted > Some(0.0), "{counted:?}");
    let ends = wait::until("the job to end all the same", DEADLINE, async || {
        let path = format!("jobs?status=COMPLETED&namespace={}", place.namespace);
        let page = place.call(&crew, Method::GET, &path).await.json();
        Ok((page["jobs"].as_array().map(Vec::len) == Some(2)).then_some(()))
    });
    ends.await.unwrap();
    // A change of the job is a reason to try again, and its end is the last. Time alone is one after a minute.
    let ended = Instant::now();
    let watched = wait::until("some time to pass", DEADLINE, async || {
        Ok((ended.elapsed() >= WATCHED).then_some(()))
    });
    watched.await.unwrap();
    let mut tries = gateway.asked();
    tries.retain(|asked| asked.what == "patch filejobs/status" && asked.at > ended + LAST);
    assert!(tries.len() <= 1, "{tries:#?}");
    place.grant(|_| true).await;
    // It would be tried again within two minutes; a change of the object is tried at once.
    place.change("during", json!({"metadata": {"annotations": {"example.org/again": "1"}}, "spec": {"priority": 6}})).await;
    place.finished("during").await;
}
