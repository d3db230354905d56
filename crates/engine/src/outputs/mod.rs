//! What a run writes: findings, rejected rows, and what its processor makes of the valid rows.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use filejobs_core::export;
use filejobs_core::finding::CodeCounts;
use filejobs_core::report::{ColumnTally, Tally};
use filejobs_core::{Failure, Finding, Limits};

use crate::processor::{self, OpenError, Opening, Produced, RowProcessor, ValidRows};
use crate::task::{self, Part, Processor};
use crate::validate::{Checked, Validator};

/// Memory of a file before it is written. Whole batches come; only small ones wait here.
const BUFFER_BYTES: usize = 64 * 1024;

/// The open outputs of one run. Takes checked batches in the file's order.
#[derive(Debug)]
pub struct Outputs {
    schema: SchemaRef,
    findings: Findings,
    rejected: BufWriter<File>,
    processor: Box<dyn RowProcessor>,
    /// Memory for the runs of one batch.
    runs: Vec<(u64, u64)>,
    tally: Tally,
}

/// What a run leaves behind once its outputs are closed.
#[derive(Debug)]
pub struct Finished {
    /// All counters.
    pub tally: Tally,
    /// Parts of valid rows, in order.
    pub parts: Vec<Part>,
    /// What the processor has to tell.
    pub processor: serde_json::Value,
}

/// Why outputs could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The processor is unknown or refuses its parameters.
    #[error("the processor cannot be started: {}", .0.message)]
    Refused(Failure),
    /// A file could not be created.
    #[error("the outputs cannot be opened")]
    Io(#[source] task::Error),
}

impl Outputs {
    /// Creates the files in `out` and starts the processor.
    pub fn create(
        out: &Path,
        validator: &Validator,
        processor: &Processor,
        limits: &Limits,
    ) -> Result<Self, CreateError> {
        let schema = validator.arrow_schema();
        let opening = Opening {
            out,
            schema,
            parameters: &processor.parameters,
            limits,
        };
        let processor = processor::open(processor, &opening).map_err(|e| match e {
            OpenError::Refused(failure) => CreateError::Refused(failure),
            OpenError::Io(e) => CreateError::Io(e),
        })?;
        let columns = validator.names().map(|_| ColumnTally::default());
        Ok(Self {
            findings: Findings::create(out, limits).map_err(CreateError::Io)?,
            rejected: rejected(out, validator).map_err(|source| {
                CreateError::Io(task::Error::Write {
                    what: REJECTED,
                    source,
                })
            })?,
            processor,
            runs: Vec::new(),
            tally: Tally {
                columns: columns.collect(),
                ..Tally::default()
            },
            schema: schema.clone(),
        })
    }

    /// Writes and counts what is wrong with the header; before any batch.
    pub fn header(&mut self, findings: &[Finding]) -> Result<(), task::Error> {
        self.findings.write_all(findings, &mut self.tally)
    }

    /// Writes one batch.
    pub fn write(&mut self, checked: &Checked) -> Result<(), task::Error> {
        self.findings
            .write(&checked.findings, checked.findings_lines, &mut self.tally)?;
        self.rejected
            .write_all(&checked.rejected)
            .map_err(|source| task::Error::Write {
                what: REJECTED,
                source,
            })?;
        self.count(checked);
        if checked.valid == 0 {
            return Ok(());
        }
        let rows = RecordBatchOptions::new().with_row_count(Some(checked.valid as usize));
        let columns = checked.columns.clone();
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &rows)
            .map_err(|e| task::Error::Write {
                what: "a batch of valid rows",
                source: io::Error::other(e),
            })?;
        self.runs.clear();
        self.runs.extend(checked.runs.iter().map(|run| {
            let first = checked.first_row + u64::from(run.start);
            (first, u64::from(run.end - run.start))
        }));
        self.processor.take(&ValidRows {
            batch: &batch,
            runs: &self.runs,
        })
    }

    fn count(&mut self, checked: &Checked) {
        let tally = &mut self.tally;
        tally.rows_processed += u64::from(checked.rows);
        tally.rows_valid += u64::from(checked.valid);
        // From what is wrong, not from what is left: the run's invariant compares the two.
        tally.rows_failed += checked.failed;
        tally.errors_by_code.merge(&checked.counts);
        for (mine, theirs) in tally.columns.iter_mut().zip(&checked.tallies) {
            mine.empty += theirs.empty;
            mine.errors += theirs.errors;
        }
    }

    /// The counters so far.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Closes every file.
    pub fn finish(mut self) -> Result<Finished, task::Error> {
        self.findings.finish()?;
        self.rejected.flush().map_err(|source| task::Error::Write {
            what: REJECTED,
            source,
        })?;
        let Produced { parts, value } = self.processor.finish()?;
        Ok(Finished {
            tally: self.tally,
            parts,
            processor: value,
        })
    }
}

