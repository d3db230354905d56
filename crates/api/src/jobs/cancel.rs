//! `POST /api/jobs/{id}/cancel`.

use axum::extract::State;

use super::view::Job;
use crate::App;
use crate::extract::id::JobPath;
use crate::problem::{Problem, problems};

problems!(Problems: JobNotFound, WrongState, StorageFull);

/// Cancels the job
///
/// Open tasks end at once; what finished tasks counted stays. A job that is cancelled already stays as it is.
#[utoipa::path(
    post,
    path = "/jobs/{id}/cancel",
    tag = "jobs",
    operation_id = "cancel_job",
    params(("id" = String, Path, format = "uuid", description = "The job")),
    responses((status = 200, description = "The job as it stands now", body = Job), Problems)
)]
pub(super) async fn cancel(State(app): State<App>, path: JobPath) -> Result<Job, Problem> {
    let id = path.id(&app).await?;
    Ok(app.store().cancel(id).await?.into())
}

#[cfg(test)]
mod tests {
    use crate::tests::Service;

    #[tokio::test]
    async fn cancelling_twice_is_the_same_as_once() {
        let service = Service::start().await;
        let job = service.upload("a.csv", "id\n1\n").await;
        for _ in 0..2 {
            let answer = service.post(&format!("/api/jobs/{job}/cancel")).await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.json()["status"], "CANCELLED");
            assert_eq!(answer.json()["outcome"], "cancelled");
        }
    }

    #[tokio::test]
    async fn a_job_that_has_ended_cannot_be_cancelled() {
        let service = Service::start().await;
        let job = service.completed("a.csv", "id\n1\n").await;
        let answer = service.post(&format!("/api/jobs/{job}/cancel")).await;
        assert_eq!(answer.problem(), (409, "wrong_state".to_owned()));
        insta::assert_json_snapshot!(answer.json());
    }
}
