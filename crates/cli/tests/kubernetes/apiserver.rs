//! An API server that does not do what it is asked, or says what cannot be understood.

use std::time::{Duration, Instant};

use filejobs_crd::{EventReason, FileJob, Phase};
use filejobs_testkit::gateway::{Fate, Gateway, failure};
use filejobs_testkit::http::Upload;
use filejobs_testkit::proxy::{Link, Proxy};
use filejobs_testkit::wait;
use kube::api::{ListParams, PostParams};
use serde_json::json;

use crate::place::{BRIEF, Crew, Place, condition, phase};
use crate::{DEADLINE, ORDERS, settles};

/// How long the API server fails.
const AWAY: Duration = Duration::from_secs(30);

/// Longest time until a request that was never answered has been made again: its own end, a look for jobs without objects,
/// and as much for a busy machine.
const GIVEN_UP: Duration = Duration::from_mins(2);

/// Objects among which one cannot be read.
const OBJECTS: usize = 1_000;

/// A place whose controller reaches the API server by way of a proxy and a gateway.
struct Stage {
    place: Place,
    gateway: Gateway,
    proxy: Proxy,
    crew: Crew,
}

impl Stage {
    async fn set() -> Self {
        Self::at(Place::new().await).await
    }

    async fn at(place: Place) -> Self {
        let gateway = place.gate();
        let proxy = Proxy::start(gateway.address()).unwrap();
        place.go_by(proxy.address());
        let crew = place.crew().await;
        Self {
            place,
            gateway,
            proxy,
            crew,
        }
    }

    async fn completes(&self, name: &str) -> FileJob {
        let object = self.place.finished(name).await;
        assert_eq!(phase(&object), Some(Phase::Completed), "{object:?}");
        object
    }

    /// How often something was asked.
    fn asked(&self, what: &str) -> usize {
        let asked = self.gateway.asked();
        asked.iter().filter(|asked| asked.what == what).count()
    }
}

/// Every event of the watch comes twice, and every watch ends after a while: some by a broken connection, some because
/// the version is too old, as an answer and as an event of the watch.
#[tokio::test]
async fn a_watch_that_breaks_repeats_itself_or_is_too_old_loses_nothing() {
    let stage = Stage::set().await;
    let mut number = 0;
    stage.gateway.judge(move |asked| {
        if asked.what != "watch filejobs" {
            return Fate::Pass;
        }
        number += 1;
        match number % 4 {
            1 => Fate::Refused(410),
            2 => Fate::Told(format!(
                "{}\n",
                json!({"type": "ERROR", "object": failure(410, "Expired")})
            )),
            3 => Fate::Refused(500),
            _ => Fate::Changed(|line| format!("{line}{line}")),
        }
    });
    for number in 0..4 {
        stage.proxy.set(Link::Cut);
        let name = format!("orders-{number}");
        stage.place.orders(&name, json!({})).await;
        stage.proxy.set(Link::Open);
        stage.completes(&name).await;
        // The last that is said of it: nothing of it is cut off by the next round.
        stage.place.told(&name, EventReason::Completed).await;
    }
    assert!(stage.asked("watch filejobs") > 4);
    assert!(stage.asked("list filejobs") > 1);
    assert_eq!(stage.place.jobs(&stage.crew).await, 4);
    for number in 0..4 {
        let name = format!("orders-{number}");
        let notes = stage.place.notes(&name, EventReason::JobCreated).await;
        assert_eq!(notes.len(), 1, "{name}: {notes:?}");
    }
    settles(&stage.gateway).await;
}

/// One answer of each kind never comes, while all others do: what waits for it must not wait as long as a watch may.
#[tokio::test]
async fn a_request_that_is_never_answered_is_given_up_and_made_again() {
    let stage = Stage::set().await;
    let mut lost = Vec::new();
    stage.gateway.judge(move |asked| {
        let first_of = ["create filejobs", "patch filejobs/status"];
        let loses = first_of.contains(&&*asked.what) && !lost.contains(&asked.what);
        if loses {
            lost.push(asked.what.clone());
            return Fate::Lost;
        }
        Fate::Pass
    });
    stage.place.orders("applied", json!({})).await;
    let upload = Upload::new("uploaded.csv", ORDERS);
    stage.place.upload(&stage.crew, upload).await;
    let ended = wait::until("both objects to have ended", GIVEN_UP, async || {
        let objects = stage.place.all::<FileJob>();
        let objects = objects.list(&ListParams::default()).await?;
        let ended = |object: &FileJob| condition(object, "Finished").0 == "True";
        let ended = objects.iter().filter(|object| ended(object)).count();
        Ok((ended == 2).then_some(()))
    });
    ended.await.unwrap();
}

