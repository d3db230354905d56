//! What is special about an S3-compatible storage.

use filejobs_core::FileName;
use filejobs_testkit::proxy::{Link, Proxy};
use filejobs_testkit::s3::S3Server;
use wiremock::matchers::{method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::super::*;
use super::job;
use super::place::{Place, config, pattern, until, upload};
pub(super) use crate::s3::PART;

#[test]
fn credentials_are_not_shown() {
    let shown = format!("{:?}", config("http://127.0.0.1:1", "bucket"));
    assert!(!shown.contains(filejobs_testkit::s3::SECRET), "{shown}");
    let blobs = Blobs::s3(&config("http://127.0.0.1:1", "bucket")).unwrap();
    let shown = format!("{blobs:?}");
    assert!(!shown.contains(filejobs_testkit::s3::SECRET), "{shown}");
}

#[tokio::test]
async fn a_missing_bucket_is_no_missing_blob() {
    let blobs = Blobs::s3(&config(&S3Server::shared().endpoint(), "absent")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let answers = [
        blobs.size("uploads/a").await.map(drop),
        blobs
            .fetch("uploads/a", None, folder.path())
            .await
            .map(drop),
        blobs.stream("uploads/a", 0..1).await.map(drop),
        blobs.ping().await,
    ];
    for answer in answers {
        assert!(matches!(answer, Err(Error::Storage { .. })), "{answer:?}");
    }
}

#[tokio::test]
async fn a_storage_that_takes_no_more_is_full() {
    let quota = "<Error><Code>QuotaExceeded</Code><Message>no</Message></Error>";
    let minio = "<Error><Code>XMinioStorageFull</Code><Message>no</Message></Error>";
    for (status, body) in [(507, ""), (403, quota), (507, minio)] {
        let server = MockServer::start().await;
        let answer = ResponseTemplate::new(status).set_body_string(body);
        for verb in ["PUT", "POST"] {
            Mock::given(method(verb))
                .respond_with(answer.clone())
                .mount(&server)
                .await;
        }
        let blobs = Blobs::s3(&config(&server.uri(), "bucket")).unwrap();
        let complete = blobs
            .stage("uploads/a")
            .await
            .unwrap()
            .complete()
            .await
            .unwrap();
        let small = blobs.publish(complete).await;
        assert!(matches!(small, Err(Error::Full(_))), "{status} {small:?}");
        let mut staged = blobs.stage("uploads/a").await.unwrap();
        let large = match staged.write(pattern(PART as usize + 300_000).into()).await {
            Ok(()) => staged.complete().await.map(drop),
            failed => failed,
        };
        assert!(matches!(large, Err(Error::Full(_))), "{status} {large:?}");
    }
}

#[tokio::test]
async fn a_storage_that_is_away_is_told_in_time_and_then_well_again() {
    let server = S3Server::shared();
    let bucket = server.bucket().unwrap();
    let proxy = Proxy::start(server.address()).unwrap();
    let endpoint = format!("http://{}", proxy.address());
    let blobs = Blobs::s3(&config(&endpoint, &bucket)).unwrap();
    upload(&blobs, "uploads/a", b"text", 4).await;
    proxy.set(Link::Cut);
    let cut = blobs.size("uploads/a").await;
    assert!(matches!(cut, Err(Error::Storage { .. })), "{cut:?}");
    proxy.set(Link::Open);
    assert_eq!(blobs.size("uploads/a").await.unwrap(), 4);
}

#[tokio::test]
async fn a_connection_that_breaks_in_the_middle_costs_nothing_but_time() {
    let server = S3Server::shared();
    let bucket = server.bucket().unwrap();
    let proxy = Proxy::start(server.address()).unwrap();
    let endpoint = format!("http://{}", proxy.address());
    let blobs = Blobs::s3(&config(&endpoint, &bucket)).unwrap();
    let bytes = pattern(3 * PART as usize);
    upload(&blobs, "uploads/a", &bytes, 1 << 20).await;
    let folder = tempfile::tempdir().unwrap();
    let fetching = tokio::spawn({
        let (blobs, folder) = (blobs.clone(), folder.path().to_owned());
        async move { blobs.fetch("uploads/a", None, &folder).await }
    });
    for _ in 0..3 {
        let carried = proxy.carried();
        until(|| proxy.carried() > carried + 1_000_000).await;
        proxy.set(Link::Cut);
        proxy.set(Link::Open);
    }
    let fetched = fetching.await.unwrap().unwrap();
    assert_eq!(fetched.sha256.unwrap(), hex(&Sha256::digest(&bytes)));
}

#[tokio::test]
async fn a_blob_that_is_replaced_while_it_is_read_is_no_mixture() {
    let place = Place::s3();
    let (first, second) = (vec![b'a'; 3_000_000], vec![b'b'; 3_000_000]);
    upload(&place.blobs, "uploads/a", &first, 1 << 20).await;
    let reader = place.blobs.reader("uploads/a").await.unwrap();
    upload(&place.blobs, "uploads/a", &second, 1 << 20).await;
    let read = tokio::task::spawn_blocking(move || reader.read_at(0, 10));
    assert!(read.await.unwrap().is_err());
}

#[tokio::test]
async fn uploads_of_others_in_the_same_bucket_are_not_swept() {
    let server = S3Server::shared();
    let bucket = server.bucket().unwrap();
    let of = |prefix: &str| {
        let mut config = config(&server.endpoint(), &bucket);
        config.prefix = prefix.to_owned();
        Blobs::s3(&config).unwrap()
    };
    let (ours, theirs) = (of("ours"), of("theirs"));
    let mut begun = Vec::new();
    let key = upload_key(job(), &FileName::new("a", 255));
    for blobs in [&ours, &theirs] {
        let mut staged = blobs.stage(&key).await.unwrap();
        staged
            .write(pattern(PART as usize + 600_000).into())
            .await
            .unwrap();
        begun.push(staged.complete().await.unwrap());
    }
    assert_eq!(ours.sweep_staged(Duration::ZERO).await.unwrap(), 1);
    let [our, their] = <[Complete; 2]>::try_from(begun).unwrap();
    assert!(ours.publish(our).await.is_err());
    theirs.publish(their).await.unwrap();
}

/// An answer of a storage of our own making.
fn answer(body: impl Into<String>) -> ResponseTemplate {
    let body: String = body.into();
    ResponseTemplate::new(200).set_body_string(body)
}

#[tokio::test]
async fn an_unfinished_upload_that_cannot_be_swept_does_not_hold_up_the_others() {
    let server = MockServer::start().await;
    let name = FileName::new("a", 255);
    let [refused, idle] = [job(), job()].map(|job| upload_key(job, &name));
    // No key at all for the library that we speak to the storage with.
    let odd = format!("results/{}//a", job());
    let found = [&refused, &odd, &idle].map(|key| {
        format!(
            "<Upload><Key>{key}</Key><UploadId>1</UploadId>\
             <Initiated>2020-01-01T00:00:00Z</Initiated></Upload>"
        )
    });
    Mock::given(method("GET"))
        .and(query_param("uploads", ""))
        .respond_with(answer(format!("<Uploads>{}</Uploads>", found.concat())))
        .mount(&server)
        .await;
    for (key, parts) in [
        (&refused, ResponseTemplate::new(403)),
        (&idle, answer("<Parts></Parts>")),
    ] {
        Mock::given(method("GET"))
            .and(path(format!("/bucket/{key}")))
            .respond_with(parts)
            .mount(&server)
            .await;
    }
    Mock::given(method("DELETE"))
        .and(path(format!("/bucket/{idle}")))
        .respond_with(ResponseTemplate::new(204))
        .expect(1)
        .mount(&server)
        .await;
    let blobs = Blobs::s3(&config(&server.uri(), "bucket")).unwrap();
    assert_eq!(blobs.sweep_staged(Duration::ZERO).await.unwrap(), 1);
}

#[tokio::test]
async fn a_result_that_somebody_else_removes_meanwhile_does_not_keep_the_others() {
    // More than are removed at a time.
    const RESULTS: u32 = 50;
    let server = MockServer::start().await;
    let job = job();
    let found: Vec<String> = (0..RESULTS)
        .map(|index| {
            let key = result_key(job, 0, index, "a");
            format!(
                "<Contents><Key>{key}</Key><Size>1</Size>\
                 <LastModified>2026-01-02T03:04:05Z</LastModified></Contents>"
            )
        })
        .collect();
    for (area, found) in [("results", found.concat()), ("plans", String::new())] {
        Mock::given(method("GET"))
            .and(query_param("prefix", format!("{area}/{job}/")))
            .respond_with(answer(format!("<List>{found}</List>")))
            .mount(&server)
            .await;
    }
    for (status, times) in [(404_u16, 1), (204, u64::from(RESULTS) - 1)] {
        Mock::given(method("DELETE"))
            .respond_with(ResponseTemplate::new(status))
            .up_to_n_times(times)
            .expect(times)
            .mount(&server)
            .await;
    }
    let blobs = Blobs::s3(&config(&server.uri(), "bucket")).unwrap();
    blobs.delete_results(job, None).await.unwrap();
}

#[tokio::test]
async fn a_blob_whose_end_is_lost_on_its_way_is_not_taken_for_a_shorter_one() {
    let server = MockServer::start().await;
    let cut = ResponseTemplate::new(206)
        .insert_header("content-range", "bytes 0-9/10")
        .set_body_string("01234");
    for (verb, given) in [("HEAD", answer("0123456789")), ("GET", cut)] {
        Mock::given(method(verb))
            .respond_with(given)
            .mount(&server)
            .await;
    }
    let blobs = Blobs::s3(&config(&server.uri(), "bucket")).unwrap();
    let chunks = blobs.stream("uploads/a", 0..10).await.unwrap();
    let read: Result<Vec<Bytes>, Error> = chunks.try_collect().await;
    assert!(matches!(read, Err(Error::Storage { .. })), "{read:?}");
}
