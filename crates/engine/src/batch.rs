//! The one shape in which readers hand rows to the rest of the engine.

/// Raw cells of consecutive rows, as UTF-8 text where the source allows it.
///
/// At most `Limits::batch_rows` rows, fewer when `Limits::batch_bytes` of text is reached. Reused between
/// batches so that reading allocates nothing once it is warm.
#[derive(Debug, Default)]
pub struct RawBatch {
    /// `row_number` of the first row, from 1.
    pub first_row: u64,
    /// The cells' text back to back, quotes removed and doubled quotes made single.
    pub bytes: Vec<u8>,
    /// Where each cell ends in `bytes`; a cell begins where the one before ends.
    pub cell_ends: Vec<u32>,
    /// The rows, in the file's order.
    pub rows: Vec<RawRow>,
    /// Cells that are errors in a workbook (`#DIV/0!`): indexes into `cell_ends`, ascending. Empty for CSV.
    pub error_cells: Vec<u32>,
}

/// One row of a [`RawBatch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawRow {
    /// One past its last cell in [`RawBatch::cell_ends`]; its first is where the row before ends.
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
    /// An empty line or nothing but delimiters: `blank-row`.
    Blank,
    /// A quote opens in this line and never closes; the cells hold the line's text: `unclosed-quote`.
    UnclosedQuote,
    /// The record is longer than `Limits::record_bytes`; its one cell holds the beginning: `line-too-long`.
    TooLong,
}
