//! Pages of findings: a job's batches one after the other, each entered where the page begins.

use std::collections::HashMap;

use filejobs_core::{Finding, JobId};
use filejobs_store::rows::{Reading, int};
use filejobs_store::{FindingCursor, FindingFilter, Listed, Page, StoredFinding};
use jiff::Timestamp;

use crate::database::Unit;
use crate::finding_index::{code, number};
use crate::numbers::small;
use crate::problem::Result;

/// A linked batch.
struct Batch {
    id: i64,
    /// Findings in it, and those that the job's cap lets be read.
    findings: i64,
    readable: i64,
    /// Of the readable ones, those that the filter lets through.
    matching: i64,
    last: (i64, i32),
    committed_at: Timestamp,
}

/// The filter, in numbers of one batch.
#[derive(Clone, Copy, Default)]
struct Wanted {
    code: Option<i16>,
    label: Option<i32>,
}

/// Which rows of a batch: from an ordinal on, after skipping some that match, at most so many.
struct Window {
    from: i64,
    skip: i64,
    limit: i64,
}

/// A page in order of row and ordinal. `None` for an unknown job.
pub(crate) async fn page(
    unit: &mut Unit,
    job: JobId,
    filter: &FindingFilter,
    page: Page<FindingCursor>,
) -> Result<Option<Listed<StoredFinding, FindingCursor>>> {
    let Some(batches) = batches(unit, job, filter).await? else {
        return Ok(None);
    };
    let total = batches.iter().map(|(b, _)| b.matching).sum::<i64>();
    let (cursor, mut skip, limit) = match page {
        Page::Offset { offset, limit } => (None, int(offset), limit),
        Page::After { cursor, limit } => (cursor, 0, limit),
    };
    let limit = limit as usize;
    let mut items: Vec<StoredFinding> = Vec::new();
    for (batch, wanted) in batches.iter().filter(|(b, _)| b.matching > 0) {
        if items.len() > limit {
            break;
        }
        if skip >= batch.matching {
            skip -= batch.matching;
            continue;
        }
        let window = Window {
            from: start(unit, batch, cursor).await?,
            skip: std::mem::take(&mut skip),
            // One more than asked for tells whether there are more.
            limit: int((limit + 1 - items.len()) as u64),
        };
        items.extend(select(unit, batch, *wanted, window).await?);
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
    unit: &mut Unit,
    job: JobId,
    filter: &FindingFilter,
) -> Result<Option<Vec<(Batch, Wanted)>>> {
    let max = sqlx::query_scalar!("SELECT findings_max FROM jobs WHERE id = $1", job.as_uuid())
        .fetch_optional(&mut *unit.connection)
        .await?;
    let Some(mut room) = max else { return Ok(None) };
    let rows = sqlx::query!(
        r#"SELECT id, findings, last_row, last_seq, committed_at AS "committed_at!"
        FROM finding_batches WHERE job = $1 AND linked ORDER BY position"#,
        job.as_uuid()
    )
    .fetch_all(&mut *unit.connection)
    .await?;
    let matches = matches(unit, job, filter).await?;
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
        let mut wanted = Wanted::default();
        if let Some(matches) = &matches {
            (wanted, batch.matching) = matches.get(&batch.id).copied().unwrap_or_default();
            // Kept counts are of whole batches; the one that the cap cuts is counted.
            if batch.matching > 0 && batch.readable < batch.findings {
                batch.matching = count(unit, &batch, wanted).await?;
            }
        }
        batches.push((batch, wanted));
    }
    Ok(Some(batches))
}

/// What the filter means in each batch, and how many findings it lets through. `None` without a filter.
async fn matches(
    unit: &mut Unit,
    job: JobId,
    filter: &FindingFilter,
) -> Result<Option<HashMap<i64, (Wanted, i64)>>> {
    let code = filter.code.map(number);
    let matches = match &filter.column {
        None if code.is_none() => return Ok(None),
        None => {
            let found = sqlx::query!(
                r#"SELECT b.id, SUM(c.findings)::bigint AS "findings!"
                FROM finding_batches b JOIN finding_counts c ON c.batch = b.id
                WHERE b.job = $1 AND b.linked AND c.code = $2 GROUP BY b.id"#,
                job.as_uuid(),
                code
            )
            .fetch_all(&mut *unit.connection)
            .await?;
            let of_code = Wanted { code, label: None };
            found
                .into_iter()
                .map(|b| (b.id, (of_code, b.findings)))
                .collect()
        }
        Some(column) => {
            let found = sqlx::query!(
                r#"SELECT b.id, l.label, SUM(c.findings)::bigint AS "findings!"
                FROM finding_batches b JOIN finding_labels l ON l.batch = b.id AND l.name = $2
                    JOIN finding_counts c ON c.batch = b.id AND c.label = l.label
                WHERE b.job = $1 AND b.linked AND ($3::smallint IS NULL OR c.code = $3) GROUP BY b.id, l.label"#,
                job.as_uuid(),
                column.as_bytes(),
                code
            )
            .fetch_all(&mut *unit.connection)
            .await?;
            let of_label = |label| Wanted {
                code,
                label: Some(label),
            };
            found
                .into_iter()
                .map(|b| (b.id, (of_label(b.label), b.findings)))
                .collect()
        }
    };
    Ok(Some(matches))
}

