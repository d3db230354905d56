//! Few findings: written by one statement within the commit of their task.

use filejobs_core::{Finding, JobId, TaskId};
use filejobs_store::rows::int;

use crate::database::Unit;
use crate::finding_index::{Index, number};
use crate::numbers::small;
use crate::problem::Result;
use crate::time::Time;

/// Findings as columns of a table.
#[derive(Debug, Default)]
struct Columns {
    rows: Vec<i64>,
    seqs: Vec<i32>,
    labels: Vec<Option<i32>>,
    lines: Vec<i64>,
    offsets: Vec<Option<i64>>,
    numbers: Vec<Option<i32>>,
    codes: Vec<i16>,
    cells: Vec<Option<String>>,
    messages: Vec<Vec<u8>>,
    values: Vec<Option<Vec<u8>>>,
}

impl Columns {
    fn push(&mut self, finding: &Finding, label: Option<i32>) {
        self.rows.push(int(finding.row_number));
        self.seqs.push(small(finding.seq));
        self.labels.push(label);
        self.lines.push(int(finding.line));
        self.offsets.push(finding.byte_offset.map(int));
        self.numbers.push(finding.column_number.map(small));
        self.codes.push(number(finding.code));
        self.cells.push(finding.cell.clone());
        self.messages.push(finding.message.clone().into_bytes());
        let value = finding.raw_value.as_ref();
        self.values
            .push(value.map(|value| value.clone().into_bytes()));
    }
}

/// Writes a batch that is visible with the transaction.
pub(crate) async fn link(
    unit: &mut Unit,
    (job, task, attempt): (JobId, TaskId, u32),
    position: i32,
    findings: &[Finding],
) -> Result<()> {
    let Some(last) = findings.last() else {
        return Ok(());
    };
    let (mut index, mut columns) = (Index::default(), Columns::default());
    for finding in findings {
        columns.push(finding, index.add(finding));
    }
    let (labels, names) = index.labels();
    let counted = index.counted();
    sqlx::query_file!(
        "queries/few_findings.sql",
        job.as_uuid(),
        task.as_uuid(),
        small(attempt),
        position,
        int(findings.len() as u64),
        int(last.row_number),
        small(last.seq),
        Time::from(unit.now),
        &labels,
        &names,
        &counted.codes,
        &counted.labels as &[Option<i32>],
        &counted.findings,
        &columns.rows,
        &columns.seqs,
        &columns.labels as &[Option<i32>],
        &columns.lines,
        &columns.offsets as &[Option<i64>],
        &columns.numbers as &[Option<i32>],
        &columns.codes,
        &columns.cells as &[Option<String>],
        &columns.messages,
        &columns.values as &[Option<Vec<u8>>]
    )
    .execute(&mut *unit.connection)
    .await?;
    Ok(())
}
