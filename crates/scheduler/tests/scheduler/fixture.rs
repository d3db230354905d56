//! A scheduler with a real store, queue and storage, in a folder of its own.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use filejobs_blobs::{Blobs, result_key, upload_key};
use filejobs_core::{FileName, FileType, JobId, Limits, Namespace, Options, Sources, WorkerId};
use filejobs_queue::{Memory, Queue};
use filejobs_scheduler::{Backends, Config, run};
use filejobs_store::{Claimed, DeliveryRecord, Job, NewJob, NewTask, Store, TaskKind, Ticket};
use filejobs_store_sqlite::SqliteStore;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const LONG: Duration = Duration::from_mins(1);

pub(crate) struct Service {
    pub(crate) backends: Backends,
    pub(crate) folder: TempDir,
}

pub(crate) struct Scheduler {
    stop: CancellationToken,
    task: JoinHandle<Result<(), filejobs_scheduler::Error>>,
}

impl Scheduler {
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(LONG, self.task).await;
        ended.expect("it stops").unwrap().unwrap();
    }
}

/// A configuration that does what is asked for and sees lost things soon.
pub(crate) fn config(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config {
        rescue_every: Duration::from_millis(20),
        republish_after: LONG,
        ..Config::default()
    };
    config.retry.base = Duration::from_millis(1);
    change(&mut config);
    config
}

impl Service {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::local(&folder.path().join("blobs")).await;
        Self::start_on(blobs.unwrap(), folder).await
    }

    /// With a clock of the test's own.
    pub(crate) async fn start_at(sources: Sources) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::local(&folder.path().join("blobs")).await;
        Self::start_with(blobs.unwrap(), folder, sources).await
    }

    /// With a storage that is not in the service's folder.
    pub(crate) async fn start_on(blobs: Blobs, folder: TempDir) -> Self {
        Self::start_with(blobs, folder, Sources::system()).await
    }

    async fn start_with(blobs: Blobs, folder: TempDir, sources: Sources) -> Self {
        let store = SqliteStore::open(&folder.path().join("store.db"), sources.clone()).await;
        let backends = Backends {
            store: store.unwrap(),
            queue: Arc::new(Memory::new(1000)),
            blobs,
            sources,
            webhook_keys: None,
        };
        Self { backends, folder }
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.backends.store
    }

    pub(crate) fn queue(&self) -> &dyn Queue {
        &*self.backends.queue
    }

    pub(crate) fn schedule(&self, config: Config) -> Scheduler {
        let stop = CancellationToken::new();
        Scheduler {
            task: tokio::spawn(run(self.backends.clone(), config, stop.clone())),
            stop,
        }
    }

    /// Stores an upload; it belongs to no job yet.
    pub(crate) async fn upload(&self, job: JobId) -> String {
        let blobs = &self.backends.blobs;
        let key = upload_key(job, &FileName::new("t.csv", 255));
        let mut staged = blobs.stage(&key).await.unwrap();
        staged.write(Bytes::from_static(b"a\n1\n")).await.unwrap();
        let complete = staged.complete().await.unwrap();
        blobs.publish(complete).await.unwrap();
        key
    }

    /// Stores a result, whether there is such a job or not.
    pub(crate) async fn result(&self, job: JobId) -> String {
        let key = result_key(job, 0, 0, "a1-rejected.csv");
        let file = self.folder.path().join("rejected.csv");
        std::fs::write(&file, "a\n").unwrap();
        let blobs = &self.backends.blobs;
        blobs.put_file(&key, &file).await.unwrap();
        key
    }

    pub(crate) async fn submit(&self, change: impl FnOnce(&mut NewJob)) -> JobId {
        let sources = &self.backends.sources;
        let id = sources.job_id();
        let mut new = NewJob {
            id,
            task: NewTask {
                id: sources.task_id(),
                kind: TaskKind::Whole,
                index: 0,
                piece: serde_json::Value::Null,
                bytes: 4,
            },
            namespace: Namespace::default(),
            filename: "t.csv".to_owned(),
            blob: self.upload(id).await,
            file_size: 4,
            file_type: FileType::Csv,
            sha256: String::new(),
            options: Options::default(),
            schema: None,
            processor: serde_json::Value::Null,
            webhook_url: None,
            priority: 0,
            findings_max: Limits::default().findings_per_job,
            idempotency: None,
            queued_max: None,
        };
        change(&mut new);
        self.store().create_job(new).await.unwrap().id
    }

    pub(crate) async fn job(&self, id: JobId) -> Job {
        self.store().job(id).await.unwrap().unwrap()
    }

    /// Takes the next ticket.
    pub(crate) async fn receive(&self) -> Ticket {
        let received = self.queue().receive(1, LONG).await.unwrap();
        received.first().expect("a ticket").ticket
    }

    /// Takes the next ticket and its task's lease.
    pub(crate) async fn claim(&self, lease: Duration) -> Claimed {
        let worker = WorkerId::new("worker");
        let ticket = self.receive().await;
        let claimed = self.store().claim(&ticket, &worker, lease).await;
        claimed.unwrap().expect("a fresh ticket")
    }

    pub(crate) async fn exists(&self, key: &str) -> bool {
        self.backends.blobs.size(key).await.is_ok()
    }
}

/// Waits for `done`, with a deadline that only a broken program meets.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut done: impl FnMut() -> F) {
    let all = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let ended = tokio::time::timeout(LONG, all).await;
    assert!(ended.is_ok(), "not so after {LONG:?}: {what}");
}

/// A scheduler whose webhooks may go to this machine, with short pauses.
pub(crate) fn telling(service: &Service, change: impl FnOnce(&mut Config)) -> Scheduler {
    service.schedule(config(|config| {
        told_here(config);
        change(config);
    }))
}

/// Webhooks may go to this machine, with short pauses and all the time that a busy one needs.
pub(crate) fn told_here(config: &mut Config) {
    config.webhooks.attempt = LONG;
    config.webhooks.window = LONG;
    config.webhooks.allowed = vec!["127.0.0.0/8".parse().unwrap()];
    config.webhooks.pauses = [5, 10, 20].map(Duration::from_millis);
}

/// Hands a job in that tells `url`, and ends it.
pub(crate) async fn ended(service: &Service, url: &str) -> JobId {
    let job = service
        .submit(|new| new.webhook_url = Some(url.to_owned()))
        .await;
    service.store().cancel(job).await.unwrap();
    job
}

/// What came of telling the end of `job`.
pub(crate) async fn delivery(service: &Service, job: JobId) -> DeliveryRecord {
    eventually("the delivery has ended", async || {
        let deliveries = service.store().deliveries(job).await.unwrap();
        deliveries
            .iter()
            .all(|delivery| delivery.state != "pending")
    })
    .await;
    service.store().deliveries(job).await.unwrap().remove(0)
}

/// Ends a job that wants `url` to be told, and waits until that has ended as well.
pub(crate) async fn told(service: &Service, url: &str) -> DeliveryRecord {
    delivery(service, ended(service, url).await).await
}
