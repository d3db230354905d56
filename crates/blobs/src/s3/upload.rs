//! One upload in parts.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use object_store::path::Path as Key;
use object_store::{MultipartUpload, ObjectStoreExt};
use tokio::task::JoinSet;

use super::{S3, read};
use crate::error::Error;

/// Parts of one upload that are under way at a time.
const PARTS_OF_ONE: usize = 2;

/// Longest time to give an upload up. What stays is swept.
const ABORT: Duration = Duration::from_mins(1);

const STEP: &str = "sending a part";

/// An upload in parts, begun with the first of them. Given up when dropped before it is complete.
#[derive(Debug)]
pub(crate) struct Upload {
    s3: Arc<S3>,
    key: Key,
    begun: Option<Box<dyn MultipartUpload>>,
    parts: JoinSet<Result<(), Error>>,
}

impl Upload {
    pub(crate) fn new(s3: Arc<S3>, key: Key) -> Self {
        Self {
            s3,
            key,
            begun: None,
            parts: JoinSet::new(),
        }
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    pub(crate) fn s3(&self) -> &Arc<S3> {
        &self.s3
    }

    /// Whether a part was sent.
    pub(crate) fn is_begun(&self) -> bool {
        self.begun.is_some()
    }

    /// Sends the next part: `bytes` of `file` from `start` on. Returns when the part is read; that a part has failed
    /// may show with a later call. Parts must not exceed [`super::PART`], and only the last may be smaller.
    pub(crate) async fn send(
        &mut self,
        file: Arc<File>,
        start: u64,
        bytes: u64,
    ) -> Result<(), Error> {
        while self.parts.len() >= PARTS_OF_ONE {
            self.settle_one().await?;
        }
        if self.begun.is_none() {
            let begun = self.s3.objects.put_multipart(&self.key).await;
            self.begun = Some(begun.map_err(|e| Error::object("beginning an upload", e))?);
        }
        let room = self.s3.room().await?;
        let bytes = read(file, start, bytes).await?;
        let Some(begun) = &mut self.begun else {
            return Err(Error::storage(STEP, "the upload was not begun"));
        };
        let sent = begun.put_part(bytes.into());
        self.parts.spawn(async move {
            let sent = sent.await;
            drop(room);
            sent.map_err(|e| Error::object(STEP, e))
        });
        Ok(())
    }

    async fn settle_one(&mut self) -> Result<(), Error> {
        match self.parts.join_next().await {
            None => Ok(()),
            Some(sent) => sent.map_err(|e| Error::storage(STEP, e))?,
        }
    }

    /// Waits until the storage has all parts.
    pub(crate) async fn settle(&mut self) -> Result<(), Error> {
        while !self.parts.is_empty() {
            self.settle_one().await?;
        }
        Ok(())
    }

    /// Makes the object appear under its key.
    pub(crate) async fn complete(mut self) -> Result<(), Error> {
        self.settle().await?;
        let Some(begun) = &mut self.begun else {
            return Err(Error::storage("naming an upload", "it was not begun"));
        };
        match begun.complete().await {
            Ok(_) => {}
            Err(e @ object_store::Error::NotFound { .. }) => {
                return Err(Error::storage("naming an upload", e));
            }
            Err(e) => return Err(Error::object("naming an upload", e)),
        }
        // Nothing is left to give up.
        self.begun = None;
        Ok(())
    }

    /// Gives the upload up.
    pub(crate) async fn abort(mut self) {
        if let Some(begun) = self.begun.take() {
            abort(begun, std::mem::take(&mut self.parts)).await;
        }
    }
}

/// Gives up what was begun. Parts under way come to their end first: one that arrives behind the abort could stay.
async fn abort(mut begun: Box<dyn MultipartUpload>, mut parts: JoinSet<Result<(), Error>>) {
    let given_up = async {
        while parts.join_next().await.is_some() {}
        begun.abort().await
    };
    match tokio::time::timeout(ABORT, given_up).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an upload is left for the sweep"),
        Err(_) => tracing::debug!("an upload is left for the sweep"),
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(begun) = self.begun.take() else {
            return;
        };
        let parts = std::mem::take(&mut self.parts);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // Bounded, and nobody waits for it: what it does not do, the sweep does.
            drop(runtime.spawn(abort(begun, parts)));
        }
    }
}
