//! A controller that may not do all that it has to.

use std::time::{Duration, Instant};

use filejobs_crd::EventReason;
use filejobs_testkit::wait;
use serde_json::json;

use crate::DEADLINE;
use crate::place::Place;

/// How long the controller is watched while it lacks the right.
const WATCHED: Duration = Duration::from_secs(35);

/// How long the last change of the job may be on its way to the controller.
const LAST: Duration = Duration::from_secs(15);

#[tokio::test]
async fn a_missing_verb_is_told_and_counted_and_does_not_make_a_hot_loop() {
    let (place, gateway) = Place::gated().await;
    let crew = place.crew().await;
    place.orders("before", json!({})).await;
    place.finished("before").await;
    place
        .grant(|rules| rules.retain(|rule| rule["resources"][0] != "filejobs/status"))
        .await;
    place.orders("during", json!({})).await;
    let note = place.told("during", EventReason::Forbidden).await;
    assert!(
        note.contains("filejobs/status") && note.contains("patch"),
        "{note}"
    );
    let figures = place.cluster.figures(&crew.controller).await.unwrap();
    let counted = figures.value("filejobs_reconciles_total", &[("result", "forbidden")]);
    assert!(counted > Some(0.0), "{counted:?}");
    let ends = wait::until("the job to end all the same", DEADLINE, async || {
        let ended = place.jobs_that(&crew, "&status=COMPLETED").await;
        Ok((ended == 2).then_some(()))
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
    place.grant(|_| ()).await;
    // It would be tried again within two minutes; a change of the object is tried at once.
    place.change("during", json!({"metadata": {"annotations": {"example.org/again": "1"}}, "spec": {"priority": 6}})).await;
    place.finished("during").await;
}
