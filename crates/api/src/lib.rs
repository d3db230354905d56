//! The HTTP side of Filejobs: the calls under `/api`, their description, and the pages.
//!
//! [`router`] is everything that answers, without a socket: tests send requests straight into it. [`serve`] puts it
//! behind a listener with bounds for whatever a client can hold. Wherever a request cannot be served the answer is a
//! [`problem::Problem`].

mod app;
mod auth;
mod docs;
mod download;
mod extract;
mod jobs;
mod layers;
mod openapi;
mod pages;
pub mod problem;
mod server;
mod service;
mod upload;

#[cfg(test)]
mod tests;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use tower_http::catch_panic::CatchPanicLayer;

pub use app::{App, Backend, Backends, Parts};
pub use auth::Auth;
pub use openapi::document;
pub use server::{Timeouts, serve, serve_small};
pub use service::health::{Condition, Probes};
#[doc(hidden)]
pub use upload::read_form_for_fuzzing;

use layers::{envelope, fallback};

/// Every call with its method and path, for tests that must not forget one.
#[doc(hidden)]
pub fn routes() -> impl Iterator<Item = (&'static str, &'static str)> {
    let table = auth::access::TABLE.iter();
    table.map(|((method, path), _)| (method.as_str(), *path))
}

/// Everything that answers: the API, its documentation and the pages.
pub fn router(app: App) -> Router {
    let (api, _) = openapi::api().split_for_parts();
    let inside = Router::new()
        .nest("/api", api)
        .merge(pages::router_of(docs::routes()))
        .merge(pages::router())
        .fallback(fallback::route_not_found)
        .method_not_allowed_fallback(fallback::method_not_allowed)
        .layer(from_fn_with_state(app.clone(), auth::gate::gate))
        .layer(CatchPanicLayer::custom(fallback::panicked))
        .layer(from_fn(envelope::tell_route))
        .with_state(app.clone());
    // Around the router, not within it: only there has a 405 got its `Allow` header.
    Router::new()
        .fallback_service(inside)
        .layer(from_fn_with_state(app, envelope::envelope))
}
