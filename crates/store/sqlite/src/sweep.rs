//! Removes what nothing refers to any more, a little at a time.

use std::time::Duration;

use filejobs_core::JobId;
use filejobs_store::rows::{TombstoneRow, int};
use filejobs_store::{Job, Remains, Tombstone};
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

/// The file of a job that was just completed is to go.
pub(crate) async fn spend_upload(unit: &mut Unit, job: &Job) -> Result<()> {
    let (id, now) = (job.id.as_uuid(), micros(unit.now));
    sqlx::query!(
        "INSERT INTO spent_uploads (job, blob, due) VALUES (?, ?, ?)",
        id,
        job.blob,
        now
    )
    .execute(&mut unit.connection)
    .await?;
    Ok(())
}

/// What is due to be removed from the storage, longest due first.
pub(crate) async fn tombstones(
    connection: &mut SqliteConnection,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<Tombstone>> {
    let now = micros(now);
    let rows = sqlx::query!(
        r#"SELECT job AS "job!: Uuid", blob AS "blob!", upload AS "upload!: bool", tries AS "tries!: i64" FROM (
            SELECT job, blob, 0 AS upload, tries, COALESCE(due, deleted_at) AS since FROM tombstones
            UNION ALL
            SELECT job, blob, 1, tries, due FROM spent_uploads
        ) t WHERE since <= ? ORDER BY since LIMIT ?"#,
        now,
        limit
    )
    .fetch_all(connection)
    .await?;
    let read = rows.into_iter().map(|found| {
        let row = TombstoneRow {
            job: found.job,
            blob: found.blob,
            upload: found.upload,
            tries: found.tries,
        };
        row.read()
    });
    Ok(read.collect::<std::result::Result<_, _>>()?)
}

/// The blobs are gone.
pub(crate) async fn bury(unit: &mut Unit, job: JobId, remains: Remains) -> Result<()> {
    let id = job.as_uuid();
    let buried = match remains {
        Remains::Job => sqlx::query!("DELETE FROM tombstones WHERE job = ?", id),
        Remains::Upload => sqlx::query!("DELETE FROM spent_uploads WHERE job = ?", id),
    };
    buried.execute(&mut unit.connection).await?;
    Ok(())
}

/// The blobs could not be removed.
pub(crate) async fn postpone_burial(
    unit: &mut Unit,
    job: JobId,
    remains: Remains,
    pause: Duration,
) -> Result<()> {
    let id = job.as_uuid();
    let due = micros(unit.now.checked_add(pause).unwrap_or(unit.now));
    let postponed = match remains {
        Remains::Job => sqlx::query!(
            "UPDATE tombstones SET due = ?, tries = tries + 1 WHERE job = ?",
            due,
            id
        ),
        Remains::Upload => sqlx::query!(
            "UPDATE spent_uploads SET due = ?, tries = tries + 1 WHERE job = ?",
            due,
            id
        ),
    };
    postponed.execute(&mut unit.connection).await?;
    Ok(())
}
