//! Worker processes, and what the queue looks like from outside.

use std::time::Duration;

use filejobs_core::{JobState, WorkerId};
use filejobs_store::rows::{self, Reading};
use filejobs_store::{QueueStats, WorkerInfo};
use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::database::Unit;
use crate::problem::{Result, micros};

type WorkerRow = rows::WorkerRow<i64>;

/// Registers a worker or says that it still lives. Its times are the caller's.
pub(crate) async fn beat(unit: &mut Unit, worker: &WorkerInfo) -> Result<()> {
    let id = worker.id.as_str();
    let started_at = micros(worker.started_at);
    let last_seen = micros(worker.last_seen);
    sqlx::query!(
        "INSERT INTO workers (id, slots, busy, version, started_at, last_seen) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
        ON CONFLICT DO UPDATE SET slots = ?2, busy = ?3, version = ?4, started_at = ?5, last_seen = ?6",
        id,
        worker.slots,
        worker.busy,
        worker.version,
        started_at,
        last_seen
    )
    .execute(&mut unit.connection)
    .await?;
    Ok(())
}

/// Takes a worker off the list.
pub(crate) async fn leave(unit: &mut Unit, worker: &WorkerId) -> Result<()> {
    let id = worker.as_str();
    sqlx::query!("DELETE FROM workers WHERE id = ?", id)
        .execute(&mut unit.connection)
        .await?;
    Ok(())
}

/// Workers heard of within `within`, by name.
pub(crate) async fn list(
    connection: &mut SqliteConnection,
    now: Timestamp,
    within: Duration,
) -> Result<Vec<WorkerInfo>> {
    let since = micros(now.checked_sub(within).unwrap_or(Timestamp::MIN));
    let rows = sqlx::query_as!(
        WorkerRow,
        "SELECT id, slots, busy, version, started_at, last_seen FROM workers WHERE last_seen >= ? ORDER BY id",
        since
    )
    .fetch_all(connection)
    .await?;
    let read = rows.into_iter().map(WorkerRow::read);
    Ok(read.collect::<std::result::Result<_, _>>()?)
}

/// The time over which speed is measured.
const SPEED_WINDOW: Duration = Duration::from_mins(1);

/// Depth, age and speed of the queue.
pub(crate) async fn stats(connection: &mut SqliteConnection, now: Timestamp) -> Result<QueueStats> {
    let since = micros(now.checked_sub(SPEED_WINDOW).unwrap_or(Timestamp::MIN));
    let row = Reading {
        table: "tasks",
        row: &"of the queue",
    };
    let found = sqlx::query_file!("queries/stats.sql", since)
        .fetch_one(&mut *connection)
        .await?;
    let counted =
        sqlx::query!(r#"SELECT status, SUM(jobs) AS "jobs!: i64" FROM job_counts GROUP BY status"#)
            .fetch_all(connection)
            .await?;
    let jobs_by_status = JobState::ALL.iter().map(|status| {
        let jobs = counted.iter().find(|c| c.status == status.as_str());
        Ok((*status, row.number("status", jobs.map_or(0, |c| c.jobs))?))
    });
    let oldest = found
        .oldest
        .map(|at| row.time("queued_at", at))
        .transpose()?;
    let age = oldest.map_or(0, |at| now.duration_since(at).as_secs().max(0));
    let rows: u64 = row.number("rows_processed", found.rows_ended)?;
    Ok(QueueStats {
        depth: row.number("state", found.waiting + found.published)?,
        published: row.number("state", found.published)?,
        running: row.number("state", found.running)?,
        dead_letters: row.number("dead", found.dead)?,
        oldest_age_seconds: age.unsigned_abs(),
        rows_per_second: rows as f64 / SPEED_WINDOW.as_secs_f64(),
        jobs_by_status: jobs_by_status.collect::<Result<_>>()?,
    })
}
