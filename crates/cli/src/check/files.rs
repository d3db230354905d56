//! What `check --out` leaves behind.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;

use anyhow::Context as _;
use filejobs_core::Finding;
use filejobs_engine::task::outputs;
use jiff::Timestamp;
use serde::Serialize;

use super::Checked;

/// Name of the report.
const REPORT: &str = "report.json";

/// A finding as the service's `/errors` shows it.
#[derive(Debug, Serialize)]
pub(super) struct ErrorObject<'a> {
    id: String,
    row_number: u64,
    line: u64,
    byte_offset: Option<u64>,
    column_name: Option<&'a str>,
    column_number: Option<u32>,
    cell: Option<&'a str>,
    error_type: &'static str,
    error_message: &'a str,
    raw_value: Option<&'a str>,
    created_at: Timestamp,
}

impl<'a> ErrorObject<'a> {
    pub(super) fn new(finding: &'a Finding, created_at: Timestamp) -> Self {
        Self {
            id: finding.id(),
            row_number: finding.row_number,
            line: finding.line,
            byte_offset: finding.byte_offset,
            column_name: finding.column_name.as_deref(),
            column_number: finding.column_number,
            cell: finding.cell.as_deref(),
            error_type: finding.code.as_str(),
            error_message: &finding.message,
            raw_value: finding.raw_value.as_deref(),
            created_at,
        }
    }
}

/// Reads the engine's findings one by one; none when it wrote none.
pub(super) fn findings(
    folder: &Path,
) -> anyhow::Result<impl Iterator<Item = anyhow::Result<Finding>> + use<>> {
    let lines = match File::open(folder.join(outputs::FINDINGS)) {
        Ok(file) => Some(BufReader::new(file).lines()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).context("the findings cannot be read"),
    };
    Ok(lines.into_iter().flatten().map(|line| {
        let line = line.context("the findings cannot be read")?;
        serde_json::from_str(&line).context("a finding cannot be read")
    }))
}

/// Writes the outputs into `out`, replacing those of an earlier run.
pub(super) fn write(checked: &Checked<'_>, out: &Path) -> anyhow::Result<()> {
    let unwritable = || format!("{} cannot be written", out.display());
    clear(out).with_context(unwritable)?;
    let names = checked
        .parts
        .iter()
        .map(String::as_str)
        .chain([outputs::REJECTED]);
    for name in names {
        let from = checked.outputs.join(name);
        // The child that wrote them is not to be trusted: no names that lead elsewhere, no links.
        let is_file = std::fs::symlink_metadata(&from).is_ok_and(|about| about.is_file());
        if is_file && is_ours(name) {
            std::fs::rename(from, out.join(name)).with_context(unwritable)?;
        }
    }
    let mut errors =
        BufWriter::new(File::create(out.join(outputs::FINDINGS)).with_context(unwritable)?);
    for finding in findings(&checked.outputs)? {
        serde_json::to_writer(&mut errors, &ErrorObject::new(&finding?, checked.now))
            .with_context(unwritable)?;
        errors.write_all(b"\n").with_context(unwritable)?;
    }
    errors.flush().with_context(unwritable)?;
    let report = File::create(out.join(REPORT)).with_context(unwritable)?;
    serde_json::to_writer_pretty(report, &checked.report).with_context(unwritable)
}

/// Removes the outputs of an earlier run, and nothing else: more parts then must not look like parts of now.
fn clear(out: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(out)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if is_ours(name) && entry.file_type()?.is_file() {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Whether `check --out` gives files this name.
fn is_ours(name: &str) -> bool {
    let part = name
        .strip_prefix("valid-")
        .and_then(|rest| rest.strip_suffix(".parquet"));
    let is_part = part.is_some_and(|n| n.len() >= 5 && n.bytes().all(|b| b.is_ascii_digit()));
    is_part || [REPORT, outputs::FINDINGS, outputs::REJECTED].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_removes_what_the_first_left_and_nothing_else() {
        let out = tempfile::tempdir().unwrap();
        for name in [
            "valid-00007.parquet",
            "report.json",
            "valid-x.parquet",
            "mine.csv",
        ] {
            std::fs::write(out.path().join(name), "x").unwrap();
        }
        clear(out.path()).unwrap();
        let mut left: Vec<_> = std::fs::read_dir(out.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["mine.csv", "valid-x.parquet"]);
    }
}
