//! What is told of a job, written in the transaction that changes it.

use filejobs_core::JobId;
use filejobs_store::counting::Count;
use filejobs_store::rows::{self, int};
use filejobs_store::{Event, Job, telling};
use serde_json::Value;
use sqlx::PgConnection;

use crate::database::Unit;
use crate::problem::Result;
use crate::time::Time;

type EventRow = rows::EventRow<Time>;

/// Writes event number `id`; the caller has set the job's `last_event` to it.
pub(crate) async fn event(
    unit: &mut Unit,
    job: JobId,
    id: u64,
    kind: &str,
    data: &Value,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO events (job, id, kind, at, data) VALUES ($1, $2, $3, $4, $5::text::json)",
        job.as_uuid(),
        int(id),
        kind,
        Time::from(unit.now),
        data.to_string()
    )
    .execute(&mut *unit.connection)
    .await?;
    Ok(())
}

/// Tells of the end of `job`, as it is after it: its last two events and, when someone wants it, a webhook.
pub(crate) async fn ended(unit: &mut Unit, job: &Job) -> Result<()> {
    if let Some(count) = Count::ended(job) {
        unit.count(count);
    }
    let now = Time::from(unit.now);
    sqlx::query!(
        "INSERT INTO events (job, id, kind, at, data)
        VALUES ($1, $2::bigint - 1, $3, $4, $5::text::json), ($1, $2, $6, $4, $7::text::json)",
        job.id.as_uuid(),
        int(job.last_event),
        telling::STATE,
        now,
        telling::state(job.status, job.generation).to_string(),
        telling::FINISHED,
        telling::finished(job).to_string()
    )
    .execute(&mut *unit.connection)
    .await?;
    let (Some(url), Some(body)) = (&job.webhook_url, telling::webhook_body(job, unit.now)) else {
        return Ok(());
    };
    let delivery = unit.sources.ids.uuid(unit.now);
    sqlx::query!(
        "INSERT INTO deliveries (id, job, url, body, created_at, due_at, round_at) VALUES ($1, $2, $3, $4, $5, $5, $5)",
        delivery,
        job.id.as_uuid(),
        url,
        body,
        now
    )
    .execute(&mut *unit.connection)
    .await?;
    Ok(())
}

/// A job's events after `after`, oldest first.
pub(crate) async fn events(
    connection: &mut PgConnection,
    job: JobId,
    after: u64,
    limit: u32,
) -> Result<Vec<Event>> {
    let rows = sqlx::query_as!(
        EventRow,
        r#"SELECT id, kind, at, data::text AS "data!" FROM events WHERE job = $1 AND id > $2 ORDER BY id LIMIT $3"#,
        job.as_uuid(),
        int(after),
        i64::from(limit)
    )
    .fetch_all(connection)
    .await?;
    let read = rows.into_iter().map(|event| event.read(job));
    Ok(read.collect::<std::result::Result<_, _>>()?)
}
