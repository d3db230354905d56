//! How many jobs of a namespace are queued, and the bound on them.

use filejobs_core::Namespace;
use filejobs_store::Error;
use filejobs_store::rows::Reading;
use sqlx::PgConnection;

use crate::database::Unit;
use crate::problem::Result;

/// Nearer to the bound than this, jobs of a namespace are created one after the other. More than units of work that all
/// processes together have open at a time: farther away, those cannot pass the bound even if none sees another.
const CLOSE: u64 = 1_000;

/// The first half of the locks' names: no other advisory lock of two numbers has it.
const LOCKS: i32 = 0x0046_4a51;

/// How many jobs of a namespace are queued.
pub(crate) async fn queued(connection: &mut PgConnection, namespace: &Namespace) -> Result<u64> {
    let jobs = sqlx::query_scalar!(
        r#"SELECT COALESCE(SUM(c.jobs), 0)::bigint AS "jobs!" FROM (
            SELECT namespace, status, jobs FROM job_counts
            UNION ALL
            SELECT namespace, status, jobs::bigint FROM job_count_changes
        ) c
        WHERE c.namespace = $1 AND c.status = 'QUEUED'"#,
        namespace.as_str()
    )
    .fetch_one(connection)
    .await?;
    let row = Reading {
        table: "job_counts",
        row: namespace,
    };
    Ok(row.number("jobs", jobs)?)
}

/// Makes sure that one more job may be queued, until the end of this unit.
pub(crate) async fn check(unit: &mut Unit, namespace: &Namespace, most: u32) -> Result<()> {
    let bound = u64::from(most);
    let full = || Error::QueueFull {
        namespace: namespace.clone(),
        most,
    };
    match queued(&mut unit.connection, namespace).await? {
        queued if queued + CLOSE < bound => return Ok(()),
        // Nobody stands in line for a refusal.
        queued if queued >= bound => return Err(full().into()),
        _ => {}
    }
    // Whoever has the lock sees all that were created under it before.
    sqlx::query!(
        "SELECT pg_advisory_xact_lock($1, hashtext($2))",
        LOCKS,
        namespace.as_str()
    )
    .execute(&mut *unit.connection)
    .await?;
    if queued(&mut unit.connection, namespace).await? < bound {
        return Ok(());
    }
    Err(full().into())
}
