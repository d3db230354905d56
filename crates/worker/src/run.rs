//! The worker itself: fill the slots, tell that it lives, drain.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use filejobs_core::{ErrorClass, Sources};
use filejobs_metrics::table;
use filejobs_store::WorkerInfo;
use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::attempt::{Context, handle};
use crate::config::{Backends, Config};
use crate::lease::Leases;
use crate::process::Launcher;
use crate::scratch::Root;

/// How long one wait for tickets lasts; between two the worker only looks whether it shall stop.
const RECEIVE_WAIT: Duration = Duration::from_secs(20);

/// Tasks whose outputs are being stored, for each slot.
const FINISHING_PER_SLOT: usize = 4;

/// How long the last commits may take once all engines are gone.
const LAST_COMMITS: Duration = Duration::from_secs(5);

/// How long the store may take to be told that this worker lives or leaves.
const BEAT_TIMEOUT: Duration = Duration::from_secs(3);

/// Why a worker could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The scratch folder.
    #[error("the scratch folder could not be prepared")]
    Scratch(#[source] std::io::Error),
    /// The thread that starts engines.
    #[error("the thread that starts engines could not be started")]
    Launcher(#[source] std::io::Error),
    /// A heartbeat has panicked: a defect of ours. The process should be started anew.
    #[error("a heartbeat ended by a defect")]
    Heartbeat(#[source] tokio::task::JoinError),
}

impl Error {
    /// What a caller should do.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Scratch(_) | Self::Launcher(_) | Self::Heartbeat(_) => ErrorClass::Permanent,
        }
    }

    /// A short name, safe as a metric label.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Scratch(_) => "Scratch",
            Self::Launcher(_) => "Launcher",
            Self::Heartbeat(_) => "Heartbeat",
        }
    }
}

/// Works until `stop` fires and what was begun has ended or been given back.
///
/// After `stop` no task is claimed any more. Running ones have [`Config::grace`] to end; then their engines are
/// killed and they are given back without spending an attempt. No process and no scratch folder is left.
pub async fn run(backends: Backends, config: Config, stop: CancellationToken) -> Result<(), Error> {
    let (shared, id) = (config.scratch.clone(), config.id.clone());
    let root = tokio::task::spawn_blocking(move || Root::open(&shared, &id))
        .await
        .map_err(|error| Error::Scratch(error.into()))?
        .map_err(Error::Scratch)?;
    let launcher = Launcher::start(config.engine.clone()).map_err(Error::Launcher)?;
    let slots = config.slots.max(1) as usize;
    let context = Arc::new(Context {
        leases: Leases::new(config.lease),
        slots: Arc::new(Semaphore::new(slots)),
        finishing: Semaphore::new(slots * FINISHING_PER_SLOT),
        drained: CancellationToken::new(),
        backends,
        config,
        root: Arc::new(root),
        launcher,
    });
    tracing::info!(worker.id = %context.config.id, slots, "the worker takes tasks");
    let ended = CancellationToken::new();
    let mut keepers = JoinSet::new();
    keepers.spawn(keep_leases(context.clone(), ended.clone()));
    keepers.spawn(keep_listed(context.clone(), ended.clone()));

    let mut attempts = JoinSet::new();
    let broken = tokio::select! {
        () = take_tasks(&context, &mut attempts, &stop) => None,
        broken = first_broken(&mut keepers) => Some(broken),
    };
    drain(&context, &mut attempts).await;

    ended.cancel();
    while keepers.join_next().await.is_some() {}
    tracing::info!(worker.id = %context.config.id, "the worker has ended");
    broken.map_or(Ok(()), |defect| Err(Error::Heartbeat(defect)))
}

/// Waits for a task that panics.
async fn first_broken(tasks: &mut JoinSet<()>) -> tokio::task::JoinError {
    while let Some(ended) = tasks.join_next().await {
        if let Err(defect) = ended {
            return defect;
        }
    }
    std::future::pending().await
}

