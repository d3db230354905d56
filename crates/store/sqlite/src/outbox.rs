//! What is told of a job, written in the transaction that changes it.

use filejobs_core::JobId;
use filejobs_store::counting::Count;
use filejobs_store::rows::{self, int};
use filejobs_store::{Event, Job, telling};
use serde_json::Value;
use sqlx::SqliteConnection;

use crate::database::Unit;
use crate::problem::{Result, micros};

type EventRow = rows::EventRow<i64>;

/// Writes event number `id`; the caller has set the job's `last_event` to it.
pub(crate) async fn event(
    unit: &mut Unit,
    job: JobId,
    id: u64,
    kind: &str,
    data: &Value,
) -> Result<()> {
    let job = job.as_uuid();
    let id = int(id);
    let now = micros(unit.now);
    let data = data.to_string();
    sqlx::query!(
        "INSERT INTO events (job, id, kind, at, data) VALUES (?, ?, ?, ?, ?)",
        job,
        id,
        kind,
        now,
        data
    )
    .execute(&mut unit.connection)
    .await?;
    Ok(())
}

/// Tells of the end of `job`, as it is after it: its last two events and, when someone wants it, a webhook.
pub(crate) async fn ended(unit: &mut Unit, job: &Job) -> Result<()> {
    if let Some(count) = Count::ended(job) {
        unit.count(count);
    }
    let id = job.id.as_uuid();
    let now = micros(unit.now);
    let (state_id, finished_id) = (int(job.last_event) - 1, int(job.last_event));
    let state = telling::state(job.status, job.generation).to_string();
    let finished = telling::finished(job).to_string();
    sqlx::query!(
        "INSERT INTO events (job, id, kind, at, data) VALUES (?1, ?2, ?3, ?4, ?5), (?1, ?6, ?7, ?4, ?8)",
        id,
        state_id,
        telling::STATE,
        now,
        state,
        finished_id,
        telling::FINISHED,
        finished
    )
    .execute(&mut unit.connection)
    .await?;
    let (Some(url), Some(body)) = (&job.webhook_url, telling::webhook_body(job, unit.now)) else {
        return Ok(());
    };
    let delivery = unit.sources.ids.uuid(unit.now);
    sqlx::query!(
        "INSERT INTO deliveries (id, job, url, body, created_at, due_at, round_at) VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?5)",
        delivery,
        id,
        url,
        body,
        now
    )
    .execute(&mut unit.connection)
    .await?;
    Ok(())
}

/// A job's events after `after`, oldest first.
pub(crate) async fn events(
    connection: &mut SqliteConnection,
    job: JobId,
    after: u64,
    limit: u32,
) -> Result<Vec<Event>> {
    let id = job.as_uuid();
    let after = int(after);
    let rows = sqlx::query_as!(
        EventRow,
        "SELECT id, kind, at, data FROM events WHERE job = ? AND id > ? ORDER BY id LIMIT ?",
        id,
        after,
        limit
    )
    .fetch_all(connection)
    .await?;
    let read = rows.into_iter().map(|event| event.read(job));
    Ok(read.collect::<std::result::Result<_, _>>()?)
}
