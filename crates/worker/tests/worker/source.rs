//! What becomes of a job whose stored file is not what was handed in, on both kinds of storage.

use std::path::PathBuf;
use std::time::Duration;

use filejobs_blobs::{Blobs, Credentials, S3Config};
use filejobs_core::{FailureClass, FailureCode, JobState};
use filejobs_store::{Job, TaskKind};
use filejobs_testkit::front::{Front, Reads};
use filejobs_testkit::proxy::{Link, Proxy};
use filejobs_testkit::s3::{KEY_ID, S3Server, SECRET};
use filejobs_worker::Config;

use crate::fixture::{LONG, Service, Setup, engine, with};

/// A service and the folder in which its blobs are files.
struct Place {
    service: Service,
    files: PathBuf,
}

impl Place {
    async fn folder() -> Self {
        let service = Service::start().await;
        let files = service.path("blobs");
        Self { service, files }
    }

    async fn s3() -> Self {
        Self::s3_at(S3Server::shared().endpoint()).await
    }

    /// With something between the worker and its storage.
    async fn s3_at(endpoint: String) -> Self {
        let server = S3Server::shared();
        let bucket = server.bucket().unwrap();
        let mut config = S3Config::new(&bucket);
        config.endpoint = Some(endpoint);
        config.allow_http = true;
        config.credentials = Some(Credentials {
            key_id: KEY_ID.to_owned(),
            secret: SECRET.to_owned(),
            token: None,
        });
        let blobs = Blobs::s3(&config).unwrap();
        let service = Service::start_on(blobs, tempfile::tempdir().unwrap()).await;
        Self {
            service,
            files: server.folder(&bucket),
        }
    }

    /// Changes the stored file of a job where it lies.
    fn damage(&self, job: &Job, change: impl FnOnce(&mut Vec<u8>)) {
        let file = self.files.join(&job.blob);
        let mut bytes = std::fs::read(&file).unwrap();
        change(&mut bytes);
        std::fs::write(file, bytes).unwrap();
    }
}

macro_rules! on_both_kinds {
    ($($case:ident)*) => {
        mod on_a_folder {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case(Place::folder().await).await;
            })*
        }
        mod on_s3 {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case(Place::s3().await).await;
            })*
        }
    };
}

on_both_kinds! {
    a_file_that_is_as_handed_in_becomes_rows
    a_planned_file_gives_what_the_whole_file_gives
    a_file_that_is_gone_fails_at_once
    a_file_that_was_damaged_fails_after_its_attempts_and_leaves_nothing
    a_file_that_is_damaged_while_it_is_planned_leaves_nothing
    a_file_that_is_damaged_after_it_was_planned_fails_and_leaves_nothing
    a_list_of_a_plan_that_is_damaged_fails_its_job
    a_file_that_is_well_again_at_the_next_attempt_is_read
}

const CSV: &str = "id,name\n1,a\n2,b,x\n3,c\n4,d\n";

async fn a_file_that_is_as_handed_in_becomes_rows(place: Place) {
    let service = &place.service;
    let worker = service.worker(engine());
    let job = service.submit(CSV).await;
    let job = service.ended(job).await;
    assert_eq!(job.status, JobState::Completed, "{:?}", job.error_message);
    assert_eq!((job.rows_processed, job.rows_failed), (4, 1));
    let parts = service.store.parts(job.id).await.unwrap();
    for part in &parts {
        assert_eq!(service.blobs.size(&part.blob).await.unwrap(), part.bytes);
    }
    let rejected = service.store.rejected(job.id).await.unwrap();
    assert!(service.text(&rejected[0]).await.contains("2,b,"));
    worker.stop().await;
    assert_eq!(service.scratch(), 0);
}

async fn a_planned_file_gives_what_the_whole_file_gives(place: Place) {
    let service = &place.service;
    let worker = service.worker(with(engine(), |config| config.limits.split_bytes = 500));
    let rows: Vec<_> = (0..300)
        .map(|n| format!("{},\"v\n{n}\"\n", n % 290))
        .collect();
    let schema = r#"{"fields":[{"name":"id","type":"integer","constraints":{"unique":true}},{"name":"value","type":"string"}]}"#;
    let text = format!("id,value\n{}", rows.concat());
    // As it is, with a byte order mark, and as an encoding whose text is a copy in one piece.
    let cases = [
        ("", None, 5),
        ("\u{feff}", None, 5),
        ("", Some("windows-1252"), 2),
    ];
    for (mark, encoding, tasks) in cases {
        let text = format!("{mark}{text}");
        let submit = async |kind| {
            let job = service.submit_with(&text, |new| {
                new.task.kind = kind;
                new.schema = serde_json::from_str(schema).ok();
                new.options.encoding = encoding.map(str::to_owned);
            });
            service.ended(job.await).await
        };
        let (whole, planned) = (submit(TaskKind::Whole).await, submit(TaskKind::Plan).await);
        for job in [&whole, &planned] {
            assert_eq!(job.status, JobState::Completed, "{:?}", job.error_message);
        }
        let counts = |job: &Job| {
            (
                job.rows_processed,
                job.rows_failed,
                job.errors_by_code.clone(),
            )
        };
        assert_eq!(counts(&whole), counts(&planned));
        assert!(planned.tasks.total >= tasks, "{:?}", planned.tasks);
    }
    worker.stop().await;
}

