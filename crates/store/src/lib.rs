//! The record of every job: one trait, one implementation per database, one conformance suite.
//!
//! What an implementation promises, whatever the database:
//! * Every transition is one guarded statement: expected state and, for tasks, the attempt. A caller whose
//!   expectation no longer holds gets [`Error::Stale`] (tasks) or [`Error::Illegal`] (jobs) and nothing changes.
//! * A task's effects (counters, result parts, findings, state, events, webhook outbox) become visible in one
//!   transaction. Findings are written ahead in small batches that nobody sees until that transaction links them,
//!   so that a million findings never hold up another writer.
//! * Times come from the caller's clock in `Sources`, except leases on a shared database, which use the database's.
//! * Dropping a future of this trait at any await leaves the database either unchanged or changed in full.

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod counting;
pub mod effects;
mod error;
pub mod findings_file;
mod model;
pub mod rows;
pub mod standing;
pub mod telling;
pub mod verdict;

pub use error::Error;
pub use model::*;

use std::time::Duration;

use filejobs_core::failure::Failure;
use filejobs_core::waiting::Wait;
use filejobs_core::{JobId, KeyPrefix, Namespace, Quotas, SchedulerId, TaskId, WorkerId};
use jiff::Timestamp;
use tokio::sync::broadcast;

/// A result of a store call.
pub type Result<T> = std::result::Result<T, Error>;

/// The database, as services see it.
#[async_trait::async_trait]
pub trait Store: Send + Sync + std::fmt::Debug {
    // --- health and change feed -------------------------------------------------------------------------

    /// Answers when the database does.
    async fn ping(&self) -> Result<()>;

    /// The connections to the database that this process has at this moment.
    fn connections(&self) -> Connections;

    /// Which jobs changed. A hint: messages can be lost, so that every listener also polls. Where the store knows that
    /// some were, it says so with [`ChangeKind::Missed`].
    fn changes(&self) -> broadcast::Receiver<Change>;

    // --- handing in ---------------------------------------------------------------------------------------

    /// Reserves an idempotency key before the body is read. A reservation is dropped by
    /// [`Store::release_key`], taken up by [`Store::create_job`], and ends by itself after `hold`.
    async fn reserve_key(
        &self,
        namespace: &Namespace,
        key: &str,
        hold: Duration,
    ) -> Result<Reservation>;

    /// Keeps a reservation for another `hold` from now: its upload is still under way. A key that made a job stays as it
    /// is.
    async fn renew_key(&self, namespace: &Namespace, key: &str, hold: Duration) -> Result<()>;

    /// Gives a reservation back after an upload that came to nothing.
    async fn release_key(&self, namespace: &Namespace, key: &str) -> Result<()>;

    /// How many jobs of a namespace are queued.
    async fn queued(&self, namespace: &Namespace) -> Result<u64>;

    /// Creates the job, its first task, its first event, and takes up its idempotency key, in one transaction.
    /// [`Error::QueueFull`] when [`NewJob::queued_max`] is reached, however many are created at the same time.
    async fn create_job(&self, new: NewJob) -> Result<Job>;

    // --- looking ------------------------------------------------------------------------------------------

    /// One job.
    async fn job(&self, id: JobId) -> Result<Option<Job>>;

    /// Why a job waits, where it stands in line, and for how long about. `None` when it does not wait: it has ended, a
    /// worker has a task of it, or there is no such job. However many wait, it costs little: see [`standing::COUNTED`].
    async fn why_waiting(&self, id: JobId) -> Result<Option<Wait>>;

    /// A page of jobs, newest first.
    async fn jobs(
        &self,
        filter: &JobFilter,
        page: Page<JobCursor>,
    ) -> Result<Listed<Job, JobCursor>>;

    /// A page of a job's findings in order of row and ordinal. `None` for an unknown job.
    async fn findings(
        &self,
        id: JobId,
        filter: &FindingFilter,
        page: Page<FindingCursor>,
    ) -> Result<Option<Listed<StoredFinding, FindingCursor>>>;

    /// The parts of a job's valid rows, in row order.
    async fn parts(&self, id: JobId) -> Result<Vec<StoredPart>>;

    /// Keys of the rejected rows' pieces, in row order; each begins with the header line.
    async fn rejected(&self, id: JobId) -> Result<Vec<String>>;

    /// The job's events after `after` (0 for all), oldest first, at most `limit`.
    async fn events(&self, id: JobId, after: u64, limit: u32) -> Result<Vec<Event>>;

    // --- steering a job -----------------------------------------------------------------------------------

    /// Cancels: open tasks end, an event and a webhook are written. Unchanged when already cancelled.
    async fn cancel(&self, id: JobId) -> Result<Job>;

