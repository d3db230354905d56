//! `POST /api/jobs/{id}/retry`.

use axum::extract::State;
use filejobs_core::JobId;
use filejobs_store::Error;

use super::view::Job;
use crate::App;
use crate::extract::id::JobPath;
use crate::problem::{Code, Problem, problems};

problems!(Problems: NotRetryable, JobNotFound, StorageFull);

/// Starts a failed or cancelled job over
///
/// Counters, errors and results of the earlier run are cleared; `generation` goes up by one.
#[utoipa::path(
    post,
    path = "/jobs/{id}/retry",
    tag = "jobs",
    operation_id = "retry_job",
    params(("id" = String, Path, format = "uuid", description = "The job")),
    responses((status = 200, description = "The job, queued again", body = Job), Problems)
)]
pub(super) async fn retry(State(app): State<App>, path: JobPath) -> Result<Job, Problem> {
    let id = path.id(&app).await?;
    let job = app.store().retry(id).await.map_err(|error| match error {
        Error::Illegal(illegal) => Problem::new(
            Code::NotRetryable,
            format!(
                "The job is {}. Only a FAILED or CANCELLED job can be retried; hand the file in again to have it checked anew.",
                illegal.from
            ),
        ),
        other => other.into(),
    })?;
    forget_results(app, id, job.generation);
    Ok(job.into())
}

/// Results of earlier generations are unreachable from here on. Nobody waits for their removal: what stays behind
/// goes with the job.
fn forget_results(app: App, id: JobId, generation: u32) {
    tokio::spawn(async move {
        if let Err(error) = app.blobs().delete_results(id, Some(generation)).await {
            tracing::warn!(job.id = %id, error = %error, "results of an earlier generation stay behind");
        }
    });
}

#[cfg(test)]
mod tests {
    use crate::tests::Service;

    #[tokio::test]
    async fn a_cancelled_job_starts_over() {
        let service = Service::start().await;
        let job = service.upload("a.csv", "id\n1\n").await;
        service.post(&format!("/api/jobs/{job}/cancel")).await;
        let answer = service.post(&format!("/api/jobs/{job}/retry")).await;
        assert_eq!(answer.status, 200);
        insta::assert_json_snapshot!(answer.json());
    }

    #[tokio::test]
    async fn a_job_that_waits_or_is_done_is_not_retried() {
        let service = Service::start().await;
        let waiting = service.upload("a.csv", "id\n1\n").await;
        let done = service.completed("b.csv", "id\n1\n").await;
        for job in [waiting, done] {
            let answer = service.post(&format!("/api/jobs/{job}/retry")).await;
            assert_eq!(answer.problem(), (400, "not_retryable".to_owned()));
        }
    }
}
