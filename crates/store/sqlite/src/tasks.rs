//! Tasks: made, published, claimed, kept, given back.

use std::collections::HashMap;
use std::time::Duration;

use filejobs_core::failure::Failure;
use filejobs_core::{JobEvent, JobId, TaskEvent, TaskId, TaskState, WorkerId};
use filejobs_store::rows::{self, ClaimedRow, ExpiredRow, int};
use filejobs_store::{
    ChangeKind, Claimed, DeadLetter, Error, Expired, Held, Listed, NewTask, Page, Ticket, telling,
};
use jiff::Timestamp;
use serde_json::json;
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::database::Unit;
use crate::jobs::{self, hex_list};
use crate::outbox;
use crate::problem::{Result, micros};

type DeadRow = rows::DeadRow<i64>;

/// Names of the state before and after an event, once the transition table has allowed it.
pub(crate) fn step(from: TaskState, event: TaskEvent) -> Result<(&'static str, &'static str)> {
    Ok((from.as_str(), from.after(event)?.as_str()))
}

fn after(now: Timestamp, pause: Duration) -> i64 {
    micros(now.checked_add(pause).unwrap_or(Timestamp::MAX))
}

fn before(now: Timestamp, age: Duration) -> i64 {
    micros(now.checked_sub(age).unwrap_or(Timestamp::MIN))
}

/// Adds tasks to a job. What admission looks at is copied from the job.
pub(crate) async fn insert(unit: &mut Unit, job: JobId, tasks: &[NewTask]) -> Result<()> {
    let job = job.as_uuid();
    let rows: Vec<_> = tasks
        .iter()
        .map(|task| {
            json!({
                "id": task.id.as_uuid().simple().to_string(),
                "kind": task.kind.as_str(),
                "idx": task.index,
                "piece": task.piece.to_string(),
                "bytes": task.bytes,
            })
        })
        .collect();
    let rows = serde_json::to_string(&rows)?;
    sqlx::query!(
        "INSERT INTO tasks (id, job, kind, idx, piece, bytes, namespace, priority, queued_at)
        SELECT unhex(t.value ->> 'id'), j.id, t.value ->> 'kind', t.value ->> 'idx', t.value ->> 'piece',
            t.value ->> 'bytes', j.namespace, j.priority, j.queued_at
        FROM jobs j CROSS JOIN json_each(?2) t WHERE j.id = ?1",
        job,
        rows
    )
    .execute(&mut unit.connection)
    .await?;
    Ok(())
}

/// How many tasks are on their way through the queue.
pub(crate) async fn published(connection: &mut SqliteConnection) -> Result<u64> {
    let tasks = sqlx::query_scalar!(
        r#"SELECT COUNT(*) AS "tasks!: i64" FROM tasks WHERE state = 'PUBLISHED'"#
    )
    .fetch_one(connection)
    .await?;
    Ok(u64::try_from(tasks).unwrap_or(0))
}

/// Marks tasks published, in the order given.
pub(crate) async fn publish(unit: &mut Unit, tasks: &[TaskId]) -> Result<Vec<Ticket>> {
    let (from, to) = step(TaskState::Pending, TaskEvent::Publish)?;
    let ids = hex_list(tasks.iter().map(TaskId::as_uuid));
    let now = micros(unit.now);
    let rows = sqlx::query!(
        r#"UPDATE tasks SET state = ?, published_at = ?, not_before = NULL
        WHERE id IN (SELECT unhex(value) FROM json_each(?)) AND state = ? AND held = 0
        RETURNING id AS "id: Uuid", attempt"#,
        to,
        now,
        ids,
        from
    )
    .fetch_all(&mut unit.connection)
    .await?;
    let mut published = HashMap::new();
    for row in rows {
        published.insert(row.id, rows::ticket(row.id, row.attempt)?);
    }
    Ok(tasks
        .iter()
        .filter_map(|task| published.remove(&task.as_uuid()))
        .collect())
}

