//! Rows a second, bytes a second and peak memory of one run over made-up files.
//!
//! `cargo xtask bench engine [-- --case narrow --rows 10000000 --threads 1]`. Findings, rejected rows and
//! Parquet are written, as in a job. Each case runs in a process of its own, so that its peak is its own.
//! For figures of one core, put `taskset -c 0` in front.
#![expect(clippy::print_stdout, reason = "figures are what this program is for")]

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use filejobs_core::{FileType, Limits, Options, TableSchema};
use filejobs_engine::task::{self, Control, Processor, Progress, Request, RunResult, Step};

type Failure = Box<dyn Error>;

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse()?;
    if let (Some(file), Some(case)) = (&arguments.measure, arguments.case) {
        return measure(case, file, arguments.threads);
    }
    println!(
        "case            rows         MB  threads      rows/s     MB/s  peak MiB  failed rows"
    );
    let folder = tempfile::tempdir()?;
    for case in Case::ALL {
        if arguments.case.is_some_and(|only| only != case) {
            continue;
        }
        let file = folder.path().join(format!("{case:?}.csv"));
        case.write(&file, arguments.rows.unwrap_or(case.rows()))?;
        let mut thread_counts = vec![1, 2];
        if arguments.threads > 0 {
            thread_counts = vec![arguments.threads];
        }
        for threads in thread_counts {
            let status = Command::new(std::env::current_exe()?)
                .args(["--case", case.name(), "--threads", &threads.to_string()])
                .arg("--measure")
                .arg(&file)
                .status()?;
            if !status.success() {
                return Err("a measured run failed".into());
            }
        }
        std::fs::remove_file(&file)?;
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Arguments {
    case: Option<Case>,
    rows: Option<u64>,
    /// 0 for one and two.
    threads: u32,
    /// Set in the process of one run: its file.
    measure: Option<PathBuf>,
}

impl Arguments {
    fn parse() -> Result<Self, Failure> {
        let mut arguments = Self::default();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                // What `cargo bench` says to every benchmark.
                "--bench" => {}
                "--case" => {
                    let name = value()?;
                    let case = Case::ALL.into_iter().find(|case| case.name() == name);
                    arguments.case =
                        Some(case.ok_or("cases: narrow, wide, quoted, inferred, unique")?);
                }
                "--rows" => arguments.rows = Some(value()?.parse()?),
                "--threads" => arguments.threads = value()?.parse()?,
                "--measure" => arguments.measure = Some(value()?.into()),
                _ => return Err(format!("{word} is not known").into()),
            }
        }
        Ok(arguments)
    }
}

/// A made-up file and how it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    /// id, name, value; every twentieth row is bad.
    Narrow,
    /// Twenty columns of all types; one bad cell in a hundred rows.
    Wide,
    /// Quoted text with line ends and doubled quotes.
    Quoted,
    /// The narrow file without a schema.
    Inferred,
    /// The narrow file with a unique id.
    Unique,
}

