//! Kubernetes objects and the jobs that they state and show. No part of the store's trait: a cluster's service runs on
//! Postgres.
//!
//! Every change is fenced: it is made only while its caller is the scheduler that leads. A controller that has lost the
//! lead and does not know it yet gets [`filejobs_store::Error::Stale`], and nothing has changed.

use std::collections::HashMap;
use std::sync::Arc;

use filejobs_core::failure::Failure;
use filejobs_core::{JobEvent, JobId, JobState, SchedulerId};
use filejobs_store::rows::Reading;
use filejobs_store::{Error, Job, NewJob};
use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::PostgresStore;
use crate::database::{Mode, Unit};
use crate::endings;
use crate::jobs::{self, select_jobs};
use crate::problem::{Problem, Result};
use crate::steering;
use crate::time::Time;

/// An object, beyond doubt: one that is deleted and made again under the same name has another `uid`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectRef {
    /// Given by the cluster, to one object ever.
    pub uid: String,
    /// Its namespace, which is its job's, too.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What the author of an object wants of its job, as far as that was carried out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// Hold it back.
    pub suspend: bool,
    /// End it.
    pub cancel: bool,
    /// 0 to 10, 10 first.
    pub priority: u8,
    /// How often it was to start over.
    pub retries: u32,
}

/// Where the key is that signs a job's webhook: in a Secret of the object's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookSecret {
    /// The Secret's name.
    pub name: String,
    /// The key in it.
    pub key: String,
}

impl WebhookSecret {
    /// From its columns, which are there together.
    fn of(name: Option<String>, key: Option<String>) -> Option<Self> {
        let (name, key) = name.zip(key)?;
        Some(Self { name, key })
    }
}

/// A job and its object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectLink {
    /// The job. Its row may be gone.
    pub job: JobId,
    /// The object. It may be gone.
    pub object: ObjectRef,
    /// What was carried out.
    pub applied: Applied,
    /// What signs the job's webhook; the service's own keys when absent.
    pub webhook_secret: Option<WebhookSecret>,
    /// Where the object was seen last.
    pub seen: Seen,
}

/// Where an object was seen last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// In this cluster.
    Here,
    /// In another one, or before that was noted. It may never have been here: the database may come from there.
    Elsewhere,
    /// In another one, and not in the one that the database came to: its job goes on without it.
    LetGo,
}

/// What came of a link that was to be made.
#[derive(Debug, Clone, PartialEq)]
pub enum Linking {
    /// The object has this job, from now on or since before.
    Linked(Box<Job>),
    /// The object has a job whose row is gone.
    Removed(JobId),
    /// The job has another object.
    Taken,
}

/// Objects and their jobs, for the scheduler that leads.
#[derive(Debug, Clone)]
pub struct Objects {
    store: Arc<PostgresStore>,
    holder: SchedulerId,
    cluster: Arc<str>,
}

impl PostgresStore {
    /// Objects and their jobs, for `holder`, in a cluster that is known by any text that no other cluster has.
    #[must_use]
    pub fn objects(self: &Arc<Self>, holder: SchedulerId, cluster: impl Into<Arc<str>>) -> Objects {
        Objects {
            store: self.clone(),
            holder,
            cluster: cluster.into(),
        }
    }
}

/// A fenced unit that writes: what it is called in errors, what it takes along, and the call with `unit`.
macro_rules! write {
    ($objects:expr, $step:literal, [$($taken:ident),*], |$unit:ident| $call:expr) => {{
        let holder = $objects.holder.clone();
        $objects
            .store
            .database
            .write($step, Mode::Write, move |$unit| {
                let holder = holder.clone();
                $(let $taken = $taken.clone();)*
                Box::pin(async move {
                    fence($unit, &holder).await?;
                    $call.await
                })
            })
            .await
    }};
}

/// A unit that reads with one statement.
macro_rules! look {
    ($objects:expr, $step:literal, [$($taken:ident),*], |$connection:ident| $call:expr) => {
        $objects
            .store
            .database
            .look($step, move |$connection| {
                $(let $taken = $taken.clone();)*
                Box::pin(async move { $call.await })
            })
            .await
    };
}

