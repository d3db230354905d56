//! The services of one process and how they hang together.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use filejobs_api::{App, Auth, Backend, Timeouts};
use filejobs_blobs::Blobs;
use filejobs_core::{ApiKey, Grant, Limits, Sources};
use filejobs_queue::{Memory, Queue};
use filejobs_store::Store;
use filejobs_store_sqlite::SqliteStore;
use filejobs_worker::EngineCommand;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::config::{self, Processing, Storage, Webhooks};
use crate::config::AuthMode;

/// Tickets that may lie in the queue; the scheduler never publishes nearly as many ahead of the workers.
const TICKETS: usize = 4096;

/// How long engines and requests under way may go on after the service was told to stop.
const GRACE: Duration = Duration::from_secs(10);

/// How long all services together may take to stop.
const STOP: Duration = Duration::from_secs(20);

/// What the services are made from.
pub(crate) struct Settings<'a> {
    pub(crate) auth: AuthMode,
    pub(crate) bootstrap: Option<ApiKey>,
    pub(crate) storage: &'a Storage,
    pub(crate) processing: &'a Processing,
    pub(crate) webhooks: &'a Webhooks,
}

/// Database, queue and files, shared by all services.
struct Backends {
    store: Arc<dyn Store>,
    queue: Arc<dyn Queue>,
    blobs: Blobs,
    sources: Sources,
}

impl Backends {
    async fn open(storage: &Storage) -> anyhow::Result<Self> {
        let sources = Sources::system();
        let database = storage.database();
        let store = SqliteStore::open(&database, sources.clone())
            .await
            .with_context(|| format!("{} cannot be opened", database.display()))?;
        let files = storage.files();
        let blobs = Blobs::local(&files)
            .await
            .with_context(|| format!("{} cannot be used", files.display()))?;
        Ok(Self {
            store,
            queue: Arc::new(Memory::new(TICKETS)),
            blobs,
            sources,
        })
    }

    fn for_scheduler(&self) -> filejobs_scheduler::Backends {
        filejobs_scheduler::Backends {
            store: self.store.clone(),
            queue: self.queue.clone(),
            blobs: self.blobs.clone(),
            sources: self.sources.clone(),
        }
    }

    fn for_worker(&self) -> filejobs_worker::Backends {
        filejobs_worker::Backends {
            store: self.store.clone(),
            queue: self.queue.clone(),
            blobs: self.blobs.clone(),
            sources: self.sources.clone(),
        }
    }

    fn for_api(&self, auth: AuthMode, limits: Limits) -> filejobs_api::Parts {
        filejobs_api::Parts {
            store: self.store.clone(),
            queue: self.queue.clone(),
            blobs: self.blobs.clone(),
            limits,
            sources: self.sources.clone(),
            backends: filejobs_api::Backends {
                db: Backend::Embedded,
                redis: Backend::Embedded,
                storage: Backend::Embedded,
            },
            auth: match auth {
                AuthMode::Keys => Auth::Keys,
                AuthMode::None => Auth::None,
            },
        }
    }
}

fn worker_config(
    storage: &Storage,
    processing: &Processing,
    limits: Limits,
    sources: &Sources,
) -> anyhow::Result<filejobs_worker::Config> {
    let engine = EngineCommand::current().context("this program cannot be found")?;
    let id = filejobs_worker::Config::worker_id(sources);
    let defaults = filejobs_worker::Config::new(id, storage.scratch(), engine);
    Ok(filejobs_worker::Config {
        slots: processing.slots(),
        retry: processing.retry(),
        grace: GRACE,
        delete_completed: storage.delete_file_on_complete,
        limits,
        ..defaults
    })
}

/// How long the key for this process' own calls lives should nobody take it back.
const GUEST: Duration = Duration::from_hours(1);

/// A caller from within.
pub(crate) struct Guest {
    store: Arc<dyn Store>,
    key: Option<ApiKey>,
}

impl Guest {
    /// What it sends, where callers need it.
    pub(crate) fn key(&self) -> Option<&ApiKey> {
        self.key.as_ref()
    }

