//! The child process `filejobs engine`: one run over one hostile file, with nothing to lose.
//!
//! What the two sides agree on (the other end is `filejobs-worker`):
//! * The working folder is the run's scratch folder. It holds [`REQUEST`] and the folder [`OUT`], in which lie the
//!   files that a piece names and into which the outputs go.
//! * Standard input is the file. Where it cannot be read at any place (a pipe), it is copied into an unnamed file of
//!   the scratch folder first.
//! * Standard output carries one [`Progress`] a line, at most five a second. When nobody reads it any more, the run
//!   ends: its worker is gone.
//! * Standard error says in one line why a run could not end by itself. It never holds anything from the file:
//!   panics tell their place in our sources only.
//! * [`crate::task::outputs::RESULT`] appears last and complete, by renaming. The exit codes are
//!   in [`exit`].
//!
//! The process limits its own memory, processor time, file size and files before it looks at the first byte, writes
//! no core dump, and dies with its parent.

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use filejobs_core::{Limits, causes};
use rustix::process::{Resource, Rlimit, Signal};

use crate::task::{self, Control, Progress, Request, RunResult, outputs};

/// Name of the request in the scratch folder: a [`Request`] as JSON.
pub const REQUEST: &str = "task.json";

/// Name of the folder for the outputs in the scratch folder.
pub const OUT: &str = "out";

/// Pause between two progress lines.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// What standard error says when the memory did not suffice, by the standard library and by us.
pub const OUT_OF_MEMORY: [&str; 2] = ["memory allocation of ", NO_THREAD];

const NO_THREAD: &str = "failed to spawn thread";

/// By how much the process lowers its own priority: on a machine that it shares with the API, answers come first.
const NICENESS: i32 = 10;

/// Files that the process may have open; spilled keys need the most.
const OPEN_FILES: u64 = 1024;

/// Seconds of processor time between the signal that says "too long" and the one that ends the process.
const CPU_GRACE_SECONDS: u64 = 5;

/// How the process says what became of the run.
pub mod exit {
    /// The run ended by itself and its result is written, a failed file included.
    pub const ENDED: u8 = 0;
    /// The request is missing or cannot be understood.
    pub const REQUEST: u8 = 64;
    /// The input could not be read.
    pub const READ: u8 = 66;
    /// An output could not be written.
    pub const WRITE: u8 = 74;
    /// An output could not be written because the disk is full.
    pub const NO_SPACE: u8 = 75;
    /// A limit could not be set on the process.
    pub const LIMITS: u8 = 77;
    /// The run was cancelled.
    pub const CANCELLED: u8 = 130;
}