async fn a_file_that_is_gone_fails_at_once(place: Place) {
    let service = &place.service;
    let job = service.submit(CSV).await;
    let blob = service.job(job).await.blob;
    service.blobs.delete(&blob).await.unwrap();
    let worker = service.worker(engine());
    let job = service.ended(job).await;
    assert_eq!(job.failure_code, Some(FailureCode::SourceMissing));
    assert_eq!(job.attempt, 1);
    worker.stop().await;
}

async fn a_file_that_was_damaged_fails_after_its_attempts_and_leaves_nothing(place: Place) {
    let service = &place.service;
    let (flipped, short) = (service.submit(CSV).await, service.submit(CSV).await);
    // As the first task of a job that is done again: only the job's SHA-256 is known.
    let again = service.submit_with(CSV, |new| new.task.piece = serde_json::Value::Null);
    let again = again.await;
    place.damage(&service.job(flipped).await, |bytes| bytes[10] ^= 1);
    place.damage(&service.job(short).await, |bytes| bytes.truncate(20));
    place.damage(&service.job(again).await, |bytes| bytes[10] ^= 1);
    let worker = service.worker(engine());
    for job in [flipped, short, again] {
        let job = service.ended(job).await;
        assert_eq!(job.status, JobState::Failed);
        assert_eq!(job.failure_code, Some(FailureCode::SourceChanged));
        let class = job.failure_code.map(FailureCode::class);
        assert_eq!(class, Some(FailureClass::Source));
        assert_eq!((job.rows_processed, job.attempt), (0, 3));
    }
    worker.stop().await;
    assert_eq!(service.blobs.jobs_with_results().await.unwrap(), []);
    assert_eq!(service.scratch(), 0);
}

async fn a_file_that_is_damaged_while_it_is_planned_leaves_nothing(place: Place) {
    let service = &place.service;
    let job = service
        .submit_with(CSV, |new| new.task.kind = TaskKind::Plan)
        .await;
    place.damage(&service.job(job).await, |bytes| bytes[10] ^= 1);
    let worker = service.worker(engine());
    let job = service.ended(job).await;
    assert_eq!(job.failure_code, Some(FailureCode::SourceChanged));
    assert_eq!((job.rows_processed, job.tasks.total), (0, 1));
    worker.stop().await;
}

async fn a_file_that_is_well_again_at_the_next_attempt_is_read(place: Place) {
    let service = &place.service;
    let job = service.submit(CSV).await;
    place.damage(&service.job(job).await, |bytes| bytes[10] ^= 1);
    let worker = service.worker(with(engine(), |config| config.retry.max_attempts = 10_000));
    let failed = async {
        while service.job(job).await.attempt < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LONG, failed)
        .await
        .expect("a second attempt");
    place.damage(&service.job(job).await, |bytes| bytes[10] ^= 1);
    let job = service.ended(job).await;
    assert_eq!(job.status, JobState::Completed, "{:?}", job.error_message);
    assert_eq!((job.rows_processed, job.rows_failed), (4, 1));
    worker.stop().await;
}

/// Plans a file of several pieces and stops before the first of them is read.
async fn planned(place: Place, csv: &str, schema: &str) -> (Place, Job) {
    let place = Place {
        service: place.service.alone(),
        files: place.files,
    };
    let service = &place.service;
    let worker = service.worker(with(engine(), |config| config.limits.split_bytes = 500));
    let job = service.submit_as(csv, TaskKind::Plan, schema).await;
    service.publish_once().await;
    let planned = async {
        while service.job(job).await.tasks.total < 5 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LONG, planned).await.expect("a plan");
    worker.stop().await;
    let job = service.job(job).await;
    (place, job)
}

