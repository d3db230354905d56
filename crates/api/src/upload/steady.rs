//! A body that cannot make the form's parser hold more than a little of it.
//!
//! `multer` takes from a stream for as long as it is ready and looks for a boundary, or for the end of a part's
//! headers, in all that has come. So this stream pauses after each chunk, and gives only so many bytes while a part
//! is being looked for.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::stream::Stream;

/// Bytes that may come between two parts: boundary and headers.
const BETWEEN_PARTS: u64 = 64 * 1024;

/// Why the body was not read on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// More bytes than the whole form may have.
    #[error("the form is larger than it may be")]
    TooLarge,
    /// No part begins where one must.
    #[error("no part begins where one must")]
    NoPart,
}

/// Says how many bytes may come until the next part is found.
#[derive(Debug, Clone)]
pub(crate) struct Allowance(Arc<AtomicU64>);

impl Allowance {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(BETWEEN_PARTS)))
    }

    /// A part is being looked for.
    pub(crate) fn between_parts(&self) {
        self.0.store(BETWEEN_PARTS, Ordering::Relaxed);
    }

    /// A part is being read; its reader counts.
    pub(crate) fn within_part(&self) {
        self.0.store(u64::MAX, Ordering::Relaxed);
    }

    /// Takes a chunk's bytes; false when none were left before.
    fn take(&self, bytes: u64) -> bool {
        let left = self.0.load(Ordering::Relaxed);
        self.0.store(left.saturating_sub(bytes), Ordering::Relaxed);
        left > 0
    }
}

/// See the module's text.
pub(crate) struct Steady<S> {
    inner: Pin<Box<S>>,
    allowance: Allowance,
    left: u64,
    paused: bool,
}

impl<S> Steady<S> {
    /// Gives at most `max` bytes of `inner`.
    pub(crate) fn new(inner: S, max: u64, allowance: Allowance) -> Self {
        Self {
            inner: Box::pin(inner),
            allowance,
            left: max,
            paused: false,
        }
    }
}

impl<S, E> Stream for Steady<S>
where
    S: Stream<Item = Result<Bytes, E>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Item = Result<Bytes, Box<dyn std::error::Error + Send + Sync>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.paused) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let chunk = match std::task::ready!(self.inner.as_mut().poll_next(cx)) {
            None => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            Some(Ok(chunk)) => chunk,
        };
        self.paused = true;
        let bytes = chunk.len() as u64;
        let Some(left) = self.left.checked_sub(bytes) else {
            return Poll::Ready(Some(Err(Refusal::TooLarge.into())));
        };
        self.left = left;
        if !self.allowance.take(bytes) {
            return Poll::Ready(Some(Err(Refusal::NoPart.into())));
        }
        Poll::Ready(Some(Ok(chunk)))
    }
}
