//! Cuts a large file at record boundaries, with the very reader that will read the pieces.

use std::fs::File;

use filejobs_core::{Failure, FailureCode, FileType, Limits};

use crate::batch::RawBatch;
use crate::csv;
use crate::outputs;
use crate::pipeline::{Halt, prepare};
use crate::reader::ReadError;
use crate::source::Source;
use crate::stages::Feed;
use crate::task::{Error, Piece, Plan, Progress, Run, RunResult};
use crate::unique::{KeyPass, RepeatSource};
use crate::validate::Places;

/// Plans the pieces of a file.
pub(crate) fn plan(run: &Run<'_>, input: File) -> Result<RunResult, Error> {
    match plan_or_halt(run, input) {
        Ok(result) => Ok(result),
        Err(halt) => halt.into_result(run),
    }
}

fn plan_or_halt(run: &Run<'_>, input: File) -> Result<RunResult, Halt> {
    let request = run.request;
    if request.file_type != FileType::Csv {
        let failure = Failure::new(
            FailureCode::WrongOptions,
            "Only delimited text is cut into pieces; a workbook is read in one run.",
        );
        return Err(ReadError::from(failure).into());
    }
    let source = Source::new(input, run.out)?;
    let csv::Opened { table, end } = csv::open(source, &request.options, &request.limits, run.out)?;
    let may_cut = table.places == Places::Text;
    let prepared = prepare(run, table)?;
    let mut keys = match prepared.validator.keys() {
        Some(_) => Some(KeyPass::new(&prepared.validator, run.out).map_err(scratch)?),
        None => None,
    };
    let mut feed = Feed {
        rows: prepared.rows,
        first: Some(prepared.first),
        layout: prepared.layout,
        repeats: RepeatSource::none(),
    };
    let mut cuts = Cuts::new(end, &request.limits, may_cut);
    let mut raw = RawBatch::default();
    while feed.next(&mut raw)? {
        if run.control.is_cancelled() {
            return Err(Error::Cancelled.into());
        }
        cuts.push(&raw);
        if let Some(keys) = &mut keys {
            keys.push(&raw).map_err(scratch)?;
        }
        run.control.progress(Progress {
            bytes: feed.rows.bytes_read(),
            rows: cuts.rows,
            failed: 0,
        });
    }
    let rows_total = cuts.rows;
    let mut pieces = cuts.finish();
    if let Some(keys) = keys {
        let first_rows: Vec<u64> = pieces.iter().map(|piece| piece.first_row).collect();
        let lists = keys.finish(run.out, &first_rows).map_err(scratch)?;
        for (piece, list) in pieces.iter_mut().zip(lists) {
            piece.repeats = Some(list);
        }
    }
    let tally = outputs::without_rows(run.out, &prepared.findings, &request.limits)?;
    Ok(RunResult {
        failure: None,
        facts: prepared.facts.clone(),
        tally,
        parts: Vec::new(),
        plan: Some(Plan {
            facts: prepared.facts,
            pieces,
            rows_total,
        }),
        processor: serde_json::Value::Null,
    })
}

fn scratch(source: std::io::Error) -> Error {
    Error::Write {
        what: "a scratch file",
        source,
    }
}

/// The pieces in the making.
struct Cuts {
    pieces: Vec<Piece>,
    /// Bytes that a piece has at least, but for the last.
    bytes: u64,
    end: u64,
    rows: u64,
}

impl Cuts {
    fn new(end: u64, limits: &Limits, may_cut: bool) -> Self {
        let share = end.div_ceil(u64::from(limits.tasks_per_job.max(1)));
        Self {
            pieces: Vec::new(),
            bytes: if may_cut {
                limits.split_bytes.max(share).max(1)
            } else {
                u64::MAX
            },
            end,
            rows: 0,
        }
    }

    fn push(&mut self, raw: &RawBatch) {
        for (row, number) in raw.rows.iter().zip(raw.first_row..) {
            let is_due = self
                .pieces
                .last()
                .is_none_or(|piece| row.byte_offset - piece.start >= self.bytes);
            if is_due {
                self.begin(row.byte_offset, number, row.line);
            }
        }
        self.rows += raw.rows.len() as u64;
    }

    fn begin(&mut self, start: u64, first_row: u64, first_line: u64) {
        if let Some(last) = self.pieces.last_mut() {
            last.end = start;
        }
        self.pieces.push(Piece {
            index: self.pieces.len() as u32,
            start,
            end: self.end,
            first_row,
            first_line,
            repeats: None,
        });
    }

    /// The pieces: at least one, if only of no rows.
    fn finish(mut self) -> Vec<Piece> {
        if self.pieces.is_empty() {
            self.begin(self.end, 1, 1);
        }
        self.pieces
    }
}
