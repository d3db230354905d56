//! Tells the store how an attempt ended: blobs first, then one fenced transaction.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use filejobs_blobs::Sums;
use filejobs_core::failure::Failure;
use filejobs_core::report::Dialect;
use filejobs_core::{ErrorClass, JobState};
use filejobs_engine::task::{Plan, RunResult};
use filejobs_store::{Error, Job, NewTask, PlanCommit, Remains, TaskCommit, TaskKind, Tombstone};
use tokio::time::Instant;

use crate::attempt::Attempt;
use crate::blocks::{PlannedPiece, sha256_of};
use crate::config::Backends;
use crate::counting::End;
use crate::ending::{self, Ending};
use crate::outputs::{self, Outputs};
use crate::patience::patiently;
use crate::scratch::Scratch;

/// A commit that did not happen.
#[derive(Debug)]
struct Refused {
    error: Error,
    /// Whether an earlier try may have happened without an answer, or still be about to.
    unsure: bool,
}

impl Refused {
    /// Whether every try has come to an end: this answer waited for the rows that a commit under way holds.
    fn is_settled(&self) -> bool {
        !self.unsure
            || matches!(
                self.error,
                Error::Stale | Error::NotFound | Error::Illegal(_)
            )
    }
}

/// How long a commit is tried while the lease goes on being renewed: a database that takes heartbeats and no commit for
/// this long needs somebody, and other tasks need the slot.
const COMMIT_PATIENCE: Duration = Duration::from_mins(10);

