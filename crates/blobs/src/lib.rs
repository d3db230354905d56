//! Uploads and results as blobs: a local folder now, S3-compatible storage beside it later.
//!
//! Keys: `uploads/{job_id}_{sanitized_filename}`, `results/{job_id}/{generation}/{task_index}/{name}`,
//! `plans/{job_id}/{generation}/{name}`. Uploads in progress lie under `staging/` and are renamed when they are
//! complete, so that nobody ever sees half a file.
//!
//! What only reads, lists or deletes goes through [`object_store`]; what a folder does better (staging, renames,
//! handing an open file to a child) goes through `Backend`, which is where another kind of storage joins in.

mod error;
mod folder;
mod staged;

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use filejobs_core::{FileName, JobId};
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{GetOptions, GetRange, GetResultPayload, ObjectStore, ObjectStoreExt};
use sha2::{Digest, Sha256};

pub use error::Error;
pub use staged::{Complete, Staged};

use error::blocking;
use folder::Folder;
use staged::hex;

/// Bytes of one item of [`Blobs::stream`].
const CHUNK: usize = 256 * 1024;

/// A blob store.
#[derive(Debug, Clone)]
pub struct Blobs {
    objects: Arc<dyn ObjectStore>,
    backend: Backend,
}

/// What differs between kinds of storage.
#[derive(Debug, Clone)]
enum Backend {
    Local(Arc<Folder>),
}

/// A blob opened for the engine.
#[derive(Debug)]
pub enum Opened {
    /// A file that can be read anywhere and handed to a child.
    File(File),
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

fn key(text: &str) -> Result<Key, Error> {
    Key::parse(text).map_err(|e| Error::Storage {
        step: "reading a blob's key",
        source: e.into(),
    })
}

impl Blobs {
    /// A local folder, created when absent; every write is synced to disk before it counts.
    pub async fn local(root: &Path) -> Result<Self, Error> {
        let root = root.to_owned();
        let folder = blocking("creating the storage folder", move || Folder::create(&root)).await?;
        let objects = LocalFileSystem::new_with_prefix(folder.root())
            .map_err(|e| Error::object("opening the storage folder", e))?
            .with_fsync(true);
        Ok(Self {
            objects: Arc::new(objects),
            backend: Backend::Local(Arc::new(folder)),
        })
    }

    /// Begins an upload.
    pub async fn stage(&self) -> Result<Staged, Error> {
        let Backend::Local(folder) = self.backend.clone();
        // Made on the thread that makes the file: a caller that is dropped meanwhile leaves no file behind.
        let stage = move || {
            let (file, path) = folder.stage()?;
            Ok(Staged::new(file, path, folder.turns()))
        };
        blocking("beginning an upload", stage).await
    }

    /// Gives a complete upload its key: from here on it exists. A blob that had the key before is replaced.
    pub async fn publish(&self, complete: Complete, key: &str) -> Result<(), Error> {
        const STEP: &str = "naming an upload";
        let Backend::Local(_) = &self.backend;
        let to = self.path(key)?;
        let from = complete.part.path().map(Path::to_owned);
        let from = from.ok_or(Error::NotFound)?;
        blocking(STEP, move || Folder::publish(&from, &to)).await?;
        complete.part.keep();
        Ok(())
    }

    /// Removes a complete upload that is not wanted.
    pub async fn discard(&self, complete: Complete) {
        complete.part.discard().await;
    }

    /// Opens a blob for the engine.
    pub async fn open(&self, key: &str) -> Result<Opened, Error> {
        let Backend::Local(_) = &self.backend;
        let path = self.path(key)?;
        let opened = blocking("opening a blob", move || match File::open(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        });
        opened.await?.map(Opened::File).ok_or(Error::NotFound)
    }

    /// The SHA-256 of a blob, read in full.
    pub async fn sha256(&self, key: &str) -> Result<String, Error> {
        let Opened::File(mut file) = self.open(key).await?;
        blocking("hashing a blob", move || {
            let mut hash = Sha256::new();
            let mut buffer = vec![0; CHUNK];
            loop {
                match file.read(&mut buffer)? {
                    0 => return Ok(hex(&hash.finalize())),
                    n => hash.update(&buffer[..n]),
                }
            }
        })
        .await
    }

    /// Stores a file of a worker's scratch folder; the file is gone or unchanged afterwards. Overwrites.
    pub async fn put_file(&self, key: &str, path: &Path) -> Result<(), Error> {
        self.put_files(&[(key.to_owned(), path.to_owned())]).await
    }

    /// Stores several files as [`Blobs::put_file`] does, and syncs each folder only once. After a failure some of
    /// them may be stored.
    pub async fn put_files(&self, files: &[(String, PathBuf)]) -> Result<(), Error> {
        let Backend::Local(folder) = self.backend.clone();
        let files = files
            .iter()
            .map(|(key, from)| Ok((from.clone(), self.path(key)?)))
            .collect::<Result<Vec<_>, Error>>()?;
        blocking("storing a result", move || folder.put_files(&files)).await
    }

    /// A blob's size in bytes.
    pub async fn size(&self, key: &str) -> Result<u64, Error> {
        let meta = self.objects.head(&self::key(key)?).await;
        Ok(meta
            .map_err(|e| Error::object("looking at a blob", e))?
            .size)
    }

