//! What every queue must do, as functions that the tests of each implementation call.
//!
//! [`conformance_tests!`](crate::conformance_tests) makes one test of each; every function gets a queue of its own
//! that is empty.

#![expect(
    clippy::missing_panics_doc,
    reason = "these functions are tests: panicking is how they report"
)]

use std::sync::Arc;
use std::time::Duration;

use filejobs_core::TaskId;
use filejobs_core::task::Ticket;
use uuid::Uuid;

use crate::{Delivery, Queue};

/// Longer than any working queue needs, short enough that a broken one fails the test rather than hang it.
const DEADLINE: Duration = Duration::from_mins(1);

/// A ticket for the task with number `task`.
#[must_use]
pub fn ticket(task: u128, attempt: u32) -> Ticket {
    Ticket {
        task: TaskId::from_uuid(Uuid::from_u128(task)),
        attempt,
    }
}

/// Receives and acknowledges until `count` tickets are there.
async fn drain(queue: &dyn Queue, count: usize) -> Vec<Ticket> {
    let mut tickets = Vec::new();
    while tickets.len() < count {
        let deliveries = queue
            .receive(count - tickets.len(), DEADLINE)
            .await
            .expect("the queue answers");
        assert!(
            !deliveries.is_empty(),
            "only {} of {count} tickets came",
            tickets.len()
        );
        for delivery in deliveries {
            queue.ack(&delivery).await.expect("the queue answers");
            tickets.push(delivery.ticket);
        }
    }
    tickets
}

async fn receive_now(queue: &dyn Queue, max: usize) -> Vec<Delivery> {
    queue
        .receive(max, Duration::ZERO)
        .await
        .expect("the queue answers")
}

/// Tickets come out in the order they went in, and unchanged.
pub async fn tickets_come_out_in_order(queue: Arc<dyn Queue>) {
    let sent: Vec<_> = (1..=50).map(|n| ticket(n, n as u32 % 3)).collect();
    queue.publish(&sent[..20]).await.expect("published");
    queue.publish(&sent[20..]).await.expect("published");
    assert_eq!(drain(&*queue, 50).await, sent);
}

/// `receive` never gives more than asked for.
pub async fn receive_gives_at_most_max(queue: Arc<dyn Queue>) {
    let sent: Vec<_> = (1..=10).map(|n| ticket(n, 0)).collect();
    queue.publish(&sent).await.expect("published");
    assert!(receive_now(&*queue, 0).await.is_empty());
    assert_eq!(receive_now(&*queue, 3).await.len(), 3);
    assert_eq!(drain(&*queue, 7).await, sent[3..]);
}

/// An empty queue answers with nothing once the wait is over.
pub async fn an_empty_queue_gives_nothing(queue: Arc<dyn Queue>) {
    assert!(receive_now(&*queue, 10).await.is_empty());
    let waited = queue.receive(10, Duration::from_millis(20)).await;
    assert!(waited.expect("the queue answers").is_empty());
}

/// A waiting `receive` ends as soon as a ticket comes, long before its wait is over.
pub async fn a_waiting_receive_wakes_for_a_ticket(queue: Arc<dyn Queue>) {
    let receiver = tokio::spawn({
        let queue = queue.clone();
        async move { queue.receive(1, Duration::from_hours(1)).await }
    });
    tokio::task::yield_now().await;
    queue.publish(&[ticket(1, 0)]).await.expect("published");
    let outcome = tokio::time::timeout(DEADLINE, receiver).await;
    let deliveries = outcome
        .expect("woken in time")
        .expect("no panic")
        .expect("the queue answers");
    assert_eq!(deliveries[0].ticket, ticket(1, 0));
}

/// A `receive` that is dropped while it waits takes nothing with it.
pub async fn a_dropped_receive_takes_nothing(queue: Arc<dyn Queue>) {
    for n in 1..=20 {
        let waiting = queue.receive(5, DEADLINE);
        let dropped = tokio::time::timeout(Duration::from_millis(1), waiting).await;
        assert!(dropped.is_err(), "nothing was there to receive");
        queue.publish(&[ticket(n, 0)]).await.expect("published");
        assert_eq!(drain(&*queue, 1).await, [ticket(n, 0)]);
    }
}

/// Each ticket goes to one of the receivers that wait at the same time.
pub async fn receivers_share_the_tickets(queue: Arc<dyn Queue>) {
    let receivers: Vec<_> = (0..4)
        .map(|_| {
            let queue = queue.clone();
            tokio::spawn(async move { drain(&*queue, 25).await })
        })
        .collect();
    let sent: Vec<_> = (1..=100).map(|n| ticket(n, 0)).collect();
    for chunk in sent.chunks(7) {
        queue.publish(chunk).await.expect("published");
    }
    let mut received = Vec::new();
    for receiver in receivers {
        let tickets = tokio::time::timeout(DEADLINE * 2, receiver).await;
        received.extend(tickets.expect("served in time").expect("no panic"));
    }
    received.sort_by_key(|t| t.task);
    assert_eq!(received, sent);
}

/// The depth counts what nobody has taken; acknowledging, even twice, is fine.
pub async fn depth_counts_what_waits(queue: Arc<dyn Queue>) {
    queue.ping().await.expect("the queue answers");
    assert_eq!(queue.depth().await.expect("the queue answers"), 0);
    let sent: Vec<_> = (1..=5).map(|n| ticket(n, 0)).collect();
    queue.publish(&sent).await.expect("published");
    assert_eq!(queue.depth().await.expect("the queue answers"), 5);
    let taken = receive_now(&*queue, 2).await;
    assert_eq!(queue.depth().await.expect("the queue answers"), 3);
    for delivery in taken.iter().chain(&taken) {
        queue.ack(delivery).await.expect("the queue answers");
    }
    assert_eq!(queue.depth().await.expect("the queue answers"), 3);
}

/// A ticket can be published again after it was taken: the scheduler does so when nobody claims it.
pub async fn a_taken_ticket_can_come_again(queue: Arc<dyn Queue>) {
    for _ in 0..3 {
        queue.publish(&[ticket(1, 0)]).await.expect("published");
        assert_eq!(drain(&*queue, 1).await, [ticket(1, 0)]);
    }
}

/// Publishing nothing is fine.
pub async fn publishing_nothing_is_fine(queue: Arc<dyn Queue>) {
    queue.publish(&[]).await.expect("published");
    assert_eq!(queue.depth().await.expect("the queue answers"), 0);
}

/// Makes a test of each function of the suite. The argument is a future of a fresh, empty queue.
#[macro_export]
macro_rules! conformance_tests {
    ($make:expr) => {
        $crate::conformance_tests!(@each $make;
            tickets_come_out_in_order
            receive_gives_at_most_max
            an_empty_queue_gives_nothing
            a_waiting_receive_wakes_for_a_ticket
            a_dropped_receive_takes_nothing
            receivers_share_the_tickets
            depth_counts_what_waits
            a_taken_ticket_can_come_again
            publishing_nothing_is_fine
        );
    };
    (@each $make:expr; $($name:ident)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                $crate::conformance::$name(std::sync::Arc::new($make.await)).await;
            }
        )*
    };
}
