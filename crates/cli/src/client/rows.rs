//! `errors` and `results`: what became of a job's rows.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use comfy_table::Cell;
use reqwest::Response;
use serde_json::Value;
use tempfile::NamedTempFile;

use super::Server;
use super::api::Api;
use super::job::{FINDINGS_HEADER, findings_row};
use super::list::page_line;
use crate::exit::{Exit, Outcome, Stop};
use crate::terminal::{self, counted, shown};

/// What is told of an answer that ends too early.
const BROKE_OFF: &str = "the answer broke off";

/// Show a job's findings in the order of its rows
#[derive(Debug, Clone, Args)]
pub(crate) struct Errors {
    /// The job
    #[arg(value_name = "JOB")]
    job: String,

    /// Only findings with this code, such as `type-error`
    #[arg(long, value_name = "CODE")]
    code: Option<String>,

    /// Only findings in this column
    #[arg(long, value_name = "NAME")]
    column: Option<String>,

    /// Which page, from 1
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    page: u64,

    /// Findings on a page
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=500))]
    page_size: u64,

    /// All findings as CSV
    #[arg(long, conflicts_with_all = ["json", "page", "page_size"])]
    csv: bool,

    /// All rejected rows as CSV, as they came, with their reasons
    #[arg(long, conflicts_with_all = ["json", "page", "page_size", "csv", "code", "column"])]
    rejected: bool,

    /// With --csv and --rejected: write to this file
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,

    #[command(flatten)]
    server: Server,
}

/// Fetch a job's valid rows
#[derive(Debug, Clone, Args)]
pub(crate) struct Results {
    /// The job
    #[arg(value_name = "JOB")]
    job: String,

    /// `table` and `json` show a part, `csv` and `parquet` hold all rows [default: table, or as the name of --out
    /// ends]
    #[arg(long, value_enum, value_name = "FORMAT", conflicts_with = "json")]
    format: Option<Format>,

    /// Most rows to show
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: u64,

    /// Valid rows to skip
    #[arg(long, default_value_t = 0, value_name = "N")]
    offset: u64,

    /// With csv and parquet: write to this file
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,

    #[command(flatten)]
    server: Server,
}

/// How rows are shown or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// The service's answer.
    Json,
    /// All rows as CSV.
    Csv,
    /// All rows as Parquet, with their types.
    Parquet,
}

impl Errors {
    pub(crate) async fn run(&self) -> Outcome {
        if self.out.is_some() && !self.csv && !self.rejected {
            let problem = "--out: say what to write with --csv or --rejected";
            return Err(Stop::usage(&[problem.to_owned()]));
        }
        let api = self.server.api()?;
        if self.rejected {
            let path = ["api", "jobs", &self.job, "rejected.csv"];
            return save(&api, &path, &[], "text/csv", self.out.as_deref()).await;
        }
        let given = [("code", self.code.clone()), ("column", self.column.clone())];
        let mut query: Vec<_> = given
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect();
        let path = ["api", "jobs", &self.job, "errors"];
        if self.csv {
            return save(&api, &path, &query, "text/csv", self.out.as_deref()).await;
        }
        query.push(("page", self.page.to_string()));
        query.push(("page_size", self.page_size.to_string()));
        let answer = api.get(&path, &query).await?;
        if self.server.json {
            terminal::json(&answer)?;
            return Ok(Exit::Clean);
        }
        let findings = answer
            .get("errors")
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        if !findings.is_empty() {
            let mut table = terminal::table(&FINDINGS_HEADER);
            table.add_rows(findings.iter().map(findings_row));
            terminal::print(&table)?;
        }
        terminal::line(page_line(&answer, "finding"))?;
        Ok(Exit::Clean)
    }
}

