//! The steps that turn rows into outputs: a whole file, or one piece of a planned one.

use std::fs::File;

use filejobs_core::report::{Facts, Layout, Tally};
use filejobs_core::{Failure, FailureCode, FileType, Finding, TableSchema};

use crate::batch::RawBatch;
use crate::csv;
use crate::infer::infer;
use crate::layout::Header;
use crate::merge;
use crate::outputs::{self, CreateError, Finished, Outputs};
use crate::reader::{ReadError, RowReader, Table};
use crate::source::Source;
use crate::stages::{self, Feed, Sink};
use crate::task::{Error, Piece, Progress, Run, RunResult};
use crate::unique::{KeyPass, RepeatSource, STREAMING_BYTES};
use crate::validate::{Checked, Places, Validator};
use crate::workbook;

/// A table ready to be checked: what a plan hands to its pieces, and what a whole run begins with.
pub(crate) struct Prepared {
    pub(crate) rows: Box<dyn RowReader>,
    pub(crate) first: RawBatch,
    pub(crate) facts: Facts,
    pub(crate) layout: Layout,
    pub(crate) findings: Vec<Finding>,
    pub(crate) validator: Validator,
}

/// A run that cannot go on: the file's fault, or ours.
pub(crate) enum Halt {
    /// The run has this result.
    Failed(Box<Failed>),
    /// The run has none.
    Error(Error),
}

/// What was known when the file failed.
pub(crate) struct Failed {
    failure: Failure,
    facts: Facts,
    findings: Vec<Finding>,
}

impl From<ReadError> for Halt {
    fn from(e: ReadError) -> Self {
        match e {
            ReadError::Failure(failure) => Self::Failed(Box::new(Failed {
                failure,
                facts: NOTHING_KNOWN,
                findings: Vec::new(),
            })),
            ReadError::Read(e) => Self::Error(Error::Read(e)),
            ReadError::Scratch(e) => Self::Error(scratch(e)),
        }
    }
}

impl From<Error> for Halt {
    fn from(e: Error) -> Self {
        Self::Error(e)
    }
}

const NOTHING_KNOWN: Facts = Facts {
    layout: None,
    schema: None,
    schema_inferred: false,
};

fn scratch(source: std::io::Error) -> Error {
    Error::Write {
        what: "a scratch file",
        source,
    }
}

impl Halt {
    /// The result of a run that halts before its first row.
    pub(crate) fn into_result(self, run: &Run<'_>) -> Result<RunResult, Error> {
        match self {
            Self::Error(e) => Err(e),
            Self::Failed(failed) => {
                let Failed {
                    failure,
                    facts,
                    findings,
                } = *failed;
                let tally = outputs::without_rows(run.out, &findings, &run.request.limits)?;
                Ok(RunResult {
                    failure: Some(failure),
                    facts: Facts {
                        schema: facts.schema.or_else(|| run.request.schema.clone()),
                        ..facts
                    },
                    tally,
                    parts: Vec::new(),
                    plan: None,
                    processor: serde_json::Value::Null,
                })
            }
        }
    }
}

/// Opens the table of a whole file.
fn open(run: &Run<'_>, source: Source) -> Result<Table, ReadError> {
    let request = run.request;
    match request.file_type {
        FileType::Csv => {
            let opened = csv::open(source, &request.options, &request.limits, run.out)?;
            Ok(opened.table)
        }
        FileType::Xlsx | FileType::Xls | FileType::Xlsb | FileType::Ods => workbook::open(
            &source,
            request.file_type,
            &request.options,
            &request.limits,
            request.threads,
        ),
    }
}

