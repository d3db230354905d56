//! The store on SQLite: one file, for a service that is one process.
//!
//! Where things are: `database` runs units of work on connections; every other module holds the statements of one
//! aggregate and is called from within a unit. Statements are checked when the crate is compiled, against `.sqlx/`,
//! which `prepare` writes; see README.md.

mod api_keys;
mod backlog;
mod database;
mod deliveries;
mod endings;
mod findings;
mod jobs;
mod keys;
mod leadership;
mod outbox;
mod pages;
mod problem;
mod standing;
mod steering;
mod sweep;
mod tasks;
#[cfg(test)]
mod tests;
mod waiting;
mod workers;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use filejobs_core::failure::Failure;
use filejobs_core::waiting::Wait;
use filejobs_core::{JobId, KeyPrefix, Namespace, Quotas, SchedulerId, Sources, TaskId, WorkerId};
use filejobs_store::{
    Change, Claimed, Connections, DeadLetter, Delivery, DeliveryAttempt, DeliveryId,
    DeliveryRecord, Event, Expired, FindingCursor, FindingFilter, Held, Job, JobCursor, JobFilter,
    Leadership, Listed, NewApiKey, NewJob, NextDelivery, Page, PlanCommit, QueueStats, Reservation,
    Result, Running, Store, StoredApiKey, StoredFinding, StoredPart, TaskCommit, Ticket, Tombstone,
    Waiting, WorkerInfo,
};
use jiff::Timestamp;
use tokio::sync::broadcast;

use database::{Database, Durable};
use findings::Loaded;
use problem::micros;

/// A store in one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    database: Database,
}

impl SqliteStore {
    /// Opens the file, creates it when absent, and brings its tables up to date.
    pub async fn open(path: &Path, sources: Sources) -> Result<Arc<Self>> {
        let database = Database::open(path, sources).await;
        let database = database.map_err(|problem| problem.during("opening the database"))?;
        Ok(Arc::new(Self { database }))
    }

    async fn load(
        &self,
        task: TaskId,
        attempt: u32,
        findings: Option<&std::path::PathBuf>,
    ) -> Result<Option<Loaded>> {
        match findings {
            Some(path) => findings::load(&self.database, task, attempt, path.clone()).await,
            None => Ok(None),
        }
    }
}

/// A unit that writes: what it is called in errors, whether it is synced, and the call with `unit`.
macro_rules! write {
    ($store:expr, $step:literal, $durable:ident, |$unit:ident| $call:expr) => {
        $store
            .database
            .write($step, Durable::$durable, move |$unit| {
                Box::pin(async move { $call.await })
            })
            .await
    };
}

/// A unit that reads with one statement.
macro_rules! look {
    ($store:expr, $step:literal, |$connection:ident| $call:expr) => {
        $store
            .database
            .look($step, move |$connection| {
                Box::pin(async move { $call.await })
            })
            .await
    };
}

/// A unit that reads with several statements.
macro_rules! read {
    ($store:expr, $step:literal, |$connection:ident| $call:expr) => {
        $store
            .database
            .read($step, move |$connection| {
                Box::pin(async move { $call.await })
            })
            .await
    };
}

#[async_trait::async_trait]
impl Store for SqliteStore {
    async fn ping(&self) -> Result<()> {
        // Through the writer: a service that cannot write is not up.
        write!(self, "answering", Later, |unit| async {
            sqlx::query("SELECT 1")
                .execute(&mut unit.connection)
                .await?;
            Ok(())
        })
    }

    fn connections(&self) -> Connections {
        self.database.connections()
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.database.changes()
    }

    async fn reserve_key(
        &self,
        namespace: &Namespace,
        key: &str,
        hold: Duration,
    ) -> Result<Reservation> {
        let (namespace, key) = (namespace.clone(), key.to_owned());
        write!(self, "reserving a key", Later, |unit| keys::reserve(
            unit, &namespace, &key, hold
        ))
    }

    async fn renew_key(&self, namespace: &Namespace, key: &str, hold: Duration) -> Result<()> {
        let (namespace, key) = (namespace.clone(), key.to_owned());
        write!(self, "renewing a key", Later, |unit| keys::renew(
            unit, &namespace, &key, hold
        ))
    }

    async fn release_key(&self, namespace: &Namespace, key: &str) -> Result<()> {
        let (namespace, key) = (namespace.clone(), key.to_owned());
        write!(self, "releasing a key", Later, |unit| keys::release(
            unit, &namespace, &key
        ))
    }

