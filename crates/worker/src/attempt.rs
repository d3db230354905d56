//! One attempt at one task, from its ticket to the end of its lease.

use std::sync::Arc;
use std::time::Duration;

use filejobs_blobs::Sums;
use filejobs_core::failure::{Failure, FailureCode};
use filejobs_engine::child;
use filejobs_engine::task::{Processor, Request, Step};
use filejobs_metrics::table;
use filejobs_queue::Delivery;
use filejobs_store::{Claimed, TaskKind};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::blocks::PlannedPiece;
use crate::config::{Backends, Config};
use crate::counting;
use crate::ending::{self, Ending};
use crate::lease::{Hold, Leases};
use crate::outputs::{self, Place};
use crate::patience::patiently;
use crate::process::{Followed, Launcher, Start};
use crate::scratch::{Root, Scratch};
use crate::source::Source;

/// How long a claim may be tried before the ticket is left to be published again.
const CLAIM_PATIENCE: Duration = Duration::from_secs(5);

/// A file or piece up to this size gets one thread: a second would cost more than it brings.
const SMALL_BYTES: u64 = 1 << 20;

/// What all attempts of a worker share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) backends: Backends,
    pub(crate) config: Config,
    pub(crate) root: Arc<Root>,
    pub(crate) launcher: Launcher,
    pub(crate) leases: Leases,
    /// One permit for each engine that may run.
    pub(crate) slots: Arc<Semaphore>,
    /// One permit for each task whose outputs may be stored at a time.
    pub(crate) finishing: Semaphore,
    /// Fires when running engines must end because the worker does.
    pub(crate) drained: CancellationToken,
}

/// One attempt at one task.
pub(crate) struct Attempt<'a> {
    pub(crate) context: &'a Context,
    pub(crate) claimed: Claimed,
    pub(crate) lease: Hold<'a>,
    /// From before the claim.
    pub(crate) since: Instant,
}

/// How the engine's part of an attempt ended.
enum Read {
    /// There is something to tell the store. The folder holds the outputs, when there are any; with it come the
    /// checksums of the file's blocks, where they were taken.
    Ended(Ending, Option<(Scratch, Option<Sums>)>),
    /// The task is no longer this worker's.
    Lost,
    /// The worker stops.
    Drained,
}

/// Handles a ticket from claim to commit. `slot` is given back as soon as no engine runs any more.
pub(crate) async fn handle(context: Arc<Context>, delivery: Delivery, slot: OwnedSemaphorePermit) {
    let since = Instant::now();
    let Some(claimed) = claim(&context, &delivery).await else {
        return;
    };
    let span = tracing::info_span!(
        "attempt",
        job.id = %claimed.job.id,
        task.id = %claimed.task,
        attempt = claimed.attempt
    );
    counting::claimed(&claimed);
    let lease = context.leases.hold(&claimed, since);
    let attempt = Attempt {
        context: &context,
        claimed,
        lease,
        since,
    };
    attempt.run(slot).instrument(span).await;
}

async fn claim(context: &Context, delivery: &Delivery) -> Option<Claimed> {
    let Backends {
        store,
        queue,
        sources,
        ..
    } = &context.backends;
    let deadline = Instant::now() + CLAIM_PATIENCE;
    let claimed = patiently(
        sources,
        || deadline,
        async || {
            let (ticket, id) = (&delivery.ticket, &context.config.id);
            store.claim(ticket, id, context.config.lease).await
        },
    )
    .await;
    let claimed = match claimed {
        Ok(claimed) => claimed,
        Err(error) => {
            // Not acknowledged: the ticket comes again.
            tracing::warn!(%error, task.id = %delivery.ticket.task, "a task could not be claimed");
            return None;
        }
    };
    if let Err(error) = queue.ack(delivery).await {
        // It comes again, and the claim refuses it then.
        tracing::warn!(%error, "a ticket could not be acknowledged");
    }
    claimed
}

