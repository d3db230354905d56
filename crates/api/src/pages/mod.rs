//! The web pages: `/` hands files in and lists jobs, `/jobs/{id}` shows one, `/sign-in` takes an API key.
//!
//! The server renders everything that is seen; the one script only asks for a page again when something has changed
//! and puts its new parts in place of the old. Nothing is loaded from elsewhere, and the content security policy
//! says so: a file's name or a cell's text that got past the escaping could still not run.

mod assets;
mod download;
mod index;
mod job;
mod list;
mod session;
mod show;

use askama::Template;
use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::App;
use crate::problem::Problem;

pub(crate) use session::sign_in;

/// Scripts, styles and requests of our own only; no frames, no plug-ins, no inline code.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);

/// A route that the OpenAPI description does not tell of.
pub(crate) struct Route {
    pub(crate) path: &'static str,
    /// The methods that `handler` takes.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "tests hold the table of access against it")
    )]
    pub(crate) methods: &'static [Method],
    handler: MethodRouter<App>,
}

impl Route {
    /// One that takes `GET`.
    pub(crate) fn get(path: &'static str, handler: MethodRouter<App>) -> Self {
        Self {
            path,
            methods: &[Method::GET],
            handler,
        }
    }
}

/// A router of such routes.
pub(crate) fn router_of(routes: impl IntoIterator<Item = Route>) -> Router<App> {
    let add = |router: Router<App>, route: Route| router.route(route.path, route.handler);
    routes.into_iter().fold(Router::new(), add)
}

/// Routes of the pages, beside those under `/api`.
pub(crate) fn routes() -> [Route; 8] {
    [
        Route::get("/", get(index::index)),
        Route::get("/jobs/{id}", get(job::job)),
        Route::get("/jobs/{id}/results.csv", get(download::results_csv)),
        Route::get("/jobs/{id}/results.parquet", get(download::results_parquet)),
        Route::get("/jobs/{id}/errors.csv", get(download::errors_csv)),
        Route::get("/assets/{name}", get(assets::asset)),
        Route {
            path: "/sign-in",
            methods: &[Method::GET, Method::POST],
            handler: get(session::form).post(session::begin),
        },
        Route {
            path: "/sign-out",
            methods: &[Method::POST],
            handler: post(session::end),
        },
    ]
}

/// The pages.
pub(crate) fn router() -> Router<App> {
    router_of(routes()).layer(from_fn(guard))
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
