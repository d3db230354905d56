//! The file that a task reads: brought to where the engine can read it, and checked against what was handed in.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use filejobs_blobs::{Error, Fetched, Sums, plan_key};
use filejobs_core::failure::{Failure, FailureCode};
use filejobs_engine::task::{Request, Step};
use filejobs_store::Job;
use futures::TryStreamExt;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::attempt::Attempt;
use crate::blocks::{Look, PlannedPiece, Seen};
use crate::config::Backends;
use crate::ending::{Ending, changed, plan_unreadable, unavailable, unreadable};
use crate::outputs;
use crate::patience::patiently;
use crate::scratch::Scratch;

/// What the engine gets to read.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) file: File,
    pub(crate) check: Check,
}

/// Finding out beside the engine whether a file is what was handed in: both read the same bytes at about the same
/// time, so that the disk is asked once. Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Check {
    /// Checksums that need no comparison any more.
    known: Option<Sums>,
    expected: Seen,
    unwanted: Arc<AtomicBool>,
    /// Absent when nothing is to be found out.
    thread: Option<JoinHandle<io::Result<Option<Seen>>>>,
}

/// How a file of a step is brought and what is compared.
#[derive(Debug)]
struct Plan {
    look: Look,
    expected: Seen,
    is_part: bool,
}

impl Attempt<'_> {
    /// Brings the file, or the part of it that the step reads, and has it checked.
    pub(crate) async fn source(&self, request: &Request, folder: &Path) -> Result<Source, Ending> {
        let job = &self.claimed.job;
        let Backends { blobs, sources, .. } = &self.context.backends;
        let deadline = Instant::now() + self.context.config.patience;
        let sums = Sums::of_task(&self.claimed.piece);
        let plan = Plan::of(&request.step, sums, job);
        let wanted = plan.is_part.then(|| plan.look.bytes.clone());
        let fetched = patiently(
            sources,
            || deadline,
            || blobs.fetch(&job.blob, wanted.clone(), folder),
        );
        match fetched.await {
            Ok(fetched) if fetched.size != job.file_size => Err(Ending::Again(changed())),
            Ok(fetched) => plan.examine(fetched),
            Err(Error::NotFound) => Err(Ending::Final(Failure::new(
                FailureCode::SourceMissing,
                "The stored file is gone; hand it in again.",
            ))),
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(%error, cause, "the file could not be fetched");
                let unread = self.unread(error, "The storage is out of reach.", unreadable);
                Err(Ending::Again(unread.await))
            }
        }
    }

    /// Why a blob could not be read: this machine is out of order, the storage is `away`, or it answers, and then it is
    /// this blob that it cannot give.
    async fn unread(&self, error: Error, away: &str, spoilt: fn() -> Failure) -> Failure {
        match error {
            Error::Folder { .. } | Error::Full(_) => {
                unavailable("The worker's disk is out of order.")
            }
            Error::Storage { .. } | Error::NotFound => {
                if self.context.backends.blobs.is_reachable().await {
                    spoilt()
                } else {
                    unavailable(away)
                }
            }
        }
    }

    /// Brings the plan's list of repeated keys to a piece.
    pub(crate) async fn bring_repeats(
        &self,
        planned: &PlannedPiece,
        scratch: &Scratch,
    ) -> Result<(), Ending> {
        let Some(name) = &planned.piece.repeats else {
            return Ok(());
        };
        let out_of_reach = |what| Ending::Again(unavailable(what));
        let job = &self.claimed.job;
        let to = outputs::plain_name(name).map(|name| scratch.out().join(name));
        let to = to.map_err(|_| out_of_reach("The plan names no file."))?;
        let key = plan_key(job.id, job.generation, name);
        let deadline = Instant::now() + self.context.config.patience;
        let Backends { sources, .. } = &self.context.backends;
        let brought = patiently(sources, || deadline, || self.copy_blob(&key, &to));
        let sha256 = match brought.await {
            Ok(sha256) => sha256,
            Err(error) => {
                tracing::warn!(%error, "what the plan left could not be fetched");
                let away = "What the plan left is out of reach.";
                let unread = self.unread(error, away, plan_unreadable).await;
                return Err(Ending::Again(unread));
            }
        };
        match &planned.repeats_sha256 {
            Some(expected) if *expected != sha256 => Err(Ending::Again(Failure::new(
                FailureCode::SourceChanged,
                "What is stored of the file's plan is no longer what was written; retry the job.",
            ))),
            Some(_) | None => Ok(()),
        }
    }

    /// Copies a blob and gives its SHA-256.
    async fn copy_blob(&self, key: &str, to: &Path) -> Result<String, Error> {
        let io = |source: io::Error| Error::Folder {
            step: "copying a blob to a scratch folder",
            source,
        };
        let mut chunks = self.context.backends.blobs.stream(key, 0..u64::MAX).await?;
        let mut file = tokio::fs::File::create(to).await.map_err(io)?;
        let mut hash = Sha256::new();
        while let Some(chunk) = chunks.try_next().await? {
            hash.update(&chunk);
            file.write_all(&chunk).await.map_err(io)?;
        }
        file.flush().await.map_err(io)?;
        Ok(filejobs_blobs::hex(&hash.finalize()))
    }
}

