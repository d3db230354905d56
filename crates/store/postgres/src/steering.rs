//! What an owner or operator does with a job.

use filejobs_core::report::Tally;
use filejobs_core::{JobEvent, JobId, JobState, TaskEvent, TaskId, TaskState};
use filejobs_store::rows::{Reading, int, task_kind};
use filejobs_store::{ChangeKind, Error, Job, NewTask, Remains, TaskKind, Tombstone};
use jiff::Timestamp;

use crate::database::Unit;
use crate::endings;
use crate::findings;
use crate::jobs::{self, move_to, write_job};
use crate::numbers::small;
use crate::problem::Result;
use crate::tasks::{self, after};
use crate::time::Time;

/// Cancels; unchanged when it is cancelled already.
pub(crate) async fn cancel(unit: &mut Unit, id: JobId) -> Result<Job> {
    let job = jobs::lock(unit, id).await?;
    if job.status.after(JobEvent::Cancel)? == job.status {
        return Ok(job);
    }
    endings::close(unit, &job, JobEvent::Cancel, None).await
}

/// Holds back; unchanged when it is held back already.
pub(crate) async fn suspend(unit: &mut Unit, id: JobId) -> Result<Job> {
    let job = jobs::lock(unit, id).await?;
    if job.status.after(JobEvent::Suspend)? == job.status {
        return Ok(job);
    }
    tasks::withdraw(unit, id).await?;
    move_to(unit, &job, JobEvent::Suspend).await
}

/// Lets go on; unchanged when it is not held back.
pub(crate) async fn resume(unit: &mut Unit, id: JobId) -> Result<Job> {
    let job = jobs::lock(unit, id).await?;
    if job.status.after(JobEvent::Resume)? == job.status {
        return Ok(job);
    }
    wait_again(unit, id).await?;
    move_to(unit, &job, JobEvent::Resume).await
}

/// The job waits from now on, and so do its tasks.
async fn wait_again(unit: &mut Unit, id: JobId) -> Result<()> {
    sqlx::query!(
        "WITH job AS (UPDATE jobs SET queued_at = $1 WHERE id = $2)
        UPDATE tasks SET queued_at = $1, held = false WHERE job = $2 AND state = 'PENDING'",
        Time::from(unit.now),
        id.as_uuid()
    )
    .execute(&mut *unit.connection)
    .await?;
    unit.changed(id, ChangeKind::Work);
    Ok(())
}

/// Starts over with nothing but the file.
pub(crate) async fn retry(unit: &mut Unit, id: JobId) -> Result<Job> {
    let job = jobs::lock(unit, id).await?;
    job.status.after(JobEvent::Retry)?;
    let first = sqlx::query!(
        "SELECT kind, bytes FROM tasks WHERE job = $1 AND kind IN ('whole', 'plan')",
        id.as_uuid()
    )
    .fetch_one(&mut *unit.connection)
    .await?;
    let row = Reading {
        table: "tasks",
        row: &id,
    };
    let task = NewTask {
        id: TaskId::from_uuid(unit.sources.ids.uuid(unit.now)),
        kind: task_kind(row, &first.kind)?,
        index: 0,
        piece: serde_json::Value::Null,
        bytes: row.number("bytes", first.bytes)?,
    };
    findings::unlink(unit, id).await?;
    sqlx::query!("DELETE FROM tasks WHERE job = $1", id.as_uuid())
        .execute(&mut *unit.connection)
        .await?;
    sqlx::query!(
        "UPDATE jobs SET generation = generation + 1, attempt = 0, rows_total = NULL, rows_processed = 0,
            rows_failed = 0, bytes_processed = 0, errors_stored = 0, tally = NULL, facts = NULL, tasks_total = 1,
            tasks_done = 0, tasks_failed = 0, started_at = NULL, queued_at = $1
        WHERE id = $2",
        Time::from(unit.now),
        id.as_uuid()
    )
    .execute(&mut *unit.connection)
    .await?;
    tasks::insert(unit, id, &[task]).await?;
    unit.changed(id, ChangeKind::Work);
    move_to(unit, &job, JobEvent::Retry).await
}

