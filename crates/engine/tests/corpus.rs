//! The engine over every file of the corpus: each ends with the verdict that the table says, in bounded memory.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::File;

use filejobs_core::finding::CodeCounts;
use filejobs_core::{FileType, Limits, Options, TableSchema};
use filejobs_engine::task::{self, Control, Processor, Progress, Request, RunResult, Step};
use filejobs_testkit::corpus::{self, Case, Expected};

struct Unwatched;

impl Control for Unwatched {
    fn progress(&self, _: Progress) {}

    fn is_cancelled(&self) -> bool {
        false
    }
}

fn run(case: &Case, threads: u32) -> RunResult {
    let folder = tempfile::tempdir().unwrap();
    let path = case.write_into(folder.path()).unwrap();
    let out = folder.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let limits = Limits::default();
    let options: Options = case
        .options
        .map_or_else(Options::default, |text| serde_json::from_str(text).unwrap());
    let request = Request {
        file_type: FileType::from_name(case.name).unwrap(),
        options,
        schema: case
            .schema
            .map(|text| TableSchema::from_json(text, &limits).unwrap()),
        step: Step::Whole,
        processor: Processor::default(),
        limits,
        threads,
    };
    task::run(&request, File::open(path).unwrap(), &out, &Unwatched).unwrap()
}

/// What is wrong with the result, if anything.
fn problem(case: &Case, result: &RunResult) -> Option<String> {
    let name = case.name;
    let (failure, tally) = (result.failure.as_ref(), &result.tally);
    if let Err(broken) = tally.check() {
        return Some(format!("{name}: {}", broken.message));
    }
    let fits = match case.expected {
        // Name and content are compared before the engine runs.
        Expected::Refused => true,
        Expected::Failed(code) => failure.is_some_and(|f| f.code == code && f.message.len() > 20),
        Expected::Completed {
            processed,
            failed,
            findings,
        } => {
            let mut counts = CodeCounts::default();
            for (code, count) in findings {
                (0..*count).for_each(|_| counts.add(*code));
            }
            let found = (
                tally.rows_processed,
                tally.rows_failed,
                &tally.errors_by_code,
            );
            failure.is_none() && found == (processed, failed, &counts)
        }
    };
    (!fits).then(|| {
        let counts: Vec<_> = tally.errors_by_code.iter().collect();
        format!(
            "{name}: {:?} expected, but {failure:?}, {} rows, {} failed, {counts:?}",
            case.expected, tally.rows_processed, tally.rows_failed
        )
    })
}

#[test]
fn every_file_ends_with_its_verdict() {
    let problems: Vec<_> = corpus::cases()
        .iter()
        .filter(|case| case.expected != Expected::Refused)
        .filter_map(|case| problem(case, &run(case, 1)))
        .collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn two_threads_come_to_the_same_verdicts() {
    let is_workbook =
        |case: &&Case| FileType::from_name(case.name).is_some_and(|t| t != FileType::Csv);
    let problems: Vec<_> = corpus::cases()
        .iter()
        .filter(|case| case.expected != Expected::Refused)
        .filter(is_workbook)
        .filter_map(|case| problem(case, &run(case, 2)))
        .collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
