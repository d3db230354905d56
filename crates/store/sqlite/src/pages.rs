//! Pages of findings: a job's batches one after the other, each entered where the page begins.

use std::collections::HashMap;

use filejobs_core::{Finding, FindingCode, JobId};
use filejobs_store::rows::{Reading, int};
use filejobs_store::{FindingCursor, FindingFilter, Listed, Page, StoredFinding};
use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::problem::Result;

/// A linked batch.
struct Batch {
    id: i64,
    /// Findings in it, and those that the job's cap lets be read.
    findings: i64,
    readable: i64,
    /// Of the readable ones, those that the filter lets through.
    matching: i64,
    last: (i64, i64),
    committed_at: Timestamp,
}

/// A row of `findings`.
struct FindingRow {
    ordinal: i64,
    row_number: i64,
    seq: i64,
    line: i64,
    byte_offset: Option<i64>,
    column_name: Option<String>,
    column_number: Option<i64>,
    cell: Option<String>,
    code: String,
    message: String,
    raw_value: Option<String>,
}

/// Which rows of a batch: from an ordinal on, after skipping some that match, at most so many.
struct Window {
    from: i64,
    skip: i64,
    limit: i64,
}

/// A page in order of row and ordinal. `None` for an unknown job.
pub(crate) async fn page(
    connection: &mut SqliteConnection,
    job: JobId,
    filter: &FindingFilter,
    page: Page<FindingCursor>,
) -> Result<Option<Listed<StoredFinding, FindingCursor>>> {
    let Some(batches) = batches(connection, job, filter).await? else {
        return Ok(None);
    };
    let total = batches.iter().map(|b| b.matching).sum::<i64>();
    let (cursor, mut skip, limit) = match page {
        Page::Offset { offset, limit } => (None, int(offset), limit),
        Page::After { cursor, limit } => (cursor, 0, limit),
    };
    let limit = limit as usize;
    let mut items: Vec<StoredFinding> = Vec::new();
    for batch in batches.iter().filter(|b| b.matching > 0) {
        if items.len() > limit {
            break;
        }
        if skip >= batch.matching {
            skip -= batch.matching;
            continue;
        }
        let mut window = Window {
            from: start(connection, batch, cursor).await?,
            skip: std::mem::take(&mut skip),
            // One more than asked for tells whether there are more.
            limit: int((limit + 1 - items.len()) as u64),
        };
        if filter.code.is_none() && filter.column.is_none() {
            window.from += std::mem::take(&mut window.skip);
        }
        for row in select(connection, batch, filter, &window).await? {
            items.push(row.read(batch)?);
        }
    }
    let more = items.len() > limit;
    items.truncate(limit);
    let last = items.last().filter(|_| more);
    let next = last.map(|stored| FindingCursor {
        row_number: stored.finding.row_number,
        seq: stored.finding.seq,
    });
    Ok(Some(Listed {
        total: u64::try_from(total).unwrap_or(0),
        items,
        next,
    }))
}

/// A job's linked batches in the order of rows, with what can be read of each.
async fn batches(
    connection: &mut SqliteConnection,
    job: JobId,
    filter: &FindingFilter,
) -> Result<Option<Vec<Batch>>> {
    let id = job.as_uuid();
    let max = sqlx::query_scalar!("SELECT findings_max FROM jobs WHERE id = ?", id)
        .fetch_optional(&mut *connection)
        .await?;
    let Some(mut room) = max else { return Ok(None) };
    let rows = sqlx::query!(
        r#"SELECT id, findings, last_row, last_seq, committed_at AS "committed_at!"
        FROM finding_batches WHERE job = ? AND linked = 1 ORDER BY position"#,
        id
    )
    .fetch_all(&mut *connection)
    .await?;
    let counts = counts(connection, job, filter).await?;
    let row = Reading {
        table: "finding_batches",
        row: &job,
    };
    let mut batches = Vec::with_capacity(rows.len());
    for found in rows {
        let readable = found.findings.min(room);
        room -= readable;
        let mut batch = Batch {
            id: found.id,
            findings: found.findings,
            readable,
            matching: readable,
            last: (found.last_row, found.last_seq),
            committed_at: row.time("committed_at", found.committed_at)?,
        };
        if let Some(counts) = &counts {
            batch.matching = counts.get(&batch.id).copied().unwrap_or(0);
            // Kept counts are of whole batches; the one that the cap cuts is counted.
            if batch.matching > 0 && batch.readable < batch.findings {
                batch.matching = count(connection, &batch, filter).await?;
            }
        }
        batches.push(batch);
    }
    Ok(Some(batches))
}

