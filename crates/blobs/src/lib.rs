//! Uploads and results as blobs: in a local folder or in an S3-compatible storage.
//!
//! Keys: `uploads/{job_id}_{sanitized_filename}`, `results/{job_id}/{generation}/{task_index}/{name}`,
//! `plans/{job_id}/{generation}/{name}`. Nobody ever sees half a blob: in a folder uploads in progress lie under
//! `staging/` and are renamed when they are complete, in a storage they are parts that are completed.
//!
//! What only reads, lists or deletes goes through [`object_store`]; what each kind does in its own way (uploads,
//! removing many blobs at once, sweeping) goes through `Backend`.

mod error;
mod fetch;
mod folder;
mod keys;
mod reader;
mod s3;
mod staged;
mod sums;

use std::fs::File;
use std::num::NonZero;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use filejobs_core::JobId;
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{
    GetOptions, GetRange, GetResultPayload, ObjectMeta, ObjectStore, ObjectStoreExt,
};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

pub use error::Error;
pub use fetch::Fetched;
pub use keys::{plan_key, result_key, upload_key};
pub use reader::Reader;
pub use s3::{Credentials, S3_LARGEST, S3Config};
pub use staged::{Complete, Staged, hex};
pub use sums::{Summing, Sums};

use error::blocking;
use folder::Folder;
use s3::{S3, Upload};
use staged::{Content, Small};

/// Bytes of one item of [`Blobs::stream`].
const CHUNK: usize = 256 * 1024;

/// A blob store.
#[derive(Debug, Clone)]
pub struct Blobs {
    objects: Arc<dyn ObjectStore>,
    backend: Backend,
    /// Turns to hash and write with: each buffer of an upload holds one, so that many uploads at once leave half of
    /// the cores to others.
    turns: Arc<Semaphore>,
}

