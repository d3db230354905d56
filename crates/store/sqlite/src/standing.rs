//! Why a job waits.

use filejobs_core::waiting::{ALIVE, Wait};
use filejobs_core::{JobId, Quotas};
use filejobs_store::standing::{
    AheadRow, AroundRow, Bound, COUNTED, ENDED, LATELY, StandingRow, Waiter,
};
use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::database::Unit;
use crate::problem::{Result, micros};
use crate::waiting;

/// Writes down how much may run.
pub(crate) async fn set_quotas(unit: &mut Unit, quotas: Quotas) -> Result<()> {
    sqlx::query!(
        "INSERT INTO quotas (id, namespace_jobs, namespace_tasks, total_jobs, total_tasks) VALUES (1, ?1, ?2, ?3, ?4)
        ON CONFLICT (id) DO UPDATE SET namespace_jobs = ?1, namespace_tasks = ?2, total_jobs = ?3, total_tasks = ?4",
        quotas.namespace_jobs,
        quotas.namespace_tasks,
        quotas.total_jobs,
        quotas.total_tasks
    )
    .execute(&mut unit.connection)
    .await?;
    Ok(())
}

/// Why a job waits. `None` when it does not, or there is no such job.
pub(crate) async fn why_waiting(
    connection: &mut SqliteConnection,
    id: JobId,
    now: Timestamp,
) -> Result<Option<Wait>> {
    let (uuid, at) = (id.as_uuid(), micros(now));
    let found = sqlx::query_file!("queries/standing.sql", uuid, at)
        .fetch_optional(&mut *connection)
        .await?;
    let Some(found) = found else { return Ok(None) };
    let row = StandingRow {
        status: found.status,
        namespace: found.namespace,
        priority: found.priority,
        queued_at: found.queued_at,
        running: found.running,
        ready: found.ready,
        not_before: found.not_before,
        published_at: found.published_at,
    };
    let Some(waiter) = row.waits(id, now)? else {
        return Ok(None);
    };
    let around = around(connection, now, found.published_at).await?;
    let running = waiting::running(connection).await?;
    let (own, others) = if waiter.stands_in_line() {
        (
            ahead(connection, &waiter).await?,
            ahead_others(connection, &waiter).await?,
        )
    } else {
        (AheadRow::default(), Vec::new())
    };
    Ok(Some(waiter.tell(&around, &running, own, &others)?))
}

async fn around(
    connection: &mut SqliteConnection,
    now: Timestamp,
    published_at: Option<i64>,
) -> Result<AroundRow<i64>> {
    let since = |age| micros(now.checked_sub(age).unwrap_or(Timestamp::MIN));
    let (alive, lately) = (since(ALIVE), since(LATELY));
    let around = sqlx::query_file_as!(
        AroundRow::<i64>,
        "queries/around.sql",
        alive,
        published_at,
        lately,
        ENDED
    )
    .fetch_one(connection)
    .await?;
    Ok(around)
}

async fn ahead(connection: &mut SqliteConnection, waiter: &Waiter) -> Result<AheadRow> {
    let namespace = waiter.namespace();
    let bounds = list(&waiter.before_in_namespace())?;
    let counted = sqlx::query_file_as!(AheadRow, "queries/ahead.sql", namespace, bounds, COUNTED)
        .fetch_one(connection)
        .await?;
    Ok(counted)
}

async fn ahead_others(
    connection: &mut SqliteConnection,
    waiter: &Waiter,
) -> Result<Vec<(String, AheadRow)>> {
    let namespace = waiter.namespace();
    let bounds = list(&waiter.before())?;
    let counted = sqlx::query_file!("queries/ahead_others.sql", namespace, bounds, COUNTED)
        .fetch_all(connection)
        .await?;
    let read = counted.into_iter().map(|found| {
        let row = AheadRow {
            above: found.above,
            beside: found.beside,
        };
        (found.namespace, row)
    });
    Ok(read.collect())
}

/// The times of each bound, as `json_each` takes them.
fn list(bounds: &[Bound]) -> Result<String> {
    let times: Vec<_> = (bounds.iter())
        .map(|bound| [micros(bound.above), micros(bound.until)])
        .collect();
    Ok(serde_json::to_string(&times)?)
}
