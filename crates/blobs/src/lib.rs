//! Uploads and results as blobs: a local folder now, S3-compatible storage beside it later.
//!
//! Keys: `uploads/{job_id}_{sanitized_filename}`, `results/{job_id}/{generation}/{task_index}/{name}`,
//! `plans/{job_id}/{generation}/{name}`. Uploads in progress lie under `staging/` and are renamed when they are
//! complete, so that nobody ever sees half a file.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use filejobs_core::{ErrorClass, FileName, JobId};
use futures::stream::BoxStream;

/// A blob store.
#[derive(Debug, Clone)]
pub struct Blobs {}

/// An upload in progress. Dropping it leaves a part that [`Blobs::sweep_staged`] removes; [`Staged::discard`] does
/// so at once.
#[derive(Debug)]
pub struct Staged {}

/// An upload whose last byte is durably stored but which has no name yet.
#[derive(Debug)]
pub struct Complete {
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

/// A blob opened for the engine.
#[derive(Debug)]
pub enum Opened {
    /// A file that can be read anywhere and handed to a child.
    File(std::fs::File),
}

/// Why a blob call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such blob.
    #[error("the blob does not exist")]
    NotFound,
    /// No space left, or a quota is used up.
    #[error("the storage is full")]
    Full(#[source] std::io::Error),
    /// The storage is out of reach or failed.
    #[error("the storage failed while {step}")]
    Storage {
        /// What was being done.
        step: &'static str,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// What a caller should do.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NotFound => ErrorClass::Invalid,
            Self::Full(_) | Self::Storage { .. } => ErrorClass::Transient,
        }
    }
}

/// The key of a job's uploaded file.
#[must_use]
pub fn upload_key(job: JobId, name: &FileName) -> String {
    format!("uploads/{job}_{}", name.sanitized())
}

/// The key of a task's result.
#[must_use]
pub fn result_key(job: JobId, generation: u32, task_index: u32, name: &str) -> String {
    format!("results/{job}/{generation}/{task_index:05}/{name}")
}

/// The key of what a plan leaves for the pieces.
#[must_use]
pub fn plan_key(job: JobId, generation: u32, name: &str) -> String {
    format!("plans/{job}/{generation}/{name}")
}

#[expect(
    clippy::unused_async,
    clippy::missing_panics_doc,
    reason = "signatures first, bodies follow"
)]
impl Blobs {
    /// A local folder, created when absent; every write is synced to disk before it counts.
    pub async fn local(root: &Path) -> Result<Self, Error> {
        let _ = root;
        unimplemented!()
    }

    /// Begins an upload.
    pub async fn stage(&self) -> Result<Staged, Error> {
        unimplemented!()
    }

    /// Gives a complete upload its key: from here on it exists.
    pub async fn publish(&self, complete: Complete, key: &str) -> Result<(), Error> {
        let _ = (complete, key);
        unimplemented!()
    }

    /// Removes a complete upload that is not wanted.
    pub async fn discard(&self, complete: Complete) {
        let _ = complete;
        unimplemented!()
    }

    /// Opens a blob for the engine.
    pub async fn open(&self, key: &str) -> Result<Opened, Error> {
        let _ = key;
        unimplemented!()
    }

    /// The SHA-256 of a blob, read in full.
    pub async fn sha256(&self, key: &str) -> Result<String, Error> {
        let _ = key;
        unimplemented!()
    }

    /// Stores a file of a worker's scratch folder; the file is gone or unchanged afterwards. Overwrites.
    pub async fn put_file(&self, key: &str, path: &Path) -> Result<(), Error> {
        let _ = (key, path);
        unimplemented!()
    }

    /// A blob's size in bytes.
    pub async fn size(&self, key: &str) -> Result<u64, Error> {
        let _ = key;
        unimplemented!()
    }

    /// Bytes `range` of a blob (all that there are when it ends beyond), in chunks.
    pub async fn stream(
        &self,
        key: &str,
        range: std::ops::Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, Error>>, Error> {
        let _ = (key, range);
        unimplemented!()
    }

    /// Removes a blob; one that is not there is fine.
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        let _ = key;
        unimplemented!()
    }

    /// Removes all results and plans of a job but those of `keep_generation`; all of them for `None`.
    pub async fn delete_results(
        &self,
        job: JobId,
        keep_generation: Option<u32>,
    ) -> Result<(), Error> {
        let _ = (job, keep_generation);
        unimplemented!()
    }

    /// Jobs that have an upload older than `older_than`, for the orphan sweep, with the upload's key.
    pub async fn uploads(&self, older_than: Duration) -> Result<Vec<(JobId, String)>, Error> {
        let _ = older_than;
        unimplemented!()
    }

    /// Removes uploads in progress that nobody has written to for `idle`. Returns how many.
    pub async fn sweep_staged(&self, idle: Duration) -> Result<u64, Error> {
        let _ = idle;
        unimplemented!()
    }

    /// Writes, reads and removes a small blob.
    pub async fn ping(&self) -> Result<(), Error> {
        unimplemented!()
    }
}

#[expect(
    clippy::unused_async,
    clippy::missing_panics_doc,
    reason = "signatures first, bodies follow"
)]
impl Staged {
    /// Appends bytes and hashes them.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        let _ = bytes;
        unimplemented!()
    }

    /// Syncs what was written.
    pub async fn complete(self) -> Result<Complete, Error> {
        unimplemented!()
    }

    /// Removes what was written.
    pub async fn discard(self) {
        unimplemented!()
    }
}
