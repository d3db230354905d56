//! How many jobs of a namespace are queued, and the bound on them.

use filejobs_core::Namespace;
use filejobs_store::Error;
use filejobs_store::rows::Reading;
use sqlx::SqliteConnection;

use crate::database::Unit;
use crate::problem::Result;

/// How many jobs of a namespace are queued.
pub(crate) async fn queued(
    connection: &mut SqliteConnection,
    namespace: &Namespace,
) -> Result<u64> {
    let name = namespace.as_str();
    let jobs = sqlx::query_scalar!(
        "SELECT jobs FROM job_counts WHERE namespace = ? AND status = 'QUEUED'",
        name
    )
    .fetch_optional(connection)
    .await?;
    let row = Reading {
        table: "job_counts",
        row: namespace,
    };
    Ok(row.number("jobs", jobs.unwrap_or(0))?)
}

/// Makes sure that one more job may be queued. There is one writer: what it counts is so until its unit ends.
pub(crate) async fn check(unit: &mut Unit, namespace: &Namespace, most: u32) -> Result<()> {
    if queued(&mut unit.connection, namespace).await? < u64::from(most) {
        return Ok(());
    }
    Err(Error::QueueFull {
        namespace: namespace.clone(),
        most,
    }
    .into())
}
