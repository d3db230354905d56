//! Parquet files of valid rows, each with a sidecar that knows their row numbers.
//!
//! The settings are measured (see `docs/benchmarks.md`). Row groups are small enough that a page of results deep
//! inside a part costs one group's footer and one page of each column, and that what waits in memory
//! stays small. A part of a table of very many columns ends after few groups, as each costs a footer entry a column.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, SchemaRef};
use filejobs_core::row_runs::RowRunsWriter;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding};
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::ValidRows;
use crate::task::{Error, Part, outputs};

/// A part is closed at the first row group that ends past this.
const PART_BYTES: usize = 128 * 1024 * 1024;
/// Rows of a group.
const GROUP_ROWS: usize = 128 * 1024;
/// Encoded bytes of a group.
const GROUP_BYTES: usize = 8 * 1024 * 1024;
/// Above this many columns cells are written as they are: compressors and encoders keep up to 40 KiB a column.
const COLUMNS_ENCODED: usize = 512;
/// Entries of a part's footer: one for each column of each group.
const FOOTER_ENTRIES: usize = 32 * 1024;
/// Above this many columns a footer without statistics is better than a large one.
const COLUMNS_WITH_STATISTICS: usize = 256;
/// Rows that the writer encodes in one go.
const WRITE_ROWS: usize = 8 * 1024;
/// Rows by which the encoding of text columns is chosen.
const SAMPLE_ROWS: usize = 2_000;

/// The parts of one run.
#[derive(Debug)]
pub(super) struct Parts {
    out: PathBuf,
    schema: SchemaRef,
    done: Vec<Part>,
    open: Option<OpenPart>,
}

struct OpenPart {
    writer: ArrowWriter<File>,
    rows: u64,
    numbers: RowRunsWriter,
}

impl std::fmt::Debug for OpenPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenPart")
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

impl Parts {
    pub(super) fn new(out: &Path, schema: SchemaRef) -> Self {
        Self {
            out: out.to_owned(),
            schema,
            done: Vec::new(),
            open: None,
        }
    }

    pub(super) fn write(&mut self, rows: &ValidRows<'_>) -> Result<(), Error> {
        let part = match &mut self.open {
            Some(part) => part,
            none => none.insert(OpenPart::create(
                &self.out,
                self.done.len(),
                &self.schema,
                rows.batch,
            )?),
        };
        part.writer.write(rows.batch).map_err(parquet_error)?;
        part.rows += rows.batch.num_rows() as u64;
        for (first, count) in rows.runs {
            part.numbers.push(*first, *count);
        }
        if part.is_full() {
            self.close()?;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), Error> {
        if let Some(part) = self.open.take() {
            let part = part.close(&self.out, self.done.len())?;
            self.done.push(part);
        }
        Ok(())
    }

    /// The parts; without a valid row one that is empty, so that the columns are known.
    pub(super) fn finish(mut self) -> Result<Vec<Part>, Error> {
        if self.done.is_empty() && self.open.is_none() {
            let none = RecordBatch::new_empty(self.schema.clone());
            self.open = Some(OpenPart::create(&self.out, 0, &self.schema, &none)?);
        }
        self.close()?;
        Ok(self.done)
    }
}

impl OpenPart {
    fn create(
        out: &Path,
        index: usize,
        schema: &SchemaRef,
        first: &RecordBatch,
    ) -> Result<Self, Error> {
        let file = File::create(out.join(outputs::part(number(index)))).map_err(write_error)?;
        let properties = properties(schema, first);
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties));
        Ok(Self {
            writer: writer.map_err(parquet_error)?,
            rows: 0,
            numbers: RowRunsWriter::new(),
        })
    }

    fn is_full(&self) -> bool {
        let groups = self.writer.flushed_row_groups();
        let columns = groups.first().map_or(0, RowGroupMetaData::num_columns);
        // Never in the middle of a group: the rest of it would make a small one.
        self.writer.in_progress_rows() < GROUP_ROWS / 8 && self.writer.bytes_written() >= PART_BYTES
            || groups.len() * columns >= FOOTER_ENTRIES
    }

    fn close(mut self, out: &Path, index: usize) -> Result<Part, Error> {
        self.writer.finish().map_err(parquet_error)?;
        let bytes = self.writer.bytes_written() as u64;
        let numbers = self.numbers.finish();
        std::fs::write(out.join(outputs::part_rows(number(index))), numbers)
            .map_err(write_error)?;
        Ok(Part {
            name: outputs::part(number(index)),
            rows: self.rows,
            bytes,
        })
    }
}

/// Parts are counted from 1.
fn number(index: usize) -> u32 {
    u32::try_from(index + 1).unwrap_or(u32::MAX)
}

fn properties(schema: &SchemaRef, first: &RecordBatch) -> WriterProperties {
    let columns = schema.fields().len();
    let statistics = if columns > COLUMNS_WITH_STATISTICS {
        EnabledStatistics::None
    } else {
        EnabledStatistics::Chunk
    };
    let compression = if columns > COLUMNS_ENCODED {
        Compression::UNCOMPRESSED
    } else {
        Compression::SNAPPY
    };
    let mut properties = WriterProperties::builder()
        .set_created_by("filejobs".to_owned())
        .set_compression(compression)
        .set_dictionary_enabled(false)
        .set_encoding(Encoding::PLAIN)
        .set_statistics_enabled(statistics)
        .set_write_batch_size(WRITE_ROWS)
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_max_row_group_bytes(Some(GROUP_BYTES));
    if columns > COLUMNS_ENCODED {
        return properties.build();
    }
    for (field, column) in schema.fields().iter().zip(first.columns()) {
        let path = ColumnPath::new(vec![field.name().clone()]);
        properties = match field.data_type() {
            DataType::Float64 => properties.set_column_encoding(path, Encoding::BYTE_STREAM_SPLIT),
            DataType::Utf8 if columns <= COLUMNS_WITH_STATISTICS && repeats(column.as_ref()) => {
                properties.set_column_dictionary_enabled(path, true)
            }
            DataType::Boolean | DataType::Utf8 => properties,
            // Whole numbers, days, times, instants.
            _ => properties.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED),
        };
    }
    properties.build()
}

/// Whether a text column says the same things over and over: then a dictionary makes it small and fast; for
/// all other columns it would be built in vain.
fn repeats(column: &dyn Array) -> bool {
    let texts = column.as_string::<i32>();
    let sample = texts.len().min(SAMPLE_ROWS);
    let distinct: HashSet<_> = texts.iter().take(sample).collect();
    distinct.len() * 4 <= sample
}

fn parquet_error(cause: ParquetError) -> Error {
    write_error(match cause {
        ParquetError::External(cause) => match cause.downcast::<io::Error>() {
            Ok(cause) => *cause,
            Err(cause) => io::Error::other(cause),
        },
        other => io::Error::other(other),
    })
}

fn write_error(source: io::Error) -> Error {
    Error::Write {
        what: "a part of the valid rows",
        source,
    }
}
