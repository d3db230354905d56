//! The outermost layer: names the request, opens its span, writes the bodies of problems and one log line for each
//! failure, and sets the headers that every answer carries.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use filejobs_metrics::table;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, REFERRER_POLICY, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method, StatusCode};
use tracing::Instrument;

use super::request_id::{HEADER, RequestId};
use crate::App;
use crate::auth::access;
use crate::problem::{self, Code, Problem};

/// Wraps every request.
pub(crate) async fn envelope(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = RequestId::of(request.headers(), app.sources());
    request.extensions_mut().insert(id.clone());
    let mut call = Call {
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        route: None,
    };
    let span = tracing::info_span!(
        "request",
        request.id = %id.as_str(),
        key.prefix = tracing::field::Empty
    );
    let mut response = if is_foreign(&request) {
        foreign().into_response()
    } else {
        next.run(request).instrument(span.clone()).await
    };
    call.route = response.extensions_mut().remove::<MatchedPath>();
    if call.method == Method::OPTIONS {
        response = options(response);
    }
    let problem = response.extensions_mut().remove::<Problem>();
    if let Some(problem) = &problem {
        write_body(&mut response, problem, &call.path, &id);
    }
    let took = started.elapsed();
    call.count(response.status(), problem.as_ref(), took);
    span.in_scope(|| call.log(response.status(), problem.as_ref(), took));
    let headers = response.headers_mut();
    headers.insert(HEADER, id.to_header());
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers
        .entry(REFERRER_POLICY)
        .or_insert(HeaderValue::from_static("no-referrer"));
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("private, no-cache"));
    // Many answers have several forms; no cache may mix them up.
    headers
        .entry(VARY)
        .or_insert(HeaderValue::from_static("accept"));
    response
}

/// Whether a browser says that a page of another site makes the request. Without this, any page that a person opens
/// could hand files in to a service on that person's own machine.
fn is_foreign(request: &Request) -> bool {
    !request.method().is_safe()
        && request
            .headers()
            .get("sec-fetch-site")
            .is_some_and(|site| site == "cross-site")
}

/// A page that is not ours made a browser send the request.
pub(crate) fn foreign() -> Problem {
    Problem::new(
        Code::CrossSite,
        "A page of another site sent this request through a browser. Send it from the service's own pages, or by a program of yours.",
    )
}

/// Only inside the router is it known which route matched: tells it to the layer around the router.
pub(crate) async fn tell_route(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    if let Some(route) = route {
        response.extensions_mut().insert(route);
    }
    response
}

/// `OPTIONS` tells what a path takes: the answer that would be 405 already carries it.
fn options(refused: Response) -> Response {
    if refused.status() != StatusCode::METHOD_NOT_ALLOWED {
        return refused;
    }
    let allow = refused.headers().get(ALLOW).cloned();
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Some(allow) = allow {
        response.headers_mut().insert(ALLOW, allow);
    }
    response
}

fn write_body(response: &mut Response, problem: &Problem, path: &str, id: &RequestId) {
    let body = problem.to_json(path, id.as_str());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(problem::MEDIA_TYPE));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    *response.body_mut() = Body::from(body);
}

/// The name of a method as metrics have it: callers can make up others.
fn method(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    let known = KNOWN.into_iter().find(|known| *known == method.as_str());
    known.unwrap_or("other")
}

/// What was asked for, for metrics and the log.
struct Call {
    method: Method,
    path: String,
    route: Option<MatchedPath>,
}

impl Call {
    /// Counts the call. Every label is one of ours, whatever was asked for.
    fn count(&self, status: StatusCode, problem: Option<&Problem>, took: Duration) {
        let route = self.route.as_ref().map(MatchedPath::as_str);
        let route = route.and_then(access::template).unwrap_or("other");
        let class = match status.as_u16() {
            100..=199 => "1xx",
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            _ => "5xx",
        };
        table::HTTP_DURATION.observe([method(&self.method), route, class], took);
        if let Some(problem) = problem {
            table::HTTP_PROBLEMS.one([problem.code().as_str()]);
        }
    }

    fn log(&self, status: StatusCode, problem: Option<&Problem>, took: Duration) {
        let (status, ms) = (status.as_u16(), took.as_secs_f64() * 1000.0);
        let (method, path) = (self.method.as_str(), self.path.as_str());
        let route = self.route.as_ref().map_or("", MatchedPath::as_str);
        let code = problem.map_or("", |p| p.code().as_str());
        if status >= 500 {
            let cause = problem.and_then(Problem::cause_chain).unwrap_or_default();
            tracing::error!(
                http.method = method,
                http.path = path,
                http.route = route,
                http.status = status,
                duration_ms = ms,
                problem.code = code,
                error = cause,
                "request failed"
            );
        } else if status >= 400 {
            let places = problem.map(Problem::places).unwrap_or_default();
            tracing::info!(
                http.method = method,
                http.path = path,
                http.route = route,
                http.status = status,
                duration_ms = ms,
                problem.code = code,
                problem.places = places,
                "request refused"
            );
        } else {
            tracing::debug!(
                http.method = method,
                http.path = path,
                http.route = route,
                http.status = status,
                duration_ms = ms,
                "request served"
            );
        }
    }
}
