//! The store on Postgres, for services of many processes.
//!
//! Where things are: `database` runs units of work on `connections` and says in which order they lock; every other
//! module holds the statements of one aggregate and is called from within a unit. Statements are checked when the crate
//! is compiled, against `.sqlx/`, which `prepare` writes; see README.md.

mod api_keys;
mod backlog;
mod connections;
mod copy;
mod database;
mod deliveries;
mod endings;
mod feed;
mod few;
mod finding_index;
mod findings;
mod jobs;
mod keys;
mod leadership;
mod list;
mod migrate;
mod numbers;
pub mod objects;
mod outbox;
mod pages;
mod problem;
mod publishing;
mod standing;
mod steering;
mod sweep;
mod tasks;
mod text;
mod time;
mod workers;

use std::path::PathBuf;
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
use sqlx::postgres::PgPool;
use tokio::sync::broadcast;

use database::{Database, Mode};
use feed::Feed;
use findings::Loaded;
use problem::Problem;

/// How a process uses the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Connections that it opens at most, one that listens left out. All processes together must stay below the server's
    /// `max_connections`.
    pub connections: u32,
    /// Of these, those that are kept open without work; the others come and go with the load.
    pub kept: u32,
    /// Whose time counts.
    pub clock: Clock,
}

/// Whose time counts: for leases, for what is due, for everything that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The database's, the same for all processes. Times that callers pass are taken as so far away from now.
    Database,
    /// The one in the caller's `Sources`: for tests whose clock stands still until it is told to move on.
    Callers,
}

impl Default for Settings {
    /// What an API process under load needs: 20 connections kept open, 40 more when there is more to do.
    fn default() -> Self {
        Self {
            connections: 60,
            kept: 20,
            clock: Clock::Database,
        }
    }
}

/// A store in one Postgres database.
#[derive(Debug)]
pub struct PostgresStore {
    database: Database,
    pool: PgPool,
}

/// An address that cannot be read. What is told of it holds no password.
#[derive(Debug, thiserror::Error)]
#[error("this is no address of a Postgres database")]
pub struct InvalidUrl(#[source] sqlx::Error);

impl PostgresStore {
    /// Whether the address of a database can be read. Nobody is asked whether there is one.
    pub fn check_url(url: &str) -> std::result::Result<(), InvalidUrl> {
        connections::options(url).map(drop).map_err(InvalidUrl)
    }

    /// Brings the schema of the database at `url` up to date; returns how many migrations that took.
    ///
    /// Forward only. Any number of processes may call it at a time: one migrates, the others wait and find nothing to do.
    pub async fn migrate(url: &str) -> Result<usize> {
        migrate::migrate(url).await
    }

    /// Opens the database at `url`. Refuses with [`filejobs_store::Error::Outdated`] when its schema is older than this
    /// program needs; a newer one is fine, so that two versions run side by side during an upgrade.
    pub async fn open(url: &str, sources: Sources, settings: Settings) -> Result<Arc<Self>> {
        let options = connections::options(url);
        let options =
            options.map_err(|e| Problem::Sql(e).during("reading the database's address"))?;
        migrate::check(&options).await?;
        let pool = connections::pool(&options, &settings);
        let feed = Feed::start(pool.clone(), options, &sources);
        let database = Database::new(pool.clone(), sources, &settings, feed);
        Ok(Arc::new(Self { database, pool }))
    }

    /// Closes all connections, once what runs on them has ended.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    async fn load(
        &self,
        task: TaskId,
        attempt: u32,
        findings: Option<&PathBuf>,
    ) -> Result<Option<Loaded>> {
        match findings {
            Some(path) => findings::load(&self.database, task, attempt, path.clone()).await,
            None => Ok(None),
        }
    }
}

