//! One run of the engine over a file or a piece of it: the request, the outputs, the entry point.

use std::path::Path;

use filejobs_core::failure::Failure;
use filejobs_core::report::{Facts, Tally};
use filejobs_core::{FileType, Limits, Options, TableSchema};
use serde::{Deserialize, Serialize};

use crate::{pipeline, plan};

/// What to do: handed to `filejobs engine` as `task.json` in its scratch folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// The kind of file, by its name.
    pub file_type: FileType,
    /// What the sender overrides.
    pub options: Options,
    /// The sender's schema; inferred from the first batch when absent.
    pub schema: Option<TableSchema>,
    /// Which part of the work.
    pub step: Step,
    /// The processor that takes the rows; `import` keeps them as Parquet.
    pub processor: Processor,
    /// How big anything may grow.
    pub limits: Limits,
    /// Threads that one run may keep busy, from 1.
    pub threads: u32,
}

/// A processor with its parameters, looked up in the registry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Processor {
    /// Its registered name.
    #[serde(rename = "type")]
    pub name: String,
    /// Its own parameters.
    #[serde(default)]
    pub parameters: serde_json::Value,
}

impl Default for Processor {
    fn default() -> Self {
        Self {
            name: "import".to_owned(),
            parameters: serde_json::Value::Null,
        }
    }
}

/// Which part of a file's work a run does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Step {
    /// The whole file in one run.
    Whole,
    /// Find layout and schema and cut the file at record boundaries; gives a [`Plan`]. Its findings and
    /// counters are those of the header, which no piece repeats.
    Plan,
    /// One piece of a planned file.
    Piece {
        /// What the plan found, the same for every piece.
        facts: Box<Facts>,
        /// Which bytes and rows.
        piece: Piece,
    },
}

/// A run of whole records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Its place among the pieces, from 0.
    pub index: u32,
    /// First byte, counted from the start of the file; of the text made of it when that is transcoded,
    /// which is one piece.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
    /// `row_number` of its first row.
    pub first_row: u64,
    /// Physical line of its first record.
    pub first_line: u64,
    /// Name, in the plan's output folder, of the list of rows of this piece that repeat an earlier key;
    /// absent when the schema has no `unique` or `primaryKey`. The worker carries the file from the plan's
    /// outputs to the piece's scratch folder under the same name.
    pub repeats: Option<String>,
}

/// What a plan step found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Layout and schema for every piece.
    pub facts: Facts,
    /// The pieces, in order, covering every data row once. At least one.
    pub pieces: Vec<Piece>,
    /// Rows of the whole file.
    pub rows_total: u64,
}

/// Names of the files that a run writes into its output folder.
pub mod outputs {
    /// The [`super::RunResult`], written last: its presence means the run ended by itself.
    pub const RESULT: &str = "result.json";
    /// Findings, one JSON object a line, in order of row and ordinal.
    pub const FINDINGS: &str = "findings.ndjson";
    /// The rejected rows. Every run writes the header line; joining pieces drops it from all but the first.
    pub const REJECTED: &str = "rejected.csv";

    /// Valid rows, part `n` from 1.
    #[must_use]
    pub fn part(n: u32) -> String {
        format!("valid-{n:05}.parquet")
    }

    /// The row numbers of the rows of part `n`, as runs of valid and skipped rows.
    #[must_use]
    pub fn part_rows(n: u32) -> String {
        format!("valid-{n:05}.rows")
    }
}

/// How a run ended, and what it counted until then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// Why it failed; absent when it read to the end.
    pub failure: Option<Failure>,
    /// Layout and schema, as far as they were found.
    pub facts: Facts,
    /// Counters, those up to the failure included.
    pub tally: Tally,
    /// Parts of valid rows, in order.
    pub parts: Vec<Part>,
    /// Only from a plan step.
    pub plan: Option<Plan>,
    /// What the processor has to tell, for [`Request::processor`]'s merge; null for `import`.
    pub processor: serde_json::Value,
}

/// One Parquet file of valid rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its name in the output folder.
    pub name: String,
    /// Rows in it.
    pub rows: u64,
    /// Its size in bytes.
    pub bytes: u64,
}

/// One line on the child's standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Bytes of the file (or piece) read so far.
    pub bytes: u64,
    /// Rows read so far.
    pub rows: u64,
    /// Rows with a finding so far.
    pub failed: u64,
}

/// How a caller follows and stops a run that is in its own process.
pub trait Control: Sync {
    /// Called between batches, from one thread.
    fn progress(&self, progress: Progress);
    /// Asked between batches; true ends the run with [`Error::Cancelled`].
    fn is_cancelled(&self) -> bool;
}

/// A run that could not end with a [`RunResult`]: broken I/O of ours, never bad input.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The input could not be read.
    #[error("reading the input failed")]
    Read(#[source] std::io::Error),
    /// An output could not be written.
    #[error("writing {what} failed")]
    Write {
        /// Which output.
        what: &'static str,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// [`Control::is_cancelled`] said so.
    #[error("the run was cancelled")]
    Cancelled,
}

/// Runs `request` over `input` (the whole file, whatever the step) and writes the outputs into `out`,
/// which exists and is empty but for what a [`Piece`] names. Writes no `result.json`: that is the child's.
pub fn run(
    request: &Request,
    input: std::fs::File,
    out: &Path,
    control: &dyn Control,
) -> Result<RunResult, Error> {
    let run = Run {
        request,
        out,
        control,
    };
    match &request.step {
        Step::Whole => pipeline::whole(&run, input),
        Step::Plan => plan::plan(&run, input),
        Step::Piece { facts, piece } => pipeline::piece(&run, input, facts, piece),
    }
}

/// What every step is given.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    /// What to do.
    pub(crate) request: &'a Request,
    /// Where the outputs go.
    pub(crate) out: &'a Path,
    /// How the caller follows and stops it.
    pub(crate) control: &'a dyn Control,
}