    /// Starts over: `generation + 1`, counters, findings, parts and tasks cleared, one new first task.
    async fn retry(&self, id: JobId) -> Result<Job>;

    /// Holds back: published and running tasks go back to pending without spending an attempt.
    async fn suspend(&self, id: JobId) -> Result<Job>;

    /// Lets go on.
    async fn resume(&self, id: JobId) -> Result<Job>;

    /// Changes the priority of a job that is queued or suspended.
    async fn set_priority(&self, id: JobId, priority: u8) -> Result<Job>;

    /// Deletes a job that is not processing and leaves a [`Tombstone`] until its blobs are gone.
    async fn delete(&self, id: JobId) -> Result<Tombstone>;

    // --- leading ------------------------------------------------------------------------------------------

    /// Makes `holder` the one scheduler that leads, or keeps it so, for `term` from now. `None` while another leads.
    ///
    /// Who leads calls this again well within the term, and counts the term from before the call: on the database's
    /// clock it ends later than that. [`Leadership::epoch`] stays while the leader is the same and grows with each other.
    async fn lead(&self, holder: &SchedulerId, term: Duration) -> Result<Option<Leadership>>;

    /// Lets another lead at once. Nothing happens when `holder` does not lead.
    async fn step_down(&self, holder: &SchedulerId) -> Result<()>;

    // --- scheduling ---------------------------------------------------------------------------------------

    /// Tasks that may be published now: per namespace and priority the oldest `per_group`.
    async fn waiting(&self, per_group: u32) -> Result<Vec<Waiting>>;

    /// Tasks that may be published now and whose job has begun: of each such job the first `per_job`. Where a quota of
    /// jobs holds back what is older, [`Store::waiting`] may not get as far as to them.
    async fn waiting_of_begun(&self, per_job: u32) -> Result<Vec<Waiting>>;

    /// What runs in each namespace in which anything does.
    async fn running(&self) -> Result<Vec<Running>>;

    /// Writes down how much may run at a time, for [`Store::why_waiting`]. Nothing is held back by that.
    async fn set_quotas(&self, quotas: Quotas) -> Result<()>;

    /// How many tasks are published but not claimed.
    async fn published(&self) -> Result<u64>;

    /// Marks tasks published; leaves out those that are no longer pending. The result is what goes to the queue.
    async fn publish(&self, tasks: &[TaskId]) -> Result<Vec<Ticket>>;

    /// Tasks published longer than `older_than` ago and not claimed, marked published anew.
    async fn republish(&self, older_than: Duration, limit: u32) -> Result<Vec<Ticket>>;

    /// Running tasks whose lease has run out.
    async fn expired_leases(&self, limit: u32) -> Result<Vec<Expired>>;

    /// Takes such a task from its worker as [`Store::retry_task`] does, or as [`Store::fail`] when no time is given.
    /// [`Error::Stale`] when its lease was renewed since it was found.
    async fn rescue(
        &self,
        task: TaskId,
        attempt: u32,
        failure: &Failure,
        not_before: Option<Timestamp>,
    ) -> Result<()>;

    /// Gives every published and running task back to pending, whoever holds it and without spending an attempt, and
    /// takes all workers off the list. Returns how many tasks went back. Only for a service that is alone with its
    /// database and has just started: what its previous process held can then never be finished by it.
    async fn take_back_all(&self) -> Result<u64>;

    /// Jobs that ended before `before`, oldest first.
    async fn ended_before(&self, before: Timestamp, limit: u32) -> Result<Vec<JobId>>;

    /// Deletes such a job as [`Store::delete`] does; [`Error::WrongState`] when it no longer is one.
    async fn expire(&self, id: JobId, before: Timestamp) -> Result<Tombstone>;

    /// What is due to be removed from the storage: longest due first.
    async fn tombstones(&self, limit: u32) -> Result<Vec<Tombstone>>;

    /// The blobs are gone.
    async fn bury(&self, tombstone: &Tombstone) -> Result<()>;

    /// The blobs could not be removed: due again `pause` from now, so that others come before them.
    async fn postpone_burial(&self, tombstone: &Tombstone, pause: Duration) -> Result<()>;

    /// Which of `ids` exist as jobs: the orphan sweep asks before it removes blobs.
    async fn existing(&self, ids: &[JobId]) -> Result<Vec<JobId>>;

    /// Removes what no job refers to any more: findings of lost attempts and of deleted or retried jobs, expired
    /// idempotency keys, workers long gone. Returns how many rows went, at most about `limit`.
    async fn sweep(&self, limit: u32) -> Result<u64>;

    /// Depth, age and speed of the queue.
    async fn queue_stats(&self) -> Result<QueueStats>;

