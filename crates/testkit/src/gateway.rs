//! What stands between a client and a Kubernetes API server and decides the fate of each request: it lets it through,
//! answers it itself, keeps its answer back, or changes what is answered. It writes down all that was asked.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::serve::ListenerExt as _;
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _, stream};
use reqwest::header::{CONTENT_TYPE, HOST, RETRY_AFTER};
use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::background::Background;
use crate::kube::KubeServer;

/// Bytes of a request that are taken; an API server takes no more than three million.
const REQUEST_BYTES: usize = 4 << 20;

/// What was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    /// What of which kind, in the words of a Role: `patch filejobs/status`, `watch filejobs`, `create events`.
    pub what: String,
    /// The object's name; empty for lists and what makes objects.
    pub name: String,
    /// When.
    pub at: Instant,
    /// How the API server answered; nothing while it has not, and where it was not asked.
    pub status: Option<u16>,
}

impl Asked {
    /// Whether it was to change something, and is not the Lease that a leader renews.
    #[must_use]
    pub fn writes(&self) -> bool {
        let reads = ["get ", "list ", "watch "];
        !reads.iter().any(|verb| self.what.starts_with(verb)) && !self.what.ends_with(" leases")
    }
}

/// What becomes of a request.
#[derive(Debug, Clone)]
pub enum Fate {
    /// It passes.
    Pass,
    /// It is answered with this status, and does not pass.
    Refused(u16),
    /// It is answered with this text, and does not pass.
    Told(String),
    /// It does not pass, and is never answered.
    Lost,
    /// It passes when the other end of this is dropped.
    Held(watch::Receiver<()>),
    /// It passes, and its answer does not come back.
    Unanswered,
    /// It passes, and each line of the answer is changed: a watch sends an event a line.
    Changed(fn(&str) -> String),
}

type Judge = Box<dyn FnMut(&Asked) -> Fate + Send>;

#[derive(Clone)]
struct Gate {
    server: String,
    client: reqwest::Client,
    judge: Arc<Mutex<Judge>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// A running gateway. It lives on a thread of its own and ends with the value.
pub struct Gateway {
    background: Background,
    gate: Gate,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway")
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}

impl Gateway {
    /// Listens on a free port of this machine, without TLS, and lets everything through.
    pub fn start(server: &KubeServer) -> anyhow::Result<Self> {
        let authority = reqwest::Certificate::from_pem_bundle(&server.authority()?)?;
        let client = reqwest::Client::builder()
            .tls_certs_only(authority)
            .http1_only()
            .build()?;
        let gate = Gate {
            server: server.url(),
            client,
            judge: Arc::new(Mutex::new(Box::new(|_| Fate::Pass))),
            asked: Arc::default(),
        };
        let router = Router::new().fallback(pass).with_state(gate.clone());
        // Events of a watch are small: without it each may wait 40 ms for the reader's acknowledgement of the last.
        let at_once = |socket: &mut TcpStream| drop(socket.set_nodelay(true));
        let serve = move |listener: TcpListener| {
            axum::serve(listener.tap_io(at_once), router).into_future()
        };
        let background = Background::start("gateway", serve)?;
        Ok(Self { background, gate })
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.background.address()
    }

    /// Who decides from now on. It is asked for one request after the other.
    pub fn judge(&self, judge: impl FnMut(&Asked) -> Fate + Send + 'static) {
        *lock(&self.gate.judge) = Box::new(judge);
    }

    /// Lets everything through from now on.
    pub fn open(&self) {
        self.judge(|_| Fate::Pass);
    }

    /// All that was asked so far, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.gate.asked).clone()
    }

    /// What was to change something last.
    #[must_use]
    pub fn last_write(&self) -> Option<Asked> {
        let asked = lock(&self.gate.asked);
        asked.iter().rfind(|asked| asked.writes()).cloned()
    }

    /// How much of that there is.
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.gate.asked).len()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn pass(State(gate): State<Gate>, request: Request) -> Response {
    let asked = read(request.method(), &request.uri().to_string());
    let fate = (lock(&gate.judge))(&asked);
    let number = {
        let mut all = lock(&gate.asked);
        all.push(asked);
        all.len() - 1
    };
    match fate {
        Fate::Pass => forward(&gate, number, request, None).await,
        Fate::Changed(change) => forward(&gate, number, request, Some(change)).await,
        Fate::Refused(status) => refused(status),
        Fate::Told(text) => told(StatusCode::OK, text),
        Fate::Lost => std::future::pending().await,
        Fate::Held(mut held) => {
            while held.changed().await.is_ok() {}
            forward(&gate, number, request, None).await
        }
        Fate::Unanswered => {
            forward(&gate, number, request, None).await;
            std::future::pending().await
        }
    }
}