impl Objects {
    /// Makes an object's job and the link between them, in one transaction. An object that has a job gets no second
    /// one, whatever `new` says.
    pub async fn create(
        &self,
        object: &ObjectRef,
        applied: Applied,
        webhook_secret: Option<WebhookSecret>,
        new: NewJob,
    ) -> filejobs_store::Result<Linking> {
        let given = Arc::new((object.clone(), webhook_secret, new));
        let cluster = self.cluster.clone();
        write!(self, "creating an object's job", [given, cluster], |unit| {
            let (object, secret, new) = &*given;
            create(unit, (object, &cluster), applied, secret.as_ref(), new)
        })
    }

    /// Links a job that exists, of the object's own namespace, to an object. [`Error::NotFound`] when there is none.
    pub async fn link(
        &self,
        object: &ObjectRef,
        applied: Applied,
        job: JobId,
    ) -> filejobs_store::Result<Linking> {
        let object = Arc::new(object.clone());
        let cluster = self.cluster.clone();
        write!(
            self,
            "linking a job to its object",
            [object, cluster],
            |unit| { link(unit, (&object, &cluster), applied, job) }
        )
    }

    /// The link of an object.
    pub async fn of_object(&self, uid: &str) -> filejobs_store::Result<Option<ObjectLink>> {
        let (uid, cluster) = (uid.to_owned(), self.cluster.clone());
        look!(
            self,
            "reading an object's link",
            [uid, cluster],
            |connection| { of_object(connection, &uid, &cluster) }
        )
    }

    /// The link of a job.
    pub async fn of_job(&self, job: JobId) -> filejobs_store::Result<Option<ObjectLink>> {
        let cluster = self.cluster.clone();
        look!(self, "reading a job's link", [cluster], |connection| {
            of_job(connection, job, &cluster)
        })
    }

    /// Links in order of their jobs, after `after`.
    pub async fn links(
        &self,
        after: Option<JobId>,
        limit: u32,
    ) -> filejobs_store::Result<Vec<ObjectLink>> {
        let cluster = self.cluster.clone();
        look!(self, "listing links", [cluster], |connection| {
            links(connection, after, limit, &cluster)
        })
    }

    /// Notes that the objects of these jobs were seen in this cluster.
    pub async fn seen(&self, jobs: &[JobId]) -> filejobs_store::Result<()> {
        let jobs: Arc<[Uuid]> = jobs.iter().map(JobId::as_uuid).collect();
        let cluster = self.cluster.clone();
        write!(self, "noting objects' cluster", [jobs, cluster], |unit| {
            seen(unit, &jobs, &cluster)
        })
    }

    /// Lets the object of a job go, which stays as it is and may have another one. Nothing happens when the object has
    /// been seen in this cluster, or the job has another one.
    pub async fn let_go(&self, object: &ObjectRef, job: JobId) -> filejobs_store::Result<()> {
        let (uid, cluster): (Arc<str>, _) = (object.uid.as_str().into(), self.cluster.clone());
        write!(self, "letting an object go", [uid, cluster], |unit| {
            let_go(unit, job, &uid, &cluster)
        })
    }

    /// Jobs without an object: first those that ended at `ended` or later, then those that have not ended; the next ones
    /// after the job `after`. Of these namespaces only, when some are given.
    ///
    /// A job that moves on while pages are read may come twice. When `after` itself is deleted meanwhile there is no next
    /// page, and whoever looks now and then finds the rest with the next look.
    pub async fn without_object(
        &self,
        namespaces: Option<&[String]>,
        ended: Timestamp,
        after: Option<JobId>,
        limit: u32,
    ) -> filejobs_store::Result<Vec<Job>> {
        let namespaces: Option<Arc<[String]>> = namespaces.map(Into::into);
        look!(
            self,
            "looking for jobs without objects",
            [namespaces],
            |connection| { without_object(connection, namespaces.as_deref(), ended, after, limit) }
        )
    }

    /// Notes what was carried out, but for retries: [`Objects::retry`] does.
    pub async fn note(&self, job: JobId, applied: Applied) -> filejobs_store::Result<()> {
        write!(self, "noting what was carried out", [], |unit| note(
            unit, job, applied
        ))
    }

    /// Starts a failed or cancelled job over for the `retries`-th time: once, however often it is asked for. Whether it
    /// did; a job in another state stays as it is, and the number counts as seen.
    pub async fn retry(&self, job: JobId, retries: u32) -> filejobs_store::Result<bool> {
        write!(self, "retrying an object's job", [], |unit| retry(
            unit, job, retries
        ))
    }

