//! The first look at a batch: which rows have just the cells they should, and which bytes are no text.

use std::ops::Range;

use filejobs_core::report::ColumnTally;

use super::Places;
use super::checked::Checked;
use super::column::Column;
use super::dirty::Dirty;
use super::problem::{Problem, WHOLE_ROW, What};
use crate::batch::{RawBatch, RowKind};

/// Cells, present or absent, that are looked at in one go: in a table of thousands of columns a few bytes
/// of short rows stand for millions of absent cells.
const CELLS_AT_ONCE: usize = 512 * 1024;

/// Findings of one row that are written out; the others are only counted. A row of a wide table may lack
/// thousands of cells.
pub(crate) const FINDINGS_PER_ROW: usize = 1_000;

/// Consecutive rows with one clean cell for each column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    /// Index of the first row in the batch.
    pub(crate) row: u32,
    /// How many rows.
    pub(crate) rows: u32,
    /// Index of the first row's first cell.
    pub(crate) cell: u32,
}

/// A row that needs a look at every cell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Irregular {
    /// Index of the row in the batch.
    pub(crate) row: u32,
    /// Index of its first cell.
    pub(crate) cell: u32,
    /// How many cells it has.
    pub(crate) cells: u32,
}

/// What the survey found. Reusable.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Index of the first row in the batch, and one past the last.
    pub(crate) from: u32,
    pub(crate) to: u32,
    /// The regular rows.
    pub(crate) spans: Vec<Span>,
    /// The other rows whose cells are to be typed.
    pub(crate) irregular: Vec<Irregular>,
    /// Index of the first cell of each row.
    pub(crate) first_cell: Vec<u32>,
    /// Cells that are not typed.
    pub(crate) dirty: Dirty,
    /// How many rows end before the column.
    ends_before: Vec<u64>,
}

impl Survey {
    /// Looks at `rows` of `raw`, or the first of them when their cells are too many at once. Tells `checked` what is
    /// wrong with whole rows, with cells that are absent or too many, and with cells that are no text, unless they stand
    /// in one of the `columns` that the schema does not know.
    pub(crate) fn take(
        &mut self,
        raw: &RawBatch,
        rows: Range<usize>,
        columns: &[Column],
        places: Places,
        checked: &mut Checked,
    ) {
        let width = columns.len();
        let is_unknown = |column: u32| {
            let column = columns.get(column as usize);
            column.is_some_and(|column| column.rules.is_none())
        };
        self.spans.clear();
        self.irregular.clear();
        self.first_cell.clear();
        self.ends_before.clear();
        self.ends_before.resize(width + 1, 0);
        self.dirty.find(raw, places);
        let dirty = std::mem::take(&mut self.dirty);
        let from = rows.start;
        self.from = from as u32;
        self.to = from as u32;
        let mut cell = match from {
            0 => 0,
            _ => raw.rows[from - 1].cells_end,
        };
        let mut dirty_cells = dirty.since(cell);
        let mut cells_at_once = 0;
        for (index, row) in raw.rows.iter().enumerate().take(rows.end).skip(from) {
            let cells = row.cells_end - cell;
            cells_at_once += width.max(cells as usize);
            if cells_at_once > CELLS_AT_ONCE && index > from {
                break;
            }
            let of_row = dirty_cells.iter().take_while(|(at, _)| *at < row.cells_end);
            let (of_row, rest) = dirty_cells.split_at(of_row.count());
            dirty_cells = rest;
            let index = index as u32;
            self.first_cell.push(cell);
            if row.kind == RowKind::Cells && cells as usize == width && of_row.is_empty() {
                match self.spans.last_mut() {
                    Some(span) if span.row + span.rows == index => span.rows += 1,
                    _ => self.spans.push(Span {
                        row: index,
                        rows: 1,
                        cell,
                    }),
                }
            } else {
                let irregular = Irregular {
                    row: index,
                    cell,
                    cells,
                };
                self.irregular(irregular, raw, width, places, checked);
                if row.kind == RowKind::Cells {
                    for (at, what) in of_row.iter().filter(|(at, _)| !is_unknown(at - cell)) {
                        checked.problem(Problem::new(index, at - cell, *what));
                    }
                }
            }
            cell = row.cells_end;
            self.to = index + 1;
        }
        self.dirty = dirty;
        self.count_ends(&mut checked.tallies);
    }

    fn irregular(
        &mut self,
        at: Irregular,
        raw: &RawBatch,
        width: usize,
        places: Places,
        checked: &mut Checked,
    ) {
        let whole = match raw.rows[at.row as usize].kind {
            RowKind::Cells => None,
            RowKind::Blank => Some(What::BlankRow),
            RowKind::UnclosedQuote => Some(What::UnclosedQuote),
            RowKind::TooLong => Some(What::LineTooLong),
        };
        if let Some(what) = whole {
            checked.problem(Problem::new(at.row, WHOLE_ROW, what));
            return;
        }
        self.irregular.push(at);
        let cells = at.cells as usize;
        let in_sheet = matches!(places, Places::Sheet { .. });
        if cells < width && !in_sheet {
            self.ends_before[cells] += 1;
            absent_or_extra(at.row, cells..width, What::MissingCell, checked);
        } else if cells > width {
            // A sheet has empty cells everywhere: only what was written somewhere is too much.
            let is_there = |column: &usize| {
                let cell = raw.cells[at.cell as usize + column];
                !in_sheet || cell.start < cell.end
            };
            absent_or_extra(
                at.row,
                (width..cells).filter(is_there),
                What::ExtraCell,
                checked,
            );
        }
    }

    /// Adds the missing cells to the counters of their columns.
    fn count_ends(&self, tallies: &mut [ColumnTally]) {
        let mut missing = 0;
        for (tally, ends) in tallies.iter_mut().zip(&self.ends_before) {
            missing += ends;
            tally.errors += missing;
        }
    }
}

/// Tells of each cell that is absent or too many, as far as findings are written, and counts the others.
fn absent_or_extra(
    row: u32,
    mut columns: impl Iterator<Item = usize>,
    what: What,
    checked: &mut Checked,
) {
    for column in columns.by_ref().take(FINDINGS_PER_ROW) {
        checked.problem(Problem::new(row, column as u32, what));
    }
    checked.counts.add_many(what.code(), columns.count() as u64);
}
