//! Which of several controllers works.

use std::time::Instant;

use filejobs_testkit::wait;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::DEADLINE;
use crate::place::{BRIEF, LEASE, Place};

async fn holder(place: &Place) -> Option<String> {
    let lease = place.all::<Lease>().get_opt(LEASE).await.unwrap();
    lease?.spec?.holder_identity
}

#[tokio::test]
async fn of_two_controllers_one_works_and_the_other_follows_when_it_is_killed() {
    let place = Place::of_lease(BRIEF).await;
    let mut crew = place.crew().await;
    let leads = wait::until("the first to lead", DEADLINE, async || {
        Ok(holder(&place).await)
    });
    let first = Some(leads.await.unwrap());
    // The one that stands by asks by way of a gateway, which sees that it does nothing else.
    let gateway = place.gate();
    let _second = place.controller().await;
    let asks = wait::until("the second to ask who leads", DEADLINE, async || {
        Ok((gateway.count() > 1).then_some(()))
    });
    asks.await.unwrap();
    place.orders("before", json!({})).await;
    place.finished("before").await;
    let strange: Vec<_> = gateway
        .asked()
        .into_iter()
        .filter(|asked| asked.what != "get leases")
        .collect();
    assert!(strange.is_empty(), "{strange:?}");
    assert_eq!(holder(&place).await, first);
    crew.controller.kill().unwrap();
    let killed = Instant::now();
    let follows = wait::until("the other to lead", DEADLINE, async || {
        let now = holder(&place).await;
        Ok((now.is_some() && now != first).then_some(()))
    });
    follows.await.unwrap();
    let took = killed.elapsed();
    // How long it may take by the clock is tested where the clock is ours.
    println!("another led after {took:?}");
    place.orders("after", json!({})).await;
    place.finished("after").await;
    assert_eq!(place.jobs(&crew).await, 2);
}

#[tokio::test]
async fn who_loses_the_lease_ends_with_an_error_and_another_goes_on() {
    let place = Place::of_lease(BRIEF).await;
    let mut crew = place.crew().await;
    place.orders("before", json!({})).await;
    place.finished("before").await;
    let other = json!({"spec": {"holderIdentity": "somebody-else"}});
    let lease = place.all::<Lease>();
    lease
        .patch(LEASE, &PatchParams::default(), &Patch::Merge(other))
        .await
        .unwrap();
    let (status, _) = crew.controller.ended().await.unwrap();
    assert!(!status.success());
    let log = crew.controller.log();
    assert!(log.contains("another controller holds the Lease"), "{log}");
    // Who took it says nothing more, and is followed.
    crew.controller = place.launch_controller();
    place.orders("after", json!({})).await;
    place.finished("after").await;
    assert_eq!(place.jobs(&crew).await, 2);
}
