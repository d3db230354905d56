//! Request bodies that neither wait forever nor are cut off while the client still sends.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use filejobs_core::causes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::patience::Patience;
use crate::problem::{Code, Problem};

/// What a client may still send after its request has been refused.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drain {
    /// Bytes.
    pub(super) bytes: u64,
    /// Time.
    pub(super) time: Duration,
}

/// The client stopped sending.
#[derive(Debug, thiserror::Error)]
#[error("the client stopped sending")]
struct IdleTimeout;

/// Whether an error of a body, or one of its causes, says that the client stopped sending.
pub(crate) fn is_idle_timeout(error: &(dyn std::error::Error + 'static)) -> bool {
    causes::find::<IdleTimeout>(error).is_some()
}

/// What a client that stopped sending is answered with.
pub(crate) fn body_timeout() -> Problem {
    Problem::new(
        Code::BodyTimeout,
        "The body stopped coming, or came too slowly. Send it again over a better connection; nothing of it was kept.",
    )
}

/// The body of a request.
///
/// Dropped before its end (the request was refused) it is read on in the background, within bounds. If the
/// connection were closed instead, the client's system could throw the answer away together with what it could not
/// send any more.
#[derive(Debug)]
pub(super) struct RequestBody {
    inner: Option<Incoming>,
    patience: Patience,
    idle: Duration,
    drain: Drain,
    /// The client waits for leave to send; as long as nobody reads, there is nothing to drain.
    awaits_leave: bool,
}

impl RequestBody {
    pub(super) fn new(inner: Incoming, idle: Duration, drain: Drain, awaits_leave: bool) -> Self {
        Self {
            inner: Some(inner),
            patience: Patience::new(idle),
            idle,
            drain,
            awaits_leave,
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        let Some(inner) = &mut this.inner else {
            return Poll::Ready(None);
        };
        this.awaits_leave = false;
        match Pin::new(inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.patience.earn(frame.data_ref().map_or(0, Bytes::len));
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.inner = None;
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                this.inner = None;
                Poll::Ready(None)
            }
            Poll::Pending => {
                std::task::ready!(this.patience.poll_exhausted(cx));
                // Whoever does not send is not drained either.
                this.inner = None;
                Poll::Ready(Some(Err(IdleTimeout.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else {
            return;
        };
        if self.awaits_leave || inner.is_end_stream() {
            return;
        }
        let (idle, drain) = (self.idle, self.drain);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let rest = read_on(inner, idle, drain.bytes);
                let _ = tokio::time::timeout(drain.time, rest).await;
            });
        }
    }
}

/// Reads and forgets up to `left` bytes.
async fn read_on(mut body: Incoming, idle: Duration, mut left: u64) {
    while let Ok(Some(Ok(frame))) = tokio::time::timeout(idle, body.frame()).await {
        let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
        match left.checked_sub(bytes) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
