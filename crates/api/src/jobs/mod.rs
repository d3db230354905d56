//! `/api/jobs`: one file for each call.

mod cancel;
mod delete;
pub(crate) mod errors;
mod events;
mod get;
mod list;
mod patch;
mod rejected;
mod report;
pub(crate) mod results;
mod resume;
mod retry;
mod schema;
mod suspend;
pub(crate) mod view;
mod webhooks;

use filejobs_core::JobId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::problem::Problem;

/// Every call about jobs but the upload.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list::list))
        .routes(routes!(get::get, patch::patch, delete::delete))
        .routes(routes!(errors::errors))
        .routes(routes!(results::results))
        .routes(routes!(rejected::rejected))
        .routes(routes!(report::report))
        .routes(routes!(schema::schema))
        .routes(routes!(events::events))
        .routes(routes!(webhooks::webhooks))
        .routes(routes!(webhooks::resend))
        .routes(routes!(cancel::cancel))
        .routes(routes!(retry::retry))
        .routes(routes!(suspend::suspend))
        .routes(routes!(resume::resume))
}

/// The job with this id, whoever asks.
async fn find(app: &App, id: JobId) -> Result<filejobs_store::Job, Problem> {
    app.store()
        .job(id)
        .await?
        .ok_or_else(Problem::job_not_found)
}

/// What a call on a blob of a job failed with. The blob may be gone because the job was deleted or started over
/// while the call ran: that is the client's doing, not a failure of the storage.
pub(crate) async fn blob_problem(
    app: &App,
    job: &filejobs_store::Job,
    error: filejobs_blobs::Error,
) -> Problem {
    if !matches!(error, filejobs_blobs::Error::NotFound) {
        return error.into();
    }
    match find(app, job.id).await {
        Ok(now) if now.generation == job.generation => error.into(),
        Ok(now) => view::not_ready(&now),
        Err(problem) => problem,
    }
}
