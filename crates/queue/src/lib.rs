//! Carries tickets from the scheduler to workers. The database decides; the queue may lose or repeat tickets
//! harmlessly: the scheduler publishes again what nobody claimed, and the claim refuses duplicates.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod memory;
pub mod redis;

pub use memory::Memory;
pub use redis::Redis;

use std::time::Duration;

use filejobs_core::ErrorClass;
use filejobs_core::task::Ticket;

/// A queue, as scheduler and workers see it.
#[async_trait::async_trait]
pub trait Queue: Send + Sync + std::fmt::Debug {
    /// Hands tickets over, in order.
    async fn publish(&self, tickets: &[Ticket]) -> Result<(), Error>;

    /// Takes up to `max` tickets, waiting up to `wait` for the first. Cancel-safe: a dropped call takes nothing.
    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, Error>;

    /// The ticket's task is claimed, or the claim was refused: it need not come again.
    async fn ack(&self, delivery: &Delivery) -> Result<(), Error>;

    /// Tickets that nobody has taken.
    async fn depth(&self) -> Result<u64, Error>;

    /// Answers when the queue does.
    async fn ping(&self) -> Result<(), Error>;
}

/// A ticket as a worker receives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The ticket.
    pub ticket: Ticket,
    /// The queue's own name for this delivery.
    pub receipt: String,
}

/// Why a queue call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The queue is out of reach; later may work.
    #[error("the queue did not answer")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The queue holds as many tickets as it may. Those before the first that did not fit are in it.
    #[error("the queue is full")]
    Full,
}

impl Error {
    /// What a caller should do.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Unavailable(_) | Self::Full => ErrorClass::Transient,
        }
    }

    /// A short name, safe as a metric label.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "Unavailable",
            Self::Full => "Full",
        }
    }
}
