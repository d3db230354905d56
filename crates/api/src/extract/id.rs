//! Ids in paths. A malformed id names nothing, so it is answered like an unknown one; and so is the id of a job that
//! the caller may not see.

use axum::extract::{FromRequestParts, Path};
use filejobs_core::{JobId, TaskId};
use filejobs_store::Job;
use http::request::Parts;

use crate::App;
use crate::auth::Caller;
use crate::problem::{Code, Problem};

/// The job that a path names, for a caller. Its id comes out only together with the proof that the job exists for
/// that caller, so that no handler can forget to ask.
#[derive(Debug, Clone)]
pub(crate) struct JobPath {
    id: JobId,
    caller: Caller,
}

impl JobPath {
    /// The job.
    pub(crate) async fn find(&self, app: &App) -> Result<Job, Problem> {
        let found = app.store().job(self.id).await?;
        found
            .filter(|job| self.caller.sees(&job.namespace))
            .ok_or_else(Problem::job_not_found)
    }

    /// The job's id, for calls that read the job themselves. A job never changes its namespace, so that what is true
    /// now is true for the call.
    pub(crate) async fn id(&self, app: &App) -> Result<JobId, Problem> {
        if self.caller.is_bound() {
            self.find(app).await?;
        }
        Ok(self.id)
    }
}

/// The task that a path names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TaskPath(pub(crate) TaskId);

impl<S: Send + Sync> FromRequestParts<S> for JobPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let id = segment(parts, state).await.and_then(|id| id.parse().ok());
        let id = id.ok_or_else(Problem::job_not_found)?;
        Ok(Self { id, caller })
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
