//! Delimited text as a table: labels first, then rows.

use std::path::Path;

use filejobs_core::report::Dialect;
use filejobs_core::{Failure, FailureCode, Limits, Options};

use crate::batch::{RawBatch, RowKind};
use crate::dialect;
use crate::encoding;
use crate::reader::{ReadError, RowReader, Table};
use crate::source::{Range, Source, Text};
use crate::task::Piece;
use crate::validate::Places;

mod plain;
mod quoted;
pub(crate) mod records;
#[cfg(test)]
mod tests;

use records::{Format, Records, Span};

/// A whole file of delimited text.
#[derive(Debug)]
pub(crate) struct Opened {
    /// Its labels and rows.
    pub(crate) table: Table,
    /// One past the last byte of its last record, in the bytes of its text.
    pub(crate) end: u64,
}

/// Opens a whole file: finds its encoding, its dialect and its labels.
pub(crate) fn open(
    source: Source,
    options: &Options,
    limits: &Limits,
    scratch: &Path,
) -> Result<Opened, ReadError> {
    let file_bytes = source.bytes();
    let text = Text::open(source, options.encoding.as_deref(), scratch)?;
    let sample = text.source.head(text.start, dialect::SAMPLE_BYTES)?;
    let whole = text.start + sample.len() as u64 >= text.source.bytes();
    let detected = dialect::detect(&sample, whole, options, limits);
    let dialect = detected.dialect(&text);

    let start = text.start + detected.preamble as u64;
    let span = Span {
        offset: start,
        bytes: text.end.saturating_sub(start),
        line: 1 + u64::from(detected.preamble > 0),
        row: 1,
    };
    let mut records = Records::new(text.range(start, text.end), format(&dialect, limits), span);
    if !records.skip_empty_lines()? {
        return Err(Failure::new(
            FailureCode::EmptyFile,
            "The file holds no rows and no labels; send a table with at least a header.",
        )
        .into());
    }
    let (header_line, header_offset) = (records.line(), records.offset());
    let labels = match options.header {
        Some(false) => None,
        _ => Some(labels(&mut records, limits)?),
    };
    let table = Table {
        labels,
        header_line,
        header_offset: (!text.transcoded).then_some(header_offset),
        dialect: Some(dialect),
        sheet: None,
        places: places(&text),
        rows: Box::new(CsvRows {
            span_start: text.start,
            span_bytes: text.end.saturating_sub(text.start),
            source_bytes: file_bytes,
            batch_rows: limits.batch_rows as usize,
            records,
        }),
    };
    Ok(Opened {
        table,
        end: text.end,
    })
}

/// Opens the rows of one piece of a file whose dialect the plan has found.
pub(crate) fn open_piece(
    source: Source,
    dialect: &Dialect,
    piece: &Piece,
    limits: &Limits,
    scratch: &Path,
) -> Result<(Box<dyn RowReader>, Places), ReadError> {
    let known = encoding::known(&dialect.encoding, dialect.bom, &source)?;
    let text = Text::with(source, &known, scratch)?;
    let bytes = piece.end.saturating_sub(piece.start);
    let span = Span {
        offset: piece.start,
        bytes,
        line: piece.first_line,
        row: piece.first_row,
    };
    let input = text.range(piece.start, piece.end);
    let rows = CsvRows {
        records: Records::new(input, format(dialect, limits), span),
        batch_rows: limits.batch_rows as usize,
        span_start: piece.start,
        span_bytes: bytes,
        source_bytes: bytes,
    };
    Ok((Box::new(rows), places(&text)))
}

fn places(text: &Text) -> Places {
    if text.transcoded {
        Places::Transcoded
    } else {
        Places::Text
    }
}

fn format(dialect: &Dialect, limits: &Limits) -> Format {
    // Options and detection give ASCII only.
    let byte = |c: char, otherwise| u8::try_from(c).unwrap_or(otherwise);
    Format::new(
        byte(dialect.delimiter, b','),
        byte(dialect.quote_char, b'"'),
        limits,
    )
}

/// The cells of the first record, which numbers no row.
fn labels(records: &mut Records<Range>, limits: &Limits) -> Result<Vec<Vec<u8>>, ReadError> {
    let mut batch = RawBatch::default();
    let line = records.line();
    records.next_rows(&mut batch, 1)?;
    records.renumber(1);
    match batch.rows.first().map(|row| row.kind) {
        Some(RowKind::UnclosedQuote) => Err(Failure::new(
            FailureCode::BrokenHeader,
            format!("A quote in the header, in line {line}, never closes, or text stands behind the one that closes it; close, double or remove it."),
        )
        .into()),
        Some(RowKind::TooLong) => Err(Failure::new(
            FailureCode::LimitExceeded,
            format!(
                "The header, in line {line}, is longer than {} bytes, the most that a record may have.",
                limits.record_bytes
            ),
        )
        .into()),
        Some(RowKind::Cells | RowKind::Blank) | None => {
            let cells = 0..batch.cells.len();
            Ok(cells.map(|cell| batch.text(cell).to_vec()).collect())
        }
    }
}

/// The data rows of delimited text.
#[derive(Debug)]
struct CsvRows {
    records: Records<Range>,
    batch_rows: usize,
    /// Where the text of this reader begins and how long it is; the same in bytes of the upload.
    span_start: u64,
    span_bytes: u64,
    source_bytes: u64,
}

impl RowReader for CsvRows {
    fn next_batch(&mut self, batch: &mut RawBatch) -> Result<bool, ReadError> {
        self.records.next_rows(batch, self.batch_rows.max(1))
    }

    fn bytes_read(&self) -> u64 {
        let done = u128::from(self.records.offset() - self.span_start);
        let share = done * u128::from(self.source_bytes) / u128::from(self.span_bytes.max(1));
        u64::try_from(share).unwrap_or(self.source_bytes)
    }
}
