//! How long files take, and how many are done in a second.

use std::time::{Duration, Instant};

use filejobs_testkit::http::Upload;
use futures::StreamExt as _;
use futures::stream;
use jiff::Timestamp;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::report::{Row, at_most, p99, percentile, sample};
use crate::stage::Stage;

/// One large file, several times over.
pub(crate) fn big(runtime: &Runtime, rows: Option<u64>) -> anyhow::Result<Vec<Row>> {
    runtime.block_on(file(
        rows.unwrap_or(1_000_000),
        7,
        Duration::from_millis(1_200),
    ))
}

/// One that is cut into pieces.
pub(crate) fn huge(runtime: &Runtime, rows: Option<u64>) -> anyhow::Result<Vec<Row>> {
    runtime.block_on(file(rows.unwrap_or(10_000_000), 3, Duration::from_secs(6)))
}

async fn file(rows: u64, rounds: usize, goal: Duration) -> anyhow::Result<Vec<Row>> {
    let stage = Stage::with_workers().await?;
    let upload = sample(rows, 5.0)?;
    // What is made only once: connections, prepared statements.
    timed(&stage, &sample(10, 10.0)?).await?;
    let (mut times, mut sent) = (Vec::new(), Vec::new());
    let mut findings = 0;
    for _ in 0..rounds {
        let (all, sending, job) = timed(&stage, &upload).await?;
        anyhow::ensure!(job["rows_processed"] == rows, "{job}");
        findings = job["rows_failed"].as_u64().unwrap_or(0);
        times.push(all);
        sent.push(sending);
    }
    let row = at_most(
        format!("{rows} rows, {findings} findings, upload to COMPLETED, median of {rounds}"),
        goal,
        percentile(&mut times, 50),
    );
    let sent = percentile(&mut sent, 50).as_secs_f64() * 1e3;
    let measured = format!("{} (handed in after {sent:.0} ms)", row.measured);
    Ok(vec![Row { measured, ..row }])
}

/// From the first byte of an upload to its job's end, and to its being taken.
async fn timed(stage: &Stage, upload: &Upload) -> anyhow::Result<(Duration, Duration, Value)> {
    let begun = Instant::now();
    let id = stage.submit(upload).await?;
    let sent = begun.elapsed();
    let job = stage.completed(&id).await?;
    Ok((begun.elapsed(), sent, job))
}

/// Small files one after another, many at a time.
pub(crate) fn many(runtime: &Runtime, files: Option<u64>) -> anyhow::Result<Vec<Row>> {
    const AT_A_TIME: usize = 16;
    const GOAL: f64 = 150.0;
    let files = files.unwrap_or(10_000);
    runtime.block_on(async {
        let stage = Stage::with_workers().await?;
        let upload = sample(10, 10.0)?;
        let begun = Instant::now();
        let mut sent = stream::iter(0..files)
            .map(|_| stage.submit(&upload))
            .buffer_unordered(AT_A_TIME);
        while let Some(id) = sent.next().await {
            id?;
        }
        let handed_in = begun.elapsed();
        all_completed(&stage, files).await?;
        let speed = files as f64 / begun.elapsed().as_secs_f64();
        Ok(vec![Row {
            case: format!("{files} files of 10 rows, {AT_A_TIME} at a time"),
            goal: format!("≥ {GOAL} jobs/s"),
            measured: format!(
                "{speed:.0} jobs/s (handed in after {:.1} s of {:.1} s)",
                handed_in.as_secs_f64(),
                begun.elapsed().as_secs_f64()
            ),
            met: speed >= GOAL,
        }])
    })
}

/// Waits until so many jobs have ended well.
async fn all_completed(stage: &Stage, jobs: u64) -> anyhow::Result<()> {
    const DEADLINE: Duration = Duration::from_mins(10);
    let begun = Instant::now();
    loop {
        let list = stage.get("/api/jobs?status=COMPLETED&page_size=1").await?;
        let done = &list.json()["total"];
        if *done == jobs {
            return Ok(());
        }
        anyhow::ensure!(begun.elapsed() < DEADLINE, "{done} of {jobs} are done");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// How long a file waits for a slot that has nothing to do.
pub(crate) fn wait(runtime: &Runtime, files: Option<u64>) -> anyhow::Result<Vec<Row>> {
    let files = files.unwrap_or(500);
    runtime.block_on(async {
        let stage = Stage::with_workers().await?;
        let upload = sample(10, 10.0)?;
        let mut waits = Vec::new();
        for _ in 0..files {
            let id = stage.submit(&upload).await?;
            let job = stage.completed(&id).await?;
            let time = |name: &str| job[name].as_str().unwrap_or_default().parse::<Timestamp>();
            let waited = time("started_at")?.duration_since(time("created_at")?);
            waits.push(Duration::try_from(waited)?);
        }
        Ok(vec![p99(
            format!("created to started, slots idle, p99 of {files} files"),
            Duration::from_secs(1),
            &mut waits,
        )])
    })
}
