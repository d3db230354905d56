//! `dev FILE`: the file takes the way that every file takes, over HTTP, and what came of it is shown.

use std::path::{Path, PathBuf};
use std::time::Instant;

use filejobs_core::{ApiKey, JobState};
use reqwest::Url;
use serde_json::Value;

use crate::client::api::Api;
use crate::client::follow::follow;
use crate::client::job::{FINDINGS_HEADER, Job, findings_row};
use crate::client::submit::Upload;
use crate::exit::Outcome;
use crate::options::FileOptions;
use crate::terminal::{self, Progress, shown};

/// Findings that the summary shows.
const FIRST: u64 = 12;

/// Hands the file in, follows its job and shows a summary.
pub(crate) async fn run(
    base: &Url,
    key: Option<&ApiKey>,
    file: &Path,
    options: FileOptions,
) -> Outcome<()> {
    let api = Api::new(base.clone(), key.map(ApiKey::reveal), 2)?;
    let (beside, options) = match beside(file) {
        Some(schema) if options.schema_path().is_none() => {
            (Some(schema.clone()), options.schema_or(Some(schema)))
        }
        _ => (None, options),
    };
    let upload = Upload {
        file,
        name: None,
        options: &options,
        webhook: None,
        priority: None,
        namespace: None,
        key: None,
    };
    let begun = Instant::now();
    let (_, id) = upload.send(&api, false).await?;
    let mut progress = Progress::percent("processing", false);
    let (_, job) = follow(&api, &id, &mut progress, None, |_, _| Ok(())).await?;
    let took = terminal::duration(begun.elapsed());
    show(&api, &job, &took, beside.as_deref()).await
}

/// The schema that lies beside a file under its name: `orders.schema.json` for `orders.csv`.
fn beside(file: &Path) -> Option<PathBuf> {
    let schema = file.with_extension("schema.json");
    schema.is_file().then_some(schema)
}

async fn show(api: &Api, job: &Job, took: &str, schema: Option<&Path>) -> Outcome<()> {
    let name = shown(&job.filename, 80);
    terminal::line(format!("{name}: {}, in {took}", job.verdict()))?;
    if let Some(schema) = schema {
        terminal::line(format!("checked against {}", schema.display()))?;
    }
    terminal::line("")?;
    if job.errors_total() > 0 {
        let path = ["api", "jobs", &job.id, "errors"];
        let answer = api.get(&path, &[("page_size", FIRST.to_string())]).await?;
        let findings = answer
            .get("errors")
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        let mut table = terminal::table(&FINDINGS_HEADER);
        table.add_rows(findings.iter().map(findings_row));
        terminal::print(&table)?;
        let more = job.errors_total().saturating_sub(findings.len() as u64);
        if more > 0 {
            terminal::line(format!("… and {} more", terminal::count(more)))?;
        }
        terminal::line("")?;
    }
    let at = |path: &[&str]| api.url(path, &[]).to_string();
    let mut places = vec![
        ("this job", at(&["jobs", &job.id])),
        ("as JSON", at(&["api", "jobs", &job.id])),
    ];
    if job.status == JobState::Completed {
        places.push(("valid rows", at(&["api", "jobs", &job.id, "results"])));
        if job.rows_failed > 0 {
            places.push((
                "rejected rows",
                at(&["api", "jobs", &job.id, "rejected.csv"]),
            ));
        }
    }
    terminal::line(terminal::pairs(&places))?;
    terminal::line("")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_beside_the_file_is_found_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("orders.csv");
        assert_eq!(beside(&file), None);
        let schema = folder.path().join("orders.schema.json");
        std::fs::write(&schema, "{}").unwrap();
        assert_eq!(beside(&file), Some(schema));
    }
}
