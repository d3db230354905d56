//! Rows and objects, in both directions.

use std::time::{Duration, Instant};

use filejobs_crd::{FINALIZER, FileJob, JOB_ID_LABEL, Phase, Rows};
use filejobs_testkit::http::Upload;
use filejobs_testkit::wait;
use kube::ResourceExt as _;
use kube::api::ListParams;
use reqwest::Method;
use serde_json::json;

use crate::place::{Place, condition, job_id};
use crate::{DEADLINE, ORDERS, schema};

#[tokio::test]
async fn an_applied_object_is_checked_and_a_deleted_one_leaves_nothing() {
    let place = Place::new().await;
    let crew = place.crew().await;
    place.orders("orders", json!({})).await;
    let object = place.finished("orders").await;
    let status = object.status.clone().unwrap();
    assert_eq!(status.phase, Some(Phase::Completed));
    let rows = Rows {
        processed: 3,
        valid: 2,
        failed: 1,
    };
    assert_eq!(status.rows, Some(rows));
    assert_eq!(status.errors_by_code["type-error"], 1);
    assert_eq!(status.progress.as_deref(), Some("100%"));
    for (kind, wanted, reason) in [
        ("Accepted", "True", "JobCreated"),
        ("Admitted", "True", "Started"),
        ("Succeeded", "True", "CompletedWithErrors"),
        ("Finished", "True", "CompletedWithErrors"),
        ("Suspended", "False", "NotSuspended"),
        ("Synced", "True", "InSync"),
    ] {
        let found = condition(&object, kind);
        assert_eq!(found, (wanted.to_owned(), reason.to_owned()), "{kind}");
    }
    let id = job_id(&object);
    let job = place.call(&crew, Method::GET, &format!("jobs/{id}")).await;
    job.assert_status(200);
    assert_eq!(job.json()["namespace"], place.namespace.as_str());
    assert_eq!(job.json()["rows_failed"], 1);
    assert!(!place.stored().is_empty());
    place.delete("orders").await;
    let job = place.call(&crew, Method::GET, &format!("jobs/{id}")).await;
    job.assert_status(404);
    place.nothing_stored().await;
}

#[tokio::test]
async fn an_upload_gets_an_object_that_follows_its_job() {
    let place = Place::new().await;
    let crew = place.crew().await;
    // One before, so that nothing has to be started any more.
    let first = place.upload(&crew, Upload::new("first.csv", ORDERS)).await;
    let find = async |id: &str| {
        let of_job = ListParams::default().labels(&format!("{JOB_ID_LABEL}={id}"));
        let found = place.all::<FileJob>().list(&of_job).await?;
        Ok(found.items.into_iter().next())
    };
    let appears = "the upload's object to appear";
    wait::until(appears, DEADLINE, async || find(&first).await)
        .await
        .unwrap();
    // By the hint, not by the look of every half minute. One of several is at once, however busy the machine is.
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        let id = place.upload(&crew, Upload::new("next.csv", ORDERS)).await;
        let taken = Instant::now();
        let shown = wait::until(appears, DEADLINE, async || find(&id).await);
        shown.await.unwrap();
        fastest = fastest.min(taken.elapsed());
    }
    println!("an object was there after {fastest:?}");
    assert!(fastest < Duration::from_secs(5), "{fastest:?}");
    let upload = Upload::new("Q3 orders.csv", ORDERS).field("schema", schema());
    let id = place.upload(&crew, upload.field("priority", 7)).await;
    let object = wait::until(appears, DEADLINE, async || find(&id).await);
    let object = object.await.unwrap();
    let name = object.name_any();
    assert_eq!(name, format!("q3-orders-{}", &id[24..]));
    assert_eq!(object.finalizers(), [FINALIZER]);
    assert_eq!(object.spec.priority, 7);
    let object = place.finished(&name).await;
    assert_eq!(job_id(&object), id);
    assert_eq!(condition(&object, "Succeeded").0, "True");
    let status = object.status.unwrap();
    assert_eq!(
        status.rows.map(|rows| (rows.processed, rows.failed)),
        Some((3, 1))
    );
    assert_eq!(status.file.as_deref(), Some("Q3 orders.csv"));
    let results = format!("https://files.example.org/api/jobs/{id}/results");
    assert_eq!(status.results_url, Some(results));
    // Deleted by the API, the object goes with its job.
    let path = format!("jobs/{id}");
    let deleted = place.call(&crew, Method::DELETE, &path).await;
    deleted.assert_status(204);
    place.gone(&name).await;
}