    async fn queued(&self, namespace: &Namespace) -> Result<u64> {
        let namespace = namespace.clone();
        look!(self, "counting queued jobs", |connection| {
            backlog::queued(connection, &namespace)
        })
    }

    async fn create_job(&self, new: NewJob) -> Result<Job> {
        write!(self, "creating a job", Yes, |unit| jobs::create(unit, new))
    }

    async fn job(&self, id: JobId) -> Result<Option<Job>> {
        look!(self, "reading a job", |connection| jobs::find(
            connection, id
        ))
    }

    async fn why_waiting(&self, id: JobId) -> Result<Option<Wait>> {
        let now = self.database.now();
        read!(self, "looking why a job waits", |connection| {
            standing::why_waiting(connection, id, now)
        })
    }

    async fn jobs(
        &self,
        filter: &JobFilter,
        page: Page<JobCursor>,
    ) -> Result<Listed<Job, JobCursor>> {
        let filter = filter.clone();
        read!(self, "listing jobs", |connection| jobs::list(
            connection, &filter, page
        ))
    }

    async fn findings(
        &self,
        id: JobId,
        filter: &FindingFilter,
        page: Page<FindingCursor>,
    ) -> Result<Option<Listed<StoredFinding, FindingCursor>>> {
        let filter = filter.clone();
        read!(self, "reading findings", |connection| pages::page(
            connection, id, &filter, page
        ))
    }

    async fn parts(&self, id: JobId) -> Result<Vec<StoredPart>> {
        look!(self, "reading parts", |connection| endings::parts(
            connection, id
        ))
    }

    async fn rejected(&self, id: JobId) -> Result<Vec<String>> {
        look!(self, "reading rejected rows", |connection| {
            endings::rejected(connection, id)
        })
    }

    async fn events(&self, id: JobId, after: u64, limit: u32) -> Result<Vec<Event>> {
        look!(self, "reading events", |connection| outbox::events(
            connection, id, after, limit
        ))
    }

    async fn cancel(&self, id: JobId) -> Result<Job> {
        write!(self, "cancelling a job", Yes, |unit| steering::cancel(
            unit, id
        ))
    }

    async fn retry(&self, id: JobId) -> Result<Job> {
        write!(self, "retrying a job", Yes, |unit| steering::retry(
            unit, id
        ))
    }

    async fn suspend(&self, id: JobId) -> Result<Job> {
        write!(self, "suspending a job", Yes, |unit| steering::suspend(
            unit, id
        ))
    }

    async fn resume(&self, id: JobId) -> Result<Job> {
        write!(self, "resuming a job", Yes, |unit| steering::resume(
            unit, id
        ))
    }

    async fn set_priority(&self, id: JobId, priority: u8) -> Result<Job> {
        write!(self, "changing a priority", Yes, |unit| {
            steering::set_priority(unit, id, priority)
        })
    }

    async fn delete(&self, id: JobId) -> Result<Tombstone> {
        write!(self, "deleting a job", Yes, |unit| steering::delete(
            unit, id
        ))
    }

    async fn lead(&self, holder: &SchedulerId, term: Duration) -> Result<Option<Leadership>> {
        let holder = holder.clone();
        write!(self, "taking the lead", Yes, |unit| leadership::lead(
            unit, &holder, term
        ))
    }

    async fn step_down(&self, holder: &SchedulerId) -> Result<()> {
        let holder = holder.clone();
        write!(self, "stepping down", Yes, |unit| leadership::step_down(
            unit, &holder
        ))
    }

    async fn waiting(&self, per_group: u32) -> Result<Vec<Waiting>> {
        let now = self.database.now();
        read!(self, "looking for work", |connection| waiting::waiting(
            connection, now, per_group
        ))
    }

    async fn waiting_of_begun(&self, per_job: u32) -> Result<Vec<Waiting>> {
        let now = self.database.now();
        read!(self, "looking for work of jobs under way", |connection| {
            waiting::waiting_of_begun(connection, now, per_job)
        })
    }

    async fn running(&self) -> Result<Vec<Running>> {
        look!(self, "counting what runs", |connection| {
            waiting::running(connection)
        })
    }

    async fn set_quotas(&self, quotas: Quotas) -> Result<()> {
        write!(self, "writing quotas down", Later, |unit| {
            standing::set_quotas(unit, quotas)
        })
    }