impl Plan {
    /// `sums` are those that stand with the task.
    fn of(step: &Step, sums: Option<Sums>, job: &Job) -> Self {
        let size = job.file_size;
        match (step, sums) {
            (Step::Piece { .. }, Some(sums)) => Self {
                look: Look {
                    bytes: sums.bytes(size),
                    sha256: false,
                    sums: true,
                },
                expected: Seen {
                    sha256: None,
                    sums: Some(sums),
                },
                is_part: true,
            },
            // A retried job's first task has none, and a piece whose places are those of a text that is made of the
            // file: that is read as a whole.
            (step, sums) => Self {
                look: Look {
                    bytes: 0..size,
                    sha256: sums.is_none(),
                    sums: sums.is_some() || matches!(step, Step::Plan),
                },
                expected: Seen {
                    sha256: Some(job.sha256.clone()),
                    sums,
                },
                is_part: false,
            },
        }
    }

    /// Compares what is known at once, and begins to find out the rest.
    fn examine(self, fetched: Fetched) -> Result<Source, Ending> {
        let Self {
            mut look,
            mut expected,
            ..
        } = self;
        let mut known = None;
        if let (Some(taken), Some(wanted)) = (&fetched.sha256, &expected.sha256) {
            if taken != wanted {
                return Err(Ending::Again(changed()));
            }
            // What is still to be found out are checksums that nobody has taken yet.
            known = expected.sums.take();
            look.sha256 = false;
            look.sums &= known.is_none();
        }
        if !look.sha256 {
            expected.sha256 = None;
        }
        let unwanted = Arc::new(AtomicBool::new(false));
        let thread = if look.sha256 || look.sums {
            let file = fetched.file.try_clone().map_err(|error| {
                tracing::error!(%error, "the file could not be opened twice");
                Ending::Again(unavailable("The worker has no room for another open file."))
            })?;
            let unwanted = unwanted.clone();
            Some(tokio::task::spawn_blocking(move || {
                look.run(&file, &unwanted)
            }))
        } else {
            None
        };
        Ok(Source {
            file: fetched.file,
            check: Check {
                known,
                expected,
                unwanted,
                thread,
            },
        })
    }
}

impl Check {
    /// Waits until it is known. Gives the checksums of what was read where there are any; an ending when that is not
    /// what was handed in.
    pub(crate) async fn verdict(mut self) -> Result<Option<Sums>, Ending> {
        let Some(thread) = &mut self.thread else {
            return Ok(self.known.take());
        };
        let seen = match thread.await {
            Ok(Ok(Some(seen))) => seen,
            Ok(Ok(None)) => return Err(Ending::Again(unavailable("The file was not checked."))),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the stored file could not be read");
                return Err(Ending::Again(unreadable()));
            }
            Err(error) => {
                tracing::error!(%error, "the check of a file ended by a defect");
                return Err(Ending::Again(unavailable("The file could not be checked.")));
            }
        };
        let Seen { sha256, sums } = &self.expected;
        let differs =
            sha256.is_some() && *sha256 != seen.sha256 || sums.is_some() && *sums != seen.sums;
        if differs {
            return Err(Ending::Again(changed()));
        }
        Ok(seen.sums)
    }
}

impl Drop for Check {
    fn drop(&mut self) {
        self.unwanted.store(true, Ordering::Relaxed);
    }
}