/// Finds layout and schema by the first rows of `table`.
pub(crate) fn prepare(run: &Run<'_>, mut table: Table) -> Result<Prepared, Halt> {
    let request = run.request;
    let mut first = RawBatch::default();
    table.rows.next_batch(&mut first)?;
    let header = Header::new(&table, &first, request.schema.as_ref(), request.file_type);
    let Header {
        mut layout,
        findings,
        failure,
    } = header;
    let halt = |failure, layout, findings| {
        Halt::Failed(Box::new(Failed {
            failure,
            facts: Facts {
                layout: Some(layout),
                schema: request.schema.clone(),
                schema_inferred: false,
            },
            findings,
        }))
    };
    if let Some(failure) = failure {
        return Err(halt(failure, layout, findings));
    }
    let (schema, inferred) = match &request.schema {
        Some(schema) => (schema.clone(), false),
        None => (inferred_schema(&mut layout, &mut first, table.places), true),
    };
    let facts = Facts {
        layout: Some(layout.clone()),
        schema: Some(schema),
        schema_inferred: inferred,
    };
    let validator = match Validator::of(&facts, table.places, &request.limits) {
        Ok(validator) => validator,
        Err(failure) => return Err(halt(failure, layout, findings)),
    };
    Ok(Prepared {
        rows: table.rows,
        first,
        facts,
        layout,
        findings,
        validator,
    })
}

/// The schema of the first rows; every column becomes a field of it.
fn inferred_schema(layout: &mut Layout, first: &mut RawBatch, places: Places) -> TableSchema {
    crate::layout::drop_empty_ends(layout, first);
    let names: Vec<String> = layout.columns.iter().map(|c| c.name.clone()).collect();
    for (column, field) in layout.columns.iter_mut().zip(0..) {
        column.field = Some(field);
    }
    infer(first, places, &names)
}

/// Reads a whole file.
pub(crate) fn whole(run: &Run<'_>, input: File) -> Result<RunResult, Error> {
    match whole_or_halt(run, input) {
        Ok(result) => Ok(result),
        Err(halt) => halt.into_result(run),
    }
}

fn whole_or_halt(run: &Run<'_>, input: File) -> Result<RunResult, Halt> {
    let source = Source::new(input, run.out)?;
    let prepared = prepare(run, open(run, source.clone())?)?;
    let repeats = repeats(run, &source, &prepared)?;
    let feed = Feed {
        rows: prepared.rows,
        first: Some(prepared.first),
        layout: prepared.layout,
        repeats,
    };
    let mut result = rows(
        run,
        feed,
        &prepared.validator,
        &prepared.findings,
        prepared.facts,
    )?;
    if result.failure.is_none() {
        result.failure = merge::too_large_a_share(&result.tally, &run.request.options);
    }
    Ok(result)
}

/// Where a whole run learns which rows repeat a key: as it reads, or by reading a large file twice.
fn repeats(run: &Run<'_>, source: &Source, prepared: &Prepared) -> Result<RepeatSource, Halt> {
    let validator = &prepared.validator;
    if validator.keys().is_none() {
        return Ok(RepeatSource::none());
    }
    let inflates = match run.request.file_type {
        FileType::Csv | FileType::Xls => 1,
        FileType::Xlsx | FileType::Xlsb | FileType::Ods => 16,
    };
    if source.bytes().saturating_mul(inflates) <= STREAMING_BYTES {
        return Ok(RepeatSource::streaming(validator));
    }
    let mut feed = Feed {
        rows: open(run, source.clone())?.rows,
        first: None,
        layout: prepared.layout.clone(),
        repeats: RepeatSource::none(),
    };
    let mut pass = KeyPass::new(validator, run.out).map_err(scratch)?;
    let mut raw = RawBatch::default();
    while feed.next(&mut raw)? {
        if run.control.is_cancelled() {
            return Err(Error::Cancelled.into());
        }
        pass.push(&raw).map_err(scratch)?;
    }
    let names = pass.finish(run.out, &[1]).map_err(scratch)?;
    let Some(name) = names.first() else {
        return Ok(RepeatSource::none());
    };
    let path = run.out.join(name);
    let listed = RepeatSource::listed(&path).map_err(Error::Read)?;
    // The open list stays readable; the folder holds only what the run leaves behind.
    std::fs::remove_file(&path).map_err(scratch)?;
    Ok(listed)
}

/// Reads one piece of a planned file.
pub(crate) fn piece(
    run: &Run<'_>,
    input: File,
    facts: &Facts,
    piece: &Piece,
) -> Result<RunResult, Error> {
    match piece_or_halt(run, input, facts, piece) {
        Ok(result) => Ok(result),
        Err(halt) => halt.into_result(run),
    }
}