    async fn published(&self) -> Result<u64> {
        look!(self, "counting published tasks", |connection| {
            tasks::published(connection)
        })
    }

    async fn publish(&self, tasks: &[TaskId]) -> Result<Vec<Ticket>> {
        let tasks = tasks.to_vec();
        write!(self, "publishing tasks", Later, |unit| tasks::publish(
            unit, &tasks
        ))
    }

    async fn republish(&self, older_than: Duration, limit: u32) -> Result<Vec<Ticket>> {
        write!(self, "publishing tasks anew", Later, |unit| {
            tasks::republish(unit, older_than, limit)
        })
    }

    async fn expired_leases(&self, limit: u32) -> Result<Vec<Expired>> {
        let now = self.database.now();
        look!(self, "looking for lost leases", |connection| {
            tasks::expired(connection, now, limit)
        })
    }

    async fn rescue(
        &self,
        task: TaskId,
        attempt: u32,
        failure: &Failure,
        not_before: Option<Timestamp>,
    ) -> Result<()> {
        let failure = failure.clone();
        write!(self, "taking on a lost task", Yes, |unit| {
            endings::rescue(unit, task, attempt, &failure, not_before)
        })
    }

    async fn take_back_all(&self) -> Result<u64> {
        write!(self, "taking tasks back", Yes, |unit| tasks::take_back_all(
            unit
        ))
    }

    async fn ended_before(&self, before: Timestamp, limit: u32) -> Result<Vec<JobId>> {
        let before = micros(before);
        look!(self, "looking for old jobs", |connection| {
            jobs::ended_before(connection, before, limit)
        })
    }

    async fn expire(&self, id: JobId, before: Timestamp) -> Result<Tombstone> {
        write!(self, "deleting an old job", Yes, |unit| {
            steering::expire(unit, id, before)
        })
    }

    async fn tombstones(&self, limit: u32) -> Result<Vec<Tombstone>> {
        let now = self.database.now();
        look!(self, "looking for what is to go", |connection| {
            sweep::tombstones(connection, now, limit)
        })
    }

    async fn bury(&self, tombstone: &Tombstone) -> Result<()> {
        let (id, remains) = (tombstone.id, tombstone.remains);
        write!(self, "forgetting what is gone", Later, |unit| sweep::bury(
            unit, id, remains
        ))
    }

    async fn postpone_burial(&self, tombstone: &Tombstone, pause: Duration) -> Result<()> {
        let (id, remains) = (tombstone.id, tombstone.remains);
        write!(self, "postponing a burial", Later, |unit| {
            sweep::postpone_burial(unit, id, remains, pause)
        })
    }

    async fn existing(&self, ids: &[JobId]) -> Result<Vec<JobId>> {
        let ids = ids.to_vec();
        look!(self, "looking for jobs", |connection| jobs::existing(
            connection, &ids
        ))
    }

    async fn sweep(&self, limit: u32) -> Result<u64> {
        write!(self, "sweeping", Later, |unit| sweep::sweep(unit, limit))
    }

    async fn queue_stats(&self) -> Result<QueueStats> {
        let now = self.database.now();
        read!(self, "measuring the queue", |connection| workers::stats(
            connection, now
        ))
    }

    async fn dead_letters(&self, page: Page<TaskId>) -> Result<Listed<DeadLetter, TaskId>> {
        read!(self, "listing dead letters", |connection| {
            tasks::dead_letters(connection, page)
        })
    }

    async fn replay(&self, task: TaskId) -> Result<Job> {
        write!(self, "replaying a task", Yes, |unit| steering::replay(
            unit, task
        ))
    }

    async fn claim(
        &self,
        ticket: &Ticket,
        worker: &WorkerId,
        lease: Duration,
    ) -> Result<Option<Claimed>> {
        let (ticket, worker) = (*ticket, worker.clone());
        write!(self, "claiming a task", Later, |unit| tasks::claim(
            unit, ticket, &worker, lease
        ))
    }

    async fn renew(
        &self,
        worker: &WorkerId,
        held: &[Held],
        lease: Duration,
    ) -> Result<Vec<TaskId>> {
        let (worker, held) = (worker.clone(), held.to_vec());
        write!(self, "renewing leases", Later, |unit| tasks::renew(
            unit, &worker, &held, lease
        ))
    }

