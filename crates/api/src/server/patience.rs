//! How long a slow client is waited for: so long in a row, longer in all only as it gets something done.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Bytes that earn the whole patience back.
const EARNS_ALL: u64 = 64 * 1024;

/// The time that one side of a connection may still be waited for.
///
/// Waiting uses it up; each byte earns some of it back. A client that trickles is cut off in the end, one that is
/// merely slow is not: by default the floor is about two kilobytes a second.
#[derive(Debug)]
pub(super) struct Patience {
    full: Duration,
    left: Duration,
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Patience {
    pub(super) fn new(full: Duration) -> Self {
        Self {
            full,
            left: full,
            waiting: None,
        }
    }

    /// Nothing came: ready when patience has run out.
    pub(super) fn poll_exhausted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let left = self.left;
        let (_, sleep) = self
            .waiting
            .get_or_insert_with(|| (Instant::now(), Box::pin(tokio::time::sleep(left))));
        sleep.as_mut().poll(cx)
    }

    /// So many bytes came.
    pub(super) fn earn(&mut self, bytes: usize) {
        if let Some((since, _)) = self.waiting.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
        let share = (bytes as u64).min(EARNS_ALL) as f64 / EARNS_ALL as f64;
        self.left = (self.left + self.full.mul_f64(share)).min(self.full);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn exhausted(patience: &mut Patience) -> Duration {
        let began = Instant::now();
        poll_fn(|cx| patience.poll_exhausted(cx)).await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn silence_uses_patience_up_and_bytes_earn_it_back() {
        let second = Duration::from_secs(1);
        let mut patience = Patience::new(30 * second);
        let wait = tokio::time::timeout(20 * second, exhausted(&mut patience));
        assert!(wait.await.is_err());
        patience.earn(1);
        assert_eq!(exhausted(&mut patience).await.as_secs(), 10);

        let mut patience = Patience::new(30 * second);
        let wait = tokio::time::timeout(20 * second, exhausted(&mut patience));
        assert!(wait.await.is_err());
        patience.earn(64 * 1024);
        assert_eq!(exhausted(&mut patience).await.as_secs(), 30);
    }
}
