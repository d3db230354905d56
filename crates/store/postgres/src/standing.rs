//! Why a job waits.

use filejobs_core::waiting::{ALIVE, Wait};
use filejobs_core::{JobId, Quotas};
use filejobs_store::standing::{
    self, AheadRow, AroundRow, Bound, COUNTED, ENDED, LATELY, StandingRow,
};

use crate::database::Unit;
use crate::numbers::small;
use crate::problem::Result;
use crate::publishing;
use crate::time::Time;

/// Writes down how much may run.
pub(crate) async fn set_quotas(unit: &mut Unit, quotas: Quotas) -> Result<()> {
    sqlx::query!(
        "INSERT INTO quotas (id, namespace_jobs, namespace_tasks, total_jobs, total_tasks) VALUES (1, $1, $2, $3, $4)
        ON CONFLICT (id) DO UPDATE SET namespace_jobs = $1, namespace_tasks = $2, total_jobs = $3, total_tasks = $4",
        quotas.namespace_jobs.map(small),
        quotas.namespace_tasks.map(small),
        quotas.total_jobs.map(small),
        quotas.total_tasks.map(small)
    )
    .execute(&mut *unit.connection)
    .await?;
    Ok(())
}

/// Why a job waits. `None` when it does not, or there is no such job.
pub(crate) async fn why_waiting(unit: &mut Unit, id: JobId) -> Result<Option<Wait>> {
    let now = Time::from(unit.now);
    let found = sqlx::query_file!("queries/standing.sql", id.as_uuid(), now)
        .fetch_optional(&mut *unit.connection)
        .await?;
    let Some(found) = found else { return Ok(None) };
    let published_at = found.published_at;
    let row = StandingRow {
        status: found.status,
        namespace: found.namespace,
        priority: found.priority.into(),
        queued_at: found.queued_at,
        running: found.running,
        ready: found.ready,
        not_before: found.not_before,
        published_at,
    };
    let Some(waiter) = row.waits(id, unit.now)? else {
        return Ok(None);
    };
    let around = around(unit, published_at).await?;
    let running = publishing::running(&mut unit.connection).await?;
    let (own, others) = if waiter.stands_in_line() {
        (
            ahead(unit, &waiter).await?,
            ahead_others(unit, &waiter).await?,
        )
    } else {
        (AheadRow::default(), Vec::new())
    };
    Ok(Some(waiter.tell(&around, &running, own, &others)?))
}

async fn around(unit: &mut Unit, published_at: Option<Time>) -> Result<AroundRow<Time>> {
    let found = sqlx::query_file!(
        "queries/around.sql",
        Time::from(unit.before(ALIVE)),
        published_at as Option<Time>,
        Time::from(unit.before(LATELY)),
        i64::from(ENDED)
    )
    .fetch_one(&mut *unit.connection)
    .await?;
    Ok(AroundRow {
        namespace_jobs: found.namespace_jobs.map(i64::from),
        namespace_tasks: found.namespace_tasks.map(i64::from),
        total_jobs: found.total_jobs.map(i64::from),
        total_tasks: found.total_tasks.map(i64::from),
        slots: found.slots,
        busy: found.busy,
        oldest: found.oldest,
        published: found.published,
        ended: found.ended,
        ended_since: found.ended_since,
    })
}

async fn ahead(unit: &mut Unit, waiter: &standing::Waiter) -> Result<AheadRow> {
    let (above, until) = times(&waiter.before_in_namespace());
    let counted = sqlx::query_file_as!(
        AheadRow,
        "queries/ahead.sql",
        waiter.namespace(),
        &above as &[Time],
        &until as &[Time],
        i64::from(COUNTED)
    )
    .fetch_one(&mut *unit.connection)
    .await?;
    Ok(counted)
}

async fn ahead_others(
    unit: &mut Unit,
    waiter: &standing::Waiter,
) -> Result<Vec<(String, AheadRow)>> {
    let (above, until) = times(&waiter.before());
    let counted = sqlx::query_file!(
        "queries/ahead_others.sql",
        waiter.namespace(),
        &above as &[Time],
        &until as &[Time],
        i64::from(COUNTED)
    )
    .fetch_all(&mut *unit.connection)
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

/// The times of each bound, as two lists.
fn times(bounds: &[Bound]) -> (Vec<Time>, Vec<Time>) {
    let above = bounds.iter().map(|bound| bound.above.into());
    let until = bounds.iter().map(|bound| bound.until.into());
    (above.collect(), until.collect())
}
