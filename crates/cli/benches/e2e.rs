//! Times and memory of the whole service, from upload to result: `cargo xtask bench e2e`.
//!
//! Each case starts `filejobs dev` with a folder of its own, speaks HTTP to it, and prints a row of the table in
//! `docs/benchmarks.md`. Arguments are names of cases; all run when there are none.

mod report;

use std::sync::Arc;
use std::time::{Duration, Instant};

use filejobs_testkit::http::{self, Upload};
use filejobs_testkit::processes;
use filejobs_testkit::service::Service;
use filejobs_testkit::wait::{self, DEADLINE};
use futures::StreamExt as _;
use futures::stream;
use reqwest::Client;
use tokio::runtime::Runtime;

use report::{Row, Run, at_most, memory, p99, percentile, sample};

const BINARY: &str = env!("CARGO_BIN_EXE_filejobs");

const CASES: &[(&str, Run)] = &[
    ("idle", idle),
    ("big", big),
    ("small", small),
    ("busy", busy),
    ("many", many),
];

fn main() -> anyhow::Result<()> {
    report::run(CASES)
}

fn service() -> filejobs_testkit::service::Builder {
    Service::builder(BINARY).env("FILEJOBS_LOG", "warn")
}

/// Memory of a service that nobody uses.
fn idle(runtime: &Runtime, rows: Option<u64>) -> anyhow::Result<Vec<Row>> {
    runtime.block_on(async {
        let service = service().start().await?;
        service.get("/").await?;
        // Start-up work such as the first sweeps is over by then.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let fresh = processes::resident_bytes(service.pid());
        service
            .run(&sample(rows.unwrap_or(1_000_000), 5.0)?)
            .await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let used = processes::resident_bytes(service.pid());
        Ok(vec![
            memory("idle `dev`, fresh", 40, fresh),
            memory("idle `dev`, after a 1 M-row job", 40, used),
        ])
    })
}

/// From the first byte of an upload to its job's end.
async fn timed(service: &Service, upload: &Upload) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let id = service.submit(upload).await?;
    wait::until("the job to end", DEADLINE, async || {
        let job = service.job(&id).await?;
        anyhow::ensure!(job["status"] != "FAILED", "{job}");
        Ok((job["status"] == "COMPLETED").then_some(()))
    })
    .await?;
    Ok(begun.elapsed())
}

fn big(runtime: &Runtime, rows: Option<u64>) -> anyhow::Result<Vec<Row>> {
    runtime.block_on(async {
        let service = service().start().await?;
        let upload = sample(rows.unwrap_or(1_000_000), 5.0)?;
        let mut times = Vec::new();
        for _ in 0..5 {
            times.push(timed(&service, &upload).await?);
        }
        let median = percentile(&mut times, 50);
        Ok(vec![at_most(
            "1 M rows, 5 % bad, upload to COMPLETED, median",
            Duration::from_secs(1),
            median,
        )])
    })
}

fn small(runtime: &Runtime, times: Option<u64>) -> anyhow::Result<Vec<Row>> {
    runtime.block_on(async {
        let service = service().start().await?;
        let upload = sample(10, 10.0)?;
        let rounds = times.unwrap_or(100);
        let mut times = Vec::new();
        for _ in 0..rounds {
            times.push(timed(&service, &upload).await?);
        }
        let median = percentile(&mut times, 50);
        Ok(vec![at_most(
            "10 rows, upload to COMPLETED, median",
            Duration::from_millis(150),
            median,
        )])
    })
}

/// Looks at a job while many files come in, several times over: one time is too short for a percentile.
fn busy(runtime: &Runtime, rounds: Option<u64>) -> anyhow::Result<Vec<Row>> {
    const UPLOADS: usize = 50;
    let rounds = rounds.unwrap_or(10) as usize;
    let service = runtime.block_on(service().start())?;
    let id = runtime.block_on(service.submit(&sample(10, 10.0)?))?;
    runtime.block_on(service.finished(&id))?;
    let upload = Arc::new(sample(195_000, 5.0)?);
    // The looks have a thread and a connection of their own, so that only the service makes them wait.
    let looking = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut times = Vec::new();
    let mut took = Duration::ZERO;
    for round in 1..=rounds {
        let begun = Instant::now();
        let uploads = {
            let (client, url, upload) = (http::client()?, service.url().to_owned(), upload.clone());
            runtime.spawn(async move {
                let all = (0..UPLOADS).map(|_| send(&client, &url, &upload));
                futures::future::try_join_all(all).await
            })
        };
        looking.block_on(async {
            let client = http::client()?;
            let url = format!("{}/api/jobs/{id}", service.url());
            while !uploads.is_finished() {
                let asked = Instant::now();
                http::answer(client.get(&url)).await?;
                times.push(asked.elapsed());
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            anyhow::Ok(())
        })?;
        runtime.block_on(uploads)??;
        took += begun.elapsed();
        // Each round begins with an idle service.
        runtime.block_on(completed(&service, 1 + round * UPLOADS))?;
    }
    let looks = times.len();
    let row = p99(
        "`GET /api/jobs/{id}` p99 while 50 uploads of 5 MB run",
        Duration::from_millis(20),
        &mut times,
    );
    let measured = format!(
        "{} ({looks} looks in {:.1} s)",
        row.measured,
        took.as_secs_f64()
    );
    Ok(vec![Row { measured, ..row }])
}

async fn send(client: &Client, url: &str, upload: &Upload) -> anyhow::Result<()> {
    let answer = upload.send(client, url).await?;
    anyhow::ensure!(
        answer.status == 202,
        "HTTP {}: {}",
        answer.status,
        answer.text()
    );
    Ok(())
}

/// Waits until so many jobs have ended well.
async fn completed(service: &Service, jobs: usize) -> anyhow::Result<()> {
    wait::until("all jobs to end", Duration::from_mins(5), async || {
        let answer = service
            .get("/api/jobs?status=COMPLETED&page_size=1")
            .await?;
        Ok((answer.json()["total"] == jobs).then_some(()))
    })
    .await
}

/// Small files one after another, many at a time.
fn many(runtime: &Runtime, files: Option<u64>) -> anyhow::Result<Vec<Row>> {
    const AT_A_TIME: usize = 16;
    let files = files.unwrap_or(1_000) as usize;
    runtime.block_on(async {
        let service = service().start().await?;
        let upload = sample(10, 10.0)?;
        let begun = Instant::now();
        let mut sent = stream::iter(0..files)
            .map(|_| send(&service.client, service.url(), &upload))
            .buffer_unordered(AT_A_TIME);
        while let Some(result) = sent.next().await {
            result?;
        }
        let handed_in = begun.elapsed();
        completed(&service, files).await?;
        let speed = files as f64 / begun.elapsed().as_secs_f64();
        Ok(vec![Row {
            case: format!("{files} files of 10 rows"),
            goal: "≥ 100 jobs/s".to_owned(),
            measured: format!(
                "{speed:.0} jobs/s (handed in after {:.1} s)",
                handed_in.as_secs_f64()
            ),
            met: speed >= 100.0,
        }])
    })
}
