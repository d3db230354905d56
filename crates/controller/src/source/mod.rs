//! Brings files into the service's storage: from a ConfigMap, an address, or a storage that the administrator has named.
//!
//! First the bytes, under a name that follows from the object; then the job, in one transaction with its link: a crash
//! between the two leaves a file without a job, which the orphan sweep removes unless the next try overwrites it, and
//! never a job without a file. A file that is refused on its way is given up as it is dropped, where it went to a storage
//! in parts as well. Fetching runs beside reconciliations, a few at a time, so that a slow address holds up nobody else,
//! and ends at once when the object is deleted or cancelled.

mod config_map;
mod inspect;
mod store;
mod url;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::bytes::Bytes;
use filejobs_blobs::upload_key;
use filejobs_core::{FileName, FileType, causes};
use filejobs_crd::Reason;
use filejobs_store::{NewJob, NewTask, TaskKind};
use filejobs_store_postgres::objects::Linking;
use futures::TryStreamExt as _;
use futures::stream::BoxStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use crate::context::Context;
use crate::error::Error;
use crate::object::{Key, Object};
use crate::validate::{Rejection, Wanted, steering};
use crate::webhook_secret;

pub use store::{SourceStore, Stores};

/// Files fetched at a time.
const FETCHES: usize = 8;

/// Longest time for one file.
const WHOLE: Duration = Duration::from_mins(30);

/// Pauses between tries: the first, and the longest.
const PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_mins(2);

/// A file on its way.
pub(crate) struct Incoming {
    /// Its name, which also tells its kind.
    pub(crate) name: String,
    /// What comes.
    pub(crate) bytes: BoxStream<'static, Result<Bytes, Failure>>,
}

/// Why a file did not come.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It may come later.
    Later(Rejection),
    /// It never will.
    Never(Rejection),
    /// Something of ours failed.
    Ours(Error),
}

impl Failure {
    pub(crate) fn later(reason: Reason, message: impl Into<String>) -> Self {
        Self::Later(Rejection::new(reason, message))
    }

    pub(crate) fn never(reason: Reason, message: impl Into<String>) -> Self {
        Self::Never(Rejection::new(reason, message))
    }
}

/// How far a file is.
#[derive(Debug, Clone)]
pub(crate) enum Progress {
    /// It comes.
    UnderWay,
    /// It did not come; it is tried again.
    Failed(Rejection),
    /// It will never come.
    Refused(Rejection),
}

#[derive(Debug)]
struct Entry {
    progress: Progress,
    task: Option<AbortHandle>,
    tries: u32,
    not_before: Instant,
}

/// Fetches files.
#[derive(Debug)]
pub(crate) struct Fetcher {
    entries: Arc<Mutex<HashMap<String, Entry>>>,
    permits: Arc<Semaphore>,
    triggers: mpsc::Sender<Key>,
    http: url::Http,
}

impl Fetcher {
    pub(crate) fn new(triggers: mpsc::Sender<Key>, http: url::Http) -> Self {
        Self {
            entries: Arc::default(),
            permits: Arc::new(Semaphore::new(FETCHES)),
            triggers,
            http,
        }
    }

    /// Sees that the file of an object is fetched and its job made. Once that is done the object is looked at again; when
    /// a pause must pass first, how long that is.
    pub(crate) fn ensure(
        &self,
        context: &Arc<Context>,
        object: &Object,
        wanted: Wanted,
    ) -> (Progress, Option<Duration>) {
        let uid = object.reference.uid.clone();
        let mut entries = lock(&self.entries);
        let entry = entries.entry(uid.clone()).or_insert_with(|| Entry {
            progress: Progress::UnderWay,
            task: None,
            tries: 0,
            not_before: Instant::now(),
        });
        let busy = entry.task.as_ref().is_some_and(|task| !task.is_finished());
        let refused = matches!(entry.progress, Progress::Refused(_));
        if !busy && !refused && entry.not_before <= Instant::now() {
            entry.tries += 1;
            let fetch = fetch_and_settle(
                context.clone(),
                self.entries.clone(),
                self.permits.clone(),
                self.triggers.clone(),
                object.clone(),
                wanted,
            );
            entry.task = Some(tokio::spawn(fetch).abort_handle());
        }
        // While another try is under way it says what the last one met: a status that goes back and forth tells nothing.
        let pause = entry.not_before.checked_duration_since(Instant::now());
        let pause = pause.filter(|pause| !pause.is_zero());
        (entry.progress.clone(), pause)
    }

    /// Stops fetching, and forgets what came of it.
    pub(crate) fn stop(&self, uid: &str) {
        if let Some(Entry {
            task: Some(task), ..
        }) = lock(&self.entries).remove(uid)
        {
            task.abort();
        }
    }

    /// Ends all that is under way.
    pub(crate) fn stop_all(&self) {
        for (_, entry) in lock(&self.entries).drain() {
            if let Some(task) = entry.task {
                task.abort();
            }
        }
    }

    pub(crate) fn http(&self) -> &url::Http {
        &self.http
    }
}

pub(crate) use url::Http;

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Fetches once, writes down what came of it, and has the object looked at.
async fn fetch_and_settle(
    context: Arc<Context>,
    entries: Arc<Mutex<HashMap<String, Entry>>>,
    permits: Arc<Semaphore>,
    triggers: mpsc::Sender<Key>,
    object: Object,
    wanted: Wanted,
) {
    let done = async {
        let Ok(_permit) = permits.acquire().await else {
            return Err(Failure::Ours(Error::Slow { step: "stopping" }));
        };
        let fetched = timeout(WHOLE, fetch(&context, &object, wanted)).await;
        fetched.unwrap_or_else(|_| {
            Err(Failure::later(
                Reason::SourceUnavailable,
                "The file did not come within 30 minutes.",
            ))
        })
    };
    let done = done.await;
    let uid = &object.reference.uid;
    {
        let mut entries = lock(&entries);
        match (done, entries.get_mut(uid)) {
            (Ok(()), _) => {
                entries.remove(uid);
            }
            (Err(failure), Some(entry)) => settle(&context, &object, entry, failure),
            (Err(_), None) => {}
        }
    }
    // Closed only when the controller ends.
    let _ = triggers.send(object.key()).await;
}