/// Reads the pieces of a planned job, until it has ended.
async fn read_on(service: &Service, job: &Job, setup: Setup) -> Job {
    let worker = service.worker(setup);
    let ended = async {
        while !service.job(job.id).await.status.is_terminal() {
            service.publish_once().await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LONG, ended)
        .await
        .expect("the job ends");
    worker.stop().await;
    service.job(job.id).await
}

const ROWS: u64 = 300;

fn rows() -> String {
    let rows: Vec<_> = (0..ROWS)
        .map(|n| format!("{},row {n}\n", n % 290))
        .collect();
    format!("id,value\n{}", rows.concat())
}

const UNIQUE: &str = r#"{"fields":[{"name":"id","type":"integer","constraints":{"unique":true}},{"name":"value","type":"string"}]}"#;

async fn a_file_that_is_damaged_after_it_was_planned_fails_and_leaves_nothing(place: Place) {
    let (place, job) = planned(place, &rows(), UNIQUE).await;
    place.damage(&job, |bytes| bytes[2_000] ^= 1);
    let job = read_on(&place.service, &job, engine()).await;
    assert_eq!(job.failure_code, Some(FailureCode::SourceChanged));
    assert_eq!(job.status, JobState::Failed);
}

async fn a_list_of_a_plan_that_is_damaged_fails_its_job(place: Place) {
    let (place, job) = planned(place, &rows(), UNIQUE).await;
    let folder = place.files.join(format!("plans/{}/0", job.id));
    let lists = std::fs::read_dir(folder).unwrap();
    for list in lists.map(|list| list.unwrap().path()) {
        let mut bytes = std::fs::read(&list).unwrap();
        bytes.push(0);
        std::fs::write(&list, bytes).unwrap();
    }
    let job = read_on(&place.service, &job, engine()).await;
    assert_eq!(job.failure_code, Some(FailureCode::SourceChanged));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_file_that_nobody_touched_becomes_rows() {
    for place in [Place::folder().await, Place::s3().await] {
        let (place, job) = planned(place, &rows(), UNIQUE).await;
        let job = read_on(&place.service, &job, engine()).await;
        assert_eq!(job.status, JobState::Completed, "{:?}", job.error_message);
        assert_eq!((job.rows_processed, job.rows_failed), (ROWS, 10));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_gives_read_errors_fails_as_source() {
    let place = Place::folder().await;
    let service = &place.service;
    // A folder can be opened and has a size, but gives an error when it is read.
    let folder = tempfile::tempdir().unwrap();
    let size = folder.path().metadata().unwrap().len();
    let job = service.submit_with(CSV, |new| new.file_size = size).await;
    let file = place.files.join(service.job(job).await.blob);
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let worker = service.worker(engine());
    let job = service.ended(job).await;
    assert_eq!(job.failure_code, Some(FailureCode::SourceUnreadable));
    assert_eq!(
        job.failure_code.map(FailureCode::class),
        Some(FailureClass::Source)
    );
    worker.stop().await;
}

/// An engine whose worker does not wait long for its storage.
fn impatient() -> Setup {
    with(engine(), |config| {
        config.patience = Duration::from_millis(1);
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_an_answering_storage_does_not_give_fails_as_source_after_its_attempts() {
    let front = Front::start(S3Server::shared().address()).unwrap();
    let service = Place::s3_at(front.endpoint()).await.service;
    let worker = service.worker(impatient());
    for (reads, code) in [
        (Reads::Refused, FailureCode::SourceUnreadable),
        (Reads::Short, FailureCode::SourceUnreadable),
        (Reads::Flipped, FailureCode::SourceChanged),
    ] {
        front.set(reads);
        for kind in [TaskKind::Whole, TaskKind::Plan] {
            let job = service.submit_with(CSV, |new| new.task.kind = kind).await;
            let job = service.ended(job).await;
            assert_eq!(job.status, JobState::Failed);
            assert_eq!(job.failure_code, Some(code), "{reads:?} {kind:?}");
            assert_eq!(job.failure_class, Some(FailureClass::Source));
            assert_eq!((job.rows_processed, job.attempt), (0, 3));
        }
    }
    worker.stop().await;
    assert_eq!(service.blobs.jobs_with_results().await.unwrap(), []);
    assert_eq!(service.scratch(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_piece_that_an_answering_storage_does_not_give_fails_its_job_as_source() {
    let front = Front::start(S3Server::shared().address()).unwrap();
    let place = Place::s3_at(front.endpoint()).await;
    let (place, job) = planned(place, &rows(), UNIQUE).await;
    front.set(Reads::Refused);
    let job = read_on(&place.service, &job, impatient()).await;
    assert_eq!(job.failure_code, Some(FailureCode::SourceUnreadable));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_that_gives_the_file_again_is_read() {
    let front = Front::start(S3Server::shared().address()).unwrap();
    let service = Place::s3_at(front.endpoint()).await.service;
    front.set(Reads::Short);
    let many = |config: &mut Config| config.retry.max_attempts = 10_000;
    let worker = service.worker(with(impatient(), many));
    let job = service.submit(CSV).await;
    let failed = async {
        while service.job(job).await.attempt < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let failed = tokio::time::timeout(LONG, failed).await;
    failed.expect("a second attempt");
    front.set(Reads::Right);
    let job = service.ended(job).await;
    assert_eq!(job.status, JobState::Completed, "{:?}", job.error_message);
    assert_eq!((job.rows_processed, job.rows_failed), (4, 1));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_that_is_out_of_reach_is_not_the_files_fault() {
    let proxy = Proxy::start(S3Server::shared().address()).unwrap();
    let service = Place::s3_at(format!("http://{}", proxy.address()))
        .await
        .service;
    let job = service.submit(CSV).await;
    proxy.set(Link::Cut);
    let worker = service.worker(impatient());
    let job = service.ended(job).await;
    assert_eq!(job.failure_code, Some(FailureCode::BackendUnavailable));
    assert_eq!(job.failure_class, Some(FailureClass::Infrastructure));
    worker.stop().await;
}
