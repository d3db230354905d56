//! Removes what nothing refers to any more, a little at a time.

use std::time::Duration;

use filejobs_core::JobId;
use filejobs_store::Tombstone;
use filejobs_store::rows::int;
use jiff::Timestamp;
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::database::Unit;
use crate::problem::{Result, micros};

/// Workers not heard of for this long are forgotten.
const FORGET_WORKERS: Duration = Duration::from_hours(1);

/// Removes about `limit` rows; returns how many.
pub(crate) async fn sweep(unit: &mut Unit, limit: u32) -> Result<u64> {
    let mut removed = loose_findings(unit, limit).await?;
    let now = micros(unit.now);
    let keys = sqlx::query!(
        "DELETE FROM idempotency_keys WHERE (namespace, key) IN
            (SELECT namespace, key FROM idempotency_keys WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)",
        now,
        limit
    )
    .execute(&mut unit.connection)
    .await?;
    removed += keys.rows_affected();
    let before = micros(
        unit.now
            .checked_sub(FORGET_WORKERS)
            .unwrap_or(Timestamp::MIN),
    );
    let workers = sqlx::query!("DELETE FROM workers WHERE last_seen < ?", before)
        .execute(&mut unit.connection)
        .await?;
    Ok(removed + workers.rows_affected())
}

/// Findings of batches that no commit has linked or that were let go of, unless their attempt still runs.
async fn loose_findings(unit: &mut Unit, limit: u32) -> Result<u64> {
    let mut removed = 0;
    while removed < u64::from(limit) {
        let batch = sqlx::query_scalar!(
            "SELECT b.id FROM finding_batches b WHERE b.linked = 0 AND NOT EXISTS
                (SELECT 1 FROM tasks t WHERE t.id = b.task AND t.state = 'RUNNING' AND t.attempt = b.attempt)
            LIMIT 1"
        )
        .fetch_optional(&mut unit.connection)
        .await?;
        let Some(batch) = batch else { break };
        let room = u64::from(limit) - removed;
        let upto = int(room);
        let findings = sqlx::query!(
            "DELETE FROM findings WHERE batch = ?1
                AND ordinal < (SELECT MIN(ordinal) FROM findings WHERE batch = ?1) + ?2",
            batch,
            upto
        )
        .execute(&mut unit.connection)
        .await?;
        removed += findings.rows_affected();
        if findings.rows_affected() < room {
            sqlx::query!("DELETE FROM finding_counts WHERE batch = ?", batch)
                .execute(&mut unit.connection)
                .await?;
            sqlx::query!("DELETE FROM finding_batches WHERE id = ?", batch)
                .execute(&mut unit.connection)
                .await?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Deleted jobs whose blobs may still be there, oldest first.
pub(crate) async fn tombstones(
    connection: &mut SqliteConnection,
    limit: u32,
) -> Result<Vec<Tombstone>> {
    let rows = sqlx::query!(
        r#"SELECT job AS "job: Uuid", blob FROM tombstones ORDER BY deleted_at LIMIT ?"#,
        limit
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
    let id = job.as_uuid();
    sqlx::query!("DELETE FROM tombstones WHERE job = ?", id)
        .execute(&mut unit.connection)
        .await?;
    Ok(())
}