/// How many findings of each batch the filter lets through. `None` without a filter.
async fn counts(
    connection: &mut SqliteConnection,
    job: JobId,
    filter: &FindingFilter,
) -> Result<Option<HashMap<i64, i64>>> {
    if filter.code.is_none() && filter.column.is_none() {
        return Ok(None);
    }
    let id = job.as_uuid();
    let code = filter.code.map(FindingCode::as_str);
    let counts = sqlx::query!(
        r#"SELECT b.id, SUM(c.findings) AS "findings!: i64"
        FROM finding_batches b JOIN finding_counts c ON c.batch = b.id
        WHERE b.job = ?1 AND b.linked = 1 AND (?2 IS NULL OR c.code = ?2) AND (?3 IS NULL OR c.column_name = ?3)
        GROUP BY b.id"#,
        id,
        code,
        filter.column
    )
    .fetch_all(connection)
    .await?;
    Ok(Some(
        counts.into_iter().map(|c| (c.id, c.findings)).collect(),
    ))
}

async fn count(
    connection: &mut SqliteConnection,
    batch: &Batch,
    filter: &FindingFilter,
) -> Result<i64> {
    let code = filter.code.map(FindingCode::as_str);
    let found = sqlx::query_scalar!(
        r#"SELECT COUNT(*) AS "findings!: i64" FROM findings
        WHERE batch = ?1 AND ordinal < ?2 AND (?3 IS NULL OR code = ?3) AND (?4 IS NULL OR column_name = ?4)"#,
        batch.id,
        batch.readable,
        code,
        filter.column
    )
    .fetch_one(connection)
    .await?;
    Ok(found)
}

/// The ordinal of the batch's first finding after the cursor: a binary search, since ordinals and places ascend
/// together.
async fn start(
    connection: &mut SqliteConnection,
    batch: &Batch,
    cursor: Option<FindingCursor>,
) -> Result<i64> {
    let Some(cursor) = cursor else { return Ok(0) };
    let (row, seq) = (int(cursor.row_number), i64::from(cursor.seq));
    if batch.last <= (row, seq) {
        return Ok(batch.readable);
    }
    let found = sqlx::query_scalar!(
        r#"WITH RECURSIVE search (low, high) AS (
            SELECT 0, ?2
            UNION ALL
            SELECT
                CASE WHEN (f.row_number, f.seq) > (?3, ?4) THEN low ELSE (low + high) / 2 + 1 END,
                CASE WHEN (f.row_number, f.seq) > (?3, ?4) THEN (low + high) / 2 ELSE high END
            FROM search CROSS JOIN findings f
            WHERE low < high AND f.batch = ?1 AND f.ordinal = (low + high) / 2
        )
        SELECT low AS "low!: i64" FROM search WHERE low = high"#,
        batch.id,
        batch.readable,
        row,
        seq
    )
    .fetch_one(connection)
    .await?;
    Ok(found)
}

/// Selects findings of a batch: the filter, then its arguments, between the ones that every statement has.
macro_rules! select_findings {
    ($connection:expr, $batch:expr, $window:expr, $filter:tt $(, $argument:expr)*) => {{
        let (batch, readable, window) = ($batch.id, $batch.readable, $window);
        sqlx::query_as!(
            FindingRow,
            "SELECT ordinal, row_number, seq, line, byte_offset, column_name, column_number, cell, code, message,
                raw_value
            FROM findings WHERE batch = ?1 AND ordinal >= ?2 AND ordinal < ?3 AND " + $filter
                + " ORDER BY ordinal LIMIT ?4 OFFSET ?5",
            batch,
            window.from,
            readable,
            window.limit,
            window.skip
            $(, $argument)*
        )
        .fetch_all($connection)
        .await?
    }};
}

/// One statement for each filter, so that each walks its own index in order.
async fn select(
    connection: &mut SqliteConnection,
    batch: &Batch,
    filter: &FindingFilter,
    window: &Window,
) -> Result<Vec<FindingRow>> {
    let code = filter.code.map(FindingCode::as_str);
    Ok(match (code, &filter.column) {
        (None, None) => select_findings!(connection, batch, window, "TRUE"),
        (Some(code), None) => {
            select_findings!(connection, batch, window, "code = ?6", code)
        }
        (None, Some(column)) => {
            select_findings!(connection, batch, window, "column_name = ?6", column)
        }
        (Some(code), Some(column)) => {
            // The plus keeps the column's index, which is the narrower of the two.
            select_findings!(
                connection,
                batch,
                window,
                "+code = ?6 AND column_name = ?7",
                code,
                column
            )
        }
    })
}

impl FindingRow {
    fn read(self, batch: &Batch) -> Result<StoredFinding> {
        let place = format!("{}/{}", batch.id, self.ordinal);
        let row = Reading {
            table: "findings",
            row: &place,
        };
        let finding = Finding {
            row_number: row.number("row_number", self.row_number)?,
            seq: row.number("seq", self.seq)?,
            line: row.number("line", self.line)?,
            byte_offset: (self.byte_offset)
                .map(|n| row.number("byte_offset", n))
                .transpose()?,
            column_name: self.column_name,
            column_number: (self.column_number)
                .map(|n| row.number("column_number", n))
                .transpose()?,
            cell: self.cell,
            code: row.word("code", &self.code)?,
            message: self.message,
            raw_value: self.raw_value,
        };
        Ok(StoredFinding {
            finding,
            created_at: batch.committed_at,
        })
    }
}
