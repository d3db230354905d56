//! A service without API and scheduler, in a folder of its own.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use filejobs_blobs::{Blobs, upload_key};
use filejobs_core::failure::{Failure, FailureCode};
use filejobs_core::{FileName, FileType, JobId, Limits, Namespace, Options, Sources, WorkerId};
use filejobs_engine::child::OUT;
use filejobs_queue::{Memory, Queue};
use filejobs_store::{Job, NewJob, NewTask, Store, TaskKind};
use filejobs_store_sqlite::SqliteStore;
use filejobs_worker::{Backends, Config, EngineCommand, run};
use futures::TryStreamExt;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) const LONG: Duration = Duration::from_mins(1);

/// What differs from the tests' usual worker.
pub(crate) type Setup = (EngineCommand, Box<dyn FnOnce(&mut Config)>);

/// The real engine, in a process of its own.
pub(crate) fn engine() -> Setup {
    let program = std::env::current_exe().unwrap();
    let arguments = ["--exact", "engine_process", "--nocapture"].map(Into::into);
    let command = EngineCommand {
        program,
        arguments: arguments.into(),
    };
    (command, Box::new(|_| {}))
}

/// A shell script in place of the engine.
pub(crate) fn script(text: &str) -> Setup {
    let command = EngineCommand {
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), text.into()],
    };
    (command, Box::new(|_| {}))
}

/// The command line of the real engine.
pub(crate) fn engine_line() -> String {
    let program = std::env::current_exe().unwrap();
    format!("{} --exact engine_process --nocapture", program.display())
}

/// The real engine after a shell script.
pub(crate) fn engine_after(text: &str) -> Setup {
    script(&format!("{text}\nexec {}", engine_line()))
}

/// `setup` with another change.
pub(crate) fn with((command, before): Setup, change: impl FnOnce(&mut Config) + 'static) -> Setup {
    let both = |config: &mut Config| {
        before(config);
        change(config);
    };
    (command, Box::new(both))
}

/// Waits for `done`, with a deadline that only a broken program meets.
#[track_caller]
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        let all = async {
            while !done() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let ended = tokio::time::timeout(LONG, all).await;
        assert!(ended.is_ok(), "{place}: not so after {LONG:?}: {what}");
    }
}

/// Whether a process has ended.
pub(crate) fn gone(pid: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.trim()).join("stat"));
    stat.map_or(true, |stat| stat.contains(") Z ") || stat.contains(") X "))
}

/// Whether a process has an unnamed file open, as one has that copies its input.
pub(crate) fn copies(pid: &str) -> bool {
    let files = entries(&Path::new("/proc").join(pid.trim()).join("fd"));
    let links = files.iter().filter_map(|file| file.read_link().ok());
    links
        .into_iter()
        .any(|link| link.to_string_lossy().ends_with(" (deleted)"))
}

pub(crate) struct Service {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) blobs: Blobs,
    queue: Arc<Memory>,
    sources: Sources,
    folder: TempDir,
    publisher: Option<DropGuard>,
}

pub(crate) struct Worker {
    stop: CancellationToken,
    task: JoinHandle<Result<(), filejobs_worker::Error>>,
}

impl Worker {
    /// Tells it to stop.
    pub(crate) fn tell(&self) {
        self.stop.cancel();
    }

    /// Tells it to stop and waits until it has.
    pub(crate) async fn stop(self) {
        self.tell();
        let ended = tokio::time::timeout(LONG, self.task).await;
        ended.expect("it stops").unwrap().unwrap();
    }
}

