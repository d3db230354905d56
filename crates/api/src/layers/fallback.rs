//! Answers where no handler has one: unknown paths, wrong methods, panics.

use std::any::Any;

use axum::response::{IntoResponse, Response};
use http::Method;

use crate::problem::{Code, Problem};

/// Nothing is served at the path.
pub(crate) async fn route_not_found() -> Problem {
    Problem::new(
        Code::RouteNotFound,
        "Nothing is served at this path. GET /api/openapi.json lists every path; /api/docs shows them.",
    )
}

/// The path does not take the method. The router adds the `Allow` header.
pub(crate) async fn method_not_allowed(method: Method) -> Problem {
    Problem::new(
        Code::MethodNotAllowed,
        format!("This path does not take {method}. The `Allow` header lists the methods it takes."),
    )
}

/// A handler panicked: the client sees a defect, the log sees the message.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the layer calls it with the panic's value"
)]
pub(crate) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    Problem::internal(format!("a handler panicked: {message}")).into_response()
}
