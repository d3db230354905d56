//! Does a worker's work in the test's own process: the store sees what it would see of a real one.

use std::path::Path;
use std::time::Duration;

use filejobs_blobs::result_key;
use filejobs_core::{Failure, FailureCode, JobId, JobState, WorkerId};
use filejobs_engine::task::{
    self, Control, Processor, Progress, Request, RunResult, Step, outputs,
};
use filejobs_store::{Claimed, NewTask, PlanCommit, StoredPart, TaskCommit, TaskKind};

use super::Service;

const LEASE: Duration = Duration::from_secs(30);

struct Quiet;

impl Control for Quiet {
    fn progress(&self, _progress: Progress) {}

    fn is_cancelled(&self) -> bool {
        false
    }
}

impl Service {
    /// Does every task that waits.
    pub(crate) async fn work(&self) {
        while let Some(claimed) = self.claim().await {
            self.run(claimed).await;
        }
    }

    /// Works until the job has ended.
    pub(crate) async fn work_on(&self, job: JobId) {
        self.work().await;
        let job = self.store().job(job).await.unwrap().unwrap();
        assert!(job.status.is_terminal(), "{job:?}");
    }

    /// Hands a file in and claims its task, so that it is being processed.
    pub(crate) async fn processing(&self, name: &str, content: &str) -> JobId {
        let job = self.upload(name, content).await;
        let claimed = self.claim().await.expect("a task waits");
        assert_eq!(
            (claimed.job.id, claimed.job.status),
            (job, JobState::Processing)
        );
        job
    }

    /// Hands a file in and fails its task for good.
    pub(crate) async fn dead(&self, name: &str, content: &str) -> JobId {
        let job = self.upload(name, content).await;
        let claimed = self.claim().await.expect("a task waits");
        let failure = Failure::new(
            FailureCode::AttemptsExhausted,
            "The parser ended three times without a result.",
        );
        self.store()
            .fail(claimed.task, claimed.attempt, failure, None)
            .await
            .unwrap();
        job
    }

    async fn claim(&self) -> Option<Claimed> {
        let waiting = self.store().waiting(1).await.unwrap();
        let task = waiting.first()?.task;
        let tickets = self.store().publish(&[task]).await.unwrap();
        let worker = WorkerId::new("test");
        self.store()
            .claim(&tickets[0], &worker, LEASE)
            .await
            .unwrap()
    }

    async fn run(&self, claimed: Claimed) {
        let scratch = tempfile::tempdir().unwrap();
        let (blobs, key) = (self.app.blobs(), &claimed.job.blob);
        let input = blobs.fetch(key, None, scratch.path()).await.unwrap().file;
        let request = self.request(&claimed);
        let result = task::run(&request, input, scratch.path(), &Quiet).unwrap();
        match result.plan.clone() {
            Some(plan) => {
                let pieces = plan.pieces.iter().map(|piece| NewTask {
                    id: self.app.sources().task_id(),
                    kind: TaskKind::Piece,
                    index: piece.index,
                    piece: serde_json::to_value(piece).unwrap(),
                    bytes: piece.end - piece.start,
                });
                let commit = PlanCommit {
                    facts: plan.facts,
                    tally: result.tally,
                    rows_total: plan.rows_total,
                    pieces: pieces.collect(),
                    findings: None,
                    spends_upload: false,
                };
                let done = self
                    .store()
                    .commit_plan(claimed.task, claimed.attempt, commit);
                done.await.unwrap();
            }
            None => self.commit(&claimed, result, scratch.path()).await,
        }
    }

    fn request(&self, claimed: &Claimed) -> Request {
        let job = &claimed.job;
        Request {
            file_type: job.file_type,
            options: job.options.clone(),
            schema: job.schema.clone(),
            step: match claimed.kind {
                TaskKind::Whole => Step::Whole,
                TaskKind::Plan => Step::Plan,
                TaskKind::Piece => Step::Piece {
                    facts: Box::new(job.facts.clone().unwrap()),
                    piece: serde_json::from_value(claimed.piece.clone()).unwrap(),
                },
            },
            processor: Processor::default(),
            limits: self.app.limits().clone(),
            threads: 1,
        }
    }

    async fn commit(&self, claimed: &Claimed, result: RunResult, out: &Path) {
        let key =
            |name: &str| result_key(claimed.job.id, claimed.job.generation, claimed.index, name);
        let mut parts = Vec::new();
        for part in result.parts.iter().filter(|_| result.failure.is_none()) {
            let rows_name = part.name.replace(".parquet", ".rows");
            for name in [&part.name, &rows_name] {
                self.app
                    .blobs()
                    .put_file(&key(name), &out.join(name))
                    .await
                    .unwrap();
            }
            parts.push(StoredPart {
                task_index: claimed.index,
                blob: key(&part.name),
                rows_blob: key(&rows_name),
                rows: part.rows,
                bytes: part.bytes,
            });
        }
        let mut rejected = None;
        if result.tally.rows_failed > 0 {
            let key = key(outputs::REJECTED);
            let path = out.join(outputs::REJECTED);
            self.app.blobs().put_file(&key, &path).await.unwrap();
            rejected = Some(key);
        }
        let findings = out.join(outputs::FINDINGS);
        let commit = TaskCommit {
            facts: result.facts,
            tally: result.tally,
            parts,
            rejected,
            findings: findings.exists().then_some(findings),
            processor: result.processor,
            spends_upload: false,
        };
        let (task, attempt) = (claimed.task, claimed.attempt);
        match result.failure {
            None => self.store().commit(task, attempt, commit).await,
            Some(failure) => {
                self.store()
                    .fail(task, attempt, failure, Some(commit))
                    .await
            }
        }
        .unwrap();
    }
}