/// Why a run ended without a result.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// No request.
    #[error("the request could not be read")]
    Request(#[source] io::Error),
    /// An operating system limit was refused.
    #[error("a limit could not be set on the process")]
    Limits(#[source] io::Error),
    /// Standard input could not be taken over or copied.
    #[error("the input could not be opened")]
    Input(#[source] io::Error),
    /// The run itself.
    #[error("the run did not end by itself")]
    Run(#[source] task::Error),
    /// The result could not be written.
    #[error("the result could not be written")]
    Result(#[source] io::Error),
}

impl Error {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Request(_) => exit::REQUEST,
            Self::Limits(_) => exit::LIMITS,
            Self::Input(e) if is_no_space(e) => exit::NO_SPACE,
            Self::Input(_) | Self::Run(task::Error::Read(_)) => exit::READ,
            Self::Run(task::Error::Cancelled) => exit::CANCELLED,
            Self::Run(task::Error::Write { source: e, .. }) | Self::Result(e) => {
                if is_no_space(e) {
                    exit::NO_SPACE
                } else {
                    exit::WRITE
                }
            }
        }
    }
}

fn is_no_space(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// What `filejobs engine` does: one run, told by exit code.
#[must_use]
pub fn main() -> ExitCode {
    ExitCode::from(serve())
}

/// [`main`] for programs that end in another way than by returning: one of [`exit`].
#[must_use]
pub fn serve() -> u8 {
    die_with_parent();
    give_way();
    hide_panic_messages();
    let Err(error) = run() else {
        return exit::ENDED;
    };
    let line = causes::chain(&error);
    // Nobody is left to tell when this fails, too.
    let _ = writeln!(io::stderr(), "{line}");
    error.exit_code()
}

fn run() -> Result<(), Error> {
    let text = std::fs::read(REQUEST).map_err(Error::Request)?;
    let request: Request =
        serde_json::from_slice(&text).map_err(|e| Error::Request(io::Error::other(e)))?;
    drop(text);
    limit_process(&request.limits).map_err(Error::Limits)?;
    let input = take_input().map_err(Error::Input)?;
    let reporter = Reporter::new();
    let out = Path::new(OUT);
    let result = task::run(&request, input, out, &reporter).map_err(Error::Run)?;
    write_result(out, &result).map_err(Error::Result)
}

/// Has the kernel end this process when the thread that started it ends.
///
/// A parent that died before this line goes unnoticed here; the first progress line then finds nobody who reads.
fn die_with_parent() {
    #[cfg(target_os = "linux")]
    // Refused only by sandboxes that know no such call; the progress pipe is then the only tie.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
}

/// Puts what people wait for (calls, leases) before the parsing of files.
fn give_way() {
    // Only speed depends on it.
    let _ = rustix::process::nice(NICENESS);
}

/// A panic's message may quote a cell; its place in our sources never does.
fn hide_panic_messages() {
    std::panic::set_hook(Box::new(|panic| {
        let mut stderr = io::stderr();
        let _ = match panic.location() {
            Some(place) => writeln!(stderr, "panicked at {place}"),
            None => writeln!(stderr, "panicked"),
        };
        // The standard library's own words for a stack that could not be mapped.
        let message = panic.payload_as_str().unwrap_or_default();
        if message.starts_with(NO_THREAD) {
            let _ = writeln!(stderr, "{NO_THREAD}");
        }
    }));
}

fn limit_process(limits: &Limits) -> io::Result<()> {
    set_limit(Resource::Core, 0, 0)?;
    set_limit(Resource::Nofile, OPEN_FILES, OPEN_FILES)?;
    let cpu = limits.engine_cpu_seconds;
    set_limit(Resource::Cpu, cpu, cpu.saturating_add(CPU_GRACE_SECONDS))?;
    set_limit(
        Resource::Fsize,
        limits.engine_file_bytes,
        limits.engine_file_bytes,
    )?;
    // Other systems than Linux refuse this one, and there is no production use of them.
    #[cfg(target_os = "linux")]
    set_limit(
        Resource::As,
        limits.engine_memory_bytes,
        limits.engine_memory_bytes,
    )?;
    Ok(())
}

/// Sets a limit, or keeps the one that stands where that is lower already.
fn set_limit(resource: Resource, soft: u64, hard: u64) -> io::Result<()> {
    let standing = rustix::process::getrlimit(resource);
    let hard = standing.maximum.map_or(hard, |max| max.min(hard));
    let limit = Rlimit {
        current: Some(soft.min(hard)),
        maximum: Some(hard),
    };
    Ok(rustix::process::setrlimit(resource, limit)?)
}

/// Standard input as a file that can be read at any place.
fn take_input() -> io::Result<File> {
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    if input.metadata()?.is_file() {
        return Ok(input);
    }
    let mut spooled = tempfile::tempfile_in(".")?;
    io::copy(&mut input, &mut spooled)?;
    spooled.rewind()?;
    Ok(spooled)
}

fn write_result(out: &Path, result: &RunResult) -> io::Result<()> {
    let part = out.join("result.json.part");
    let mut writer = BufWriter::new(File::create(&part)?);
    serde_json::to_writer(&mut writer, result)?;
    writer.into_inner()?;
    std::fs::rename(part, out.join(outputs::RESULT))
}

/// Tells progress on standard output and notices when nobody listens.
struct Reporter {
    last: Mutex<Instant>,
    unread: AtomicBool,
}

impl Reporter {
    fn new() -> Self {
        Self {
            last: Mutex::new(Instant::now()),
            unread: AtomicBool::new(false),
        }
    }

    fn tell(progress: Progress) -> io::Result<()> {
        let mut line = serde_json::to_vec(&progress)?;
        line.push(b'\n');
        let mut stdout = io::stdout().lock();
        stdout.write_all(&line)?;
        stdout.flush()
    }
}

impl Control for Reporter {
    fn progress(&self, progress: Progress) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() < PROGRESS_EVERY {
            return;
        }
        *last = Instant::now();
        if Self::tell(progress).is_err() {
            self.unread.store(true, Ordering::Relaxed);
        }
    }

    fn is_cancelled(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_end_without_a_result_has_its_own_exit_code() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let broken = || io::Error::from(io::ErrorKind::Other);
        let write = |source| {
            Error::Run(task::Error::Write {
                what: "a part",
                source,
            })
        };
        let table = [
            (Error::Request(broken()), exit::REQUEST),
            (Error::Limits(broken()), exit::LIMITS),
            (Error::Input(broken()), exit::READ),
            (Error::Input(full()), exit::NO_SPACE),
            (Error::Run(task::Error::Read(broken())), exit::READ),
            (write(broken()), exit::WRITE),
            (write(full()), exit::NO_SPACE),
            (Error::Result(full()), exit::NO_SPACE),
            (Error::Run(task::Error::Cancelled), exit::CANCELLED),
        ];
        for (error, code) in table {
            assert_eq!(error.exit_code(), code, "{error:?}");
        }
    }

    #[test]
    fn a_result_is_there_in_full_or_not_at_all() {
        let out = tempfile::tempdir().unwrap();
        let result = RunResult {
            failure: None,
            facts: filejobs_core::report::Facts {
                layout: None,
                schema: None,
                schema_inferred: false,
            },
            tally: filejobs_core::report::Tally::default(),
            parts: Vec::new(),
            plan: None,
            processor: serde_json::Value::Null,
        };
        write_result(out.path(), &result).unwrap();
        let names: Vec<_> = std::fs::read_dir(out.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, [outputs::RESULT]);
        let text = std::fs::read(out.path().join(outputs::RESULT)).unwrap();
        assert_eq!(serde_json::from_slice::<RunResult>(&text).unwrap(), result);
    }
}
