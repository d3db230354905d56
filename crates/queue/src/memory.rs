//! The queue of a service that is one process.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use filejobs_core::TaskId;
use filejobs_core::task::Ticket;
use tokio::sync::Notify;

use crate::{Delivery, Error, Queue};

/// Tickets in the memory of one process, first in, first out.
///
/// Guarantees: never more than `capacity` tickets; a ticket that is already waiting is not queued twice, so that
/// publishing again what nobody claimed cannot fill the queue. A ticket is forgotten when it is received: what a
/// worker loses, the scheduler publishes again.
#[derive(Debug)]
pub struct Memory {
    waiting: Mutex<Waiting>,
    arrived: Notify,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    tickets: VecDeque<Ticket>,
    known: HashSet<(TaskId, u32)>,
}

impl Memory {
    /// An empty queue for at most `capacity` tickets.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            arrived: Notify::new(),
            capacity,
        }
    }

    /// The lock is held for a few moves of small values only, never across an await; a panic cannot leave the two
    /// collections apart, so a poisoned lock is as good as any.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, max: usize) -> Vec<Delivery> {
        let mut waiting = self.waiting();
        let count = max.min(waiting.tickets.len());
        let taken: Vec<_> = waiting.tickets.drain(..count).collect();
        for ticket in &taken {
            waiting.known.remove(&(ticket.task, ticket.attempt));
        }
        taken.into_iter().map(delivery).collect()
    }
}

fn delivery(ticket: Ticket) -> Delivery {
    Delivery {
        ticket,
        receipt: format!("{}/{}", ticket.task, ticket.attempt),
    }
}

#[async_trait::async_trait]
impl Queue for Memory {
    async fn publish(&self, tickets: &[Ticket]) -> Result<(), Error> {
        let mut full = false;
        {
            let mut waiting = self.waiting();
            for ticket in tickets {
                if waiting.known.contains(&(ticket.task, ticket.attempt)) {
                    continue;
                }
                if waiting.tickets.len() >= self.capacity {
                    full = true;
                    break;
                }
                waiting.known.insert((ticket.task, ticket.attempt));
                waiting.tickets.push_back(*ticket);
            }
        }
        self.arrived.notify_waiters();
        if full { Err(Error::Full) } else { Ok(()) }
    }

    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, Error> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let first = async {
            loop {
                let arrived = self.arrived.notified();
                tokio::pin!(arrived);
                // Listen before looking: a ticket that arrives in between still wakes this call.
                arrived.as_mut().enable();
                let taken = self.take(max);
                if !taken.is_empty() {
                    return taken;
                }
                arrived.await;
            }
        };
        // `first` takes tickets only in the poll in which it also returns them: dropping it loses none.
        Ok(tokio::time::timeout(wait, first).await.unwrap_or_default())
    }

    async fn ack(&self, _delivery: &Delivery) -> Result<(), Error> {
        Ok(())
    }

    async fn depth(&self) -> Result<u64, Error> {
        Ok(self.waiting().tickets.len() as u64)
    }

    async fn ping(&self) -> Result<(), Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::ticket;

    crate::conformance_tests!(async { Memory::new(4096) });

    #[tokio::test]
    async fn a_full_queue_keeps_what_fits_and_says_so() {
        let queue = Memory::new(2);
        let tickets = [ticket(1, 0), ticket(2, 0), ticket(3, 0)];
        assert!(matches!(queue.publish(&tickets).await, Err(Error::Full)));
        assert_eq!(queue.depth().await.unwrap(), 2);
        let taken = queue.receive(10, Duration::ZERO).await.unwrap();
        assert_eq!(taken.len(), 2);
        queue.publish(&tickets[2..]).await.unwrap();
        assert_eq!(queue.depth().await.unwrap(), 1);
    }

    #[tokio::test]
    async fn publishing_again_what_waits_does_not_fill_the_queue() {
        let queue = Memory::new(2);
        for _ in 0..10 {
            queue.publish(&[ticket(1, 0)]).await.unwrap();
        }
        assert_eq!(queue.depth().await.unwrap(), 1);
        queue.publish(&[ticket(1, 1)]).await.unwrap();
        assert_eq!(queue.depth().await.unwrap(), 2);
    }
}
