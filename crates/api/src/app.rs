//! What every handler can reach.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use filejobs_blobs::Blobs;
use filejobs_core::{Limits, Sources};
use filejobs_metrics::table;
use filejobs_queue::Queue;
use filejobs_store::Store;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::auth::{Auth, Noting};
use crate::problem::{Code, Problem};
use crate::service::health::Probes;

/// The back ends and settings that an [`App`] is made of.
#[derive(Debug)]
pub struct Parts {
    /// The record of every job.
    pub store: Arc<dyn Store>,
    /// Carries tickets to workers; asked for its health only.
    pub queue: Arc<dyn Queue>,
    /// Uploads and results.
    pub blobs: Blobs,
    /// How big anything may grow.
    pub limits: Limits,
    /// Time and ids.
    pub sources: Sources,
    /// How the back ends are shown by `GET /api/health`.
    pub backends: Backends,
    /// Whether callers are asked who they are.
    pub auth: Auth,
}

/// Where a back end lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backend {
    /// A server of its own: `up` or `down`.
    #[default]
    Remote,
    /// Part of this process: `embedded` or `down`.
    Embedded,
}

/// Where each back end lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backends {
    /// The database.
    pub db: Backend,
    /// The queue.
    pub redis: Backend,
    /// The blob store.
    pub storage: Backend,
}

/// The state of the HTTP side: cheap to clone, shared by every request.
#[derive(Debug, Clone)]
pub struct App(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<dyn Store>,
    blobs: Blobs,
    limits: Limits,
    sources: Sources,
    auth: Auth,
    noting: Noting,
    probes: Probes,
    streams: Arc<Semaphore>,
    closing: CancellationToken,
    /// The OpenAPI description, written once.
    description: OnceLock<Bytes>,
}

impl App {
    /// Puts the back ends together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        // There before the first one happens, so that it shows as an increase.
        for code in Code::ALL {
            table::HTTP_PROBLEMS.add([code.as_str()], 0);
        }
        let probes = Probes::new(
            Arc::clone(&parts.store),
            parts.queue,
            parts.blobs.clone(),
            parts.backends,
        );
        Self(Arc::new(Inner {
            store: parts.store,
            blobs: parts.blobs,
            streams: Arc::new(Semaphore::new(parts.limits.event_streams as usize)),
            limits: parts.limits,
            sources: parts.sources,
            auth: parts.auth,
            noting: Noting::default(),
            probes,
            closing: CancellationToken::new(),
            description: OnceLock::new(),
        }))
    }

    /// The record of every job.
    #[must_use]
    pub fn store(&self) -> &dyn Store {
        &*self.0.store
    }

    /// Uploads and results.
    #[must_use]
    pub fn blobs(&self) -> &Blobs {
        &self.0.blobs
    }

    /// How big anything may grow.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Time and ids.
    #[must_use]
    pub fn sources(&self) -> &Sources {
        &self.0.sources
    }

    /// Whether callers are asked who they are.
    pub(crate) fn auth(&self) -> Auth {
        self.0.auth
    }

    /// Keys whose use is just being noted.
    pub(crate) fn noting(&self) -> &Noting {
        &self.0.noting
    }

    /// The health checks.
    pub(crate) fn probes(&self) -> &Probes {
        &self.0.probes
    }

    /// Permits for event streams.
    pub(crate) fn streams(&self) -> &Arc<Semaphore> {
        &self.0.streams
    }

    /// The OpenAPI description as JSON.
    pub(crate) fn description(&self) -> Result<Bytes, Problem> {
        if let Some(written) = self.0.description.get() {
            return Ok(written.clone());
        }
        let document = crate::openapi::document(self.limits());
        let written = serde_json::to_vec(&document).map_err(Problem::internal)?;
        Ok(self.0.description.get_or_init(|| written.into()).clone())
    }

    /// Cancelled when the server begins to close: streams without an end of their own end then.
    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.0.closing
    }
}
