//! When a loop runs: soon after something happened, at a slow tick otherwise, never faster than its gap.

use std::time::Duration;

use filejobs_store::{Change, ChangeKind, Store};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// Changes of the wanted kinds, many at once counted as one.
#[derive(Debug)]
pub(crate) struct Wakes {
    feed: Option<broadcast::Receiver<Change>>,
    wanted: fn(ChangeKind) -> bool,
}

impl Wakes {
    pub(crate) fn new(store: &dyn Store, wanted: fn(ChangeKind) -> bool) -> Self {
        Self {
            feed: Some(store.changes()),
            wanted,
        }
    }

    /// No change at all: the loop runs by its tick.
    pub(crate) fn none() -> Self {
        Self {
            feed: None,
            wanted: |_| false,
        }
    }

    /// Waits for a wanted change. Cancel-safe. Never answers once the feed has ended: the tick is left.
    pub(crate) async fn next(&mut self) {
        while let Some(feed) = &mut self.feed {
            match feed.recv().await {
                Ok(change) if (self.wanted)(change.kind) => return,
                Ok(_) => {}
                // Something was missed; it may have been wanted.
                Err(RecvError::Lagged(_)) => return,
                Err(RecvError::Closed) => self.feed = None,
            }
        }
        std::future::pending::<()>().await;
    }

    /// Forgets what has come in so far: the work that follows sees it anyway.
    pub(crate) fn clear(&mut self) {
        if let Some(feed) = &mut self.feed {
            *feed = feed.resubscribe();
        }
    }
}

/// Paces one loop.
#[derive(Debug)]
pub(crate) struct Pace {
    wakes: Wakes,
    tick: Interval,
    gap: Duration,
    last: Option<Instant>,
}

impl Pace {
    pub(crate) fn new(wakes: Wakes, tick: Duration, gap: Duration) -> Self {
        let mut tick = tokio::time::interval(tick);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            wakes,
            tick,
            gap,
            last: None,
        }
    }

    /// Waits until the loop has reason to run; at once the first time. False when it shall stop.
    pub(crate) async fn next(&mut self, stop: &CancellationToken) -> bool {
        let (wakes, tick) = (&mut self.wakes, &mut self.tick);
        let earliest = self.last.map(|last| last + self.gap);
        let reason = async {
            tokio::select! {
                () = wakes.next() => {}
                _ = tick.tick() => {}
            }
            if let Some(earliest) = earliest {
                tokio::time::sleep_until(earliest).await;
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return false,
            () = reason => {}
        }
        self.wakes.clear();
        self.last = Some(Instant::now());
        true
    }
}