impl Results {
    pub(crate) async fn run(&self) -> Outcome {
        let format = self.format()?;
        let api = self.server.api()?;
        let path = ["api", "jobs", &self.job, "results"];
        let accept = match format {
            Format::Csv => "text/csv",
            Format::Parquet => "application/vnd.apache.parquet",
            Format::Table | Format::Json => {
                let query = [
                    ("limit", self.limit.to_string()),
                    ("offset", self.offset.to_string()),
                ];
                let answer = api.get(&path, &query).await?;
                if format == Format::Json {
                    terminal::json(&answer)?;
                } else {
                    show_rows(&answer)?;
                }
                return Ok(Exit::Clean);
            }
        };
        save(&api, &path, &[], accept, self.out.as_deref()).await
    }

    /// The format that was asked for, or that the name of the file tells; a file takes only those that hold all rows.
    fn format(&self) -> Result<Format, Stop> {
        let by_name = || {
            let extension = self.out.as_deref()?.extension()?.to_str()?;
            Format::from_str(extension, true).ok()
        };
        let format = if self.server.json {
            Format::Json
        } else {
            self.format.or_else(by_name).unwrap_or(Format::Table)
        };
        if self.out.is_some() && matches!(format, Format::Table | Format::Json) {
            let problem = "--out: --format csv and --format parquet are written to files";
            return Err(Stop::usage(&[problem.to_owned()]));
        }
        let is_terminal = io::IsTerminal::is_terminal(&io::stdout());
        if format == Format::Parquet && self.out.is_none() && is_terminal {
            let problem =
                "--format parquet: say where to with --out FILE, it is nothing for a terminal";
            return Err(Stop::usage(&[problem.to_owned()]));
        }
        Ok(format)
    }
}

/// Shows rows as a table: the columns are those of the first row, which has them all.
fn show_rows(answer: &Value) -> io::Result<()> {
    let items = answer
        .get("items")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    let data = |item: &Value| item.get("data").and_then(Value::as_object).cloned();
    let names: Vec<String> = items
        .first()
        .and_then(data)
        .map(|d| d.keys().cloned().collect())
        .unwrap_or_default();
    if !items.is_empty() {
        let heads: Vec<String> = std::iter::once("row".to_owned())
            .chain(names.iter().map(|n| shown(n, 32)))
            .collect();
        let mut table = terminal::table(&heads.iter().map(String::as_str).collect::<Vec<_>>());
        for item in items {
            let row = item.get("row_number").and_then(Value::as_u64).unwrap_or(0);
            let data = data(item).unwrap_or_default();
            let cells = names.iter().map(|name| cell(data.get(name)));
            table.add_row(
                std::iter::once(terminal::number(row))
                    .chain(cells)
                    .collect::<Vec<_>>(),
            );
        }
        terminal::print(&table)?;
    }
    let total = answer.get("total").and_then(Value::as_u64).unwrap_or(0);
    terminal::line(format!(
        "{}; {} shown",
        counted(total, "valid row"),
        items.len()
    ))
}

fn cell(value: Option<&Value>) -> Cell {
    match value {
        None | Some(Value::Null) => Cell::new(""),
        Some(Value::String(text)) => Cell::new(shown(text, 60)),
        Some(Value::Number(n)) => Cell::new(n).set_alignment(comfy_table::CellAlignment::Right),
        Some(other) => Cell::new(shown(&other.to_string(), 60)),
    }
}

/// Writes an answer's body to a file or to standard output.
async fn save(
    api: &Api,
    path: &[&str],
    query: &[(&str, String)],
    accept: &'static str,
    out: Option<&Path>,
) -> Outcome {
    let response = api.open(path, query, accept).await?;
    if let Some(out) = out {
        let bytes = write(response, out).await?;
        terminal::note(format_args!("{}: {}", out.display(), terminal::size(bytes)));
    } else {
        print(response).await?;
    }
    Ok(Exit::Clean)
}

/// Writes to standard output for as long as somebody reads it.
async fn print(mut response: Response) -> anyhow::Result<()> {
    let mut output = terminal::Output::new();
    while let Some(chunk) = response.chunk().await.context(BROKE_OFF)? {
        if !output.print(&chunk)? {
            return Ok(());
        }
    }
    output.end()?;
    Ok(())
}

