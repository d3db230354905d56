//! The scheduler itself: starts its loops and waits for their end.

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use filejobs_core::{ErrorClass, causes};
use filejobs_metrics::table;

use crate::config::{Backends, Config};
use crate::{publish, rescue, retention, webhook};

/// Why the scheduler could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client for webhooks.
    #[error("the client for webhooks could not be made")]
    Webhooks(#[source] webhook::ClientError),
    /// A loop has panicked: a defect of ours. The process should be started anew.
    #[error("a loop of the scheduler ended by a defect")]
    Loop(#[source] tokio::task::JoinError),
}

impl Error {
    /// What a caller should do.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Webhooks(_) | Self::Loop(_) => ErrorClass::Permanent,
        }
    }

    /// A short name, safe as a metric label.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Webhooks(_) => "Webhooks",
            Self::Loop(_) => "Loop",
        }
    }
}

/// A call within a loop that failed; the loop tells it and goes on at its next tick.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Step {
    /// The database.
    #[error("the store refused")]
    Store(#[from] filejobs_store::Error),
    /// The queue.
    #[error("the queue refused")]
    Queue(#[from] filejobs_queue::Error),
    /// The storage.
    #[error("the storage refused")]
    Blobs(#[from] filejobs_blobs::Error),
}

impl Step {
    /// Logs the failure, once.
    pub(crate) fn tell(&self, what: &'static str) {
        table::SCHEDULER_FAILURES.one([match self {
            Self::Store(_) => "db",
            Self::Queue(_) => "redis",
            Self::Blobs(_) => "storage",
        }]);
        tracing::warn!("{what}: {}", causes::chain(self));
    }
}

/// That this scheduler leads, as metrics tell it; it ends with the value, however that ends.
struct Leading;

impl Leading {
    fn begin() -> Self {
        table::LEADS.set([], 1);
        Self
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        table::LEADS.set([], 0);
    }
}

/// Schedules until `stop` fires. Whatever it was doing then, the next scheduler goes on with.
pub async fn run(backends: Backends, config: Config, stop: CancellationToken) -> Result<(), Error> {
    let sender = webhook::Sender::new(&config.webhooks, backends.webhook_keys.clone());
    let sender = sender.map_err(Error::Webhooks)?;
    let _leading = Leading::begin();
    // Fires when one loop breaks down, so that the others end as well.
    let stop = stop.child_token();
    let mut loops = JoinSet::new();
    loops.spawn(publish::run(backends.clone(), config.clone(), stop.clone()));
    loops.spawn(rescue::run(backends.clone(), config.clone(), stop.clone()));
    loops.spawn(retention::run(
        backends.clone(),
        config.clone(),
        stop.clone(),
    ));
    loops.spawn(webhook::run(
        backends,
        sender,
        config.webhooks,
        stop.clone(),
    ));
    let mut outcome = Ok(());
    while let Some(ended) = loops.join_next().await {
        if let Err(error) = ended {
            outcome = Err(Error::Loop(error));
            stop.cancel();
        }
    }
    outcome
}

/// Takes back all that the previous process of a service that is alone with its store had in hand, so that it goes
/// on at once. To be called before [`run`] and before any worker starts; wrong where other processes share the store.
pub async fn take_over(backends: &Backends) -> Result<u64, filejobs_store::Error> {
    let taken = backends.store.take_back_all().await?;
    if taken > 0 {
        tracing::info!(tasks = taken, "tasks of the previous process go on");
    }
    Ok(taken)
}