    /// Fails a job that has not ended; unchanged when it has.
    pub async fn fail(&self, job: JobId, failure: &Failure) -> filejobs_store::Result<Job> {
        let failure = failure.clone();
        write!(self, "failing an object's job", [failure], |unit| fail(
            unit, job, &failure
        ))
    }

    /// [`filejobs_store::Store::cancel`], fenced.
    pub async fn cancel(&self, job: JobId) -> filejobs_store::Result<Job> {
        write!(self, "cancelling an object's job", [], |unit| {
            steering::cancel(unit, job)
        })
    }

    /// [`filejobs_store::Store::suspend`], fenced.
    pub async fn suspend(&self, job: JobId) -> filejobs_store::Result<Job> {
        write!(self, "suspending an object's job", [], |unit| {
            steering::suspend(unit, job)
        })
    }

    /// [`filejobs_store::Store::resume`], fenced.
    pub async fn resume(&self, job: JobId) -> filejobs_store::Result<Job> {
        write!(self, "resuming an object's job", [], |unit| {
            steering::resume(unit, job)
        })
    }

    /// [`filejobs_store::Store::set_priority`], fenced.
    pub async fn set_priority(&self, job: JobId, priority: u8) -> filejobs_store::Result<Job> {
        write!(self, "changing an object's priority", [], |unit| {
            steering::set_priority(unit, job, priority)
        })
    }

    /// Cancels an object's job that has not ended, deletes it and its link: what is left of it is a tombstone, until its
    /// blobs are gone. Nothing happens where nothing is left, and to a job that is of another object or namespace:
    /// anybody may write its id into an object.
    pub async fn remove(&self, object: &ObjectRef, job: JobId) -> filejobs_store::Result<()> {
        let object = Arc::new(object.clone());
        write!(self, "removing an object's job", [object], |unit| {
            remove(unit, &object, job)
        })
    }

    /// The states of those of `jobs` that exist.
    pub async fn states(&self, jobs: &[JobId]) -> filejobs_store::Result<HashMap<JobId, JobState>> {
        let jobs: Arc<[Uuid]> = jobs.iter().map(JobId::as_uuid).collect();
        look!(self, "reading states", [jobs], |connection| states(
            connection, &jobs
        ))
    }
}

/// Refuses when `holder` does not lead. The row is held, so that nobody takes the lead over before this unit ends; whoever
/// leads may go on.
async fn fence(unit: &mut Unit, holder: &SchedulerId) -> Result<()> {
    let leads = sqlx::query_scalar!(
        r#"SELECT true AS "leads!" FROM leadership WHERE id = 1 AND holder = $1 FOR KEY SHARE"#,
        holder.as_str()
    )
    .fetch_optional(&mut *unit.connection)
    .await?;
    leads.map(drop).ok_or(Error::Stale.into())
}

/// An object, and the cluster that it is in.
type Located<'a> = (&'a ObjectRef, &'a str);

async fn create(
    unit: &mut Unit,
    object: Located<'_>,
    applied: Applied,
    webhook_secret: Option<&WebhookSecret>,
    new: &NewJob,
) -> Result<Linking> {
    if let Some(id) = job_of(unit, object.0).await? {
        return linked(unit, id).await;
    }
    if !insert(unit, object, applied, webhook_secret, new.id).await? {
        return meanwhile(unit, object.0).await;
    }
    let job = jobs::create(unit, new).await?;
    if !applied.suspend {
        return Ok(Linking::Linked(Box::new(job)));
    }
    let held = steering::suspend(unit, new.id).await?;
    Ok(Linking::Linked(Box::new(held)))
}

