//! What a scheduler needs to know before it starts.

use std::sync::Arc;
use std::time::Duration;

use filejobs_blobs::Blobs;
use filejobs_core::retry::RetryPolicy;
use filejobs_core::{Quotas, Sources};
use filejobs_queue::Queue;
use filejobs_store::Store;

use crate::admission::Policy;
use crate::webhook;

/// How long what belongs to no job is kept unless told otherwise: longer than databases are usually restored after their
/// last backup.
pub const KEEP_ORPHANS: Duration = Duration::from_hours(7 * 24);

/// What a scheduler works with.
#[derive(Debug, Clone)]
pub struct Backends {
    /// The record of every job.
    pub store: Arc<dyn Store>,
    /// Where tickets go.
    pub queue: Arc<dyn Queue>,
    /// Where files and results lie.
    pub blobs: Blobs,
    /// Time, ids and jitter.
    pub sources: Sources,
    /// Keys that jobs bring along for the signatures of their webhooks, where they may.
    pub webhook_keys: Option<Arc<dyn webhook::Keys>>,
}

/// How a scheduler works.
#[derive(Debug, Clone)]
pub struct Config {
    /// In which order tasks are published.
    pub admission: Policy,
    /// How much may run at a time.
    pub quotas: Quotas,
    /// How often a task is tried.
    pub retry: RetryPolicy,
    /// Pause between two looks for lost tasks and tickets.
    pub rescue_every: Duration,
    /// How long a published task may stay unclaimed before it is published again.
    pub republish_after: Duration,
    /// How long an ended job is kept; for ever when absent.
    pub keep_ended: Option<Duration>,
    /// How long an upload may stand still before its part is removed.
    pub keep_staged: Duration,
    /// How old files and results without a job must be before they are removed; never when absent. An upload's job may
    /// just be about to be created; and a database that was restored does not know the jobs that came after its backup.
    pub keep_orphans: Option<Duration>,
    /// When what could not be removed from the storage is tried again. It is never given up.
    pub burials: RetryPolicy,
    /// How webhooks are sent.
    pub webhooks: webhook::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            admission: Policy::default(),
            quotas: Quotas::default(),
            retry: RetryPolicy::default(),
            rescue_every: Duration::from_secs(2),
            republish_after: Duration::from_secs(10),
            keep_ended: None,
            keep_staged: Duration::from_hours(1),
            keep_orphans: Some(KEEP_ORPHANS),
            burials: RetryPolicy {
                max_attempts: u32::MAX,
                base: Duration::from_mins(1),
                cap: Duration::from_mins(15),
            },
            webhooks: webhook::Config::default(),
        }
    }
}
