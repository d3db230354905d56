//! What a store call can end with besides its result.

use filejobs_core::{ErrorClass, Namespace, job};

/// Why a store call did not do what was asked. Nothing has changed, except maybe after [`Error::Unsettled`] and
/// [`Error::Backend`]: there the caller asks again, and the guards decide.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such job or task.
    #[error("not found")]
    NotFound,
    /// The job's state does not allow it.
    #[error(transparent)]
    Illegal(#[from] job::IllegalTransition),
    /// The job's state does not allow it, in a way that is no transition (priority, delete).
    #[error("not possible for a job that is {0}")]
    WrongState(job::JobState),
    /// The task is no longer held by this worker under this attempt.
    #[error("the task's lease is no longer held")]
    Stale,
    /// The idempotency key belongs to another body, or is not reserved.
    #[error("the idempotency key is in use")]
    KeyTaken,
    /// As many jobs of the namespace are queued as may be.
    #[error("{most} jobs of the namespace {namespace} are queued already")]
    QueueFull {
        /// The namespace.
        namespace: Namespace,
        /// As many as may be.
        most: u32,
    },
    /// The database is full.
    #[error("the database has no space left")]
    Full(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The database is busy or out of reach; later may work.
    #[error("the database did not answer while {step}")]
    Unavailable {
        /// What was being done.
        step: &'static str,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database did not confirm a commit, and whether it happened, or still will, could not be learned.
    #[error("the database did not confirm {step}")]
    Unsettled {
        /// What was being done.
        step: &'static str,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database refused, or holds what it should not.
    #[error("the database failed while {step}")]
    Backend {
        /// What was being done.
        step: &'static str,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database's schema is older than this program needs.
    #[error(
        "the database is {absent} migrations behind this program: run `filejobs migrate` with the same database, then start again"
    )]
    Outdated {
        /// How many migrations it lacks.
        absent: usize,
    },
    /// A findings file that could not be read back.
    #[error("reading the findings failed")]
    Findings(#[source] std::io::Error),
}

impl Error {
    /// Whether what was asked may have happened all the same, or may still: a commit that waits for a stalled disk is seen
    /// by nobody.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Unsettled { .. } | Self::Backend { .. })
    }

    /// What a caller should do.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NotFound => ErrorClass::Invalid,
            Self::Illegal(_) | Self::WrongState(_) | Self::Stale | Self::KeyTaken => {
                ErrorClass::Conflict
            }
            Self::QueueFull { .. }
            | Self::Full(_)
            | Self::Unavailable { .. }
            | Self::Unsettled { .. } => ErrorClass::Transient,
            Self::Backend { .. } | Self::Outdated { .. } | Self::Findings(_) => {
                ErrorClass::Permanent
            }
        }
    }

    /// A short name, safe as a metric label.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotFound => "NotFound",
            Self::Illegal(_) => "Illegal",
            Self::WrongState(_) => "WrongState",
            Self::Stale => "Stale",
            Self::KeyTaken => "KeyTaken",
            Self::QueueFull { .. } => "QueueFull",
            Self::Full(_) => "Full",
            Self::Unavailable { .. } => "Unavailable",
            Self::Unsettled { .. } => "Unsettled",
            Self::Backend { .. } => "Backend",
            Self::Outdated { .. } => "Outdated",
            Self::Findings(_) => "Findings",
        }
    }
}
