//! Why a reconciliation, or the controller itself, did not get through.

use filejobs_core::ErrorClass;

/// What failed. Everything is tried again: soon where waiting helps, seldom where it does not.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster did not do it.
    #[error("the API server refused {step}")]
    Cluster {
        /// What was being done.
        step: &'static str,
        /// The cause.
        #[source]
        source: Box<kube::Error>,
    },
    /// The database did not do it.
    #[error("the database refused {step}")]
    Store {
        /// What was being done.
        step: &'static str,
        /// The cause.
        #[source]
        source: filejobs_store::Error,
    },
    /// The storage did not do it.
    #[error("the storage refused a file")]
    Storage(#[source] filejobs_blobs::Error),
    /// A call took longer than it may.
    #[error("{step} took too long")]
    Slow {
        /// What was being done.
        step: &'static str,
    },
    /// An object without a name, namespace or uid: no API server sends one.
    #[error("an object came without `{0}`")]
    Nameless(&'static str),
    /// Another controller leads. This process ends, so that nothing of it goes on.
    #[error("the lead is lost: {0}")]
    LeadLost(&'static str),
    /// A loop has panicked: a defect of ours. The process should be started anew.
    #[error("a loop of the controller ended by a defect")]
    Loop(#[source] tokio::task::JoinError),
    /// The scheduler.
    #[error("the scheduler failed")]
    Scheduler(#[source] filejobs_scheduler::Error),
    /// The client for `url` sources.
    #[error("the client for sources could not be made")]
    Client(#[source] reqwest::Error),
}

impl Error {
    pub(crate) fn cluster(step: &'static str) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Cluster {
            step,
            source: Box::new(source),
        }
    }

    pub(crate) fn store(step: &'static str) -> impl FnOnce(filejobs_store::Error) -> Self {
        move |source| Self::Store { step, source }
    }

    /// What a caller should do.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Cluster { source, .. } => match &**source {
                kube::Error::Api(status) => match status.code {
                    404 | 409 => ErrorClass::Conflict,
                    400 | 403 | 405 | 422 => ErrorClass::Permanent,
                    _ => ErrorClass::Transient,
                },
                _ => ErrorClass::Transient,
            },
            // Not leading yet, or no longer: the next try or the end of the process settles it.
            Self::Store {
                source: filejobs_store::Error::Stale,
                ..
            }
            | Self::Slow { .. } => ErrorClass::Transient,
            Self::Store { source, .. } => source.class(),
            Self::Storage(error) => error.class(),
            Self::Nameless(_) | Self::LeadLost(_) | Self::Loop(_) | Self::Client(_) => {
                ErrorClass::Permanent
            }
            Self::Scheduler(error) => error.class(),
        }
    }

    /// A short name, safe as a metric label.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Cluster { source, .. } => match &**source {
                kube::Error::Api(status) if status.code == 403 => "Forbidden",
                kube::Error::Api(status) if matches!(status.code, 404 | 409) => "Conflict",
                kube::Error::Api(_) => "ApiServer",
                _ => "Unreachable",
            },
            Self::Store { .. } => "Store",
            Self::Storage(_) => "Storage",
            Self::Slow { .. } => "Slow",
            Self::Nameless(_) => "Nameless",
            Self::LeadLost(_) => "LeadLost",
            Self::Loop(_) => "Loop",
            Self::Scheduler(_) => "Scheduler",
            Self::Client(_) => "Client",
        }
    }

    /// What `filejobs_reconciles_total` calls it.
    pub(crate) fn result(&self) -> &'static str {
        match self {
            Self::Cluster { .. } => match self.reason() {
                "Forbidden" => "forbidden",
                "Conflict" => "conflict",
                "ApiServer" => "api_server",
                _ => "unreachable",
            },
            Self::Store { .. } | Self::Scheduler(_) => "db",
            Self::Storage(_) => "storage",
            Self::Slow { .. } => "slow",
            Self::Nameless(_) | Self::LeadLost(_) | Self::Loop(_) | Self::Client(_) => "defect",
        }
    }

    /// Whether the controller lacks a right.
    pub(crate) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Cluster { source, .. } if is_forbidden(source))
    }
}

/// Whether the cluster says that there is no such thing.
pub(crate) fn is_absent(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Whether the cluster says that something else came first.
pub(crate) fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// Whether the cluster says that it may not be done: for want of a right, by a quota, or in a namespace that goes.
pub(crate) fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}