impl Case {
    const ALL: [Self; 5] = [
        Self::Narrow,
        Self::Wide,
        Self::Quoted,
        Self::Inferred,
        Self::Unique,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Narrow => "narrow",
            Self::Wide => "wide",
            Self::Quoted => "quoted",
            Self::Inferred => "inferred",
            Self::Unique => "unique",
        }
    }

    fn rows(self) -> u64 {
        match self {
            Self::Narrow => 10_000_000,
            Self::Wide => 1_000_000,
            Self::Quoted | Self::Inferred | Self::Unique => 2_000_000,
        }
    }

    fn schema(self) -> Option<&'static str> {
        match self {
            Self::Inferred => None,
            Self::Narrow => Some(
                r#"{"fields": [
                {"name": "id", "type": "integer", "constraints": {"required": true}},
                {"name": "name", "type": "string", "constraints": {"required": true}},
                {"name": "value", "type": "number", "constraints": {"required": true}}]}"#,
            ),
            Self::Unique => Some(
                r#"{"fields": [
                {"name": "id", "type": "integer", "constraints": {"required": true, "unique": true}},
                {"name": "name", "type": "string", "constraints": {"required": true}},
                {"name": "value", "type": "number", "constraints": {"required": true}}]}"#,
            ),
            Self::Wide => Some(
                r#"{"fields": [
                {"name": "c0", "type": "integer"}, {"name": "c1", "type": "string"}, {"name": "c2", "type": "number"},
                {"name": "c3", "type": "boolean"}, {"name": "c4", "type": "date"}, {"name": "c5", "type": "integer"},
                {"name": "c6", "type": "string"}, {"name": "c7", "type": "number"}, {"name": "c8", "type": "boolean"},
                {"name": "c9", "type": "date"}, {"name": "c10", "type": "integer"}, {"name": "c11", "type": "string"},
                {"name": "c12", "type": "number"}, {"name": "c13", "type": "boolean"}, {"name": "c14", "type": "date"},
                {"name": "c15", "type": "integer"}, {"name": "c16", "type": "string"}, {"name": "c17", "type": "number"},
                {"name": "c18", "type": "boolean"}, {"name": "c19", "type": "datetime"}]}"#,
            ),
            Self::Quoted => Some(
                r#"{"fields": [
                {"name": "id", "type": "integer"}, {"name": "title", "type": "string"},
                {"name": "text", "type": "string"}, {"name": "value", "type": "number"}]}"#,
            ),
        }
    }

    fn write(self, path: &Path, rows: u64) -> Result<(), Failure> {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
        let mut dice = Dice(42);
        match self {
            Self::Narrow | Self::Inferred | Self::Unique => {
                writeln!(out, "id,name,value")?;
                for id in 1..=rows {
                    let name = NAMES[dice.below(NAMES.len() as u64) as usize];
                    let value = dice.below(1_000_000);
                    if dice.below(20) > 0 {
                        writeln!(out, "{id},{name},{}.{:02}", value / 100, value % 100)?;
                    } else {
                        match dice.below(3) {
                            0 => writeln!(out, "{id},{name},n/a")?,
                            1 => writeln!(out, "{id}x,{name},{value}")?,
                            _ => writeln!(out, "{id},,{value}")?,
                        }
                    }
                }
            }
            Self::Wide => {
                let labels: Vec<String> = (0..20).map(|i| format!("c{i}")).collect();
                writeln!(out, "{}", labels.join(","))?;
                for row in 0..rows {
                    for column in 0..20 {
                        let cell = dice.below(1_000_000);
                        match column % 5 {
                            0 if column == 5 && row % 100 == 7 => write!(out, "{cell}-")?,
                            0 => write!(out, "{cell}")?,
                            1 => write!(out, "{}", NAMES[cell as usize % NAMES.len()])?,
                            2 => write!(out, "{}.{}", cell, cell % 97)?,
                            3 => write!(out, "{}", cell.is_multiple_of(2))?,
                            _ => write!(
                                out,
                                "20{:02}-{:02}-{:02}",
                                cell % 25,
                                cell % 12 + 1,
                                cell % 28 + 1
                            )?,
                        }
                        let end: &[u8] = match column {
                            19 => b"T12:30:00Z\n",
                            _ => b",",
                        };
                        out.write_all(end)?;
                    }
                }
            }
            Self::Quoted => {
                writeln!(out, "id,title,text,value")?;
                for id in 0..rows {
                    let name = NAMES[dice.below(NAMES.len() as u64) as usize];
                    let cell = dice.below(1_000_000);
                    writeln!(
                        out,
                        "{id},\"{name}, {cell}\",\"first line of {id}\nsaid \"\"{name}\"\" and went on\",{}",
                        if cell.is_multiple_of(20) {
                            "none"
                        } else {
                            "12.5"
                        }
                    )?;
                }
            }
        }
        out.flush()?;
        Ok(())
    }
}

const NAMES: [&str; 12] = [
    "Ada", "Grace", "Linus", "Barbara", "Edsger", "Donald", "Margaret", "Ken", "Frances", "Alan",
    "Zoë", "Anders",
];

/// The `SplitMix64` generator: the same file on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// Runs the engine over one file and prints one line.
fn measure(case: Case, file: &Path, threads: u32) -> Result<(), Failure> {
    let limits = Limits::default();
    let schema = match case.schema() {
        Some(text) => Some(
            TableSchema::from_json(text, &limits).map_err(|problems| format!("{problems:?}"))?,
        ),
        None => None,
    };
    let request = Request {
        file_type: FileType::Csv,
        options: Options::default(),
        schema,
        step: Step::Whole,
        processor: Processor::default(),
        limits,
        threads,
    };
    let out = tempfile::tempdir_in(file.parent().unwrap_or(Path::new(".")))?;
    let input = File::open(file)?;
    let bytes = input.metadata()?.len() as f64;
    let began = Instant::now();
    let RunResult { failure, tally, .. } = task::run(&request, input, out.path(), &Unwatched)?;
    let seconds = began.elapsed().as_secs_f64();
    if let Some(failure) = failure {
        return Err(failure.message.into());
    }
    println!(
        "{:<8} {:>11} {:>10.1} {threads:>8} {:>11.0} {:>8.0} {:>9} {:>12}",
        case.name(),
        tally.rows_processed,
        bytes / 1e6,
        tally.rows_processed as f64 / seconds,
        bytes / 1e6 / seconds,
        peak_mib()?,
        tally.rows_failed,
    );
    Ok(())
}

/// The most memory that this process has held.
fn peak_mib() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kib
        .ok_or("the system does not tell peak memory")?
        .parse::<u64>()?
        / 1024)
}

struct Unwatched;

impl Control for Unwatched {
    fn progress(&self, _: Progress) {}

    fn is_cancelled(&self) -> bool {
        false
    }
}
