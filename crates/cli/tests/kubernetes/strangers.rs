//! What others do to objects: they edit what is not theirs, delete, and make anew.

use filejobs_crd::{FINALIZER, FileJob, Phase};
use filejobs_testkit::http::Upload;
use filejobs_testkit::postgres::PostgresServer;
use filejobs_testkit::proxy::{Link, Proxy};
use filejobs_testkit::wait;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use reqwest::Method;
use serde_json::json;
use std::time::{Duration, Instant};

use crate::place::{LEASE, Place, condition, job_id, phase};
use crate::{DEADLINE, settles};

/// An object that is deleted while the database is away is gone after this time at the latest.
const GONE: Duration = Duration::from_mins(1);

#[tokio::test]
async fn an_object_made_again_under_its_name_gets_a_job_of_its_own() {
    let (place, gateway) = Place::gated().await;
    let crew = place.crew().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        place.orders("orders", json!({})).await;
        let object = place.finished("orders").await;
        ids.push(job_id(&object));
        place.delete("orders").await;
    }
    // Also one whose job is held back.
    place.orders("orders", json!({"suspend": true})).await;
    let held = |object: &FileJob| phase(object) == Some(Phase::Suspended);
    let object = place.until("orders", "the job to be held back", held).await;
    ids.push(job_id(&object));
    place.delete("orders").await;
    place.orders("orders", json!({})).await;
    ids.push(job_id(&place.finished("orders").await));
    let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "{ids:?}");
    assert_eq!(place.jobs(&crew).await, 1);
    settles(&gateway).await;
    place.delete("orders").await;
    place.empty(&crew).await;
}

#[tokio::test]
async fn a_status_edited_by_hand_is_put_right() {
    let (place, gateway) = Place::gated().await;
    let _crew = place.crew().await;
    place.orders("orders", json!({})).await;
    let before = place.finished("orders").await.status;
    let edited = json!({
        "status": {"phase": "Failed", "message": "not true", "rows": {"processed": 1, "valid": 0, "failed": 1}}
    });
    let all = place.all::<FileJob>();
    for edit in [edited, json!({ "status": null })] {
        let edit = Patch::Merge(edit);
        let edited = all
            .patch_status("orders", &PatchParams::default(), &edit)
            .await;
        assert_ne!(edited.unwrap().status, before);
        let restored = |object: &FileJob| {
            let (status, before) = (object.status.as_ref(), before.as_ref());
            status.map(|status| (status.phase, status.rows, &status.message, &status.job_id))
                == before.map(|status| (status.phase, status.rows, &status.message, &status.job_id))
                && condition(object, "Finished").0 == "True"
        };
        place
            .until("orders", "the status to be put right", restored)
            .await;
    }
    settles(&gateway).await;
}

#[tokio::test]
async fn a_finalizer_taken_off_by_hand_comes_back_and_one_missing_at_the_end_costs_nothing() {
    let (place, gateway) = Place::gated().await;
    let crew = place.crew().await;
    place.orders("orders", json!({})).await;
    place.finished("orders").await;
    let none = json!({"metadata": {"finalizers": null}});
    place.change("orders", none.clone()).await;
    let has = |object: &FileJob| object.finalizers() == [FINALIZER];
    place
        .until("orders", "the finalizer to come back", has)
        .await;
    settles(&gateway).await;
    // Others' finalizers are theirs.
    let both = json!({"metadata": {"finalizers": [FINALIZER, "example.org/mine"]}});
    place.change("orders", both).await;
    place.ask_to_delete("orders").await;
    let left = |object: &FileJob| object.finalizers() == ["example.org/mine"];
    place
        .until("orders", "only the other finalizer to be left", left)
        .await;
    place.empty(&crew).await;
    place.change("orders", none.clone()).await;
    place.gone("orders").await;
    // Deleted without the controller's knowing: no finalizer, and the controller away.
    place.orders("lost", json!({})).await;
    place.finished("lost").await;
    let mut crew = crew;
    crew.controller.terminate().await.unwrap();
    place.change("lost", none).await;
    place.ask_to_delete("lost").await;
    place.gone("lost").await;
    crew.controller = place.controller().await;
    place.empty(&crew).await;
}

/// There is no namespace controller here: the test deletes what is in the namespace, as that one does.
#[tokio::test]
async fn a_namespace_that_is_deleted_takes_its_jobs_along() {
    let (place, gateway) = Place::gated().await;
    let crew = place.crew().await;
    for number in 0..5 {
        let held = json!({"suspend": number % 2 == 0});
        place.orders(&format!("orders-{number}"), held).await;
    }
    for number in [1, 3] {
        place.finished(&format!("orders-{number}")).await;
    }
    let namespaces: Api<Namespace> = Api::all(place.client.clone());
    let parameters = DeleteParams::default();
    namespaces
        .delete(&place.namespace, &parameters)
        .await
        .unwrap();
    // A file that comes now has nowhere to be shown; nobody is held up by it.
    let upload = Upload::new("late.csv", crate::ORDERS);
    let late = place.upload(&crew, upload).await;
    let all = place.all::<FileJob>();
    all.delete_collection(&parameters, &ListParams::default())
        .await
        .unwrap();
    let empty = wait::until("all objects to go", DEADLINE, async || {
        let left = all.list(&ListParams::default()).await?;
        Ok(left.items.is_empty().then_some(()))
    });
    empty.await.unwrap();
    let only = wait::until("their jobs to go", DEADLINE, async || {
        Ok((place.jobs(&crew).await == 1).then_some(()))
    });
    only.await.unwrap();
    let path = format!("jobs/{late}");
    place
        .call(&crew, reqwest::Method::GET, &path)
        .await
        .assert_status(200);
    settles(&gateway).await;
}

