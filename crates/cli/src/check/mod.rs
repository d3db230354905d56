//! `check`: the engine over one file, with no service. The file is read in a child process under the same limits as
//! the service's, so that a hostile one can do no more here than there.

mod files;
mod show;

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use filejobs_core::failure::FailureClass;
use filejobs_core::file::SNIFF_BYTES;
use filejobs_core::report::{Facts, Report, ReportFile, Tally};
use filejobs_core::{Content, FileName, FileType, JobState, Limits, Sources, TableSchema};
use filejobs_engine::child;
use filejobs_engine::task::{Processor, Request, RunResult, Step};
use filejobs_worker::{Ending, EngineCommand};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::{Exit, Outcome, Stop};
use crate::options::FileOptions;
use crate::terminal::{self, Progress, counted};

/// Check a file without any service: a table of what is wrong with it
#[derive(Debug, Clone, Args)]
pub(crate) struct Check {
    /// A CSV, XLSX, XLS, XLSB or ODS file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Write report.json, findings.ndjson, rejected.csv and valid-00001.parquet … into this folder
    #[arg(long, short, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Print the report as JSON, the first findings in it
    #[arg(long)]
    json: bool,

    /// Findings to show
    #[arg(long, default_value_t = 20, value_name = "N")]
    show: usize,

    /// Cores to use; all of them when absent
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    threads: Option<u32>,

    #[command(flatten)]
    options: FileOptions,
}

/// What a run found, and where its outputs lie.
struct Checked<'a> {
    report: Report,
    parts: Vec<String>,
    /// The engine's outputs, in the scratch folder.
    outputs: PathBuf,
    show: usize,
    file: &'a Path,
    /// When the findings were made.
    now: Timestamp,
}

impl Check {
    pub(crate) async fn run(&self) -> Outcome {
        let limits = Limits::default();
        let request = self.request(&limits)?;
        let (input, name, file_type) = match self.open(&limits)? {
            Ok(opened) => opened,
            Err(refusal) => {
                terminal::note(format_args!("error: {refusal}"));
                return Ok(Exit::Failed);
            }
        };
        let request = Request {
            file_type,
            ..request
        };
        // Listened for from here on: a Ctrl-C before the child has started would leave the folder behind.
        let interrupt = signal(SignalKind::interrupt())?;
        // The scratch folder stands where the outputs go, so that they move there by renaming.
        let scratch = match &self.out {
            Some(out) => {
                let unwritable = || format!("{} cannot be written", out.display());
                std::fs::create_dir_all(out).with_context(unwritable)?;
                tempfile::Builder::new()
                    .prefix(".filejobs-")
                    .tempdir_in(out)
                    .with_context(unwritable)?
            }
            None => tempfile::tempdir().context("no temporary folder can be made")?,
        };
        let Some(ending) = self
            .follow(&request, &input, scratch.path(), interrupt)
            .await?
        else {
            return Ok(Exit::Cancelled);
        };
        let (result, failure) = match ending {
            Ending::Result(result) => {
                let failure = result.failure.clone();
                (*result, failure)
            }
            Ending::Final(failure) | Ending::Again(failure) => {
                if failure.class() == FailureClass::Infrastructure {
                    let where_to = scratch.path().display();
                    return Err(
                        anyhow::anyhow!("{}; its folder is {where_to}", failure.message).into(),
                    );
                }
                (no_result(), Some(failure))
            }
        };
        let about = self.about(input, &name)?;
        let report = Report::new(
            about,
            &result.facts,
            &result.tally,
            limits.findings_per_job,
            failure.as_ref(),
        );
        let checked = Checked {
            parts: result.parts.into_iter().map(|part| part.name).collect(),
            outputs: scratch.path().join(child::OUT),
            show: self.show,
            file: &self.file,
            now: Sources::system().now(),
            report,
        };
        if let Some(out) = &self.out {
            files::write(&checked, out)?;
        }
        if self.json {
            show::json(&checked)?;
        } else {
            show::table(&checked)?;
        }
        let clean =
            checked.report.status == JobState::Completed && checked.report.errors_total == 0;
        Ok(if clean { Exit::Clean } else { Exit::Failed })
    }