/// Writes the findings of a run that has no rows, or failed before its layout was known. Returns their tally.
pub fn without_rows(
    out: &Path,
    findings: &[Finding],
    limits: &Limits,
) -> Result<Tally, task::Error> {
    let mut tally = Tally::default();
    let mut file = Findings::create(out, limits)?;
    file.write_all(findings, &mut tally)?;
    file.finish()?;
    Ok(tally)
}

const FINDINGS: &str = "the findings";
const REJECTED: &str = "the rejected rows";

/// Creates `rejected.csv` with its labels: the columns, then `_row`, `_reasons` and `_extra`.
fn rejected(out: &Path, validator: &Validator) -> io::Result<BufWriter<File>> {
    let file = File::create(out.join(task::outputs::REJECTED))?;
    let mut file = BufWriter::with_capacity(BUFFER_BYTES, file);
    let mut line = Vec::new();
    for name in validator.names() {
        export::push_cell(&mut line, name.as_bytes());
        line.push(b',');
    }
    line.extend_from_slice(b"_row,_reasons,_extra\n");
    file.write_all(&line)?;
    Ok(file)
}

/// The file of findings, up to the limit of a job.
#[derive(Debug)]
struct Findings {
    file: BufWriter<File>,
    max: u64,
}

impl Findings {
    fn create(out: &Path, limits: &Limits) -> Result<Self, task::Error> {
        let file = File::create(out.join(task::outputs::FINDINGS)).map_err(findings_error)?;
        Ok(Self {
            file: BufWriter::with_capacity(BUFFER_BYTES, file),
            max: limits.findings_per_job,
        })
    }

    /// Writes lines that are ready, as far as the limit allows.
    fn write(&mut self, lines: &[u8], count: u64, tally: &mut Tally) -> Result<(), task::Error> {
        let left = self.max.saturating_sub(tally.errors_stored);
        let kept = if count <= left {
            lines
        } else {
            let mut ends = memchr::memchr_iter(b'\n', lines);
            let last = (left as usize).checked_sub(1).and_then(|n| ends.nth(n));
            &lines[..last.map_or(0, |end| end + 1)]
        };
        tally.errors_stored += count.min(left);
        self.file.write_all(kept).map_err(findings_error)
    }

    fn write_all(&mut self, findings: &[Finding], tally: &mut Tally) -> Result<(), task::Error> {
        let mut counts = CodeCounts::default();
        for finding in findings {
            counts.add(finding.code);
            if let Some(place) = finding.column_number.and_then(|n| n.checked_sub(1)) {
                let place = place as usize;
                if tally.columns.len() <= place {
                    tally.columns.resize_with(place + 1, ColumnTally::default);
                }
                tally.columns[place].errors += 1;
            }
            let mut line = serde_json::to_vec(finding).map_err(|e| findings_error(e.into()))?;
            line.push(b'\n');
            self.write(&line, 1, tally)?;
        }
        tally.errors_by_code.merge(&counts);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), task::Error> {
        self.file.flush().map_err(findings_error)
    }
}

fn findings_error(source: io::Error) -> task::Error {
    task::Error::Write {
        what: FINDINGS,
        source,
    }
}
