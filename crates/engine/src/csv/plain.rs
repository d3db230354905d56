//! The short way for text without quotes: a record is what lies between line ends, a cell what lies
//! between delimiters.
//!
//! Takes only rows that need no thought; whatever else it meets it leaves to [`super::quoted`], whose
//! verdict counts. A property test holds the two equal.

use super::records::Format;
use crate::batch::{Cell, RawBatch, RawRow, RowKind};

/// A stretch of a batch's bytes that holds no quote and begins with a record.
pub(super) struct Block {
    /// Its first byte in the batch.
    pub(super) start: usize,
    /// One past its last byte.
    pub(super) end: usize,
    /// Its place in the source.
    pub(super) offset: u64,
    /// Whether a `\r` as its very last byte is a whole line end.
    pub(super) last_return_is_whole: bool,
}

/// What was cut.
pub(super) struct Taken {
    /// Bytes of whole records.
    pub(super) bytes: usize,
    /// Their lines.
    pub(super) lines: u64,
    /// Whether it stopped because the batch is full.
    pub(super) full: bool,
}

/// Cuts whole records off the block until it, or the room in the batch, ends.
pub(super) fn cut(
    batch: &mut RawBatch,
    block: &Block,
    format: &Format,
    rows: usize,
    line: u64,
) -> Taken {
    let RawBatch {
        bytes,
        cells,
        rows: out,
        ..
    } = batch;
    let text = &bytes[..block.end];
    let origin = block.offset - block.start as u64;
    let mut taken = Taken {
        bytes: 0,
        lines: 0,
        full: false,
    };
    let mut row_start = block.start;
    let mut row_cells = cells.len();
    let mut cell_start = row_start;
    let marks = memchr::memchr3_iter(format.delimiter, b'\n', b'\r', &text[block.start..]);
    for at in marks.map(|at| at + block.start) {
        if at < cell_start {
            // The second half of a `\r\n`.
            continue;
        }
        cells.push(Cell {
            start: cell_start as u32,
            end: at as u32,
        });
        let mark = text[at];
        cell_start = at + 1;
        if mark == format.delimiter {
            continue;
        }
        if mark == b'\r' {
            match text.get(at + 1) {
                Some(b'\n') => cell_start += 1,
                Some(_) => {}
                None if block.last_return_is_whole => {}
                None => break,
            }
        }
        let count = cells.len() - row_cells;
        let length = at - row_start;
        if length > format.record_bytes || count > format.columns {
            break;
        }
        let kind = if length + 1 == count {
            if count == 1 {
                cells.pop();
            }
            RowKind::Blank
        } else {
            RowKind::Cells
        };
        out.push(RawRow {
            cells_end: cells.len() as u32,
            line: line + taken.lines,
            byte_offset: origin + row_start as u64,
            kind,
        });
        taken.lines += 1;
        row_start = cell_start;
        row_cells = cells.len();
        if out.len() >= rows || row_start >= format.batch_bytes || row_cells >= format.batch_cells {
            taken.full = true;
            break;
        }
    }
    cells.truncate(row_cells);
    taken.bytes = row_start - block.start;
    taken
}
