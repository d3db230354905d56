//! Tasks: made, claimed, kept, given back.

use std::time::Duration;

use filejobs_core::failure::Failure;
use filejobs_core::{JobEvent, JobId, TaskEvent, TaskId, TaskState, WorkerId};
use filejobs_store::rows::{ClaimedRow, int};
use filejobs_store::{ChangeKind, Claimed, Error, Held, Job, NewTask, Ticket, telling};
use jiff::Timestamp;
use uuid::Uuid;

use crate::database::Unit;
use crate::jobs::{self, JobRow, select_jobs};
use crate::numbers::small;
use crate::problem::Result;
use crate::text::plain;
use crate::time::Time;

/// Name of the state after an event, once the transition table has allowed it. The state before stands in the
/// statements, because the partial indexes are found by it.
pub(crate) fn after(from: TaskState, event: TaskEvent) -> Result<&'static str> {
    Ok(from.after(event)?.as_str())
}

/// Adds pieces to a job, which is locked. What admission looks at is copied from it.
pub(crate) async fn insert(unit: &mut Unit, job: JobId, tasks: &[NewTask]) -> Result<()> {
    let ids: Vec<Uuid> = tasks.iter().map(|task| task.id.as_uuid()).collect();
    let kinds: Vec<String> = tasks.iter().map(|t| t.kind.as_str().to_owned()).collect();
    let places: Vec<i32> = tasks.iter().map(|task| small(task.index)).collect();
    let pieces: Vec<String> = tasks.iter().map(|task| task.piece.to_string()).collect();
    let bytes: Vec<i64> = tasks.iter().map(|task| int(task.bytes)).collect();
    sqlx::query!(
        "INSERT INTO tasks (id, job, kind, idx, piece, bytes, namespace, priority, queued_at)
        SELECT t.id, j.id, t.kind, t.idx, t.piece::json, t.bytes, j.namespace, j.priority, j.queued_at
        FROM jobs j CROSS JOIN UNNEST($2::uuid[], $3::text[], $4::integer[], $5::text[], $6::bigint[])
            AS t (id, kind, idx, piece, bytes)
        WHERE j.id = $1",
        job.as_uuid(),
        &ids,
        &kinds,
        &places,
        &pieces,
        &bytes
    )
    .execute(&mut *unit.connection)
    .await?;
    Ok(())
}

/// Takes the lease of a published task; the first claim of a job starts it.
pub(crate) async fn claim(
    unit: &mut Unit,
    ticket: Ticket,
    worker: &WorkerId,
    lease: Duration,
) -> Result<Option<Claimed>> {
    let job = select_jobs!(
        "WHERE j.id = (SELECT o.job FROM tasks o WHERE o.id = $1 AND o.attempt = $2 AND o.state = 'PUBLISHED')
        FOR NO KEY UPDATE OF j",
        ticket.task.as_uuid(),
        small(ticket.attempt)
    )
    .fetch_optional(&mut *unit.connection)
    .await?;
    let Some(job) = job else { return Ok(None) };
    let taken = sqlx::query_as!(
        ClaimedRow,
        r#"UPDATE tasks SET state = $1, attempt = attempt + 1, worker = $2, lease_expires_at = $3, published_at = NULL,
            progress_bytes = 0, progress_rows = 0, progress_failed = 0, progress_at = $4
        WHERE id = $5 AND attempt = $6 AND state = 'PUBLISHED'
        RETURNING attempt, attempt - released AS "spent!", kind, idx, piece::text AS "piece!""#,
        after(TaskState::Published, TaskEvent::Claim)?,
        worker.as_str(),
        Time::from(unit.after(lease)),
        Time::from(unit.now),
        ticket.task.as_uuid(),
        small(ticket.attempt)
    )
    .fetch_optional(&mut *unit.connection)
    .await?;
    let Some(taken) = taken else { return Ok(None) };
    let job = start(unit, job, taken.spent).await?;
    Ok(Some(taken.read(ticket.task, job)?))
}

