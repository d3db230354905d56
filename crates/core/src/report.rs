//! What one run over a file found, as `GET /api/jobs/{id}/report` and `report.json` show it.
//!
//! A report holds nothing that depends on time, machine or the way a file was cut into tasks: the same
//! file and options give the same bytes.

use serde::{Deserialize, Serialize};

use crate::failure::{Failure, FailureClass, FailureCode};
use crate::file::FileType;
use crate::finding::CodeCounts;
use crate::job::{JobState, Outcome};
use crate::schema::TableSchema;

/// Counters over rows; those of parts of a file add up to those of the whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Every row read, the header not counted.
    pub rows_processed: u64,
    /// Rows without a finding.
    pub rows_valid: u64,
    /// Rows with at least one finding.
    pub rows_failed: u64,
    /// Findings by code, those of the header included.
    pub errors_by_code: CodeCounts,
    /// Findings written out; fewer than were counted when a cap was reached.
    pub errors_stored: u64,
    /// One for each column of the file, in the file's order.
    pub columns: Vec<ColumnTally>,
}

/// Counters over the cells of a column.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnTally {
    /// Cells that are empty or a missing value.
    pub empty: u64,
    /// Findings at this column.
    pub errors: u64,
}

impl Tally {
    /// Adds the counters of another part of the same file.
    pub fn merge(&mut self, other: &Self) {
        self.rows_processed += other.rows_processed;
        self.rows_valid += other.rows_valid;
        self.rows_failed += other.rows_failed;
        self.errors_by_code.merge(&other.errors_by_code);
        self.errors_stored += other.errors_stored;
        if self.columns.len() < other.columns.len() {
            self.columns
                .resize_with(other.columns.len(), ColumnTally::default);
        }
        for (mine, theirs) in self.columns.iter_mut().zip(&other.columns) {
            mine.empty += theirs.empty;
            mine.errors += theirs.errors;
        }
    }

    /// The invariant of every run: each row read has exactly one verdict.
    pub fn check(&self) -> Result<(), Failure> {
        if self.rows_processed == self.rows_valid + self.rows_failed {
            return Ok(());
        }
        Err(Failure::new(
            FailureCode::InvariantBroken,
            format!(
                "{} rows were read but {} are valid and {} failed; please report this as a defect",
                self.rows_processed, self.rows_valid, self.rows_failed
            ),
        ))
    }
}

/// Characters of a label that are kept: it is repeated in every finding of its column.
pub const LABEL_CHARS: usize = 256;

/// How the table was found to be laid out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Layout {
    /// The kind of file.
    pub format: FileType,
    /// For text: how it is delimited. Absent for workbooks.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dialect: Option<Dialect>,
    /// For workbooks: the sheet that was read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sheet: Option<String>,
    /// Whether labels were read from the file.
    pub header: bool,
    /// The file's columns in its order.
    pub columns: Vec<ColumnLayout>,
    /// Last columns with neither label nor values, which are not among `columns`.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub dropped_columns: u32,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands out a reference"
)]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// One column of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ColumnLayout {
    /// The label as it stands in the file, without blanks around it and cut at [`LABEL_CHARS`]; empty for a
    /// blank one.
    pub label: String,
    /// The name in the results: the label made unique.
    pub name: String,
    /// Index of the schema's field for this column; `None` for a column the schema does not know.
    pub field: Option<u32>,
}

/// How delimited text is written. Names after Frictionless' CSV dialect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Dialect {
    /// Between cells.
    pub delimiter: char,
    /// Around cells.
    pub quote_char: char,
    /// What ends the first line: `\n`, `\r\n` or `\r`.
    pub line_terminator: String,
    /// WHATWG name of the encoding.
    pub encoding: String,
    /// Whether a byte order mark stands at the start.
    pub bom: bool,
}

/// The file a report is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ReportFile {
    /// Its name, as it may be shown.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

/// The whole report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Report {
    /// What was read.
    pub file: ReportFile,
    /// `COMPLETED` or `FAILED`.
    pub status: JobState,
    /// The same in one word, with or without findings.
    pub outcome: Option<Outcome>,
    /// Who can do something about a failure.
    pub failure_class: Option<FailureClass>,
    /// The failure's stable name.
    pub failure_code: Option<FailureCode>,
    /// The failure's sentence.
    pub error_message: Option<String>,
    /// Rows read.
    pub rows_processed: u64,
    /// Rows without a finding.
    pub rows_valid: u64,
    /// Rows with at least one finding.
    pub rows_failed: u64,
    /// Findings counted.
    pub errors_total: u64,
    /// Findings by code.
    #[schema(value_type = std::collections::BTreeMap<String, u64>)]
    pub errors_by_code: CodeCounts,
    /// Whether fewer findings were kept than counted.
    pub errors_truncated: bool,
    /// How the table is laid out; absent when the file failed before that was known.
    pub layout: Option<Layout>,
    /// Whether the schema was inferred rather than given.
    pub schema_inferred: bool,
    /// The schema that was applied.
    pub schema: Option<TableSchema>,
    /// Counters by column, in the file's order.
    pub columns: Vec<ReportColumn>,
}

/// Counters of one column in a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ReportColumn {
    /// The column's name in the results.
    pub name: String,
    /// Its place in the file, from 1.
    pub number: u32,
    /// Its type in the schema; absent for a column the schema does not know.
    #[serde(rename = "type")]
    pub kind: Option<crate::schema::FieldType>,
    /// Cells that are empty or a missing value.
    pub empty: u64,
    /// Findings at this column.
    pub errors: u64,
}

/// What a run learned before and while it read rows: with a [`Tally`] all that a report needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// How the table is laid out.
    pub layout: Option<Layout>,
    /// The schema that was applied.
    pub schema: Option<TableSchema>,
    /// Whether it was inferred.
    pub schema_inferred: bool,
}

impl Report {
    /// Puts a report together once the last row is read, or the run has failed.
    #[must_use]
    pub fn new(
        file: ReportFile,
        facts: &Facts,
        tally: &Tally,
        findings_stored_max: u64,
        failure: Option<&Failure>,
    ) -> Self {
        let errors_total = tally.errors_by_code.total();
        let status = if failure.is_some() {
            JobState::Failed
        } else {
            JobState::Completed
        };
        let columns = facts
            .layout
            .iter()
            .flat_map(|layout| layout.columns.iter().enumerate());
        let columns = columns.map(|(i, column)| {
            let field = column
                .field
                .and_then(|f| facts.schema.as_ref()?.fields.get(f as usize));
            let counts = tally.columns.get(i).cloned().unwrap_or_default();
            ReportColumn {
                name: column.name.clone(),
                number: u32::try_from(i + 1).unwrap_or(u32::MAX),
                kind: field.map(|f| f.kind),
                empty: counts.empty,
                errors: counts.errors,
            }
        });
        Self {
            file,
            status,
            outcome: Outcome::of(status, errors_total),
            failure_class: failure.map(Failure::class),
            failure_code: failure.map(|f| f.code),
            error_message: failure.map(|f| f.message.clone()),
            rows_processed: tally.rows_processed,
            rows_valid: tally.rows_valid,
            rows_failed: tally.rows_failed,
            errors_total,
            errors_by_code: tally.errors_by_code.clone(),
            errors_truncated: tally.errors_stored.min(findings_stored_max) < errors_total,
            columns: columns.collect(),
            layout: facts.layout.clone(),
            schema_inferred: facts.schema_inferred,
            schema: facts.schema.clone(),
        }
    }
}
