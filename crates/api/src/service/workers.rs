//! `GET /api/workers`.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use filejobs_store::WorkerInfo;
use jiff::Timestamp;
use serde::Serialize;

use crate::App;
use crate::problem::{Problem, problems};

problems!(Problems:);

/// A worker that has been silent for longer is taken for dead.
const SILENCE: Duration = Duration::from_mins(1);

/// The workers that live.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct WorkerList {
    workers: Vec<Worker>,
}

/// A process that checks files.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Worker {
    id: String,
    /// Tasks that it can run at a time.
    slots: u32,
    /// Tasks that it runs.
    busy: u32,
    /// The program's version.
    version: String,
    #[schema(value_type = String, format = "date-time")]
    started_at: Timestamp,
    #[schema(value_type = String, format = "date-time")]
    last_seen: Timestamp,
}

impl From<WorkerInfo> for Worker {
    fn from(info: WorkerInfo) -> Self {
        Self {
            id: info.id.as_str().to_owned(),
            slots: info.slots,
            busy: info.busy,
            version: info.version,
            started_at: info.started_at,
            last_seen: info.last_seen,
        }
    }
}

/// The workers that have been heard of within the last minute
#[utoipa::path(
    get,
    path = "/workers",
    tag = "service",
    operation_id = "list_workers",
    responses((status = 200, description = "The workers", body = WorkerList), Problems)
)]
pub(super) async fn workers(State(app): State<App>) -> Result<Json<WorkerList>, Problem> {
    let workers = app.store().workers(SILENCE).await?;
    Ok(Json(WorkerList {
        workers: workers.into_iter().map(Worker::from).collect(),
    }))
}

#[cfg(test)]
mod tests {
    use filejobs_core::WorkerId;
    use filejobs_store::WorkerInfo;

    use crate::tests::Service;

    #[tokio::test]
    async fn workers_are_listed_with_their_slots() {
        let service = Service::start().await;
        let worker = WorkerInfo {
            id: WorkerId::new("host-1-a"),
            slots: 2,
            busy: 1,
            version: "0.1.0".to_owned(),
            started_at: service.now(),
            last_seen: service.now(),
        };
        service.store().beat(&worker).await.unwrap();
        insta::assert_json_snapshot!(service.get("/api/workers").await.json());
    }
}
