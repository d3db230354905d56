use arrow_array::ArrayRef;
use filejobs_core::finding::CodeCounts;
use filejobs_core::report::ColumnTally;

/// What checking one batch gave; [`crate::outputs::Outputs::write`] takes it. Reusable.
#[derive(Debug, Default)]
pub struct Checked {
    /// Rows of the batch.
    pub(crate) rows: u32,
    /// Rows with at least one finding.
    pub(crate) failed: u32,
    /// The valid rows, a column each.
    pub(crate) columns: Vec<ArrayRef>,
    /// Valid rows, then rows skipped after them, over and over.
    pub(crate) runs: Vec<(u32, u32)>,
    /// Findings, one JSON object a line.
    pub(crate) findings: Vec<u8>,
    /// Lines of `rejected.csv`.
    pub(crate) rejected: Vec<u8>,
    /// Findings by code.
    pub(crate) counts: CodeCounts,
    /// One for each column of the file.
    pub(crate) tallies: Vec<ColumnTally>,
}
