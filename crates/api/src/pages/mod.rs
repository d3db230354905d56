//! The web pages: `/` hands files in and lists jobs, `/jobs/{id}` shows one.
//!
//! The server renders everything that is seen; the one script only asks for a page again when something has changed
//! and puts its new parts in place of the old. Nothing is loaded from elsewhere, and the content security policy
//! says so: a file's name or a cell's text that got past the escaping could still not run.

mod assets;
mod download;
mod index;
mod job;
mod list;
mod show;

use askama::Template;
use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::App;
use crate::problem::Problem;

/// Scripts, styles and requests of our own only; no frames, no plug-ins, no inline code.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);

/// Routes of the pages, beside those under `/api`.
pub(crate) fn router() -> Router<App> {
    Router::new()
        .route("/", get(index::index))
        .route("/jobs/{id}", get(job::job))
        .route("/jobs/{id}/results.csv", get(download::results_csv))
        .route("/jobs/{id}/results.parquet", get(download::results_parquet))
        .route("/jobs/{id}/errors.csv", get(download::errors_csv))
        .route("/assets/{name}", get(assets::asset))
        .layer(from_fn(guard))
}

async fn guard(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response
        .headers_mut()
        .insert(CONTENT_SECURITY_POLICY, POLICY);
    response
}

/// Renders a page, or says that the client's copy is still right: pages ask for themselves every few seconds.
fn page(
    template: &impl Template,
    status: StatusCode,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let html = template.render().map_err(Problem::internal)?;
    let tag = assets::tag(html.as_bytes());
    let known = headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| {
            value
                .split(',')
                .any(|one| one.trim().trim_start_matches("W/") == tag)
        });
    let etag = HeaderValue::from_str(&tag).map_err(Problem::internal)?;
    let mut response = if known && status == StatusCode::OK {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        (status, html).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, etag);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    Ok(response)
}

#[cfg(test)]
mod tests;
