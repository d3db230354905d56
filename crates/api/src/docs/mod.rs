//! `GET /api/openapi.json`, and a page that shows it without a single request to anywhere else.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::extract::accept::JSON;
use crate::pages::Route;
use crate::problem::{Problem, problems};

problems!(Problems:);

/// What the page may load: its own two files and the description beside it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The calls that are part of the description.
pub(crate) fn api() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(openapi))
        .routes(routes!(page))
}

/// The files of the page.
pub(crate) fn routes() -> [Route; 2] {
    [
        Route::get(
            "/api/docs/docs.js",
            get(|| async { asset("text/javascript; charset=utf-8", include_str!("docs.js")) }),
        ),
        Route::get(
            "/api/docs/docs.css",
            get(|| async { asset("text/css; charset=utf-8", include_str!("docs.css")) }),
        ),
    ]
}

/// This description
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "docs",
    operation_id = "get_openapi",
    responses((status = 200, description = "OpenAPI 3.1", body = Object, content_type = "application/json"), Problems)
)]
async fn openapi(State(app): State<App>) -> Result<Response, Problem> {
    let body: Bytes = app.description()?;
    Ok(([(CONTENT_TYPE, JSON)], body).into_response())
}

/// A page that shows this description
#[utoipa::path(
    get,
    path = "/docs",
    tag = "docs",
    operation_id = "get_docs",
    responses((status = 200, description = "The page", body = String, content_type = "text/html"), Problems)
)]
async fn page() -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, include_str!("docs.html")).into_response()
}

fn asset(media: &'static str, text: &'static str) -> Response {
    ([(CONTENT_TYPE, media), (CACHE_CONTROL, "no-cache")], text).into_response()
}

#[cfg(test)]
mod tests {
    use crate::tests::Service;

    #[tokio::test]
    async fn the_page_loads_nothing_from_elsewhere() {
        let service = Service::start().await;
        let page = service.get("/api/docs").await;
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        assert!(
            page.header("content-security-policy")
                .starts_with("default-src 'none'")
        );
        for path in ["/api/docs", "/api/docs/docs.js", "/api/docs/docs.css"] {
            let text = service.get(path).await.text();
            assert!(
                !text.contains("https://") && !text.contains("http://"),
                "{path}"
            );
        }
    }

    #[tokio::test]
    async fn the_description_is_served() {
        let service = Service::start().await;
        let answer = service.get("/api/openapi.json").await;
        assert_eq!(answer.json()["openapi"], "3.1.0");
        assert!(answer.json()["paths"]["/api/files/upload"]["post"].is_object());
    }
}
