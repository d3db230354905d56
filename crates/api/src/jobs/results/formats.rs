//! Rows as a page of JSON and as a CSV file.

use std::io::Write;

use arrow_array::RecordBatch;
use bytes::Bytes;
use filejobs_core::export;

use super::cell::Column;
use super::rows::{Batch, Rows};
use crate::download::{BodyError, Pieces};

/// A page of rows as JSON, a batch at a time.
#[derive(Debug)]
pub(super) struct JsonRows {
    rows: Rows,
    /// What stands before the first row; taken by the first piece.
    opening: Option<String>,
    first: bool,
    ended: bool,
}

impl JsonRows {
    pub(super) fn new(rows: Rows, total: u64, limit: u64, offset: u64) -> Self {
        let opening = format!(r#"{{"total":{total},"limit":{limit},"offset":{offset},"items":["#);
        Self {
            rows,
            opening: Some(opening),
            first: true,
            ended: false,
        }
    }

    fn push(&mut self, out: &mut Vec<u8>, batch: &Batch) -> Result<(), BodyError> {
        let names = names(&batch.rows)?;
        let columns = columns(&batch.rows)?;
        for (row, number) in batch.numbers.iter().enumerate() {
            if !std::mem::take(&mut self.first) {
                out.push(b',');
            }
            let task = batch.task_index;
            write!(
                out,
                r#"{{"row_number":{number},"task_index":{task},"data":{{"#
            )?;
            for (i, (name, column)) in names.iter().zip(&columns).enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(name);
                column.push_json(out, row)?;
            }
            out.extend_from_slice(b"}}");
        }
        Ok(())
    }
}

impl Pieces for JsonRows {
    fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        if self.ended {
            return Ok(None);
        }
        let mut out = self.opening.take().unwrap_or_default().into_bytes();
        if let Some(batch) = self.rows.next()? {
            self.push(&mut out, &batch)?;
        } else {
            self.ended = true;
            out.extend_from_slice(b"]}");
        }
        Ok(Some(out.into()))
    }
}

/// Every row as CSV, a batch at a time.
#[derive(Debug)]
pub(super) struct CsvRows {
    rows: Rows,
    /// The labels; taken by the first piece.
    header: Option<Vec<String>>,
}

impl CsvRows {
    pub(super) fn new(rows: Rows, names: Vec<String>) -> Self {
        Self {
            rows,
            header: Some(names),
        }
    }
}

impl Pieces for CsvRows {
    fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        let mut out = Vec::new();
        let header = self.header.take();
        let begins = header.is_some();
        for (i, name) in header.iter().flatten().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            export::push_cell(&mut out, name.as_bytes());
        }
        if begins {
            end_row(&mut out, 0);
        }
        match self.rows.next()? {
            Some(batch) => push_csv(&mut out, &batch.rows)?,
            None if !begins => return Ok(None),
            None => {}
        }
        Ok(Some(out.into()))
    }
}

fn push_csv(out: &mut Vec<u8>, rows: &RecordBatch) -> Result<(), BodyError> {
    let columns = columns(rows)?;
    for row in 0..rows.num_rows() {
        let start = out.len();
        for (i, column) in columns.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            column.push_csv(out, row)?;
        }
        end_row(out, start);
    }
    Ok(())
}

/// Ends the row that begins at `start`. Readers skip a line of nothing, so the one empty cell of a row is quoted.
fn end_row(out: &mut Vec<u8>, start: usize) {
    if out.len() == start {
        out.extend_from_slice(b"\"\"");
    }
    out.push(b'\n');
}

fn columns(rows: &RecordBatch) -> Result<Vec<Column<'_>>, BodyError> {
    rows.columns().iter().map(Column::of).collect()
}

/// Each name as JSON with its colon.
fn names(rows: &RecordBatch) -> Result<Vec<Vec<u8>>, BodyError> {
    let schema = rows.schema_ref();
    let name = |field: &std::sync::Arc<arrow_schema::Field>| {
        let mut json = serde_json::to_vec(field.name())?;
        json.push(b':');
        Ok(json)
    };
    schema.fields().iter().map(name).collect()
}
