//! The file that a task reads: brought to where the engine can read it, and checked against what was handed in.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use filejobs_blobs::{Error, Fetched};
use filejobs_core::failure::{Failure, FailureCode};
use filejobs_engine::task::{Request, Step};
use filejobs_store::Job;
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::attempt::Attempt;
use crate::config::Backends;
use crate::ending::{Ending, changed, unavailable, unreadable};
use crate::patience::patiently;

/// Bytes hashed at a time.
const CHUNK: usize = 256 * 1024;

/// What the engine gets to read.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) file: File,
    pub(crate) check: Check,
}

/// Whether a file is what was handed in. Where that is not known yet it is found out beside the engine: both read the
/// same bytes at about the same time, so that the disk is asked once.
#[derive(Debug)]
pub(crate) enum Check {
    /// It is, or somebody else looks.
    Done,
    /// Being found out.
    Running(Hashing),
}

/// A file that is hashed on a thread of its own, until it is done or this is dropped.
#[derive(Debug)]
pub(crate) struct Hashing {
    unwanted: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<bool>>,
}

impl Attempt<'_> {
    /// Brings the file, or the part of it that the step reads, and has it checked.
    pub(crate) async fn source(&self, request: &Request, folder: &Path) -> Result<Source, Ending> {
        let job = &self.claimed.job;
        let Backends { blobs, sources, .. } = &self.context.backends;
        let deadline = Instant::now() + self.context.config.patience;
        let wanted = wanted(&request.step);
        let fetched = patiently(
            sources,
            || deadline,
            || blobs.fetch(&job.blob, wanted.clone(), folder),
        );
        match fetched.await {
            Ok(fetched) => examine(job, &request.step, fetched),
            Err(Error::NotFound) => Err(Ending::Final(Failure::new(
                FailureCode::SourceMissing,
                "The stored file is gone; hand it in again.",
            ))),
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(%error, cause, "the file could not be fetched");
                Err(Ending::Again(unavailable("The storage is out of reach.")))
            }
        }
    }
}

/// The bytes that a step reads, when they are not all.
fn wanted(step: &Step) -> Option<Range<u64>> {
    let Step::Piece { facts, piece } = step else {
        return None;
    };
    let dialect = facts.layout.as_ref()?.dialect.as_ref()?;
    // The places of a piece are those of the text that is made of the file: its own only in this encoding.
    let is_text = dialect.encoding.eq_ignore_ascii_case("utf-8");
    is_text.then_some(piece.start..piece.end)
}

/// Compares what is known at once, and begins to find out the rest.
fn examine(job: &Job, step: &Step, fetched: Fetched) -> Result<Source, Ending> {
    if fetched.size != job.file_size {
        return Err(Ending::Again(changed()));
    }
    let check = match fetched.sha256 {
        Some(sha256) if sha256 == job.sha256 => Check::Done,
        Some(_) => return Err(Ending::Again(changed())),
        None => match step {
            Step::Whole | Step::Plan => Check::begin(&fetched.file, &job.sha256)?,
            // A piece is a part of what its plan has read.
            Step::Piece { .. } => Check::Done,
        },
    };
    Ok(Source {
        file: fetched.file,
        check,
    })
}

impl Check {
    fn begin(file: &File, sha256: &str) -> Result<Self, Ending> {
        let file = file.try_clone().map_err(|error| {
            tracing::error!(%error, "the file could not be opened twice");
            Ending::Again(unavailable("The worker has no room for another open file."))
        })?;
        let (unwanted, wanted_sha256) = (Arc::new(AtomicBool::new(false)), sha256.to_owned());
        let stop = unwanted.clone();
        let hash = move || Ok(sha256_of(&file, &stop)?.is_some_and(|hash| hash == wanted_sha256));
        Ok(Self::Running(Hashing {
            unwanted,
            thread: tokio::task::spawn_blocking(hash),
        }))
    }

    /// What the check has to say once the engine has ended: nothing, when all is well.
    pub(crate) async fn objection(self) -> Option<Ending> {
        let Self::Running(mut hashing) = self else {
            return None;
        };
        match (&mut hashing.thread).await {
            Ok(Ok(true)) => None,
            Ok(Ok(false)) => Some(Ending::Again(changed())),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the stored file could not be read");
                Some(Ending::Again(unreadable()))
            }
            Err(error) => {
                tracing::error!(%error, "the check of a file ended by a defect");
                Some(Ending::Again(unavailable("The file could not be checked.")))
            }
        }
    }
}

impl Drop for Hashing {
    fn drop(&mut self) {
        self.unwanted.store(true, Ordering::Relaxed);
    }
}

/// The SHA-256 of a file in hexadecimal; `None` when nobody wants it any more.
fn sha256_of(file: &File, unwanted: &AtomicBool) -> io::Result<Option<String>> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    while !unwanted.load(Ordering::Relaxed) {
        match file.read_at(&mut buffer, at) {
            Ok(0) => return Ok(Some(filejobs_blobs::hex(&hash.finalize()))),
            Ok(n) => {
                hash.update(&buffer[..n]);
                at += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
