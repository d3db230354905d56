//! `GET /api/health`: answers within two seconds, whatever hangs.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use filejobs_blobs::Blobs;
use filejobs_core::causes;
use filejobs_queue::Queue;
use filejobs_store::Store;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use http::StatusCode;
use serde::Serialize;

use crate::App;
use crate::app::{Backend, Backends};

/// How long a back end may take; with what else there is to do well under two seconds.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// So long an answer counts, so that many who ask do not ask the back ends as often.
const FRESH: Duration = Duration::from_millis(500);

/// Whether the service can do its work.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Health {
    status: Overall,
    db: Condition,
    redis: Condition,
    storage: Condition,
}

/// All back ends taken together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = HealthStatus)]
enum Overall {
    Healthy,
    Unhealthy,
}

/// One back end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = BackendStatus)]
pub enum Condition {
    /// A server of its own that answers.
    Up,
    /// It does not answer.
    Down,
    /// A part of this process that answers.
    Embedded,
}

/// Whether the service can do its work
#[utoipa::path(
    get,
    path = "/health",
    tag = "service",
    operation_id = "get_health",
    responses(
        (status = 200, description = "Every back end answers", body = Health),
        (status = 503, description = "At least one does not", body = Health),
        (status = 500, description = "`internal`: The service failed.", body = crate::problem::Body, content_type = "application/problem+json"),
    )
)]
pub(super) async fn health(State(app): State<App>) -> Response {
    let [db, redis, storage] = app.probes().conditions().await;
    let (code, status) = if [db, redis, storage].contains(&Condition::Down) {
        (StatusCode::SERVICE_UNAVAILABLE, Overall::Unhealthy)
    } else {
        (StatusCode::OK, Overall::Healthy)
    };
    let body = Health {
        status,
        db,
        redis,
        storage,
    };
    (code, Json(body)).into_response()
}

/// The back ends, each with the check that is under way. However many ask, each back end is asked once at a time.
#[derive(Debug)]
pub struct Probes {
    db: Probe,
    redis: Probe,
    storage: Probe,
}

impl Probes {
    /// Checks of these back ends.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        queue: Arc<dyn Queue>,
        blobs: Blobs,
        backends: Backends,
    ) -> Self {
        let db = move || {
            let store = Arc::clone(&store);
            async move { store.ping().await.map_err(|e| causes::chain(&e)) }.boxed()
        };
        let redis = move || {
            let queue = Arc::clone(&queue);
            async move { queue.ping().await.map_err(|e| causes::chain(&e)) }.boxed()
        };
        let storage = move || {
            let blobs = blobs.clone();
            async move { blobs.ping().await.map_err(|e| causes::chain(&e)) }.boxed()
        };
        Self {
            db: Probe::new("db", backends.db, db),
            redis: Probe::new("redis", backends.redis, redis),
            storage: Probe::new("storage", backends.storage, storage),
        }
    }

    /// Database, queue and storage as they are now; known within two seconds, whatever hangs.
    pub async fn conditions(&self) -> [Condition; 3] {
        let (db, redis, storage) = tokio::join!(
            self.db.condition(),
            self.redis.condition(),
            self.storage.condition()
        );
        [db, redis, storage]
    }
}

type Ping = dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync;

/// Checks one back end. A check that hangs is waited for by all who ask; no second one is started beside it.
struct Probe {
    name: &'static str,
    kind: Backend,
    ping: Box<Ping>,
    current: Mutex<Option<Check>>,
}

#[derive(Clone)]
struct Check {
    began: Instant,
    answer: Shared<BoxFuture<'static, bool>>,
}

impl std::fmt::Debug for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Probe")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Probe {
    fn new<F>(name: &'static str, kind: Backend, ping: F) -> Self
    where
        F: Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync + 'static,
    {
        Self {
            name,
            kind,
            ping: Box::new(ping),
            current: Mutex::default(),
        }
    }

    async fn condition(&self) -> Condition {
        let check = self.check();
        let answers = tokio::time::timeout(PATIENCE, check.answer).await;
        match (answers, self.kind) {
            (Ok(true), Backend::Remote) => Condition::Up,
            (Ok(true), Backend::Embedded) => Condition::Embedded,
            (Ok(false) | Err(_), _) => Condition::Down,
        }
    }

    /// The check under way, or a recent one, or a new one.
    fn check(&self) -> Check {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(check) = &*current {
            let under_way = check.answer.peek().is_none();
            if under_way || check.began.elapsed() < FRESH {
                return check.clone();
            }
        }
        let check = self.begin();
        *current = Some(check.clone());
        check
    }

    fn begin(&self) -> Check {
        let (name, ping) = (self.name, (self.ping)());
        // A task of its own: it goes on when the one who asked has given up.
        let task = tokio::spawn(async move {
            ping.await
                .inspect_err(|error| tracing::warn!(backend = name, error, "a back end is down"))
                .is_ok()
        });
        Check {
            began: Instant::now(),
            answer: async move { task.await.unwrap_or(false) }.boxed().shared(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::tests::Service;

    #[tokio::test]
    async fn a_service_whose_parts_answer_is_healthy() {
        let service = Service::start().await;
        // Each part has a second and a half, which a busy machine does not always give.
        let healthy = std::sync::Mutex::new(String::new());
        crate::tests::eventually("all parts answer", || async {
            let answer = service.get("/api/health").await;
            *healthy.lock().unwrap() = answer.text();
            answer.status == 200
        })
        .await;
        let healthy = healthy.into_inner().unwrap();
        insta::assert_snapshot!(healthy, @r#"{"status":"healthy","db":"embedded","redis":"embedded","storage":"up"}"#);
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_hangs_is_down_and_is_asked_only_once() {
        let asked = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&asked);
        let probe = Probe::new("db", Backend::Remote, move || {
            counter.fetch_add(1, Ordering::Relaxed);
            std::future::pending().boxed()
        });
        let began = tokio::time::Instant::now();
        for _ in 0..3 {
            assert_eq!(probe.condition().await, Condition::Down);
        }
        assert!(began.elapsed() <= 3 * PATIENCE + Duration::from_millis(10));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_part_that_fails_is_down() {
        let probe = Probe::new("db", Backend::Embedded, || {
            async { Err("no route to host".to_owned()) }.boxed()
        });
        assert_eq!(probe.condition().await, Condition::Down);
    }
}