impl Attempt<'_> {
    /// Commits what an attempt brought, whatever that is.
    pub(crate) async fn settle(&self, ending: Ending, brought: Option<(&Scratch, Option<&Sums>)>) {
        match (ending, brought) {
            (Ending::Result(result), Some((scratch, sums))) => {
                self.settle_result(*result, scratch, sums).await;
            }
            (Ending::Result(_), None) => {
                self.again(ending::unavailable("Results were lost.")).await;
            }
            (Ending::Final(failure), _) => self.fail(failure).await,
            (Ending::Again(failure), _) => self.again(failure).await,
        }
    }

    async fn settle_result(&self, mut result: RunResult, scratch: &Scratch, sums: Option<&Sums>) {
        let plan = result.plan.take();
        let settled = match (self.claimed.kind, plan, &result.failure) {
            (TaskKind::Plan, Some(plan), None) => {
                self.settle_plan(result, plan, scratch, sums).await
            }
            (TaskKind::Plan, None, None) => {
                tracing::error!("a plan step left no plan");
                Err(ending::unavailable("The file could not be planned."))
            }
            (TaskKind::Whole | TaskKind::Piece, _, _) | (TaskKind::Plan, _, Some(_)) => {
                self.settle_rows(result, scratch).await
            }
        };
        if let Err(failure) = settled {
            self.again(failure).await;
        }
    }

    async fn settle_rows(&self, result: RunResult, scratch: &Scratch) -> Result<(), Failure> {
        let out = scratch.out();
        let kept = self.place().of_rows(&out, &result).map_err(unusable)?;
        self.store(&kept).await?;
        let commit = TaskCommit {
            facts: result.facts,
            tally: result.tally,
            parts: kept.parts.clone(),
            rejected: kept.rejected.clone(),
            findings: outputs::findings(&out),
            processor: result.processor,
            spends_upload: self.context.config.delete_completed,
        };
        let (store, task) = (&self.context.backends.store, self.claimed.task);
        let attempt = self.lease.attempt();
        let end = match &result.failure {
            None => End::Done,
            Some(failure) => End::Failed(failure.code),
        };
        let done = match result.failure {
            None => {
                self.commit(|| store.commit(task, attempt, commit.clone()))
                    .await
            }
            Some(failure) => {
                self.commit(|| store.fail(task, attempt, failure.clone(), Some(commit.clone())))
                    .await
            }
        };
        match done {
            Ok(job) => {
                self.count(end);
                self.count_rows(&commit.tally);
                self.tell(&job);
                self.clean_up(&kept).await;
                self.remove_spent(&job).await;
                Ok(())
            }
            Err(refused) => self.back_out(&kept, refused).await,
        }
    }

    async fn settle_plan(
        &self,
        result: RunResult,
        mut plan: Plan,
        scratch: &Scratch,
        sums: Option<&Sums>,
    ) -> Result<(), Failure> {
        let out = scratch.out();
        let kept = self.place().of_plan(&out, &mut plan).map_err(unusable)?;
        // Before it is moved away.
        let hashes = checksums(&kept).await?;
        self.store(&kept).await?;
        let layout = plan.facts.layout.as_ref();
        let dialect = layout.and_then(|layout| layout.dialect.as_ref());
        // Otherwise the places of a piece are those of a text that is made of the file.
        let is_text = |dialect: &Dialect| dialect.encoding.eq_ignore_ascii_case("utf-8");
        let sums = sums.filter(|_| dialect.is_some_and(is_text));
        let pieces = plan.pieces.iter().map(|piece| {
            let list = piece.repeats.as_ref();
            let list = list.and_then(|name| hashes.get(name).cloned());
            let planned = PlannedPiece::new(piece.clone(), sums, list);
            Ok(NewTask {
                id: self.context.backends.sources.task_id(),
                kind: TaskKind::Piece,
                index: piece.index,
                piece: serde_json::to_value(planned)?,
                bytes: piece.end.saturating_sub(piece.start),
            })
        });
        let pieces = pieces
            .collect::<Result<Vec<_>, serde_json::Error>>()
            .map_err(unusable)?;
        tracing::info!(pieces = pieces.len(), rows = plan.rows_total, "planned");
        let commit = PlanCommit {
            facts: plan.facts,
            tally: result.tally,
            rows_total: plan.rows_total,
            pieces,
            findings: outputs::findings(&out),
            spends_upload: self.context.config.delete_completed,
        };
        let (store, task) = (&self.context.backends.store, self.claimed.task);
        let attempt = self.lease.attempt();
        let done = self
            .commit(|| store.commit_plan(task, attempt, commit.clone()))
            .await;
        match done {
            Ok(()) => {
                self.count(End::Done);
                self.clean_up(&kept).await;
                Ok(())
            }
            Err(refused) => self.back_out(&kept, refused).await,
        }
    }

    /// Stores outputs as blobs.
    async fn store(&self, kept: &Outputs) -> Result<(), Failure> {
        if kept.files.is_empty() {
            return Ok(());
        }
        let backends = &self.context.backends;
        let deadline = Instant::now() + self.context.config.patience;
        let stored = patiently(
            &backends.sources,
            || deadline,
            async || backends.blobs.put_files(&kept.files).await,
        );
        let Err(error) = stored.await else {
            return Ok(());
        };
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        tracing::warn!(%error, cause, "results could not be stored");
        self.delete(kept).await;
        Err(ending::unavailable("The storage is full or out of reach."))
    }

    /// Asks for a commit until there is an answer or the lease has run out.
    async fn commit<T, C: Future<Output = Result<T, Error>>>(
        &self,
        mut call: impl FnMut() -> C,
    ) -> Result<T, Refused> {
        let unsure = AtomicBool::new(false);
        let sources = &self.context.backends.sources;
        let last = Instant::now() + COMMIT_PATIENCE;
        let done = patiently(
            sources,
            || self.lease.ends_at().min(last),
            || {
                let answer = call();
                let unsure = &unsure;
                async move {
                    let done = answer.await;
                    if done.as_ref().is_err_and(Error::is_open) {
                        unsure.store(true, Ordering::Relaxed);
                    }
                    done
                }
            },
        );
        let done = done.await;
        done.map_err(|error| Refused {
            error,
            unsure: unsure.into_inner(),
        })
    }

    /// Undoes what was stored for a commit that did not happen.
    async fn back_out(&self, kept: &Outputs, refused: Refused) -> Result<(), Failure> {
        let stays = !refused.is_settled() || (refused.unsure && self.may_be_in_use(kept).await);
        if stays {
            tracing::warn!(error = %refused.error, "a commit went without an answer; what it stored stays");
        } else {
            self.delete(kept).await;
        }
        match refused.error {
            Error::Stale | Error::NotFound | Error::Illegal(_) => {
                tracing::info!("the task was taken away; its results are dropped");
                self.count(End::TakenAway);
                Ok(())
            }
            error => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%error, cause, "a task could not be committed");
                Err(ending::unavailable("The database is out of reach."))
            }
        }
    }

    /// Whether a job may refer to any of these blobs. A plan's cannot be asked for, so they stay: they go with
    /// their job.
    async fn may_be_in_use(&self, kept: &Outputs) -> bool {
        let (store, job) = (&self.context.backends.store, self.claimed.job.id);
        let (Ok(parts), Ok(rejected)) = (store.parts(job).await, store.rejected(job).await) else {
            return true;
        };
        let used = |key: &str| {
            parts
                .iter()
                .any(|part| part.blob == key || part.rows_blob == key)
                || rejected.iter().any(|blob| blob == key)
        };
        self.claimed.kind == TaskKind::Plan || kept.keys().any(used)
    }

    async fn delete(&self, kept: &Outputs) {
        for key in kept.keys() {
            self.delete_key(key).await;
        }
    }

    async fn delete_key(&self, key: &str) {
        if let Err(error) = self.context.backends.blobs.delete(key).await {
            tracing::warn!(%error, "a blob could not be removed; it goes with its job");
        }
    }

    /// After a commit: removes what earlier attempts and generations left.
    async fn clean_up(&self, kept: &Outputs) {
        for key in self.place().of_earlier_attempts(kept) {
            self.delete_key(&key).await;
        }
        let job = &self.claimed.job;
        if job.generation > 0 && self.claimed.kind != TaskKind::Piece {
            let blobs = &self.context.backends.blobs;
            if let Err(error) = blobs.delete_results(job.id, Some(job.generation)).await {
                tracing::warn!(%error, "results of an earlier run could not be removed; they go with their job");
            }
        }
    }

    /// Removes the file of a job that is completed, if that is wanted: only a failed or cancelled one can be done again.
    /// The commit has written it down, so what fails here is taken up by the scheduler's sweep.
    async fn remove_spent(&self, job: &Job) {
        if job.status != JobState::Completed || !self.context.config.delete_completed {
            return;
        }
        let Backends { blobs, store, .. } = &self.context.backends;
        if let Err(error) = blobs.delete(&job.blob).await {
            tracing::warn!(%error, "the file of a completed job stays for the sweep");
            return;
        }
        let upload = Tombstone {
            id: job.id,
            blob: job.blob.clone(),
            remains: Remains::Upload,
            tries: 0,
        };
        if let Err(error) = store.bury(&upload).await {
            tracing::warn!(%error, "the tombstone of a completed job's file stays for the sweep");
        }
    }

    /// The job fails.
    async fn fail(&self, failure: Failure) {
        tracing::info!(code = failure.code.as_str(), "the task failed for good");
        let (store, task) = (&self.context.backends.store, self.claimed.task);
        let attempt = self.lease.attempt();
        let done = self
            .commit(|| store.fail(task, attempt, failure.clone(), None))
            .await;
        match done {
            Ok(job) => {
                self.count(End::Failed(failure.code));
                self.tell(&job);
            }
            Err(refused) => self.tell_refused(&refused),
        }
    }

    /// Another attempt follows, unless this was the last.
    async fn again(&self, failure: Failure) {
        let (backends, config) = (&self.context.backends, &self.context.config);
        let spent = self.claimed.attempts_spent;
        let Some(pause) = config
            .retry
            .pause_after(spent, &*backends.sources.randomness)
        else {
            return self.fail(failure).await;
        };
        tracing::info!(
            code = failure.code.as_str(),
            attempts_spent = spent,
            "the attempt failed; another follows"
        );
        let now = backends.sources.now();
        let not_before = now.checked_add(pause).unwrap_or(now);
        let (task, attempt) = (self.claimed.task, self.lease.attempt());
        let done = self.commit(|| {
            let store = &backends.store;
            store.retry_task(task, attempt, &failure, not_before)
        });
        match done.await {
            Ok(()) => self.count(End::Retried(failure.code)),
            Err(refused) => self.tell_refused(&refused),
        }
    }

    /// Gives the task back: the worker stops.
    pub(crate) async fn release(&self) {
        let (store, task) = (&self.context.backends.store, self.claimed.task);
        let attempt = self.lease.attempt();
        let done = self.commit(|| store.release(task, attempt));
        match done.await {
            Ok(()) => {
                self.count(End::Released);
                tracing::info!("the task is given back: the worker stops");
            }
            Err(refused) => self.tell_refused(&refused),
        }
    }

    fn tell(&self, job: &Job) {
        tracing::info!(
            task.index = self.claimed.index,
            status = job.status.as_str(),
            rows = job.rows_processed,
            failed = job.rows_failed,
            "the task is done"
        );
    }

    fn tell_refused(&self, refused: &Refused) {
        if refused.error.class() == ErrorClass::Conflict {
            self.count(End::TakenAway);
            tracing::info!("the task was taken away meanwhile");
        } else {
            // The lease ends by itself, and the scheduler takes the task on.
            let cause = std::error::Error::source(&refused.error).map(ToString::to_string);
            tracing::error!(error = %refused.error, cause, "the store could not be told how a task ended");
        }
    }
}

