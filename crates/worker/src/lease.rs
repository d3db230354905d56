//! The tasks that this worker holds, and the one heartbeat that renews them all.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use filejobs_core::{JobId, TaskId};
use filejobs_engine::task::Progress;
use filejobs_metrics::table;
use filejobs_store::{Change, ChangeKind, Claimed, Held};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::config::{Backends, Config};

/// The shortest pause between two renewals that hints ask for: a cancel is noticed well within a second, and a
/// hundred jobs a second cost no more renewals than one.
const HINT_PAUSE: Duration = Duration::from_millis(200);

/// How long one renewal may take before the next is tried.
const RENEW_TIMEOUT: Duration = Duration::from_secs(5);

/// The tasks that this worker holds.
#[derive(Debug)]
pub(crate) struct Leases {
    held: Mutex<HashMap<TaskId, Arc<Lease>>>,
    length: Duration,
}

/// One task that this worker holds.
#[derive(Debug)]
pub(crate) struct Lease {
    job: JobId,
    task: TaskId,
    attempt: u32,
    bytes: AtomicU64,
    rows: AtomicU64,
    failed: AtomicU64,
    ends: Mutex<Instant>,
    lost: CancellationToken,
}

/// Keeps a task among those that are renewed; dropping it ends that.
#[derive(Debug)]
pub(crate) struct Hold<'a> {
    leases: &'a Leases,
    lease: Arc<Lease>,
}

impl Leases {
    pub(crate) fn new(length: Duration) -> Self {
        Self {
            held: Mutex::default(),
            length,
        }
    }

    /// Begins to renew what was just claimed. `since` is from before the claim, so that the lease never ends
    /// later here than in the database.
    pub(crate) fn hold(&self, claimed: &Claimed, since: Instant) -> Hold<'_> {
        let lease = Arc::new(Lease {
            job: claimed.job.id,
            task: claimed.task,
            attempt: claimed.attempt,
            bytes: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            ends: Mutex::new(since + self.length),
            lost: CancellationToken::new(),
        });
        self.held().insert(claimed.task, lease.clone());
        Hold {
            leases: self,
            lease,
        }
    }

    /// How many tasks are held.
    pub(crate) fn count(&self) -> usize {
        self.held().len()
    }

    /// Values only, never across an await: a poisoned lock is as good as any.
    fn held(&self) -> MutexGuard<'_, HashMap<TaskId, Arc<Lease>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn holds_task_of(&self, job: JobId) -> bool {
        self.held().values().any(|lease| lease.job == job)
    }

    /// Renews all leases until `stop`, each [`Config::heartbeat`] and soon after a held job changed.
    pub(crate) async fn keep(&self, backends: &Backends, config: &Config, stop: CancellationToken) {
        let mut changes = Some(backends.store.changes());
        let mut tick = tokio::time::interval(config.heartbeat);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
                hinted = self.hint(&mut changes) => {
                    if !hinted {
                        continue;
                    }
                    tokio::time::sleep(HINT_PAUSE).await;
                }
            }
            self.renew(backends, config).await;
        }
    }

    /// Waits for a change that may have taken a task away. False when the feed has ended and only the tick is left.
    async fn hint(&self, changes: &mut Option<broadcast::Receiver<Change>>) -> bool {
        let Some(feed) = changes else {
            return std::future::pending().await;
        };
        loop {
            match feed.recv().await {
                Ok(change) => match change.kind {
                    ChangeKind::Missed => return true,
                    ChangeKind::State | ChangeKind::Deleted if self.holds_task_of(change.job) => {
                        return true;
                    }
                    ChangeKind::State
                    | ChangeKind::Deleted
                    | ChangeKind::Work
                    | ChangeKind::Progress => {}
                },
                Err(RecvError::Lagged(_)) => return true,
                Err(RecvError::Closed) => {
                    *changes = None;
                    return false;
                }
            }
        }
    }

    async fn renew(&self, backends: &Backends, config: &Config) {
        let leases: Vec<_> = self.held().values().cloned().collect();
        if leases.is_empty() {
            return;
        }
        let held: Vec<_> = leases.iter().map(|lease| lease.as_held()).collect();
        let begin = Instant::now();
        let renewal = backends.store.renew(&config.id, &held, config.lease);
        let lost = match tokio::time::timeout(RENEW_TIMEOUT, renewal).await {
            Ok(Ok(lost)) => lost,
            Ok(Err(error)) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(%error, cause, held = held.len(), "leases were not renewed");
                table::RENEWALS_FAILED.one([]);
                return;
            }
            Err(_) => {
                tracing::warn!(held = held.len(), "leases were not renewed in time");
                table::RENEWALS_FAILED.one([]);
                return;
            }
        };
        for lease in leases {
            if lost.contains(&lease.task) {
                lease.lost.cancel();
            } else {
                *lease.ends() = begin + config.lease;
            }
        }
    }
}

impl Lease {
    /// The fence.
    pub(crate) fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Fires when the task was cancelled, suspended or given to another worker.
    pub(crate) fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// When the lease ends unless it is renewed again.
    pub(crate) fn ends_at(&self) -> Instant {
        *self.ends()
    }

    /// Remembers progress for the next renewal.
    pub(crate) fn progress(&self, progress: Progress) {
        self.bytes.store(progress.bytes, Ordering::Relaxed);
        self.rows.store(progress.rows, Ordering::Relaxed);
        self.failed.store(progress.failed, Ordering::Relaxed);
    }

    fn ends(&self) -> MutexGuard<'_, Instant> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn as_held(&self) -> Held {
        Held {
            task: self.task,
            attempt: self.attempt,
            bytes: self.bytes.load(Ordering::Relaxed),
            rows: self.rows.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }
}

impl std::ops::Deref for Hold<'_> {
    type Target = Lease;

    fn deref(&self) -> &Lease {
        &self.lease
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let mut held = self.leases.held();
        // A task that came back to this worker under a later attempt is another hold.
        if held
            .get(&self.lease.task)
            .is_some_and(|lease| lease.attempt == self.lease.attempt)
        {
            held.remove(&self.lease.task);
        }
    }
}