/// Writes to a file, which appears only when it is whole, or into what stands there and is none, such as a pipe.
async fn write(response: Response, out: &Path) -> anyhow::Result<u64> {
    let unwritable = || format!("{} cannot be written", out.display());
    let Some((file, rights)) = replaceable(out).with_context(unwritable)? else {
        let mut there = File::create(out).with_context(unwritable)?;
        return copy(response, &mut there).await;
    };
    let folder = file
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut part = part_in(folder, rights).with_context(unwritable)?;
    let bytes = copy(response, part.as_file_mut()).await?;
    part.persist(&file).with_context(unwritable)?;
    Ok(bytes)
}

/// The file that is to be made, or replaced with its rights kept, behind all links; `None` for devices and pipes, and
/// for links to nothing.
fn replaceable(out: &Path) -> io::Result<Option<(PathBuf, Option<Permissions>)>> {
    match std::fs::metadata(out) {
        Ok(about) if about.is_file() => Ok(Some((out.canonicalize()?, Some(about.permissions())))),
        Ok(_) => Ok(None),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Err(_) if out.is_symlink() => Ok(None),
        Err(_) => Ok(Some((out.to_owned(), None))),
    }
}

/// A file that has no name yet, with these rights or with those of every new file.
fn part_in(folder: &Path, rights: Option<Permissions>) -> io::Result<NamedTempFile> {
    let Some(rights) = rights else {
        return tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder);
    };
    let part = NamedTempFile::new_in(folder)?;
    part.as_file().set_permissions(rights)?;
    Ok(part)
}

async fn copy(mut response: Response, out: &mut impl io::Write) -> anyhow::Result<u64> {
    let mut bytes = 0;
    while let Some(chunk) = response.chunk().await.context(BROKE_OFF)? {
        out.write_all(&chunk)?;
        bytes += chunk.len() as u64;
    }
    out.flush()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        results: Results,
    }

    #[test]
    fn the_name_of_a_file_tells_its_format() {
        let format = |words: &str| {
            let words = format!("results j {words}");
            let line = Line::try_parse_from(words.split_whitespace()).unwrap();
            line.results.format().map_err(|stop| stop.exit)
        };
        assert_eq!(format(""), Ok(Format::Table));
        assert_eq!(format("--out a.csv"), Ok(Format::Csv));
        assert_eq!(format("--out a.PARQUET"), Ok(Format::Parquet));
        assert_eq!(format("--out a.txt --format csv"), Ok(Format::Csv));
        for unwritten in ["--out a", "--out a.json", "--out a.csv --json"] {
            assert_eq!(format(unwritten), Err(Exit::Usage), "{unwritten}");
        }
    }

    async fn write_rows(out: &Path) {
        let answer = axum::http::Response::new("a,b\n");
        assert_eq!(write(answer.into(), out).await.unwrap(), 4);
    }

    fn rights(file: &Path) -> u32 {
        std::fs::metadata(file).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn a_new_file_has_the_rights_of_every_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let (usual, out) = (folder.path().join("usual"), folder.path().join("out.csv"));
        std::fs::write(&usual, "").unwrap();
        write_rows(&out).await;
        assert_eq!(rights(&out), rights(&usual));
    }

    #[tokio::test]
    async fn the_file_behind_a_link_is_replaced_and_keeps_its_rights() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::fs::write(&file, "before").unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_rows(&link).await;
        assert!(link.is_symlink());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "a,b\n");
        assert_eq!(rights(&file), 0o640);
    }

    #[tokio::test]
    async fn a_pipe_is_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let mut made = std::process::Command::new("mkfifo");
        assert!(made.arg(&pipe).status().unwrap().success());
        let reader = pipe.clone();
        let read = std::thread::spawn(move || std::fs::read_to_string(reader).unwrap());
        write_rows(&pipe).await;
        assert_eq!(read.join().unwrap(), "a,b\n");
    }
}
