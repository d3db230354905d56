//! Jobs: made, read, locked.

use filejobs_core::{JobEvent, JobId, JobState, TaskId};
use filejobs_store::counting::Count;
use filejobs_store::rows::{self, int};
use filejobs_store::{ChangeKind, Error, Idempotency, Job, NewJob, telling};
use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::database::Unit;
use crate::numbers::small;
use crate::problem::{Problem, Result};
use crate::time::Time;
use crate::{backlog, keys, outbox};

/// A row of `jobs` with the progress of its running tasks.
pub(crate) type JobRow = rows::JobRow<Time>;

/// Selects jobs: the rest of the statement, then its arguments. A plan's own reading is no progress.
macro_rules! select_jobs {
    ($rest:tt $(+ $more:tt)* $(, $argument:expr)*) => {
        sqlx::query_as!(
            $crate::jobs::JobRow,
            r#"SELECT j.id, j.namespace, j.filename, j.blob, j.file_size, j.file_type, j.sha256,
                j.options::text AS "options!", j.schema::text AS schema, j.processor::text AS "processor!",
                j.webhook_url, j.priority, j.findings_max, j.status, j.failure_code, j.error_message, j.generation,
                j.attempt, j.rows_total, j.rows_processed, j.rows_failed, j.bytes_processed, j.errors_stored,
                j.tally::text AS tally, j.facts::text AS facts, j.tasks_total, j.tasks_done, j.tasks_failed,
                j.created_at, j.queued_at, j.started_at, j.completed_at, j.updated_at, j.last_event,
                r.rows AS "running_rows!", r.failed AS "running_failed!", r.bytes AS "running_bytes!",
                r.at AS "running_at?"
            FROM jobs j CROSS JOIN LATERAL (
                SELECT COALESCE(SUM(t.progress_rows) FILTER (WHERE t.kind <> 'plan'), 0)::bigint AS rows,
                    COALESCE(SUM(t.progress_failed) FILTER (WHERE t.kind <> 'plan'), 0)::bigint AS failed,
                    COALESCE(SUM(t.progress_bytes) FILTER (WHERE t.kind <> 'plan'), 0)::bigint AS bytes,
                    MAX(t.progress_at) AS at
                FROM tasks t WHERE j.status = 'PROCESSING' AND t.job = j.id AND t.state = 'RUNNING'
            ) r "# + $rest $(+ $more)*
            $(, $argument)*
        )
    };
}

/// Writes one job, which the statement calls `j`, and selects it as it is after that.
macro_rules! write_job {
    ($statement:tt $(, $argument:expr)*) => {
        sqlx::query_as!(
            $crate::jobs::JobRow,
            $statement + r#" RETURNING j.id, j.namespace, j.filename, j.blob, j.file_size, j.file_type, j.sha256,
                j.options::text AS "options!", j.schema::text AS schema, j.processor::text AS "processor!",
                j.webhook_url, j.priority, j.findings_max, j.status, j.failure_code, j.error_message, j.generation,
                j.attempt, j.rows_total, j.rows_processed, j.rows_failed, j.bytes_processed, j.errors_stored,
                j.tally::text AS tally, j.facts::text AS facts, j.tasks_total, j.tasks_done, j.tasks_failed,
                j.created_at, j.queued_at, j.started_at, j.completed_at, j.updated_at, j.last_event,
                CASE WHEN j.status = 'PROCESSING' THEN (SELECT COALESCE(SUM(t.progress_rows), 0)::bigint FROM tasks t
                    WHERE t.job = j.id AND t.state = 'RUNNING' AND t.kind <> 'plan') ELSE 0 END AS "running_rows!",
                CASE WHEN j.status = 'PROCESSING' THEN (SELECT COALESCE(SUM(t.progress_failed), 0)::bigint FROM tasks t
                    WHERE t.job = j.id AND t.state = 'RUNNING' AND t.kind <> 'plan') ELSE 0 END AS "running_failed!",
                CASE WHEN j.status = 'PROCESSING' THEN (SELECT COALESCE(SUM(t.progress_bytes), 0)::bigint FROM tasks t
                    WHERE t.job = j.id AND t.state = 'RUNNING' AND t.kind <> 'plan') ELSE 0 END AS "running_bytes!",
                CASE WHEN j.status = 'PROCESSING' THEN (SELECT MAX(t.progress_at) FROM tasks t
                    WHERE t.job = j.id AND t.state = 'RUNNING') END AS "running_at?""#
            $(, $argument)*
        )
    };
}

pub(crate) use {select_jobs, write_job};

/// One job.
pub(crate) async fn find(connection: &mut PgConnection, id: JobId) -> Result<Option<Job>> {
    let row = select_jobs!("WHERE j.id = $1", id.as_uuid())
        .fetch_optional(connection)
        .await?;
    Ok(row.map(JobRow::read).transpose()?)
}

/// Reads all of them, or none.
pub(crate) fn read_all(rows: Vec<JobRow>) -> Result<Vec<Job>> {
    let read = rows.into_iter().map(JobRow::read);
    Ok(read.collect::<std::result::Result<_, _>>()?)
}

/// Locks a job, so that nothing about it and its tasks changes but by this unit. The first statement of every unit that
/// changes one.
pub(crate) async fn lock(unit: &mut Unit, id: JobId) -> Result<Job> {
    let row = select_jobs!("WHERE j.id = $1 FOR NO KEY UPDATE OF j", id.as_uuid())
        .fetch_optional(&mut *unit.connection)
        .await?;
    Ok(row.ok_or(Error::NotFound)?.read()?)
}