/// A unit that writes: what it is called in errors, how, what it takes along, and the call with `unit`.
macro_rules! write {
    ($store:expr, $step:literal, $mode:ident, [$($taken:ident),*], |$unit:ident| $call:expr) => {
        $store
            .database
            .write($step, Mode::$mode, move |$unit| {
                // It may be done again.
                $(let $taken = $taken.clone();)*
                Box::pin(async move { $call.await })
            })
            .await
    };
}

/// A unit that reads with several statements, or needs the time.
macro_rules! read {
    ($store:expr, $step:literal, [$($taken:ident),*], |$unit:ident| $call:expr) => {
        $store
            .database
            .read($step, move |$unit| {
                $(let $taken = $taken.clone();)*
                Box::pin(async move { $call.await })
            })
            .await
    };
}

/// A unit that reads with one statement.
macro_rules! look {
    ($store:expr, $step:literal, [$($taken:ident),*], |$connection:ident| $call:expr) => {
        $store
            .database
            .look($step, move |$connection| {
                $(let $taken = $taken.clone();)*
                Box::pin(async move { $call.await })
            })
            .await
    };
}

#[async_trait::async_trait]
impl Store for PostgresStore {
    async fn ping(&self) -> Result<()> {
        // A server that only reads is a stand-by: a service that cannot write is not up.
        look!(self, "answering", [], |connection| database::can_write(
            connection
        ))
    }

    fn connections(&self) -> Connections {
        let idle = u32::try_from(self.pool.num_idle()).unwrap_or(u32::MAX);
        Connections {
            used: self.pool.size().saturating_sub(idle),
            idle,
            most: self.pool.options().get_max_connections(),
        }
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
        write!(self, "reserving a key", Write, [namespace, key], |unit| {
            keys::reserve(unit, &namespace, &key, hold)
        })
    }

    async fn renew_key(&self, namespace: &Namespace, key: &str, hold: Duration) -> Result<()> {
        let (namespace, key) = (namespace.clone(), key.to_owned());
        write!(
            self,
            "renewing a key",
            WriteLater,
            [namespace, key],
            |unit| keys::renew(unit, &namespace, &key, hold)
        )
    }

    async fn release_key(&self, namespace: &Namespace, key: &str) -> Result<()> {
        let (namespace, key) = (namespace.clone(), key.to_owned());
        write!(self, "releasing a key", Write, [namespace, key], |unit| {
            keys::release(unit, &namespace, &key)
        })
    }

    async fn queued(&self, namespace: &Namespace) -> Result<u64> {
        let namespace = namespace.clone();
        look!(self, "counting queued jobs", [namespace], |connection| {
            backlog::queued(connection, &namespace)
        })
    }

    async fn create_job(&self, new: NewJob) -> Result<Job> {
        let new = Arc::new(new);
        write!(self, "creating a job", Write, [new], |unit| jobs::create(
            unit, &new
        ))
    }

    async fn job(&self, id: JobId) -> Result<Option<Job>> {
        look!(self, "reading a job", [], |connection| jobs::find(
            connection, id
        ))
    }

    async fn why_waiting(&self, id: JobId) -> Result<Option<Wait>> {
        read!(self, "looking why a job waits", [], |unit| {
            standing::why_waiting(unit, id)
        })
    }

    async fn jobs(
        &self,
        filter: &JobFilter,
        page: Page<JobCursor>,
    ) -> Result<Listed<Job, JobCursor>> {
        let filter = filter.clone();
        read!(self, "listing jobs", [filter], |unit| list::list(
            &mut unit.connection,
            &filter,
            page
        ))
    }

    async fn findings(
        &self,
        id: JobId,
        filter: &FindingFilter,
        page: Page<FindingCursor>,
    ) -> Result<Option<Listed<StoredFinding, FindingCursor>>> {
        let filter = filter.clone();
        read!(self, "reading findings", [filter], |unit| pages::page(
            unit, id, &filter, page
        ))
    }

    async fn parts(&self, id: JobId) -> Result<Vec<StoredPart>> {
        look!(self, "reading parts", [], |connection| endings::parts(
            connection, id
        ))
    }