impl Attempt<'_> {
    async fn run(&self, slot: OwnedSemaphorePermit) {
        let read = self.read().await;
        let finishing = self.context.finishing.acquire().await;
        drop(slot);
        let scratch = match read {
            Read::Ended(ending, Some((scratch, sums))) => {
                self.settle(ending, Some((&scratch, sums.as_ref()))).await;
                Some(scratch)
            }
            Read::Ended(ending, None) => {
                self.settle(ending, None).await;
                None
            }
            Read::Lost => {
                tracing::info!("the task was taken away; its engine is ended");
                self.count(counting::End::TakenAway);
                None
            }
            Read::Drained => {
                self.release().await;
                None
            }
        };
        drop(finishing);
        remove(scratch).await;
    }

    /// Has the engine read the file, until it ends or has to.
    async fn read(&self) -> Read {
        let prepared = tokio::select! {
            biased;
            read = self.stopped() => return read,
            prepared = self.prepare() => prepared,
        };
        let (source, scratch) = match prepared {
            Ok(prepared) => prepared,
            Err(ending) => return Read::Ended(ending, None),
        };
        let limits = &self.context.config.limits;
        // Processor time is limited by the kernel; this ends a run that waits for ever, for a dead disk perhaps.
        let at_most = Duration::from_secs(limits.engine_cpu_seconds.saturating_mul(4) + 60);
        let start = Start {
            folder: scratch.path().to_owned(),
            input: source.file,
        };
        let kill = async {
            self.stopped().await;
        };
        let tell = |progress| self.lease.progress(progress);
        let followed = self.context.launcher.follow(start, tell, kill, at_most);
        match followed.await {
            Ok(Followed::Ended(ended)) => {
                let out = scratch.out();
                let result = spawn_blocking(move || outputs::read_result(&out)).await;
                let result = match result {
                    Ok(Ok(result)) => result,
                    Ok(Err(_)) | Err(_) => None,
                };
                if result.is_none() {
                    let said = String::from_utf8_lossy(&ended.stderr);
                    tracing::warn!(status = %ended.status, said = %said.trim_end(), "the engine left no result");
                }
                table::ENGINE_ENDS.one([ending::why(
                    ended.status,
                    &ended.stderr,
                    result.is_some(),
                )]);
                let judged = ending::judge(ended.status, &ended.stderr, result, limits);
                // Whatever came of other bytes than those that were handed in is nothing.
                let verdict = tokio::select! {
                    biased;
                    read = self.stopped() => {
                        remove(Some(scratch)).await;
                        return read;
                    }
                    verdict = source.check.verdict() => verdict,
                };
                match verdict {
                    Ok(sums) => Read::Ended(judged, Some((scratch, sums))),
                    Err(objection) => {
                        remove(Some(scratch)).await;
                        Read::Ended(objection, None)
                    }
                }
            }
            Ok(Followed::Killed) => {
                table::ENGINE_ENDS.one(["stopped"]);
                remove(Some(scratch)).await;
                self.stopped().await
            }
            Ok(Followed::TimedOut) => {
                table::ENGINE_ENDS.one(["clock"]);
                remove(Some(scratch)).await;
                Read::Ended(ending::took_too_long(at_most.as_secs()), None)
            }
            Err(error) => {
                tracing::error!(%error, "the engine could not be started");
                table::ENGINE_ENDS.one(["not_started"]);
                remove(Some(scratch)).await;
                Read::Ended(again("The parser could not be started."), None)
            }
        }
    }

    /// Waits until this attempt has to stop, and says why.
    async fn stopped(&self) -> Read {
        tokio::select! {
            biased;
            () = self.lease.lost().cancelled() => Read::Lost,
            () = self.context.drained.cancelled() => Read::Drained,
        }
    }

    /// Lays the request into a scratch folder and brings the file.
    async fn prepare(&self) -> Result<(Source, Scratch), Ending> {
        let piece = self.piece()?;
        let request = self.request(piece.as_ref())?;
        let scratch = self.make_scratch(&request).await?;
        let prepared = async {
            if let Some(piece) = &piece {
                self.bring_repeats(piece, &scratch).await?;
            }
            self.source(&request, scratch.path()).await
        };
        match prepared.await {
            Ok(source) => Ok((source, scratch)),
            Err(ending) => {
                remove(Some(scratch)).await;
                Err(ending)
            }
        }
    }

    /// What it reads of its file; `None` for all of it.
    pub(crate) fn piece(&self) -> Result<Option<PlannedPiece>, Ending> {
        match self.claimed.kind {
            TaskKind::Whole | TaskKind::Plan => Ok(None),
            TaskKind::Piece => serde_json::from_value(self.claimed.piece.clone())
                .map(Some)
                .map_err(|_| not_understood("piece")),
        }
    }

    fn request(&self, piece: Option<&PlannedPiece>) -> Result<Request, Ending> {
        let (job, config) = (&self.claimed.job, &self.context.config);
        let (step, bytes) = match (self.claimed.kind, piece) {
            (TaskKind::Plan, _) => (Step::Plan, job.file_size),
            (TaskKind::Piece, Some(PlannedPiece { piece, .. })) => {
                let facts = job.facts.clone().ok_or_else(|| not_understood("facts"))?;
                let step = Step::Piece {
                    facts: Box::new(facts),
                    piece: piece.clone(),
                };
                (step, piece.end.saturating_sub(piece.start))
            }
            (TaskKind::Whole | TaskKind::Piece, _) => (Step::Whole, job.file_size),
        };
        let processor = if job.processor.is_null() {
            Processor::default()
        } else {
            serde_json::from_value(job.processor.clone())
                .map_err(|_| not_understood("processor"))?
        };
        let mut limits = config.limits.clone();
        limits.findings_per_job = job.findings_max;
        Ok(Request {
            file_type: job.file_type,
            options: job.options.clone(),
            schema: job.schema.clone(),
            step,
            processor,
            limits,
            threads: self.threads(bytes),
        })
    }

    /// This attempt's share of the processors, by how many engines run beside it.
    fn threads(&self, bytes: u64) -> u32 {
        if bytes <= SMALL_BYTES {
            return 1;
        }
        let config = &self.context.config;
        let free = u32::try_from(self.context.slots.available_permits()).unwrap_or(u32::MAX);
        let busy = config.slots.saturating_sub(free).max(1);
        (config.cores / busy).max(1)
    }

    async fn make_scratch(&self, request: &Request) -> Result<Scratch, Ending> {
        let text = serde_json::to_vec(request).map_err(std::io::Error::from);
        let (task, attempt) = (self.claimed.task, self.claimed.attempt);
        let root = self.context.root.clone();
        let made = spawn_blocking(move || {
            let scratch = root.folder(task, attempt)?;
            std::fs::write(scratch.path().join(child::REQUEST), text?)?;
            Ok(scratch)
        });
        let made = made.await.unwrap_or_else(|e| Err(std::io::Error::from(e)));
        made.map_err(|error| {
            tracing::error!(%error, "a scratch folder could not be made");
            again("The worker's disk is full or out of order.")
        })
    }

    /// Where this attempt's outputs belong.
    pub(crate) fn place(&self) -> Place {
        Place {
            job: self.claimed.job.id,
            generation: self.claimed.job.generation,
            task_index: self.claimed.index,
            attempt: self.claimed.attempt,
        }
    }
}

fn not_understood(what: &str) -> Ending {
    tracing::error!(what, "the stored task cannot be understood");
    Ending::Final(Failure::new(
        FailureCode::InvariantBroken,
        "The stored task cannot be understood; please report this as a defect.",
    ))
}

fn again(what: &str) -> Ending {
    Ending::Again(ending::unavailable(what))
}

/// Removes a scratch folder without holding up the runtime: parts can be large.
async fn remove(scratch: Option<Scratch>) {
    if let Some(scratch) = scratch {
        // Fails only when the runtime is going down, which drops the folder as well.
        let _ = spawn_blocking(move || drop(scratch)).await;
    }
}
