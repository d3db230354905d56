//! When an object that could not be reconciled has its next turn: later each time, and never at the same moment as all
//! others.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use filejobs_core::ErrorClass;
use filejobs_core::sources::Randomness;

/// The longest pause after the first failure.
const BASE: Duration = Duration::from_secs(1);

/// The longest pause after any failure that waiting may mend.
const CAP: Duration = Duration::from_secs(30);

/// Pause after a failure that waiting does not mend: a right that is missing, a request that is never taken.
const SELDOM: Duration = Duration::from_mins(2);

/// How often in a row each object has failed.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: Mutex<HashMap<String, u32>>,
}

impl Backoff {
    /// The pause after another failure of an object.
    pub(crate) fn after(&self, uid: &str, class: ErrorClass, random: &dyn Randomness) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(uid.to_owned()).or_default();
        *count = count.saturating_add(1);
        let longest = match class {
            ErrorClass::Transient | ErrorClass::Conflict => {
                BASE.saturating_mul(1 << (*count - 1).min(10)).min(CAP)
            }
            ErrorClass::Invalid | ErrorClass::Permanent => SELDOM,
        };
        // Half of it at least: a conflict is no reason to ask again at once.
        longest.mul_f64(0.5 + random.unit() / 2.0)
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
        let next = |class| backoff.after("a", class, &*random).as_secs();
        let pauses: Vec<_> = (0..7).map(|_| next(ErrorClass::Transient)).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(next(ErrorClass::Permanent), 120);
        backoff.forget("a");
        assert_eq!(next(ErrorClass::Conflict), 1);
    }
}
