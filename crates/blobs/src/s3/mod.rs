//! What S3-compatible storages do in their own way: uploads in parts, and what is left of abandoned ones.
//!
//! An upload goes to its final key from the beginning. Its parts are nothing that anybody can read, and the call that
//! completes it makes the object appear at once and whole, or replaces an older one at once: that is what renaming is
//! to a folder. An upload that fits into one part is one request, sent when it is published.
//!
//! Memory: parts wait in nameless files of the spool folder. Only a part that is being sent is in memory, and the
//! whole process sends [`PARTS_AT_ONCE`] of them at a time, however many uploads there are.

mod abandoned;
mod config;
mod upload;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use filejobs_core::JobId;
use futures::stream::{self, StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as Key;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt, RetryConfig};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use config::{Credentials, S3Config};
pub(crate) use upload::Upload;

use crate::error::{Error, blocking};
use crate::keys::is_before;

/// Bytes of one part of an upload, but for the last. Storages take no less than 5 MiB; some want all parts to be equal.
pub(crate) const PART: u64 = 8 << 20;

/// Parts of one upload that storages take.
const PARTS: u64 = 10_000;

/// Bytes of the largest blob that an S3-compatible storage takes from us: 80,000 MiB.
pub const S3_LARGEST: u64 = PARTS * PART;

/// Parts that the process holds in memory to send them.
const PARTS_AT_ONCE: usize = 4;

/// Results of a task that are stored at a time.
const FILES_AT_ONCE: usize = 4;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(3);

/// The object that shows whether the storage works, and what it holds.
const PING: &str = "staging/ping";
const PING_TEXT: &[u8] = b"ping";

/// Longest silence of the storage while it is asked something; a part must have gone out within it.
const SILENCE: Duration = Duration::from_secs(30);

/// How often a request is sent again, and until when after the first time. Who calls may try longer.
const RETRIES: usize = 3;
const RETRY_FOR: Duration = Duration::from_secs(20);

/// An S3-compatible storage.
#[derive(Debug)]
pub(crate) struct S3 {
    /// Speaks to the bucket by full keys.
    store: AmazonS3,
    /// The same below the prefix.
    objects: Arc<dyn ObjectStore>,
    prefix: Key,
    /// One permit for each part in memory.
    memory: Arc<Semaphore>,
    spool: Arc<PathBuf>,
    /// For what `object_store` has no call for.
    http: reqwest::Client,
}

impl S3 {
    /// Does not speak to the storage yet.
    pub(crate) fn new(config: &S3Config) -> Result<Self, Error> {
        const STEP: &str = "setting up the storage";
        // Somebody else may have installed one already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let failed = |e| Error::object(STEP, e);
        let store = builder(config).build().map_err(failed)?;
        let prefix = Key::parse(config.prefix.trim_matches('/')).map_err(|e| failed(e.into()))?;
        let objects: Arc<dyn ObjectStore> = if prefix.as_ref().is_empty() {
            Arc::new(store.clone())
        } else {
            Arc::new(PrefixStore::new(store.clone(), prefix.clone()))
        };
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .timeout(SILENCE)
            .build()
            .map_err(|e| Error::storage(STEP, e))?;
        Ok(Self {
            store,
            objects,
            prefix,
            memory: Arc::new(Semaphore::new(PARTS_AT_ONCE)),
            spool: Arc::new(config.spool.clone()),
            http,
        })
    }

    pub(crate) fn objects(&self) -> Arc<dyn ObjectStore> {
        self.objects.clone()
    }

    pub(crate) fn spool(&self) -> Arc<PathBuf> {
        self.spool.clone()
    }

    /// The right to hold one more part in memory.
    async fn room(&self) -> Result<OwnedSemaphorePermit, Error> {
        let room = self.memory.clone().acquire_owned().await;
        room.map_err(|e| Error::storage("waiting for memory", e))
    }

    /// Stores an object in one request.
    pub(crate) async fn put(&self, key: &Key, bytes: Bytes) -> Result<(), Error> {
        let put = self.objects.put(key, bytes.into()).await;
        put.map(drop)
            .map_err(|e| Error::object("storing a blob", e))
    }

    /// Stores a file of at most [`PART`] bytes in one request.
    pub(crate) async fn put_small(
        &self,
        key: &Key,
        file: Arc<File>,
        bytes: u64,
    ) -> Result<(), Error> {
        let _room = self.room().await?;
        let bytes = read(file, 0, bytes).await?;
        self.put(key, bytes).await
    }

