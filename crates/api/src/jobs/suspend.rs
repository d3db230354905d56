//! `POST /api/jobs/{id}/suspend`.

use axum::extract::State;

use super::view::Job;
use crate::App;
use crate::extract::id::JobPath;
use crate::problem::{Problem, problems};

problems!(Problems: JobNotFound, WrongState, StorageFull);

/// Holds the job back
///
/// From `QUEUED` or `PROCESSING`. Running tasks stop without spending an attempt, finished ones are kept.
#[utoipa::path(
    post,
    path = "/jobs/{id}/suspend",
    tag = "jobs",
    operation_id = "suspend_job",
    params(("id" = String, Path, format = "uuid", description = "The job")),
    responses((status = 200, description = "The job as it stands now", body = Job), Problems)
)]
pub(super) async fn suspend(State(app): State<App>, path: JobPath) -> Result<Job, Problem> {
    let id = path.id(&app).await?;
    Ok(app.store().suspend(id).await?.into())
}

#[cfg(test)]
mod tests {
    use crate::tests::Service;

    #[tokio::test]
    async fn a_job_is_held_back_and_let_go_on() {
        let service = Service::start().await;
        let job = service.upload("a.csv", "id\n1\n").await;
        let held = service.post(&format!("/api/jobs/{job}/suspend")).await;
        assert_eq!(
            (held.status, &held.json()["status"]),
            (200, &"SUSPENDED".into())
        );
        let going = service.post(&format!("/api/jobs/{job}/resume")).await;
        assert_eq!(
            (going.status, &going.json()["status"]),
            (200, &"QUEUED".into())
        );
    }

    #[tokio::test]
    async fn a_job_that_has_ended_is_neither_held_back_nor_let_go_on() {
        let service = Service::start().await;
        let job = service.completed("a.csv", "id\n1\n").await;
        for call in ["suspend", "resume"] {
            let answer = service.post(&format!("/api/jobs/{job}/{call}")).await;
            assert_eq!(answer.problem(), (409, "wrong_state".to_owned()), "{call}");
        }
    }
}
