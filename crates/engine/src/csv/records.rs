//! Cuts delimited text into rows, under caps, with exact lines and byte offsets.
//!
//! Two paths give the same rows. Text without a quote is cut where it lies ([`super::plain`]); a record
//! with a quote, the end of the input and everything irregular goes through csv-core
//! ([`super::quoted`]). Neither copies: rows point into the bytes as they were read, only a record with
//! quotes is written back, unquoted, over itself.
//!
//! Every byte is looked at a bounded number of times. The one place that goes back is a quote that never
//! closes, which is given up after `record_bytes`, or that closes where its cell does not end: reading goes on after
//! the line that opened it. From inside that quote every run of quotes before its end was even, so read from outside
//! none of them opens a cell that stays open; the text that was looked at in vain is therefore read once more and no
//! oftener.

use std::io::Read;

use filejobs_core::{Failure, FailureCode, Limits};

use super::plain;
use super::quoted::{Quoted, Record};
use crate::batch::{Cell, RawBatch, RowKind};
use crate::reader::ReadError;

/// Read at a time: large enough to make calls rare, small enough that what is left over is little to move.
const CHUNK: usize = 64 * 1024;

/// What remains of a record that is too long; findings show less than this.
const KEPT_OF_TOO_LONG: usize = 1024;

/// Record caps above this would not fit the 32-bit places of a batch.
const RECORD_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// How records are told apart and how big they and their batches may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Format {
    /// Between cells.
    pub(crate) delimiter: u8,
    /// Around cells.
    pub(crate) quote: u8,
    /// A longer record is one `TooLong` row.
    pub(crate) record_bytes: usize,
    /// A record with more cells fails the file.
    pub(crate) columns: usize,
    /// Rows of a batch.
    pub(crate) batch_rows: usize,
    /// Text of a batch.
    pub(crate) batch_bytes: usize,
    /// Cells of a batch: records of nothing but delimiters hold more cells than text.
    pub(crate) batch_cells: usize,
    /// Read at a time.
    pub(crate) chunk: usize,
    /// Whether text without quotes may take the short way. Off only to compare the two.
    pub(crate) plain_path: bool,
}

impl Format {
    /// The format of text with these delimiter and quote.
    pub(crate) fn new(delimiter: u8, quote: u8, limits: &Limits) -> Self {
        let batch_bytes = limits.batch_bytes.clamp(1, RECORD_BYTES_MAX) as usize;
        Self {
            delimiter,
            quote,
            record_bytes: limits.record_bytes.min(RECORD_BYTES_MAX) as usize,
            columns: limits.columns as usize,
            batch_rows: (limits.batch_rows as usize).max(1),
            batch_bytes,
            batch_cells: (batch_bytes / 8).max(1),
            chunk: CHUNK,
            plain_path: true,
        }
    }
}

/// Where a run of records begins and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// Place of its first byte in the bytes as uploaded.
    pub(crate) offset: u64,
    /// Bytes until its end, where a record ends, too.
    pub(crate) bytes: u64,
    /// Physical line of its first byte.
    pub(crate) line: u64,
    /// `row_number` of its first record.
    pub(crate) row: u64,
}

/// Reads the records of one span of text.
#[derive(Debug)]
pub(crate) struct Records<R> {
    input: R,
    format: Format,
    quoted: Quoted,
    /// Bytes of the span not yet asked of `input`.
    unread: u64,
    /// Read, not yet handed out; its first byte is that of the next record.
    pending: Vec<u8>,
    /// Place, line and row number of the next record.
    offset: u64,
    line: u64,
    row: u64,
}

/// Why [`Records::cut`] stopped.
enum Stop {
    /// The batch is full.
    Full,
    /// The next record is not all there; as many bytes more as it has would double it.
    Starved,
    /// Nothing is left of the span.
    End,
    /// The next record is over the cap; `skip` bytes of it lie before the end of its line.
    TooLong { skip: usize },
}

impl<R: Read> Records<R> {
    /// Reads from `input`, which stands at the first byte of `span`.
    pub(crate) fn new(input: R, format: Format, span: Span) -> Self {
        Self {
            quoted: Quoted::new(format.delimiter, format.quote),
            input,
            format,
            unread: span.bytes,
            pending: Vec::new(),
            offset: span.offset,
            line: span.line,
            row: span.row,
        }
    }

