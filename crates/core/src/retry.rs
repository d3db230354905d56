//! When to try again: exponential backoff with full jitter.

use std::time::Duration;

use crate::sources::Randomness;

/// How often and how patiently a task is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, the first included.
    pub max_attempts: u32,
    /// The longest pause before the second attempt.
    pub base: Duration,
    /// The longest pause before any attempt.
    pub cap: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            base: Duration::from_secs(1),
            cap: Duration::from_secs(30),
        }
    }
}

impl RetryPolicy {
    /// The pause after `attempt` (from 1) failed, or `None` when no attempt is left.
    ///
    /// Full jitter: evenly between nothing and `min(cap, base · 2^(attempt − 1))`, after
    /// <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>.
    pub fn pause_after(&self, attempt: u32, randomness: &dyn Randomness) -> Option<Duration> {
        if attempt >= self.max_attempts {
            return None;
        }
        let doublings = attempt.saturating_sub(1).min(31);
        let ceiling = self.base.saturating_mul(1 << doublings).min(self.cap);
        Some(ceiling.mul_f64(randomness.unit().clamp(0.0, 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::Fixed;

    #[test]
    fn pauses_double_up_to_the_cap_and_then_end() {
        let policy = RetryPolicy {
            max_attempts: 8,
            base: Duration::from_secs(1),
            cap: Duration::from_secs(30),
        };
        let always_longest = Fixed::new(jiff::Timestamp::UNIX_EPOCH, 1.0);
        let pauses: Vec<_> = (1..=8)
            .map(|n| policy.pause_after(n, &*always_longest))
            .collect();
        let seconds = |n| Some(Duration::from_secs(n));
        assert_eq!(
            pauses,
            [
                seconds(1),
                seconds(2),
                seconds(4),
                seconds(8),
                seconds(16),
                seconds(30),
                seconds(30),
                None
            ]
        );
    }
}
