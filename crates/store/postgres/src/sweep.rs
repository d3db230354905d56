//! Removes what nothing refers to any more, a little at a time, and adds up what is counted.

use std::time::Duration;

use filejobs_core::JobId;
use filejobs_store::Tombstone;
use filejobs_store::rows::int;
use sqlx::PgConnection;

use crate::database::Unit;
use crate::problem::Result;
use crate::time::Time;

/// Workers not heard of for this long are forgotten.
const FORGET_WORKERS: Duration = Duration::from_hours(1);

/// Changes of counts that are added to their sums in one go.
const COUNTED: i64 = 50_000;

/// Removes about `limit` rows; returns how many.
pub(crate) async fn sweep(unit: &mut Unit, limit: u32) -> Result<u64> {
    add_up_counts(unit).await?;
    let mut removed = loose_findings(unit, limit).await?;
    let keys = sqlx::query!(
        "DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM idempotency_keys WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2
            FOR UPDATE SKIP LOCKED))",
        Time::from(unit.now),
        i64::from(limit)
    )
    .execute(&mut *unit.connection)
    .await?;
    removed += keys.rows_affected();
    let workers = sqlx::query!(
        "DELETE FROM workers WHERE last_seen < $1",
        Time::from(unit.before(FORGET_WORKERS))
    )
    .execute(&mut *unit.connection)
    .await?;
    Ok(removed + workers.rows_affected())
}

/// Adds what has changed to the counts of jobs. Whoever reads them sees either the changes or the new sum.
pub(crate) async fn add_up_counts(unit: &mut Unit) -> Result<()> {
    sqlx::query!(
        "WITH counted AS (
            DELETE FROM job_count_changes WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM job_count_changes LIMIT $1 FOR UPDATE SKIP LOCKED))
            RETURNING namespace, status, jobs
        )
        INSERT INTO job_counts AS c (namespace, status, jobs)
        SELECT namespace, status, SUM(jobs) FROM counted GROUP BY namespace, status ORDER BY namespace, status
        ON CONFLICT (namespace, status) DO UPDATE SET jobs = c.jobs + excluded.jobs",
        COUNTED
    )
    .execute(&mut *unit.connection)
    .await?;
    Ok(())
}

/// Findings of batches that no commit has linked or that were let go of, unless their attempt still runs.
async fn loose_findings(unit: &mut Unit, limit: u32) -> Result<u64> {
    let mut removed = 0;
    while removed < u64::from(limit) {
        // Held, so that nothing is added to it meanwhile.
        let batch = sqlx::query_scalar!(
            "SELECT b.id FROM finding_batches b WHERE NOT b.linked AND NOT EXISTS
                (SELECT 1 FROM tasks t WHERE t.id = b.task AND t.state = 'RUNNING' AND t.attempt = b.attempt)
            LIMIT 1 FOR UPDATE OF b SKIP LOCKED"
        )
        .fetch_optional(&mut *unit.connection)
        .await?;
        let Some(batch) = batch else { break };
        let room = u64::from(limit) - removed;
        let findings = sqlx::query!(
            "DELETE FROM findings WHERE batch = $1
                AND ordinal < (SELECT MIN(ordinal) FROM findings WHERE batch = $1) + $2::bigint",
            batch,
            int(room)
        )
        .execute(&mut *unit.connection)
        .await?;
        removed += findings.rows_affected();
        if findings.rows_affected() < room {
            sqlx::query!(
                "WITH labels AS (DELETE FROM finding_labels WHERE batch = $1),
                    counts AS (DELETE FROM finding_counts WHERE batch = $1)
                DELETE FROM finding_batches WHERE id = $1",
                batch
            )
            .execute(&mut *unit.connection)
            .await?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Deleted jobs whose blobs may still be there, oldest first.
pub(crate) async fn tombstones(
    connection: &mut PgConnection,
    limit: u32,
) -> Result<Vec<Tombstone>> {
    let rows = sqlx::query!(
        "SELECT job, blob FROM tombstones ORDER BY deleted_at LIMIT $1",
        i64::from(limit)
    )
    .fetch_all(connection)
    .await?;
    let read = rows.into_iter().map(|row| Tombstone {
        id: JobId::from_uuid(row.job),
        blob: row.blob,
    });
    Ok(read.collect())
}

/// The blobs of a deleted job are gone.
pub(crate) async fn bury(unit: &mut Unit, job: JobId) -> Result<()> {
    sqlx::query!("DELETE FROM tombstones WHERE job = $1", job.as_uuid())
        .execute(&mut *unit.connection)
        .await?;
    Ok(())
}
