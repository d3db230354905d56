//! What checking rows gives.

use arrow_array::ArrayRef;
use filejobs_core::finding::CodeCounts;
use filejobs_core::report::ColumnTally;

use super::arrays::ValidRun;
use super::cells::{Nulls, Slots};
use super::problem::{Problem, WHOLE_ROW};
use super::survey::Survey;

/// Findings that may wait in memory at once: some 10 MiB with the rejected rows that belong to them.
const PROBLEMS_AT_ONCE: usize = 32 * 1024;

/// What checking consecutive rows gave; [`crate::outputs::Outputs::write`] takes it. Reusable.
#[derive(Debug, Default)]
pub struct Checked {
    /// `row_number` of the first row.
    pub(crate) first_row: u64,
    /// Rows checked.
    pub(crate) rows: u32,
    /// Rows without a finding, by their runs.
    pub(crate) valid: u32,
    /// Rows with at least one finding, by their findings.
    pub(crate) failed: u64,
    /// The valid rows, a column each.
    pub(crate) columns: Vec<ArrayRef>,
    /// Which rows are valid.
    pub(crate) runs: Vec<ValidRun>,
    /// Findings, one JSON object a line, and how many lines.
    pub(crate) findings: Vec<u8>,
    pub(crate) findings_lines: u64,
    /// Lines of `rejected.csv`.
    pub(crate) rejected: Vec<u8>,
    /// All findings by code, those not written included.
    pub(crate) counts: CodeCounts,
    /// One for each column of the file.
    pub(crate) tallies: Vec<ColumnTally>,
    /// Memory of the work itself.
    pub(super) scratch: Scratch,
}

/// What a check needs while it runs.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) survey: Survey,
    pub(super) problems: Vec<Problem>,
    pub(super) slots: Vec<Slots>,
    pub(super) nulls: Vec<Nulls>,
    /// A flag for each row.
    pub(super) failed: Vec<bool>,
}

impl Checked {
    /// Nothing checked yet; gets its memory from the first batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the rows before and keeps the memory.
    pub(super) fn clear(&mut self, width: usize) {
        self.rows = 0;
        self.valid = 0;
        self.failed = 0;
        self.columns.clear();
        self.runs.clear();
        self.findings.clear();
        self.findings_lines = 0;
        self.rejected.clear();
        self.counts = CodeCounts::default();
        self.tallies.clear();
        self.tallies.resize_with(width, ColumnTally::default);
        self.scratch.problems.clear();
    }

    /// Notes one thing wrong. Its column's counter is the caller's for missing cells; see
    /// [`Survey::take`].
    pub(super) fn problem(&mut self, problem: Problem) {
        self.scratch.problems.push(problem);
    }

    /// The row to stop before when more is wrong than may wait in memory at once.
    pub(super) fn overflow(&mut self) -> Option<usize> {
        let scratch = &mut self.scratch;
        scratch.problems.sort_unstable();
        let past = scratch.problems.get(PROBLEMS_AT_ONCE)?;
        // A row is never divided.
        let first = scratch.survey.from + 1;
        let cut = past.row().max(first);
        (cut < scratch.survey.to).then_some(cut as usize)
    }

    /// Counts what is wrong, which is sorted, and tells valid rows from failed ones.
    pub(super) fn settle(&mut self, rows: usize, first: u32) {
        let scratch = &mut self.scratch;
        scratch.failed.clear();
        scratch.failed.resize(rows, false);
        let mut last = None;
        for problem in &scratch.problems {
            if last.replace(problem.row()) != Some(problem.row()) {
                self.failed += 1;
            }
            let what = problem.what();
            self.counts.add(what.code());
            scratch.failed[(problem.row() - first) as usize] = true;
            let column = problem.column();
            if column != WHOLE_ROW
                && what != super::problem::What::MissingCell
                && let Some(tally) = self.tallies.get_mut(column as usize)
            {
                tally.errors += 1;
            }
        }
        self.rows = rows as u32;
        let mut start = 0;
        for (row, failed) in (0u32..).zip(&scratch.failed) {
            if *failed {
                if row > start {
                    self.runs.push(ValidRun { start, end: row });
                }
                start = row + 1;
            }
        }
        if self.rows > start {
            self.runs.push(ValidRun {
                start,
                end: self.rows,
            });
        }
        self.valid = self.runs.iter().map(|run| run.end - run.start).sum();
    }
}
