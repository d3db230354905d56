//! What the end of an engine process means for its task: one pure function.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use filejobs_core::failure::{Failure, FailureCode};
use filejobs_core::{FailureClass, Limits};
use filejobs_engine::child::{OUT_OF_MEMORY, exit};
use filejobs_engine::task::RunResult;
use rustix::process::Signal;

/// What became of an attempt.
#[derive(Debug, PartialEq)]
pub enum Ending {
    /// The run ended by itself: its rows and findings count, whether the file failed or not.
    Result(Box<RunResult>),
    /// The file cannot be read; no further attempt can mend that.
    Final(Failure),
    /// This attempt failed; another may work.
    Again(Failure),
}

/// Judges how a child ended. `result` is what it left as its result, when that could be read.
pub(crate) fn judge(
    status: ExitStatus,
    stderr: &[u8],
    result: Option<RunResult>,
    limits: &Limits,
) -> Ending {
    if let Some(result) = result {
        return judge_result(result);
    }
    if OUT_OF_MEMORY.iter().any(|words| says(stderr, words)) {
        return Ending::Final(out_of_memory(limits));
    }
    match (status.signal(), status.code()) {
        (Some(signal), _) => judge_signal(signal, limits),
        (None, Some(code)) => judge_code(code),
        (None, None) => Ending::Again(crash()),
    }
}

/// Why a child ended, in a word for metrics.
pub(crate) fn why(status: ExitStatus, stderr: &[u8], left_result: bool) -> &'static str {
    if left_result {
        return "result";
    }
    if OUT_OF_MEMORY.iter().any(|words| says(stderr, words)) {
        return "memory";
    }
    let signal = status.signal();
    let is = |wanted: Signal| signal == Some(wanted.as_raw());
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        Some(exit::READ) => "unreadable",
        Some(exit::WRITE) => "unwritable",
        Some(exit::NO_SPACE) => "disk_full",
        _ if is(Signal::XCPU) => "cpu_time",
        _ if is(Signal::XFSZ) => "file_size",
        _ if is(Signal::KILL) => "system_killed",
        _ => "crash",
    }
}

fn judge_result(result: RunResult) -> Ending {
    if let Err(failure) = result.tally.check() {
        return Ending::Final(failure);
    }
    match &result.failure {
        // A defect of ours: what such a run counted is not to be believed.
        Some(failure) if failure.class() == FailureClass::Processing => {
            Ending::Final(failure.clone())
        }
        Some(failure) if failure.class() == FailureClass::Infrastructure => {
            Ending::Again(failure.clone())
        }
        Some(_) | None => Ending::Result(Box::new(result)),
    }
}

fn judge_signal(signal: i32, limits: &Limits) -> Ending {
    if signal == Signal::XCPU.as_raw() {
        let seconds = limits.engine_cpu_seconds;
        return Ending::Final(limit(format!(
            "Reading the file took more than {seconds} seconds of processor time; hand it in as several smaller files."
        )));
    }
    if signal == Signal::XFSZ.as_raw() {
        let mib = limits.engine_file_bytes >> 20;
        return Ending::Final(limit(format!(
            "The file's results are larger than {mib} MiB; hand it in as several smaller files."
        )));
    }
    if signal == Signal::KILL.as_raw() {
        // Not ours. The system takes memory back this way, and not always from the one who has too much.
        return Ending::Again(limit(
            "The system ended the parser, most likely because memory ran out; hand the file in as several smaller files."
                .to_owned(),
        ));
    }
    Ending::Again(crash())
}

fn judge_code(code: i32) -> Ending {
    match u8::try_from(code) {
        Ok(exit::READ) => Ending::Again(unreadable()),
        Ok(exit::WRITE) => Ending::Again(unavailable("The worker could not write its results.")),
        Ok(exit::NO_SPACE) => Ending::Again(unavailable("The worker's disk is full.")),
        _ => Ending::Again(crash()),
    }
}

/// The failure of a run that was stopped because it took too long on the clock, processor time aside.
pub(crate) fn took_too_long(seconds: u64) -> Ending {
    Ending::Again(limit(format!(
        "Reading the file did not end within {seconds} seconds; hand it in as several smaller files."
    )))
}

/// The failure of an attempt that a back end or this machine spoiled.
pub(crate) fn unavailable(what: &str) -> Failure {
    Failure::new(
        FailureCode::BackendUnavailable,
        format!("{what} Retry the job once the service is well again."),
    )
}

/// The failure of a file whose bytes cannot be read.
pub(crate) fn unreadable() -> Failure {
    Failure::new(
        FailureCode::SourceUnreadable,
        "The stored file could not be read; hand it in again, and tell the operator of the storage.",
    )
}

/// The failure of a job whose plan left something that cannot be read.
pub(crate) fn plan_unreadable() -> Failure {
    Failure::new(
        FailureCode::SourceUnreadable,
        "What is stored of the file's plan could not be read; retry the job, and tell the operator of the storage.",
    )
}

