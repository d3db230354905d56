//! What the calls that run all day long take, when a thousand jobs have ended and when a million have:
//! `cargo xtask bench store`.
//!
//! The argument is another number than a million. The server waits for the disk as in production, so that calls which
//! are on disk before their answer show what the disk takes.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use filejobs_core::Sources;
use filejobs_store::conformance::{self, Bench, LEASE, worker};
use filejobs_store::{Held, Store};
use filejobs_store_postgres::{Clock, PostgresStore, Settings};
use filejobs_testkit::history::History;
use filejobs_testkit::postgres::PostgresServer;

const FEW: u32 = 1_000;
const MANY: u32 = 1_000_000;

/// Rounds, each with a batch of jobs from being handed in to their end.
const ROUNDS: usize = 40;
/// Jobs of a round.
const BATCH: usize = 8;

/// Times of each call, by its name.
type Times = BTreeMap<&'static str, Vec<Duration>>;

fn main() -> anyhow::Result<()> {
    let many = std::env::args().skip(1).find(|a| !a.starts_with("--"));
    let many = many.map_or(Ok(MANY), |a| a.parse())?;
    let server = PostgresServer::start_durable_with(&["shared_buffers=128MB", "max_wal_size=1GB"])?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let few = runtime.block_on(measure(&server, FEW))?;
    let much = runtime.block_on(measure(&server, many))?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "| call, median (p95) | {FEW} jobs ended | {many} jobs ended |\n|---|---|---|"
    )?;
    for (call, times) in few {
        let (few, much) = (figure(times), figure(much[call].clone()));
        writeln!(out, "| {call} | {few} | {much} |")?;
    }
    Ok(())
}

fn figure(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |percent: usize| times[times.len() * percent / 100].as_secs_f64() * 1e3;
    format!("{:.2} ms ({:.2} ms)", at(50), at(95))
}

/// The calls' times on a database in which so many jobs have ended.
async fn measure(server: &PostgresServer, jobs: u32) -> anyhow::Result<Times> {
    let database = server.create(None)?;
    let url = server.url(&database);
    PostgresStore::migrate(&url).await?;
    let bench = Bench::new(|_, sources| open(url, sources)).await;
    let mut effects = bench.effects(1, 10, 1);
    effects.parts = vec![conformance::part(0, "valid", 9)];
    let model = bench.finished(bench.new_job(), effects).await;
    let history = History { jobs, findings: 1 };
    history.make(server, &database, &model.id.to_string())?;
    let mut times = Times::new();
    for _ in 0..ROUNDS {
        round(&bench, &mut times).await?;
    }
    Ok(times)
}

async fn open(url: String, sources: Sources) -> Arc<dyn Store> {
    let settings = Settings {
        connections: 4,
        kept: 1,
        clock: Clock::Callers,
    };
    let store = PostgresStore::open(&url, sources, settings).await;
    store.expect("the database was just migrated")
}

/// Hands in a batch, loses some of it, brings it to its end.
async fn round(bench: &Bench, times: &mut Times) -> anyhow::Result<()> {
    let (store, worker) = (&bench.store, worker());
    for _ in 0..BATCH {
        let new = bench.new_job();
        timed(times, "create_job", store.create_job(new)).await?;
    }
    let waiting = timed(times, "waiting", store.waiting(32)).await?;
    let tasks: Vec<_> = waiting.iter().map(|waiting| waiting.task).collect();
    timed(times, "publish", store.publish(&tasks)).await?;
    let again = store.republish(Duration::ZERO, 32);
    let tickets = timed(times, "republish", again).await?;
    let mut held = Vec::new();
    for ticket in &tickets {
        let claim = store.claim(ticket, &worker, LEASE);
        let claimed = timed(times, "claim", claim).await?;
        let claimed = claimed.ok_or_else(|| anyhow::anyhow!("claimed by nobody else"))?;
        held.push(Held {
            task: claimed.task,
            attempt: claimed.attempt,
            bytes: 1,
            rows: 1,
            failed: 0,
        });
    }
    timed(
        times,
        "renew (heartbeat)",
        store.renew(&worker, &held, LEASE),
    )
    .await?;
    timed(times, "expired_leases (rescue)", store.expired_leases(32)).await?;
    timed(times, "due_deliveries", store.due_deliveries(32, LEASE)).await?;
    timed(times, "queue_stats", store.queue_stats()).await?;
    for held in held {
        let commit = store.commit(held.task, held.attempt, conformance::effects(10, 0));
        timed(times, "commit", commit).await?;
    }
    Ok(())
}

async fn timed<T>(
    times: &mut Times,
    call: &'static str,
    answer: impl Future<Output = filejobs_store::Result<T>>,
) -> anyhow::Result<T> {
    let asked = Instant::now();
    let answer = answer.await?;
    times.entry(call).or_default().push(asked.elapsed());
    Ok(answer)
}
