//! What a controller needs to know before it starts.

use std::sync::Arc;
use std::time::Duration;

use filejobs_blobs::Blobs;
use filejobs_core::{Limits, SchedulerId, Sources};
use filejobs_scheduler::guard::Allowed;
use filejobs_store::Store;
use filejobs_store_postgres::PostgresStore;
use url::Url;

use crate::source::Stores;

/// What a controller works with.
#[derive(Clone)]
pub struct Backends {
    /// Speaks to the cluster.
    pub client: kube::Client,
    /// Watches objects: its requests may be silent for minutes.
    pub watching_client: kube::Client,
    /// The record of every job.
    pub store: Arc<PostgresStore>,
    /// Uploads and results.
    pub blobs: Blobs,
    /// Time, ids and jitter.
    pub sources: Sources,
}

impl std::fmt::Debug for Backends {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backends").finish_non_exhaustive()
    }
}

impl Backends {
    /// The store as other services see it.
    pub(crate) fn jobs(&self) -> &dyn Store {
        &*self.store
    }
}

/// Which objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watched {
    /// Those of all namespaces.
    All,
    /// Those of one.
    Namespace(String),
}

impl Watched {
    /// Whether objects of a namespace are looked after.
    #[must_use]
    pub fn includes(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Namespace(own) => own == namespace,
        }
    }
}

/// How a controller works.
#[derive(Debug, Clone)]
pub struct Config {
    /// This process: also the name under which its scheduler leads.
    pub holder: SchedulerId,
    /// Which objects.
    pub watched: Watched,
    /// How one controller of several is chosen.
    pub election: Election,
    /// Limits of what comes in.
    pub limits: Limits,
    /// Where the API is reached from outside, for links in statuses.
    pub public_url: Option<Url>,
    /// Private hosts and networks that `url` sources may be fetched from.
    pub allowed: Vec<Allowed>,
    /// Storages that `store` sources may name.
    pub stores: Stores,
    /// Objects reconciled at a time.
    pub concurrency: u16,
    /// Pause between two writes of progress into one status.
    pub progress_every: Duration,
    /// Pause between two looks for rows without objects, and objects without rows.
    pub sweep_every: Duration,
    /// How long a deleted object waits for its job to be removed before it goes without: the sweep does the rest.
    pub cleaning: Duration,
}

impl Config {
    /// Objects reconciled at a time by default: what waits for the API server and the database leaves room for others.
    pub const CONCURRENCY: u16 = 16;

    /// The defaults, for a process with this name.
    #[must_use]
    pub fn new(holder: SchedulerId, election: Election) -> Self {
        Self {
            holder,
            watched: Watched::All,
            election,
            limits: Limits::default(),
            public_url: None,
            allowed: Vec::new(),
            stores: Stores::default(),
            concurrency: Self::CONCURRENCY,
            progress_every: Duration::from_secs(10),
            sweep_every: Duration::from_secs(30),
            cleaning: Duration::from_secs(30),
        }
    }
}

/// How one controller of several is chosen: by a Lease of the cluster.
#[derive(Debug, Clone)]
pub struct Election {
    /// The Lease's namespace.
    pub namespace: String,
    /// The Lease's name.
    pub name: String,
    /// How long a leader counts as one that says nothing.
    pub duration: Duration,
    /// How long it tries to renew before it gives up: less than `duration`, so that nobody leads beside it.
    pub renew_deadline: Duration,
    /// Pause between two renewals, and between two looks of those that stand by.
    pub retry: Duration,
    /// Longest wait for the answers to one of them.
    pub answer: Duration,
}

impl Election {
    /// The Lease's name by default. Two installations in one namespace need a name each: with the same one, the
    /// controller of one would stand by for that of the other, whose database is another.
    pub const NAME: &str = "filejobs-controller";

    /// How long a leader counts as one that says nothing by default: another leads at most 18 seconds after it was
    /// killed.
    pub const DURATION: Duration = Duration::from_secs(15);

    /// The shortest such time: a Lease counts whole seconds, and one renewal may be lost.
    pub const SHORTEST: Duration = Duration::from_secs(5);

    /// The longest: for as long nobody leads after a kill.
    pub const LONGEST: Duration = Duration::from_mins(10);

    /// By a Lease of the common name in this namespace. The leader has two thirds of `duration` to renew, tries each
    /// fifth of it, and waits a third for each answer.
    #[must_use]
    pub fn new(namespace: impl Into<String>, duration: Duration) -> Self {
        Self {
            namespace: namespace.into(),
            name: Self::NAME.to_owned(),
            duration,
            renew_deadline: duration * 2 / 3,
            retry: duration / 5,
            answer: duration / 3,
        }
    }
}
