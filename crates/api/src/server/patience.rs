//! How long a slow client is waited for: so long in a row, longer in all only as it gets something done.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Bytes that earn the whole patience back.
const EARNS_ALL: u64 = 64 * 1024;

/// The time between the last call and the end.
const LAST_CALL: Duration = Duration::from_millis(500);

/// The time that one side of a connection may still be waited for.
///
/// Waiting uses it up; each byte earns some of it back. A client that trickles is cut off in the end, one that is
/// merely slow is not: by default the floor is about two kilobytes a second.
#[derive(Debug)]
pub(super) struct Patience {
    full: Duration,
    left: Duration,
    /// Patience had run out when it was last asked for.
    last_call: bool,
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Patience {
    pub(super) fn new(full: Duration) -> Self {
        Self {
            full,
            left: full,
            last_call: false,
            waiting: None,
        }
    }

    /// Nothing came: ready when patience has run out.
    ///
    /// The clock also runs while we ourselves are too busy to ask. So the client gets a last call: what it has sent
    /// meanwhile arrives in that time.
    pub(super) fn poll_exhausted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let left = self.left;
        let (_, sleep) = self
            .waiting
            .get_or_insert_with(|| (Instant::now(), Box::pin(tokio::time::sleep(left))));
        std::task::ready!(sleep.as_mut().poll(cx));
        if self.last_call {
            return Poll::Ready(());
        }
        self.last_call = true;
        sleep.as_mut().reset(Instant::now() + LAST_CALL);
        sleep.as_mut().poll(cx)
    }

    /// So many bytes came.
    pub(super) fn earn(&mut self, bytes: usize) {
        if let Some((since, _)) = self.waiting.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
        self.last_call = false;
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
        let wait = exhausted(&mut patience).await;
        assert_eq!(wait.saturating_sub(LAST_CALL).as_secs(), 10);

        let mut patience = Patience::new(30 * second);
        let wait = tokio::time::timeout(20 * second, exhausted(&mut patience));
        assert!(wait.await.is_err());
        patience.earn(64 * 1024);
        let wait = exhausted(&mut patience).await;
        assert_eq!(wait.saturating_sub(LAST_CALL).as_secs(), 30);
    }
}