    /// Takes the key back.
    pub(crate) async fn leave(self) {
        let Some(key) = self.key else { return };
        if let Err(error) = self.store.revoke_api_key(key.prefix()).await {
            tracing::warn!(key.prefix = %key.prefix(), %error, "a key is left to its expiry");
        }
    }
}

/// Scheduler, worker and API, running.
pub(crate) struct Services {
    running: JoinSet<(&'static str, anyhow::Result<()>)>,
    store: Arc<dyn Store>,
    sources: Sources,
}

impl Services {
    /// Opens the back ends and starts everything; requests are answered from here on.
    pub(crate) async fn start(
        settings: Settings<'_>,
        listener: TcpListener,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let Settings {
            auth,
            bootstrap,
            storage,
            processing,
            webhooks,
        } = settings;
        let limits = config::limits(storage, processing);
        let backends = Backends::open(storage).await?;
        filejobs_scheduler::take_over(&backends.for_scheduler())
            .await
            .context("what the previous process left cannot be taken over")?;
        if let Some(key) = bootstrap {
            crate::keys::bootstrap(&*backends.store, &key).await?;
        }
        let scheduler = filejobs_scheduler::Config {
            retry: processing.retry(),
            keep_ended: storage.keep,
            webhooks: webhooks.config(),
            ..filejobs_scheduler::Config::default()
        };
        let worker = worker_config(storage, processing, limits.clone(), &backends.sources)?;
        let app = App::new(backends.for_api(auth, limits));

        let mut running = JoinSet::new();
        let (parts, token) = (backends.for_scheduler(), stop.clone());
        running.spawn(async move {
            (
                "scheduler",
                filejobs_scheduler::run(parts, scheduler, token)
                    .await
                    .map_err(Into::into),
            )
        });
        let (parts, token) = (backends.for_worker(), stop.clone());
        running.spawn(async move {
            (
                "worker",
                filejobs_worker::run(parts, worker, token)
                    .await
                    .map_err(Into::into),
            )
        });
        let token = stop.clone();
        running.spawn(async move {
            let timeouts = Timeouts {
                grace: GRACE,
                ..Timeouts::default()
            };
            filejobs_api::serve(listener, app, timeouts, token.cancelled_owned()).await;
            ("API", Ok(()))
        });
        Ok(Self {
            running,
            store: backends.store,
            sources: backends.sources,
        })
    }

    /// A key for this process' own calls, where callers need one.
    pub(crate) async fn guest(&self, auth: AuthMode) -> anyhow::Result<Guest> {
        let key = match auth {
            AuthMode::None => None,
            AuthMode::Keys => {
                let (name, lives) = ("filejobs dev FILE".parse()?, Some(GUEST));
                let made =
                    crate::keys::create(&*self.store, &self.sources, name, Grant::admin(), lives);
                Some(made.await?.0)
            }
        };
        Ok(Guest {
            store: self.store.clone(),
            key,
        })
    }

    /// Waits until `stop`, then until all have ended. A service that ends early stops the others.
    pub(crate) async fn until_stopped(mut self, stop: &CancellationToken) -> anyhow::Result<()> {
        let mut first = None;
        let all = async {
            while let Some(ended) = self.running.join_next().await {
                let failure = match ended {
                    Ok((name, Err(error))) => Some(error.context(format!("the {name} failed"))),
                    Ok((name, Ok(()))) if !stop.is_cancelled() => {
                        Some(anyhow::anyhow!("the {name} ended by itself"))
                    }
                    Ok(_) => None,
                    Err(error) => Some(error.into()),
                };
                if let Some(failure) = failure {
                    stop.cancel();
                    first.get_or_insert(failure);
                }
            }
        };
        let overdue = async {
            stop.cancelled().await;
            tokio::time::sleep(STOP).await;
        };
        tokio::select! {
            () = all => first.map_or(Ok(()), Err),
            () = overdue => {
                tracing::warn!("services did not stop in time; what they held goes on with the next start");
                Ok(())
            }
        }
    }
}
