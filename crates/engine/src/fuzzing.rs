//! Entrances for the fuzz targets under `fuzz/`: no part of the interface.

use filejobs_core::{Limits, Options};

use crate::batch::{RawBatch, RowKind};
use crate::csv::records::{Format, Records, Span};
use crate::{dialect, workbook};

/// One row: kind, line, byte offset, cells.
type Row = (RowKind, u64, u64, Vec<Vec<u8>>);

/// Checks `bytes` as the archive of a workbook.
///
/// # Panics
/// When more comes out of it than the limits allow.
pub fn workbook_archive(bytes: &[u8]) {
    workbook::fuzzing::archive(bytes);
}

/// Reads `bytes` as an `.xls` workbook.
///
/// # Panics
/// When its rows are not in order.
pub fn old_workbook(bytes: &[u8]) {
    workbook::fuzzing::old_workbook(bytes);
}

/// Detects the dialect of `text` and reads it: with and without the short path, with reads of several sizes,
/// and cut in two in its middle. All must tell the same rows, and every byte must belong to one.
///
/// # Panics
/// When they do not.
pub fn delimited_text(text: &[u8]) {
    let limits = Limits {
        record_bytes: 64,
        batch_rows: 5,
        batch_bytes: 100,
        columns: u32::MAX,
        ..Limits::default()
    };
    let detected = dialect::detect(text, true, &Options::default(), &limits);
    let end = text.iter().rposition(|b| !matches!(b, b'\r' | b'\n'));
    let text = &text[..end.map_or(0, |last| last + 1)];
    let span = Span {
        offset: 0,
        bytes: text.len() as u64,
        line: 1,
        row: 1,
    };
    let format = Format::new(detected.delimiter, detected.quote, &limits);
    let rows = read(text, span, &format);
    for (chunk, plain_path) in [(1, true), (3, false), (64, true)] {
        let format = Format {
            chunk,
            plain_path,
            ..format.clone()
        };
        assert_eq!(read(text, span, &format), rows);
    }
    let Some((number, row)) = rows.iter().enumerate().nth(rows.len() / 2) else {
        return;
    };
    let first = Span {
        bytes: row.2,
        ..span
    };
    let second = Span {
        offset: row.2,
        bytes: span.bytes - row.2,
        line: row.1,
        row: 1 + number as u64,
    };
    let mut joined = read(text, first, &format);
    joined.extend(read(text, second, &format));
    assert_eq!(joined, rows);
}

fn read(text: &[u8], span: Span, format: &Format) -> Vec<Row> {
    let part = &text[span.offset as usize..][..span.bytes as usize];
    let mut records = Records::new(part, format.clone(), span);
    let mut batch = RawBatch::default();
    let mut rows = Vec::new();
    // Memory cannot fail to be read, and columns are not capped.
    while let Ok(true) = records.next_rows(&mut batch, format.batch_rows) {
        for (i, row) in batch.rows.iter().enumerate() {
            let cells = batch.row_cells(i).map(|cell| batch.text(cell).to_vec());
            rows.push((row.kind, row.line, row.byte_offset, cells.collect()));
        }
    }
    assert_eq!(records.offset(), span.offset + span.bytes);
    rows
}
