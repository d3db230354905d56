//! Webhooks: what is due, what was tried, what came of it.

use std::time::Duration;

use filejobs_core::JobId;
use filejobs_store::rows::{self, int};
use filejobs_store::{
    ChangeKind, Delivery, DeliveryAttempt, DeliveryId, DeliveryRecord, Error, NextDelivery,
};

use crate::database::Unit;
use crate::problem::Result;
use crate::text::plain;
use crate::time::Time;

type DeliveryRow = rows::DeliveryRow<Time>;
type AttemptRow = rows::AttemptRow<Time>;

/// Deliveries that are due, hidden from other callers for `hold`, the most overdue first.
pub(crate) async fn due(unit: &mut Unit, limit: u32, hold: Duration) -> Result<Vec<Delivery>> {
    let rows = sqlx::query_as!(
        DeliveryRow,
        r#"WITH due AS (
            SELECT id FROM deliveries WHERE state = 'pending' AND due_at <= $1 ORDER BY due_at LIMIT $2
            FOR NO KEY UPDATE SKIP LOCKED
        )
        UPDATE deliveries d SET due_at = $3 FROM due WHERE d.id = due.id
        RETURNING d.id, d.job, d.url, d.body, greatest(d.attempts - d.earlier_attempts - d.late_attempts, 0) AS "attempts!",
            d.earlier_attempts, d.created_at, d.round_at AS since"#,
        Time::from(unit.now),
        i64::from(limit),
        Time::from(unit.after(hold))
    )
    .fetch_all(&mut *unit.connection)
    .await?;
    let read = rows.into_iter().map(DeliveryRow::read);
    let mut due = read.collect::<std::result::Result<Vec<_>, _>>()?;
    due.sort_by_key(|delivery| (delivery.created_at, delivery.id));
    // The sender counts the time that is left on its own clock.
    for delivery in &mut due {
        delivery.since = unit.on_callers_clock(delivery.since);
    }
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
        NextDelivery::At(time) => ("pending", Some(Time::from(unit.on_our_clock(time)))),
    };
    let recorded = sqlx::query!(
        "WITH delivery AS (
            UPDATE deliveries SET attempts = attempts + 1,
                late_attempts = late_attempts + CASE earlier_attempts WHEN $8::bigint THEN 0 ELSE 1 END,
                state = CASE WHEN state = 'delivered' OR earlier_attempts <> $8::bigint THEN state ELSE $2 END,
                due_at = CASE WHEN state = 'delivered' OR earlier_attempts <> $8::bigint THEN due_at ELSE $3::timestamptz END
            WHERE id = $1 RETURNING id, attempts
        )
        INSERT INTO delivery_attempts (delivery, number, at, duration_ms, status, error)
        SELECT id, attempts, $4, $5, $6, $7 FROM delivery",
        id,
        state,
        due_at,
        Time::from(unit.on_our_clock(attempt.at)),
        int(attempt.duration_ms),
        attempt.status.map(i32::from),
        attempt.error.as_deref().map(plain),
        i64::from(earlier_attempts)
    )
    .execute(&mut *unit.connection)
    .await?;
    if recorded.rows_affected() == 1 {
        Ok(())
    } else {
        Err(Error::NotFound.into())
    }
}

/// Begins another round for the job's newest delivery, unless one is under way.
pub(crate) async fn resend(unit: &mut Unit, job: JobId) -> Result<Option<DeliveryId>> {
    let newest = sqlx::query!(
        "SELECT id, state FROM deliveries WHERE job = $1 ORDER BY created_at DESC, id DESC LIMIT 1 FOR NO KEY UPDATE",
        job.as_uuid()
    )
    .fetch_optional(&mut *unit.connection)
    .await?;
    let Some(newest) = newest else {
        return Ok(None);
    };
    if newest.state != "pending" {
        sqlx::query!(
            "UPDATE deliveries SET state = 'pending', due_at = $1, round_at = $1, earlier_attempts = attempts,
                late_attempts = 0
            WHERE id = $2",
            Time::from(unit.now),
            newest.id
        )
        .execute(&mut *unit.connection)
        .await?;
        // Nothing about the job itself; whoever sends webhooks wakes by it.
        unit.changed(job, ChangeKind::State);
    }
    Ok(Some(newest.id))
}

/// A job's deliveries with their attempts, oldest first.
pub(crate) async fn of_job(unit: &mut Unit, job: JobId) -> Result<Vec<DeliveryRecord>> {
    let rows = sqlx::query!(
        r#"SELECT id, job, url, body, greatest(attempts - earlier_attempts - late_attempts, 0) AS "attempts!",
            earlier_attempts, created_at, round_at, state
        FROM deliveries WHERE job = $1 ORDER BY created_at, id"#,
        job.as_uuid()
    )
    .fetch_all(&mut *unit.connection)
    .await?;
    let mut records = Vec::with_capacity(rows.len());
    for found in rows {
        let delivery = DeliveryRow {
            id: found.id,
            job: found.job,
            url: found.url,
            body: found.body,
            attempts: found.attempts.into(),
            earlier_attempts: found.earlier_attempts.into(),
            created_at: found.created_at,
            since: found.round_at,
        };
        records.push(DeliveryRecord {
            delivery: delivery.read()?,
            state: found.state,
            attempts: attempts(unit, found.id).await?,
        });
    }
    Ok(records)
}

async fn attempts(unit: &mut Unit, delivery: DeliveryId) -> Result<Vec<DeliveryAttempt>> {
    let rows = sqlx::query_as!(
        AttemptRow,
        "SELECT at, duration_ms, status::bigint AS status, error FROM delivery_attempts WHERE delivery = $1
        ORDER BY number",
        delivery
    )
    .fetch_all(&mut *unit.connection)
    .await?;
    let read = rows.into_iter().map(|attempt| attempt.read(delivery));
    Ok(read.collect::<std::result::Result<_, _>>()?)
}
