//! Looks at everything that is left once a service has healed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use filejobs_core::Sources;
use filejobs_testkit::disk::files_below;
use filejobs_testkit::wait::{self, DEADLINE};
use serde_json::Value;
use wiremock::MockServer;

use crate::crew::Crew;
use crate::files::Truth;
use crate::sender::{self, Sent};

/// Longer than the service waits before it removes files and results that belong to no job.
const LONG_AGO: Duration = Duration::from_hours(30 * 24);

/// What is wrong; nothing, when all is well.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Jobs that did not come to their one right end.
    pub(crate) losses: Vec<String>,
    /// Jobs, rows or findings that are there twice.
    pub(crate) duplicates: Vec<String>,
    /// Anything else.
    pub(crate) problems: Vec<String>,
}

impl Verdict {
    /// Judges a service whose jobs have all ended. Removes them.
    pub(crate) async fn of(
        crew: &Crew,
        sent: &[Sent],
        receiver: &MockServer,
    ) -> anyhow::Result<Self> {
        let mut verdict = Self::default();
        verdict.count_jobs(crew, sent).await?;
        for (number, sent) in sent.iter().enumerate() {
            verdict.judge_job(crew, number, sent).await?;
        }
        verdict.judge_webhooks(sent, receiver).await;
        verdict.judge_queue(crew).await;
        verdict.judge_folders(crew, sent).await?;
        verdict.problems.extend(crew.surprises());
        Ok(verdict)
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.losses.is_empty() && self.duplicates.is_empty() && self.problems.is_empty()
    }

    /// Each file has one job, and no other job exists.
    async fn count_jobs(&mut self, crew: &Crew, sent: &[Sent]) -> anyhow::Result<()> {
        let ids: BTreeSet<_> = sent.iter().map(|sent| &sent.id).collect();
        let listed = sender::get(crew, 0, "/api/jobs", "application/json").await?;
        let total = listed.json()["total"].as_u64().unwrap_or(0);
        if ids.len() != sent.len() || total != ids.len() as u64 {
            let (files, jobs) = (sent.len(), ids.len());
            self.duplicates.push(format!(
                "{files} files, {jobs} jobs told of, {total} jobs made"
            ));
        }
        Ok(())
    }

    async fn judge_job(&mut self, crew: &Crew, number: usize, sent: &Sent) -> anyhow::Result<()> {
        let job = sender::job(crew, number, &sent.id).await?;
        let truth = sent.file.content.truth();
        let stays_cancelled = sent.cancelled && !sent.retried;
        let wanted = if stays_cancelled {
            "CANCELLED"
        } else {
            truth.status
        };
        if job["status"] != wanted || job["generation"] != u64::from(sent.retried) {
            self.losses.push(format!("{wanted} was wanted: {job}"));
        } else if wanted == "COMPLETED" {
            self.judge_rows(crew, number, &job, &truth).await?;
        } else if wanted == "FAILED" && job["failure_class"] != "validation" {
            self.losses
                .push(format!("FAILED for another reason: {job}"));
        }
        Ok(())
    }

    /// Counts, findings and rows are those of the file.
    async fn judge_rows(
        &mut self,
        crew: &Crew,
        number: usize,
        job: &Value,
        truth: &Truth,
    ) -> anyhow::Result<()> {
        let id = job["id"].as_str().unwrap_or_default();
        let counts = (&job["rows_processed"], &job["rows_failed"]);
        if counts != (&truth.rows.into(), &truth.bad.into()) {
            self.losses.push(format!("counts differ: {job}"));
        }
        let csv = async |what: &str| -> anyhow::Result<Vec<String>> {
            let path = format!("/api/jobs/{id}/{what}");
            let answer = sender::get(crew, number, &path, "text/csv").await?;
            Ok(answer.text().lines().skip(1).map(str::to_owned).collect())
        };
        let valid = csv("results").await?;
        let ids: BTreeSet<u64> = valid
            .iter()
            .filter_map(|row| row.split(',').next()?.parse().ok())
            .collect();
        if ids != truth.ids {
            let (there, wanted) = (ids.len(), truth.ids.len());
            self.losses
                .push(format!("{id}: {there} of {wanted} valid rows"));
        }
        if valid.len() != ids.len() {
            self.duplicates.push(format!("{id}: valid rows twice"));
        }
        // Each bad row has one finding.
        for what in ["errors", "rejected.csv"] {
            let lines = csv(what).await?;
            let distinct: BTreeSet<&String> = lines.iter().collect();
            if distinct.len() as u64 != truth.bad {
                let (there, wanted) = (distinct.len(), truth.bad);
                self.losses
                    .push(format!("{id}: {there} of {wanted} in {what}"));
            }
            if distinct.len() != lines.len() {
                self.duplicates.push(format!("{id}: twice in {what}"));
            }
        }
        Ok(())
    }