async fn forward(
    gate: &Gate,
    number: usize,
    request: Request,
    change: Option<fn(&str) -> String>,
) -> Response {
    let url = format!("{}{}", gate.server, request.uri());
    let (parts, body) = request.into_parts();
    let mut headers = parts.headers;
    headers.remove(HOST);
    let Ok(body) = axum::body::to_bytes(body, REQUEST_BYTES).await else {
        return refused(413);
    };
    let asked = gate.client.request(parts.method, url).headers(headers);
    let answer = match asked.body(body).send().await {
        Ok(answer) => answer,
        Err(error) => return told(StatusCode::BAD_GATEWAY, error.to_string()),
    };
    let status = answer.status();
    if let Some(asked) = lock(&gate.asked).get_mut(number) {
        asked.status = Some(status.as_u16());
    }
    let kind = answer.headers().get(CONTENT_TYPE).cloned();
    let pieces = answer.bytes_stream();
    let body = match change {
        None => Body::from_stream(pieces),
        Some(change) => Body::from_stream(changed(pieces, change)),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    if let Some(kind) = kind {
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    response
}

/// The lines of an answer, each changed; what follows the last line end counts as a line.
fn changed(
    pieces: impl Stream<Item = reqwest::Result<Bytes>> + Send + 'static,
    change: fn(&str) -> String,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
    let apply = move |line: &[u8]| Ok(Bytes::from(change(&String::from_utf8_lossy(line))));
    let begun = (Some(Box::pin(pieces)), BytesMut::new());
    stream::unfold(begun, move |(mut pieces, mut rest)| async move {
        loop {
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line = rest.split_to(end + 1);
                return Some((apply(&line), (pieces, rest)));
            }
            match pieces.as_mut()?.next().await {
                Some(Ok(piece)) => rest.extend_from_slice(&piece),
                Some(Err(_)) | None if rest.is_empty() => return None,
                Some(Err(_)) | None => return Some((apply(&rest), (None, BytesMut::new()))),
            }
        }
    })
}

fn told(status: StatusCode, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let json = reqwest::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// An answer as an API server gives it that does not do what was asked.
fn refused(status: u16) -> Response {
    let reason = match status {
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        _ => "InternalError",
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let text = failure(status.as_u16(), reason).to_string();
    let mut response = told(status, text);
    if status == StatusCode::TOO_MANY_REQUESTS {
        let second = reqwest::header::HeaderValue::from_static("1");
        response.headers_mut().insert(RETRY_AFTER, second);
    }
    response
}

/// A `Status` that tells of a failure; in a watch it comes as the object of an event of type `ERROR`.
#[must_use]
pub fn failure(code: u16, reason: &str) -> serde_json::Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "the test's gateway says so", "reason": reason, "code": code
    })
}

/// Reads a request as the API server's authoriser does.
fn read(method: &Method, uri: &str) -> Asked {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    // `api/VERSION`, or `apis/GROUP/VERSION`.
    let skip = if parts.next() == Some("api") { 1 } else { 2 };
    let mut parts: Vec<&str> = parts.skip(skip).collect();
    if parts.len() > 2 && parts[0] == "namespaces" {
        parts.drain(..2);
    }
    let mut parts = parts.into_iter();
    let (kind, name, below) = (parts.next(), parts.next(), parts.next());
    let kind = kind.unwrap_or_default();
    let watches = query
        .split('&')
        .any(|one| one == "watch=true" || one == "watch=1");
    let verb = match (method.as_str(), name) {
        ("GET", _) if watches => "watch",
        ("GET", Some(_)) => "get",
        ("GET", None) => "list",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", _) => "delete",
        (other, _) => other,
    };
    let below = below.map(|below| format!("/{below}")).unwrap_or_default();
    Asked {
        what: format!("{verb} {kind}{below}"),
        name: name.unwrap_or_default().to_owned(),
        at: Instant::now(),
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_a_role_names_them() {
        let objects = "/apis/filejobs.dev/v1alpha1/namespaces/team/filejobs";
        let own = "/apis/coordination.k8s.io/v1/namespaces/team/leases/leader";
        for (method, uri, what, name, writes) in [
            (
                Method::PATCH,
                format!("{objects}/a/status?force=true"),
                "patch filejobs/status",
                "a",
                true,
            ),
            (
                Method::GET,
                format!("{objects}?watch=true&limit=5"),
                "watch filejobs",
                "",
                false,
            ),
            (
                Method::POST,
                objects.to_owned(),
                "create filejobs",
                "",
                true,
            ),
            (
                Method::GET,
                "/apis/filejobs.dev/v1alpha1/filejobs".to_owned(),
                "list filejobs",
                "",
                false,
            ),
            (
                Method::GET,
                "/api/v1/namespaces/team/configmaps/b".to_owned(),
                "get configmaps",
                "b",
                false,
            ),
            (
                Method::PUT,
                own.to_owned(),
                "update leases",
                "leader",
                false,
            ),
        ] {
            let asked = read(&method, &uri);
            assert_eq!(
                (&*asked.what, &*asked.name, asked.writes()),
                (what, name, writes),
                "{uri}"
            );
        }
    }
}
