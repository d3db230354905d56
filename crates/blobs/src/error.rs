//! Why a blob call failed.

use std::error::Error as StdError;
use std::io;

use filejobs_core::ErrorClass;

/// Why a blob call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such blob.
    #[error("the blob does not exist")]
    NotFound,
    /// No space left, or a quota is used up.
    #[error("the storage is full")]
    Full(#[source] io::Error),
    /// The folder of this machine failed that blobs are brought to; nothing is said of the storage.
    #[error("a folder of this machine failed while {step}")]
    Folder {
        /// What was being done.
        step: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The storage is out of reach or failed.
    #[error("the storage failed while {step}")]
    Storage {
        /// What was being done.
        step: &'static str,
        /// The cause.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
}

impl Error {
    /// What a caller should do.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NotFound => ErrorClass::Invalid,
            Self::Full(_) | Self::Folder { .. } | Self::Storage { .. } => ErrorClass::Transient,
        }
    }

    /// A short name, safe as a metric label.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotFound => "NotFound",
            Self::Full(_) => "Full",
            Self::Folder { .. } => "Folder",
            Self::Storage { .. } => "Storage",
        }
    }

    pub(crate) fn io(step: &'static str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(source),
            _ => Self::Storage {
                step,
                source: source.into(),
            },
        }
    }

    /// The storage failed for another reason than the operating system's.
    pub(crate) fn storage(
        step: &'static str,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        let source = source.into();
        Self::Storage { step, source }
    }

    /// `object_store` keeps the operating system's error somewhere down its chain, and what a storage answered in the
    /// text of one.
    pub(crate) fn object(step: &'static str, source: object_store::Error) -> Self {
        let said = source.to_string();
        if matches!(source, object_store::Error::NotFound { .. }) {
            // A missing bucket is a mistake of ours that can be mended; what lies in it is not lost.
            return if said.contains(NO_BUCKET) {
                Self::storage(step, source)
            } else {
                Self::NotFound
            };
        }
        if FULL.iter().any(|word| said.contains(word)) {
            return Self::Full(io::Error::other(source));
        }
        let mut cause: Option<&(dyn StdError + 'static)> = Some(&source);
        while let Some(error) = cause {
            if let Some(io) = error.downcast_ref::<io::Error>()
                && matches!(
                    io.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                )
            {
                return Self::Full(io.kind().into());
            }
            cause = error.source();
        }
        Self::Storage {
            step,
            source: source.into(),
        }
    }
}

/// How a storage says that the whole bucket is missing.
const NO_BUCKET: &str = "<Code>NoSuchBucket</Code>";

/// How storages say that they take no more: by the status made for it, or by codes of their own.
const FULL: [&str; 4] = [
    "507 Insufficient Storage",
    "<Code>QuotaExceeded</Code>",
    "<Code>XMinioStorageFull</Code>",
    "<Code>XMinioAdminBucketQuotaExceeded</Code>",
];

/// Runs blocking file work off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    step: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|e| Error::io(step, e)),
        Err(lost) => Err(Error::storage(step, lost)),
    }
}

/// The same for files of this machine that are no blobs.
pub(crate) async fn here<T: Send + 'static>(
    step: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.unwrap_or_else(|lost| Err(lost.into()));
    done.map_err(|source| Error::Folder { step, source })
}
