//! `GET /api/jobs/{id}/report`.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use filejobs_core::report::{Facts, ReportFile, Tally};
use filejobs_core::{Failure, FailureCode, JobState, Report};
use filejobs_store::Job;

use crate::App;
use crate::extract::id::JobPath;
use crate::problem::{Problem, problems};

problems!(Problems: JobNotFound, NotReady, NoResults);

/// What was found in the file, counted
///
/// The same file, schema and options give the same report, byte for byte, however the work was cut. A job that failed
/// has a report of what was counted until then; one that was cancelled has none.
#[utoipa::path(
    get,
    path = "/jobs/{id}/report",
    tag = "results",
    operation_id = "get_job_report",
    params(("id" = String, Path, format = "uuid", description = "The job")),
    responses((status = 200, description = "The report", body = Report), Problems)
)]
pub(super) async fn report(State(app): State<App>, path: JobPath) -> Result<Response, Problem> {
    let job = path.find(&app).await?;
    let failure = match job.status {
        JobState::Completed => None,
        JobState::Failed => Some(failure(&job)),
        JobState::Cancelled | JobState::Queued | JobState::Processing | JobState::Suspended => {
            super::view::only_completed(&job)?;
            None
        }
    };
    Ok(Json(of(job, failure.as_ref())).into_response())
}

fn of(job: Job, failure: Option<&Failure>) -> Report {
    let facts = job.facts.unwrap_or(Facts {
        layout: None,
        schema: job.schema,
        schema_inferred: false,
    });
    let tally = job.tally.unwrap_or_else(|| Tally {
        rows_processed: job.rows_processed,
        rows_valid: job.rows_processed.saturating_sub(job.rows_failed),
        rows_failed: job.rows_failed,
        errors_by_code: job.errors_by_code,
        errors_stored: job.errors_stored,
        columns: Vec::new(),
    });
    let file = ReportFile {
        name: job.filename,
        bytes: job.file_size,
        sha256: job.sha256,
    };
    Report::new(file, &facts, &tally, job.findings_max, failure)
}

fn failure(job: &Job) -> Failure {
    Failure::new(
        job.failure_code.unwrap_or(FailureCode::ParserCrash),
        job.error_message.clone().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use crate::tests::Service;

    #[tokio::test]
    async fn a_job_that_is_done_has_a_report() {
        let service = Service::start().await;
        let job = service
            .completed("bad.csv", "id,name\n1,a\nx,b\n3,\n")
            .await;
        let answer = service.get(&format!("/api/jobs/{job}/report")).await;
        assert_eq!(answer.status, 200);
        insta::assert_json_snapshot!(answer.json());
    }

    #[tokio::test]
    async fn a_job_that_failed_has_a_report_with_the_reason() {
        let service = Service::start().await;
        let job = service.completed("empty.csv", "").await;
        let answer = service.get(&format!("/api/jobs/{job}/report")).await;
        assert_eq!(answer.json()["failure_code"], "EMPTY_FILE");
        assert_eq!(answer.json()["failure_class"], "validation");
    }

    #[tokio::test]
    async fn without_an_end_there_is_no_report() {
        let service = Service::start().await;
        let job = service.upload("a.csv", "id\n1\n").await;
        let path = format!("/api/jobs/{job}/report");
        assert_eq!(
            service.get(&path).await.problem(),
            (409, "not_ready".to_owned())
        );
        service.post(&format!("/api/jobs/{job}/cancel")).await;
        assert_eq!(
            service.get(&path).await.problem(),
            (409, "no_results".to_owned())
        );
    }
}
