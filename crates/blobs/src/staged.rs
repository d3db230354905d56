//! An upload in progress: bytes in, durable bytes and their SHA-256 out.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::error::{Error, blocking};
use crate::s3::{PART, Upload};
use crate::sums::{Summing, Sums};

/// Bytes collected before they go to disk. An upload holds two such buffers at most, one that fills and one that is
/// being written, whatever the size of the file and of the pieces it comes in.
const BUFFER: usize = 256 * 1024;

/// A slow sender's bytes are written at least this often, so that the file's time shows that it is alive.
const WRITE_AT_LEAST_EVERY: Duration = Duration::from_secs(10);

// Parts are equal in size because they are made of full buffers.
const _: () = assert!(PART.is_multiple_of(BUFFER as u64));

/// An upload in progress. Dropping it removes what was written; what a crash leaves,
/// [`Blobs::sweep_staged`](crate::Blobs::sweep_staged) removes.
#[derive(Debug)]
pub struct Staged {
    place: Place,
    filling: Vec<u8>,
    written_at: Instant,
    writer: Writer,
    turns: Arc<Semaphore>,
}

/// Where the bytes go.
#[derive(Debug)]
enum Place {
    /// To a file beside the blobs.
    Folder(Part),
    /// In parts to a storage, each by way of a nameless file.
    S3(Upload),
}

/// An upload that is complete but for its name. Dropping it removes it.
#[derive(Debug)]
pub struct Complete {
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
    /// Checksums of its blocks.
    pub sums: Sums,
    pub(crate) content: Content,
}

/// What becomes a blob by being published.
#[derive(Debug)]
pub(crate) enum Content {
    /// A synced file that gets its name.
    Folder(Part),
    /// All parts are with the storage.
    Parts(Upload),
    /// Less than a part: one request brings it.
    Small(Upload, Small),
}

/// The bytes of an upload that is smaller than a part.
#[derive(Debug)]
pub(crate) enum Small {
    Bytes(Bytes),
    File(Arc<File>, u64),
}

/// A file that is removed unless it is given a name.
#[derive(Debug)]
pub(crate) struct Part {
    path: Option<PathBuf>,
    to: PathBuf,
}

/// Where the file is: at rest, or with the thread that writes a buffer.
#[derive(Debug)]
enum Writer {
    Idle(Sink, Vec<u8>),
    Busy(JoinHandle<io::Result<(Sink, Vec<u8>)>>),
    /// A write failed or was lost: the file cannot be completed any more.
    Broken,
}

#[derive(Debug)]
struct Sink {
    /// Made with the first byte when it is absent.
    file: Option<File>,
    /// Bytes in the file.
    written: u64,
    /// The folder for further files.
    spool: Arc<PathBuf>,
    hash: Sha256,
    sums: Summing,
    size: u64,
}

impl Sink {
    fn new(file: Option<File>, spool: Arc<PathBuf>) -> Self {
        Self {
            file,
            written: 0,
            spool,
            hash: Sha256::new(),
            sums: Summing::from(0),
            size: 0,
        }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile_in(&*self.spool)?),
        };
        file.write_all(bytes)?;
        self.written += bytes.len() as u64;
        self.count(bytes);
        Ok(())
    }

    fn count(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.sums.update(bytes);
        self.size += bytes.len() as u64;
    }

    /// The file with its size; the next byte goes to another.
    fn take(&mut self) -> Option<(Arc<File>, u64)> {
        let bytes = std::mem::take(&mut self.written);
        Some((Arc::new(self.file.take()?), bytes))
    }
}

impl Staged {
    /// An upload into a file that is there already.
    pub(crate) fn folder(file: File, path: PathBuf, to: PathBuf, turns: Arc<Semaphore>) -> Self {
        let part = Part {
            path: Some(path),
            to,
        };
        let sink = Sink::new(Some(file), Arc::default());
        Self::new(Place::Folder(part), sink, turns)
    }

    /// An upload that goes to a storage in parts.
    pub(crate) fn s3(upload: Upload, turns: Arc<Semaphore>) -> Self {
        let spool = upload.s3().spool();
        Self::new(Place::S3(upload), Sink::new(None, spool), turns)
    }

    /// Each buffer that is hashed and written holds one of the `turns`, which all uploads share.
    fn new(place: Place, sink: Sink, turns: Arc<Semaphore>) -> Self {
        Self {
            place,
            filling: Vec::new(),
            written_at: Instant::now(),
            writer: Writer::Idle(sink, Vec::new()),
            turns,
        }
    }

