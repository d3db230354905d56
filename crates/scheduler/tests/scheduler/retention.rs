//! What a scheduler removes from the storage, and when.

use std::time::Duration;

use filejobs_blobs::{Blobs, Credentials, S3Config};
use filejobs_core::JobId;
use filejobs_scheduler::Config;
use filejobs_store::conformance::effects;
use filejobs_store::{Claimed, Remains};
use filejobs_testkit::proxy::{Link, Proxy};
use filejobs_testkit::s3::{KEY_ID, S3Server, SECRET};

use crate::fixture::{LONG, Service, config, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_job_leaves_no_blob() {
    let service = Service::start().await;
    let scheduler = service.schedule(config(|_| {}));
    let job = service.submit(|_| {}).await;
    let kept = service.submit(|_| {}).await;
    let (blob, kept) = (service.job(job).await.blob, service.job(kept).await.blob);
    let result = service.result(job).await;

    service.store().cancel(job).await.unwrap();
    service.store().delete(job).await.unwrap();

    eventually("the job is buried", async || {
        service.store().tombstones(1).await.unwrap().is_empty()
    })
    .await;
    assert!(!service.exists(&blob).await);
    assert!(!service.exists(&result).await);
    assert!(service.exists(&kept).await);
    scheduler.stop().await;
}

/// Completes a job of one row whose file is not wanted any longer.
async fn complete_and_spend(service: &Service, job: JobId, claimed: &Claimed) {
    assert_eq!(claimed.job.id, job);
    let mut commit = effects(1, 0);
    commit.spends_upload = true;
    let committed = service.store().commit(claimed.task, 1, commit).await;
    committed.unwrap();
}

/// As after a crash of its worker between the commit and the removal.
#[tokio::test(flavor = "multi_thread")]
async fn the_file_of_a_completed_job_goes_where_that_is_wanted_and_its_results_stay() {
    let service = Service::start().await;
    let scheduler = service.schedule(config(|_| {}));
    let job = service.submit(|_| {}).await;
    let blob = service.job(job).await.blob;
    let result = service.result(job).await;
    let claimed = service.claim(LONG).await;
    scheduler.stop().await;
    complete_and_spend(&service, job, &claimed).await;
    let left = service.store().tombstones(2).await.unwrap();
    assert_eq!(left[0].remains, Remains::Upload);

    let scheduler = service.schedule(config(|_| {}));
    eventually("the file is buried", async || {
        service.store().tombstones(1).await.unwrap().is_empty()
    })
    .await;
    scheduler.stop().await;
    assert!(!service.exists(&blob).await);
    assert!(service.exists(&result).await);
    assert_eq!(service.job(job).await.id, job);
}

/// A job whose file cannot be removed: it is a folder.
async fn stuck(service: &Service) -> JobId {
    let job = service.submit(|_| {}).await;
    let file = service.folder.path().join("blobs");
    let file = file.join(service.job(job).await.blob);
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    job
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_a_round_of_what_cannot_be_removed_does_not_hold_up_the_rest() {
    let service = Service::start().await;
    for _ in 0..101 {
        let job = stuck(&service).await;
        service.store().delete(job).await.unwrap();
    }
    let last = service.submit(|_| {}).await;
    let blob = service.job(last).await.blob;
    service.store().delete(last).await.unwrap();
    let scheduler = service.schedule(config(|config| config.burials.base = LONG));
    eventually("the last job is buried", async || {
        !service.exists(&blob).await
    })
    .await;
    scheduler.stop().await;
}

fn soon(config: &mut Config) {
    config.burials.cap = Duration::from_millis(1);
}

/// Deletes a job while its files cannot be removed, until that has been tried.
async fn delete_in_vain(service: &Service, job: JobId) {
    let scheduler = service.schedule(config(soon));
    service.store().delete(job).await.unwrap();
    eventually("the removal has failed", async || {
        let left = service.store().tombstones(1).await.unwrap();
        left.first().is_some_and(|tombstone| tombstone.tries > 0)
    })
    .await;
    scheduler.stop().await;
}

/// Has a scheduler work until nothing is left to be removed.
async fn bury(service: &Service) {
    let scheduler = service.schedule(config(soon));
    eventually("the job is buried", async || {
        service.store().tombstones(1).await.unwrap().is_empty()
    })
    .await;
    scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_survives_an_outage_of_the_storage() {
    let server = S3Server::shared();
    let bucket = server.bucket().unwrap();
    let proxy = Proxy::start(server.address()).unwrap();
    let mut s3 = S3Config::new(&bucket);
    s3.endpoint = Some(format!("http://{}", proxy.address()));
    s3.allow_http = true;
    s3.credentials = Some(Credentials {
        key_id: KEY_ID.to_owned(),
        secret: SECRET.to_owned(),
        token: None,
    });
    let blobs = Blobs::s3(&s3).unwrap();
    let service = Service::start_on(blobs, tempfile::tempdir().unwrap()).await;
    let job = service.submit(|_| {}).await;
    let blob = service.job(job).await.blob;
    let result = service.result(job).await;
    let stored = [&blob, &result].map(|key| server.folder(&bucket).join(key));
    assert!(stored.iter().all(|file| file.exists()));

    proxy.set(Link::Cut);
    delete_in_vain(&service, job).await;
    assert!(stored.iter().all(|file| file.exists()));

    proxy.set(Link::Open);
    bury(&service).await;
    assert!(stored.iter().all(|file| !file.exists()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_survives_a_volume_that_is_away() {
    let service = Service::start().await;
    let job = service.submit(|_| {}).await;
    let blob = service.job(job).await.blob;
    let result = service.result(job).await;
    let root = service.folder.path().join("blobs");
    let away = service.folder.path().join("away");
    // As a volume looks that was unmounted.
    std::fs::rename(&root, &away).unwrap();
    std::fs::create_dir(&root).unwrap();

    delete_in_vain(&service, job).await;

    std::fs::remove_dir(&root).unwrap();
    std::fs::rename(&away, &root).unwrap();
    assert!(service.exists(&blob).await && service.exists(&result).await);
    bury(&service).await;
    assert!(!service.exists(&blob).await && !service.exists(&result).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn ended_jobs_go_after_their_time_and_open_ones_stay() {
    let service = Service::start().await;
    let (open, ended) = (service.submit(|_| {}).await, service.submit(|_| {}).await);
    service.store().cancel(ended).await.unwrap();
    let scheduler = service.schedule(config(|config| config.keep_ended = Some(Duration::ZERO)));
    eventually("the ended job is gone", async || {
        service.store().job(ended).await.unwrap().is_none()
    })
    .await;
    assert!(service.store().job(open).await.unwrap().is_some());
    scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_without_a_job_goes_once_it_is_old_enough() {
    let service = Service::start().await;
    let orphan = service.upload(service.backends.sources.job_id()).await;
    let job = service.submit(|_| {}).await;
    let scheduler = service.schedule(config(|_| {}));
    let claimed = service.claim(LONG).await;
    assert_eq!(claimed.job.id, job);
    scheduler.stop().await;
    assert!(
        service.exists(&orphan).await,
        "its job may be about to be created"
    );

    sweep(&service, &orphan).await;
    assert!(service.exists(&claimed.job.blob).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphan_goes_although_unfinished_uploads_cannot_be_listed() {
    let service = Service::start().await;
    let orphan = service.upload(service.backends.sources.job_id()).await;
    let unfinished = service.folder.path().join("blobs/staging");
    std::fs::remove_dir(unfinished).unwrap();
    sweep(&service, &orphan).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_without_a_job_go_once_they_are_old_enough_and_those_of_a_job_stay() {
    let service = Service::start().await;
    let job = service.submit(|_| {}).await;
    let lost = service.result(service.backends.sources.job_id()).await;
    let kept = service.result(job).await;
    let scheduler = service.schedule(config(|_| {}));
    // A stopped scheduler has ended its sweep.
    service.claim(LONG).await;
    scheduler.stop().await;
    assert!(
        service.exists(&lost).await,
        "an older database may have been restored"
    );
    sweep(&service, &lost).await;
    assert!(service.exists(&kept).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_no_job_stays_for_good_if_that_is_wanted() {
    let service = Service::start().await;
    let job = service.backends.sources.job_id();
    let (upload, result) = (service.upload(job).await, service.result(job).await);
    let ended = service.submit(|_| {}).await;
    service.store().cancel(ended).await.unwrap();
    let scheduler = service.schedule(config(|config| {
        config.keep_orphans = None;
        config.keep_ended = Some(Duration::ZERO);
    }));
    // What has a job is removed as ever.
    eventually("the ended job is buried", async || {
        service.store().job(ended).await.unwrap().is_none()
            && service.store().tombstones(1).await.unwrap().is_empty()
    })
    .await;
    scheduler.stop().await;
    assert!(service.exists(&upload).await && service.exists(&result).await);
}

/// Has a scheduler remove everything that belongs to no job, of whatever age, until `orphan` is gone.
async fn sweep(service: &Service, orphan: &str) {
    let at_once = |config: &mut Config| config.keep_orphans = Some(Duration::ZERO);
    let scheduler = service.schedule(config(at_once));
    eventually("the orphan is gone", async || !service.exists(orphan).await).await;
    scheduler.stop().await;
}
