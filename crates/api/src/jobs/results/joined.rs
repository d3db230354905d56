//! All parts as one Parquet file, without decoding a value: the row groups of the parts one after another, as they
//! are, behind one footer that knows their new places.

use std::ops::Range;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, TimeUnit};
use bytes::Bytes;
use filejobs_blobs::Blobs;
use filejobs_core::schema::FieldType;
use filejobs_store::{Job, StoredPart};
use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::{
    ColumnChunkMetaData, FileMetaData, ParquetMetaData, ParquetMetaDataReader,
    ParquetMetaDataWriter, RowGroupMetaData,
};
use parquet::file::writer::TrackedWrite;
use tokio::runtime::Handle;

use super::part::PartFile;
use crate::App;
use crate::download::BodyError;

/// What a Parquet file begins with.
const MAGIC: &[u8] = b"PAR1";

/// A Parquet file as the stretches it is made of.
#[derive(Debug)]
pub(super) struct Joined(Vec<Stretch>);

/// Consecutive bytes of the file.
#[derive(Debug)]
enum Stretch {
    /// Made here.
    Made(Bytes),
    /// Taken from a blob as they are.
    Taken(String, Range<u64>),
}

impl Joined {
    /// Its size in bytes.
    pub(super) fn length(&self) -> u64 {
        let length = |stretch: &Stretch| match stretch {
            Stretch::Made(bytes) => bytes.len() as u64,
            Stretch::Taken(_, range) => range.end - range.start,
        };
        self.0.iter().map(length).sum()
    }

    /// Its bytes.
    pub(super) fn stream(
        self,
        blobs: Blobs,
    ) -> impl Stream<Item = Result<Bytes, BodyError>> + Send + 'static {
        stream::iter(self.0)
            .then(move |stretch| {
                let blobs = blobs.clone();
                async move {
                    Ok::<_, BodyError>(match stretch {
                        Stretch::Made(bytes) => stream::iter([Ok(bytes)]).boxed(),
                        Stretch::Taken(key, range) => {
                            let taken = blobs.stream(&key, range).await?;
                            taken.map_err(BodyError::from).boxed()
                        }
                    })
                }
            })
            .try_flatten()
    }
}

/// Joins the parts of a job.
pub(super) async fn join(
    app: &App,
    job: &Job,
    parts: Vec<StoredPart>,
) -> Result<Joined, BodyError> {
    if let [only] = &parts[..] {
        let size = app.blobs().size(&only.blob).await?;
        return Ok(Joined(vec![Stretch::Taken(only.blob.clone(), 0..size)]));
    }
    let (blobs, runtime, job) = (app.blobs().clone(), Handle::current(), job.clone());
    let join = move || {
        if parts.is_empty() {
            return Ok(Joined(vec![Stretch::Made(empty(&job)?)]));
        }
        let mut joint = Joint::default();
        for part in parts {
            let file = PartFile::open(&runtime, &blobs, &part.blob)?;
            let metadata = ParquetMetaDataReader::new().parse_and_finish(&file)?;
            joint.add(&part.blob, &metadata)?;
        }
        joint.finish()
    };
    tokio::task::spawn_blocking(join).await?
}

/// Row groups gathered so far.
#[derive(Debug)]
struct Joint {
    stretches: Vec<Stretch>,
    /// Where the next row group begins.
    at: u64,
    groups: Vec<RowGroupMetaData>,
    file: Option<FileMetaData>,
}

impl Default for Joint {
    fn default() -> Self {
        Self {
            stretches: vec![Stretch::Made(Bytes::from_static(MAGIC))],
            at: MAGIC.len() as u64,
            groups: Vec::new(),
            file: None,
        }
    }
}

