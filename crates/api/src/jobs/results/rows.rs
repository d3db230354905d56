//! Reads valid rows back from the parts, batch by batch, on a blocking thread.

use arrow_array::RecordBatch;
use filejobs_blobs::Blobs;
use filejobs_core::row_runs::RowRuns;
use filejobs_store::StoredPart;
use futures::stream::TryStreamExt;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::RowGroupMetaData;
use std::collections::VecDeque;
use tokio::runtime::Handle;

use super::part::PartFile;
use crate::App;
use crate::download::BodyError;

/// Decoded bytes that a batch should have.
const BATCH_BYTES: u64 = 256 * 1024;
/// Rows that a batch may have.
const BATCH_ROWS: u64 = 1_024;

/// Rows of a job from an offset on.
#[derive(Debug)]
pub(super) struct Rows {
    blobs: Blobs,
    runtime: Handle,
    parts: VecDeque<StoredPart>,
    /// Rows of the first part to skip.
    skip: u64,
    /// Rows still wanted.
    left: u64,
    numbered: bool,
    open: Option<OpenPart>,
}

#[derive(Debug)]
struct OpenPart {
    reader: ParquetRecordBatchReader,
    task_index: u32,
    /// The sidecar's bytes; empty when numbers are not wanted.
    numbers: Vec<u8>,
    /// Rows of the part before the next batch.
    at: u64,
}

/// Consecutive valid rows of one part.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) rows: RecordBatch,
    pub(super) task_index: u32,
    /// Numbers of the rows; empty when they are not wanted.
    pub(super) numbers: Vec<u64>,
}

impl Rows {
    /// Every row, without numbers.
    pub(super) fn all(app: &App, parts: Vec<StoredPart>) -> Self {
        Self {
            blobs: app.blobs().clone(),
            runtime: Handle::current(),
            parts: parts.into(),
            skip: 0,
            left: u64::MAX,
            numbered: false,
            open: None,
        }
    }

    /// `limit` rows from `offset` on, with their numbers.
    pub(super) fn page(app: &App, parts: Vec<StoredPart>, offset: u64, limit: u64) -> Self {
        let mut skip = offset;
        let mut parts: VecDeque<_> = parts.into();
        while let Some(part) = parts.front() {
            if skip < part.rows {
                break;
            }
            skip -= part.rows;
            parts.pop_front();
        }
        Self {
            parts,
            skip,
            left: limit,
            numbered: true,
            ..Self::all(app, Vec::new())
        }
    }

    /// The next rows; `None` after the last. Only on a blocking thread.
    pub(super) fn next(&mut self) -> Result<Option<Batch>, BodyError> {
        while self.left > 0 {
            let Some(open) = &mut self.open else {
                let Some(part) = self.parts.pop_front() else {
                    break;
                };
                if part.rows > self.skip {
                    self.open = Some(self.open_part(&part)?);
                }
                self.skip = 0;
                continue;
            };
            let Some(rows) = open.reader.next().transpose()? else {
                self.open = None;
                continue;
            };
            let count = rows.num_rows() as u64;
            let batch = open.batch(rows)?;
            open.at += count;
            self.left = self.left.saturating_sub(count);
            return Ok(Some(batch));
        }
        Ok(None)
    }

    fn open_part(&self, part: &StoredPart) -> Result<OpenPart, BodyError> {
        let file = PartFile::open(&self.runtime, &self.blobs, &part.blob)?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
        let groups = builder.metadata().row_groups();
        let from = Start::find(groups, self.skip);
        let batch_rows = groups.get(from.group).map_or(1, batch_rows);
        let wanted = (from.group..groups.len()).collect();
        let limit = usize::try_from(self.left).unwrap_or(usize::MAX);
        let reader = builder
            .with_row_groups(wanted)
            .with_offset(from.rows)
            .with_limit(limit)
            .with_batch_size(batch_rows.min(limit))
            .build()?;
        let numbers = if self.numbered {
            self.runtime.block_on(bytes(&self.blobs, &part.rows_blob))?
        } else {
            Vec::new()
        };
        Ok(OpenPart {
            reader,
            task_index: part.task_index,
            numbers,
            at: self.skip,
        })
    }
}

impl OpenPart {
    fn batch(&self, rows: RecordBatch) -> Result<Batch, BodyError> {
        let numbers = if self.numbers.is_empty() {
            Vec::new()
        } else {
            let runs = RowRuns::new(&self.numbers)?;
            runs.from(self.at).take(rows.num_rows()).collect()
        };
        if !self.numbers.is_empty() && numbers.len() != rows.num_rows() {
            return Err(filejobs_core::row_runs::Damaged.into());
        }
        Ok(Batch {
            rows,
            task_index: self.task_index,
            numbers,
        })
    }
}

/// Where in a part reading starts: groups before it are not even opened.
struct Start {
    group: usize,
    rows: usize,
}

impl Start {
    fn find(groups: &[RowGroupMetaData], skip: u64) -> Self {
        let mut rows = usize::try_from(skip).unwrap_or(usize::MAX);
        let mut group = 0;
        for candidate in groups {
            let has = usize::try_from(candidate.num_rows()).unwrap_or(0);
            if rows < has {
                break;
            }
            rows -= has;
            group += 1;
        }
        Self { group, rows }
    }
}

/// Rows of a batch so that it stays small: by the size of the group's values once they are decoded, which for
/// repeated text is far more than they take in the file.
fn batch_rows(group: &RowGroupMetaData) -> usize {
    let decoded: i64 = group
        .columns()
        .iter()
        .map(|c| {
            c.unencoded_byte_array_data_bytes()
                .unwrap_or(c.uncompressed_size())
        })
        .sum();
    let rows = u64::try_from(group.num_rows()).unwrap_or(1).max(1);
    let row = (u64::try_from(decoded).unwrap_or(0) / rows).max(1);
    (BATCH_BYTES / row).clamp(1, BATCH_ROWS) as usize
}

async fn bytes(blobs: &Blobs, key: &str) -> Result<Vec<u8>, filejobs_blobs::Error> {
    let size = blobs.size(key).await?;
    let chunks = blobs.stream(key, 0..size).await?;
    chunks
        .try_fold(Vec::new(), |mut all, chunk| async move {
            all.extend_from_slice(&chunk);
            Ok(all)
        })
        .await
}
