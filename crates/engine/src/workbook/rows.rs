//! Turns the cells of a sheet, one after the other, into labels and batches of rows.
//!
//! Cells come in the order of the sheet. Rows and cells that are not there take no memory however far the
//! next one is: absent rows before a later one become blank rows, absent cells between others point at
//! nothing. Rows behind the last cell do not exist. A table begins in the column of its first label or of the
//! first value below the labels, whichever lies further left.

use filejobs_core::{Failure, FailureCode, Limits};

use super::archive::{limit, unreadable};
use super::cell_text::Value;
use super::feed::Feed;
use crate::batch::{Cell, RawBatch, RowKind, mark};
use crate::reader::ReadError;

/// The last row and column that a sheet can have, from 0.
const LAST_ROW: u32 = 1_048_575;
const LAST_COLUMN: u32 = 16_383;
/// A batch ends early at this many cells: wide rows weigh even when they are empty.
const CELLS_PER_BATCH: usize = 512 * 1024;
/// What a row that is too long shows of itself.
const TOO_LONG_SHOWN: usize = 1024;
const NOTHING: Cell = Cell { start: 0, end: 0 };

/// Why no more cells are wanted.
#[derive(Debug)]
pub(super) enum Stop {
    /// Nobody listens any more.
    Gone,
    Error(ReadError),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Error(failure.into())
    }
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        Self::Error(error)
    }
}

/// What is known before the first row.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) labels: Option<Vec<Vec<u8>>>,
    /// The sheet's row of the labels, from 1; 0 without labels.
    pub(super) line: u64,
    /// The sheet's column, from 0, where the table begins.
    pub(super) first_column: u32,
}

/// Where in the table the next cell belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nothing was read yet.
    Start,
    /// In the labels.
    Labels,
    /// In the first batch of a table without labels: it shows in which column the table begins.
    FirstBatch,
    Rows,
}

/// See the module.
pub(super) struct Rows<'a> {
    feed: &'a Feed,
    limits: &'a Limits,
    has_labels: bool,
    dates_1904: bool,
    place: Place,
    labels: Vec<Vec<u8>>,
    labels_row: u32,
    first_column: u32,
    /// Columns with labels; 0 before they are known, and without any.
    width: usize,
    batch: RawBatch,
    /// `row_number` of the next row.
    next_row: u64,
    /// The sheet's row that is being filled, from 0.
    row: u32,
    /// Cells of the batch before this row.
    row_cells: usize,
    /// Bytes of the batch before this row.
    row_bytes: usize,
    /// The row's text is over the limit, what follows is skipped.
    too_long: bool,
    cells: u64,
}

impl<'a> Rows<'a> {
    pub(super) fn new(feed: &'a Feed, limits: &'a Limits, has_labels: bool) -> Self {
        Self {
            feed,
            limits,
            has_labels,
            dates_1904: false,
            place: Place::Start,
            labels: Vec::new(),
            labels_row: 0,
            first_column: 0,
            width: 0,
            batch: RawBatch::default(),
            next_row: 1,
            row: 0,
            row_cells: 0,
            row_bytes: 0,
            too_long: false,
            cells: 0,
        }
    }

    /// The date system of the workbook, once it is known.
    pub(super) fn set_dates_1904(&mut self, dates_1904: bool) {
        self.dates_1904 = dates_1904;
    }

    /// Takes the next cell; `row` and `column` from 0.
    pub(super) fn cell(&mut self, row: u32, column: u32, value: Value<'_>) -> Result<(), Stop> {
        self.count(1)?;
        if matches!(value, Value::Empty) {
            return Ok(());
        }
        if row > LAST_ROW || column > LAST_COLUMN {
            return Err(unreadable("The sheet has a cell outside of what a sheet can hold").into());
        }
        match self.place {
            Place::Start => self.start(row, column),
            Place::Labels if row != self.row => {
                if row < self.row {
                    return Err(out_of_order(row, column));
                }
                self.widen_labels(column)?;
                self.end_labels()?;
                self.skip_rows(row)?;
                self.begin_row(row);
            }
            Place::FirstBatch | Place::Rows if row != self.row => {
                if row < self.row {
                    return Err(out_of_order(row, column));
                }
                self.end_row()?;
                self.skip_rows(row)?;
                self.begin_row(row);
            }
            _ => {}
        }
        if self.place == Place::Labels {
            self.label(row, column, value)
        } else {
            self.data(row, column, value)
        }
    }

    /// No cell follows: hands out what is left.
    pub(super) fn finish(mut self) -> Result<(), Stop> {
        match self.place {
            Place::Start => {
                let message = "The sheet holds no data; hand in one with a row of labels";
                return Err(Failure::new(FailureCode::EmptyFile, message).into());
            }
            Place::Labels => self.end_labels()?,
            Place::FirstBatch | Place::Rows => self.end_row()?,
        }
        if self.batch.rows.is_empty() && self.place == Place::Rows {
            return Ok(());
        }
        self.hand_over()
    }