impl Joint {
    fn add(&mut self, key: &str, metadata: &ParquetMetaData) -> Result<(), BodyError> {
        let first = self
            .file
            .get_or_insert_with(|| metadata.file_metadata().clone());
        // The new footer describes every group by the first part's columns.
        if first.schema() != metadata.file_metadata().schema() {
            return Err("the parts of a job have different columns".into());
        }
        let description = first.schema_descr_ptr();
        for group in metadata.row_groups() {
            let range = stretch(group);
            let moved = i64::try_from(self.at)? - i64::try_from(range.start)?;
            let columns: Result<Vec<_>, BodyError> =
                group.columns().iter().map(|c| column(c, moved)).collect();
            let group = RowGroupMetaData::builder(Arc::clone(&description))
                .set_num_rows(group.num_rows())
                .set_total_byte_size(group.total_byte_size())
                .set_sorting_columns(group.sorting_columns().cloned())
                .set_column_metadata(columns?)
                .build()?;
            self.groups.push(group);
            self.at += range.end - range.start;
            self.stretches.push(Stretch::Taken(key.to_owned(), range));
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Joined, BodyError> {
        let file = self.file.ok_or("there are no parts to join")?;
        let rows = self.groups.iter().map(RowGroupMetaData::num_rows).sum();
        let file = FileMetaData::new(
            file.version(),
            rows,
            file.created_by().map(str::to_owned),
            file.key_value_metadata().cloned(),
            file.schema_descr_ptr(),
            file.column_orders().cloned(),
        );
        let metadata = ParquetMetaData::new(file, self.groups);
        let mut footer = Vec::new();
        ParquetMetaDataWriter::new_with_tracked(TrackedWrite::new(&mut footer), &metadata)
            .finish()?;
        self.stretches.push(Stretch::Made(footer.into()));
        Ok(Joined(self.stretches))
    }
}

/// Where the pages of a row group lie in its file: columns follow each other without a gap.
fn stretch(group: &RowGroupMetaData) -> Range<u64> {
    let ranges = group.columns().iter().map(ColumnChunkMetaData::byte_range);
    ranges
        .map(|(start, length)| start..start + length)
        .reduce(|a, b| a.start.min(b.start)..a.end.max(b.end))
        .unwrap_or(0..0)
}

/// A column's pages, moved. What lies outside of the row group (indexes, filters) does not move with it.
fn column(column: &ColumnChunkMetaData, by: i64) -> Result<ColumnChunkMetaData, BodyError> {
    let dictionary = column.dictionary_page_offset().map(|at| at + by);
    let index = column.index_page_offset().map(|at| at + by);
    Ok(column
        .clone()
        .into_builder()
        .set_data_page_offset(column.data_page_offset() + by)
        .set_dictionary_page_offset(dictionary)
        .set_index_page_offset(index)
        .set_bloom_filter_offset(None)
        .set_bloom_filter_length(None)
        .set_offset_index_offset(None)
        .set_offset_index_length(None)
        .set_column_index_offset(None)
        .set_column_index_length(None)
        .build()?)
}

/// A file without rows, for a job without parts.
fn empty(job: &Job) -> Result<Bytes, BodyError> {
    let layout = job.facts.as_ref().and_then(|f| f.layout.as_ref());
    let fields = job.facts.as_ref().and_then(|f| f.schema.as_ref());
    let columns = layout.iter().flat_map(|layout| &layout.columns);
    let columns: Vec<_> = columns
        .map(|column| {
            let field = column.field.and_then(|i| fields?.fields.get(i as usize));
            let kind = field.map_or(FieldType::Any, |f| f.kind);
            Field::new(&column.name, data_type(kind), true)
        })
        .collect();
    let mut bytes = Vec::new();
    ArrowWriter::try_new(&mut bytes, Arc::new(Schema::new(columns)), None)?.close()?;
    Ok(bytes.into())
}

/// The type that the engine stores a column as.
fn data_type(kind: FieldType) -> DataType {
    match kind {
        FieldType::String | FieldType::Any => DataType::Utf8,
        FieldType::Integer => DataType::Int64,
        FieldType::Number => DataType::Float64,
        FieldType::Boolean => DataType::Boolean,
        FieldType::Date => DataType::Date32,
        FieldType::Time => DataType::Time64(TimeUnit::Microsecond),
        FieldType::Datetime => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
    }
}
