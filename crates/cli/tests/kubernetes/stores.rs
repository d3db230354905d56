//! Files from storages, and in them.

use filejobs_blobs::{Blobs, Credentials, S3Config};
use filejobs_testkit::disk::files_below;
use filejobs_testkit::s3::{self, S3Server};
use filejobs_testkit::wait;
use serde_json::json;

use crate::place::Place;
use crate::sources::{SHA256, Web, completed, file, of, pending, rejected};
use crate::{DEADLINE, ORDERS};

/// A bucket of the test's own.
fn bucket() -> (String, Blobs) {
    let server = S3Server::shared();
    let bucket = server.bucket().unwrap();
    let storage = Blobs::s3(&S3Config {
        endpoint: Some(server.endpoint()),
        allow_http: true,
        credentials: Some(Credentials {
            key_id: s3::KEY_ID.to_owned(),
            secret: s3::SECRET.to_owned(),
            token: None,
        }),
        ..S3Config::new(&bucket)
    });
    (bucket, storage.unwrap())
}

/// Puts a file into a storage.
async fn put(storage: &Blobs, key: &str, text: impl Into<bytes::Bytes>) {
    let mut staged = storage.stage(key).await.unwrap();
    staged.write(text.into()).await.unwrap();
    let complete = staged.complete().await.unwrap();
    storage.publish(complete).await.unwrap();
}

#[tokio::test]
async fn a_file_comes_from_a_storage_that_the_administrator_has_named() {
    let (bucket, storage) = bucket();
    let mut place = Place::new().await;
    let secret = place.cluster.files().with_file_name("lake-secret");
    std::fs::write(&secret, s3::SECRET).unwrap();
    let named = |prefix: &str, namespace: &str| {
        json!({
            "bucket": bucket, "prefix": prefix, "endpoint": S3Server::shared().endpoint(),
            "accessKeyId": {"env": "LAKE_KEY_ID"}, "secretAccessKey": {"file": secret},
            "namespaces": [namespace],
        })
    };
    let stores =
        json!({"lake": named("incoming", &place.namespace), "pond": named("", "elsewhere")});
    place.environment("FILEJOBS_SOURCE_STORES", &stores.to_string());
    place.environment("LAKE_KEY_ID", s3::KEY_ID);
    place.environment("MAX_UPLOAD_MB", "1");
    let crew = place.crew().await;
    let from = |store: &str, key: &str| of(json!({"store": {"name": store, "key": key}}));

    put(&storage, "incoming/q3/orders.csv", ORDERS).await;
    place
        .file_job("orders", from("lake", "q3/orders.csv"))
        .await;
    let object = completed(&place, "orders").await;
    let status = object.status.unwrap();
    assert_eq!(status.file.as_deref(), Some("orders.csv"));
    assert_eq!(
        status.rows.map(|rows| (rows.valid, rows.failed)),
        Some((2, 1))
    );

    place.file_job("later", from("lake", "later.csv")).await;
    pending(&place, "later", "SourceNotFound").await;
    put(&storage, "incoming/later.csv", ORDERS).await;
    completed(&place, "later").await;

    // Nothing beside the prefix, nothing of others, nothing too large.
    put(&storage, "private.csv", ORDERS).await;
    put(&storage, "incoming/large.csv", "id\n".repeat(400_000)).await;
    for (name, store, key, reason) in [
        ("beside", "lake", "../private.csv", "SourceRefused"),
        ("absolute", "lake", "/private.csv", "SourceRefused"),
        ("others", "pond", "private.csv", "UnknownStore"),
        ("large", "lake", "large.csv", "SourceTooLarge"),
    ] {
        place.file_job(name, from(store, key)).await;
        let (_, message) = rejected(&place, name, reason).await;
        println!("{reason}: {message}");
        assert!(
            !message.contains("known") || message.ends_with("known: lake."),
            "{message}"
        );
    }
    let log = crew.controller.log();
    assert!(!log.contains(s3::SECRET), "{log}");
}

#[tokio::test]
async fn storages_that_cannot_be_used_are_told_before_anything_starts() {
    let mut place = Place::new().await;
    let stores = json!({"lake": {"bucket": "b", "secretAccessKey": s3::SECRET, "namespaces": []}});
    place.environment("FILEJOBS_SOURCE_STORES", &stores.to_string());
    let ended = place.cluster.run(&["controller"]).unwrap();
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    let told = String::from_utf8(ended.stderr).unwrap();
    for field in ["accessKeyId", "secretAccessKey", "namespaces"] {
        assert!(told.contains(&format!("`lake.{field}`: ")), "{told}");
    }
    assert!(!told.contains(s3::SECRET), "{told}");
}

#[tokio::test]
async fn a_file_that_is_refused_on_its_way_leaves_nothing_in_the_storage() {
    let (bucket, _) = bucket();
    let mut web = Web::new().await;
    let server = S3Server::shared();
    for (name, value) in [
        ("FILEJOBS_S3_BUCKET", bucket.clone()),
        ("FILEJOBS_S3_ENDPOINT", server.endpoint()),
        ("AWS_ACCESS_KEY_ID", s3::KEY_ID.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", s3::SECRET.to_owned()),
        ("MAX_UPLOAD_MB", "20".to_owned()),
    ] {
        web.place.environment(name, &value);
    }
    // More than two parts, so that the upload has begun.
    web.answer("/large.csv", file("id\n".repeat(8 << 20))).await;
    web.answer("/wrong.csv", file("id\n".repeat(4 << 20))).await;
    let _controller = web.place.controller().await;
    web.apply("large", "/large.csv").await;
    rejected(&web.place, "large", "SourceTooLarge").await;
    let url = format!("{}/wrong.csv", web.front.url());
    let source = json!({"url": url, "sha256": SHA256});
    web.place.file_job("wrong", of(source)).await;
    rejected(&web.place, "wrong", "ChecksumMismatch").await;
    // Where versitygw keeps unfinished uploads is within the bucket's folder, too.
    let kept = || {
        let mut files = files_below(&server.folder(&bucket));
        files.retain(|file| !file.ends_with("staging/ping"));
        files
    };
    let nothing = wait::until("the storage to be empty", DEADLINE, async || {
        Ok(kept().is_empty().then_some(()))
    });
    nothing
        .await
        .unwrap_or_else(|error| unreachable!("{error}: {:?}", kept()));
}
