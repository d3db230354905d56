//! An upload in progress: bytes in, a synced file and its SHA-256 out.

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

/// Bytes collected before they go to disk. An upload holds two such buffers at most, one that fills and one that is
/// being written, whatever the size of the file and of the pieces it comes in.
const BUFFER: usize = 256 * 1024;

/// A slow sender's bytes are written at least this often, so that the file's time shows that it is alive.
const WRITE_AT_LEAST_EVERY: Duration = Duration::from_secs(10);

/// An upload in progress. Dropping it removes what was written; what a crash leaves,
/// [`Blobs::sweep_staged`](crate::Blobs::sweep_staged) removes.
#[derive(Debug)]
pub struct Staged {
    part: Part,
    filling: Vec<u8>,
    written_at: Instant,
    writer: Writer,
    turns: Arc<Semaphore>,
}

/// An upload whose last byte is durably stored but which has no name yet. Dropping it removes it.
#[derive(Debug)]
pub struct Complete {
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
    pub(crate) part: Part,
}

/// A file that is removed unless it is given a name.
#[derive(Debug)]
pub(crate) struct Part {
    path: Option<PathBuf>,
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
    file: File,
    hash: Sha256,
    size: u64,
}

impl Sink {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }
}

impl Staged {
    /// `turns` are shared by all uploads: each buffer that is hashed and written holds one, so that many uploads at
    /// once leave processor time for others.
    pub(crate) fn new(file: File, path: PathBuf, turns: Arc<Semaphore>) -> Self {
        let sink = Sink {
            file,
            hash: Sha256::new(),
            size: 0,
        };
        Self {
            part: Part { path: Some(path) },
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
            let due = self.written_at.elapsed() >= WRITE_AT_LEAST_EVERY;
            if self.filling.len() == BUFFER || due {
                self.begin_write().await?;
            }
        }
        Ok(())
    }

    /// Hands the full buffer to a thread and takes the empty one back, once the write before is over.
    async fn begin_write(&mut self) -> Result<(), Error> {
        let (mut sink, spare) = self.settle().await?;
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

    /// Waits for the write under way. Leaves `Broken` behind, which the caller replaces.
    async fn settle(&mut self) -> Result<(Sink, Vec<u8>), Error> {
        const STEP: &str = "writing an upload";
        match std::mem::replace(&mut self.writer, Writer::Broken) {
            Writer::Idle(sink, spare) => Ok((sink, spare)),
            Writer::Busy(write) => match write.await {
                Ok(done) => done.map_err(|e| Error::io(STEP, e)),
                Err(lost) => Err(Error::Storage {
                    step: STEP,
                    source: lost.into(),
                }),
            },
            Writer::Broken => Err(Error::Storage {
                step: STEP,
                source: "an earlier write failed".into(),
            }),
        }
    }

    /// Syncs what was written.
    pub async fn complete(mut self) -> Result<Complete, Error> {
        let (mut sink, _) = self.settle().await?;
        let last = std::mem::take(&mut self.filling);
        let (size, sha256) = blocking("syncing an upload", move || {
            sink.append(&last)?;
            sink.file.sync_all()?;
            Ok((sink.size, hex(&sink.hash.finalize())))
        })
        .await?;
        Ok(Complete {
            size,
            sha256,
            part: self.part,
        })
    }

    /// Removes what was written.
    pub async fn discard(mut self) {
        // A write under way would otherwise go on for a moment after the file has gone.
        let _ = self.settle().await;
        self.part.discard().await;
    }
}

impl Part {
    /// Where the file is.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
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

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes
        .iter()
        .flat_map(|b| [digit(b >> 4), digit(b & 15)])
        .collect()
}
