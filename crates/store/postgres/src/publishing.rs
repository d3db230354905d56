//! What the scheduler asks of tasks: which wait, which are on their way, which are lost.

use std::collections::HashMap;
use std::time::Duration;

use filejobs_core::{TaskEvent, TaskId, TaskState};
use filejobs_store::rows::{self, Busy, ExpiredRow, RunningRow, int};
use filejobs_store::{DeadLetter, Expired, Listed, Page, Running, Ticket, Waiting};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::database::Unit;
use crate::problem::Result;
use crate::tasks::after;
use crate::time::Time;

type DeadRow = rows::DeadRow<Time>;
type WaitingRow = rows::WaitingRow<Time>;

/// Tasks that may be published now.
pub(crate) async fn waiting(unit: &mut Unit, per_group: u32) -> Result<Vec<Waiting>> {
    let busy = busy(unit).await?;
    let now = Time::from(unit.now);
    let rows = sqlx::query_file_as!(WaitingRow, "queries/waiting.sql", now, i64::from(per_group));
    read(rows.fetch_all(&mut *unit.connection).await?, &busy)
}

/// Tasks that may be published now and whose job has begun.
pub(crate) async fn waiting_of_begun(unit: &mut Unit, per_job: u32) -> Result<Vec<Waiting>> {
    let busy = busy(unit).await?;
    let now = Time::from(unit.now);
    let rows = sqlx::query_file_as!(
        WaitingRow,
        "queries/waiting_of_begun.sql",
        now,
        i64::from(per_job)
    );
    read(rows.fetch_all(&mut *unit.connection).await?, &busy)
}

fn read(rows: Vec<WaitingRow>, busy: &Busy) -> Result<Vec<Waiting>> {
    let read = rows.into_iter().map(|row| row.read(busy));
    Ok(read.collect::<std::result::Result<_, _>>()?)
}

async fn busy(unit: &mut Unit) -> Result<Busy> {
    let rows = sqlx::query!(
        r#"SELECT b.namespace AS "namespace!", b.job AS "job!", COUNT(*) AS "tasks!" FROM (
            SELECT namespace, job FROM tasks WHERE state = 'PUBLISHED'
            UNION ALL
            SELECT namespace, job FROM tasks WHERE state = 'RUNNING'
        ) b GROUP BY b.namespace, b.job"#
    )
    .fetch_all(&mut *unit.connection)
    .await?;
    let mut busy = Busy::default();
    for row in rows {
        busy.add(row.namespace, row.job, row.tasks);
    }
    Ok(busy)
}

/// What runs in each namespace.
pub(crate) async fn running(connection: &mut PgConnection) -> Result<Vec<Running>> {
    let rows = sqlx::query_file_as!(RunningRow, "queries/running.sql")
        .fetch_all(connection)
        .await?;
    let read = rows.into_iter().map(RunningRow::read);
    Ok(read.collect::<std::result::Result<_, _>>()?)
}

/// How many tasks are on their way through the queue.
pub(crate) async fn published(connection: &mut PgConnection) -> Result<u64> {
    let tasks =
        sqlx::query_scalar!(r#"SELECT COUNT(*) AS "tasks!" FROM tasks WHERE state = 'PUBLISHED'"#)
            .fetch_one(connection)
            .await?;
    Ok(u64::try_from(tasks).unwrap_or(0))
}

/// Marks tasks published, in the order given. What another unit is changing at this moment is left out, and found again
/// by whoever looks next.
pub(crate) async fn publish(unit: &mut Unit, tasks: &[TaskId]) -> Result<Vec<Ticket>> {
    let ids: Vec<Uuid> = tasks.iter().map(TaskId::as_uuid).collect();
    let rows = sqlx::query!(
        // Found by their ids alone: a server without statistics would rather look through all tasks that wait.
        "WITH named AS (
            SELECT id, state, held FROM tasks WHERE id = ANY($1) FOR NO KEY UPDATE SKIP LOCKED
        )
        UPDATE tasks t SET state = $2, published_at = $3, not_before = NULL FROM named
        WHERE t.id = named.id AND named.state = 'PENDING' AND NOT named.held
        RETURNING t.id, t.attempt",
        &ids,
        after(TaskState::Pending, TaskEvent::Publish)?,
        Time::from(unit.now)
    )
    .fetch_all(&mut *unit.connection)
    .await?;
    let mut published = HashMap::new();
    for row in rows {
        published.insert(row.id, rows::ticket(row.id, row.attempt.into())?);
    }
    Ok(ids.iter().filter_map(|id| published.remove(id)).collect())
}

/// Marks tasks published anew that nobody has claimed for `older_than`.
pub(crate) async fn republish(
    unit: &mut Unit,
    older_than: Duration,
    limit: u32,
) -> Result<Vec<Ticket>> {
    let rows = sqlx::query!(
        "WITH lost AS (
            SELECT id FROM tasks WHERE state = 'PUBLISHED' AND published_at <= $1
            ORDER BY published_at LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
        )
        UPDATE tasks t SET published_at = $3 FROM lost WHERE t.id = lost.id RETURNING t.id, t.attempt",
        Time::from(unit.before(older_than)),
        i64::from(limit),
        Time::from(unit.now)
    )
    .fetch_all(&mut *unit.connection)
    .await?;
    let tickets = rows
        .into_iter()
        .map(|row| rows::ticket(row.id, row.attempt.into()));
    Ok(tickets.collect::<std::result::Result<_, _>>()?)
}

/// Running tasks whose lease has run out.
pub(crate) async fn expired(unit: &mut Unit, limit: u32) -> Result<Vec<Expired>> {
    let rows = sqlx::query_as!(
        ExpiredRow,
        r#"SELECT id, job, attempt, attempt - released AS "spent!", worker AS "worker!"
        FROM tasks WHERE state = 'RUNNING' AND lease_expires_at <= $1 ORDER BY lease_expires_at LIMIT $2"#,
        Time::from(unit.now),
        i64::from(limit)
    )
    .fetch_all(&mut *unit.connection)
    .await?;
    let read = rows.into_iter().map(ExpiredRow::read);
    Ok(read.collect::<std::result::Result<_, _>>()?)
}

/// Tasks that used up their attempts, newest first.
pub(crate) async fn dead_letters(
    unit: &mut Unit,
    page: Page<TaskId>,
) -> Result<Listed<DeadLetter, TaskId>> {
    let total = sqlx::query_scalar!(r#"SELECT COUNT(*) AS "tasks!" FROM tasks WHERE dead"#)
        .fetch_one(&mut *unit.connection)
        .await?;
    let (cursor, offset, limit) = match page {
        Page::Offset { offset, limit } => (None, int(offset), limit),
        Page::After { cursor, limit } => (cursor.map(|task| task.as_uuid()), 0, limit),
    };
    let rows = sqlx::query_as!(
        DeadRow,
        r#"SELECT id, job, idx, attempt - released AS "spent!", failure_code, failure_message, ended_at AS "ended_at!"
        FROM tasks
        WHERE dead AND ($1::uuid IS NULL OR (ended_at, id) < (SELECT c.ended_at, c.id FROM tasks c WHERE c.id = $1))
        ORDER BY ended_at DESC, id DESC LIMIT $2 OFFSET $3"#,
        cursor,
        i64::from(limit) + 1,
        offset
    )
    .fetch_all(&mut *unit.connection)
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
