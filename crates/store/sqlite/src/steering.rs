//! What an owner or operator does with a job.

use filejobs_core::report::Tally;
use filejobs_core::{JobEvent, JobId, JobState, TaskEvent, TaskId, TaskState};
use filejobs_store::rows::{Reading, int, task_kind};
use filejobs_store::{ChangeKind, Error, Job, NewTask, Remains, TaskKind, Tombstone, telling};
use jiff::Timestamp;
use uuid::Uuid;

use crate::database::Unit;
use crate::problem::{Result, micros};
use crate::tasks::{self, step};
use crate::{endings, findings, jobs, outbox};

/// Cancels; unchanged when it is cancelled already.
pub(crate) async fn cancel(unit: &mut Unit, id: JobId) -> Result<Job> {
    let job = jobs::get(&mut unit.connection, id).await?;
    if job.status.after(JobEvent::Cancel)? == job.status {
        return Ok(job);
    }
    endings::close(unit, id, job.status, JobEvent::Cancel, None).await
}

/// Holds back; unchanged when it is held back already.
pub(crate) async fn suspend(unit: &mut Unit, id: JobId) -> Result<Job> {
    let job = jobs::get(&mut unit.connection, id).await?;
    if job.status.after(JobEvent::Suspend)? == job.status {
        return Ok(job);
    }
    tasks::withdraw(unit, id, true).await?;
    move_to(unit, &job, JobEvent::Suspend).await
}

/// Lets go on; unchanged when it is not held back.
pub(crate) async fn resume(unit: &mut Unit, id: JobId) -> Result<Job> {
    let job = jobs::get(&mut unit.connection, id).await?;
    if job.status.after(JobEvent::Resume)? == job.status {
        return Ok(job);
    }
    wait_again(unit, id).await?;
    move_to(unit, &job, JobEvent::Resume).await
}

/// The job waits from now on, and so do its tasks.
async fn wait_again(unit: &mut Unit, id: JobId) -> Result<()> {
    let (uuid, now) = (id.as_uuid(), micros(unit.now));
    sqlx::query!("UPDATE jobs SET queued_at = ? WHERE id = ?", now, uuid)
        .execute(&mut unit.connection)
        .await?;
    sqlx::query!(
        "UPDATE tasks SET queued_at = ?, held = 0 WHERE job = ? AND state = 'PENDING'",
        now,
        uuid
    )
    .execute(&mut unit.connection)
    .await?;
    unit.changed(id, ChangeKind::Work);
    Ok(())
}

/// A transition that does not end the job, with its event.
async fn move_to(unit: &mut Unit, job: &Job, event: JobEvent) -> Result<Job> {
    let to = job.status.after(event)?;
    let (uuid, now) = (job.id.as_uuid(), micros(unit.now));
    let (from_name, to_name) = (job.status.as_str(), to.as_str());
    let moved = sqlx::query!(
        "UPDATE jobs SET status = ?, updated_at = ?, last_event = last_event + 1, completed_at = NULL,
            failure_code = NULL, error_message = NULL
        WHERE id = ? AND status = ?",
        to_name,
        now,
        uuid,
        from_name
    )
    .execute(&mut unit.connection)
    .await?;
    if moved.rows_affected() != 1 {
        return Err(Error::Stale.into());
    }
    let moved = jobs::get(&mut unit.connection, job.id).await?;
    let data = telling::state(to, moved.generation);
    outbox::event(unit, job.id, moved.last_event, telling::STATE, &data).await?;
    unit.changed(job.id, ChangeKind::State);
    Ok(moved)
}

/// Starts over with nothing but the file.
pub(crate) async fn retry(unit: &mut Unit, id: JobId) -> Result<Job> {
    let job = jobs::get(&mut unit.connection, id).await?;
    job.status.after(JobEvent::Retry)?;
    let (uuid, now) = (id.as_uuid(), micros(unit.now));
    let first = sqlx::query!(
        "SELECT kind, bytes FROM tasks WHERE job = ? AND kind IN ('whole', 'plan')",
        uuid
    )
    .fetch_one(&mut unit.connection)
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
    sqlx::query!("DELETE FROM tasks WHERE job = ?", uuid)
        .execute(&mut unit.connection)
        .await?;
    sqlx::query!(
        "UPDATE jobs SET generation = generation + 1, attempt = 0, rows_total = NULL, rows_processed = 0,
            rows_failed = 0, bytes_processed = 0, errors_stored = 0, tally = NULL, facts = NULL, tasks_total = 1,
            tasks_done = 0, tasks_failed = 0, started_at = NULL, queued_at = ?
        WHERE id = ? AND status IN ('FAILED', 'CANCELLED')",
        now,
        uuid
    )
    .execute(&mut unit.connection)
    .await?;
    tasks::insert(unit, id, &[task]).await?;
    unit.changed(id, ChangeKind::Work);
    move_to(unit, &job, JobEvent::Retry).await
}

