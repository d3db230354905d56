//! A whole service in one process, killed at any moment and started again.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use filejobs_blobs::Blobs;
use filejobs_core::{JobState, Sources};
use filejobs_queue::Memory;
use filejobs_scheduler as scheduler;
use filejobs_store::{FindingFilter, Page, TaskKind};
use filejobs_store_sqlite::SqliteStore;
use filejobs_worker as worker;
use tokio_util::sync::CancellationToken;

use crate::fixture::{Service, engine};

/// How often it is killed; each time another job is waiting.
const KILLS: usize = 12;

/// What the killed process does. Does nothing as a test.
#[test]
fn service_process() {
    if Path::new("service").exists() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(serve(Path::new(".")));
    }
}

async fn serve(folder: &Path) {
    let sources = Sources::system();
    let backends = scheduler::Backends {
        store: SqliteStore::open(&folder.join("store.db"), sources.clone())
            .await
            .unwrap(),
        queue: Arc::new(Memory::new(1000)),
        blobs: Blobs::local(&folder.join("blobs")).await.unwrap(),
        sources: sources.clone(),
        webhook_keys: None,
    };
    scheduler::take_over(&backends).await.unwrap();
    let (command, _) = engine();
    let id = worker::Config::worker_id(&sources);
    let mut config = worker::Config::new(id, folder.join("scratch"), command);
    config.slots = 2;
    config.limits.split_bytes = 100_000;
    let working = worker::Backends {
        store: backends.store.clone(),
        queue: backends.queue.clone(),
        blobs: backends.blobs.clone(),
        sources,
    };
    let stop = CancellationToken::new();
    let (scheduled, worked) = tokio::join!(
        scheduler::run(backends, scheduler::Config::default(), stop.clone()),
        worker::run(working, config, stop)
    );
    scheduled.unwrap();
    worked.unwrap();
}

fn start(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::service_process", "--nocapture"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_a_service_ends_each_job_with_exact_counts() {
    let service = Service::start().await.alone();
    std::fs::write(service.path("service"), "").unwrap();
    // Every tenth row has a cell too many.
    let rows = 20_000;
    let csv: Vec<_> = (0..rows)
        .map(|n| format!("{n},v{n}{}\n", if n % 10 == 0 { ",x" } else { "" }))
        .collect();
    let csv = format!("id,name\n{}", csv.concat());
    let schema = r#"{"fields":[{"name":"id","type":"integer","constraints":{"unique":true}},{"name":"name","type":"string"}]}"#;
    let moments = Sources::system().randomness;
    let mut jobs = Vec::new();
    for kill in 0..KILLS {
        let kind = [TaskKind::Whole, TaskKind::Plan][kill % 2];
        jobs.push(service.submit_as(&csv, kind, schema).await);
        let mut running = start(&service.path(""));
        // From before the first claim to after the last commit.
        let moment = Duration::from_secs(1).mul_f64(moments.unit());
        tokio::time::sleep(moment).await;
        running.kill().unwrap();
        running.wait().unwrap();
    }
    let mut running = start(&service.path(""));
    for &id in &jobs {
        let job = service.ended(id).await;
        assert_eq!(job.status, JobState::Completed, "{:?}", job.error_message);
        assert_eq!((job.rows_processed, job.rows_failed), (rows, rows / 10));
        let parts = service.store.parts(id).await.unwrap();
        let valid: u64 = parts.iter().map(|part| part.rows).sum();
        assert_eq!(valid, rows - rows / 10);
        let findings = service
            .store
            .findings(
                id,
                &FindingFilter::default(),
                Page::Offset {
                    offset: 0,
                    limit: 1,
                },
            )
            .await
            .unwrap()
            .unwrap();
        assert_eq!(findings.total, rows / 10);
        let mut rejected = 0;
        for key in service.store.rejected(id).await.unwrap() {
            rejected += service.text(&key).await.lines().count() as u64 - 1;
        }
        assert_eq!(rejected, rows / 10);
    }
    running.kill().unwrap();
    running.wait().unwrap();
}