/// Marks tasks published anew that nobody has claimed for `older_than`.
pub(crate) async fn republish(
    unit: &mut Unit,
    older_than: Duration,
    limit: u32,
) -> Result<Vec<Ticket>> {
    let now = micros(unit.now);
    let before = before(unit.now, older_than);
    let rows = sqlx::query!(
        r#"UPDATE tasks SET published_at = ?
        WHERE rowid IN (SELECT rowid FROM tasks WHERE state = 'PUBLISHED' AND published_at <= ?
            ORDER BY published_at LIMIT ?)
        RETURNING id AS "id: Uuid", attempt"#,
        now,
        before,
        limit
    )
    .fetch_all(&mut unit.connection)
    .await?;
    let tickets = rows
        .into_iter()
        .map(|row| rows::ticket(row.id, row.attempt));
    Ok(tickets.collect::<std::result::Result<_, _>>()?)
}

/// Takes the lease of a published task; the first claim of a job starts it.
pub(crate) async fn claim(
    unit: &mut Unit,
    ticket: Ticket,
    worker: &WorkerId,
    lease: Duration,
) -> Result<Option<Claimed>> {
    let (from, to) = step(TaskState::Published, TaskEvent::Claim)?;
    let id = ticket.task.as_uuid();
    let worker = worker.as_str();
    let now = micros(unit.now);
    let expires = after(unit.now, lease);
    let taken = sqlx::query!(
        r#"UPDATE tasks SET state = ?, attempt = attempt + 1, worker = ?, lease_expires_at = ?, published_at = NULL,
            progress_bytes = 0, progress_rows = 0, progress_failed = 0, progress_at = ?
        WHERE id = ? AND attempt = ? AND state = ?
        RETURNING job AS "job: Uuid", attempt, attempt - released AS "spent!: i64", kind, idx, piece"#,
        to,
        worker,
        expires,
        now,
        id,
        ticket.attempt,
        from
    )
    .fetch_optional(&mut unit.connection)
    .await?;
    let Some(taken) = taken else { return Ok(None) };
    let job = start(unit, JobId::from_uuid(taken.job), taken.spent).await?;
    let row = ClaimedRow {
        attempt: taken.attempt,
        spent: taken.spent,
        kind: taken.kind,
        idx: taken.idx,
        piece: taken.piece,
    };
    Ok(Some(row.read(ticket.task, job)?))
}

async fn start(unit: &mut Unit, id: JobId, spent: i64) -> Result<filejobs_store::Job> {
    let mut job = jobs::get(&mut unit.connection, id).await?;
    let to = job.status.after(JobEvent::Start)?;
    let begins = job.status != to;
    let (uuid, now) = (id.as_uuid(), micros(unit.now));
    let (from, to_name) = (job.status.as_str(), to.as_str());
    sqlx::query!(
        "UPDATE jobs SET status = ?1, started_at = COALESCE(started_at, ?2), updated_at = ?2,
            attempt = MAX(attempt, ?3), last_event = last_event + ?4
        WHERE id = ?5 AND status = ?6",
        to_name,
        now,
        spent,
        begins,
        uuid,
        from
    )
    .execute(&mut unit.connection)
    .await?;
    job.status = to;
    job.started_at.get_or_insert(unit.now);
    job.updated_at = unit.now;
    job.attempt = job.attempt.max(u32::try_from(spent).unwrap_or(u32::MAX));
    if begins {
        job.last_event += 1;
        let data = telling::state(to, job.generation);
        outbox::event(unit, id, job.last_event, telling::STATE, &data).await?;
        unit.changed(id, ChangeKind::State);
    } else {
        unit.changed(id, ChangeKind::Progress);
    }
    Ok(job)
}

