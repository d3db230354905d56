//! Removes what nothing refers to any more, a little at a time, and adds up what is counted.

use std::time::Duration;

use filejobs_core::JobId;
use filejobs_store::rows::{TombstoneRow, int};
use filejobs_store::{Job, Remains, Tombstone};

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

/// The file of a job that was just completed is to go.
pub(crate) async fn spend_upload(unit: &mut Unit, job: &Job) -> Result<()> {
    sqlx::query!(
        "INSERT INTO spent_uploads (job, blob, due) VALUES ($1, $2, $3)",
        job.id.as_uuid(),
        job.blob,
        Time::from(unit.now)
    )
    .execute(&mut *unit.connection)
    .await?;
    Ok(())
}

/// What is due to be removed from the storage, longest due first.
pub(crate) async fn tombstones(unit: &mut Unit, limit: u32) -> Result<Vec<Tombstone>> {
    let rows = sqlx::query!(
        r#"SELECT job AS "job!", blob AS "blob!", upload AS "upload!", tries AS "tries!" FROM (
            SELECT job, blob, false AS upload, tries, COALESCE(due, deleted_at) AS since FROM tombstones
            UNION ALL
            SELECT job, blob, true, tries, due FROM spent_uploads
        ) t WHERE since <= $1 ORDER BY since LIMIT $2"#,
        Time::from(unit.now),
        i64::from(limit)
    )
    .fetch_all(&mut *unit.connection)
    .await?;
    let read = rows.into_iter().map(|found| {
        let row = TombstoneRow {
            job: found.job,
            blob: found.blob,
            upload: found.upload,
            tries: found.tries.into(),
        };
        row.read()
    });
    Ok(read.collect::<std::result::Result<_, _>>()?)
}

/// The blobs are gone.
pub(crate) async fn bury(unit: &mut Unit, job: JobId, remains: Remains) -> Result<()> {
    let buried = match remains {
        Remains::Job => sqlx::query!("DELETE FROM tombstones WHERE job = $1", job.as_uuid()),
        Remains::Upload => sqlx::query!("DELETE FROM spent_uploads WHERE job = $1", job.as_uuid()),
    };
    buried.execute(&mut *unit.connection).await?;
    Ok(())
}

/// The blobs could not be removed.
pub(crate) async fn postpone_burial(
    unit: &mut Unit,
    job: JobId,
    remains: Remains,
    pause: Duration,
) -> Result<()> {
    let due = Time::from(unit.now.checked_add(pause).unwrap_or(unit.now));
    let postponed = match remains {
        Remains::Job => sqlx::query!(
            "UPDATE tombstones SET due = $1, tries = tries + 1 WHERE job = $2",
            due,
            job.as_uuid()
        ),
        Remains::Upload => sqlx::query!(
            "UPDATE spent_uploads SET due = $1, tries = tries + 1 WHERE job = $2",
            due,
            job.as_uuid()
        ),
    };
    postponed.execute(&mut *unit.connection).await?;
    Ok(())
}
