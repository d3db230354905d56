//! `PATCH /api/jobs/{id}`.

use axum::extract::State;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::view::Job;
use crate::App;
use crate::extract::id::JobPath;
use crate::extract::json::JsonObject;
use crate::problem::{Code, FieldError, Place, Problem, problems};
use crate::upload::MAX_PRIORITY;

problems!(
    Problems: MalformedJson,
    InvalidBody,
    JobNotFound,
    BodyTimeout,
    WrongState,
    BodyTooLarge,
    UnsupportedMediaType,
    StorageFull,
);

/// What can be changed about a job.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes the body; `priority` reads it")]
struct JobPatch {
    /// 0 to 10, 10 first.
    #[schema(minimum = 0, maximum = 10)]
    priority: u8,
}

/// Changes the job's priority
///
/// Only while it is `QUEUED` or `SUSPENDED`.
#[utoipa::path(
    patch,
    path = "/jobs/{id}",
    tag = "jobs",
    operation_id = "patch_job",
    params(("id" = String, Path, format = "uuid", description = "The job")),
    request_body = JobPatch,
    responses((status = 200, description = "The job as it stands now", body = Job), Problems)
)]
pub(super) async fn patch(
    State(app): State<App>,
    path: JobPath,
    JsonObject(body): JsonObject,
) -> Result<Job, Problem> {
    let priority = priority(&body)?;
    let id = path.id(&app).await?;
    Ok(app.store().set_priority(id, priority).await?.into())
}

fn priority(body: &Map<String, Value>) -> Result<u8, Problem> {
    let refuse = |name: &str, detail: &str| {
        FieldError::new(Place::Body, name, detail).at(format!("/{}", escaped(name)))
    };
    let mut errors: Vec<_> = body
        .keys()
        .filter(|name| *name != "priority")
        .map(|name| refuse(name, "cannot be changed; only `priority` can"))
        .collect();
    let whole = |value: &Value| {
        // JSON knows one kind of number: 5.0 is 5.
        let number = value.as_f64()? + 0.0;
        (0..=MAX_PRIORITY).find(|p| f64::from(*p).to_bits() == number.to_bits())
    };
    let priority = body.get("priority").map(whole);
    match priority {
        Some(Some(priority)) if errors.is_empty() => return Ok(priority),
        Some(Some(_)) => {}
        Some(None) => errors.push(refuse("priority", "must be a whole number from 0 to 10")),
        None => errors.push(refuse(
            "priority",
            "is missing; give a whole number from 0 to 10",
        )),
    }
    Err(Problem::fields(
        Code::InvalidBody,
        "The job cannot be changed in this way. Send {\"priority\": N} with a whole number from 0 to 10.",
        errors,
    ))
}

/// A member's name as a step of a JSON pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use crate::tests::{Request, Service};

    #[tokio::test]
    async fn the_priority_of_a_waiting_job_can_be_changed() {
        let service = Service::start().await;
        let job = service.upload("a.csv", "id\n1\n").await;
        let answer = service
            .send(Request::patch(&format!("/api/jobs/{job}")).json(r#"{"priority": 7}"#))
            .await;
        assert_eq!(
            (answer.status, &answer.json()["priority"]),
            (200, &7.into())
        );
    }

    #[tokio::test]
    async fn the_priority_of_a_job_that_has_ended_cannot() {
        let service = Service::start().await;
        let job = service.completed("a.csv", "id\n1\n").await;
        let answer = service
            .send(Request::patch(&format!("/api/jobs/{job}")).json(r#"{"priority": 7}"#))
            .await;
        assert_eq!(answer.problem(), (409, "wrong_state".to_owned()));
    }

    #[tokio::test]
    async fn a_body_that_cannot_be_used_is_told_member_by_member() {
        let service = Service::start().await;
        let job = service.upload("a.csv", "id\n1\n").await;
        let path = format!("/api/jobs/{job}");
        for (body, status, code) in [
            ("", 400, "malformed_json"),
            ("{", 400, "malformed_json"),
            ("[1]", 400, "invalid_body"),
            ("{}", 400, "invalid_body"),
            (r#"{"priority": 11}"#, 400, "invalid_body"),
            (r#"{"priority": -1}"#, 400, "invalid_body"),
            (r#"{"priority": 1.5}"#, 400, "invalid_body"),
            (r#"{"priority": 1e-42}"#, 400, "invalid_body"),
            (r#"{"priority": "1"}"#, 400, "invalid_body"),
            (r#"{"priority": null}"#, 400, "invalid_body"),
            (
                r#"{"priority": 1, "status": "FAILED"}"#,
                400,
                "invalid_body",
            ),
            (
                &format!("[\"{}\"]", "x".repeat(70_000)),
                413,
                "body_too_large",
            ),
        ] {
            let answer = service.send(Request::patch(&path).json(body)).await;
            assert_eq!(answer.problem(), (status, code.to_owned()), "{body:.40}");
        }
        let both = Request::patch(&path).json(r#"{"priority": 11, "a/b": 1}"#);
        insta::assert_json_snapshot!(service.send(both).await.json()["errors"]);
        let text = Request::patch(&path).body("text/plain", "priority=1");
        let answer = service.send(text).await;
        assert_eq!(answer.problem(), (415, "unsupported_media_type".to_owned()));
    }
}