/// The job of a task that has just been claimed for the `spent`th time. It is written only where that says something new
/// about it, since tasks of one job are claimed at the same time.
async fn start(unit: &mut Unit, row: JobRow, spent: i64) -> Result<Job> {
    let mut job = row.read()?;
    let to = job.status.after(JobEvent::Start)?;
    let begins = job.status != to;
    let spent = u32::try_from(spent).unwrap_or(u32::MAX);
    unit.changed(
        job.id,
        if begins {
            ChangeKind::State
        } else {
            ChangeKind::Progress
        },
    );
    job.updated_at = unit.now;
    if !begins && spent <= job.attempt {
        return Ok(job);
    }
    job.attempt = job.attempt.max(spent);
    job.started_at.get_or_insert(unit.now);
    job.last_event += u64::from(begins);
    job.status = to;
    sqlx::query!(
        "WITH job AS (
            UPDATE jobs SET status = $2, started_at = COALESCE(started_at, $3), updated_at = $3, attempt = $4,
                last_event = $5
            WHERE id = $1 RETURNING id
        )
        INSERT INTO events (job, id, kind, at, data) SELECT id, $5, $6, $3, $7::text::json FROM job WHERE $8",
        job.id.as_uuid(),
        to.as_str(),
        Time::from(unit.now),
        small(job.attempt),
        int(job.last_event),
        telling::STATE,
        telling::state(to, job.generation).to_string(),
        begins
    )
    .execute(&mut *unit.connection)
    .await?;
    Ok(job)
}

/// Renews leases and writes progress. Returns the tasks that are no longer this worker's.
///
/// A task that another unit holds at this moment is left out and renewed with the next heartbeat: whatever that unit
/// does to it, no heartbeat waits for it.
pub(crate) async fn renew(
    unit: &mut Unit,
    worker: &WorkerId,
    held: &[Held],
    lease: Duration,
) -> Result<Vec<TaskId>> {
    let ids: Vec<Uuid> = held.iter().map(|held| held.task.as_uuid()).collect();
    let attempts: Vec<i32> = held.iter().map(|held| small(held.attempt)).collect();
    let bytes: Vec<i64> = held.iter().map(|held| int(held.bytes)).collect();
    let rows: Vec<i64> = held.iter().map(|held| int(held.rows)).collect();
    let failed: Vec<i64> = held.iter().map(|held| int(held.failed)).collect();
    let renewed = sqlx::query!(
        "WITH mine AS (
            SELECT t.id, h.bytes, h.rows, h.failed
            FROM UNNEST($1::uuid[], $2::integer[], $3::bigint[], $4::bigint[], $5::bigint[])
                AS h (id, attempt, bytes, rows, failed)
            JOIN tasks t ON t.id = h.id AND t.attempt = h.attempt
            WHERE t.worker = $6 AND t.state = 'RUNNING'
            FOR NO KEY UPDATE OF t SKIP LOCKED
        )
        UPDATE tasks t SET lease_expires_at = $7, progress_at = $8, progress_bytes = mine.bytes,
            progress_rows = mine.rows, progress_failed = mine.failed
        FROM mine WHERE t.id = mine.id
        RETURNING t.id, t.job",
        &ids,
        &attempts,
        &bytes,
        &rows,
        &failed,
        worker.as_str(),
        Time::from(unit.after(lease)),
        Time::from(unit.now)
    )
    .fetch_all(&mut *unit.connection)
    .await?;
    for row in &renewed {
        unit.changed(JobId::from_uuid(row.job), ChangeKind::Progress);
    }
    if renewed.len() == held.len() {
        return Ok(Vec::new());
    }
    let mut kept: Vec<Uuid> = renewed.into_iter().map(|row| row.id).collect();
    kept.extend(still_held(unit, worker, &ids, &attempts).await?);
    Ok(held
        .iter()
        .map(|held| held.task)
        .filter(|task| !kept.contains(&task.as_uuid()))
        .collect())
}

async fn still_held(
    unit: &mut Unit,
    worker: &WorkerId,
    ids: &[Uuid],
    attempts: &[i32],
) -> Result<Vec<Uuid>> {
    let held = sqlx::query_scalar!(
        "SELECT t.id FROM UNNEST($1::uuid[], $2::integer[]) AS h (id, attempt)
        JOIN tasks t ON t.id = h.id AND t.attempt = h.attempt
        WHERE t.worker = $3 AND t.state = 'RUNNING'",
        ids,
        attempts,
        worker.as_str()
    )
    .fetch_all(&mut *unit.connection)
    .await?;
    Ok(held)
}