async fn link(
    unit: &mut Unit,
    object: Located<'_>,
    applied: Applied,
    id: JobId,
) -> Result<Linking> {
    if let Some(id) = job_of(unit, object.0).await? {
        return linked(unit, id).await;
    }
    let job = jobs::lock(unit, id).await?;
    if job.namespace.as_str() != object.0.namespace {
        return Err(Error::NotFound.into());
    }
    // Of the job as it stands: what its author wants differently is carried out next.
    let standing = Applied {
        suspend: job.status == JobState::Suspended,
        cancel: false,
        priority: job.priority,
        retries: applied.retries,
    };
    // What signs its webhook goes on to the object that follows one that was let go.
    let let_go = sqlx::query!(
        "DELETE FROM object_links WHERE job = $1 AND cluster = '' RETURNING webhook_secret, webhook_secret_key",
        id.as_uuid()
    )
    .fetch_optional(&mut *unit.connection)
    .await?;
    let taken = sqlx::query_scalar!(
        r#"SELECT true AS "taken!" FROM object_links WHERE job = $1"#,
        id.as_uuid()
    )
    .fetch_optional(&mut *unit.connection)
    .await?;
    if taken.is_some() {
        return Ok(Linking::Taken);
    }
    let secret =
        let_go.and_then(|link| WebhookSecret::of(link.webhook_secret, link.webhook_secret_key));
    if !insert(unit, object, standing, secret.as_ref(), id).await? {
        return meanwhile(unit, object.0).await;
    }
    Ok(Linking::Linked(Box::new(job)))
}

/// The job that an object is linked to.
async fn job_of(unit: &mut Unit, object: &ObjectRef) -> Result<Option<JobId>> {
    let job = sqlx::query_scalar!("SELECT job FROM object_links WHERE uid = $1", object.uid)
        .fetch_optional(&mut *unit.connection)
        .await?;
    Ok(job.map(JobId::from_uuid))
}

/// What an object has that was linked while this unit ran.
async fn meanwhile(unit: &mut Unit, object: &ObjectRef) -> Result<Linking> {
    let id = job_of(unit, object).await?;
    linked(unit, id.ok_or(Error::Stale)?).await
}

/// What an object has that is linked to `id`.
async fn linked(unit: &mut Unit, id: JobId) -> Result<Linking> {
    let job = jobs::find(&mut unit.connection, id).await?;
    Ok(job.map_or(Linking::Removed(id), |job| Linking::Linked(Box::new(job))))
}

/// Links; not when the object has a job. Waits for whoever links it at the same moment.
async fn insert(
    unit: &mut Unit,
    (object, cluster): Located<'_>,
    applied: Applied,
    webhook_secret: Option<&WebhookSecret>,
    job: JobId,
) -> Result<bool> {
    let linked = sqlx::query!(
        "INSERT INTO object_links (job, uid, namespace, name, suspend, cancel, priority, retries,
            webhook_secret, webhook_secret_key, cluster)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        ON CONFLICT (uid) DO NOTHING",
        job.as_uuid(),
        object.uid,
        object.namespace,
        object.name,
        applied.suspend,
        applied.cancel,
        i16::from(applied.priority),
        i64::from(applied.retries),
        webhook_secret.map(|secret| &*secret.name),
        webhook_secret.map(|secret| &*secret.key),
        cluster
    )
    .execute(&mut *unit.connection)
    .await?;
    Ok(linked.rows_affected() > 0)
}

/// A row of `object_links`.
struct LinkRow {
    job: Uuid,
    uid: String,
    namespace: String,
    name: String,
    suspend: bool,
    cancel: bool,
    priority: i16,
    retries: i64,
    webhook_secret: Option<String>,
    webhook_secret_key: Option<String>,
    cluster: Option<String>,
}

/// Links with a condition.
macro_rules! select_links {
    ($condition:literal, $($value:expr),*) => {
        sqlx::query_as!(
            LinkRow,
            "SELECT job, uid, namespace, name, suspend, cancel, priority, retries,
                webhook_secret, webhook_secret_key, cluster FROM object_links " + $condition,
            $($value),*
        )
    };
}

impl LinkRow {
    /// As it looks from this cluster.
    fn read(self, here: &str) -> Result<ObjectLink> {
        let row = Reading {
            table: "object_links",
            row: &self.job,
        };
        Ok(ObjectLink {
            job: JobId::from_uuid(self.job),
            applied: Applied {
                suspend: self.suspend,
                cancel: self.cancel,
                priority: row.number("priority", i64::from(self.priority))?,
                retries: row.number("retries", self.retries)?,
            },
            object: ObjectRef {
                uid: self.uid,
                namespace: self.namespace,
                name: self.name,
            },
            webhook_secret: WebhookSecret::of(self.webhook_secret, self.webhook_secret_key),
            seen: match self.cluster.as_deref() {
                Some("") => Seen::LetGo,
                Some(cluster) if cluster == here => Seen::Here,
                _ => Seen::Elsewhere,
            },
        })
    }
}