/// Gives a dead task, and those that were cancelled with it, another chance. What other tasks have done stays.
pub(crate) async fn replay(unit: &mut Unit, task: TaskId) -> Result<Job> {
    let row = jobs::lock_of_task(unit, task).await?;
    let job = row.ok_or(Error::NotFound)?.read()?;
    let dead = sqlx::query_scalar!("SELECT dead FROM tasks WHERE id = $1", task.as_uuid())
        .fetch_optional(&mut *unit.connection)
        .await?;
    if dead != Some(true) {
        return Err(Error::NotFound.into());
    }
    job.status.after(JobEvent::Retry)?;
    TaskState::Cancelled.after(TaskEvent::Replay)?;
    findings::unlink_ended(unit, job.id).await?;
    sqlx::query!(
        "DELETE FROM parts WHERE task IN (SELECT id FROM tasks WHERE job = $1 AND state <> 'DONE')",
        job.id.as_uuid()
    )
    .execute(&mut *unit.connection)
    .await?;
    // `attempt` stays, because it is the fence; releasing every claim gives all attempts back.
    sqlx::query!(
        "UPDATE tasks SET state = $1, released = attempt, ended_at = NULL, dead = false, failure_code = NULL,
            failure_message = NULL, not_before = NULL, tally = NULL, rejected = NULL, result = NULL
        WHERE job = $2 AND state IN ('FAILED', 'CANCELLED')",
        after(TaskState::Failed, TaskEvent::Replay)?,
        job.id.as_uuid()
    )
    .execute(&mut *unit.connection)
    .await?;
    recount(unit, job.id).await?;
    wait_again(unit, job.id).await?;
    move_to(unit, &job, JobEvent::Retry).await
}

/// Sums up anew what a job's finished tasks have counted.
async fn recount(unit: &mut Unit, job: JobId) -> Result<()> {
    let done = sqlx::query!(
        "SELECT kind, bytes, tally::text AS tally FROM tasks WHERE job = $1 AND state = 'DONE'",
        job.as_uuid()
    )
    .fetch_all(&mut *unit.connection)
    .await?;
    let row = Reading {
        table: "tasks",
        row: &job,
    };
    let mut tally = Tally::default();
    let mut bytes = 0;
    for task in &done {
        let own = task.tally.as_deref().map(|own| row.json("tally", own));
        tally.merge(&own.transpose()?.unwrap_or_default());
        if task.kind != TaskKind::Plan.as_str() {
            bytes += task.bytes;
        }
    }
    let stored = findings::linked(&mut unit.connection, job).await?;
    sqlx::query!(
        "UPDATE jobs SET tally = $1::text::json, rows_processed = $2, rows_failed = $3, bytes_processed = $4,
            errors_stored = LEAST($5, findings_max), tasks_done = $6, tasks_failed = 0, attempt =
            (SELECT COALESCE(MAX(t.attempt - t.released), 0) FROM tasks t WHERE t.job = jobs.id)
        WHERE id = $7",
        serde_json::to_string(&tally)?,
        int(tally.rows_processed),
        int(tally.rows_failed),
        bytes,
        stored,
        small(u32::try_from(done.len()).unwrap_or(u32::MAX)),
        job.as_uuid()
    )
    .execute(&mut *unit.connection)
    .await?;
    Ok(())
}

/// Changes the priority of a job that waits.
pub(crate) async fn set_priority(unit: &mut Unit, id: JobId, priority: u8) -> Result<Job> {
    let job = jobs::lock(unit, id).await?;
    if !matches!(job.status, JobState::Queued | JobState::Suspended) {
        return Err(Error::WrongState(job.status).into());
    }
    let changed = write_job!(
        "WITH its_tasks AS (UPDATE tasks SET priority = $1 WHERE job = $2)
        UPDATE jobs AS j SET priority = $1, updated_at = $3 WHERE j.id = $2",
        i16::from(priority),
        id.as_uuid(),
        Time::from(unit.now)
    )
    .fetch_one(&mut *unit.connection)
    .await?;
    unit.changed(id, ChangeKind::Work);
    unit.changed(id, ChangeKind::State);
    Ok(changed.read()?)
}

/// Deletes a job that is not processing.
pub(crate) async fn delete(unit: &mut Unit, id: JobId) -> Result<Tombstone> {
    let job = jobs::lock(unit, id).await?;
    if job.status == JobState::Processing {
        return Err(Error::WrongState(job.status).into());
    }
    remove(unit, job).await
}

/// Deletes a job that ended before a time.
pub(crate) async fn expire(unit: &mut Unit, id: JobId, before: Timestamp) -> Result<Tombstone> {
    let job = jobs::lock(unit, id).await?;
    if job.completed_at.is_none_or(|ended| ended >= before) {
        return Err(Error::WrongState(job.status).into());
    }
    remove(unit, job).await
}

async fn remove(unit: &mut Unit, job: Job) -> Result<Tombstone> {
    let id = job.id;
    findings::unlink(unit, id).await?;
    sqlx::query!("DELETE FROM idempotency_keys WHERE job = $1", id.as_uuid())
        .execute(&mut *unit.connection)
        .await?;
    sqlx::query!(
        "WITH gone AS (DELETE FROM jobs WHERE id = $1)
        INSERT INTO tombstones (job, blob, deleted_at) VALUES ($1, $2, $3)",
        id.as_uuid(),
        job.blob,
        Time::from(unit.now)
    )
    .execute(&mut *unit.connection)
    .await?;
    unit.changed(id, ChangeKind::Deleted);
    Ok(Tombstone {
        id,
        blob: job.blob,
        remains: Remains::Job,
        tries: 0,
    })
}
