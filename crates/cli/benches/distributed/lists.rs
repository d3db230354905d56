//! How long pages take, at the beginning of long lists and deep in them.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use filejobs_testkit::history::History;
use tokio::runtime::Runtime;

use crate::report::{Row, p99, sample};
use crate::stage::Stage;

/// What a page may take.
const GOAL: Duration = Duration::from_millis(20);

/// Pages for each figure.
const PAGES: usize = 500;

/// Pages of the list of jobs.
pub(crate) fn jobs(runtime: &Runtime, jobs: Option<u64>) -> anyhow::Result<Vec<Row>> {
    let jobs = u32::try_from(jobs.unwrap_or(1_000_000))?;
    runtime.block_on(async {
        let mut stage = Stage::with_workers().await?;
        let model = stage.submit(&sample(1_000, 5.0)?).await?;
        stage.completed(&model).await?;
        stage.rest().await?;
        let history = History { jobs, findings: 1 };
        history.make(&stage.postgres, stage.database()?, &model)?;
        let first = "/api/jobs";
        let total = stage.get(first).await?.json()["total"].clone();
        anyhow::ensure!(total == jobs + 1, "{total} jobs are listed");
        let same = (0..PAGES).map(|_| first.to_owned());
        let halfway = format!("/api/jobs?page={}", jobs / 50 / 2);
        Ok(vec![
            p99(
                format!("`GET /api/jobs`, first page of {jobs} jobs, p99 of {PAGES}"),
                GOAL,
                &mut ask(&stage, same).await?,
            ),
            p99(
                format!("`GET /api/jobs`, by cursor from the middle of {jobs} on, p99 of {PAGES}"),
                GOAL,
                &mut follow(&stage, &halfway).await?,
            ),
        ])
    })
}

/// Pages of a job's findings.
pub(crate) fn errors(runtime: &Runtime, findings: Option<u64>) -> anyhow::Result<Vec<Row>> {
    let findings = findings.unwrap_or(1_000_000);
    runtime.block_on(async {
        let stage = Stage::with_workers().await?;
        let id = stage.submit(&sample(findings, 100.0)?).await?;
        stage.completed(&id).await?;
        let path = format!("/api/jobs/{id}/errors");
        let total = stage.get(&path).await?.json()["total"].clone();
        anyhow::ensure!(total == findings, "{total} findings are listed");
        let last = findings as usize / 50;
        let deep = (last / 2..last).cycle().take(PAGES);
        let deep = deep.map(|page| format!("{path}?page={page}"));
        let halfway = format!("{path}?page={}", last / 2);
        Ok(vec![
            p99(
                format!("`GET …/errors`, pages past the middle of {findings}, p99 of {PAGES}"),
                GOAL,
                &mut ask(&stage, deep).await?,
            ),
            p99(
                format!("`GET …/errors`, by cursor from the middle on, p99 of {PAGES}"),
                GOAL,
                &mut follow(&stage, &halfway).await?,
            ),
        ])
    })
}

/// Asks for pages one after another.
async fn ask(stage: &Stage, paths: impl Iterator<Item = String>) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::new();
    for path in paths {
        let asked = Instant::now();
        stage.get(&path).await?;
        times.push(asked.elapsed());
    }
    Ok(times)
}

/// Goes from page to page, as far as there are any; the first one is not counted.
async fn follow(stage: &Stage, begin: &str) -> anyhow::Result<Vec<Duration>> {
    let mut page = stage.get(begin).await?;
    let mut times = Vec::new();
    while times.len() < PAGES && !page.header("link").is_empty() {
        let link = page.header("link");
        let next = link
            .split_once('<')
            .and_then(|(_, rest)| rest.split_once('>'));
        let next = next
            .with_context(|| format!("no address: {link}"))?
            .0
            .to_owned();
        let asked = Instant::now();
        page = stage.get(&next).await?;
        times.push(asked.elapsed());
    }
    Ok(times)
}
