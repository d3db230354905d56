//! How big anything may grow. One struct, passed in, checked before anything grows, shown at `GET /api/limits`.

use serde::{Deserialize, Serialize};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Every limit of the service. Sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Limits {
    /// A file handed in.
    pub upload_bytes: u64,
    /// A text field of the upload form: schema or options.
    pub form_field_bytes: u64,
    /// A file name, in characters; longer ones are cut.
    pub file_name_chars: u32,
    /// A page of a list.
    pub page_size: u32,
    /// Findings stored for a job; the rest is only counted.
    pub findings_per_job: u64,
    /// A CSV file above this is cut into tasks.
    pub split_bytes: u64,
    /// Tasks that one job may be cut into.
    pub tasks_per_job: u32,
    /// One CSV record, its quotes and delimiters included.
    pub record_bytes: u64,
    /// Columns of a table.
    pub columns: u32,
    /// Rows of a batch inside the engine.
    pub batch_rows: u32,
    /// Cell text of a batch inside the engine; a batch ends early when it is reached.
    pub batch_bytes: u64,
    /// What a workbook's archive may inflate to.
    pub workbook_inflated_bytes: u64,
    /// Above this size an entry's inflated to compressed ratio counts, too.
    pub workbook_ratio_bytes: u64,
    /// Inflated bytes for each compressed one, above `workbook_ratio_bytes`.
    pub workbook_ratio: u32,
    /// Entries of a workbook's archive.
    pub workbook_entries: u32,
    /// Cells read from a sheet.
    pub workbook_cells: u64,
    /// Empty rows of a sheet between two rows with cells: a lost cell far away is not a table.
    pub workbook_empty_rows: u32,
    /// Address space of the engine process.
    pub engine_memory_bytes: u64,
    /// Processor time of the engine process, in seconds.
    pub engine_cpu_seconds: u64,
    /// Any one file that the engine process writes.
    pub engine_file_bytes: u64,
    /// Fields of a schema, its columns.
    pub schema_fields: u32,
    /// Values of one `enum`.
    pub enum_values: u32,
    /// One `pattern`, in bytes, and the memory of its compiled form in KiB.
    pub pattern_bytes: u32,
    /// Jobs that wait in one namespace.
    pub queued_jobs: u32,
    /// Connections that the service holds open.
    pub connections: u32,
    /// Event streams that the service holds open.
    pub event_streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            upload_bytes: 500 * MIB,
            form_field_bytes: MIB,
            file_name_chars: 255,
            page_size: 500,
            findings_per_job: 1_000_000,
            split_bytes: 64 * MIB,
            tasks_per_job: 1_000,
            record_bytes: MIB,
            columns: 16_384,
            batch_rows: 10_000,
            batch_bytes: 2 * MIB,
            workbook_inflated_bytes: 2 * 1024 * MIB,
            workbook_ratio_bytes: 256 * MIB,
            workbook_ratio: 100,
            workbook_entries: 10_000,
            workbook_cells: 100_000_000,
            workbook_empty_rows: 100_000,
            engine_memory_bytes: 1024 * MIB,
            engine_cpu_seconds: 600,
            engine_file_bytes: 16 * 1024 * MIB,
            schema_fields: 16_384,
            enum_values: 10_000,
            pattern_bytes: 1_024,
            queued_jobs: 100_000,
            connections: 4_096,
            event_streams: 2_048,
        }
    }
}
