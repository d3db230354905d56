//! `errors` and `results`: what became of a job's rows.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use comfy_table::Cell;
use reqwest::Response;
use serde_json::Value;

use super::Server;
use super::api::Api;
use super::job::{FINDINGS_HEADER, findings_row};
use super::list::page_line;
use crate::exit::{Exit, Outcome, Stop};
use crate::terminal::{self, counted, shown};

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

    /// `table` and `json` show a part, `csv` and `parquet` hold all rows
    #[arg(
        long,
        value_enum,
        default_value = "table",
        value_name = "FORMAT",
        conflicts_with = "json"
    )]
    format: Format,

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
        let api = self.server.api()?;
        let path = ["api", "jobs", &self.job, "results"];
        let accept = match self.format {
            Format::Csv => "text/csv",
            Format::Parquet => "application/vnd.apache.parquet",
            Format::Table | Format::Json => {
                let query = [
                    ("limit", self.limit.to_string()),
                    ("offset", self.offset.to_string()),
                ];
                let answer = api.get(&path, &query).await?;
                if self.server.json || self.format == Format::Json {
                    terminal::json(&answer)?;
                } else {
                    show_rows(&answer)?;
                }
                return Ok(Exit::Clean);
            }
        };
        let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
        if self.format == Format::Parquet && self.out.is_none() && is_terminal {
            let problem =
                "--format parquet: say where to with --out FILE, it is nothing for a terminal";
            return Err(Stop::usage(&[problem.to_owned()]));
        }
        save(&api, &path, &[], accept, self.out.as_deref()).await
    }
}

/// Shows rows as a table: the columns are those of the first row, which has them all.
fn show_rows(answer: &Value) -> std::io::Result<()> {
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

/// Writes an answer's body to a file, which appears only when it is whole, or to standard output.
async fn save(
    api: &Api,
    path: &[&str],
    query: &[(&str, String)],
    accept: &str,
    out: Option<&Path>,
) -> Outcome {
    let response = api
        .open(path, query, &[("accept", accept.to_owned())])
        .await?;
    let Some(out) = out else {
        copy(response, &mut std::io::stdout().lock()).await?;
        return Ok(Exit::Clean);
    };
    let unwritable = || format!("{} cannot be written", out.display());
    let folder = out
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut part = tempfile::NamedTempFile::new_in(folder).with_context(unwritable)?;
    let bytes = copy(response, part.as_file_mut()).await?;
    part.persist(out).with_context(unwritable)?;
    eprintln!("{}: {}", out.display(), terminal::size(bytes));
    Ok(Exit::Clean)
}

async fn copy(mut response: Response, out: &mut impl std::io::Write) -> anyhow::Result<u64> {
    let mut bytes = 0;
    while let Some(chunk) = response.chunk().await.context("the answer broke off")? {
        out.write_all(&chunk)?;
        bytes += chunk.len() as u64;
    }
    out.flush()?;
    Ok(bytes)
}