    /// Stores files under their keys.
    pub(crate) async fn put_files(
        self: &Arc<Self>,
        files: Vec<(Key, PathBuf)>,
    ) -> Result<(), Error> {
        stream::iter(files)
            .map(|(key, path)| self.clone().put_file(key, path))
            .buffer_unordered(FILES_AT_ONCE)
            .try_collect()
            .await
    }

    async fn put_file(self: Arc<Self>, key: Key, path: PathBuf) -> Result<(), Error> {
        let open = move || {
            let file = File::open(path)?;
            let size = file.metadata()?.len();
            Ok((Arc::new(file), size))
        };
        let (file, size) = blocking("opening a result", open).await?;
        if size <= PART {
            return self.put_small(&key, file, size).await;
        }
        let mut upload = Upload::new(self, key);
        for start in (0..size).step_by(PART as usize) {
            let bytes = PART.min(size - start);
            upload.send(file.clone(), start, bytes).await?;
        }
        upload.settle().await?;
        upload.complete().await
    }

    /// Removes the results and plans of a job's generations before `before`; all of them for `None`.
    pub(crate) async fn delete_results(
        &self,
        job: JobId,
        before: Option<u32>,
    ) -> Result<(), Error> {
        for area in ["results", "plans"] {
            let folder = Key::from_iter([area, &job.to_string()]);
            let generation = folder.parts_count();
            let listed = self
                .objects
                .list(Some(&folder))
                .map_ok(|meta| meta.location);
            let unwanted = listed.try_filter(move |key| {
                let unwanted = before.is_none_or(|before| {
                    let part = key.parts().nth(generation);
                    part.is_some_and(|part| is_before(part.as_ref(), before))
                });
                std::future::ready(unwanted)
            });
            let deleted = self.objects.delete_stream(unwanted.boxed());
            let gone = deleted.map(|deleted| {
                match deleted.map_err(|e| Error::object("removing results", e)) {
                    // Removed by somebody else; the others have still to go.
                    Ok(_) | Err(Error::NotFound) => Ok(()),
                    Err(error) => Err(error),
                }
            });
            gone.try_collect::<()>().await?;
        }
        Ok(())
    }

    /// Writes a small object. It stays: one object, always the same.
    pub(crate) async fn knock(&self) -> Result<(), Error> {
        self.put(&Key::from(PING), PING_TEXT.into()).await
    }

    /// Writes and reads a small object.
    pub(crate) async fn ping(&self) -> Result<(), Error> {
        const STEP: &str = "trying the storage";
        self.knock().await?;
        let tried = async { self.objects.get(&Key::from(PING)).await?.bytes().await };
        match tried.await.map_err(|e| Error::object(STEP, e)) {
            Ok(read) if read == PING_TEXT => Ok(()),
            Ok(_) => Err(Error::storage(STEP, "another text came back")),
            // The bucket, then: the object was just written.
            Err(Error::NotFound) => Err(Error::storage(STEP, "the bucket does not exist")),
            Err(error) => Err(error),
        }
    }
}

fn builder(config: &S3Config) -> AmazonS3Builder {
    let client = ClientOptions::new()
        .with_connect_timeout(CONNECT)
        // A large object may take long; what may not is silence.
        .with_timeout_disabled()
        .with_read_timeout(SILENCE)
        .with_allow_http(config.allow_http);
    let retry = RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(3),
            base: 2.0,
        },
        max_retries: RETRIES,
        retry_timeout: RETRY_FOR,
    };
    let mut builder = match &config.credentials {
        Some(credentials) => {
            let mut builder = AmazonS3Builder::new()
                .with_access_key_id(&credentials.key_id)
                .with_secret_access_key(&credentials.secret);
            if let Some(token) = &credentials.token {
                builder = builder.with_token(token);
            }
            builder
        }
        None => AmazonS3Builder::from_env(),
    };
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    builder
        .with_bucket_name(&config.bucket)
        .with_region(&config.region)
        .with_virtual_hosted_style_request(!config.path_style)
        // Not every storage can remove several objects in one request.
        .with_disable_bulk_delete(true)
        .with_client_options(client)
        .with_retry(retry)
}

/// Reads a stretch of a file.
async fn read(file: Arc<File>, start: u64, bytes: u64) -> Result<Bytes, Error> {
    blocking("reading a part", move || {
        let mut buffer = vec![0; usize::try_from(bytes).map_err(std::io::Error::other)?];
        file.read_exact_at(&mut buffer, start)?;
        Ok(buffer.into())
    })
    .await
}
