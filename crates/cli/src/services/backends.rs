//! Database, queue and files: opened in one place for every way to run.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use filejobs_api::{Auth, Backend};
use filejobs_blobs::Blobs;
use filejobs_core::{Limits, Sources};
use filejobs_queue::{Memory, Queue, redis};
use filejobs_store::{JobFilter, Page, Store};
use filejobs_store_postgres::PostgresStore;
use filejobs_store_sqlite::SqliteStore;
use tokio_util::sync::CancellationToken;

use super::ops::Needs;
use super::waiting::{Patience, until_up};
use crate::config::{AuthMode, DataArgs, DatabaseUrl, Place};

/// Tickets that may lie in the queue; the scheduler never publishes nearly as many ahead of the workers.
const TICKETS: usize = 4096;

/// Database, queue and files, shared by the services of a process.
#[derive(Debug, Clone)]
pub(crate) struct Backends {
    /// The record of every job.
    pub(crate) store: Arc<dyn Store>,
    /// The same, where it is on Postgres.
    pub(crate) postgres: Option<Arc<PostgresStore>>,
    /// Carries tickets.
    pub(crate) queue: Arc<dyn Queue>,
    /// Uploads and results.
    pub(crate) blobs: Blobs,
    /// Time, ids, jitter and secrets.
    pub(crate) sources: Sources,
    /// Where each of them is, as `GET /api/health` shows it.
    pub(crate) places: filejobs_api::Backends,
}

/// Servers that other processes use as well.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    /// The database.
    pub(crate) database: DatabaseUrl,
    /// The queue.
    pub(crate) redis: redis::Server,
    /// Uploads and results.
    pub(crate) place: Place,
    /// The name of this process, new with every start.
    pub(crate) name: String,
}

impl Backends {
    /// All of them within this process: for `filejobs dev`.
    pub(crate) async fn embedded(data: &DataArgs, place: &Place) -> anyhow::Result<Self> {
        let sources = Sources::system();
        let store = sqlite(&data.database(), &sources).await?;
        let blobs = blobs(place, &*store).await?;
        Ok(Self {
            store,
            postgres: None,
            queue: Arc::new(Memory::new(TICKETS)),
            blobs,
            sources,
            places: filejobs_api::Backends {
                db: Backend::Embedded,
                redis: Backend::Embedded,
                storage: match place {
                    Place::Folder { .. } => Backend::Embedded,
                    Place::S3(_) => Backend::Remote,
                },
            },
        })
    }

    /// Servers; those that the process needs are waited for within `start`, and one that still does not answer then is
    /// an error. `None` when `stop` came first.
    pub(crate) async fn remote(
        remote: &Remote,
        needs: Needs,
        start: Duration,
        stop: &CancellationToken,
    ) -> anyhow::Result<Option<Self>> {
        let sources = Sources::system();
        let patience = Patience::new(start, stop.clone());
        let Some((store, postgres)) = open_as(&remote.database, &sources, &patience).await? else {
            return Ok(None);
        };
        let config = redis::Config::new(remote.redis.clone(), &*remote.name, sources.clone());
        let queue = redis::Redis::new(config).context("the Redis client cannot be made")?;
        let what = format!("Redis at {}", remote.redis);
        let redis = patience.at_most(needs.redis);
        match until_up(&what, &redis, || queue.check()).await {
            Ok(None) => return Ok(None),
            Ok(Some(warnings)) => warnings
                .iter()
                .for_each(|warning| tracing::warn!("{warning}")),
            Err(error) if needs.redis => return Err(error),
            Err(error) => tracing::warn!(error = format!("{error:#}"), "going on without Redis"),
        }
        let blobs = blobs(&remote.place, &*store).await?;
        let storage = patience.at_most(needs.storage);
        match until_up("the storage", &storage, || blobs.ping()).await {
            Ok(None) => return Ok(None),
            Ok(Some(())) => {}
            Err(error) if needs.storage => return Err(error),
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "going on without the storage");
            }
        }
        Ok(Some(Self {
            store,
            postgres,
            queue: Arc::new(queue),
            blobs,
            sources,
            places: filejobs_api::Backends {
                db: Backend::Remote,
                redis: Backend::Remote,
                storage: Backend::Remote,
            },
        }))
    }

    /// As the scheduler takes them.
    pub(crate) fn for_scheduler(&self) -> filejobs_scheduler::Backends {
        filejobs_scheduler::Backends {
            store: self.store.clone(),
            queue: self.queue.clone(),
            blobs: self.blobs.clone(),
            sources: self.sources.clone(),
            webhook_keys: None,
        }
    }

    /// As a worker takes them.
    pub(crate) fn for_worker(&self) -> filejobs_worker::Backends {
        filejobs_worker::Backends {
            store: self.store.clone(),
            queue: self.queue.clone(),
            blobs: self.blobs.clone(),
            sources: self.sources.clone(),
        }
    }

    /// As the API takes them.
    pub(crate) fn for_api(&self, auth: AuthMode, limits: Limits) -> filejobs_api::Parts {
        filejobs_api::Parts {
            store: self.store.clone(),
            queue: self.queue.clone(),
            blobs: self.blobs.clone(),
            limits,
            sources: self.sources.clone(),
            backends: self.places,
            auth: match auth {
                AuthMode::Keys => Auth::Keys,
                AuthMode::None => Auth::None,
            },
        }
    }
}

