//! Requests into the real router, with a database and a folder of their own for each test.
//!
//! Clock and ids stand still or count up, so that bodies can be compared byte for byte.

mod answers;
mod bad_requests;
mod form;
mod keys;
mod work;

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use filejobs_blobs::Blobs;
use filejobs_core::sources::{Clock, Fixed};
use filejobs_core::{JobId, Limits, Sources};
use filejobs_queue::Memory;
use filejobs_store::Store;
use filejobs_store_sqlite::SqliteStore;
use filejobs_testkit::disk::files_below;
use http::Method;
use http_body_util::BodyExt;
use jiff::Timestamp;
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt;

use crate::{App, Auth, Backend, Backends, Parts};

pub(crate) use form::Form;

/// The service under test.
pub(crate) struct Service {
    pub(crate) app: App,
    router: Router,
    store: Arc<SqliteStore>,
    clock: Arc<Fixed>,
    folder: TempDir,
}

impl Service {
    /// A service with the usual limits.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// A service that cuts files of a few kilobytes.
    pub(crate) async fn with_small_pieces() -> Self {
        Self::start_with(|limits| limits.split_bytes = 16 * 1024).await
    }

    /// A service with other limits.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Limits)) -> Self {
        Self::start_as(Auth::None, change).await
    }

    /// A service that asks for keys.
    pub(crate) async fn with_keys() -> Self {
        Self::start_as(Auth::Keys, |_| {}).await
    }

    async fn start_as(auth: Auth, change: impl FnOnce(&mut Limits)) -> Self {
        let mut limits = Limits::default();
        change(&mut limits);
        let folder = tempfile::tempdir().unwrap();
        let clock = Fixed::new("2026-01-31T12:00:00Z".parse().unwrap(), 0.5);
        let sources: Sources = clock.sources();
        let store = SqliteStore::open(&folder.path().join("filejobs.db"), sources.clone())
            .await
            .unwrap();
        let app = App::new(Parts {
            store: store.clone(),
            queue: Arc::new(Memory::new(100)),
            blobs: Blobs::local(&folder.path().join("blobs")).await.unwrap(),
            limits,
            sources,
            backends: Backends {
                db: Backend::Embedded,
                redis: Backend::Embedded,
                storage: Backend::Remote,
            },
            auth,
        });
        Self {
            router: crate::router(app.clone()),
            app,
            store,
            clock,
            folder,
        }
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.store
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Moves the clock on.
    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// How many files lie in the blob store.
    pub(crate) fn files(&self) -> usize {
        files_below(&self.folder.path().join("blobs")).len()
    }

    /// Sends a request and reads the answer to its end.
    pub(crate) async fn send(&self, request: Request) -> Answer {
        let response = self.open(request).await;
        let (parts, body) = response.into_parts();
        let answer = tokio::time::timeout(PATIENCE, body.collect());
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: answer.await.expect("the answer ends").unwrap().to_bytes(),
        }
    }

    /// Sends a request and leaves its body unread.
    pub(crate) async fn open(&self, request: Request) -> Response {
        let answer = self.router.clone().oneshot(request.0);
        tokio::time::timeout(PATIENCE, answer)
            .await
            .expect("an answer in time")
            .unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path)).await
    }

    pub(crate) async fn post(&self, path: &str) -> Answer {
        self.send(Request::new(Method::POST, path)).await
    }

    /// Hands a file in; the job waits.
    pub(crate) async fn upload(&self, name: &str, content: &str) -> JobId {
        let answer = self.send(Form::file(name, content).request()).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer.job()
    }

    /// Hands a file in and has it read.
    pub(crate) async fn completed(&self, name: &str, content: &str) -> JobId {
        let job = self.upload(name, content).await;
        self.work().await;
        job
    }
}

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until something holds.
pub(crate) async fn eventually<F, C>(what: &str, mut check: F)
where
    F: FnMut() -> C,
    C: Future<Output = bool>,
{
    let began = std::time::Instant::now();
    while !check().await {
        assert!(began.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A request in the making.
#[derive(Debug)]
pub(crate) struct Request(http::Request<Body>);

impl Request {
    pub(crate) fn new(method: Method, path: &str) -> Self {
        let mut request = http::Request::new(Body::empty());
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().unwrap();
        // Else each request would have a name of its own, and no two problems the same body.
        Self(request).header("x-request-id", "test")
    }

    pub(crate) fn get(path: &str) -> Self {
        Self::new(Method::GET, path)
    }

    pub(crate) fn patch(path: &str) -> Self {
        Self::new(Method::PATCH, path)
    }

    pub(crate) fn delete(path: &str) -> Self {
        Self::new(Method::DELETE, path)
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.0.headers_mut().insert(name, value.parse().unwrap());
        self
    }

    pub(crate) fn without(mut self, name: &'static str) -> Self {
        self.0.headers_mut().remove(name);
        self
    }

    pub(crate) fn json(self, body: &str) -> Self {
        self.body("application/json", body.to_owned())
    }

    pub(crate) fn body(mut self, media: &str, body: impl Into<Body>) -> Self {
        *self.0.body_mut() = body.into();
        self.header("content-type", media)
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> String {
        self.try_header(name)
            .unwrap_or_else(|| panic!("no header {name} in {:?}", self.headers))
    }

    pub(crate) fn try_header(&self, name: &str) -> Option<String> {
        Some(self.headers.get(name)?.to_str().unwrap().to_owned())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// The job that an upload made.
    #[track_caller]
    pub(crate) fn job(&self) -> JobId {
        let body = self.json();
        let id = body["job_id"].as_str().unwrap_or_else(|| panic!("{body}"));
        id.parse().unwrap()
    }

    /// Status and code of a problem that has all that a problem must have.
    #[track_caller]
    pub(crate) fn problem(&self) -> (u16, String) {
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{}",
            self.text()
        );
        let body = self.json();
        for member in ["type", "title", "detail", "instance", "code", "request_id"] {
            assert!(
                body[member].as_str().is_some_and(|t| !t.is_empty()),
                "{member}: {body}"
            );
        }
        assert_eq!(body["status"], self.status);
        assert_eq!(self.header("x-request-id"), body["request_id"]);
        (self.status, body["code"].as_str().unwrap().to_owned())
    }
}

/// Rows of `id,name` that make a file of many small pieces, and the ids of those that are rejected. Ids count from 1,
/// as rows do; the schema that is inferred wants a whole number and a name.
pub(crate) fn many_rows() -> (String, Vec<String>) {
    let mut text = "id,name\n".to_owned();
    let mut rejected = Vec::new();
    for row in 1..=5_000 {
        // Some rows have no name, which a column of an inferred schema must have.
        let name = if row % 97 == 0 {
            rejected.push(row.to_string());
            String::new()
        } else {
            format!("name \"{row}\"").replace('"', "\"\"")
        };
        writeln!(text, "{row},\"{name}\"").unwrap();
    }
    (text, rejected)
}
