//! `POST /api/jobs/{id}/resume`.

use axum::extract::State;

use super::view::Job;
use crate::App;
use crate::extract::id::JobPath;
use crate::problem::{Problem, problems};

problems!(Problems: JobNotFound, WrongState, StorageFull);

/// Lets a suspended job go on
///
/// A job that is not held back stays as it is; one that has ended is 409.
#[utoipa::path(
    post,
    path = "/jobs/{id}/resume",
    tag = "jobs",
    operation_id = "resume_job",
    params(("id" = String, Path, format = "uuid", description = "The job")),
    responses((status = 200, description = "The job as it stands now", body = Job), Problems)
)]
pub(super) async fn resume(State(app): State<App>, path: JobPath) -> Result<Job, Problem> {
    let id = path.id(&app).await?;
    Ok(app.store().resume(id).await?.into())
}
