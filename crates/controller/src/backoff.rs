//! When an object that could not be reconciled has its next turn: later each time, and never at the same moment as all
//! others.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use filejobs_core::ErrorClass;
use filejobs_core::sources::Randomness;

/// The longest pause after the first failure.
const BASE: Duration = Duration::from_secs(1);

/// The longest pause after any failure that waiting may mend.
const CAP: Duration = Duration::from_secs(30);

/// Pause after a failure that waiting does not mend: a right that is missing, a request that is never taken.
const SELDOM: Duration = Duration::from_mins(2);

/// The shortest pause: a conflict is no reason to ask again at once.
const LEAST: Duration = Duration::from_millis(500);

/// How often in a row each object has failed.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: Mutex<HashMap<String, Failures>>,
}

#[derive(Debug)]
struct Failures {
    /// Those that came after the pause of the one before.
    count: u32,
    /// The end of the pause.
    until: Instant,
}

impl Backoff {
    /// The pause after another failure of an object, which happens `now`. Pauses do not grow by failures within one of
    /// them: an object whose job has just begun is looked at many times a second.
    pub(crate) fn after(
        &self,
        uid: &str,
        class: ErrorClass,
        now: Instant,
        random: &dyn Randomness,
    ) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let last = failures.get(uid);
        let left = last.and_then(|last| last.until.checked_duration_since(now));
        let left = left.filter(|left| !left.is_zero());
        let count = last.map_or(0, |last| last.count);
        let count = count.saturating_add(u32::from(left.is_none()));
        let longest = match class {
            ErrorClass::Transient | ErrorClass::Conflict => {
                BASE.saturating_mul(1 << (count - 1).min(10)).min(CAP)
            }
            ErrorClass::Invalid | ErrorClass::Permanent => SELDOM,
        };
        let pause = longest.mul_f64(0.5 + random.unit() / 2.0);
        if let Some(left) = left {
            return pause.min(left).max(LEAST);
        }
        let until = now + pause;
        failures.insert(uid.to_owned(), Failures { count, until });
        pause
    }

    /// The object was reconciled, or is gone.
    pub(crate) fn forget(&self, uid: &str) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use filejobs_core::sources::Fixed;

    #[test]
    fn pauses_grow_to_a_cap_and_begin_anew_after_a_success() {
        let random = Fixed::new(jiff::Timestamp::UNIX_EPOCH, 1.0);
        let backoff = Backoff::default();
        let mut now = Instant::now();
        let mut next = |class| {
            let pause = backoff.after("a", class, now, &*random);
            now += pause;
            pause.as_secs()
        };
        let pauses: Vec<_> = (0..7).map(|_| next(ErrorClass::Transient)).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(next(ErrorClass::Permanent), 120);
        backoff.forget("a");
        assert_eq!(next(ErrorClass::Conflict), 1);
    }

    #[test]
    fn failures_within_a_pause_do_not_make_it_grow() {
        let random = Fixed::new(jiff::Timestamp::UNIX_EPOCH, 1.0);
        let backoff = Backoff::default();
        let start = Instant::now();
        let failed = |milliseconds| {
            let now = start + Duration::from_millis(milliseconds);
            backoff.after("a", ErrorClass::Conflict, now, &*random)
        };
        assert_eq!(failed(0), Duration::from_secs(1));
        assert_eq!(failed(100), Duration::from_millis(900));
        assert_eq!(failed(999), LEAST);
        assert_eq!(failed(1_000), Duration::from_secs(2));
    }
}
