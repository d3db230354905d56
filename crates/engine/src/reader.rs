//! What every reader of rows offers to the pipeline, whatever the file is.

use filejobs_core::Failure;
use filejobs_core::report::Dialect;

use crate::batch::RawBatch;
use crate::validate::Places;

/// Hands out the data rows of one table, in order.
pub trait RowReader: Send {
    /// Fills `batch` with the next rows: clears it, sets `first_row`, stops at `Limits::batch_rows` or
    /// `Limits::batch_bytes`. False when no row is left; the batch is then empty.
    fn next_batch(&mut self, batch: &mut RawBatch) -> Result<bool, ReadError>;

    /// Bytes of the source behind the rows handed out so far, for progress.
    fn bytes_read(&self) -> u64;
}

/// A table whose labels are read and whose rows are not.
pub struct Table {
    /// The labels as they stand in the file, the bytes of each as they came (see [`RawBatch`]); absent
    /// when the table has none (`header: false`).
    pub labels: Option<Vec<Vec<u8>>>,
    /// Physical line, or row of the sheet, where the labels stand.
    pub header_line: u64,
    /// Where the labels begin in the bytes as uploaded; absent in workbooks and transcoded text.
    pub header_offset: Option<u64>,
    /// How text is delimited; absent for workbooks.
    pub dialect: Option<Dialect>,
    /// The name of the sheet in a workbook.
    pub sheet: Option<String>,
    /// What the places in the batches mean.
    pub places: Places,
    /// What follows the labels.
    pub rows: Box<dyn RowReader>,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table")
            .field("labels", &self.labels)
            .field("header_line", &self.header_line)
            .field("header_offset", &self.header_offset)
            .field("dialect", &self.dialect)
            .field("sheet", &self.sheet)
            .field("places", &self.places)
            .finish_non_exhaustive()
    }
}

/// Why reading stopped before the end of the table.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The input could not be read: ours to repair.
    #[error("reading the input failed")]
    Read(#[source] std::io::Error),
    /// A scratch file could not be written: ours to repair.
    #[error("writing a scratch file failed")]
    Scratch(#[source] std::io::Error),
    /// The file is not what it should be, or larger than a limit allows: the run's result.
    #[error("{}", .0.message)]
    Failure(Failure),
}

impl From<Failure> for ReadError {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}
