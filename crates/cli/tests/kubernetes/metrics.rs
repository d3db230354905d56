//! How far objects lag behind jobs, and how many do not agree, as `/metrics` has it.

use filejobs_testkit::http::Upload;
use filejobs_testkit::wait;
use reqwest::Method;
use serde_json::json;

use crate::place::{Crew, Place};
use crate::{DEADLINE, ORDERS};

/// Waits until a metric of the controller has a value.
async fn measured(place: &Place, crew: &Crew, name: &str, wanted: impl Fn(f64) -> bool) {
    let mut last = None;
    let seen = wait::until(name, DEADLINE, async || {
        let figures = place.cluster.figures(&crew.controller).await?;
        last = figures.value(name, &[]);
        Ok(last.is_some_and(&wanted).then_some(()))
    });
    let seen = seen.await;
    assert!(seen.is_ok(), "{seen:?}: {last:?}");
}

/// Waits until so many jobs and objects do not agree.
async fn drifted(place: &Place, crew: &Crew, count: u32) {
    let wanted = |apart: f64| (apart - f64::from(count)).abs() < f64::EPSILON;
    measured(place, crew, "filejobs_mirror_drift", wanted).await;
}

/// Takes from the controller the right to make objects.
async fn may_not_create(place: &Place) {
    place
        .grant(|rules| {
            let verbs = rules[0]["verbs"].as_array_mut().unwrap();
            verbs.retain(|verb| verb != "create");
        })
        .await;
    place
        .until_it_may("create", "filejobs.dev", "filejobs", false)
        .await;
}

#[tokio::test]
async fn lag_and_drift_of_objects_are_measured() {
    let place = Place::new().await;
    let crew = place.crew().await;
    drifted(&place, &crew, 0).await;
    place.orders("orders", json!({})).await;
    place.finished("orders").await;
    // Once more where the controller looks again before its own watch has shown it what it wrote.
    let count = "filejobs_mirror_lag_seconds_count";
    measured(&place, &crew, count, |count| count >= 1.0).await;
    let figures = place.cluster.figures(&crew.controller).await.unwrap();
    let lag = figures.value("filejobs_mirror_lag_seconds_sum", &[]);
    let lag = lag.unwrap();
    assert!((0.0..DEADLINE.as_secs_f64()).contains(&lag), "{lag}");

    // A job whose object may not be made, until it is gone.
    may_not_create(&place).await;
    let id = place.upload(&crew, Upload::new("first.csv", ORDERS)).await;
    drifted(&place, &crew, 1).await;
    let path = format!("jobs/{id}");
    let gone = wait::until("the job to be deleted", DEADLINE, async || {
        // Once cancels it while it runs.
        place.call(&crew, Method::DELETE, &path).await;
        let left = place.call(&crew, Method::GET, &path).await;
        Ok((left.status == 404).then_some(()))
    });
    gone.await.unwrap();
    drifted(&place, &crew, 0).await;
}
