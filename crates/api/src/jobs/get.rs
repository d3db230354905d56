//! `GET /api/jobs/{id}`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};
use sha2::{Digest, Sha256};

use super::view::{self, Detail};
use crate::App;
use crate::extract::id::JobPath;
use crate::problem::{Problem, problems};

problems!(Problems: JobNotFound);

/// One job
#[utoipa::path(
    get,
    path = "/jobs/{id}",
    tag = "jobs",
    operation_id = "get_job",
    params(
        ("id" = String, Path, format = "uuid", description = "The job"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of an earlier answer: 304 while nothing has changed"),
    ),
    responses(
        (status = 200, description = "The job as it stands", body = Detail,
         headers(("ETag" = String, description = "Weak: changes whenever anything about the job does"))),
        (status = 304, description = "Nothing has changed since the answer with this `ETag`"),
        Problems,
    )
)]
pub(super) async fn get(
    State(app): State<App>,
    path: JobPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let job = path.find(&app).await?;
    let wait = view::wait(&app, &job).await?;
    let job = Detail::new(job, wait);
    let body = serde_json::to_vec(&job).map_err(Problem::internal)?;
    let tag = entity_tag(&body);
    if matches(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, tag)]).into_response());
    }
    let json = HeaderValue::from_static("application/json");
    Ok(([(ETAG, tag), (CONTENT_TYPE, json)], body).into_response())
}

/// A tag made of the answer itself cannot forget a field.
fn entity_tag(body: &[u8]) -> HeaderValue {
    let hash = Sha256::digest(body);
    let tag = format!("W/\"{}\"", crate::upload::hex(&hash[..12]));
    HeaderValue::from_str(&tag).unwrap_or_else(|_| HeaderValue::from_static("W/\"\""))
}

/// Weak comparison: the `W/` counts for nothing.
fn matches(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let bare = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let ours = tag.to_str().map(bare).unwrap_or_default();
    headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|theirs| theirs.trim() == "*" || bare(theirs) == ours)
}

#[cfg(test)]
mod tests {
    use filejobs_core::JobId;

    use crate::tests::{Request, Service};

    #[tokio::test]
    async fn a_job_is_shown_with_everything_about_it() {
        let service = Service::start().await;
        let job = service.upload("orders.csv", "id,name\n1,a\n").await;
        let answer = service.get(&format!("/api/jobs/{job}")).await;
        assert_eq!(answer.status, 200);
        insta::assert_json_snapshot!(answer.json());
    }

    #[tokio::test]
    async fn an_unchanged_job_is_not_sent_again() {
        let service = Service::start().await;
        let job = service.upload("orders.csv", "id\n1\n").await;
        let path = format!("/api/jobs/{job}");
        let tag = service.get(&path).await.header("etag");
        let again = Request::get(&path).header("if-none-match", &format!("\"x\", {tag}"));
        let again = service.send(again).await;
        assert_eq!((again.status, again.body.len()), (304, 0));

        service.post(&format!("{path}/suspend")).await;
        let changed = Request::get(&path).header("if-none-match", &tag);
        assert_eq!(service.send(changed).await.status, 200);
    }

    #[tokio::test]
    async fn a_job_tells_why_it_waits_and_where_it_stands() {
        let service = Service::start().await;
        let first = service.upload("a.csv", "id\n1\n").await;
        service.advance(std::time::Duration::from_secs(1));
        let second = service.upload("b.csv", "id\n1\n").await;
        let told = async |job: &JobId| {
            let job = service.get(&format!("/api/jobs/{job}")).await.json();
            (
                job["waiting_reason"].clone(),
                job["queue_position"].clone(),
                job["queue_position_at_least"].clone(),
            )
        };
        let waits = |reason: &str, position: u64| (reason.into(), position.into(), false.into());
        assert_eq!(told(&first).await, waits("no_workers", 1));
        assert_eq!(told(&second).await, waits("no_workers", 2));
        let nothing = serde_json::Value::Null;
        service.post(&format!("/api/jobs/{first}/suspend")).await;
        let suspended = ("suspended".into(), nothing.clone(), nothing.clone());
        assert_eq!(told(&first).await, suspended);
        assert_eq!(told(&second).await, waits("no_workers", 1));
        service.post(&format!("/api/jobs/{second}/cancel")).await;
        let ended = (nothing.clone(), nothing.clone(), nothing);
        assert_eq!(told(&second).await, ended);
    }

    #[tokio::test]
    async fn an_id_that_names_nothing_is_not_found_whatever_it_looks_like() {
        let service = Service::start().await;
        for id in [
            "0190f5a4-7c2e-7d3a-9b1c-2f6e8a4d5c6b",
            "0190F5A4-7C2E-7D3A-9B1C-2F6E8A4D5C6B",
            "1",
            "%00",
            "%ff",
            "..%2F..%2Fetc%2Fpasswd",
        ] {
            let answer = service.get(&format!("/api/jobs/{id}")).await;
            assert_eq!(answer.problem(), (404, "job_not_found".to_owned()), "{id}");
        }
    }
}
