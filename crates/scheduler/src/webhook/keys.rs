//! Jobs that bring the key of their webhook's signature along, kept where the service does not keep it itself.

use filejobs_core::JobId;

use super::settings::Secret;

/// Where the keys of single jobs are.
#[async_trait::async_trait]
pub trait Keys: std::fmt::Debug + Send + Sync {
    /// What signs a job's webhook, and nothing else does; `None` when the service's own keys do.
    async fn of_job(&self, job: JobId) -> Result<Option<Secret>, NoKey>;
}

/// Why a job's own key could not be had. What it should sign is not sent: a receiver that waits for a signature would
/// refuse it, and one that does not check would take it for signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoKey {
    /// It is not there.
    #[error("not sent: the Secret that its FileJob names, or the key in it, is not there")]
    Absent,
    /// It is there and no key.
    #[error(
        "not sent: the Secret that its FileJob names is not of the type `filejobs.dev/webhook`, or holds no `whsec_…`"
    )]
    Unusable,
    /// It may not be read.
    #[error("not sent: the controller may not read the Secret that its FileJob names")]
    Refused,
    /// Who keeps it does not answer.
    #[error("not sent: the key that signs it could not be read now")]
    Unavailable,
}