async fn of_object(
    connection: &mut PgConnection,
    uid: &str,
    here: &str,
) -> Result<Option<ObjectLink>> {
    let row = select_links!("WHERE uid = $1", uid)
        .fetch_optional(connection)
        .await?;
    row.map(|row| row.read(here)).transpose()
}

async fn of_job(
    connection: &mut PgConnection,
    job: JobId,
    here: &str,
) -> Result<Option<ObjectLink>> {
    let row = select_links!("WHERE job = $1", job.as_uuid())
        .fetch_optional(connection)
        .await?;
    row.map(|row| row.read(here)).transpose()
}

async fn links(
    connection: &mut PgConnection,
    after: Option<JobId>,
    limit: u32,
    here: &str,
) -> Result<Vec<ObjectLink>> {
    let rows = select_links!(
        "WHERE job > $1 ORDER BY job LIMIT $2",
        after.map_or(Uuid::nil(), |job| job.as_uuid()),
        i64::from(limit)
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|row| row.read(here)).collect()
}

async fn seen(unit: &mut Unit, jobs: &[Uuid], here: &str) -> Result<()> {
    sqlx::query!(
        "UPDATE object_links SET cluster = $1 WHERE job = ANY($2) AND cluster IS DISTINCT FROM $1",
        here,
        jobs
    )
    .execute(&mut *unit.connection)
    .await?;
    Ok(())
}

async fn let_go(unit: &mut Unit, job: JobId, uid: &str, here: &str) -> Result<()> {
    sqlx::query!(
        "UPDATE object_links SET cluster = '' WHERE job = $1 AND uid = $2 AND cluster IS DISTINCT FROM $3",
        job.as_uuid(),
        uid,
        here
    )
    .execute(&mut *unit.connection)
    .await?;
    Ok(())
}

/// Where a walk through jobs without objects stands, in the order of the walk. A job moves towards the beginning as it is
/// worked on, so that none is passed by.
const WALK: [JobState; 3] = [JobState::Suspended, JobState::Processing, JobState::Queued];

async fn without_object(
    connection: &mut PgConnection,
    namespaces: Option<&[String]>,
    ended: Timestamp,
    after: Option<JobId>,
    limit: u32,
) -> Result<Vec<Job>> {
    let last = match after {
        Some(id) => match jobs::find(connection, id).await? {
            Some(job) => Some(job),
            None => return Ok(Vec::new()),
        },
        None => None,
    };
    let mut found = Vec::new();
    let stands = last.as_ref().and_then(|job| {
        let place = WALK.iter().position(|state| *state == job.status)?;
        Some((place, job.created_at, job.id))
    });
    if stands.is_none() {
        let from = last.and_then(|job| Some((job.completed_at?, job.id)));
        let from = from.filter(|from| from.0 >= ended);
        let from = from.map_or((ended, Uuid::nil()), |(at, id)| (at, id.as_uuid()));
        found = ended_since(connection, namespaces, from, limit).await?;
    }
    for (place, state) in WALK.into_iter().enumerate() {
        let room = limit.saturating_sub(u32::try_from(found.len()).unwrap_or(u32::MAX));
        let from = match stands {
            Some((at, ..)) if place < at => continue,
            Some((at, created, id)) if place == at => (created, id.as_uuid()),
            _ => (Timestamp::UNIX_EPOCH, Uuid::nil()),
        };
        if room > 0 {
            found.extend(of_state(connection, namespaces, state, from, room).await?);
        }
    }
    Ok(found)
}

/// Jobs without an object that ended after a place in the order of ends.
async fn ended_since(
    connection: &mut PgConnection,
    namespaces: Option<&[String]>,
    from: (Timestamp, Uuid),
    limit: u32,
) -> Result<Vec<Job>> {
    // A subquery for each row, and no join: few rows are asked for, and the past is long.
    let rows = select_jobs!(
        "WHERE j.completed_at >= $1 AND (j.completed_at, j.id) > ($1, $2)
        AND ($3::text[] IS NULL OR j.namespace = ANY($3))
        AND (SELECT l.job FROM object_links l WHERE l.job = j.id AND l.cluster IS DISTINCT FROM '') IS NULL
        ORDER BY j.completed_at, j.id LIMIT $4",
        Time::from(from.0),
        from.1,
        namespaces,
        i64::from(limit)
    )
    .fetch_all(connection)
    .await?;
    jobs::read_all(rows)
}