    /// Bytes `range` of a blob (all that there are when it ends beyond), in chunks.
    pub async fn stream(
        &self,
        key: &str,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, Error>>, Error> {
        const STEP: &str = "reading a blob";
        let end = range.end.min(self.size(key).await?);
        if range.start >= end {
            return Ok(futures::stream::empty().boxed());
        }
        let options = GetOptions {
            range: Some(GetRange::Bounded(range.start..end)),
            ..GetOptions::default()
        };
        let found = self.objects.get_opts(&self::key(key)?, options).await;
        match found.map_err(|e| Error::object(STEP, e))?.payload {
            GetResultPayload::File(file, _) => Ok(file_stream(file, range.start..end)),
            GetResultPayload::Stream(stream) => {
                Ok(stream.map_err(|e| Error::object(STEP, e)).boxed())
            }
        }
    }

    /// Removes a blob; one that is not there is fine.
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        let deleted = self.objects.delete(&self::key(key)?).await;
        match deleted.map_err(|e| Error::object("removing a blob", e)) {
            Err(Error::NotFound) => Ok(()),
            other => other,
        }
    }

    /// Removes all results and plans of a job but those of `keep_generation`; all of them for `None`.
    pub async fn delete_results(
        &self,
        job: JobId,
        keep_generation: Option<u32>,
    ) -> Result<(), Error> {
        let Backend::Local(folder) = self.backend.clone();
        let delete = move || folder.delete_results(job, keep_generation);
        blocking("removing results", delete).await
    }

    /// Jobs that have an upload older than `older_than`, for the orphan sweep, with the upload's key.
    pub async fn uploads(&self, older_than: Duration) -> Result<Vec<(JobId, String)>, Error> {
        const STEP: &str = "listing uploads";
        let mut listed = self.objects.list(Some(&Key::from("uploads")));
        let mut uploads = Vec::new();
        while let Some(meta) = listed.next().await {
            let meta = match meta.map_err(|e| Error::object(STEP, e)) {
                // Removed while we list.
                Err(Error::NotFound) => continue,
                other => other?,
            };
            // The storage stamped the blob, so its age is by the machine's clock, not by a passed-in one.
            let age = SystemTime::from(meta.last_modified).elapsed();
            let job = meta.location.filename().and_then(|name| name.get(..36));
            if let (Some(Ok(job)), Ok(age)) = (job.map(str::parse), age)
                && age >= older_than
            {
                uploads.push((job, meta.location.to_string()));
            }
        }
        Ok(uploads)
    }

    /// Jobs that have results or plans, for the orphan sweep. A job's row is always there before its first result.
    pub async fn jobs_with_results(&self) -> Result<Vec<JobId>, Error> {
        const STEP: &str = "listing results";
        let mut jobs = Vec::new();
        for area in ["results", "plans"] {
            let area = Key::from(area);
            let listed = self.objects.list_with_delimiter(Some(&area)).await;
            let listed = match listed.map_err(|e| Error::object(STEP, e)) {
                Err(Error::NotFound) => continue,
                other => other?,
            };
            let names = listed.common_prefixes.iter().filter_map(Key::filename);
            jobs.extend(names.filter_map(|name| name.parse::<JobId>().ok()));
        }
        jobs.sort_unstable();
        jobs.dedup();
        Ok(jobs)
    }

    /// Removes uploads in progress that nobody has written to for `idle`. Returns how many.
    pub async fn sweep_staged(&self, idle: Duration) -> Result<u64, Error> {
        let Backend::Local(folder) = self.backend.clone();
        blocking("sweeping uploads", move || folder.sweep_staged(idle)).await
    }

    /// Writes, reads and removes a small blob.
    pub async fn ping(&self) -> Result<(), Error> {
        const STEP: &str = "trying the storage";
        const TEXT: &[u8] = b"ping";
        let Backend::Local(folder) = self.backend.clone();
        blocking(STEP, move || {
            let (mut file, path) = folder.stage()?;
            let tried = std::io::Write::write_all(&mut file, TEXT)
                .and_then(|()| file.sync_all())
                .and_then(|()| std::fs::read(&path));
            let removed = std::fs::remove_file(&path);
            match tried? {
                read if read == TEXT => removed,
                _ => Err(std::io::ErrorKind::InvalidData.into()),
            }
        })
        .await
    }

    fn path(&self, key: &str) -> Result<PathBuf, Error> {
        let Backend::Local(folder) = &self.backend;
        let key = self::key(key)?;
        Ok(key.parts().fold(folder.root().to_owned(), |path, part| {
            path.join(part.as_ref())
        }))
    }
}

/// Chunks of a file, each read off the async threads. The file's position is at any place; reads name theirs.
fn file_stream(file: File, range: Range<u64>) -> BoxStream<'static, Result<Bytes, Error>> {
    futures::stream::try_unfold((file, range), |(file, range)| async move {
        if range.is_empty() {
            return Ok(None);
        }
        let next = blocking("reading a blob", move || {
            let want = usize::try_from(range.end - range.start).map_or(CHUNK, |n| n.min(CHUNK));
            let mut buffer = vec![0; want];
            std::os::unix::fs::FileExt::read_exact_at(&file, &mut buffer, range.start)?;
            Ok((buffer, file, range.start + want as u64..range.end))
        });
        let (buffer, file, rest) = next.await?;
        Ok(Some((Bytes::from(buffer), (file, rest))))
    })
    .boxed()
}

#[cfg(test)]
mod tests;
