//! The one shape in which readers hand rows to the rest of the engine.

use std::ops::Range;

use filejobs_core::schema::value::Native;

/// Raw cells of consecutive rows.
///
/// At most `Limits::batch_rows` rows, fewer when `Limits::batch_bytes` of text is reached. Reused between
/// batches so that reading allocates nothing once it is warm.
///
/// Nothing here promises UTF-8: bytes that no encoding allows, and NULs, arrive as they are, and
/// validation turns them into `encoding-error` findings of their row.
#[derive(Debug, Default)]
pub struct RawBatch {
    /// `row_number` of the first row, from 1.
    pub first_row: u64,
    /// What the cells point into. CSV is cut where it lies, so delimiters, quotes and line ends of the
    /// source may stand between cells.
    pub bytes: Vec<u8>,
    /// Every cell of every row, in the file's order: quotes removed, doubled quotes made single.
    pub cells: Vec<Cell>,
    /// The rows, in the file's order.
    pub rows: Vec<RawRow>,
    /// Cells that are errors in a workbook (`#DIV/0!`): indexes into `cells`, ascending. Empty for CSV.
    pub error_cells: Vec<u32>,
}

/// Where the text of one cell lies in [`RawBatch::bytes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// Its first byte.
    pub start: u32,
    /// One past its last byte.
    pub end: u32,
}

/// One row of a [`RawBatch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawRow {
    /// One past its last cell in [`RawBatch::cells`]; its first is where the row before ends.
    pub cells_end: u32,
    /// Physical line where the record begins, from 1; in workbooks the sheet's row number.
    pub line: u64,
    /// Start of the row in the bytes as uploaded; meaningless when the source is transcoded or a workbook.
    pub byte_offset: u64,
    /// What the reader already knows about the row.
    pub kind: RowKind,
}

/// What a reader knows about a row before any cell is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowKind {
    /// Cells to be typed.
    Cells,
    /// An empty line (no cells) or nothing but delimiters (empty cells): `blank-row`.
    Blank,
    /// A quote opens in this record and never closes; its one cell holds the text up to the end of the
    /// line with that quote: `unclosed-quote`.
    UnclosedQuote,
    /// The record is longer than `Limits::record_bytes`; its one cell holds the beginning: `line-too-long`.
    TooLong,
}

impl RawBatch {
    /// Makes it empty and keeps its memory.
    pub fn clear(&mut self) {
        self.first_row = 0;
        self.bytes.clear();
        self.cells.clear();
        self.rows.clear();
        self.error_cells.clear();
    }

    /// Adds a cell to the row that the next [`RawBatch::push_row`] ends.
    pub fn push_cell(&mut self, text: &[u8]) {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(text);
        let end = self.bytes.len() as u32;
        self.cells.push(Cell { start, end });
    }

    /// Ends a row: it takes the cells pushed since the row before.
    pub fn push_row(&mut self, line: u64, byte_offset: u64, kind: RowKind) {
        self.rows.push(RawRow {
            cells_end: self.cells.len() as u32,
            line,
            byte_offset,
            kind,
        });
    }

    /// The text of a cell, by its index in [`RawBatch::cells`].
    #[inline]
    #[must_use]
    pub fn text(&self, cell: usize) -> &[u8] {
        let Cell { start, end } = self.cells[cell];
        &self.bytes[start as usize..end as usize]
    }

    /// What a cell of a sheet holds, by its index in [`RawBatch::cells`]: a byte before its text marks it. Says nothing
    /// of other tables.
    #[inline]
    #[must_use]
    pub fn native(&self, cell: usize) -> Native {
        let before = self.cells[cell].start.checked_sub(1);
        match before.map(|at| self.bytes[at as usize]) {
            Some(NUMBER) => Native::Number,
            Some(BOOLEAN) => Native::Boolean,
            Some(MOMENT) => Native::Moment,
            _ => Native::Text,
        }
    }

    /// The indexes in [`RawBatch::cells`] of the cells of a row, by its index in [`RawBatch::rows`].
    #[inline]
    #[must_use]
    pub fn row_cells(&self, row: usize) -> Range<usize> {
        let start = match row {
            0 => 0,
            _ => self.rows[row - 1].cells_end as usize,
        };
        start..self.rows[row].cells_end as usize
    }
}

const NUMBER: u8 = 0x1d;
const BOOLEAN: u8 = 0x1e;
const MOMENT: u8 = 0x1f;

/// What stands in [`RawBatch::bytes`] before the text of each cell of a sheet that is not empty.
pub(crate) fn mark(native: Native) -> u8 {
    match native {
        Native::Text => b' ',
        Native::Number => NUMBER,
        Native::Boolean => BOOLEAN,
        Native::Moment => MOMENT,
    }
}
