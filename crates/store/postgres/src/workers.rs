//! Worker processes, and what the queue looks like from outside.

use std::time::Duration;

use filejobs_core::{JobState, WorkerId};
use filejobs_store::rows::{self, Reading};
use filejobs_store::{QueueStats, WorkerInfo};

use crate::database::Unit;
use crate::numbers::small;
use crate::problem::Result;
use crate::time::Time;

type WorkerRow = rows::WorkerRow<Time>;

/// The time over which speed is measured.
const SPEED_WINDOW: Duration = Duration::from_mins(1);

/// Registers a worker or says that it still lives.
pub(crate) async fn beat(unit: &mut Unit, worker: &WorkerInfo) -> Result<()> {
    sqlx::query!(
        "INSERT INTO workers (id, slots, busy, version, started_at, last_seen) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (id) DO UPDATE SET slots = $2, busy = $3, version = $4, started_at = $5, last_seen = $6",
        worker.id.as_str(),
        small(worker.slots),
        small(worker.busy),
        worker.version,
        Time::from(unit.on_our_clock(worker.started_at)),
        Time::from(unit.on_our_clock(worker.last_seen))
    )
    .execute(&mut *unit.connection)
    .await?;
    Ok(())
}

/// Takes a worker off the list.
pub(crate) async fn leave(unit: &mut Unit, worker: &WorkerId) -> Result<()> {
    sqlx::query!("DELETE FROM workers WHERE id = $1", worker.as_str())
        .execute(&mut *unit.connection)
        .await?;
    Ok(())
}

/// Workers heard of within `within`, by name.
pub(crate) async fn list(unit: &mut Unit, within: Duration) -> Result<Vec<WorkerInfo>> {
    let rows = sqlx::query_as!(
        WorkerRow,
        "SELECT id, slots, busy, version, started_at, last_seen FROM workers WHERE last_seen >= $1 ORDER BY id",
        Time::from(unit.before(within))
    )
    .fetch_all(&mut *unit.connection)
    .await?;
    let read = rows.into_iter().map(WorkerRow::read);
    Ok(read.collect::<std::result::Result<_, _>>()?)
}

/// Depth, age and speed of the queue.
pub(crate) async fn stats(unit: &mut Unit) -> Result<QueueStats> {
    let row = Reading {
        table: "tasks",
        row: &"of the queue",
    };
    let since = Time::from(unit.before(SPEED_WINDOW));
    let found = sqlx::query_file!("queries/stats.sql", since)
        .fetch_one(&mut *unit.connection)
        .await?;
    let counted = sqlx::query!(
        r#"SELECT c.status AS "status!", SUM(c.jobs)::bigint AS "jobs!" FROM (
            SELECT status, jobs FROM job_counts UNION ALL SELECT status, jobs::bigint FROM job_count_changes
        ) c GROUP BY c.status"#
    )
    .fetch_all(&mut *unit.connection)
    .await?;
    let jobs_by_status = JobState::ALL.iter().map(|status| {
        let jobs = counted.iter().find(|c| c.status == status.as_str());
        Ok((*status, row.number("status", jobs.map_or(0, |c| c.jobs))?))
    });
    let oldest = found
        .oldest
        .map(|at| row.time("queued_at", at))
        .transpose()?;
    let age = oldest.map_or(0, |at| unit.now.duration_since(at).as_secs().max(0));
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
