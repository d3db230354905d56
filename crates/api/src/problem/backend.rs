//! What the errors of store and blobs mean to a client.

use filejobs_core::{ErrorClass, Namespace};

use super::{Code, Problem};

impl From<filejobs_store::Error> for Problem {
    fn from(error: filejobs_store::Error) -> Self {
        use filejobs_store::Error;
        match error {
            Error::NotFound => Self::job_not_found(),
            Error::Illegal(illegal) => Self::new(
                Code::WrongState,
                format!(
                    "{}. GET the job for its state and call again when it has changed.",
                    capitalised(&illegal.to_string())
                ),
            ),
            Error::WrongState(state) => Self::new(
                Code::WrongState,
                format!(
                    "The job is {state}, and this is not possible then. GET the job for its state and call again when it has changed."
                ),
            ),
            Error::KeyTaken => key_in_flight(),
            Error::QueueFull { namespace, most } => queue_full(&namespace, most),
            Error::Full(_) => storage_full().caused_by(error),
            Error::Unavailable { .. } | Error::Unsettled { .. } => Self::unavailable(error),
            Error::Stale | Error::Backend { .. } | Error::Outdated { .. } | Error::Findings(_) => {
                Self::internal(error)
            }
        }
    }
}

impl From<filejobs_blobs::Error> for Problem {
    fn from(error: filejobs_blobs::Error) -> Self {
        match error {
            filejobs_blobs::Error::Full(_) => storage_full().caused_by(error),
            error if error.class() == ErrorClass::Transient => Self::unavailable(error),
            error => Self::internal(error),
        }
    }
}

/// Another upload holds the key.
pub(crate) fn key_in_flight() -> Problem {
    Problem::new(
        Code::KeyInFlight,
        "Another upload with this Idempotency-Key is under way. Wait for it to end, then send this one again.",
    )
    .retry_after(1)
}

/// As many jobs of the namespace are queued as may be.
pub(crate) fn queue_full(namespace: &Namespace, most: u32) -> Problem {
    Problem::new(
        Code::QueueFull,
        format!(
            "{most} jobs wait in the namespace `{namespace}` already. Send the file again when some of them are done."
        ),
    )
    .retry_after(5)
}

/// No space is left.
pub(crate) fn storage_full() -> Problem {
    Problem::new(
        Code::StorageFull,
        "No space is left to store this. Delete jobs that are no longer needed, or ask the operator for space, then try again.",
    )
    .retry_after(60)
}

fn capitalised(sentence: &str) -> String {
    let mut chars = sentence.chars();
    chars
        .next()
        .map(|first| first.to_uppercase().chain(chars).collect())
        .unwrap_or_default()
}