#[tokio::test]
async fn an_object_deleted_while_postgres_and_redis_are_away_goes_and_its_job_goes_later() {
    let (mut place, gateway) = Place::gated().await;
    let database = place
        .cluster
        .database_url
        .rsplit('/')
        .next()
        .unwrap()
        .to_owned();
    let postgres = Proxy::start(PostgresServer::shared().address()).unwrap();
    place.cluster.database_url = PostgresServer::url_at(postgres.address(), &database);
    let redis = Proxy::start(place.cluster.redis.address()).unwrap();
    place.cluster.redis_url = format!("redis://{}", redis.address());
    let crew = place.crew().await;
    for link in [Link::Cut, Link::Silent] {
        place.orders("orders", json!({})).await;
        place.finished("orders").await;
        for proxy in [&postgres, &redis] {
            proxy.set(link);
        }
        let asked = Instant::now();
        place.ask_to_delete("orders").await;
        place.gone("orders").await;
        println!("{link:?}: gone after {:?}", asked.elapsed());
        assert!(asked.elapsed() < GONE, "{:?}", asked.elapsed());
        assert!(!place.stored().is_empty());
        for proxy in [&postgres, &redis] {
            proxy.set(Link::Open);
        }
        place.empty(&crew).await;
    }
    settles(&gateway).await;
}

/// Whoever waits for its end gets one, and its time to live begins.
#[tokio::test]
async fn an_object_whose_job_is_deleted_by_the_api_before_its_end_has_ended() {
    let (place, gateway) = Place::gated().await;
    let crew = place.crew().await;
    let spec = json!({"suspend": true, "ttlSecondsAfterFinished": 3600});
    place.orders("orders", spec).await;
    let held = |object: &FileJob| phase(object) == Some(Phase::Suspended);
    let object = place.until("orders", "the job to be held back", held).await;
    let path = format!("jobs/{}", job_id(&object));
    assert_eq!(place.call(&crew, Method::DELETE, &path).await.status, 204);
    let object = place.finished("orders").await;
    for (kind, status) in [
        ("Finished", "True"),
        ("Succeeded", "False"),
        ("Synced", "False"),
    ] {
        let (told, reason) = condition(&object, kind);
        assert_eq!((&*told, &*reason), (status, "JobRemoved"), "{kind}");
    }
    let brief = json!({"spec": {"ttlSecondsAfterFinished": 1}});
    place.change("orders", brief).await;
    place.gone("orders").await;
    place.empty(&crew).await;
    settles(&gateway).await;
}

/// As far as a controller sees: the database is as it was, its objects are not there, and the Lease is another one.
#[tokio::test]
async fn a_database_brought_into_another_cluster_keeps_its_jobs() {
    let place = Place::new().await;
    let mut crew = place.crew().await;
    place.orders("ended", json!({})).await;
    let ended = job_id(&place.finished("ended").await);
    place.orders("open", json!({"suspend": true})).await;
    let held = |object: &FileJob| phase(object) == Some(Phase::Suspended);
    let open = job_id(&place.until("open", "the job to be held back", held).await);
    let upload = Upload::new("handed.csv", crate::ORDERS);
    let upload = place.upload(&crew, upload).await;
    let of_job = |stem: &str, id: &str| format!("{stem}-{}", &id[24..]);
    let of_upload = of_job("handed", &upload);
    let appears = wait::until("the upload's object to appear", DEADLINE, async || {
        Ok(place.object(&of_upload).await.map(drop))
    });
    appears.await.unwrap();
    place.finished(&of_upload).await;
    crew.controller.terminate().await.unwrap();
    for name in ["ended", "open", &of_upload] {
        let none = json!({"metadata": {"finalizers": null}});
        place.change(name, none).await;
        place.delete(name).await;
    }
    let lease = place.all::<Lease>();
    lease.delete(LEASE, &DeleteParams::default()).await.unwrap();
    // What is restored from manifests has other uids. An upload's names its job; any other has a file of its own.
    let restored = json!({"source": {"upload": {"id": upload}}});
    place.file_job(&of_upload, restored).await;
    place.orders("ended", json!({})).await;

    crew.controller = place.controller().await;
    assert_eq!(job_id(&place.finished(&of_upload).await), upload);
    assert_ne!(job_id(&place.finished("ended").await), ended);
    // The others are shown by objects of their own, and go with these.
    let mut names = vec!["ended".to_owned(), of_upload];
    for id in [ended, open] {
        let name = of_job("orders", &id);
        let shown = wait::until("the job to be shown", DEADLINE, async || {
            let object = place.object(&name).await;
            let status = object.and_then(|object| object.status);
            Ok(status.filter(|status| status.job_id.as_ref() == Some(&id)))
        });
        shown.await.unwrap();
        names.push(name);
    }
    for name in names {
        place.delete(&name).await;
    }
    place.empty(&crew).await;
}
