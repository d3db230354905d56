//! Findings: written ahead in batches, linked by a commit, read by seeking.

use std::collections::BTreeMap;
use std::path::PathBuf;

use filejobs_core::{Finding, FindingCode, JobId, TaskId};
use filejobs_store::rows::int;
use filejobs_store::{Error, findings_file};
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};
use tokio::sync::mpsc;

use crate::database::{Database, Durable, Unit};
use crate::problem::{Result, micros};

/// Findings in one transaction: other writers get in between.
const CHUNK: usize = 4_000;
/// Findings in one statement; twelve values each, of 32,766 that SQLite takes.
const ROWS: usize = 500;

/// A batch of findings that nobody sees yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Loaded {
    batch: i64,
    findings: i64,
    last: (i64, i64),
}

/// Writes a task's findings ahead. `None` when the file holds none. [`Error::Stale`] when the lease is lost.
pub(crate) async fn load(
    database: &Database,
    task: TaskId,
    attempt: u32,
    path: PathBuf,
) -> std::result::Result<Option<Loaded>, Error> {
    const STEP: &str = "writing findings";
    let (send, mut chunks) = mpsc::channel(1);
    let reader = tokio::task::spawn_blocking(move || findings_file::read(&path, CHUNK, &send));
    let mut loaded: Option<Loaded> = None;
    let mut room = 0;
    let mut counts = BTreeMap::new();
    while let Some(chunk) = chunks.recv().await {
        let mut chunk = chunk.map_err(Error::Findings)?;
        let batch = if let Some(batch) = loaded {
            batch
        } else {
            let begun = database.write(STEP, Durable::Later, move |unit| {
                Box::pin(begin(unit, task, attempt))
            });
            let (batch, free) = begun.await?;
            room = free;
            batch
        };
        chunk.truncate(room);
        room -= chunk.len();
        for finding in &chunk {
            *counts
                .entry((finding.code, finding.column_name.clone()))
                .or_insert(0) += 1;
        }
        let appended = database.write(STEP, Durable::Later, move |unit| {
            Box::pin(async move {
                still_running(unit, task, attempt).await?;
                append(unit, batch, chunk).await
            })
        });
        loaded = Some(appended.await?);
        if room == 0 {
            break;
        }
    }
    drop(chunks);
    // Its end was told through the channel; what is left is a panic, which would have cut the file short.
    reader
        .await
        .map_err(|lost| Error::Findings(std::io::Error::other(lost)))?;
    if let Some(batch) = loaded {
        let counted = database.write(STEP, Durable::Later, move |unit| {
            Box::pin(async move {
                still_running(unit, task, attempt).await?;
                count(unit, batch, counts).await
            })
        });
        counted.await?;
    }
    Ok(loaded)
}

/// Begins a batch for an attempt that still runs. Also tells how many findings of it can ever be read.
async fn begin(unit: &mut Unit, task: TaskId, attempt: u32) -> Result<(Loaded, usize)> {
    let id = task.as_uuid();
    // What an earlier try of the same commit wrote is for the sweep: each would leave as much again.
    sqlx::query!(
        "UPDATE finding_batches SET attempt = 0 WHERE task = ? AND attempt = ? AND linked = 0",
        id,
        attempt
    )
    .execute(&mut unit.connection)
    .await?;
    let batch = sqlx::query!(
        r#"INSERT INTO finding_batches (job, task, attempt, position)
        SELECT job, id, attempt, CASE kind WHEN 'piece' THEN idx + 1 ELSE 0 END FROM tasks
        WHERE id = ? AND attempt = ? AND state = 'RUNNING'
        RETURNING id AS "id!: i64", job, position"#,
        id,
        attempt
    )
    .fetch_optional(&mut unit.connection)
    .await?
    .ok_or(Error::Stale)?;
    let room = sqlx::query_scalar!(
        r#"SELECT MAX(0, j.findings_max - (SELECT COALESCE(SUM(b.findings), 0) FROM finding_batches b
            WHERE b.job = j.id AND b.linked = 1 AND b.position < ?)) AS "room!: i64"
        FROM jobs j WHERE j.id = ?"#,
        batch.position,
        batch.job
    )
    .fetch_one(&mut unit.connection)
    .await?;
    let loaded = Loaded {
        batch: batch.id,
        findings: 0,
        last: (0, 0),
    };
    Ok((loaded, usize::try_from(room).unwrap_or(usize::MAX)))
}

/// The sweep takes batches of attempts that are over: nothing may be added to them, or it would stay for ever.
async fn still_running(unit: &mut Unit, task: TaskId, attempt: u32) -> Result<()> {
    let id = task.as_uuid();
    let running = sqlx::query_scalar!(
        r#"SELECT COUNT(*) AS "tasks!: i64" FROM tasks WHERE id = ? AND attempt = ? AND state = 'RUNNING'"#,
        id,
        attempt
    )
    .fetch_one(&mut unit.connection)
    .await?;
    if running == 1 {
        Ok(())
    } else {
        Err(Error::Stale.into())
    }
}

