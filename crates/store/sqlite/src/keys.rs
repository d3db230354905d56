//! Idempotency keys: reserved before a body is read, taken up by the job it makes.

use std::time::Duration;

use filejobs_core::{JobId, Namespace};
use filejobs_store::{Error, Reservation};
use jiff::Timestamp;
use uuid::Uuid;

use crate::database::Unit;
use crate::problem::{Result, micros};

/// Reserves a key, or says who has it.
pub(crate) async fn reserve(
    unit: &mut Unit,
    namespace: &Namespace,
    key: &str,
    hold: Duration,
) -> Result<Reservation> {
    let namespace = namespace.as_str();
    let now = micros(unit.now);
    let until = micros(unit.now.checked_add(hold).unwrap_or(Timestamp::MAX));
    let reserved = sqlx::query!(
        "INSERT INTO idempotency_keys (namespace, key, expires_at) VALUES (?1, ?2, ?3)
        ON CONFLICT DO UPDATE SET job = NULL, fingerprint = NULL, expires_at = ?3 WHERE expires_at <= ?4",
        namespace,
        key,
        until,
        now
    )
    .execute(&mut unit.connection)
    .await?;
    if reserved.rows_affected() == 1 {
        return Ok(Reservation::Reserved);
    }
    let used = sqlx::query!(
        r#"SELECT job AS "job: Uuid", fingerprint FROM idempotency_keys WHERE namespace = ? AND key = ?"#,
        namespace,
        key
    )
    .fetch_one(&mut unit.connection)
    .await?;
    Ok(match (used.job, used.fingerprint) {
        (Some(job), Some(fingerprint)) => Reservation::Used {
            job: JobId::from_uuid(job),
            fingerprint,
        },
        _ => Reservation::InFlight,
    })
}

/// Puts off the end of a reservation.
pub(crate) async fn renew(
    unit: &mut Unit,
    namespace: &Namespace,
    key: &str,
    hold: Duration,
) -> Result<()> {
    let namespace = namespace.as_str();
    let until = micros(unit.now.checked_add(hold).unwrap_or(Timestamp::MAX));
    sqlx::query!(
        "UPDATE idempotency_keys SET expires_at = ? WHERE namespace = ? AND key = ? AND job IS NULL",
        until,
        namespace,
        key
    )
    .execute(&mut unit.connection)
    .await?;
    Ok(())
}

/// Gives a reservation back. A key that made a job stays.
pub(crate) async fn release(unit: &mut Unit, namespace: &Namespace, key: &str) -> Result<()> {
    let namespace = namespace.as_str();
    sqlx::query!(
        "DELETE FROM idempotency_keys WHERE namespace = ? AND key = ? AND job IS NULL",
        namespace,
        key
    )
    .execute(&mut unit.connection)
    .await?;
    Ok(())
}

/// Turns a reservation into the key of a job.
pub(crate) async fn take_up(
    unit: &mut Unit,
    namespace: &Namespace,
    key: &str,
    job: JobId,
    fingerprint: &str,
    expires_at: Timestamp,
) -> Result<()> {
    let namespace = namespace.as_str();
    let job = job.as_uuid();
    let expires_at = micros(expires_at);
    let taken = sqlx::query!(
        "UPDATE idempotency_keys SET job = ?, fingerprint = ?, expires_at = ?
        WHERE namespace = ? AND key = ? AND job IS NULL",
        job,
        fingerprint,
        expires_at,
        namespace,
        key
    )
    .execute(&mut unit.connection)
    .await?;
    if taken.rows_affected() == 1 {
        Ok(())
    } else {
        Err(Error::KeyTaken.into())
    }
}