/// Locks the job of a task, whatever the task's state. `None` for an unknown task.
pub(crate) async fn lock_of_task(unit: &mut Unit, task: TaskId) -> Result<Option<JobRow>> {
    let row = select_jobs!(
        "WHERE j.id = (SELECT o.job FROM tasks o WHERE o.id = $1) FOR NO KEY UPDATE OF j",
        task.as_uuid()
    )
    .fetch_optional(&mut *unit.connection)
    .await?;
    Ok(row)
}

/// Creates a job with its first task and event.
pub(crate) async fn create(unit: &mut Unit, new: &NewJob) -> Result<Job> {
    if let Some(Idempotency {
        key,
        fingerprint,
        expires_at,
    }) = &new.idempotency
    {
        keys::take_up(unit, &new.namespace, key, new.id, fingerprint, *expires_at).await?;
    }
    if let Some(most) = new.queued_max {
        backlog::check(unit, &new.namespace, most).await?;
    }
    let status = JobState::Queued;
    let job = insert(unit, new, status).await?;
    unit.count(Count::created(new));
    unit.changed(new.id, ChangeKind::State);
    unit.changed(new.id, ChangeKind::Work);
    Ok(job.read()?)
}

/// Job, task and event in one statement: all of them or none, and one way to the server.
async fn insert(unit: &mut Unit, new: &NewJob, status: JobState) -> Result<JobRow> {
    let now = Time::from(unit.now);
    let schema = new.schema.as_ref().map(serde_json::to_string).transpose()?;
    let row = write_job!(
        "WITH task AS (
            INSERT INTO tasks (id, job, kind, idx, piece, bytes, namespace, priority, queued_at)
            VALUES ($16, $1, $17, $18, $19::text::json, $20, $2, $12, $15)
        ), event AS (
            INSERT INTO events (job, id, kind, at, data) VALUES ($1, 1, $21, $15, $22::text::json)
        )
        INSERT INTO jobs AS j (id, namespace, filename, blob, file_size, file_type, sha256, options, schema, processor,
            webhook_url, priority, findings_max, status, tasks_total, created_at, queued_at, updated_at, last_event)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text::json, $9::text::json, $10::text::json, $11, $12, $13, $14, 1, $15,
            $15, $15, 1)",
        new.id.as_uuid(),
        new.namespace.as_str(),
        new.filename,
        new.blob,
        int(new.file_size),
        new.file_type.as_str(),
        new.sha256,
        serde_json::to_string(&new.options)?,
        schema,
        new.processor.to_string(),
        new.webhook_url,
        i16::from(new.priority),
        int(new.findings_max),
        status.as_str(),
        now,
        new.task.id.as_uuid(),
        new.task.kind.as_str(),
        small(new.task.index),
        new.task.piece.to_string(),
        int(new.task.bytes),
        telling::STATE,
        telling::state(status, 0).to_string()
    )
    .fetch_one(&mut *unit.connection)
    .await?;
    Ok(row)
}

/// A transition that does not end the job, with its event. The job is locked.
pub(crate) async fn move_to(unit: &mut Unit, job: &Job, event: JobEvent) -> Result<Job> {
    let to = job.status.after(event)?;
    let moved = write_job!(
        "UPDATE jobs AS j SET status = $1, updated_at = $2, last_event = j.last_event + 1, completed_at = NULL,
            failure_code = NULL, error_message = NULL
        WHERE j.id = $3 AND j.status = $4",
        to.as_str(),
        Time::from(unit.now),
        job.id.as_uuid(),
        job.status.as_str()
    )
    .fetch_optional(&mut *unit.connection)
    .await?;
    let moved = moved.ok_or(Error::Stale)?.read()?;
    let data = telling::state(to, moved.generation);
    outbox::event(unit, job.id, moved.last_event, telling::STATE, &data).await?;
    unit.changed(job.id, ChangeKind::State);
    Ok(moved)
}

/// A job's tasks went back to waiting: its attempts may be fewer, its running rows are. The job is locked.
pub(crate) async fn touch(unit: &mut Unit, job: JobId) -> Result<()> {
    sqlx::query!(
        "UPDATE jobs SET updated_at = $2,
            attempt = (SELECT COALESCE(MAX(t.attempt - t.released), 0) FROM tasks t WHERE t.job = $1)
        WHERE id = $1",
        job.as_uuid(),
        Time::from(unit.now)
    )
    .execute(&mut *unit.connection)
    .await?;
    unit.changed(job, ChangeKind::Progress);
    unit.changed(job, ChangeKind::Work);
    Ok(())
}

/// Which of `ids` are jobs.
pub(crate) async fn existing(connection: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<JobId>> {
    let found = sqlx::query_scalar!("SELECT id FROM jobs WHERE id = ANY($1)", ids)
        .fetch_all(connection)
        .await?;
    Ok(found.into_iter().map(JobId::from_uuid).collect())
}

/// Ended jobs, oldest end first.
pub(crate) async fn ended_before(
    connection: &mut PgConnection,
    before: Timestamp,
    limit: u32,
) -> Result<Vec<JobId>> {
    let found = sqlx::query_scalar!(
        "SELECT id FROM jobs WHERE completed_at IS NOT NULL AND completed_at < $1 ORDER BY completed_at LIMIT $2",
        Time::from(before),
        i64::from(limit)
    )
    .fetch_all(connection)
    .await?;
    Ok(found.into_iter().map(JobId::from_uuid).collect())
}

/// What the code and the SQL of this crate disagree about.
pub(crate) fn defect(what: &'static str) -> Problem {
    Problem::Broken(what.into())
}