/// Gives a dead task, and those that were cancelled with it, another chance. What other tasks have done stays.
pub(crate) async fn replay(unit: &mut Unit, task: TaskId) -> Result<Job> {
    let id = task.as_uuid();
    let job = sqlx::query_scalar!(
        r#"SELECT job AS "job: Uuid" FROM tasks WHERE id = ? AND dead = 1"#,
        id
    )
    .fetch_optional(&mut unit.connection)
    .await?;
    let job = JobId::from_uuid(job.ok_or(Error::NotFound)?);
    let job = jobs::get(&mut unit.connection, job).await?;
    job.status.after(JobEvent::Retry)?;
    let (failed, pending) = step(TaskState::Failed, TaskEvent::Replay)?;
    let (cancelled, _) = step(TaskState::Cancelled, TaskEvent::Replay)?;
    let uuid = job.id.as_uuid();
    findings::unlink_ended(unit, job.id).await?;
    sqlx::query!(
        "DELETE FROM parts WHERE task IN (SELECT id FROM tasks WHERE job = ? AND state <> 'DONE')",
        uuid
    )
    .execute(&mut unit.connection)
    .await?;
    // `attempt` stays, because it is the fence; releasing every claim gives all attempts back.
    sqlx::query!(
        "UPDATE tasks SET state = ?, released = attempt, ended_at = NULL, dead = 0, failure_code = NULL,
            failure_message = NULL, not_before = NULL, tally = NULL, rejected = NULL, result = NULL
        WHERE job = ? AND state IN (?, ?)",
        pending,
        uuid,
        failed,
        cancelled
    )
    .execute(&mut unit.connection)
    .await?;
    recount(unit, job.id).await?;
    wait_again(unit, job.id).await?;
    move_to(unit, &job, JobEvent::Retry).await
}

/// Sums up anew what a job's finished tasks have counted.
async fn recount(unit: &mut Unit, job: JobId) -> Result<()> {
    let id = job.as_uuid();
    let done = sqlx::query!(
        "SELECT kind, bytes, tally FROM tasks WHERE job = ? AND state = 'DONE'",
        id
    )
    .fetch_all(&mut unit.connection)
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
    let (rows, failed) = (int(tally.rows_processed), int(tally.rows_failed));
    let tasks_done = int(done.len() as u64);
    let tally = serde_json::to_string(&tally)?;
    sqlx::query!(
        "UPDATE jobs SET tally = ?, rows_processed = ?, rows_failed = ?, bytes_processed = ?,
            errors_stored = MIN(?, findings_max), tasks_done = ?, tasks_failed = 0, attempt =
            (SELECT COALESCE(MAX(t.attempt - t.released), 0) FROM tasks t WHERE t.job = jobs.id)
        WHERE id = ?",
        tally,
        rows,
        failed,
        bytes,
        stored,
        tasks_done,
        id
    )
    .execute(&mut unit.connection)
    .await?;
    Ok(())
}

/// Changes the priority of a job that waits.
pub(crate) async fn set_priority(unit: &mut Unit, id: JobId, priority: u8) -> Result<Job> {
    let job = jobs::get(&mut unit.connection, id).await?;
    if !matches!(job.status, JobState::Queued | JobState::Suspended) {
        return Err(Error::WrongState(job.status).into());
    }
    let (uuid, now) = (id.as_uuid(), micros(unit.now));
    sqlx::query!(
        "UPDATE jobs SET priority = ?, updated_at = ? WHERE id = ? AND status IN ('QUEUED', 'SUSPENDED')",
        priority,
        now,
        uuid
    )
    .execute(&mut unit.connection)
    .await?;
    sqlx::query!(
        "UPDATE tasks SET priority = ? WHERE job = ?",
        priority,
        uuid
    )
    .execute(&mut unit.connection)
    .await?;
    unit.changed(id, ChangeKind::Work);
    unit.changed(id, ChangeKind::State);
    jobs::get(&mut unit.connection, id).await
}

/// Deletes a job that is not processing.
pub(crate) async fn delete(unit: &mut Unit, id: JobId) -> Result<Tombstone> {
    let job = jobs::get(&mut unit.connection, id).await?;
    if job.status == JobState::Processing {
        return Err(Error::WrongState(job.status).into());
    }
    remove(unit, job).await
}

/// Deletes a job that ended before a time.
pub(crate) async fn expire(unit: &mut Unit, id: JobId, before: Timestamp) -> Result<Tombstone> {
    let job = jobs::get(&mut unit.connection, id).await?;
    if job.completed_at.is_none_or(|ended| ended >= before) {
        return Err(Error::WrongState(job.status).into());
    }
    remove(unit, job).await
}

async fn remove(unit: &mut Unit, job: Job) -> Result<Tombstone> {
    let id = job.id;
    let (uuid, now) = (id.as_uuid(), micros(unit.now));
    findings::unlink(unit, id).await?;
    sqlx::query!("DELETE FROM idempotency_keys WHERE job = ?", uuid)
        .execute(&mut unit.connection)
        .await?;
    sqlx::query!("DELETE FROM jobs WHERE id = ?", uuid)
        .execute(&mut unit.connection)
        .await?;
    sqlx::query!(
        "INSERT INTO tombstones (job, blob, deleted_at) VALUES (?, ?, ?)",
        uuid,
        job.blob,
        now
    )
    .execute(&mut unit.connection)
    .await?;
    unit.changed(id, ChangeKind::Deleted);
    Ok(Tombstone {
        id,
        blob: job.blob,
        remains: Remains::Job,
        tries: 0,
    })
}
