//! A workbook through the engine, against the spreadsheet library's bare cell reader.
//!
//! `cargo xtask bench workbook [-- --rows 200000 --threads 1]`. The engine checks the archive, types and
//! checks every cell and writes findings and Parquet; the library only hands out cells. Each run has a
//! process of its own, so that its peak is its own; of five runs the fastest counts.
#![expect(clippy::print_stdout, reason = "figures are what this program is for")]

use std::error::Error;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use calamine::{DataRef, Reader, Xlsx};
use filejobs_core::{FileType, Limits, Options, TableSchema};
use filejobs_engine::task::{self, Control, Processor, Progress, Request, Step};
use rust_xlsxwriter::{ExcelDateTime, Format, Workbook};

type Failure = Box<dyn Error>;

const RUNS: usize = 5;
const SCHEMA: &str = r#"{"fields": [
    {"name": "id", "type": "integer", "constraints": {"required": true}},
    {"name": "name", "type": "string", "constraints": {"required": true}},
    {"name": "value", "type": "number", "constraints": {"required": true}},
    {"name": "day", "type": "date"},
    {"name": "ok", "type": "boolean"}]}"#;

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse()?;
    if let Some((way, file)) = &arguments.measure {
        return measure(*way, file, arguments.threads.max(1));
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("bench.xlsx");
    write(&file, arguments.rows)?;
    println!(
        "{} rows, {:.1} MB\nway      threads  seconds  times the library  peak MiB",
        arguments.rows,
        file.metadata()?.len() as f64 / 1e6
    );
    let library = fastest(Way::Library, &file, 1)?;
    println!(
        "library  {:>7}  {:>7.3}  {:>17.2}  {:>8}",
        1, library.0, 1.0, library.1
    );
    let mut thread_counts = vec![1, 2];
    if arguments.threads > 0 {
        thread_counts = vec![arguments.threads];
    }
    for threads in thread_counts {
        let (seconds, peak) = fastest(Way::Engine, &file, threads)?;
        let ratio = seconds / library.0;
        println!("engine   {threads:>7}  {seconds:>7.3}  {ratio:>17.2}  {peak:>8}");
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Library,
    Engine,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Library => "library",
            Self::Engine => "engine",
        }
    }
}

#[derive(Debug)]
struct Arguments {
    rows: u32,
    /// 0 for one and two.
    threads: u32,
    /// Set in the process of one run: how, and its file.
    measure: Option<(Way, PathBuf)>,
}

impl Arguments {
    fn parse() -> Result<Self, Failure> {
        let mut arguments = Self {
            rows: 200_000,
            threads: 0,
            measure: None,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                // What `cargo bench` says to every benchmark.
                "--bench" => {}
                "--rows" => arguments.rows = value()?.parse()?,
                "--threads" => arguments.threads = value()?.parse()?,
                "--library" => arguments.measure = Some((Way::Library, value()?.into())),
                "--engine" => arguments.measure = Some((Way::Engine, value()?.into())),
                _ => return Err(format!("{word} is not known").into()),
            }
        }
        Ok(arguments)
    }
}

/// Five columns of five kinds; every twentieth row is bad.
fn write(path: &Path, rows: u32) -> Result<(), Failure> {
    let mut workbook = Workbook::new();
    let sheet = workbook.add_worksheet();
    let date = Format::new().set_num_format("yyyy-mm-dd");
    sheet.write_row(0, 0, ["id", "name", "value", "day", "ok"])?;
    for row in 1..=rows {
        sheet.write(row, 0, row)?;
        sheet.write(row, 1, format!("name {}", row % 50_000))?;
        if row % 20 == 0 {
            sheet.write(row, 2, "n/a")?;
        } else {
            sheet.write(row, 2, f64::from(row) / 8.0)?;
        }
        let day = ExcelDateTime::from_serial_datetime(f64::from(40_000 + row % 5_000))?;
        sheet.write_with_format(row, 3, &day, &date)?;
        sheet.write(row, 4, row % 3 == 0)?;
    }
    workbook.save(path)?;
    Ok(())
}

/// Seconds and peak MiB of the fastest run.
fn fastest(way: Way, file: &Path, threads: u32) -> Result<(f64, u64), Failure> {
    let mut best = (f64::INFINITY, 0);
    for _ in 0..RUNS {
        let run = Command::new(std::env::current_exe()?)
            .arg("--threads")
            .arg(threads.to_string())
            .arg(format!("--{}", way.name()))
            .arg(file)
            .output()?;
        let text = String::from_utf8(run.stdout)?;
        let (seconds, peak) = text.trim().split_once(' ').ok_or("a measured run failed")?;
        let seconds: f64 = seconds.parse()?;
        if seconds < best.0 {
            best = (seconds, peak.parse()?);
        }
    }
    Ok(best)
}

fn measure(way: Way, file: &Path, threads: u32) -> Result<(), Failure> {
    let began = Instant::now();
    let cells = match way {
        Way::Library => library(file)?,
        Way::Engine => engine(file, threads)?,
    };
    let seconds = began.elapsed().as_secs_f64();
    if cells == 0 {
        return Err("nothing was read".into());
    }
    println!("{seconds} {}", peak_mib()?);
    Ok(())
}

fn library(file: &Path) -> Result<u64, Failure> {
    let mut workbook: Xlsx<_> = Reader::new(BufReader::new(File::open(file)?))?;
    let name = workbook.sheet_names().first().cloned().ok_or("no sheet")?;
    let mut reader = workbook.worksheet_cells_reader(&name)?;
    let mut cells = 0;
    while let Some(cell) = reader.next_cell()? {
        cells += u64::from(!matches!(cell.get_value(), DataRef::Empty));
    }
    Ok(cells)
}

fn engine(file: &Path, threads: u32) -> Result<u64, Failure> {
    let limits = Limits::default();
    let schema = TableSchema::from_json(SCHEMA, &limits).map_err(|p| format!("{p:?}"))?;
    let request = Request {
        file_type: FileType::Xlsx,
        options: Options::default(),
        schema: Some(schema),
        step: Step::Whole,
        processor: Processor::default(),
        limits,
        threads,
    };
    let out = tempfile::tempdir_in(file.parent().unwrap_or(Path::new(".")))?;
    let result = task::run(&request, File::open(file)?, out.path(), &Unwatched)?;
    if let Some(failure) = result.failure {
        return Err(failure.message.into());
    }
    Ok(result.tally.rows_processed)
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