    async fn rejected(&self, id: JobId) -> Result<Vec<String>> {
        look!(self, "reading rejected rows", [], |connection| {
            endings::rejected(connection, id)
        })
    }

    async fn events(&self, id: JobId, after: u64, limit: u32) -> Result<Vec<Event>> {
        look!(self, "reading events", [], |connection| outbox::events(
            connection, id, after, limit
        ))
    }

    async fn cancel(&self, id: JobId) -> Result<Job> {
        write!(self, "cancelling a job", Write, [], |unit| {
            steering::cancel(unit, id)
        })
    }

    async fn retry(&self, id: JobId) -> Result<Job> {
        write!(self, "retrying a job", Write, [], |unit| {
            steering::retry(unit, id)
        })
    }

    async fn suspend(&self, id: JobId) -> Result<Job> {
        write!(self, "suspending a job", Write, [], |unit| {
            steering::suspend(unit, id)
        })
    }

    async fn resume(&self, id: JobId) -> Result<Job> {
        write!(self, "resuming a job", Write, [], |unit| {
            steering::resume(unit, id)
        })
    }

    async fn set_priority(&self, id: JobId, priority: u8) -> Result<Job> {
        write!(self, "changing a priority", Write, [], |unit| {
            steering::set_priority(unit, id, priority)
        })
    }

    async fn delete(&self, id: JobId) -> Result<Tombstone> {
        write!(self, "deleting a job", Write, [], |unit| {
            steering::delete(unit, id)
        })
    }

    async fn lead(&self, holder: &SchedulerId, term: Duration) -> Result<Option<Leadership>> {
        let holder = holder.clone();
        write!(self, "taking the lead", Write, [holder], |unit| {
            leadership::lead(unit, &holder, term)
        })
    }

    async fn step_down(&self, holder: &SchedulerId) -> Result<()> {
        let holder = holder.clone();
        write!(self, "stepping down", Write, [holder], |unit| {
            leadership::step_down(unit, &holder)
        })
    }

    async fn waiting(&self, per_group: u32) -> Result<Vec<Waiting>> {
        read!(self, "looking for work", [], |unit| publishing::waiting(
            unit, per_group
        ))
    }

    async fn waiting_of_begun(&self, per_job: u32) -> Result<Vec<Waiting>> {
        read!(self, "looking for work of jobs under way", [], |unit| {
            publishing::waiting_of_begun(unit, per_job)
        })
    }

    async fn running(&self) -> Result<Vec<Running>> {
        look!(self, "counting what runs", [], |connection| {
            publishing::running(connection)
        })
    }

    async fn set_quotas(&self, quotas: Quotas) -> Result<()> {
        write!(self, "writing quotas down", WriteLater, [], |unit| {
            standing::set_quotas(unit, quotas)
        })
    }

    async fn published(&self) -> Result<u64> {
        look!(self, "counting published tasks", [], |connection| {
            publishing::published(connection)
        })
    }

    async fn publish(&self, tasks: &[TaskId]) -> Result<Vec<Ticket>> {
        let tasks: Arc<[TaskId]> = tasks.into();
        write!(self, "publishing tasks", WriteLater, [tasks], |unit| {
            publishing::publish(unit, &tasks)
        })
    }

    async fn republish(&self, older_than: Duration, limit: u32) -> Result<Vec<Ticket>> {
        write!(self, "publishing tasks anew", WriteLater, [], |unit| {
            publishing::republish(unit, older_than, limit)
        })
    }

