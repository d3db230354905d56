//! Turns changes in the database into looks at the objects they concern.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use filejobs_core::JobId;
use filejobs_store::{Change, ChangeKind};
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::object::{self, Key, is_settled};

/// Jobs whose last progress is remembered; the rest is forgotten, which costs a look too many.
const REMEMBERED: usize = 10_000;

/// Where looks are asked for.
#[derive(Debug, Clone)]
pub(crate) struct Wishes {
    /// Objects to be looked at.
    pub(crate) objects: mpsc::Sender<Key>,
    /// Jobs that may have no object.
    pub(crate) jobs: mpsc::Sender<JobId>,
}

/// Hands changes on until `stop`.
pub(crate) async fn run(context: Arc<Context>, wishes: Wishes, stop: CancellationToken) {
    let mut changes = context.backends.jobs().changes();
    let mut progress = Progress::new(context.config.progress_every);
    loop {
        let change = tokio::select! {
            () = stop.cancelled() => return,
            change = changes.recv() => change,
        };
        let change = match change {
            Ok(change) => change,
            Err(broadcast::error::RecvError::Lagged(_)) => Change::missed(),
            Err(broadcast::error::RecvError::Closed) => return,
        };
        let handed_on = match change.kind {
            ChangeKind::Missed => all(&context, &wishes).await,
            // Whatever makes work for the queue changes the state as well, where it concerns an object.
            ChangeKind::Work => Ok(()),
            ChangeKind::Progress if !progress.is_due(change.job) => Ok(()),
            ChangeKind::State | ChangeKind::Progress | ChangeKind::Deleted => {
                one(&context, &wishes, change).await
            }
        };
        if handed_on.is_err() {
            return;
        }
    }
}

/// Nobody listens any more.
struct Closed;

async fn one(context: &Context, wishes: &Wishes, change: Change) -> Result<(), Closed> {
    match context.known.key(change.job) {
        Some(key) => {
            if change.kind == ChangeKind::State {
                context.turns.go_first(&key);
            }
            wishes.objects.send(key).await.map_err(|_| Closed)
        }
        None if change.kind == ChangeKind::State => {
            wishes.jobs.send(change.job).await.map_err(|_| Closed)
        }
        None => Ok(()),
    }
}

/// Every object that is not settled: something may have been missed.
async fn all(context: &Context, wishes: &Wishes) -> Result<(), Closed> {
    for guarded in context.reader.state() {
        if is_settled(&guarded) {
            continue;
        }
        if let Ok(reference) = object::reference(object::metadata(&guarded)) {
            let sent = wishes.objects.send(object::key(&reference)).await;
            sent.map_err(|_| Closed)?;
        }
    }
    Ok(())
}

/// Lets the progress of a job through now and then.
struct Progress {
    every: Duration,
    last: HashMap<JobId, Instant>,
}

impl Progress {
    fn new(every: Duration) -> Self {
        Self {
            every,
            last: HashMap::new(),
        }
    }

    fn is_due(&mut self, job: JobId) -> bool {
        let now = Instant::now();
        let every = self.every;
        if self.last.len() >= REMEMBERED {
            self.last
                .retain(|_, last| now.duration_since(*last) < every);
        }
        let last = self.last.get(&job);
        if last.is_some_and(|last| now.duration_since(*last) < every) {
            return false;
        }
        self.last.insert(job, now);
        true
    }
}
