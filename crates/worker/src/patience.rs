//! Tries a call again while a back end is out of reach.

use std::time::Duration;

use filejobs_core::{ErrorClass, Sources};
use tokio::time::Instant;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// An error that tells whether the same call may work later.
pub(crate) trait Classified: std::error::Error {
    /// What a caller should do.
    fn class(&self) -> ErrorClass;
}

impl Classified for filejobs_store::Error {
    fn class(&self) -> ErrorClass {
        self.class()
    }
}

impl Classified for filejobs_blobs::Error {
    fn class(&self) -> ErrorClass {
        self.class()
    }
}

/// Calls until the result is not [`ErrorClass::Transient`] or the next try would begin after `until` says so.
///
/// Pauses double from 50 ms to 2 s, each with full jitter.
pub(crate) async fn patiently<T, E: Classified, C: Future<Output = Result<T, E>>>(
    sources: &Sources,
    until: impl Fn() -> Instant,
    mut call: impl FnMut() -> C,
) -> Result<T, E> {
    let mut ceiling = FIRST_PAUSE;
    loop {
        let error = match call().await {
            Err(error) if error.class() == ErrorClass::Transient => error,
            done => return done,
        };
        let pause = ceiling.mul_f64(sources.randomness.unit().clamp(0.1, 1.0));
        if Instant::now() + pause >= until() {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
        ceiling = (ceiling * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use filejobs_store::Error;

    fn busy() -> Error {
        Error::Unavailable {
            step: "testing",
            source: "busy".into(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_back_end_is_asked_again_until_it_answers() {
        let mut calls = 0;
        let soon = Instant::now() + Duration::from_secs(10);
        let answer = patiently(
            &Sources::system(),
            || soon,
            || {
                calls += 1;
                std::future::ready(if calls < 4 { Err(busy()) } else { Ok(calls) })
            },
        )
        .await;
        assert_eq!(answer.unwrap(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends_at_the_deadline() {
        let begin = Instant::now();
        let deadline = begin + Duration::from_secs(5);
        let answer: Result<(), _> = patiently(
            &Sources::system(),
            || deadline,
            || std::future::ready(Err(busy())),
        )
        .await;
        assert!(matches!(answer, Err(Error::Unavailable { .. })));
        assert!(begin.elapsed() <= Duration::from_secs(5));
    }

    #[tokio::test]
    async fn what_waiting_cannot_mend_is_asked_once() {
        let mut calls = 0;
        let soon = Instant::now() + Duration::from_secs(10);
        let answer: Result<(), _> = patiently(
            &Sources::system(),
            || soon,
            || {
                calls += 1;
                std::future::ready(Err(Error::Stale))
            },
        )
        .await;
        assert!(matches!(answer, Err(Error::Stale)));
        assert_eq!(calls, 1);
    }
}