/// Renews leases and writes progress. Returns the tasks that are no longer this worker's.
pub(crate) async fn renew(
    unit: &mut Unit,
    worker: &WorkerId,
    held: &[Held],
    lease: Duration,
) -> Result<Vec<TaskId>> {
    let rows: Vec<_> = held
        .iter()
        .map(|held| {
            json!({
                "id": held.task.as_uuid().simple().to_string(),
                "attempt": held.attempt,
                "bytes": held.bytes,
                "rows": held.rows,
                "failed": held.failed,
            })
        })
        .collect();
    let rows = serde_json::to_string(&rows)?;
    let worker = worker.as_str();
    let now = micros(unit.now);
    let expires = after(unit.now, lease);
    let renewed = sqlx::query!(
        r#"UPDATE tasks SET lease_expires_at = ?1, progress_at = ?2, progress_bytes = h.value ->> 'bytes',
            progress_rows = h.value ->> 'rows', progress_failed = h.value ->> 'failed'
        FROM json_each(?3) h
        WHERE tasks.id = unhex(h.value ->> 'id') AND tasks.attempt = h.value ->> 'attempt'
            AND tasks.worker = ?4 AND tasks.state = 'RUNNING'
        RETURNING id AS "id: Uuid", job AS "job: Uuid""#,
        expires,
        now,
        rows,
        worker
    )
    .fetch_all(&mut unit.connection)
    .await?;
    for row in &renewed {
        unit.changed(JobId::from_uuid(row.job), ChangeKind::Progress);
    }
    Ok(held
        .iter()
        .map(|held| held.task)
        .filter(|task| !renewed.iter().any(|row| row.id == task.as_uuid()))
        .collect())
}