    fn start(&mut self, row: u32, column: u32) {
        if self.has_labels {
            self.place = Place::Labels;
            self.first_column = column;
            self.labels_row = row;
            self.row = row;
        } else {
            self.place = Place::FirstBatch;
            self.begin_row(row);
        }
    }

    fn count(&mut self, cells: u64) -> Result<(), Stop> {
        self.cells += cells;
        if self.cells > self.limits.workbook_cells {
            return Err(limit(format!(
                "The sheet has more than {} cells, the most that is taken",
                self.limits.workbook_cells
            ))
            .into());
        }
        Ok(())
    }

    fn label(&mut self, row: u32, column: u32, value: Value<'_>) -> Result<(), Stop> {
        let index = (column.wrapping_sub(self.first_column)) as usize;
        if column < self.first_column || index < self.labels.len() {
            return Err(out_of_order(row, column));
        }
        self.check_width(index + 1)?;
        let mut text = Vec::new();
        value.write(self.dates_1904, &mut text);
        self.row_bytes += text.len();
        if self.row_bytes as u64 > self.limits.record_bytes {
            return Err(limit(format!(
                "The row of labels is longer than {} bytes, the most that is taken",
                self.limits.record_bytes
            ))
            .into());
        }
        self.labels.resize(index, Vec::new());
        self.labels.push(text);
        Ok(())
    }

    fn check_width(&self, columns: usize) -> Result<(), Stop> {
        if columns > self.limits.columns as usize {
            return Err(limit(format!(
                "The table has more than {} columns, the most that is taken",
                self.limits.columns
            ))
            .into());
        }
        Ok(())
    }

    /// Adds blank labels when the first row of values begins left of them: an index, say, to which many
    /// programs give no label.
    fn widen_labels(&mut self, column: u32) -> Result<(), Stop> {
        let more = self.first_column.saturating_sub(column) as usize;
        self.check_width(self.labels.len() + more)?;
        self.labels.resize(self.labels.len() + more, Vec::new());
        self.labels.rotate_right(more);
        self.first_column = self.first_column.min(column);
        Ok(())
    }

    fn end_labels(&mut self) -> Result<(), Stop> {
        self.place = Place::Rows;
        self.width = self.labels.len();
        // Rows that are absent right below the labels are rows of the table.
        self.row = self.labels_row;
        self.row_bytes = 0;
        self.feed.head(Head {
            labels: Some(std::mem::take(&mut self.labels)),
            line: u64::from(self.labels_row) + 1,
            first_column: self.first_column,
        })
    }

    fn data(&mut self, row: u32, column: u32, value: Value<'_>) -> Result<(), Stop> {
        if column < self.first_column {
            let message = format!(
                "Cell {} holds a value left of the table, which begins in column {}; hand in a sheet with one table",
                name(row, column),
                name(0, self.first_column).trim_end_matches('1')
            );
            return Err(Failure::new(FailureCode::NotATable, message).into());
        }
        if self.too_long {
            return Ok(());
        }
        let index = self.row_cells + (column - self.first_column) as usize;
        let Some(absent) = index.checked_sub(self.batch.cells.len()) else {
            return Err(out_of_order(row, column));
        };
        self.count(absent as u64)?;
        self.batch.cells.resize(index, NOTHING);
        if matches!(value, Value::Error(_)) {
            self.batch.error_cells.push(index as u32);
        }
        let before = self.batch.bytes.len();
        self.batch.bytes.push(0);
        let start = self.batch.bytes.len() as u32;
        let native = value.write(self.dates_1904, &mut self.batch.bytes);
        self.batch.bytes[before] = mark(native);
        let end = self.batch.bytes.len() as u32;
        self.batch.cells.push(Cell { start, end });
        let length = self.batch.bytes.len() - self.row_bytes;
        if length as u64 > self.limits.record_bytes {
            self.shorten();
        }
        Ok(())
    }

    /// Keeps of a row that is too long one cell with its beginning.
    fn shorten(&mut self) {
        let batch = &mut self.batch;
        // Behind the mark of the first cell.
        let start = self.row_bytes + 1;
        let text = &batch.bytes[start..];
        // All of it was written as UTF-8; a character that is cut in two goes.
        let mut shown = text.len().min(TOO_LONG_SHOWN);
        while shown > 0 && text.get(shown).is_some_and(|b| b & 0xc0 == 0x80) {
            shown -= 1;
        }
        batch.bytes.truncate(start + shown);
        for byte in &mut batch.bytes[start..] {
            // The marks of the others.
            if byte.is_ascii_control() {
                *byte = b' ';
            }
        }
        batch.cells.truncate(self.row_cells);
        batch.cells.push(Cell {
            start: start as u32,
            end: batch.bytes.len() as u32,
        });
        while batch
            .error_cells
            .last()
            .is_some_and(|c| *c as usize >= self.row_cells)
        {
            batch.error_cells.pop();
        }
        self.too_long = true;
    }

