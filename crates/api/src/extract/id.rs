//! Ids in paths. A malformed id names nothing, so it is answered like an unknown one.

use axum::extract::{FromRequestParts, Path};
use filejobs_core::{JobId, TaskId};
use http::request::Parts;

use crate::problem::{Code, Problem};

/// The job that a path names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JobPath(pub(crate) JobId);

/// The task that a path names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TaskPath(pub(crate) TaskId);

impl<S: Send + Sync> FromRequestParts<S> for JobPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let id = segment(parts, state).await.and_then(|id| id.parse().ok());
        id.map(Self).ok_or_else(Problem::job_not_found)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for TaskPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let id = segment(parts, state).await.and_then(|id| id.parse().ok());
        id.map(Self).ok_or_else(task_not_found)
    }
}

/// No dead task has this id.
pub(crate) fn task_not_found() -> Problem {
    Problem::new(
        Code::TaskNotFound,
        "No dead task has this id. GET /api/queues/dead-letters lists those there are.",
    )
}

async fn segment<S: Send + Sync>(parts: &mut Parts, state: &S) -> Option<String> {
    let Path(id) = Path::<String>::from_request_parts(parts, state)
        .await
        .ok()?;
    Some(id)
}