/// The failure of a file whose bytes are not those that were handed in.
pub(crate) fn changed() -> Failure {
    Failure::new(
        FailureCode::SourceChanged,
        "The stored file is no longer what was handed in; hand it in again.",
    )
}

/// The failure of a parser that went wrong.
pub(crate) fn crash() -> Failure {
    Failure::new(
        FailureCode::ParserCrash,
        "The parser ended without a result. This is a defect of Filejobs: please report it, with the file if you can.",
    )
}

fn out_of_memory(limits: &Limits) -> Failure {
    let mib = limits.engine_memory_bytes >> 20;
    limit(format!(
        "Reading the file needs more than the {mib} MiB of memory that it may use; hand it in as several smaller files."
    ))
}

fn limit(message: String) -> Failure {
    Failure::new(FailureCode::LimitExceeded, message)
}

/// Rust's runtime and ours write nothing from the file to standard error, so that its words can be trusted.
fn says(stderr: &[u8], words: &str) -> bool {
    String::from_utf8_lossy(stderr).contains(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use filejobs_core::report::{Facts, Tally};

    fn result(failure: Option<Failure>, valid: u64) -> RunResult {
        RunResult {
            failure,
            facts: Facts {
                layout: None,
                schema: None,
                schema_inferred: false,
            },
            tally: Tally {
                rows_processed: 3,
                rows_valid: valid,
                rows_failed: 1,
                ..Tally::default()
            },
            parts: Vec::new(),
            plan: None,
            processor: serde_json::Value::Null,
        }
    }

    fn signalled(signal: Signal) -> ExitStatus {
        ExitStatus::from_raw(signal.as_raw())
    }

    fn exited(code: u8) -> ExitStatus {
        ExitStatus::from_raw(i32::from(code) << 8)
    }

    #[test]
    fn every_end_without_a_result_has_its_code_and_its_chance() {
        use FailureCode::{BackendUnavailable, LimitExceeded, ParserCrash, SourceUnreadable};
        let table: [(ExitStatus, &str, FailureCode, bool, &str); 13] = [
            (
                signalled(Signal::XCPU),
                "",
                LimitExceeded,
                false,
                "cpu_time",
            ),
            (
                signalled(Signal::XFSZ),
                "",
                LimitExceeded,
                false,
                "file_size",
            ),
            (
                signalled(Signal::KILL),
                "",
                LimitExceeded,
                true,
                "system_killed",
            ),
            (
                signalled(Signal::ABORT),
                "memory allocation of 64 bytes failed",
                LimitExceeded,
                false,
                "memory",
            ),
            (
                exited(101),
                "panicked at stages.rs:1:1\nfailed to spawn thread",
                LimitExceeded,
                false,
                "memory",
            ),
            (signalled(Signal::ABORT), "", ParserCrash, true, "crash"),
            (signalled(Signal::SEGV), "", ParserCrash, true, "crash"),
            (
                exited(101),
                "panicked at src/csv.rs:1:1",
                ParserCrash,
                true,
                "crash",
            ),
            (exited(exit::ENDED), "", ParserCrash, true, "crash"),
            (exited(exit::REQUEST), "", ParserCrash, true, "crash"),
            (exited(exit::READ), "", SourceUnreadable, true, "unreadable"),
            (
                exited(exit::WRITE),
                "",
                BackendUnavailable,
                true,
                "unwritable",
            ),
            (
                exited(exit::NO_SPACE),
                "",
                BackendUnavailable,
                true,
                "disk_full",
            ),
        ];
        for (status, stderr, code, again, word) in table {
            assert_eq!(why(status, stderr.as_bytes(), false), word);
            let (failure, another) =
                match judge(status, stderr.as_bytes(), None, &Limits::default()) {
                    Ending::Again(failure) => (failure, true),
                    Ending::Final(failure) => (failure, false),
                    Ending::Result(_) => unreachable!("there was none"),
                };
            assert_eq!((failure.code, another), (code, again), "{status} {stderr}");
        }
    }

    #[test]
    fn a_result_counts_however_the_process_ended() {
        let failed = Failure::new(FailureCode::TooManyErrors, "too many");
        for failure in [None, Some(failed)] {
            let result = result(failure, 2);
            let ending = judge(
                signalled(Signal::SEGV),
                b"",
                Some(result.clone()),
                &Limits::default(),
            );
            assert_eq!(ending, Ending::Result(Box::new(result)));
            assert_eq!(why(signalled(Signal::SEGV), b"", true), "result");
        }
    }

    #[test]
    fn a_result_that_does_not_add_up_is_never_committed() {
        let ending = judge(
            exited(exit::ENDED),
            b"",
            Some(result(None, 1)),
            &Limits::default(),
        );
        let Ending::Final(failure) = ending else {
            unreachable!("{ending:?}")
        };
        assert_eq!(failure.code, FailureCode::InvariantBroken);
    }
}
