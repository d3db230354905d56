//! What admission looks at: which tasks wait, and what runs.

use filejobs_store::rows::{self, Busy, RunningRow};
use filejobs_store::{Running, Waiting};
use jiff::Timestamp;
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::problem::{Result, micros};

type WaitingRow = rows::WaitingRow<i64>;

/// Tasks that may be published now.
pub(crate) async fn waiting(
    connection: &mut SqliteConnection,
    now: Timestamp,
    per_group: u32,
) -> Result<Vec<Waiting>> {
    let busy = busy(connection).await?;
    let now = micros(now);
    let rows = sqlx::query_file_as!(WaitingRow, "queries/waiting.sql", now, per_group);
    read(rows.fetch_all(connection).await?, &busy)
}

/// Tasks that may be published now and whose job has begun.
pub(crate) async fn waiting_of_begun(
    connection: &mut SqliteConnection,
    now: Timestamp,
    per_job: u32,
) -> Result<Vec<Waiting>> {
    let busy = busy(connection).await?;
    let now = micros(now);
    let rows = sqlx::query_file_as!(WaitingRow, "queries/waiting_of_begun.sql", now, per_job);
    read(rows.fetch_all(connection).await?, &busy)
}

fn read(rows: Vec<WaitingRow>, busy: &Busy) -> Result<Vec<Waiting>> {
    let read = rows.into_iter().map(|row| row.read(busy));
    Ok(read.collect::<std::result::Result<_, _>>()?)
}

async fn busy(connection: &mut SqliteConnection) -> Result<Busy> {
    let rows = sqlx::query!(
        r#"SELECT namespace, job AS "job: Uuid", COUNT(*) AS "tasks!: i64" FROM tasks
        WHERE state IN ('PUBLISHED', 'RUNNING') GROUP BY namespace, job"#
    )
    .fetch_all(connection)
    .await?;
    let mut busy = Busy::default();
    for row in rows {
        busy.add(row.namespace, row.job, row.tasks);
    }
    Ok(busy)
}

/// What runs in each namespace.
pub(crate) async fn running(connection: &mut SqliteConnection) -> Result<Vec<Running>> {
    let rows = sqlx::query_file_as!(RunningRow, "queries/running.sql")
        .fetch_all(connection)
        .await?;
    let read = rows.into_iter().map(RunningRow::read);
    Ok(read.collect::<std::result::Result<_, _>>()?)
}