fn piece_or_halt(
    run: &Run<'_>,
    input: File,
    facts: &Facts,
    piece: &Piece,
) -> Result<RunResult, Halt> {
    let limits = &run.request.limits;
    let Some(layout) = &facts.layout else {
        return Err(ReadError::from(unplanned("it knows no layout")).into());
    };
    let Some(dialect) = &layout.dialect else {
        return Err(ReadError::from(unplanned("its file is not delimited text")).into());
    };
    let source = Source::new(input, run.out)?;
    let (reader, places) = csv::open_piece(source, dialect, piece, limits, run.out)?;
    let validator = Validator::of(facts, places, limits).map_err(ReadError::from)?;
    let repeats = match &piece.repeats {
        Some(name) => RepeatSource::listed(&run.out.join(name)).map_err(Error::Read)?,
        None => RepeatSource::none(),
    };
    let feed = Feed {
        rows: reader,
        first: None,
        layout: layout.clone(),
        repeats,
    };
    rows(run, feed, &validator, &[], facts.clone())
}

fn unplanned(why: &str) -> Failure {
    Failure::new(
        FailureCode::InvariantBroken,
        format!("A piece of the file cannot be read: {why}; please report this as a defect."),
    )
}

/// Moves every row of `feed` into the outputs.
fn rows(
    run: &Run<'_>,
    feed: Feed,
    validator: &Validator,
    findings: &[Finding],
    facts: Facts,
) -> Result<RunResult, Halt> {
    let request = run.request;
    let created = Outputs::create(run.out, validator, &request.processor, &request.limits);
    let mut outputs = match created {
        Ok(outputs) => outputs,
        Err(CreateError::Io(e)) => return Err(e.into()),
        Err(CreateError::Refused(failure)) => {
            return Err(Halt::Failed(Box::new(Failed {
                failure,
                facts,
                findings: findings.to_vec(),
            })));
        }
    };
    outputs.header(findings)?;
    let mut sink = Writer {
        run,
        outputs,
        rows_read: 0,
        failure: None,
    };
    let end = stages::run(feed, validator, &mut sink, request.threads)?;
    let Writer {
        outputs,
        rows_read,
        failure,
        ..
    } = sink;
    let ended = match end {
        None => None,
        Some(ReadError::Failure(failure)) => Some(failure),
        Some(e) => return Err(e.into()),
    };
    let Finished {
        tally,
        parts,
        processor,
    } = outputs.finish()?;
    Ok(RunResult {
        failure: unbalanced(&tally, rows_read).or(failure).or(ended),
        facts,
        tally,
        parts,
        plan: None,
        processor,
    })
}

/// The invariant of every run: each row that was read has one verdict.
fn unbalanced(tally: &Tally, rows_read: u64) -> Option<Failure> {
    let counted = tally.check().err();
    counted.or_else(|| {
        (tally.rows_processed != rows_read).then(|| {
            Failure::new(
                FailureCode::InvariantBroken,
                format!(
                    "{rows_read} rows were read but {} were checked; please report this as a defect.",
                    tally.rows_processed
                ),
            )
        })
    })
}

/// The last stage: writes, counts, tells the caller, stops when too much is wrong.
struct Writer<'a> {
    run: &'a Run<'a>,
    outputs: Outputs,
    rows_read: u64,
    failure: Option<Failure>,
}

impl Sink for Writer<'_> {
    fn write(&mut self, checked: &Checked, rows: u64, bytes_read: u64) -> Result<bool, Error> {
        self.rows_read += rows;
        self.outputs.write(checked)?;
        let tally = self.outputs.tally();
        self.run.control.progress(Progress {
            bytes: bytes_read,
            rows: tally.rows_processed,
            failed: tally.rows_failed,
        });
        self.failure = merge::too_many(tally, &self.run.request.options);
        if self.run.control.is_cancelled() {
            return Err(Error::Cancelled);
        }
        Ok(self.failure.is_none())
    }
}
