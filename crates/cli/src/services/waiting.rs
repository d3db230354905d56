//! Waiting for servers at the start: they may be starting, too.

use std::fmt::Display;
use std::time::Duration;

use anyhow::anyhow;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// How long a server is waited for that the process can do without for now.
const MOMENT: Duration = Duration::from_secs(2);

/// Pause between two lines about the same server.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// How long servers are waited for, all together.
#[derive(Debug, Clone)]
pub(crate) struct Patience {
    until: Instant,
    whole: Duration,
    stop: CancellationToken,
}

/// What comes after a try that failed.
enum Next {
    Try,
    Stop,
    GiveUp,
}

impl Patience {
    /// From now on, and no longer once `stop` fires.
    pub(crate) fn new(whole: Duration, stop: CancellationToken) -> Self {
        Self {
            until: Instant::now() + whole,
            whole,
            stop,
        }
    }

    /// The same for a server that is `needed`; a moment for one that is not.
    pub(crate) fn at_most(&self, needed: bool) -> Self {
        if needed {
            return self.clone();
        }
        Self {
            until: self.until.min(Instant::now() + MOMENT),
            whole: MOMENT.min(self.whole),
            stop: self.stop.clone(),
        }
    }

    /// Pauses before another try, when there is time for one. What keeps it from working is told at once, and now and
    /// then again.
    async fn next(&self, what: &str, told: &mut Option<Instant>, error: &anyhow::Error) -> Next {
        if Instant::now() + PAUSE >= self.until {
            return Next::GiveUp;
        }
        if told.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
            tracing::warn!(error = format!("{error:#}"), "waiting for {what}");
            *told = Some(Instant::now());
        }
        tokio::select! {
            () = self.stop.cancelled() => Next::Stop,
            () = sleep(PAUSE) => Next::Try,
        }
    }
}

/// Tries until it works; `None` when the process shall stop. A try that goes on when the patience ends is cut short.
pub(crate) async fn until_up<T, E>(
    what: &str,
    patience: &Patience,
    mut open: impl AsyncFnMut() -> Result<T, E>,
) -> anyhow::Result<Option<T>>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let mut told = None;
    let mut last = anyhow!("there was no time to ask");
    loop {
        let tried = tokio::select! {
            () = patience.stop.cancelled() => return Ok(None),
            tried = timeout_at(patience.until, open()) => tried,
        };
        match tried {
            Ok(Ok(up)) => return Ok(Some(up)),
            Ok(Err(error)) => last = error.into(),
            Err(_) => {}
        }
        match patience.next(what, &mut told, &last).await {
            Next::Try => {}
            Next::Stop => return Ok(None),
            Next::GiveUp => {
                let whole = crate::terminal::duration(patience.whole);
                return Err(last.context(too_long(what, &whole)));
            }
        }
    }
}

/// The same for work with bounds of its own: the patience only says until when it is begun anew after a failure.
pub(crate) async fn until_done<T, E>(
    what: &str,
    patience: &Patience,
    mut work: impl AsyncFnMut() -> Result<T, E>,
) -> anyhow::Result<Option<T>>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let mut told = None;
    loop {
        let tried = tokio::select! {
            () = patience.stop.cancelled() => return Ok(None),
            tried = work() => tried,
        };
        let error: anyhow::Error = match tried {
            Ok(done) => return Ok(Some(done)),
            Err(error) => error.into(),
        };
        match patience.next(what, &mut told, &error).await {
            Next::Try => {}
            Next::Stop => return Ok(None),
            Next::GiveUp => return Err(error),
        }
    }
}

fn too_long(what: &str, whole: &str) -> impl Display + Send + Sync + 'static {
    format!(
        "{what} was not usable within {whole} (FILEJOBS_START_TIMEOUT); see that it runs, and that address and credentials are right"
    )
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("connection refused")]
    struct Refused;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_comes_up_late_is_waited_for() {
        let patience = Patience::new(Duration::from_mins(1), CancellationToken::new());
        let tries = Cell::new(0);
        let up = until_up("the database", &patience, async || {
            tries.set(tries.get() + 1);
            if tries.get() < 20 {
                Err(Refused)
            } else {
                Ok(7)
            }
        });
        assert_eq!(up.await.unwrap(), Some(7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_stays_away_or_hangs_is_told_with_what_to_do() {
        for hangs in [false, true] {
            let patience = Patience::new(Duration::from_mins(1), CancellationToken::new());
            let begun = Instant::now();
            let up = until_up::<(), _>("the database", &patience, async || {
                if hangs {
                    std::future::pending::<()>().await;
                }
                Err(Refused)
            });
            let told = format!("{:#}", up.await.unwrap_err());
            assert!(begun.elapsed() <= Duration::from_mins(1));
            assert!(told.contains("FILEJOBS_START_TIMEOUT"), "{told}");
            assert_eq!(told.contains("refused"), !hangs, "{told}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_has_begun_may_take_longer_than_a_server_is_waited_for() {
        for fails in [false, true] {
            let patience = Patience::new(Duration::from_mins(1), CancellationToken::new());
            let tries = Cell::new(0);
            let done = until_done("the database", &patience, async || {
                tries.set(tries.get() + 1);
                // The first try fails at once, and is not the last.
                if tries.get() == 1 {
                    return Err(Refused);
                }
                sleep(Duration::from_mins(8)).await;
                if fails { Err(Refused) } else { Ok(7) }
            });
            let done = done.await;
            assert_eq!(tries.get(), 2);
            match done {
                Ok(done) => assert_eq!((done, fails), (Some(7), false)),
                Err(error) => assert!(fails && error.is::<Refused>(), "{error:#}"),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_shall_stop_waits_no_longer() {
        let stop = CancellationToken::new();
        let patience = Patience::new(Duration::from_mins(1), stop.clone());
        stop.cancel();
        let up = until_up::<(), Refused>("the database", &patience, async || {
            std::future::pending().await
        });
        assert_eq!(up.await.unwrap(), None);
        let done = until_done::<(), Refused>("the database", &patience, async || {
            std::future::pending().await
        });
        assert_eq!(done.await.unwrap(), None);
    }
}