/// The Lease can be renewed all the time: without it the controller would end, which `leaders` shows.
#[tokio::test]
async fn an_api_server_that_refuses_everything_for_a_while_is_not_pressed() {
    let stage = Stage::set().await;
    stage.place.orders("before", json!({})).await;
    stage.completes("before").await;
    for status in [429, 500] {
        let before = stage.gateway.count();
        stage.gateway.judge(move |asked| {
            if asked.what.ends_with(" leases") {
                Fate::Pass
            } else {
                Fate::Refused(status)
            }
        });
        // What stood is asked for again.
        stage.proxy.set(Link::Cut);
        stage.proxy.set(Link::Open);
        let begun = Instant::now();
        let mut names = Vec::new();
        for number in 0..10 {
            let name = format!("during-{status}-{number}");
            stage.place.orders(&name, json!({})).await;
            names.push(name);
        }
        let over = "the outage to be over";
        wait::until(over, AWAY * 2, async || {
            Ok((begun.elapsed() >= AWAY).then_some(()))
        })
        .await
        .unwrap();
        let mut asked = stage.gateway.asked().split_off(before);
        asked.retain(|asked| !asked.what.ends_with(" leases"));
        // Each object after 1, 2, 4, 8 and 16 seconds, less the jitter; and what is to be listed or watched.
        for name in &names {
            let of_object = asked.iter().filter(|asked| asked.name == *name).count();
            assert!(of_object <= 8, "{name} {of_object} times: {asked:#?}");
        }
        let others = asked.iter().filter(|asked| asked.name.is_empty()).count();
        assert!(others <= 20, "{asked:#?}");
        stage.gateway.open();
        for name in names {
            stage.completes(&name).await;
        }
    }
    settles(&stage.gateway).await;
}

/// Connections stand and nothing comes through: the lead cannot be renewed, so the controller ends, and the one that
/// is started in its place goes on once the network is back.
#[tokio::test]
async fn a_half_open_connection_ends_the_lead_and_the_next_controller_goes_on() {
    let mut stage = Stage::at(Place::of_lease(BRIEF).await).await;
    stage.place.orders("before", json!({})).await;
    stage.completes("before").await;
    stage.proxy.set(Link::Silent);
    stage.place.orders("during", json!({})).await;
    let (status, _) = stage.crew.controller.ended().await.unwrap();
    assert!(!status.success());
    assert!(
        stage
            .crew
            .controller
            .log()
            .contains("could not be renewed in time")
    );
    stage.crew.controller = stage.place.launch_controller();
    stage.proxy.set(Link::Open);
    stage.completes("during").await;
    assert_eq!(stage.place.jobs(&stage.crew).await, 2);
    settles(&stage.gateway).await;
}

#[tokio::test]
async fn a_status_that_meets_conflicts_is_written_in_the_end() {
    let stage = Stage::set().await;
    let mut left = 6;
    stage.gateway.judge(move |asked| {
        if left > 0 && asked.what == "patch filejobs/status" {
            left -= 1;
            return Fate::Refused(409);
        }
        Fate::Pass
    });
    stage.place.orders("orders", json!({})).await;
    let object = stage.completes("orders").await;
    assert_eq!(condition(&object, "Synced").0, "True");
    let figures = stage.place.cluster.figures(&stage.crew.controller).await;
    let counted = figures
        .unwrap()
        .value("filejobs_reconciles_total", &[("result", "conflict")]);
    // An object may be looked at again before the watch has told of its finalizer.
    let asked = stage.gateway.asked();
    let in_vain = asked
        .iter()
        .filter(|one| one.what == "patch filejobs" && one.status == Some(409));
    let in_vain = u32::try_from(in_vain.count()).unwrap();
    assert_eq!(counted, Some(f64::from(6 + in_vain)));
    settles(&stage.gateway).await;
}

#[tokio::test]
async fn one_object_that_cannot_be_read_stops_none_of_a_thousand() {
    let stage = Stage::set().await;
    stage.gateway.judge(|asked| match asked.what.as_str() {
        "list filejobs" | "watch filejobs" => {
            Fate::Changed(|line| line.replace(r#""priority":9"#, r#""priority":"nine""#))
        }
        _ => Fate::Pass,
    });
    // What lists begins anew.
    stage.proxy.set(Link::Cut);
    stage.proxy.set(Link::Open);
    let all = stage.place.all::<FileJob>();
    for number in 0..OBJECTS {
        let priority = if number == OBJECTS / 2 { 9 } else { 5 };
        let source = json!({"configMap": {"name": "none", "key": "orders.csv"}});
        // Cancelled before they have begun: they cost nothing but the look at them.
        let object = json!({
            "apiVersion": "filejobs.dev/v1alpha1", "kind": "FileJob",
            "metadata": {"name": format!("object-{number:04}")},
            "spec": {"source": source, "priority": priority, "cancel": true}
        });
        let object = serde_json::from_value(object).unwrap();
        all.create(&PostParams::default(), &object).await.unwrap();
    }
    let mut ended = 0;
    let looked_at = wait::until("all others to be told", DEADLINE, async || {
        let page = all.list(&ListParams::default()).await?;
        let finished = page
            .items
            .iter()
            .filter(|one| condition(one, "Finished").0 == "True");
        ended = finished.count();
        Ok((ended == OBJECTS - 1).then_some(()))
    });
    let looked_at = looked_at.await;
    looked_at.unwrap_or_else(|error| unreachable!("{error}: {ended}"));
    let name = format!("object-{:04}", OBJECTS / 2);
    stage.place.told(&name, EventReason::Undecodable).await;
    // And whatever comes afterwards is done.
    stage.place.orders("after", json!({})).await;
    stage.completes("after").await;
}