/// Running tasks whose lease has run out.
pub(crate) async fn expired(
    connection: &mut SqliteConnection,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<Expired>> {
    let now = micros(now);
    let rows = sqlx::query_as!(
        ExpiredRow,
        r#"SELECT id AS "id: Uuid", job AS "job: Uuid", attempt, attempt - released AS "spent!: i64",
            worker AS "worker!"
        FROM tasks WHERE state = 'RUNNING' AND lease_expires_at <= ? ORDER BY lease_expires_at LIMIT ?"#,
        now,
        limit
    )
    .fetch_all(connection)
    .await?;
    let read = rows.into_iter().map(ExpiredRow::read);
    Ok(read.collect::<std::result::Result<_, _>>()?)
}

/// The attempt failed and another follows.
pub(crate) async fn retry(
    unit: &mut Unit,
    task: TaskId,
    attempt: u32,
    failure: &Failure,
    not_before: Timestamp,
) -> Result<()> {
    let (from, to) = step(TaskState::Running, TaskEvent::Retry)?;
    let id = task.as_uuid();
    let code = failure.code.as_str();
    let not_before = micros(not_before);
    let job = sqlx::query_scalar!(
        r#"UPDATE tasks SET state = ?, worker = NULL, lease_expires_at = NULL, not_before = ?,
            failure_code = ?, failure_message = ?
        WHERE id = ? AND attempt = ? AND state = ? RETURNING job AS "job: Uuid""#,
        to,
        not_before,
        code,
        failure.message,
        id,
        attempt,
        from
    )
    .fetch_optional(&mut unit.connection)
    .await?;
    touch(unit, JobId::from_uuid(job.ok_or(Error::Stale)?)).await
}

/// The attempt is given back and does not count.
pub(crate) async fn release(unit: &mut Unit, task: TaskId, attempt: u32) -> Result<()> {
    let (from, to) = step(TaskState::Running, TaskEvent::Release)?;
    let id = task.as_uuid();
    let job = sqlx::query_scalar!(
        r#"UPDATE tasks SET state = ?, worker = NULL, lease_expires_at = NULL, released = released + 1
        WHERE id = ? AND attempt = ? AND state = ? RETURNING job AS "job: Uuid""#,
        to,
        id,
        attempt,
        from
    )
    .fetch_optional(&mut unit.connection)
    .await?;
    touch(unit, JobId::from_uuid(job.ok_or(Error::Stale)?)).await
}

/// A job's tasks went back to waiting: its attempts may be fewer, its running rows are.
async fn touch(unit: &mut Unit, job: JobId) -> Result<()> {
    let (id, now) = (job.as_uuid(), micros(unit.now));
    sqlx::query!(
        "UPDATE jobs SET updated_at = ?2,
            attempt = (SELECT COALESCE(MAX(attempt - released), 0) FROM tasks WHERE job = ?1)
        WHERE id = ?1",
        id,
        now
    )
    .execute(&mut unit.connection)
    .await?;
    unit.changed(job, ChangeKind::Progress);
    unit.changed(job, ChangeKind::Work);
    Ok(())
}

/// Takes back the open tasks of one job, without spending an attempt. They stay back while the job is `held`.
pub(crate) async fn withdraw(unit: &mut Unit, job: JobId, held: bool) -> Result<()> {
    let (published, pending) = step(TaskState::Published, TaskEvent::Withdraw)?;
    let (running, _) = step(TaskState::Running, TaskEvent::Release)?;
    let id = job.as_uuid();
    sqlx::query!(
        "UPDATE tasks SET released = released + (state = ?1), state = ?2, held = ?3, published_at = NULL,
            worker = NULL, lease_expires_at = NULL
        WHERE job = ?4 AND state IN (?1, ?2, ?5)",
        running,
        pending,
        held,
        id,
        published
    )
    .execute(&mut unit.connection)
    .await?;
    touch(unit, job).await
}

/// Takes back everything that any worker of an earlier process holds.
pub(crate) async fn take_back_all(unit: &mut Unit) -> Result<u64> {
    let (_, pending) = step(TaskState::Published, TaskEvent::Withdraw)?;
    let (running, _) = step(TaskState::Running, TaskEvent::Release)?;
    let mut jobs = sqlx::query_scalar!(
        r#"UPDATE tasks SET released = released + (state = ?1), state = ?2, published_at = NULL, worker = NULL,
            lease_expires_at = NULL
        WHERE state IN ('PUBLISHED', 'RUNNING') RETURNING job AS "job: Uuid""#,
        running,
        pending
    )
    .fetch_all(&mut unit.connection)
    .await?;
    let tasks = jobs.len() as u64;
    jobs.sort_unstable();
    jobs.dedup();
    for job in jobs {
        touch(unit, JobId::from_uuid(job)).await?;
    }
    sqlx::query!("DELETE FROM workers")
        .execute(&mut unit.connection)
        .await?;
    Ok(tasks)
}

/// Ends the open tasks of a job that has ended without them.
pub(crate) async fn cancel_open(unit: &mut Unit, job: JobId) -> Result<()> {
    let cancelled = TaskState::Running.after(TaskEvent::Cancel)?.as_str();
    let (id, now) = (job.as_uuid(), micros(unit.now));
    sqlx::query!(
        "UPDATE tasks SET state = ?, held = 0, published_at = NULL, worker = NULL, lease_expires_at = NULL,
            not_before = NULL, ended_at = ?
        WHERE job = ? AND state IN ('PENDING', 'PUBLISHED', 'RUNNING')",
        cancelled,
        now,
        id
    )
    .execute(&mut unit.connection)
    .await?;
    Ok(())
}

/// Tasks that used up their attempts, newest first.
pub(crate) async fn dead_letters(
    connection: &mut SqliteConnection,
    page: Page<TaskId>,
) -> Result<Listed<DeadLetter, TaskId>> {
    let total =
        sqlx::query_scalar!(r#"SELECT COUNT(*) AS "tasks!: i64" FROM tasks WHERE dead = 1"#)
            .fetch_one(&mut *connection)
            .await?;
    let (cursor, offset, limit) = match page {
        Page::Offset { offset, limit } => (None, int(offset), limit),
        Page::After { cursor, limit } => (cursor.map(|task| task.as_uuid()), 0, limit),
    };
    let want = i64::from(limit) + 1;
    let rows = sqlx::query_as!(
        DeadRow,
        r#"SELECT id AS "id: Uuid", job AS "job: Uuid", idx, attempt - released AS "spent!: i64",
            failure_code, failure_message, ended_at AS "ended_at!"
        FROM tasks
        WHERE dead = 1 AND (?1 IS NULL OR (ended_at, id) < (SELECT c.ended_at, c.id FROM tasks c WHERE c.id = ?1))
        ORDER BY ended_at DESC, id DESC LIMIT ?2 OFFSET ?3"#,
        cursor,
        want,
        offset
    )
    .fetch_all(connection)
    .await?;
    let more = rows.len() > limit as usize;
    let read = rows.into_iter().take(limit as usize).map(DeadRow::read);
    let items = read.collect::<std::result::Result<Vec<_>, _>>()?;
    let next = items.last().filter(|_| more).map(|dead| dead.task);
    Ok(Listed {
        total: u64::try_from(total).unwrap_or(0),
        items,
        next,
    })
}