/// The attempt failed and another follows.
pub(crate) async fn retry(
    unit: &mut Unit,
    task: TaskId,
    attempt: u32,
    failure: &Failure,
    not_before: Timestamp,
) -> Result<()> {
    let job = jobs::lock_of_task(unit, task).await?.ok_or(Error::Stale)?;
    let put_off = sqlx::query!(
        "UPDATE tasks SET state = $1, worker = NULL, lease_expires_at = NULL, not_before = $2, failure_code = $3,
            failure_message = $4
        WHERE id = $5 AND attempt = $6 AND state = 'RUNNING'",
        after(TaskState::Running, TaskEvent::Retry)?,
        Time::from(unit.on_our_clock(not_before)),
        failure.code.as_str(),
        plain(&failure.message),
        task.as_uuid(),
        small(attempt)
    )
    .execute(&mut *unit.connection)
    .await?;
    if put_off.rows_affected() != 1 {
        return Err(Error::Stale.into());
    }
    jobs::touch(unit, JobId::from_uuid(job.id)).await
}

/// The attempt is given back and does not count.
pub(crate) async fn release(unit: &mut Unit, task: TaskId, attempt: u32) -> Result<()> {
    let job = jobs::lock_of_task(unit, task).await?.ok_or(Error::Stale)?;
    let released = sqlx::query!(
        "UPDATE tasks SET state = $1, worker = NULL, lease_expires_at = NULL, released = released + 1
        WHERE id = $2 AND attempt = $3 AND state = 'RUNNING'",
        after(TaskState::Running, TaskEvent::Release)?,
        task.as_uuid(),
        small(attempt)
    )
    .execute(&mut *unit.connection)
    .await?;
    if released.rows_affected() != 1 {
        return Err(Error::Stale.into());
    }
    jobs::touch(unit, JobId::from_uuid(job.id)).await
}

/// Takes back the open tasks of one job, which is locked, without spending an attempt. They stay back until it is resumed.
pub(crate) async fn withdraw(unit: &mut Unit, job: JobId) -> Result<()> {
    TaskState::Running.after(TaskEvent::Release)?;
    sqlx::query!(
        "UPDATE tasks SET released = released + (state = 'RUNNING')::integer, state = $1, held = true,
            published_at = NULL, worker = NULL, lease_expires_at = NULL
        WHERE job = $2 AND state IN ('PENDING', 'PUBLISHED', 'RUNNING')",
        after(TaskState::Published, TaskEvent::Withdraw)?,
        job.as_uuid()
    )
    .execute(&mut *unit.connection)
    .await?;
    jobs::touch(unit, job).await
}

/// Takes back everything that any worker of an earlier process holds.
pub(crate) async fn take_back_all(unit: &mut Unit) -> Result<u64> {
    let jobs = sqlx::query_scalar!(
        "SELECT j.id FROM jobs j WHERE j.id IN
            (SELECT t.job FROM tasks t WHERE t.state = 'PUBLISHED' UNION SELECT r.job FROM tasks r WHERE r.state = 'RUNNING')
        ORDER BY j.id FOR NO KEY UPDATE"
    )
    .fetch_all(&mut *unit.connection)
    .await?;
    let taken = sqlx::query!(
        "UPDATE tasks SET released = released + (state = 'RUNNING')::integer, state = $1, published_at = NULL,
            worker = NULL, lease_expires_at = NULL
        WHERE job = ANY($2) AND state IN ('PUBLISHED', 'RUNNING')",
        after(TaskState::Published, TaskEvent::Withdraw)?,
        &jobs
    )
    .execute(&mut *unit.connection)
    .await?;
    for job in jobs {
        jobs::touch(unit, JobId::from_uuid(job)).await?;
    }
    sqlx::query!("DELETE FROM workers")
        .execute(&mut *unit.connection)
        .await?;
    Ok(taken.rows_affected())
}

/// Ends the open tasks of a job that ends without them. The job is locked.
pub(crate) async fn cancel_open(unit: &mut Unit, job: JobId) -> Result<()> {
    sqlx::query!(
        "UPDATE tasks SET state = $1, held = false, published_at = NULL, worker = NULL, lease_expires_at = NULL,
            not_before = NULL, ended_at = $2
        WHERE job = $3 AND state IN ('PENDING', 'PUBLISHED', 'RUNNING')",
        after(TaskState::Running, TaskEvent::Cancel)?,
        Time::from(unit.now),
        job.as_uuid()
    )
    .execute(&mut *unit.connection)
    .await?;
    Ok(())
}