/// Jobs without an object in a state, after a place in the order in which they were handed in.
async fn of_state(
    connection: &mut PgConnection,
    namespaces: Option<&[String]>,
    state: JobState,
    from: (Timestamp, Uuid),
    limit: u32,
) -> Result<Vec<Job>> {
    let rows = select_jobs!(
        "WHERE j.status = $1 AND (j.created_at, j.id) > ($2, $3)
        AND ($4::text[] IS NULL OR j.namespace = ANY($4))
        AND (SELECT l.job FROM object_links l WHERE l.job = j.id AND l.cluster IS DISTINCT FROM '') IS NULL
        ORDER BY j.created_at, j.id LIMIT $5",
        state.as_str(),
        Time::from(from.0),
        from.1,
        namespaces,
        i64::from(limit)
    )
    .fetch_all(connection)
    .await?;
    jobs::read_all(rows)
}

async fn note(unit: &mut Unit, job: JobId, applied: Applied) -> Result<()> {
    sqlx::query!(
        "UPDATE object_links SET suspend = $1, cancel = $2, priority = $3 WHERE job = $4",
        applied.suspend,
        applied.cancel,
        i16::from(applied.priority),
        job.as_uuid()
    )
    .execute(&mut *unit.connection)
    .await?;
    Ok(())
}

async fn retry(unit: &mut Unit, id: JobId, retries: u32) -> Result<bool> {
    let job = jobs::lock(unit, id).await?;
    // A job that starts over is neither cancelled nor held back: what the spec says of that is carried out anew.
    let starts = job.status.after(JobEvent::Retry).is_ok();
    // The guard: seen is seen.
    let new = sqlx::query!(
        "UPDATE object_links SET retries = $1, cancel = false, suspend = suspend AND NOT $3
        WHERE job = $2 AND retries < $1",
        i64::from(retries),
        id.as_uuid(),
        starts
    )
    .execute(&mut *unit.connection)
    .await?;
    if new.rows_affected() == 0 || !starts {
        return Ok(false);
    }
    steering::retry(unit, id).await?;
    Ok(true)
}

async fn fail(unit: &mut Unit, id: JobId, failure: &Failure) -> Result<Job> {
    let job = jobs::lock(unit, id).await?;
    if job.status.is_terminal() {
        return Ok(job);
    }
    endings::close(unit, &job, JobEvent::Fail, Some(failure)).await
}

async fn remove(unit: &mut Unit, object: &ObjectRef, id: JobId) -> Result<()> {
    match jobs::lock(unit, id).await {
        Ok(job) => {
            let uid = sqlx::query_scalar!(
                "SELECT uid FROM object_links WHERE job = $1 AND cluster IS DISTINCT FROM ''",
                id.as_uuid()
            )
            .fetch_optional(&mut *unit.connection)
            .await?;
            let is_its_own = uid.is_none_or(|uid| uid == object.uid);
            if !is_its_own || job.namespace.as_str() != object.namespace {
                return Ok(());
            }
            if !job.status.is_terminal() {
                steering::cancel(unit, id).await?;
            }
            steering::delete(unit, id).await?;
        }
        Err(Problem::Answer(Error::NotFound)) => {}
        Err(problem) => return Err(problem),
    }
    sqlx::query!(
        "DELETE FROM object_links WHERE job = $1 AND (uid = $2 OR cluster = '')",
        id.as_uuid(),
        object.uid
    )
    .execute(&mut *unit.connection)
    .await?;
    Ok(())
}

async fn states(connection: &mut PgConnection, ids: &[Uuid]) -> Result<HashMap<JobId, JobState>> {
    let rows = sqlx::query!("SELECT id, status FROM jobs WHERE id = ANY($1)", ids)
        .fetch_all(connection)
        .await?;
    let read = rows.into_iter().map(|row| {
        let reading = Reading {
            table: "jobs",
            row: &row.id,
        };
        Ok((
            JobId::from_uuid(row.id),
            reading.word("status", &row.status)?,
        ))
    });
    read.collect()
}
