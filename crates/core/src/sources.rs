//! Where time, ids and randomness come from: passed in, so that tests are exact.

use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use uuid::{ContextV7, Uuid};

use crate::ids::{JobId, TaskId};

/// Tells the time.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The time now, UTC.
    fn now(&self) -> Timestamp;
}

/// Makes ids. The time is the caller's, so that ids and `created_at` agree.
pub trait Ids: Send + Sync + std::fmt::Debug {
    /// A new `UUIDv7` for the given time.
    fn uuid(&self, now: Timestamp) -> Uuid;
}

/// Gives random numbers.
pub trait Randomness: Send + Sync + std::fmt::Debug {
    /// A number in `0.0..1.0`, evenly spread: for jitter.
    fn unit(&self) -> f64;

    /// Fills `bytes` with what nobody can guess: for secrets.
    fn fill(&self, bytes: &mut [u8]);
}

/// Clock, ids and randomness together, as services take them.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub ids: Arc<dyn Ids>,
    /// Jitter and secrets.
    pub randomness: Arc<dyn Randomness>,
}

impl Sources {
    /// The system's clock and generator: what every service but a test uses.
    #[must_use]
    pub fn system() -> Self {
        let system = Arc::new(System::default());
        Self {
            clock: system.clone(),
            ids: system.clone(),
            randomness: system,
        }
    }

    /// The time now, UTC.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A new job id.
    #[must_use]
    pub fn job_id(&self) -> JobId {
        JobId::from_uuid(self.ids.uuid(self.clock.now()))
    }

    /// A new task id.
    #[must_use]
    pub fn task_id(&self) -> TaskId {
        TaskId::from_uuid(self.ids.uuid(self.clock.now()))
    }
}

/// The machine's own clock and generator.
#[derive(Debug, Default)]
struct System {
    /// Counts within a millisecond, so that ids sort in the order they were made.
    order: Mutex<ContextV7>,
}

impl Clock for System {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the machine's clock"
    )]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

impl Ids for System {
    fn uuid(&self, now: Timestamp) -> Uuid {
        let seconds = u64::try_from(now.as_second()).unwrap_or(0);
        let nanos = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
        Uuid::new_v7(uuid::Timestamp::from_unix(&self.order, seconds, nanos))
    }
}

impl Randomness for System {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that draws random numbers"
    )]
    fn unit(&self) -> f64 {
        rand::random()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that draws random bytes"
    )]
    fn fill(&self, bytes: &mut [u8]) {
        // The thread's generator is a cryptographic one, seeded by the system.
        rand::fill(bytes);
    }
}

/// A clock that stands still until told, ids that count up, and a fixed "random" number.
#[derive(Debug)]
pub struct Fixed {
    now: Mutex<Timestamp>,
    next: std::sync::atomic::AtomicU64,
    unit: f64,
}

impl Fixed {
    /// Starts at `now`; every draw gives `unit`.
    #[must_use]
    pub fn new(now: Timestamp, unit: f64) -> Arc<Self> {
        Arc::new(Self {
            now: Mutex::new(now),
            next: std::sync::atomic::AtomicU64::new(1),
            unit,
        })
    }

    /// Moves the clock on.
    pub fn advance(&self, by: std::time::Duration) {
        let mut now = self
            .now
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *now = now.checked_add(by).unwrap_or(Timestamp::MAX);
    }

    /// These sources as services take them.
    #[must_use]
    pub fn sources(self: &Arc<Self>) -> Sources {
        Sources {
            clock: self.clone(),
            ids: self.clone(),
            randomness: self.clone(),
        }
    }
}

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        *self
            .now
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Ids for Fixed {
    fn uuid(&self, now: Timestamp) -> Uuid {
        let next = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
        let mut tail = [0; 10];
        tail[2..].copy_from_slice(&next.to_be_bytes());
        uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid()
    }
}

impl Randomness for Fixed {
    fn unit(&self) -> f64 {
        self.unit
    }

    /// Others with each call, the same with each run.
    fn fill(&self, bytes: &mut [u8]) {
        let next = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        for (at, byte) in bytes.iter_mut().enumerate() {
            let mixed =
                (next.wrapping_mul(31).wrapping_add(at as u64)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            *byte = mixed.to_be_bytes()[0];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_ids_are_version_7_and_sort_in_the_order_they_were_made() {
        let sources = Sources::system();
        let ids: Vec<_> = (0..10_000).map(|_| sources.job_id()).collect();
        assert!(ids.iter().all(|id| id.as_uuid().get_version_num() == 7));
        assert!(ids.is_sorted_by(|a, b| a < b));
    }
}