    async fn commit_plan(&self, task: TaskId, attempt: u32, plan: PlanCommit) -> Result<()> {
        let findings = self.load(task, attempt, plan.findings.as_ref()).await?;
        write!(self, "committing a plan", Yes, |unit| {
            endings::commit_plan(unit, task, attempt, &plan, findings)
        })
    }

    async fn commit(&self, task: TaskId, attempt: u32, commit: TaskCommit) -> Result<Job> {
        let findings = self.load(task, attempt, commit.findings.as_ref()).await?;
        write!(self, "committing a task", Yes, |unit| endings::commit(
            unit, task, attempt, &commit, findings
        ))
    }

    async fn fail(
        &self,
        task: TaskId,
        attempt: u32,
        failure: Failure,
        commit: Option<TaskCommit>,
    ) -> Result<Job> {
        let findings = commit.as_ref().and_then(|c| c.findings.as_ref());
        let findings = self.load(task, attempt, findings).await?;
        write!(self, "committing a failure", Yes, |unit| endings::fail(
            unit,
            task,
            attempt,
            &failure,
            commit.as_ref(),
            findings
        ))
    }

    async fn retry_task(
        &self,
        task: TaskId,
        attempt: u32,
        failure: &Failure,
        not_before: Timestamp,
    ) -> Result<()> {
        let failure = failure.clone();
        write!(self, "putting a task off", Later, |unit| tasks::retry(
            unit, task, attempt, &failure, not_before
        ))
    }

    async fn release(&self, task: TaskId, attempt: u32) -> Result<()> {
        write!(self, "giving a task back", Later, |unit| tasks::release(
            unit, task, attempt
        ))
    }

    async fn beat(&self, worker: &WorkerInfo) -> Result<()> {
        let worker = worker.clone();
        write!(self, "registering a worker", Later, |unit| workers::beat(
            unit, &worker
        ))
    }

    async fn leave(&self, worker: &WorkerId) -> Result<()> {
        let worker = worker.clone();
        write!(self, "taking a worker off the list", Later, |unit| {
            workers::leave(unit, &worker)
        })
    }

    async fn workers(&self, within: Duration) -> Result<Vec<WorkerInfo>> {
        let now = self.database.now();
        look!(self, "listing workers", |connection| workers::list(
            connection, now, within
        ))
    }

    async fn due_deliveries(&self, limit: u32, hold: Duration) -> Result<Vec<Delivery>> {
        write!(self, "taking deliveries", Later, |unit| deliveries::due(
            unit, limit, hold
        ))
    }

    async fn record_attempt(
        &self,
        delivery: &Delivery,
        attempt: DeliveryAttempt,
        next: NextDelivery,
    ) -> Result<()> {
        let round = (delivery.id, delivery.earlier_attempts);
        write!(self, "recording a delivery", Later, |unit| {
            deliveries::record(unit, round, &attempt, next)
        })
    }

    async fn deliveries(&self, id: JobId) -> Result<Vec<DeliveryRecord>> {
        read!(self, "reading deliveries", |connection| {
            deliveries::of_job(connection, id)
        })
    }

    async fn resend_delivery(&self, id: JobId) -> Result<Option<DeliveryId>> {
        write!(self, "sending a webhook again", Yes, |unit| {
            deliveries::resend(unit, id)
        })
    }

    async fn create_api_key(&self, new: NewApiKey) -> Result<Option<StoredApiKey>> {
        write!(self, "writing a key down", Yes, |unit| api_keys::create(
            unit, &new
        ))
    }

    async fn api_key(&self, prefix: &KeyPrefix) -> Result<Option<StoredApiKey>> {
        let prefix = prefix.clone();
        look!(self, "looking for a key", |connection| api_keys::find(
            connection, &prefix
        ))
    }

    async fn api_keys(&self) -> Result<Vec<StoredApiKey>> {
        look!(self, "listing keys", |connection| api_keys::list(
            connection
        ))
    }

    async fn revoke_api_key(&self, prefix: &KeyPrefix) -> Result<StoredApiKey> {
        let prefix = prefix.clone();
        write!(self, "revoking a key", Yes, |unit| api_keys::revoke(
            unit, &prefix
        ))
    }

    async fn note_api_key_use(&self, prefix: &KeyPrefix, at_most_every: Duration) -> Result<()> {
        let prefix = prefix.clone();
        write!(self, "noting the use of a key", Later, |unit| {
            api_keys::note_use(unit, &prefix, at_most_every)
        })
    }
}