    /// Physical line of the next record.
    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    /// Where the next record begins in the bytes of the source.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Calls the next record row `row` and its followers accordingly.
    pub(crate) fn renumber(&mut self, row: u64) {
        self.row = row;
    }

    /// Passes over empty lines. False when nothing else is left.
    pub(crate) fn skip_empty_lines(&mut self) -> Result<bool, ReadError> {
        loop {
            let filled = self.pending.len();
            let text = self
                .pending
                .iter()
                .position(|b| !matches!(b, b'\r' | b'\n'));
            // A line end is counted once the byte behind it is known not to belong to it.
            let skipped = match text {
                Some(at) => at,
                None if self.unread == 0 => filled,
                None => filled - usize::from(self.pending.last() == Some(&b'\r')),
            };
            self.line += line_ends(&self.pending[..skipped]);
            self.offset += skipped as u64;
            self.pending.drain(..skipped);
            if text.is_some() {
                return Ok(true);
            }
            if self.unread == 0 {
                return Ok(false);
            }
            let mut pending = std::mem::take(&mut self.pending);
            self.read_more(&mut pending, self.format.chunk)?;
            self.pending = pending;
        }
    }

    /// Fills `batch` with at most `rows` records; see [`crate::reader::RowReader::next_batch`].
    pub(crate) fn next_rows(
        &mut self,
        batch: &mut RawBatch,
        rows: usize,
    ) -> Result<bool, ReadError> {
        batch.clear();
        batch.first_row = self.row;
        std::mem::swap(&mut batch.bytes, &mut self.pending);
        let mut at = 0;
        loop {
            match self.cut(batch, &mut at, rows)? {
                Stop::Full | Stop::End => break,
                Stop::Starved => {
                    let more = self.format.chunk.max(batch.bytes.len() - at);
                    self.read_more(&mut batch.bytes, more)?;
                }
                Stop::TooLong { skip } => self.too_long(batch, &mut at, skip)?,
            }
        }
        self.pending.clear();
        self.pending.extend_from_slice(&batch.bytes[at..]);
        batch.bytes.truncate(at);
        self.row += batch.rows.len() as u64;
        Ok(!batch.rows.is_empty())
    }

    /// Cuts whole records off `batch.bytes[*at..]`.
    fn cut(
        &mut self,
        batch: &mut RawBatch,
        at: &mut usize,
        rows: usize,
    ) -> Result<Stop, ReadError> {
        let ended = self.unread == 0;
        let mut quote_at = None;
        loop {
            if batch.rows.len() >= rows
                || *at >= self.format.batch_bytes
                || batch.cells.len() >= self.format.batch_cells
            {
                return Ok(Stop::Full);
            }
            let filled = batch.bytes.len();
            if *at == filled {
                return Ok(if ended { Stop::End } else { Stop::Starved });
            }
            let next_quote = match quote_at {
                Some(q) if q >= *at => q,
                _ => memchr::memchr(self.format.quote, &batch.bytes[*at..])
                    .map_or(filled, |q| *at + q),
            };
            quote_at = Some(next_quote);
            let start = *at;
            if self.format.plain_path {
                let block = plain::Block {
                    start,
                    end: next_quote,
                    offset: self.offset,
                    last_return_is_whole: ended || next_quote < filled,
                };
                let taken = plain::cut(batch, &block, &self.format, rows, self.line);
                self.line += taken.lines;
                self.offset += taken.bytes as u64;
                *at += taken.bytes;
                if taken.full {
                    continue;
                }
            }
            if *at == filled {
                continue;
            }
            if let Some(stop) = self.cut_one(batch, at, ended)? {
                return Ok(stop);
            }
        }
    }