/// Adds findings to a batch. The number of rows differs, which a checked statement cannot express.
async fn append(unit: &mut Unit, mut loaded: Loaded, findings: Vec<Finding>) -> Result<Loaded> {
    let mut rest = findings.into_iter();
    loop {
        let rows: Vec<_> = rest.by_ref().take(ROWS).collect();
        if rows.is_empty() {
            return Ok(loaded);
        }
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT INTO findings (batch, ordinal, row_number, seq, line, byte_offset, column_name, \
             column_number, cell, code, message, raw_value) ",
        );
        insert.push_values(rows, |mut row, finding| {
            loaded.last = (int(finding.row_number), i64::from(finding.seq));
            row.push_bind(loaded.batch)
                .push_bind(loaded.findings)
                .push_bind(loaded.last.0)
                .push_bind(loaded.last.1)
                .push_bind(int(finding.line))
                .push_bind(finding.byte_offset.map(int))
                .push_bind(finding.column_name)
                .push_bind(finding.column_number)
                .push_bind(finding.cell)
                .push_bind(finding.code.as_str())
                .push_bind(finding.message)
                .push_bind(finding.raw_value);
            loaded.findings += 1;
        });
        insert.build().execute(&mut unit.connection).await?;
    }
}

/// Writes what filtered pages need to know about a batch.
async fn count(
    unit: &mut Unit,
    loaded: Loaded,
    counts: BTreeMap<(FindingCode, Option<String>), u64>,
) -> Result<()> {
    let rows: Vec<_> = counts
        .into_iter()
        .map(|((code, column), n)| serde_json::json!([code, column, n]))
        .collect();
    let rows = serde_json::to_string(&rows)?;
    sqlx::query!(
        "INSERT INTO finding_counts (batch, code, column_name, findings)
        SELECT ?, c.value ->> 0, c.value ->> 1, c.value ->> 2 FROM json_each(?) c",
        loaded.batch,
        rows
    )
    .execute(&mut unit.connection)
    .await?;
    Ok(())
}

/// Makes a batch visible, in the transaction that ends its task. Returns how many findings it holds.
pub(crate) async fn link(unit: &mut Unit, task: TaskId, loaded: Loaded) -> Result<i64> {
    let (id, now) = (task.as_uuid(), micros(unit.now));
    let (row, seq) = loaded.last;
    let linked = sqlx::query!(
        "UPDATE finding_batches SET linked = 1, committed_at = ?, findings = ?, last_row = ?, last_seq = ?
        WHERE id = ? AND task = ? AND linked = 0",
        now,
        loaded.findings,
        row,
        seq,
        loaded.batch,
        id
    )
    .execute(&mut unit.connection)
    .await?;
    if linked.rows_affected() == 1 {
        Ok(loaded.findings)
    } else {
        Err(Error::Stale.into())
    }
}

/// How many findings of a job are linked, those past its cap included.
pub(crate) async fn linked(connection: &mut SqliteConnection, job: JobId) -> Result<i64> {
    let id = job.as_uuid();
    let findings = sqlx::query_scalar!(
        r#"SELECT COALESCE(SUM(findings), 0) AS "findings!: i64" FROM finding_batches WHERE job = ? AND linked = 1"#,
        id
    )
    .fetch_one(connection)
    .await?;
    Ok(findings)
}

/// Lets go of all findings of a job; the sweep removes them.
pub(crate) async fn unlink(unit: &mut Unit, job: JobId) -> Result<()> {
    let id = job.as_uuid();
    sqlx::query!(
        "UPDATE finding_batches SET linked = 0 WHERE job = ? AND linked = 1",
        id
    )
    .execute(&mut unit.connection)
    .await?;
    Ok(())
}

/// Lets go of the findings of a job's tasks that are not done.
pub(crate) async fn unlink_ended(unit: &mut Unit, job: JobId) -> Result<()> {
    let id = job.as_uuid();
    sqlx::query!(
        "UPDATE finding_batches SET linked = 0
        WHERE job = ? AND linked = 1 AND task IN (SELECT id FROM tasks WHERE job = ? AND state <> 'DONE')",
        id,
        id
    )
    .execute(&mut unit.connection)
    .await?;
    Ok(())
}

/// Lets go of whole batches past the job's cap, once no batch can come before them.
pub(crate) async fn trim(unit: &mut Unit, job: JobId) -> Result<()> {
    let id = job.as_uuid();
    sqlx::query!(
        "UPDATE finding_batches AS b SET linked = 0
        WHERE b.job = ?1 AND b.linked = 1 AND (SELECT COALESCE(SUM(e.findings), 0) FROM finding_batches e
            WHERE e.job = ?1 AND e.linked = 1 AND e.position < b.position)
            >= (SELECT findings_max FROM jobs WHERE id = ?1)",
        id
    )
    .execute(&mut unit.connection)
    .await?;
    Ok(())
}
