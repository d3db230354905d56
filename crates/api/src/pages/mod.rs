//! The web pages at `/`.

use axum::Router;

use crate::App;

/// Routes of the pages, beside those under `/api`.
pub(crate) fn router() -> Router<App> {
    Router::new()
}