    /// Each end was told at least once, always under the same id.
    async fn judge_webhooks(&mut self, sent: &[Sent], receiver: &MockServer) {
        let wanted: BTreeMap<String, usize> = sent
            .iter()
            .filter(|sent| sent.file.webhook)
            .map(|sent| (sent.id.clone(), 1 + usize::from(sent.retried)))
            .collect();
        let told = async || {
            let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for request in receiver.received_requests().await.unwrap_or_default() {
                let body: Value = serde_json::from_slice(&request.body)?;
                let job = body["job_id"].as_str().unwrap_or_default();
                let id = request.headers.get("webhook-id");
                let id = id.and_then(|id| id.to_str().ok()).unwrap_or_default();
                let ids = told.entry(job.to_owned()).or_default();
                ids.insert(id.to_owned());
            }
            anyhow::Ok(told)
        };
        // One that was under way when its scheduler was killed is sent again after twenty seconds.
        let all = wait::until("all webhooks to come", DEADLINE, async || {
            let told = told().await?;
            let came = |(job, ends): (&String, &usize)| {
                told.get(job).is_some_and(|ids| ids.len() >= *ends)
            };
            Ok(wanted.iter().all(came).then_some(()))
        });
        if let Err(error) = all.await {
            self.problems.push(format!("{error:#}"));
        }
        let told = told().await.unwrap_or_default();
        let counts: BTreeMap<String, usize> = told
            .into_iter()
            .map(|(job, ids)| (job, ids.len()))
            .collect();
        if counts != wanted {
            self.problems.push(format!(
                "webhooks by job: {counts:?}, but wanted: {wanted:?}"
            ));
        }
    }

    /// Nothing is on its way any more.
    async fn judge_queue(&mut self, crew: &Crew) {
        let drained = wait::until("the queue to be empty", DEADLINE, async || {
            let open =
                "SELECT count(*) FROM tasks WHERE state IN ('PENDING', 'PUBLISHED', 'RUNNING')";
            let tickets = crew.ask_redis(&["XLEN", "filejobs:tasks"]);
            let empty = crew.ask(open).as_deref() == Some("0") && tickets.as_deref() == Some("0");
            Ok(empty.then_some(()))
        });
        if let Err(error) = drained.await {
            self.problems.push(format!("{error:#}"));
        }
    }

    /// After the sweep there are no files but those of jobs; without jobs there are none.
    async fn judge_folders(&mut self, crew: &Crew, sent: &[Sent]) -> anyhow::Result<()> {
        let scratch = files_below(&crew.scratch());
        if scratch.iter().any(|path| !path.ends_with("lock")) || scratch.len() > 2 {
            self.problems.push(format!("scratch is left: {scratch:?}"));
        }
        let long_ago = SystemTime::from(Sources::system().now() - LONG_AGO);
        for file in files_below(&crew.files()) {
            let file = std::fs::File::options().append(true).open(file)?;
            file.set_modified(long_ago)?;
        }
        crew.renew_schedulers().await?;
        let ids: BTreeSet<&str> = sent.iter().map(|sent| sent.id.as_str()).collect();
        let of_no_job = |path: &PathBuf| {
            let mut parts = path.iter().filter_map(|part| part.to_str());
            // `uploads/{id}_{name}`, `results/{id}/…`
            !parts.any(|part| part.get(..36).is_some_and(|id| ids.contains(id)))
        };
        self.files_gone(crew, "files of no job", of_no_job).await;
        for (number, sent) in sent.iter().enumerate() {
            sender::delete(crew, number, &sent.id).await?;
        }
        self.files_gone(crew, "files of deleted jobs", |_| true)
            .await;
        Ok(())
    }

    async fn files_gone(&mut self, crew: &Crew, what: &str, unwanted: impl Fn(&PathBuf) -> bool) {
        let folder = crew.files();
        let mut left = Vec::new();
        let gone = wait::until(what, DEADLINE, async || {
            left = files_below(&folder);
            left.retain(&unwanted);
            Ok(left.is_empty().then_some(()))
        });
        if gone.await.is_err() {
            self.problems.push(format!("{what} are left: {left:?}"));
        }
    }
}
