//! The listener for probes and metrics, apart from the one for callers: orchestrators and monitoring reach it without a key.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use filejobs_api::{Condition, Probes, Timeouts};
use filejobs_metrics::Process;
use filejobs_metrics::exporter::MEDIA_TYPE;
use filejobs_store::Store;
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::backends::Backends;
use super::figures::Figures;

/// How long a probe under way may take once the process ends.
const GRACE: Duration = Duration::from_secs(1);

/// What a process cannot do its work without.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needs {
    /// Without Redis it takes no work, or hands none out.
    pub(crate) redis: bool,
    /// Without the storage it can take no file and finish none.
    pub(crate) storage: bool,
}

impl Needs {
    /// It works without both: one that stands by does its work, too, and what waits for them is tried again.
    pub(crate) const NEITHER: Self = Self {
        redis: false,
        storage: false,
    };
}

/// The state of a process as its probes tell it.
#[derive(Debug)]
pub(crate) struct Ops {
    needs: Needs,
    backends: OnceLock<(Probes, Arc<dyn Store>)>,
    leads: OnceLock<Arc<AtomicBool>>,
    stop: CancellationToken,
}

impl Ops {
    /// A process that has just begun.
    pub(crate) fn new(needs: Needs, stop: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            needs,
            backends: OnceLock::new(),
            leads: OnceLock::new(),
            stop,
        })
    }

    /// What the process cannot do its work without.
    pub(crate) fn needs(&self) -> Needs {
        self.needs
    }

    /// The process does its work from here on, as long as these answer.
    pub(crate) fn started(&self, backends: &Backends) {
        // It starts once.
        let probes = Probes::new(
            backends.store.clone(),
            backends.queue.clone(),
            backends.blobs.clone(),
            backends.places,
        );
        let _ = self.backends.set((probes, backends.store.clone()));
    }

    /// Tells, too, whether this scheduler leads.
    pub(crate) fn tell_leader(&self, leads: Arc<AtomicBool>) {
        let _ = self.leads.set(leads);
    }

    /// Listens, and answers until the process ends, which does the work of `processes`. Where it listens.
    pub(crate) async fn listen(
        self: &Arc<Self>,
        address: SocketAddr,
        processes: &[Process],
    ) -> anyhow::Result<(SocketAddr, OpsServer)> {
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!(
                "{address} cannot be listened on for probes and metrics; choose another with --ops-listen (FILEJOBS_OPS_LISTEN)"
            )
        })?;
        let address = listener.local_addr()?;
        let figures = Arc::new(Figures::install(processes)?);
        let shown = (Arc::clone(self), Arc::clone(&figures));
        let router = Router::new()
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .with_state(Arc::clone(self))
            .route("/metrics", get(metrics).with_state(shown));
        let end = CancellationToken::new();
        let timeouts = Timeouts {
            grace: GRACE,
            ..Timeouts::default()
        };
        let ended = end.clone().cancelled_owned();
        let task = tokio::spawn(async move {
            tokio::select! {
                () = filejobs_api::serve_small(listener, router, timeouts, ended) => {}
                () = figures.tidy() => {}
            }
        });
        Ok((address, OpsServer { end, task }))
    }

    async fn readiness(&self) -> Readiness {
        let conditions = match self.backends.get() {
            Some((probes, _)) => Some(probes.conditions().await),
            None => None,
        };
        let down = |condition: Condition| condition == Condition::Down;
        let state = match conditions {
            _ if self.stop.is_cancelled() => Phase::Stopping,
            None => Phase::Starting,
            Some([db, redis, storage])
                if down(db)
                    || (self.needs.redis && down(redis))
                    || (self.needs.storage && down(storage)) =>
            {
                Phase::Waiting
            }
            Some(_) => Phase::Ready,
        };
        let leads = self.leads.get();
        Readiness {
            state,
            db: conditions.map(|c| c[0]),
            redis: conditions.map(|c| c[1]),
            storage: conditions.map(|c| c[2]),
            leads: leads.map(|leads| leads.load(Ordering::Relaxed)),
        }
    }

    /// What `/metrics` answers.
    async fn figures(&self, figures: &Figures) -> String {
        let Some((probes, store)) = self.backends.get() else {
            return figures.page(None).await;
        };
        Figures::note(probes.conditions().await, store.connections());
        let leads = self.leads.get();
        let leads = leads.is_some_and(|leads| leads.load(Ordering::Relaxed));
        figures.page(leads.then_some(&**store)).await
    }
}

/// The running listener. It answers while services stop: that is when a probe is most interested.
#[derive(Debug)]
pub(crate) struct OpsServer {
    end: CancellationToken,
    task: JoinHandle<()>,
}

impl OpsServer {
    /// Ends it.
    pub(crate) async fn end(self) {
        self.end.cancel();
        let _ = self.task.await;
    }
}

/// Where a process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Phase {
    /// Not all back ends have answered yet.
    Starting,
    /// It does its work.
    Ready,
    /// It waits for a back end that it cannot do its work without.
    Waiting,
    /// It takes nothing new and ends what is under way.
    Stopping,
}

#[derive(Debug, Serialize)]
struct Readiness {
    state: Phase,
    db: Option<Condition>,
    redis: Option<Condition>,
    storage: Option<Condition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leads: Option<bool>,
}

/// The process answers: killing it would mend nothing.
async fn livez() -> &'static str {
    "ok\n"
}

/// What it counted and measured.
async fn metrics(State((ops, figures)): State<(Arc<Ops>, Arc<Figures>)>) -> impl IntoResponse {
    let page = ops.figures(&figures).await;
    ([(CONTENT_TYPE, MEDIA_TYPE)], page)
}

/// Whether it does its work.
async fn readyz(State(ops): State<Arc<Ops>>) -> (StatusCode, Json<Readiness>) {
    let readiness = ops.readiness().await;
    let status = if readiness.state == Phase::Ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(readiness))
}