    /// Tasks that used up their attempts, newest first.
    async fn dead_letters(&self, page: Page<TaskId>) -> Result<Listed<DeadLetter, TaskId>>;

    /// Gives a dead task its attempts back and takes its failed job to `QUEUED`, keeping what other tasks have done.
    async fn replay(&self, task: TaskId) -> Result<Job>;

    // --- working ------------------------------------------------------------------------------------------

    /// Takes the lease of a published task. `None` when the ticket is a duplicate or out of date.
    async fn claim(
        &self,
        ticket: &Ticket,
        worker: &WorkerId,
        lease: Duration,
    ) -> Result<Option<Claimed>>;

    /// Renews leases and writes progress, all in one transaction. Returns the tasks that are no longer this
    /// worker's (cancelled, suspended, taken over): their children must be killed.
    async fn renew(&self, worker: &WorkerId, held: &[Held], lease: Duration)
    -> Result<Vec<TaskId>>;

    /// Commits a plan: the plan task is done and the pieces wait. [`Error::Stale`] when the lease is lost.
    async fn commit_plan(&self, task: TaskId, attempt: u32, plan: PlanCommit) -> Result<()>;

    /// Commits a task that read to its end; the last one closes the job. Where it completes the job and says that this
    /// spends the upload, a [`Tombstone`] of it is left. [`Error::Stale`] when the lease is lost.
    async fn commit(&self, task: TaskId, attempt: u32, commit: TaskCommit) -> Result<Job>;

    /// Commits a task whose failure no further attempt can mend (validation, limit) or that has none left: the job
    /// fails with what was counted and found so far. A task whose failure [`verdict::is_dead_letter`] is put with the
    /// dead letters.
    async fn fail(
        &self,
        task: TaskId,
        attempt: u32,
        failure: Failure,
        commit: Option<TaskCommit>,
    ) -> Result<Job>;

    /// This attempt failed; another follows at `not_before`.
    async fn retry_task(
        &self,
        task: TaskId,
        attempt: u32,
        failure: &Failure,
        not_before: Timestamp,
    ) -> Result<()>;

    /// Gives a running task back without spending an attempt.
    async fn release(&self, task: TaskId, attempt: u32) -> Result<()>;

    /// Registers a worker or says that it still lives.
    async fn beat(&self, worker: &WorkerInfo) -> Result<()>;

    /// Takes a worker off the list.
    async fn leave(&self, worker: &WorkerId) -> Result<()>;

    /// Workers that have been heard of within `within`.
    async fn workers(&self, within: Duration) -> Result<Vec<WorkerInfo>>;

    // --- webhooks -----------------------------------------------------------------------------------------

    /// Deliveries that are due; each is hidden from other callers for `hold`.
    async fn due_deliveries(&self, limit: u32, hold: Duration) -> Result<Vec<Delivery>>;

    /// Writes down an attempt and what follows. Nothing follows, and it counts for no round, when the delivery has been
    /// delivered meanwhile, or another round has begun: an attempt of somebody who stood still past its hold comes late.
    async fn record_attempt(
        &self,
        delivery: &Delivery,
        attempt: DeliveryAttempt,
        next: NextDelivery,
    ) -> Result<()>;

    /// A job's deliveries with their attempts, oldest first.
    async fn deliveries(&self, id: JobId) -> Result<Vec<DeliveryRecord>>;

    /// Begins another round for the job's newest delivery, due now: the same message under the same id, so that a
    /// receiver that has it already can tell; earlier attempts are kept. One that is still pending stays as it is.
    /// `None` when the job has no delivery.
    async fn resend_delivery(&self, id: JobId) -> Result<Option<DeliveryId>>;

    // --- API keys -----------------------------------------------------------------------------------------

    /// Writes a key down. `None`, and nothing has changed, when its prefix is taken, by whatever key.
    async fn create_api_key(&self, new: NewApiKey) -> Result<Option<StoredApiKey>>;

    /// The key with this prefix, expired and revoked ones included.
    async fn api_key(&self, prefix: &KeyPrefix) -> Result<Option<StoredApiKey>>;

    /// Every key that there ever was, newest first.
    async fn api_keys(&self) -> Result<Vec<StoredApiKey>>;

    /// Ends a key for good. Unchanged when it is revoked already; [`Error::NotFound`] for an unknown one.
    async fn revoke_api_key(&self, prefix: &KeyPrefix) -> Result<StoredApiKey>;

    /// Notes that a key was used just now, unless that was noted less than `at_most_every` ago: however many requests
    /// a key makes, it costs few writes. An unknown key is no error.
    async fn note_api_key_use(&self, prefix: &KeyPrefix, at_most_every: Duration) -> Result<()>;
}
