//! `DELETE /api/jobs/{id}`.

use axum::extract::State;
use filejobs_core::JobState;
use filejobs_store::{Error, Tombstone};
use http::StatusCode;

use crate::App;
use crate::extract::id::JobPath;
use crate::problem::{Problem, problems};

problems!(Problems: JobNotFound, WrongState, StorageFull);

/// How often the job may change under our hands before the client is asked to come again.
const TRIES: u32 = 5;

/// Deletes the job
///
/// A job in `PROCESSING` becomes `CANCELLED` and stays; delete it again to have it gone. Otherwise the job, its
/// errors, its results and its file go, and a webhook that has not been delivered by then is not sent.
#[utoipa::path(
    delete,
    path = "/jobs/{id}",
    tag = "jobs",
    operation_id = "delete_job",
    params(("id" = String, Path, format = "uuid", description = "The job")),
    responses((status = 204, description = "The job is gone, or cancelled if it was being processed"), Problems)
)]
pub(super) async fn delete(State(app): State<App>, path: JobPath) -> Result<StatusCode, Problem> {
    let id = path.id(&app).await?;
    let mut last = Error::NotFound;
    for _ in 0..TRIES {
        match app.store().delete(id).await {
            Ok(tombstone) => {
                remove_blobs(app, tombstone);
                return Ok(StatusCode::NO_CONTENT);
            }
            Err(Error::WrongState(JobState::Processing)) => {}
            Err(other) => return Err(other.into()),
        }
        match app.store().cancel(id).await {
            Ok(_) => return Ok(StatusCode::NO_CONTENT),
            // It ended between the two calls: then it can be deleted.
            Err(error @ Error::Illegal(_)) => last = error,
            Err(other) => return Err(other.into()),
        }
    }
    Err(last.into())
}

/// The tombstone stays until the blobs are gone; what fails here is taken up by the scheduler's sweep.
fn remove_blobs(app: App, tombstone: Tombstone) {
    tokio::spawn(async move {
        let removed = remove(&app, &tombstone).await;
        if let Err(error) = removed {
            tracing::warn!(job.id = %tombstone.id, error = %error, "files of a deleted job stay for the sweep");
        }
    });
}

async fn remove(app: &App, tombstone: &Tombstone) -> Result<(), filejobs_blobs::Error> {
    app.blobs().delete(&tombstone.blob).await?;
    app.blobs().delete_results(tombstone.id, None).await?;
    bury(app, tombstone).await;
    Ok(())
}

async fn bury(app: &App, tombstone: &Tombstone) {
    if let Err(error) = app.store().bury(tombstone).await {
        tracing::warn!(job.id = %tombstone.id, error = %error, "the tombstone of a deleted job stays for the sweep");
    }
}

#[cfg(test)]
mod tests {
    use crate::tests::{Request, Service, eventually};

    #[tokio::test]
    async fn a_job_goes_with_its_file() {
        let service = Service::start().await;
        let job = service.completed("a.csv", "id\n1\n").await;
        let path = format!("/api/jobs/{job}");
        assert_eq!(service.send(Request::delete(&path)).await.status, 204);
        for call in [Request::get(&path), Request::delete(&path)] {
            assert_eq!(
                service.send(call).await.problem(),
                (404, "job_not_found".to_owned())
            );
        }
        eventually("its files are removed", || async { service.files() == 0 }).await;
        eventually("its tombstone is gone", || async {
            service.store().tombstones(1).await.unwrap().is_empty()
        })
        .await;
    }

    #[tokio::test]
    async fn a_job_that_is_processed_is_cancelled_first() {
        let service = Service::start().await;
        let job = service.processing("a.csv", "id\n1\n").await;
        let path = format!("/api/jobs/{job}");
        assert_eq!(service.send(Request::delete(&path)).await.status, 204);
        assert_eq!(service.get(&path).await.json()["status"], "CANCELLED");
        assert_eq!(service.send(Request::delete(&path)).await.status, 204);
        assert_eq!(service.get(&path).await.status, 404);
    }
}