    fn request(&self, limits: &Limits) -> Outcome<Request> {
        let options = self
            .options
            .options()
            .map_err(|problems| Stop::usage(&problems))?;
        let schema = match self.options.schema_text()? {
            None => None,
            Some(text) => Some(TableSchema::from_json(&text, limits).map_err(|problems| {
                let problems: Vec<_> = problems.iter().map(|p| format!("--schema: {p}")).collect();
                Stop::usage(&problems)
            })?),
        };
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
        Ok(Request {
            file_type: FileType::Csv,
            options,
            schema,
            step: Step::Whole,
            processor: Processor::default(),
            limits: limits.clone(),
            threads: self.threads.unwrap_or(cores),
        })
    }

    /// Opens the file, or says why it is not one that we read: its name and its content must both fit.
    fn open(&self, limits: &Limits) -> anyhow::Result<Result<(File, FileName, FileType), String>> {
        let unreadable = || format!("{} cannot be read", self.file.display());
        let mut file = File::open(&self.file).with_context(unreadable)?;
        anyhow::ensure!(
            file.metadata().with_context(unreadable)?.is_file(),
            "{} is no regular file",
            self.file.display()
        );
        let mut head = Vec::with_capacity(SNIFF_BYTES);
        (&mut file)
            .take(SNIFF_BYTES as u64)
            .read_to_end(&mut head)
            .with_context(unreadable)?;
        file.rewind().with_context(unreadable)?;
        let raw_name = self.file.file_name().unwrap_or_default().to_string_lossy();
        let name = FileName::new(&raw_name, limits.file_name_chars as usize);
        let taken =
            "take a .csv, .xlsx, .xls, .xlsb or .ods file with the content that its name says";
        let content = Content::sniff(&head);
        Ok(match FileType::from_name(name.as_str()) {
            None => Err(format!(
                "{name} has none of the extensions that are read; {taken}"
            )),
            Some(kind) if !kind.fits(content) => Err(format!(
                "{name} is called .{}, but it holds {content}; {taken}",
                kind.as_str()
            )),
            Some(kind) => Ok((file, name, kind)),
        })
    }

    /// Runs the engine; `None` when Ctrl-C ended it.
    async fn follow(
        &self,
        request: &Request,
        input: &File,
        scratch: &Path,
        mut interrupt: Signal,
    ) -> Outcome<Option<Ending>> {
        let size = input.metadata()?.len();
        let bar = Progress::bytes(size, "checking", self.json);
        let interrupted = async move {
            if interrupt.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
        };
        let engine = EngineCommand::current().context("this program cannot be found")?;
        let run = filejobs_worker::run_once(
            &engine,
            scratch,
            request,
            input.try_clone()?,
            |progress| bar.at(progress.bytes),
            interrupted,
        );
        let ending = run.await.context("the parser could not be started")?;
        bar.finish();
        Ok(ending)
    }

    fn about(&self, mut input: File, name: &FileName) -> anyhow::Result<ReportFile> {
        let unreadable = || format!("{} cannot be read", self.file.display());
        input.rewind().with_context(unreadable)?;
        let (mut hash, mut bytes) = (Sha256::new(), 0);
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match input.read(&mut buffer).with_context(unreadable)? {
                0 => break,
                n => {
                    hash.update(&buffer[..n]);
                    bytes += n as u64;
                }
            }
        }
        let mut sha256 = String::with_capacity(64);
        for byte in hash.finalize() {
            // Writing to a `String` cannot fail.
            let _ = write!(sha256, "{byte:02x}");
        }
        Ok(ReportFile {
            name: name.as_str().to_owned(),
            bytes,
            sha256,
        })
    }
}

/// What is known of a file whose parser left nothing.
fn no_result() -> RunResult {
    RunResult {
        failure: None,
        facts: Facts {
            layout: None,
            schema: None,
            schema_inferred: false,
        },
        tally: Tally::default(),
        parts: Vec::new(),
        plan: None,
        processor: serde_json::Value::Null,
    }
}

impl Checked<'_> {
    /// The verdict in one line.
    fn verdict(&self) -> String {
        let report = &self.report;
        let file = terminal::shown(&self.file.display().to_string(), 200);
        if let (Some(class), Some(message)) = (report.failure_class, &report.error_message) {
            let message = terminal::shown(message, 1_000);
            return format!("{file}: failed ({}): {message}", class.as_str());
        }
        let rows = counted(report.rows_processed, "row");
        if report.errors_total == 0 {
            return format!("{file}: {rows}, all valid");
        }
        format!(
            "{file}: {rows}: {} valid, {} rejected, {}",
            terminal::count(report.rows_valid),
            terminal::count(report.rows_failed),
            counted(report.errors_total, "finding"),
        )
    }
}
