//! Runs bytes through the engine and gathers all that it leaves behind.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;

use filejobs_core::report::{Facts, Report, ReportFile, Tally};
use filejobs_core::{Failure, FileType, Finding, Limits, Options, TableSchema};
use filejobs_engine::merge;
use filejobs_engine::task::{
    self, Control, Processor, Progress, Request, RunResult, Step, outputs,
};
use parquet::file::reader::{FileReader, SerializedFileReader};

/// A file and how it is to be read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Job {
    pub(crate) bytes: Vec<u8>,
    pub(crate) options: Options,
    pub(crate) schema: Option<TableSchema>,
    pub(crate) limits: Limits,
}

/// Everything a file comes to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) failure: Option<Failure>,
    pub(crate) tally: Tally,
    /// The report as JSON.
    pub(crate) report: String,
    /// `findings.ndjson`.
    pub(crate) findings: String,
    /// `rejected.csv`.
    pub(crate) rejected: String,
    /// The valid rows of all parts, one a line.
    pub(crate) valid: Vec<String>,
}

struct Unwatched;

impl Control for Unwatched {
    fn progress(&self, _: Progress) {}

    fn is_cancelled(&self) -> bool {
        false
    }
}

impl Job {
    pub(crate) fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            bytes: bytes.into(),
            ..Self::default()
        }
    }

    pub(crate) fn schema(mut self, json: &str) -> Self {
        self.schema = Some(TableSchema::from_json(json, &Limits::default()).unwrap());
        self
    }

    pub(crate) fn options(mut self, json: &str) -> Self {
        self.options = serde_json::from_str(json).unwrap();
        self
    }

    fn input(&self) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&self.bytes).unwrap();
        file.rewind().unwrap();
        file
    }

    fn run(&self, step: Step, threads: u32, out: &Path) -> RunResult {
        let request = Request {
            file_type: FileType::Csv,
            options: self.options.clone(),
            schema: self.schema.clone(),
            step,
            processor: Processor::default(),
            limits: self.limits.clone(),
            threads,
        };
        task::run(&request, self.input(), out, &Unwatched).unwrap()
    }

    /// One run over the whole file.
    pub(crate) fn whole(&self, threads: u32) -> Outcome {
        let out = tempfile::tempdir().unwrap();
        let result = self.run(Step::Whole, threads, out.path());
        let mut outcome = self.outcome(&result.facts, result.tally.clone(), result.failure.clone());
        outcome.take_files(out.path(), &result);
        outcome
    }

    /// A plan and its pieces of at least `split_bytes`, put together.
    pub(crate) fn pieces(&self, split_bytes: u64) -> (Outcome, usize) {
        let mut job = self.clone();
        job.limits.split_bytes = split_bytes;
        let plan_out = tempfile::tempdir().unwrap();
        let planned = job.run(Step::Plan, 1, plan_out.path());
        let Some(plan) = &planned.plan else {
            let failure = planned.failure.clone();
            let mut outcome = self.outcome(&planned.facts, planned.tally.clone(), failure);
            outcome.take_files(plan_out.path(), &planned);
            return (outcome, 0);
        };
        let mut outcome = self.outcome(&plan.facts, planned.tally.clone(), None);
        outcome.take_files(plan_out.path(), &planned);
        let mut results = Vec::new();
        for piece in &plan.pieces {
            let out = tempfile::tempdir().unwrap();
            if let Some(name) = &piece.repeats {
                std::fs::copy(plan_out.path().join(name), out.path().join(name)).unwrap();
            }
            let step = Step::Piece {
                facts: Box::new(plan.facts.clone()),
                piece: piece.clone(),
            };
            let result = job.run(step, 1, out.path());
            outcome.take_files(out.path(), &result);
            results.push(result);
        }
        let merged = merge::merge(plan, &planned.tally, &results, &job.options);
        let whole = self.outcome(&merged.facts, merged.tally, merged.failure);
        let outcome = Outcome {
            findings: outcome.findings,
            rejected: outcome.rejected,
            valid: outcome.valid,
            ..whole
        };
        (outcome, plan.pieces.len())
    }

    fn outcome(&self, facts: &Facts, tally: Tally, failure: Option<Failure>) -> Outcome {
        let file = ReportFile {
            name: "table.csv".to_owned(),
            bytes: self.bytes.len() as u64,
            sha256: String::new(),
        };
        let report = Report::new(
            file,
            facts,
            &tally,
            self.limits.findings_per_job,
            failure.as_ref(),
        );
        Outcome {
            failure,
            tally,
            report: serde_json::to_string_pretty(&report).unwrap(),
            findings: String::new(),
            rejected: String::new(),
            valid: Vec::new(),
        }
    }
}

impl Outcome {
    /// Adds what a run left in `out` behind what the runs before it left.
    fn take_files(&mut self, out: &Path, result: &RunResult) {
        let read = |name| std::fs::read_to_string(out.join(name)).unwrap_or_default();
        self.findings += &read(outputs::FINDINGS);
        let rejected = read(outputs::REJECTED);
        if self.rejected.is_empty() {
            self.rejected = rejected;
        } else {
            // Every run writes the line of labels.
            let body = rejected.split_once('\n').map_or("", |(_, body)| body);
            self.rejected += body;
        }
        let mut rows = 0;
        for part in &result.parts {
            let reader = SerializedFileReader::new(File::open(out.join(&part.name)).unwrap());
            let reader = reader.unwrap();
            let valid = reader.get_row_iter(None).unwrap();
            let before = self.valid.len();
            self.valid.extend(valid.map(|row| row.unwrap().to_string()));
            assert_eq!(part.rows, (self.valid.len() - before) as u64);
            rows += part.rows;
        }
        assert_eq!(
            rows, result.tally.rows_valid,
            "every valid row is in a part"
        );
    }

    /// The findings as values.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        let lines = self.findings.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}