    async fn expired_leases(&self, limit: u32) -> Result<Vec<Expired>> {
        read!(self, "looking for lost leases", [], |unit| {
            publishing::expired(unit, limit)
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
        write!(self, "taking on a lost task", Write, [failure], |unit| {
            endings::rescue(unit, task, attempt, &failure, not_before)
        })
    }

    async fn take_back_all(&self) -> Result<u64> {
        write!(self, "taking tasks back", Write, [], |unit| {
            tasks::take_back_all(unit)
        })
    }

    async fn ended_before(&self, before: Timestamp, limit: u32) -> Result<Vec<JobId>> {
        look!(self, "looking for old jobs", [], |connection| {
            jobs::ended_before(connection, before, limit)
        })
    }

    async fn expire(&self, id: JobId, before: Timestamp) -> Result<Tombstone> {
        write!(self, "deleting an old job", Write, [], |unit| {
            steering::expire(unit, id, before)
        })
    }

    async fn tombstones(&self, limit: u32) -> Result<Vec<Tombstone>> {
        read!(self, "looking for what is to go", [], |unit| {
            sweep::tombstones(unit, limit)
        })
    }

    async fn bury(&self, tombstone: &Tombstone) -> Result<()> {
        let (id, remains) = (tombstone.id, tombstone.remains);
        write!(self, "forgetting what is gone", WriteLater, [], |unit| {
            sweep::bury(unit, id, remains)
        })
    }

    async fn postpone_burial(&self, tombstone: &Tombstone, pause: Duration) -> Result<()> {
        let (id, remains) = (tombstone.id, tombstone.remains);
        write!(self, "postponing a burial", WriteLater, [], |unit| {
            sweep::postpone_burial(unit, id, remains, pause)
        })
    }

    async fn existing(&self, ids: &[JobId]) -> Result<Vec<JobId>> {
        let ids: Arc<[_]> = ids.iter().map(JobId::as_uuid).collect();
        look!(self, "looking for jobs", [ids], |connection| {
            jobs::existing(connection, &ids)
        })
    }

    async fn sweep(&self, limit: u32) -> Result<u64> {
        write!(self, "sweeping", WriteLater, [], |unit| sweep::sweep(
            unit, limit
        ))
    }

    async fn queue_stats(&self) -> Result<QueueStats> {
        read!(self, "measuring the queue", [], |unit| workers::stats(unit))
    }

    async fn dead_letters(&self, page: Page<TaskId>) -> Result<Listed<DeadLetter, TaskId>> {
        read!(self, "listing dead letters", [], |unit| {
            publishing::dead_letters(unit, page)
        })
    }

    async fn replay(&self, task: TaskId) -> Result<Job> {
        write!(self, "replaying a task", Write, [], |unit| {
            steering::replay(unit, task)
        })
    }

    async fn claim(
        &self,
        ticket: &Ticket,
        worker: &WorkerId,
        lease: Duration,
    ) -> Result<Option<Claimed>> {
        // On disk before the answer: a claim that a crash undid would give its attempt number to two workers.
        let (ticket, worker) = (*ticket, worker.clone());
        write!(self, "claiming a task", Write, [worker], |unit| {
            tasks::claim(unit, ticket, &worker, lease)
        })
    }

    async fn renew(
        &self,
        worker: &WorkerId,
        held: &[Held],
        lease: Duration,
    ) -> Result<Vec<TaskId>> {
        let (worker, held): (_, Arc<[Held]>) = (worker.clone(), held.into());
        write!(
            self,
            "renewing leases",
            WriteLater,
            [worker, held],
            |unit| { tasks::renew(unit, &worker, &held, lease) }
        )
    }

    async fn commit_plan(&self, task: TaskId, attempt: u32, plan: PlanCommit) -> Result<()> {
        let findings = self.load(task, attempt, plan.findings.as_ref()).await?;
        let plan = Arc::new(plan);
        write!(self, "committing a plan", Write, [plan, findings], |unit| {
            endings::commit_plan(unit, task, attempt, &plan, findings.as_ref())
        })
    }

    async fn commit(&self, task: TaskId, attempt: u32, commit: TaskCommit) -> Result<Job> {
        let findings = self.load(task, attempt, commit.findings.as_ref()).await?;
        let commit = Arc::new(commit);
        write!(
            self,
            "committing a task",
            Write,
            [commit, findings],
            |unit| { endings::commit(unit, task, attempt, &commit, findings.as_ref()) }
        )
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
        let told = Arc::new((failure, commit));
        write!(
            self,
            "committing a failure",
            Write,
            [told, findings],
            |unit| {
                endings::fail(
                    unit,
                    task,
                    attempt,
                    &told.0,
                    told.1.as_ref(),
                    findings.as_ref(),
                )
            }
        )
    }

    async fn retry_task(
        &self,
        task: TaskId,
        attempt: u32,
        failure: &Failure,
        not_before: Timestamp,
    ) -> Result<()> {
        let failure = failure.clone();
        write!(self, "putting a task off", Write, [failure], |unit| {
            tasks::retry(unit, task, attempt, &failure, not_before)
        })
    }

    async fn release(&self, task: TaskId, attempt: u32) -> Result<()> {
        write!(self, "giving a task back", Write, [], |unit| {
            tasks::release(unit, task, attempt)
        })
    }

    async fn beat(&self, worker: &WorkerInfo) -> Result<()> {
        let worker = worker.clone();
        write!(self, "registering a worker", WriteLater, [worker], |unit| {
            workers::beat(unit, &worker)
        })
    }

    async fn leave(&self, worker: &WorkerId) -> Result<()> {
        let worker = worker.clone();
        write!(
            self,
            "taking a worker off the list",
            WriteLater,
            [worker],
            |unit| { workers::leave(unit, &worker) }
        )
    }

    async fn workers(&self, within: Duration) -> Result<Vec<WorkerInfo>> {
        read!(self, "listing workers", [], |unit| workers::list(
            unit, within
        ))
    }

    async fn due_deliveries(&self, limit: u32, hold: Duration) -> Result<Vec<Delivery>> {
        write!(self, "taking deliveries", WriteLater, [], |unit| {
            deliveries::due(unit, limit, hold)
        })
    }

    async fn record_attempt(
        &self,
        delivery: &Delivery,
        attempt: DeliveryAttempt,
        next: NextDelivery,
    ) -> Result<()> {
        let round = (delivery.id, delivery.earlier_attempts);
        write!(self, "recording a delivery", Write, [attempt], |unit| {
            deliveries::record(unit, round, &attempt, next)
        })
    }

    async fn deliveries(&self, id: JobId) -> Result<Vec<DeliveryRecord>> {
        read!(self, "reading deliveries", [], |unit| deliveries::of_job(
            unit, id
        ))
    }

    async fn resend_delivery(&self, id: JobId) -> Result<Option<DeliveryId>> {
        write!(self, "sending a webhook again", Write, [], |unit| {
            deliveries::resend(unit, id)
        })
    }

    async fn create_api_key(&self, new: NewApiKey) -> Result<Option<StoredApiKey>> {
        write!(self, "writing a key down", Write, [new], |unit| {
            api_keys::create(unit, &new)
        })
    }

    async fn api_key(&self, prefix: &KeyPrefix) -> Result<Option<StoredApiKey>> {
        let prefix = prefix.clone();
        look!(self, "looking for a key", [prefix], |connection| {
            api_keys::find(connection, &prefix)
        })
    }

    async fn api_keys(&self) -> Result<Vec<StoredApiKey>> {
        look!(self, "listing keys", [], |connection| api_keys::list(
            connection
        ))
    }

    async fn revoke_api_key(&self, prefix: &KeyPrefix) -> Result<StoredApiKey> {
        let prefix = prefix.clone();
        write!(self, "revoking a key", Write, [prefix], |unit| {
            api_keys::revoke(unit, &prefix)
        })
    }

    async fn note_api_key_use(&self, prefix: &KeyPrefix, at_most_every: Duration) -> Result<()> {
        let prefix = prefix.clone();
        write!(
            self,
            "noting the use of a key",
            WriteLater,
            [prefix],
            |unit| { api_keys::note_use(unit, &prefix, at_most_every) }
        )
    }
}
