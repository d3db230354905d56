//! Callers that go away in the middle of a call.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use filejobs_core::JobState;

use super::{Bench, effects};
use crate::{JobFilter, Page};

/// Polls a future `times` times, giving other tasks a turn in between, and drops it.
async fn poll_and_drop<F: Future>(future: F, times: usize) {
    let mut future = pin!(future);
    for _ in 0..times {
        let polled =
            std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
        if polled.is_ready() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// Works on every task that is there, published ones that nobody has claimed included.
async fn finish_open(bench: &Bench) {
    bench.publish().await;
    let tickets = bench.store.republish(Duration::ZERO, 1_000).await;
    for ticket in tickets.expect("answers") {
        if let Some(open) = bench.claim(&ticket).await {
            bench.commit(&open, effects(1, 0)).await;
        }
    }
}

/// Dropped at any of its awaits, a call leaves no half of its work and no connection that blocks the next caller.
pub async fn a_dropped_call_is_done_in_full_or_not_at_all(bench: &Bench) {
    let all = JobFilter::default();
    for times in 0..12 {
        poll_and_drop(bench.store.create_job(bench.new_job()), times).await;
        let page = Page::Offset {
            offset: 0,
            limit: 1,
        };
        poll_and_drop(bench.store.jobs(&all, page), times).await;
        poll_and_drop(bench.store.waiting(10), times).await;
        bench.job().await;
        let claimed = bench.claim_next().await;
        let commit = bench.effects(1, 10, 5);
        poll_and_drop(bench.store.commit(claimed.task, 1, commit), times).await;
        // Either the dropped call has won, or this one does: never both, never neither.
        let again = bench.store.commit(claimed.task, 1, effects(10, 5)).await;
        let job = bench.get(claimed.job.id).await;
        assert_eq!(job.status, JobState::Completed, "{again:?}");
        assert_eq!((job.rows_processed, job.rows_failed), (10, 5));
        finish_open(bench).await;
    }
    let page = Page::Offset {
        offset: 0,
        limit: 500,
    };
    // What was dropped may still be on its way to its end.
    let settled = async {
        loop {
            let jobs = bench.store.jobs(&all, page).await.expect("listed");
            for job in &jobs.items {
                let events = bench.store.events(job.id, 0, 10).await.expect("answers");
                assert_eq!(job.last_event, events.len() as u64);
                assert_eq!(job.tasks.total, 1);
            }
            let open = jobs.items.iter().filter(|j| !j.status.is_terminal());
            if open.count() == 0 {
                return;
            }
            finish_open(bench).await;
        }
    };
    let settled = tokio::time::timeout(Duration::from_mins(1), settled).await;
    settled.expect("every job that was created can be worked on");
}