/// SHA-256 of each file by the last part of its key.
async fn checksums(kept: &Outputs) -> Result<HashMap<String, String>, Failure> {
    let files = kept.files.clone();
    let hash = move || {
        let hashes = files.iter().map(|(key, path)| {
            let name = key.rsplit('/').next().unwrap_or_default();
            Ok((name.to_owned(), sha256_of(path)?))
        });
        hashes.collect::<std::io::Result<_>>()
    };
    let hashes = tokio::task::spawn_blocking(hash).await;
    let hashes = hashes.unwrap_or_else(|lost| Err(lost.into()));
    hashes.map_err(|error| {
        tracing::error!(%error, "what a plan left could not be read");
        ending::unavailable("The worker's disk is out of order.")
    })
}

/// The child left what cannot be: a defect of ours, or a parser that its file has taken over.
fn unusable(error: impl std::error::Error) -> Failure {
    tracing::error!(%error, "what the engine left cannot be used");
    ending::crash()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A commit that hangs in the server is seen by no read; only who waited for its rows knows that it is over.
    #[test]
    fn what_a_commit_stored_stays_while_that_may_still_happen() {
        let step = "committing";
        let source = || -> Box<dyn std::error::Error + Send + Sync> { "away".into() };
        let away = Error::Unavailable {
            step,
            source: source(),
        };
        let open = Error::Unsettled {
            step,
            source: source(),
        };
        let table = [
            (open, true, false),
            (Error::Stale, true, true),
            (Error::NotFound, true, true),
            (Error::Stale, false, true),
        ];
        for (error, unsure, settled) in table {
            let refused = Refused { error, unsure };
            assert_eq!(refused.is_settled(), settled, "{refused:?}");
        }
        let after = Refused {
            error: away,
            unsure: true,
        };
        assert!(!after.is_settled(), "an earlier try may still happen");
    }
}