/// What differs between kinds of storage.
#[derive(Debug, Clone)]
enum Backend {
    Local(Arc<Folder>),
    S3(Arc<S3>),
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
        Ok(Self::new(
            Arc::new(objects),
            Backend::Local(Arc::new(folder)),
        ))
    }

    /// Whether a folder has been a storage before. One that has not is new, or the empty place of a volume that is not
    /// mounted.
    pub async fn was_made(root: &Path) -> Result<bool, Error> {
        let root = root.to_owned();
        blocking("looking at the storage folder", move || {
            Folder::was_made(&root)
        })
        .await
    }

    /// A bucket of an S3-compatible storage. Does not speak to it yet: [`Blobs::ping`] does.
    pub fn s3(config: &S3Config) -> Result<Self, Error> {
        let s3 = S3::new(config)?;
        Ok(Self::new(s3.objects(), Backend::S3(Arc::new(s3))))
    }

    fn new(objects: Arc<dyn ObjectStore>, backend: Backend) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            objects,
            backend,
            turns: Arc::new(Semaphore::new((cores / 2).max(1))),
        }
    }

    /// Begins an upload that is to become the blob `key`.
    pub async fn stage(&self, key: &str) -> Result<Staged, Error> {
        match self.backend.clone() {
            Backend::Local(folder) => {
                let to = path(&folder, key)?;
                // Made on the thread that makes the file: a caller that is dropped meanwhile leaves no file behind.
                let turns = self.turns.clone();
                let stage = move || {
                    let (file, path) = folder.stage()?;
                    Ok(Staged::folder(file, path, to, turns))
                };
                blocking("beginning an upload", stage).await
            }
            Backend::S3(s3) => {
                let upload = Upload::new(s3, self::key(key)?);
                Ok(Staged::s3(upload, self.turns.clone()))
            }
        }
    }

    /// Gives a complete upload its key: from here on it exists. A blob that had the key before is replaced.
    pub async fn publish(&self, complete: Complete) -> Result<(), Error> {
        match complete.content {
            Content::Folder(part) => {
                let (from, to) = part.paths().ok_or(Error::NotFound)?;
                let (from, to) = (from.to_owned(), to.to_owned());
                blocking("naming an upload", move || Folder::publish(&from, &to)).await?;
                part.keep();
                Ok(())
            }
            Content::Parts(upload) => upload.complete().await,
            Content::Small(upload, Small::Bytes(bytes)) => {
                upload.s3().put(upload.key(), bytes).await
            }
            Content::Small(upload, Small::File(file, bytes)) => {
                upload.s3().put_small(upload.key(), file, bytes).await
            }
        }
    }

    /// Removes a complete upload that is not wanted.
    pub async fn discard(&self, complete: Complete) {
        complete.content.discard().await;
    }

    /// Brings a blob to where it can be read at any place: itself where it is a file, else a nameless copy in
    /// `folder`. Of a blob that has to be brought only the bytes `wanted` are, when that is given.
    pub async fn fetch(
        &self,
        key: &str,
        wanted: Option<Range<u64>>,
        folder: &Path,
    ) -> Result<Fetched, Error> {
        match &self.backend {
            Backend::Local(here) => open(here, key).await,
            Backend::S3(_) => {
                fetch::download(&self.objects, &self::key(key)?, wanted, folder).await
            }
        }
    }

    /// Opens a blob for reading here and there.
    pub async fn reader(&self, key: &str) -> Result<Reader, Error> {
        match &self.backend {
            Backend::Local(here) => {
                let Fetched { file, size, .. } = open(here, key).await?;
                Ok(Reader::file(file, size))
            }
            Backend::S3(_) => {
                let meta = fetch::head(&*self.objects, &self::key(key)?).await?;
                Ok(Reader::object(self.objects.clone(), meta))
            }
        }
    }

    /// The SHA-256 of a blob, read in full.
    pub async fn sha256(&self, key: &str) -> Result<String, Error> {
        let mut chunks = self.stream(key, 0..u64::MAX).await?;
        let mut hash = Sha256::new();
        while let Some(chunk) = chunks.try_next().await? {
            hash.update(&chunk);
        }
        Ok(hex(&hash.finalize()))
    }

    /// Stores a file of a worker's scratch folder; the file is gone or unchanged afterwards. Overwrites.
    pub async fn put_file(&self, key: &str, path: &Path) -> Result<(), Error> {
        self.put_files(&[(key.to_owned(), path.to_owned())]).await
    }

    /// Stores several files as [`Blobs::put_file`] does, all in one go. After a failure some of them may be stored.
    pub async fn put_files(&self, files: &[(String, PathBuf)]) -> Result<(), Error> {
        match self.backend.clone() {
            Backend::Local(folder) => {
                let files = files
                    .iter()
                    .map(|(key, from)| Ok((from.clone(), path(&folder, key)?)))
                    .collect::<Result<Vec<_>, Error>>()?;
                blocking("storing a result", move || folder.put_files(&files)).await
            }
            Backend::S3(s3) => {
                let files = files
                    .iter()
                    .map(|(key, from)| Ok((self::key(key)?, from.clone())))
                    .collect::<Result<Vec<_>, Error>>()?;
                s3.put_files(files).await
            }
        }
    }

    /// A blob's size in bytes.
    pub async fn size(&self, key: &str) -> Result<u64, Error> {
        let found = fetch::head(&*self.objects, &self::key(key)?).await;
        if matches!(found, Err(Error::NotFound)) {
            self.stands("looking for a blob").await?;
        }
        Ok(found?.size)
    }

    /// An error where the folder itself is away, in which nothing would be found.
    async fn stands(&self, step: &'static str) -> Result<(), Error> {
        match self.backend.clone() {
            Backend::Local(folder) => blocking(step, move || folder.stands()).await,
            Backend::S3(_) => Ok(()),
        }
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
        let found = found.map_err(|e| Error::object(STEP, e))?;
        match found.payload {
            GetResultPayload::File(file, _) => Ok(file_stream(file, range.start..end)),
            GetResultPayload::Stream(stream) => Ok(fetch::whole(stream, found.range)),
        }
    }

    /// Removes a blob; one that is not there is fine, a folder that is not is an error.
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        const STEP: &str = "removing a blob";
        let deleted = self.objects.delete(&self::key(key)?).await;
        match deleted.map_err(|e| Error::object(STEP, e)) {
            Err(Error::NotFound) => self.stands(STEP).await,
            other => other,
        }
    }

    /// Removes the results and plans of a job's generations before `before`; all of them for `None`.
    ///
    /// Later ones stay: a call that a slow storage holds up may end after the job has been retried once more.
    pub async fn delete_results(&self, job: JobId, before: Option<u32>) -> Result<(), Error> {
        match self.backend.clone() {
            Backend::Local(folder) => {
                let delete = move || folder.delete_results(job, before);
                blocking("removing results", delete).await
            }
            Backend::S3(s3) => s3.delete_results(job, before).await,
        }
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
            if let Some(job) = keys::job_of(meta.location.as_ref())
                && is_older(&meta, older_than)
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

    /// Whether no result or plan of a job was written within the last `age`, for the orphan sweep.
    pub async fn results_are_older(&self, job: JobId, age: Duration) -> Result<bool, Error> {
        const STEP: &str = "listing results";
        for area in ["results", "plans"] {
            let folder = Key::from_iter([area, &job.to_string()]);
            let mut listed = self.objects.list(Some(&folder));
            while let Some(meta) = listed.next().await {
                match meta.map_err(|e| Error::object(STEP, e)) {
                    Err(Error::NotFound) => {}
                    Ok(meta) if is_older(&meta, age) => {}
                    Ok(_) => return Ok(false),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(true)
    }

    /// Removes uploads in progress that nobody has written to for `idle`. Returns how many.
    pub async fn sweep_staged(&self, idle: Duration) -> Result<u64, Error> {
        match self.backend.clone() {
            Backend::Local(folder) => {
                blocking("sweeping uploads", move || folder.sweep_staged(idle)).await
            }
            Backend::S3(s3) => s3.sweep(idle).await,
        }
    }

    /// Whether the storage answers: it takes something small, or says that it is full. A blob that it cannot give all
    /// the same is out of order itself.
    pub async fn is_reachable(&self) -> bool {
        let tried = match self.backend.clone() {
            Backend::Local(folder) => {
                blocking("trying the storage", move || folder.try_out()).await
            }
            Backend::S3(s3) => s3.knock().await,
        };
        matches!(tried, Ok(()) | Err(Error::Full(_)))
    }

    /// Writes and reads something small, and shows that the storage works.
    pub async fn ping(&self) -> Result<(), Error> {
        match self.backend.clone() {
            Backend::Local(folder) => {
                blocking("trying the storage", move || folder.try_out()).await
            }
            Backend::S3(s3) => s3.ping().await,
        }
    }
}

/// The storage stamped the blob, so its age is by the machine's clock, not by a passed-in one.
fn is_older(meta: &ObjectMeta, age: Duration) -> bool {
    let written = SystemTime::from(meta.last_modified);
    written.elapsed().is_ok_and(|elapsed| elapsed >= age)
}

/// Opens a blob that is a file.
async fn open(folder: &Arc<Folder>, key: &str) -> Result<Fetched, Error> {
    let (folder, path) = (folder.clone(), path(folder, key)?);
    let open = move || fetch::open(&folder, &path);
    let opened = blocking("opening a blob", open).await?;
    opened.ok_or(Error::NotFound)
}

fn path(folder: &Folder, key: &str) -> Result<PathBuf, Error> {
    let key = self::key(key)?;
    let parts = key.parts();
    Ok(parts.fold(folder.root().to_owned(), |path, part| {
        path.join(part.as_ref())
    }))
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
