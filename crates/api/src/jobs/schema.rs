//! `GET /api/jobs/{id}/schema`.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use filejobs_core::TableSchema;

use crate::App;
use crate::extract::id::JobPath;
use crate::problem::{Problem, problems};

problems!(Problems: JobNotFound, NotReady, NoResults);

/// The schema that the rows are checked against
///
/// The one that was handed in, or the one that was inferred from the first rows. It can be edited and handed in with
/// the next file.
#[utoipa::path(
    get,
    path = "/jobs/{id}/schema",
    tag = "results",
    operation_id = "get_job_schema",
    params(("id" = String, Path, format = "uuid", description = "The job")),
    responses((status = 200, description = "The Table Schema", body = TableSchema), Problems)
)]
pub(super) async fn schema(State(app): State<App>, path: JobPath) -> Result<Response, Problem> {
    let mut job = path.find(&app).await?;
    let applied = job.facts.as_mut().and_then(|facts| facts.schema.take());
    match applied.or_else(|| job.schema.take()) {
        Some(schema) => Ok(Json(schema).into_response()),
        None if job.status.is_terminal() => Err(Problem::new(
            crate::problem::Code::NoResults,
            "The job ended before a schema could be inferred. GET the job for the reason, or hand the file in with a schema.",
        )),
        None => Err(super::view::not_ready(&job)),
    }
}

#[cfg(test)]
mod tests {
    use crate::tests::{Form, Service};

    #[tokio::test]
    async fn an_inferred_schema_can_be_handed_in_again() {
        let service = Service::start().await;
        let job = service.completed("a.csv", "id,name\n1,a\n2,b\n").await;
        let inferred = service.get(&format!("/api/jobs/{job}/schema")).await;
        insta::assert_json_snapshot!(inferred.json());
        let form = Form::file("b.csv", "id,name\n1,a\n").field("schema", inferred.text());
        let again = service.send(form.request()).await;
        assert_eq!(again.status, 202);
        let id = again.json()["job_id"].as_str().unwrap().to_owned();
        let given = service.get(&format!("/api/jobs/{id}/schema")).await;
        assert_eq!(given.json(), inferred.json());
    }

    #[tokio::test]
    async fn a_schema_to_be_inferred_is_not_there_yet() {
        let service = Service::start().await;
        let job = service.upload("a.csv", "id\n1\n").await;
        let path = format!("/api/jobs/{job}/schema");
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
