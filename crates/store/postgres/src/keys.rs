//! Idempotency keys: reserved before a body is read, taken up by the job it makes.

use std::time::Duration;

use filejobs_core::{JobId, Namespace};
use filejobs_store::{Error, Reservation};
use jiff::Timestamp;

use crate::database::Unit;
use crate::problem::Result;
use crate::time::Time;

/// Reserves a key, or says who has it.
pub(crate) async fn reserve(
    unit: &mut Unit,
    namespace: &Namespace,
    key: &str,
    hold: Duration,
) -> Result<Reservation> {
    let reserved = sqlx::query!(
        "INSERT INTO idempotency_keys AS k (namespace, key, expires_at) VALUES ($1, $2, $3)
        ON CONFLICT (namespace, key) DO UPDATE SET job = NULL, fingerprint = NULL, expires_at = $3
        WHERE k.expires_at <= $4",
        namespace.as_str(),
        key,
        Time::from(unit.after(hold)),
        Time::from(unit.now)
    )
    .execute(&mut *unit.connection)
    .await?;
    if reserved.rows_affected() == 1 {
        return Ok(Reservation::Reserved);
    }
    let used = sqlx::query!(
        "SELECT job, fingerprint FROM idempotency_keys WHERE namespace = $1 AND key = $2",
        namespace.as_str(),
        key
    )
    .fetch_optional(&mut *unit.connection)
    .await?;
    Ok(match used.map(|used| (used.job, used.fingerprint)) {
        Some((Some(job), Some(fingerprint))) => Reservation::Used {
            job: JobId::from_uuid(job),
            fingerprint,
        },
        // Or given back this very moment: whoever asks again gets it.
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
    sqlx::query!(
        "UPDATE idempotency_keys SET expires_at = $1 WHERE namespace = $2 AND key = $3 AND job IS NULL",
        Time::from(unit.after(hold)),
        namespace.as_str(),
        key
    )
    .execute(&mut *unit.connection)
    .await?;
    Ok(())
}

/// Gives a reservation back. A key that made a job stays.
pub(crate) async fn release(unit: &mut Unit, namespace: &Namespace, key: &str) -> Result<()> {
    sqlx::query!(
        "DELETE FROM idempotency_keys WHERE namespace = $1 AND key = $2 AND job IS NULL",
        namespace.as_str(),
        key
    )
    .execute(&mut *unit.connection)
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
    let taken = sqlx::query!(
        "UPDATE idempotency_keys SET job = $1, fingerprint = $2, expires_at = $3
        WHERE namespace = $4 AND key = $5 AND job IS NULL",
        job.as_uuid(),
        fingerprint,
        Time::from(unit.on_our_clock(expires_at)),
        namespace.as_str(),
        key
    )
    .execute(&mut *unit.connection)
    .await?;
    if taken.rows_affected() == 1 {
        Ok(())
    } else {
        Err(Error::KeyTaken.into())
    }
}
