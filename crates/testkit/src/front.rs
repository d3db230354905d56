//! A front before an S3-compatible storage that spoils what is read, as broken disks and machines in between do.
//!
//! Everything else passes as it is: the storage takes what is stored, and lists and tells of what there is.

use std::net::SocketAddr;

use anyhow::Context as _;
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, TRANSFER_ENCODING};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use tokio::sync::watch;

use crate::background::Background;

/// Longest body that passes; tests store small files.
const LONGEST: usize = 64 << 20;

/// What comes of reading an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// It is as it was stored.
    Right,
    /// The storage answers with an error of its own.
    Refused,
    /// The connection ends in the middle of it.
    Short,
    /// One bit of it is another.
    Flipped,
}

/// A front before one storage. It lives on a thread of its own and ends with the value.
#[derive(Debug)]
pub struct Front {
    background: Background,
    reads: watch::Sender<Reads>,
}

/// What each request needs.
#[derive(Debug, Clone)]
struct Way {
    server: SocketAddr,
    client: reqwest::Client,
    reads: watch::Receiver<Reads>,
}

impl Front {
    /// Listens on a free port of this machine for requests to the storage at `server`.
    pub fn start(server: SocketAddr) -> anyhow::Result<Self> {
        let (reads, seen) = watch::channel(Reads::Right);
        let way = Way {
            server,
            client: crate::http::client()?,
            reads: seen,
        };
        let app = Router::new().fallback(answer).with_state(way);
        let serve = |listener| axum::serve(listener, app).into_future();
        let background = Background::start("front", serve)?;
        Ok(Self { background, reads })
    }

    /// Where clients find the storage.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.background.address())
    }

    /// Changes what comes of reading from now on.
    pub fn set(&self, reads: Reads) {
        self.reads.send_replace(reads);
    }
}

async fn answer(State(way): State<Way>, request: Request) -> Response {
    let carried = carry(&way, request).await;
    carried.unwrap_or_else(|error| (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response())
}

/// Passes a request on, under the host name that it was signed for, and its answer back.
async fn carry(way: &Way, request: Request) -> anyhow::Result<Response> {
    let (parts, body) = request.into_parts();
    let reads = if parts.method == Method::GET && names_an_object(&parts.uri) {
        *way.reads.borrow()
    } else {
        Reads::Right
    };
    if reads == Reads::Refused {
        return Ok(StatusCode::INTERNAL_SERVER_ERROR.into_response());
    }
    let asked = parts
        .uri
        .path_and_query()
        .context("a request for nothing")?;
    let url = format!("http://{}{asked}", way.server);
    let body = to_bytes(body, LONGEST).await?;
    let sent = way.client.request(parts.method, url).headers(parts.headers);
    let answer = sent.body(body).send().await?;
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    for of_the_connection in [CONNECTION, TRANSFER_ENCODING] {
        headers.remove(of_the_connection);
    }
    let spoilt = spoil(answer.bytes().await?, reads);
    Ok((status, headers, spoilt).into_response())
}

/// `/BUCKET/KEY`, and not a list of what is in the bucket.
fn names_an_object(uri: &Uri) -> bool {
    let path = uri.path().trim_matches('/');
    path.contains('/') && !uri.query().is_some_and(|query| query.contains("list-type"))
}

fn spoil(bytes: Bytes, reads: Reads) -> Body {
    match reads {
        Reads::Right | Reads::Refused => bytes.into(),
        Reads::Flipped => {
            let mut bytes = bytes.to_vec();
            if let Some(first) = bytes.first_mut() {
                *first ^= 1;
            }
            bytes.into()
        }
        Reads::Short => {
            let half = bytes.slice(..bytes.len() / 2);
            let end = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
            Body::from_stream(futures::stream::iter([Ok(half), Err(end)]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A storage that has one object and says under which name it was asked.
    async fn storage() -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback(|request: Request| async move {
            let host = request.headers()[axum::http::header::HOST].clone();
            ([("x-host", host)], "abcd")
        });
        tokio::spawn(axum::serve(listener, app).into_future());
        address
    }

    #[tokio::test]
    async fn reads_are_spoilt_as_wanted_and_everything_else_passes() {
        let front = Front::start(storage().await).unwrap();
        let client = crate::http::client().unwrap();
        let ask = async |method: Method, path: &str| {
            let url = format!("{}{path}", front.endpoint());
            client.request(method, url).send().await.unwrap()
        };
        let object = "/bucket/uploads/a";
        let right = ask(Method::GET, object).await;
        assert_eq!(
            right.headers()["x-host"],
            front.background.address().to_string()
        );
        assert_eq!(right.text().await.unwrap(), "abcd");
        front.set(Reads::Flipped);
        assert_eq!(ask(Method::GET, object).await.text().await.unwrap(), "`bcd");
        front.set(Reads::Short);
        // Whether status and first half come before the end depends on when they are sent off.
        let short = client.get(format!("{}{object}", front.endpoint()));
        let whole = match short.send().await {
            Ok(answer) => answer.bytes().await,
            Err(broken) => Err(broken),
        };
        assert!(whole.is_err());
        front.set(Reads::Refused);
        assert_eq!(ask(Method::GET, object).await.status(), 500);
        for (method, path) in [
            (Method::PUT, object),
            (Method::GET, "/bucket"),
            (Method::GET, "/bucket/?list-type=2&prefix=a"),
        ] {
            assert_eq!(ask(method, path).await.text().await.unwrap(), "abcd");
        }
    }
}