fn settle(context: &Context, object: &Object, entry: &mut Entry, failure: Failure) {
    let later = match failure {
        Failure::Never(rejection) => {
            entry.progress = Progress::Refused(rejection);
            return;
        }
        Failure::Later(rejection) => rejection,
        Failure::Ours(error) => {
            let object = object.key();
            tracing::warn!(%object, error = causes::chain(&error), "a file could not be fetched");
            let message =
                "The service's own database or storage does not answer; it is tried again.";
            Rejection::new(Reason::BackendUnavailable, message)
        }
    };
    let pause = PAUSE
        .saturating_mul(1 << entry.tries.min(10))
        .min(LONGEST_PAUSE);
    let random = context.backends.sources.randomness.unit();
    entry.not_before = Instant::now() + pause.mul_f64(0.5 + random / 2.0);
    entry.progress = Progress::Failed(later);
}

/// Brings the bytes and makes the job.
async fn fetch(context: &Context, object: &Object, mut wanted: Wanted) -> Result<(), Failure> {
    let source = &object.job.spec.source;
    let namespace = &object.reference.namespace;
    let secret = wanted.webhook_secret.take();
    if let Some(secret) = &secret {
        // Read again when there is something to sign. Now, so that its author does not find out at the end.
        let client = &context.backends.client;
        if let Err(problem) = webhook_secret::read(client, namespace, secret).await {
            let rejection = problem.rejection(secret).map_err(Failure::Ours)?;
            return Err(Failure::Later(rejection));
        }
    }
    let incoming = if let Some(from) = &source.config_map {
        config_map::open(context, namespace, from).await?
    } else if let Some(address) = &source.url {
        context.fetcher.http().open(address).await?
    } else if let Some(from) = &source.store {
        context.config.stores.open(&object.namespace, from).await?
    } else {
        // The schema's rules let no such object in.
        return Err(Failure::never(
            Reason::SourceNotFound,
            "The source names no place.",
        ));
    };
    let limits = &context.config.limits;
    let name = FileName::new(&incoming.name, limits.file_name_chars as usize);
    let mut inspector = inspect::Inspector::new(&name, object.job.spec.format, limits)?;
    let blob = upload_key(object.id, &name);
    let ours = |error: filejobs_blobs::Error| Failure::Ours(Error::Storage(error));
    let mut staged = context.backends.blobs.stage(&blob).await.map_err(ours)?;
    let mut bytes = incoming.bytes;
    while let Some(chunk) = bytes.try_next().await? {
        let chunk = inspector.take(chunk)?;
        staged.write(chunk).await.map_err(ours)?;
    }
    let rest = inspector.end()?;
    staged.write(rest).await.map_err(ours)?;
    let complete = staged.complete().await.map_err(ours)?;
    if let Some(expected) = &source.sha256
        && *expected != complete.sha256
    {
        context.backends.blobs.discard(complete).await;
        return Err(Failure::never(
            Reason::ChecksumMismatch,
            "The file has another SHA-256 than `source.sha256` says; correct one or the other in a new FileJob.",
        ));
    }
    let new = new_job(
        context,
        object,
        wanted,
        (&name, inspector.kind(), &blob, &complete),
    );
    context
        .backends
        .blobs
        .publish(complete)
        .await
        .map_err(ours)?;
    let made = context
        .objects
        .create(&object.reference, steering(&object.job.spec), secret, new)
        .await;
    match made {
        Ok(Linking::Linked(_)) => Ok(()),
        // Nobody else would remove it before the orphan sweep.
        Ok(Linking::Removed(_) | Linking::Taken) => {
            context.backends.blobs.delete(&blob).await.map_err(ours)
        }
        Err(filejobs_store::Error::QueueFull { .. }) => {
            // The next try brings it again.
            context.backends.blobs.delete(&blob).await.map_err(ours)?;
            Err(Failure::later(
                Reason::QueueFull,
                "Too many jobs wait in the namespace; it is tried again.",
            ))
        }
        Err(error) => Err(Failure::Ours(Error::store("to make a job")(error))),
    }
}

fn new_job(
    context: &Context,
    object: &Object,
    wanted: Wanted,
    (name, kind, blob, complete): (&FileName, FileType, &str, &filejobs_blobs::Complete),
) -> NewJob {
    let limits = &context.config.limits;
    NewJob {
        id: object.id,
        task: NewTask {
            id: context.backends.sources.task_id(),
            kind: TaskKind::first(kind, complete.size, limits),
            index: 0,
            piece: complete.sums.to_task(),
            bytes: complete.size,
        },
        namespace: object.namespace.clone(),
        filename: name.as_str().to_owned(),
        blob: blob.to_owned(),
        file_size: complete.size,
        file_type: kind,
        sha256: complete.sha256.clone(),
        options: wanted.options,
        schema: wanted.schema,
        processor: wanted.processor,
        webhook_url: wanted.webhook_url,
        priority: object.job.spec.priority,
        findings_max: limits.findings_per_job,
        idempotency: None,
        queued_max: Some(limits.queued_jobs),
    }
}