    fn begin_row(&mut self, row: u32) {
        self.row = row;
        self.row_cells = self.batch.cells.len();
        self.row_bytes = self.batch.bytes.len();
        self.too_long = false;
    }

    fn end_row(&mut self) -> Result<(), Stop> {
        if self.too_long {
            return self.push(self.row, RowKind::TooLong);
        }
        // Rows of the same width are checked faster; those that are nearly empty stay short.
        let there = self.batch.cells.len() - self.row_cells;
        if there < self.width && there >= self.width / 2 {
            self.count((self.width - there) as u64)?;
            self.batch
                .cells
                .resize(self.row_cells + self.width, NOTHING);
        }
        self.push(self.row, RowKind::Cells)
    }

    /// The rows between the last one and `row` are blank.
    fn skip_rows(&mut self, row: u32) -> Result<(), Stop> {
        let most = self.limits.workbook_empty_rows;
        if row.saturating_sub(self.row + 1) > most {
            return Err(limit(format!(
                "The sheet is empty between row {} and row {}; at most {most} empty rows are taken in a table: delete \
                 what stands below them, or have the limit raised",
                self.row + 1,
                row + 1,
            ))
            .into());
        }
        for blank in self.row + 1..row {
            self.push(blank, RowKind::Blank)?;
        }
        Ok(())
    }

    fn push(&mut self, row: u32, kind: RowKind) -> Result<(), Stop> {
        self.batch.push_row(u64::from(row) + 1, 0, kind);
        let full = self.batch.rows.len() >= self.limits.batch_rows as usize
            || self.batch.bytes.len() as u64 >= self.limits.batch_bytes
            || self.batch.cells.len() >= CELLS_PER_BATCH;
        if full {
            self.hand_over()?;
            self.batch = self.feed.buffer()?;
        }
        Ok(())
    }

    fn hand_over(&mut self) -> Result<(), Stop> {
        let mut batch = std::mem::take(&mut self.batch);
        if self.place == Place::FirstBatch {
            self.first_column = align(&mut batch);
            self.place = Place::Rows;
            self.feed.head(Head {
                labels: None,
                line: 0,
                first_column: self.first_column,
            })?;
        }
        batch.first_row = self.next_row;
        self.next_row += batch.rows.len() as u64;
        self.feed.batch(batch)
    }
}

/// Drops the columns before the first that has a value, makes the first row as wide as the widest, and
/// returns how many columns were dropped.
fn align(batch: &mut RawBatch) -> u32 {
    let rows = || (0..batch.rows.len()).map(|row| batch.row_cells(row));
    let leading = |row: std::ops::Range<usize>| {
        let empty = batch.cells[row].iter().take_while(|c| c.start == c.end);
        empty.count()
    };
    // A blank row has no cells and says nothing; a row of cells ends with a value.
    let filled = rows().filter(|row| !row.is_empty());
    let drop = filled.map(leading).min().unwrap_or(0);
    let width = rows()
        .map(|row| row.len())
        .max()
        .unwrap_or(0)
        .saturating_sub(drop);
    let mut cells = Vec::with_capacity(batch.cells.len() + width);
    let mut error_cells = Vec::with_capacity(batch.error_cells.len());
    let mut errors = batch.error_cells.iter().peekable();
    let mut ends = Vec::with_capacity(batch.rows.len());
    for (index, row) in rows().enumerate() {
        let first = row.start + drop.min(row.len());
        for cell in first..row.end {
            if errors.next_if(|e| **e as usize == cell).is_some() {
                error_cells.push(cells.len() as u32);
            }
            cells.push(batch.cells[cell]);
        }
        if index == 0 {
            cells.resize(cells.len().max(width), NOTHING);
        }
        ends.push(cells.len() as u32);
    }
    for (row, end) in batch.rows.iter_mut().zip(ends) {
        row.cells_end = end;
    }
    batch.cells = cells;
    batch.error_cells = error_cells;
    drop as u32
}

fn out_of_order(row: u32, column: u32) -> Stop {
    unreadable(format!(
        "The workbook is damaged: cell {} stands twice or out of order",
        name(row, column)
    ))
    .into()
}

/// The cell's name as the sheet has it: `C17`.
fn name(row: u32, column: u32) -> String {
    let mut letters = Vec::new();
    let mut left = column + 1;
    while left > 0 {
        letters.push(char::from(b'A' + ((left - 1) % 26) as u8));
        left = (left - 1) / 26;
    }
    let letters: String = letters.iter().rev().collect();
    format!("{letters}{}", u64::from(row) + 1)
}