    /// Cuts one record, whatever it holds.
    fn cut_one(
        &mut self,
        batch: &mut RawBatch,
        at: &mut usize,
        ended: bool,
    ) -> Result<Option<Stop>, ReadError> {
        let rest = &mut batch.bytes[*at..];
        let start = *at as u32;
        match self.quoted.record(rest, self.format.record_bytes, ended) {
            Record::Incomplete => return Ok(Some(Stop::Starved)),
            Record::TooLong { skip } => return Ok(Some(Stop::TooLong { skip })),
            Record::Empty { next } => {
                batch.push_row(self.line, self.offset, RowKind::Blank);
                self.advance(at, next, 1);
            }
            Record::Unclosed { end, next, lines } => {
                batch.cells.push(Cell {
                    start,
                    end: start + end as u32,
                });
                batch.push_row(self.line, self.offset, RowKind::UnclosedQuote);
                self.advance(at, next, lines);
            }
            Record::Cells {
                ends,
                length,
                next,
                lines,
            } => {
                if ends.len() > self.format.columns {
                    return Err(too_many_columns(self.format.columns, self.line).into());
                }
                let mut cell_start = start;
                batch.cells.extend(ends.iter().map(|end| {
                    let cell = Cell {
                        start: cell_start,
                        end: start + *end as u32,
                    };
                    cell_start = cell.end;
                    cell
                }));
                let kind = if length + 1 == ends.len() {
                    RowKind::Blank
                } else {
                    RowKind::Cells
                };
                batch.push_row(self.line, self.offset, kind);
                self.advance(at, next, lines);
            }
        }
        Ok(None)
    }

    /// Makes the record at `at` one row with its beginning as its cell and passes over the rest of its
    /// line, which need not fit into memory.
    fn too_long(
        &mut self,
        batch: &mut RawBatch,
        at: &mut usize,
        skip: usize,
    ) -> Result<(), ReadError> {
        let start = *at;
        let kept = KEPT_OF_TOO_LONG.min(skip);
        batch.cells.push(Cell {
            start: start as u32,
            end: (start + kept) as u32,
        });
        batch.push_row(self.line, self.offset, RowKind::TooLong);
        self.line += line_ends(&batch.bytes[start..start + skip]);
        self.offset += skip as u64;
        let mut from = start + skip;
        loop {
            let rest = &batch.bytes[from..];
            if let Some(end) = memchr::memchr2(b'\n', b'\r', rest) {
                match line_end(rest, end, self.unread == 0) {
                    Some(next) => {
                        self.line += 1;
                        self.offset += next as u64;
                        *at = from + next;
                        return Ok(());
                    }
                    // The text before the `\r` goes, the `\r` waits for the byte behind it.
                    None => self.offset += end as u64,
                }
                batch.bytes.drain(start + kept..from + end);
            } else {
                self.offset += rest.len() as u64;
                batch.bytes.truncate(start + kept);
            }
            from = start + kept;
            if self.unread == 0 {
                self.line += 1;
                *at = from;
                return Ok(());
            }
            self.read_more(&mut batch.bytes, self.format.chunk)?;
        }
    }

    fn advance(&mut self, at: &mut usize, bytes: usize, lines: u64) {
        *at += bytes;
        self.offset += bytes as u64;
        self.line += lines;
    }

    /// Adds up to `wanted` bytes of the span to `bytes`.
    fn read_more(&mut self, bytes: &mut Vec<u8>, wanted: usize) -> Result<(), ReadError> {
        let wanted = usize::try_from(self.unread).map_or(wanted, |unread| unread.min(wanted));
        let start = bytes.len();
        bytes.resize(start + wanted, 0);
        self.input
            .read_exact(&mut bytes[start..])
            .map_err(ReadError::Read)?;
        self.unread -= wanted as u64;
        Ok(())
    }
}

/// One past the line end that begins at `rest[at]`; `None` when the byte that decides is not there yet.
pub(super) fn line_end(rest: &[u8], at: usize, ended: bool) -> Option<usize> {
    if rest[at] == b'\n' {
        return Some(at + 1);
    }
    match rest.get(at + 1) {
        Some(b'\n') => Some(at + 2),
        Some(_) => Some(at + 1),
        None if ended => Some(at + 1),
        None => None,
    }
}

/// How many physical lines end in `text`: `\n`, `\r\n` and `\r` are one each.
pub(super) fn line_ends(text: &[u8]) -> u64 {
    let ends = memchr::memchr2_iter(b'\n', b'\r', text)
        .filter(|at| text[*at] == b'\r' || *at == 0 || text[at - 1] != b'\r');
    ends.count() as u64
}

/// The failure of a file with a record of more than `limit` cells.
pub(super) fn too_many_columns(limit: usize, line: u64) -> Failure {
    Failure::new(
        FailureCode::LimitExceeded,
        format!(
            "Line {line} has more than {limit} columns, the most that are taken; split the table or check its delimiter."
        ),
    )
}