/// Fills the slots with tasks until `stop`.
async fn take_tasks(context: &Arc<Context>, attempts: &mut JoinSet<()>, stop: &CancellationToken) {
    let mut failures = 0;
    loop {
        while let Some(ended) = attempts.try_join_next() {
            tell_defect(ended);
        }
        let Some(slots) = or_stop(stop, free_slots(context)).await else {
            return;
        };
        let received = context.backends.queue.receive(slots.len(), RECEIVE_WAIT);
        let deliveries = match or_stop(stop, received).await {
            None => return,
            Some(Ok(deliveries)) => {
                failures = 0;
                deliveries
            }
            Some(Err(error)) => {
                failures += 1;
                tracing::warn!(%error, reason = error.reason(), "no tickets could be received");
                let pause = pause_after(failures, &context.backends.sources);
                if or_stop(stop, tokio::time::sleep(pause)).await.is_none() {
                    return;
                }
                continue;
            }
        };
        for (delivery, slot) in deliveries.into_iter().zip(slots) {
            attempts.spawn(handle(context.clone(), delivery, slot));
        }
    }
}

/// At least one free slot, and all others that are free as well.
async fn free_slots(context: &Context) -> Vec<OwnedSemaphorePermit> {
    let mut free = Vec::new();
    // Closed never: nothing closes it.
    free.extend(context.slots.clone().acquire_owned().await);
    while let Ok(slot) = context.slots.clone().try_acquire_owned() {
        free.push(slot);
    }
    free
}

async fn or_stop<T>(stop: &CancellationToken, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        done = work => Some(done),
    }
}

fn pause_after(failures: u32, sources: &Sources) -> Duration {
    let ceiling = Duration::from_millis(100 << failures.min(6));
    ceiling.mul_f64(sources.randomness.unit().clamp(0.1, 1.0))
}

/// Lets what runs end, then ends it.
async fn drain(context: &Context, attempts: &mut JoinSet<()>) {
    if attempts.is_empty() {
        return;
    }
    tracing::info!(running = context.leases.count(), "the worker drains");
    let grace = context.config.grace;
    if tokio::time::timeout(grace, all_ended(attempts))
        .await
        .is_ok()
    {
        return;
    }
    context.drained.cancel();
    if tokio::time::timeout(LAST_COMMITS, all_ended(attempts))
        .await
        .is_err()
    {
        tracing::warn!(
            running = context.leases.count(),
            "tasks are left to their leases"
        );
        attempts.shutdown().await;
    }
}

async fn all_ended(attempts: &mut JoinSet<()>) {
    while let Some(ended) = attempts.join_next().await {
        tell_defect(ended);
    }
}

/// An attempt that panicked has dropped its lease: the scheduler takes its task on.
fn tell_defect(ended: Result<(), tokio::task::JoinError>) {
    if let Err(defect) = ended {
        tracing::error!(%defect, "an attempt ended by a defect");
    }
}

async fn keep_leases(context: Arc<Context>, ended: CancellationToken) {
    let Context {
        leases,
        backends,
        config,
        ..
    } = &*context;
    leases.keep(backends, config, ended).await;
}

/// Tells that this worker lives, until it has ended.
async fn keep_listed(context: Arc<Context>, ended: CancellationToken) {
    let (store, config) = (&context.backends.store, &context.config);
    let started_at = context.backends.sources.now();
    let mut tick = tokio::time::interval(config.beat);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while or_stop(&ended, tick.tick()).await.is_some() {
        let info = info(&context, started_at);
        table::WORKER_SLOTS.set(["busy"], info.busy);
        table::WORKER_SLOTS.set(["free"], info.slots.saturating_sub(info.busy));
        match tokio::time::timeout(BEAT_TIMEOUT, store.beat(&info)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the list of workers was not updated"),
            Err(_) => tracing::warn!("the list of workers was not updated in time"),
        }
    }
    let leaving = tokio::time::timeout(BEAT_TIMEOUT, store.leave(&config.id)).await;
    if !matches!(leaving, Ok(Ok(()))) {
        tracing::warn!("the worker stays listed until it is seen to be gone");
    }
}

fn info(context: &Context, started_at: Timestamp) -> WorkerInfo {
    let config = &context.config;
    let free = context.slots.available_permits();
    let busy = (config.slots as usize)
        .saturating_sub(free)
        .min(context.leases.count());
    WorkerInfo {
        id: config.id.clone(),
        slots: config.slots,
        busy: u32::try_from(busy).unwrap_or(u32::MAX),
        version: config.version.clone(),
        started_at,
        last_seen: context.backends.sources.now(),
    }
}