async fn count(unit: &mut Unit, batch: &Batch, wanted: Wanted) -> Result<i64> {
    let found = sqlx::query_scalar!(
        r#"SELECT COUNT(*) AS "findings!" FROM findings
        WHERE batch = $1 AND ordinal < $2 AND ($3::smallint IS NULL OR code = $3) AND ($4::integer IS NULL OR label = $4)"#,
        batch.id,
        ordinal(batch.readable),
        wanted.code,
        wanted.label
    )
    .fetch_one(&mut *unit.connection)
    .await?;
    Ok(found)
}

/// Ordinals are of four bytes: a job has no more findings than that, by far.
fn ordinal(number: i64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// The ordinal of the batch's first finding after the cursor: a binary search, since ordinals and places ascend
/// together.
async fn start(unit: &mut Unit, batch: &Batch, cursor: Option<FindingCursor>) -> Result<i64> {
    let Some(cursor) = cursor else { return Ok(0) };
    let (row, seq) = (int(cursor.row_number), small(cursor.seq));
    if batch.last <= (row, seq) {
        return Ok(batch.readable);
    }
    let found = sqlx::query_scalar!(
        r#"WITH RECURSIVE search (low, high) AS (
            SELECT 0, $2::integer
            UNION ALL
            SELECT
                CASE WHEN (f.row_number, f.seq) > ($3, $4) THEN s.low ELSE (s.low + s.high) / 2 + 1 END,
                CASE WHEN (f.row_number, f.seq) > ($3, $4) THEN (s.low + s.high) / 2 ELSE s.high END
            FROM search s CROSS JOIN LATERAL (
                SELECT row_number, seq FROM findings WHERE batch = $1 AND ordinal = (s.low + s.high) / 2
            ) f
            WHERE s.low < s.high
        )
        SELECT low AS "low!" FROM search WHERE low = high"#,
        batch.id,
        ordinal(batch.readable),
        row,
        seq
    )
    .fetch_one(&mut *unit.connection)
    .await?;
    Ok(found.into())
}

/// Selects findings of a batch: the filter, then its arguments, between the ones that every statement has.
macro_rules! select_findings {
    ($unit:expr, $batch:expr, $window:expr, $until:expr, $filter:tt $(, $argument:expr)*) => {
        sqlx::query_as!(
            Found,
            r#"SELECT f.ordinal, f.row_number, f.seq, f.line, f.byte_offset, f.column_number, f.code, f.cell, f.message,
                f.raw_value, l.name AS "name?"
            FROM findings f LEFT JOIN finding_labels l ON l.batch = f.batch AND l.label = f.label
            WHERE f.batch = $1 AND f.ordinal >= $2 AND f.ordinal < $3 AND "# + $filter
                + " ORDER BY f.ordinal LIMIT $4 OFFSET $5",
            $batch.id,
            ordinal($window.from),
            ordinal($until),
            $window.limit,
            $window.skip
            $(, $argument)*
        )
        .fetch_all(&mut *$unit.connection)
        .await?
    };
}

/// One statement for each filter, so that each walks its own index in order.
async fn select(
    unit: &mut Unit,
    batch: &Batch,
    wanted: Wanted,
    mut window: Window,
) -> Result<Vec<StoredFinding>> {
    let found: Vec<Found> = match (wanted.code, wanted.label) {
        (None, None) => {
            // Ordinals have no gap: nothing needs to be skipped, and the end is known.
            window.from += std::mem::take(&mut window.skip);
            let until = batch.readable.min(window.from + window.limit);
            select_findings!(unit, batch, window, until, "TRUE")
        }
        (Some(code), None) => {
            select_findings!(unit, batch, window, batch.readable, "f.code = $6", code)
        }
        (None, Some(label)) => {
            select_findings!(unit, batch, window, batch.readable, "f.label = $6", label)
        }
        (Some(code), Some(label)) => {
            select_findings!(
                unit,
                batch,
                window,
                batch.readable,
                "f.code = $6 AND f.label = $7",
                code,
                label
            )
        }
    };
    found.into_iter().map(|found| found.read(batch)).collect()
}

/// A row of `findings` with its label.
struct Found {
    ordinal: i32,
    row_number: i64,
    seq: i32,
    line: i64,
    byte_offset: Option<i64>,
    column_number: Option<i32>,
    code: i16,
    cell: Option<String>,
    message: Vec<u8>,
    raw_value: Option<Vec<u8>>,
    name: Option<Vec<u8>>,
}

impl Found {
    fn read(self, batch: &Batch) -> Result<StoredFinding> {
        let place = format!("{}/{}", batch.id, self.ordinal);
        let row = Reading {
            table: "findings",
            row: &place,
        };
        let text = |column, bytes: Vec<u8>| {
            String::from_utf8(bytes).map_err(|e| row.corrupt(column, Some(e.into())))
        };
        let finding = Finding {
            row_number: row.number("row_number", self.row_number)?,
            seq: row.number("seq", self.seq.into())?,
            line: row.number("line", self.line)?,
            byte_offset: (self.byte_offset)
                .map(|n| row.number("byte_offset", n))
                .transpose()?,
            column_name: self.name.map(|name| text("label", name)).transpose()?,
            column_number: (self.column_number)
                .map(|n| row.number("column_number", n.into()))
                .transpose()?,
            cell: self.cell,
            code: code(self.code).ok_or_else(|| row.corrupt("code", None))?,
            message: text("message", self.message)?,
            raw_value: (self.raw_value)
                .map(|value| text("raw_value", value))
                .transpose()?,
        };
        Ok(StoredFinding {
            finding,
            created_at: batch.committed_at,
        })
    }
}