/// Opens the database once it answers and has the tables that this program needs; `None` when the process shall stop.
pub(crate) async fn open(
    database: &DatabaseUrl,
    sources: &Sources,
    patience: &Patience,
) -> anyhow::Result<Option<Arc<dyn Store>>> {
    let opened = open_as(database, sources, patience).await?;
    Ok(opened.map(|(store, _)| store))
}

/// A database, and itself where it is on Postgres.
type Opened = (Arc<dyn Store>, Option<Arc<PostgresStore>>);

async fn open_as(
    database: &DatabaseUrl,
    sources: &Sources,
    patience: &Patience,
) -> anyhow::Result<Option<Opened>> {
    match database {
        DatabaseUrl::Sqlite(path) => Ok(Some((sqlite(path, sources).await?, None))),
        DatabaseUrl::Postgres { url, connections } => {
            let settings = filejobs_store_postgres::Settings {
                connections: connections.most,
                kept: connections.kept,
                ..filejobs_store_postgres::Settings::default()
            };
            let opened = until_up("the database", patience, || {
                PostgresStore::open(url, sources.clone(), settings)
            });
            Ok(opened
                .await?
                .map(|store| (store.clone() as Arc<dyn Store>, Some(store))))
        }
    }
}

async fn sqlite(path: &Path, sources: &Sources) -> anyhow::Result<Arc<dyn Store>> {
    let store = SqliteStore::open(path, sources.clone()).await;
    Ok(store.with_context(|| format!("{} cannot be opened", path.display()))?)
}

/// The storage. A folder that nobody has used before is not that of a database with jobs: files that went into it would
/// be gone as soon as the right one is back, and those of the jobs would seem to be lost.
async fn blobs(place: &Place, store: &dyn Store) -> anyhow::Result<Blobs> {
    match place {
        Place::Folder { path, may_be_new } => {
            let cannot = || format!("{} cannot be used", path.display());
            let is_new = async || Blobs::was_made(path).await.map(|was_made| !was_made);
            // Looked at once more: another process may have made it, and a job in it, in between.
            if !may_be_new
                && is_new().await.with_context(cannot)?
                && has_jobs(store).await?
                && is_new().await.with_context(cannot)?
            {
                bail!(
                    "{} holds nothing, and the database knows of jobs whose files lie elsewhere: is the volume \
                     mounted, is it the right folder? To go on without their files, set FILEJOBS_NEW_FOLDER=true \
                     (--new-folder) for the next start",
                    path.display()
                );
            }
            Blobs::local(path).await.with_context(cannot)
        }
        Place::S3(config) => Blobs::s3(config).context("the client of the storage cannot be made"),
    }
}

async fn has_jobs(store: &dyn Store) -> anyhow::Result<bool> {
    let one = Page::After {
        cursor: None,
        limit: 1,
    };
    let found = store.jobs(&JobFilter::default(), one).await;
    Ok(!found
        .context("the database cannot be read")?
        .items
        .is_empty())
}
