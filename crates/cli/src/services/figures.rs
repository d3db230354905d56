//! `/metrics`: what this process recorded, and what the whole service has when this process leads it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use filejobs_api::Condition;
use filejobs_core::JobState;
use filejobs_metrics::exporter::Exporter;
use filejobs_metrics::exposition::Exposition;
use filejobs_metrics::{Process, table};
use filejobs_store::{Connections, QueueStats, Store, WorkerInfo};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long the database may take to say what the whole service has; without it the rest is shown.
const PATIENCE: Duration = Duration::from_secs(2);

/// So long those figures count, so that many who ask do not ask the database as often.
const FRESH: Duration = Duration::from_secs(5);

/// A worker that was not heard of for longer is not counted.
const ALIVE: Duration = Duration::from_secs(20);

/// Pause between two times that measurements are sorted away.
const TIDY: Duration = Duration::from_secs(5);

/// The metrics of a process.
#[derive(Debug)]
pub(crate) struct Figures {
    exporter: Exporter,
    of_the_service: Mutex<Option<(Instant, Exposition)>>,
}

impl Figures {
    /// Everything is recorded from here on; `processes` are those whose work this process does.
    pub(crate) fn install(processes: &[Process]) -> anyhow::Result<Self> {
        let exporter = Exporter::install(env!("CARGO_PKG_VERSION"), processes)
            .context("metrics cannot be had twice in one process")?;
        Ok(Self {
            exporter,
            of_the_service: Mutex::default(),
        })
    }

    /// Sorts measurements away until the process ends: without it they take memory until somebody asks.
    pub(crate) async fn tidy(self: Arc<Self>) {
        let mut tick = tokio::time::interval(TIDY);
        loop {
            tick.tick().await;
            self.exporter.tidy();
        }
    }

    /// Notes how this process gets on with its back ends.
    pub(crate) fn note(conditions: [Condition; 3], connections: Connections) {
        for (backend, condition) in ["db", "redis", "storage"].into_iter().zip(conditions) {
            let up = condition != Condition::Down;
            table::BACKEND_UP.set([backend], u8::from(up));
        }
        let Connections { used, idle, most } = connections;
        table::DB_CONNECTIONS.set(["used"], used);
        table::DB_CONNECTIONS.set(["idle"], idle);
        table::DB_CONNECTIONS_MAX.set([], most);
    }

    /// The page. With `store` also what the whole service has, if the database says so in time.
    pub(crate) async fn page(&self, store: Option<&dyn Store>) -> String {
        let more = match store {
            Some(store) => self.of_the_service(store).await,
            None => Exposition::default(),
        };
        self.exporter.page(&more)
    }

    async fn of_the_service(&self, store: &dyn Store) -> Exposition {
        // Held while the database is asked: whoever asks meanwhile gets the same answer.
        let mut kept = self.of_the_service.lock().await;
        if let Some((since, figures)) = &*kept
            && since.elapsed() < FRESH
        {
            return figures.clone();
        }
        let asked = async { tokio::try_join!(store.queue_stats(), store.workers(ALIVE)) };
        let figures = match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok((stats, workers))) => exposition(&stats, &workers),
            // The database is told to be down by its own figure.
            Ok(Err(_)) | Err(_) => Exposition::default(),
        };
        *kept = Some((Instant::now(), figures.clone()));
        figures
    }
}

fn exposition(stats: &QueueStats, workers: &[WorkerInfo]) -> Exposition {
    let mut figures = Exposition::default();
    let jobs = stats.jobs_by_status.iter();
    let jobs = jobs.map(|(status, jobs): &(JobState, u64)| ([status.as_str()], *jobs as f64));
    figures.gauge(&table::JOBS, jobs);
    let tasks = [
        ("pending", stats.depth.saturating_sub(stats.published)),
        ("published", stats.published),
        ("running", stats.running),
    ];
    let tasks = tasks.map(|(state, tasks)| ([state], tasks as f64));
    figures.gauge(&table::QUEUE_TASKS, tasks);
    let oldest = stats.oldest_age_seconds as f64;
    figures.gauge(&table::QUEUE_OLDEST, [([], oldest)]);
    let dead = stats.dead_letters as f64;
    figures.gauge(&table::DEAD_LETTERS, [([], dead)]);
    figures.gauge(&table::WORKERS, [([], workers.len() as f64)]);
    let busy: u32 = workers.iter().map(|worker| worker.busy).sum();
    let slots: u32 = workers.iter().map(|worker| worker.slots).sum();
    let free = slots.saturating_sub(busy);
    let slots = [(["busy"], f64::from(busy)), (["free"], f64::from(free))];
    figures.gauge(&table::SLOTS, slots);
    figures
}