    /// Appends bytes and hashes them. A failure to write may show with a later call. After a call that failed or was
    /// dropped the upload cannot be completed.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(BUFFER - self.filling.len()));
            if self.filling.capacity() == 0 {
                // Small files get by with what they need.
                self.filling.reserve_exact(now.len().max(4096));
            }
            self.filling.extend_from_slice(now);
            rest = later;
            if self.filling.len() == BUFFER || self.is_overdue() {
                self.begin_write().await?;
            }
        }
        Ok(())
    }

    fn is_overdue(&self) -> bool {
        match &self.place {
            Place::Folder(_) => self.written_at.elapsed() >= WRITE_AT_LEAST_EVERY,
            // Nobody looks at the time of a nameless file.
            Place::S3(_) => false,
        }
    }

    /// Hands the full buffer to a thread and takes the empty one back, once the write before is over.
    async fn begin_write(&mut self) -> Result<(), Error> {
        let (mut sink, spare) = self.settle().await?;
        self.send_full(&mut sink).await?;
        // The semaphore is never closed; without a turn the write is only less polite.
        let turn = self.turns.clone().acquire_owned().await.ok();
        let full = std::mem::replace(&mut self.filling, spare);
        self.written_at = Instant::now();
        self.writer = Writer::Busy(tokio::task::spawn_blocking(move || {
            sink.append(&full)?;
            drop(turn);
            let mut empty = full;
            empty.clear();
            Ok((sink, empty))
        }));
        Ok(())
    }

    /// Sends a part that is full.
    async fn send_full(&mut self, sink: &mut Sink) -> Result<(), Error> {
        if let Place::S3(upload) = &mut self.place
            && sink.written >= PART
            && let Some((file, bytes)) = sink.take()
        {
            upload.send(file, 0, bytes).await?;
        }
        Ok(())
    }

    /// Waits for the write under way. Leaves `Broken` behind, which the caller replaces.
    async fn settle(&mut self) -> Result<(Sink, Vec<u8>), Error> {
        const STEP: &str = "writing an upload";
        match std::mem::replace(&mut self.writer, Writer::Broken) {
            Writer::Idle(sink, spare) => Ok((sink, spare)),
            Writer::Busy(write) => match write.await {
                Ok(done) => done.map_err(|e| Error::io(STEP, e)),
                Err(lost) => Err(Error::storage(STEP, lost)),
            },
            Writer::Broken => Err(Error::storage(STEP, "an earlier write failed")),
        }
    }

    /// Makes what was written durable, as far as that goes before it has its name.
    pub async fn complete(mut self) -> Result<Complete, Error> {
        let (mut sink, _) = self.settle().await?;
        let last = std::mem::take(&mut self.filling);
        if !last.is_empty() {
            self.send_full(&mut sink).await?;
        }
        let (content, sink) = match self.place {
            Place::Folder(part) => {
                let sync = move || {
                    sink.append(&last)?;
                    if let Some(file) = &sink.file {
                        file.sync_all()?;
                    }
                    Ok(sink)
                };
                let sink = blocking("syncing an upload", sync).await?;
                (Content::Folder(part), sink)
            }
            Place::S3(upload) if sink.size == 0 => {
                sink.count(&last);
                (Content::Small(upload, Small::Bytes(last.into())), sink)
            }
            Place::S3(mut upload) => {
                let append = move || sink.append(&last).map(|()| sink);
                let mut sink = blocking("writing an upload", append).await?;
                let content = match sink.take() {
                    Some((file, bytes)) if !upload.is_begun() => {
                        Content::Small(upload, Small::File(file, bytes))
                    }
                    rest => {
                        if let Some((file, bytes)) = rest {
                            upload.send(file, 0, bytes).await?;
                        }
                        upload.settle().await?;
                        Content::Parts(upload)
                    }
                };
                (content, sink)
            }
        };
        Ok(Complete {
            size: sink.size,
            sha256: hex(&sink.hash.finalize()),
            sums: sink.sums.finish(),
            content,
        })
    }

    /// Removes what was written.
    pub async fn discard(mut self) {
        // A write under way would otherwise go on for a moment after the file has gone.
        let _ = self.settle().await;
        match self.place {
            Place::Folder(part) => part.discard().await,
            Place::S3(upload) => upload.abort().await,
        }
    }
}

impl Content {
    pub(crate) async fn discard(self) {
        match self {
            Self::Folder(part) => part.discard().await,
            Self::Parts(upload) => upload.abort().await,
            Self::Small(..) => {}
        }
    }
}

impl Part {
    /// Where the file is, and where it is to be.
    pub(crate) fn paths(&self) -> Option<(&Path, &Path)> {
        Some((self.path.as_deref()?, &self.to))
    }

    /// The file has a name now and stays.
    pub(crate) fn keep(mut self) {
        self.path = None;
    }

    pub(crate) async fn discard(mut self) {
        if let Some(path) = self.path.take() {
            // What cannot be removed now is swept later.
            let _ = blocking("removing an upload", move || std::fs::remove_file(path)).await;
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let Some(path) = self.path.take() else { return };
        let remove = move || {
            let _ = std::fs::remove_file(path);
        };
        // Removing a large file can take milliseconds that an async thread must not spend.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

/// Lower-case hexadecimal, as checksums are written.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes
        .iter()
        .flat_map(|b| [digit(b >> 4), digit(b & 15)])
        .collect()
}
