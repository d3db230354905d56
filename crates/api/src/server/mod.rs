//! Serves the router over HTTP/1.1. Everything a client can hold (a connection, a header, a body, an answer) has a
//! bound; see [`Timeouts`].

mod body;
mod io;
mod patience;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::App;
use body::{Drain, RequestBody};
use io::Connection;

pub(crate) use body::{body_timeout, is_idle_timeout};

/// How long anything may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For the header of a request, and between two requests of a connection.
    pub header: Duration,
    /// For a body to go on.
    pub body_idle: Duration,
    /// For a client to take more of an answer.
    pub write_idle: Duration,
    /// For a client to send the rest of a request that was refused.
    pub drain: Duration,
    /// For requests under way when the service stops.
    pub grace: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            header: seconds(30),
            body_idle: seconds(30),
            write_idle: seconds(30),
            drain: seconds(30),
            grace: seconds(10),
        }
    }
}

/// The longest header of a request.
const HEADER_BYTES: usize = 64 * 1024;
/// What a refused client may still send, even where uploads are small: closing on it could lose it the answer.
const DRAIN_BYTES: u64 = 64 << 20;
/// Clients beyond the cap that are told so at the same time; others are just closed.
const REFUSALS: usize = 64;
/// Connections of a small server.
const FEW: usize = 64;
/// The pause after the system could not accept a connection (too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a connection beyond the cap gets.
const TOO_MANY_CONNECTIONS: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: text/plain; charset=utf-8\r\n\
    content-length: 45\r\n\
    retry-after: 1\r\n\
    connection: close\r\n\r\n\
    Too many connections are open. Try again soon";

/// Serves until `shutdown`, then lets requests under way end within [`Timeouts::grace`].
///
/// Cancel-safe: dropping it closes the listener and cuts every connection off.
pub async fn serve(
    listener: TcpListener,
    app: App,
    timeouts: Timeouts,
    shutdown: impl Future<Output = ()> + Send,
) {
    let bounds = Bounds {
        connections: app.limits().connections as usize,
        drain_bytes: (app.limits().upload_bytes.saturating_mul(2)).max(DRAIN_BYTES),
    };
    let closing = app.closing().clone();
    let router = crate::router(app);
    converse(listener, router, bounds, timeouts, closing, shutdown).await;
}

/// Serves another router in the same way, for few clients with small requests: probes.
pub async fn serve_small(
    listener: TcpListener,
    router: Router,
    timeouts: Timeouts,
    shutdown: impl Future<Output = ()> + Send,
) {
    let bounds = Bounds {
        connections: FEW,
        drain_bytes: 64 * 1024,
    };
    let closing = CancellationToken::new();
    converse(listener, router, bounds, timeouts, closing, shutdown).await;
}

/// What clients together may hold.
struct Bounds {
    connections: usize,
    drain_bytes: u64,
}

async fn converse(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    timeouts: Timeouts,
    closing: CancellationToken,
    shutdown: impl Future<Output = ()> + Send,
) {
    let server = Server {
        router,
        permits: Arc::new(Semaphore::new(bounds.connections)),
        refusals: Arc::new(Semaphore::new(REFUSALS)),
        drain: Drain {
            bytes: bounds.drain_bytes,
            time: timeouts.drain,
        },
        timeouts,
        cut_off: CancellationToken::new(),
    };
    let _guard = server.cut_off.clone().drop_guard();
    let graceful = GracefulShutdown::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => server.take(socket, &graceful),
                Err(error) => {
                    tracing::warn!(error = %error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
    drop(listener);
    closing.cancel();
    if tokio::time::timeout(timeouts.grace, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("requests under way did not end in time and are cut off");
    }
}

struct Server {
    router: Router,
    permits: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    drain: Drain,
    timeouts: Timeouts,
    /// Ends whatever connection is left when the server is gone.
    cut_off: CancellationToken,
}

impl Server {
    /// Serves a connection in a task of its own, or tells it that there are too many.
    fn take(&self, socket: TcpStream, graceful: &GracefulShutdown) {
        match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => self.converse(socket, permit, graceful),
            Err(_) => self.refuse(socket),
        }
    }

    fn converse(
        &self,
        socket: TcpStream,
        permit: OwnedSemaphorePermit,
        graceful: &GracefulShutdown,
    ) {
        // Answers are written whole: waiting for more to send only delays them.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(error = %error, "a socket keeps its delay");
        }
        let (router, idle, drain) = (self.router.clone(), self.timeouts.body_idle, self.drain);
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let awaits_leave = request.headers().contains_key(http::header::EXPECT);
            let request =
                request.map(|body| Body::new(RequestBody::new(body, idle, drain, awaits_leave)));
            router.clone().oneshot(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.timeouts.header)
            .max_header_size(HEADER_BYTES)
            .serve_connection(
                TokioIo::new(Connection::new(socket, self.timeouts.write_idle)),
                service,
            );
        let connection = self
            .cut_off
            .clone()
            .run_until_cancelled_owned(graceful.watch(connection));
        tokio::spawn(async move {
            if let Some(Err(error)) = connection.await {
                // The client's side of things: timeouts, resets, what is no HTTP.
                tracing::debug!(error = %error, "a connection broke off");
            }
            drop(permit);
        });
    }

    fn refuse(&self, mut socket: TcpStream) {
        let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() else {
            return;
        };
        tokio::spawn(async move {
            let tell = async {
                socket.write_all(TOO_MANY_CONNECTIONS).await?;
                socket.shutdown().await
            };
            let _ = tokio::time::timeout(Duration::from_secs(2), tell).await;
            drop(permit);
        });
    }
}