impl Service {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::local(&folder.path().join("blobs")).await.unwrap();
        Self::start_on(blobs, folder).await
    }

    /// With a storage that is not in the service's folder.
    pub(crate) async fn start_on(blobs: Blobs, folder: TempDir) -> Self {
        let sources = Sources::system();
        let store: Arc<dyn Store> =
            SqliteStore::open(&folder.path().join("store.db"), sources.clone())
                .await
                .unwrap();
        let queue = Arc::new(Memory::new(1000));
        let stop = CancellationToken::new();
        tokio::spawn(
            stop.clone()
                .run_until_cancelled_owned(publish(store.clone(), queue.clone())),
        );
        Self {
            blobs,
            store,
            queue,
            sources,
            folder,
            publisher: Some(stop.drop_guard()),
        }
    }

    /// Publishes nothing any more: a scheduler will.
    pub(crate) fn alone(mut self) -> Self {
        self.publisher = None;
        self
    }

    /// Publishes what waits now.
    pub(crate) async fn publish_once(&self) {
        publish_waiting(&*self.store, &self.queue).await;
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn worker(&self, setup: Setup) -> Worker {
        self.worker_on(self.store.clone(), setup)
    }

    /// A worker with a connection of its own to the same database.
    pub(crate) async fn stranger(&self, setup: Setup) -> Worker {
        let store = SqliteStore::open(&self.path("store.db"), self.sources.clone()).await;
        self.worker_on(store.unwrap(), setup)
    }

    fn worker_on(&self, store: Arc<dyn Store>, (command, change): Setup) -> Worker {
        let id: WorkerId = Config::worker_id(&self.sources);
        let mut config = Config::new(id, self.path("scratch"), command);
        config.slots = 1;
        config.retry.base = Duration::from_millis(1);
        change(&mut config);
        let backends = Backends {
            store,
            queue: self.queue.clone(),
            blobs: self.blobs.clone(),
            sources: self.sources.clone(),
        };
        let stop = CancellationToken::new();
        Worker {
            task: tokio::spawn(run(backends, config, stop.clone())),
            stop,
        }
    }

    /// An engine that says who it is and hangs.
    pub(crate) fn hang(&self) -> Setup {
        script(&format!("{}; exec sleep 1000", self.say_pid()))
    }

    /// A file that an engine can be made to wait for, and the script that does.
    pub(crate) fn gate(&self) -> (PathBuf, String) {
        let gate = self.path("gate");
        let script = format!(
            "{}; while [ ! -e {} ]; do sleep 0.01; done",
            self.say_pid(),
            gate.display()
        );
        (gate, script)
    }

    fn say_pid(&self) -> String {
        let pid = self.path("pid");
        format!("echo $$ > {0}.part; mv {0}.part {0}", pid.display())
    }

    /// Waits for an engine that said who it is.
    pub(crate) async fn hanging(&self) -> String {
        let pid = self.path("pid");
        eventually("an engine runs", || pid.exists()).await;
        std::fs::read_to_string(pid).unwrap()
    }

    pub(crate) async fn submit(&self, csv: &str) -> JobId {
        self.submit_with(csv, |_| {}).await
    }

    pub(crate) async fn submit_as(&self, csv: &str, kind: TaskKind, schema: &str) -> JobId {
        let schema = serde_json::from_str(schema).unwrap();
        self.submit_with(csv, |new| {
            new.task.kind = kind;
            new.schema = Some(schema);
        })
        .await
    }

    pub(crate) async fn submit_with(&self, csv: &str, change: impl FnOnce(&mut NewJob)) -> JobId {
        let id = self.sources.job_id();
        let blob = upload_key(id, &FileName::new("t.csv", 255));
        let mut staged = self.blobs.stage(&blob).await.unwrap();
        staged
            .write(Bytes::copy_from_slice(csv.as_bytes()))
            .await
            .unwrap();
        let complete = staged.complete().await.unwrap();
        let mut new = NewJob {
            id,
            task: NewTask {
                id: self.sources.task_id(),
                kind: TaskKind::Whole,
                index: 0,
                piece: complete.sums.to_task(),
                bytes: complete.size,
            },
            namespace: Namespace::default(),
            filename: "t.csv".to_owned(),
            blob: blob.clone(),
            file_size: complete.size,
            file_type: FileType::Csv,
            sha256: complete.sha256.clone(),
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
        self.blobs.publish(complete).await.unwrap();
        self.store.create_job(new).await.unwrap().id
    }

    pub(crate) async fn job(&self, id: JobId) -> Job {
        self.store.job(id).await.unwrap().unwrap()
    }

    pub(crate) async fn ended(&self, id: JobId) -> Job {
        let ended = async {
            loop {
                let job = self.job(id).await;
                if job.status.is_terminal() {
                    return job;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let ended = tokio::time::timeout(LONG, ended).await;
        ended.expect("the job ends")
    }

    /// What the scheduler does about an expired lease.
    pub(crate) async fn rescue(&self) {
        let expired = loop {
            if let Some(expired) = self.store.expired_leases(1).await.unwrap().pop() {
                break expired;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let failure = Failure::new(FailureCode::AttemptsExhausted, "lost");
        let (task, attempt) = (expired.task, expired.attempt);
        let now = self.sources.now();
        let retried = self.store.retry_task(task, attempt, &failure, now).await;
        retried.unwrap();
    }

    /// Workers' parts of the scratch folder.
    pub(crate) fn scratch(&self) -> usize {
        entries(&self.path("scratch")).len()
    }

    /// What lies in the folders of tasks; those themselves are kept for the next ones.
    pub(crate) fn left(&self) -> Vec<PathBuf> {
        let workers = entries(&self.path("scratch"));
        let folders = workers.iter().flat_map(|worker| entries(worker));
        let folders = folders.filter(|entry| entry.is_dir());
        let mut left: Vec<_> = folders.flat_map(|folder| entries(&folder)).collect();
        left.retain(|entry| !entry.ends_with(OUT) || !entries(entry).is_empty());
        left
    }

    /// Every result that is stored.
    pub(crate) fn results(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut open = vec![self.path("blobs/results")];
        while let Some(folder) = open.pop() {
            for entry in entries(&folder) {
                if entry.is_dir() {
                    open.push(entry);
                } else {
                    found.push(entry.display().to_string());
                }
            }
        }
        found.sort();
        found
    }

    pub(crate) async fn text(&self, key: &str) -> String {
        let chunks = self.blobs.stream(key, 0..u64::MAX).await.unwrap();
        let chunks: Vec<Bytes> = chunks.try_collect().await.unwrap();
        String::from_utf8(chunks.concat()).unwrap()
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// The scheduler's part, without any order.
async fn publish(store: Arc<dyn Store>, queue: Arc<Memory>) {
    loop {
        publish_waiting(&*store, &queue).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn publish_waiting(store: &dyn Store, queue: &Memory) {
    let waiting = store.waiting(100).await.unwrap();
    let tasks: Vec<_> = waiting.iter().map(|waiting| waiting.task).collect();
    let tickets = store.publish(&tasks).await.unwrap();
    queue.publish(&tickets).await.unwrap();
}
