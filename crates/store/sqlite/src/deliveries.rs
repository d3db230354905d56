//! Webhooks: what is due, what was tried, what came of it.

use std::time::Duration;

use filejobs_core::JobId;
use filejobs_store::rows::{self, int};
use filejobs_store::{
    ChangeKind, Delivery, DeliveryAttempt, DeliveryId, DeliveryRecord, Error, NextDelivery,
};
use jiff::Timestamp;
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::database::Unit;
use crate::problem::{Result, micros};

type DeliveryRow = rows::DeliveryRow<i64>;
type AttemptRow = rows::AttemptRow<i64>;

/// Deliveries that are due, hidden from other callers for `hold`, the most overdue first.
pub(crate) async fn due(unit: &mut Unit, limit: u32, hold: Duration) -> Result<Vec<Delivery>> {
    let now = micros(unit.now);
    let hidden = micros(unit.now.checked_add(hold).unwrap_or(Timestamp::MAX));
    let rows = sqlx::query_as!(
        DeliveryRow,
        r#"UPDATE deliveries SET due_at = ?
        WHERE rowid IN (SELECT rowid FROM deliveries WHERE state = 'pending' AND due_at <= ?
            ORDER BY due_at LIMIT ?)
        RETURNING id AS "id: Uuid", job AS "job: Uuid", url, body, 
            max(attempts - earlier_attempts - late_attempts, 0) AS "attempts!: i64", earlier_attempts, created_at, round_at AS since"#,
        hidden,
        now,
        limit
    )
    .fetch_all(&mut unit.connection)
    .await?;
    let read = rows.into_iter().map(DeliveryRow::read);
    let mut due = read.collect::<std::result::Result<Vec<_>, _>>()?;
    due.sort_by_key(|delivery| (delivery.created_at, delivery.id));
    Ok(due)
}

/// Writes down an attempt of a round and what follows. What has been delivered stays so, and another round that has begun
/// meanwhile goes on: an attempt of somebody who stood still past its hold comes late.
pub(crate) async fn record(
    unit: &mut Unit,
    (id, earlier_attempts): (DeliveryId, u32),
    attempt: &DeliveryAttempt,
    next: NextDelivery,
) -> Result<()> {
    let (state, due_at) = match next {
        NextDelivery::Delivered => ("delivered", None),
        NextDelivery::Abandoned => ("abandoned", None),
        NextDelivery::At(time) => ("pending", Some(micros(time))),
    };
    let number = sqlx::query_scalar!(
        "UPDATE deliveries SET attempts = attempts + 1,
            late_attempts = late_attempts + (earlier_attempts <> ?4),
            state = CASE WHEN state = 'delivered' OR earlier_attempts <> ?4 THEN state ELSE ?1 END,
            due_at = CASE WHEN state = 'delivered' OR earlier_attempts <> ?4 THEN due_at ELSE ?2 END
        WHERE id = ?3 RETURNING attempts",
        state,
        due_at,
        id,
        earlier_attempts
    )
    .fetch_optional(&mut unit.connection)
    .await?
    .ok_or(Error::NotFound)?;
    let at = micros(attempt.at);
    let duration = int(attempt.duration_ms);
    sqlx::query!(
        "INSERT INTO delivery_attempts (delivery, number, at, duration_ms, status, error) VALUES (?, ?, ?, ?, ?, ?)",
        id,
        number,
        at,
        duration,
        attempt.status,
        attempt.error
    )
    .execute(&mut unit.connection)
    .await?;
    Ok(())
}

/// Begins another round for the job's newest delivery, unless one is under way.
pub(crate) async fn resend(unit: &mut Unit, job: JobId) -> Result<Option<DeliveryId>> {
    let id = job.as_uuid();
    let now = micros(unit.now);
    let newest = sqlx::query_scalar!(
        r#"SELECT id AS "id: Uuid" FROM deliveries WHERE job = ? ORDER BY created_at DESC, rowid DESC LIMIT 1"#,
        id
    )
    .fetch_optional(&mut unit.connection)
    .await?;
    let Some(delivery) = newest else {
        return Ok(None);
    };
    let begun = sqlx::query!(
        "UPDATE deliveries SET state = 'pending', due_at = ?1, round_at = ?1, earlier_attempts = attempts,
            late_attempts = 0
        WHERE id = ?2 AND state IN ('delivered', 'abandoned')",
        now,
        delivery
    )
    .execute(&mut unit.connection)
    .await?;
    if begun.rows_affected() == 1 {
        // Nothing about the job itself; whoever sends webhooks wakes by it.
        unit.changed(job, ChangeKind::State);
    }
    Ok(Some(delivery))
}

/// A job's deliveries with their attempts, oldest first.
pub(crate) async fn of_job(
    connection: &mut SqliteConnection,
    job: JobId,
) -> Result<Vec<DeliveryRecord>> {
    let id = job.as_uuid();
    let rows = sqlx::query!(
        r#"SELECT id AS "id: Uuid", job AS "job: Uuid", url, body, 
            max(attempts - earlier_attempts - late_attempts, 0) AS "attempts!: i64", earlier_attempts, created_at, round_at AS since, state
        FROM deliveries WHERE job = ? ORDER BY created_at, rowid"#,
        id
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut records = Vec::with_capacity(rows.len());
    for found in rows {
        let delivery = DeliveryRow {
            id: found.id,
            job: found.job,
            url: found.url,
            body: found.body,
            attempts: found.attempts,
            earlier_attempts: found.earlier_attempts,
            created_at: found.created_at,
            since: found.since,
        };
        records.push(DeliveryRecord {
            delivery: delivery.read()?,
            state: found.state,
            attempts: attempts(connection, found.id).await?,
        });
    }
    Ok(records)
}

async fn attempts(
    connection: &mut SqliteConnection,
    delivery: DeliveryId,
) -> Result<Vec<DeliveryAttempt>> {
    let rows = sqlx::query_as!(
        AttemptRow,
        "SELECT at, duration_ms, status, error FROM delivery_attempts WHERE delivery = ? ORDER BY number",
        delivery
    )
    .fetch_all(connection)
    .await?;
    let read = rows.into_iter().map(|attempt| attempt.read(delivery));
    Ok(read.collect::<std::result::Result<_, _>>()?)
}
