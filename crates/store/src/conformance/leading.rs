//! Schedulers of which one leads.

use std::time::Duration;

use filejobs_core::SchedulerId;

use super::Bench;
use crate::Leadership;

const TERM: Duration = Duration::from_secs(10);

async fn lead(bench: &Bench, holder: &str) -> Option<u64> {
    let led = bench.store.lead(&SchedulerId::new(holder), TERM).await;
    led.expect("the store answers").map(|led| led.epoch)
}

async fn step_down(bench: &Bench, holder: &str) {
    let down = bench.store.step_down(&SchedulerId::new(holder)).await;
    down.expect("the store answers");
}

/// Whoever asks at the same time, one is told that it leads.
pub async fn one_scheduler_leads_at_a_time(bench: &Bench) {
    let asked = (0..8).map(|n| {
        let store = bench.store.clone();
        tokio::spawn(async move { store.lead(&SchedulerId::new(n.to_string()), TERM).await })
    });
    let asked: Vec<_> = asked.collect();
    let mut led = Vec::new();
    for one in asked {
        led.extend(one.await.expect("no panic").expect("the store answers"));
    }
    assert_eq!(led, [Leadership { epoch: 1 }]);
}

/// However often it asks again, also after its term, as long as nobody else has led.
pub async fn a_leader_keeps_its_epoch(bench: &Bench) {
    assert_eq!(lead(bench, "a").await, Some(1));
    for _ in 0..3 {
        bench.clock.advance(TERM / 2);
        assert_eq!(lead(bench, "a").await, Some(1));
        assert_eq!(lead(bench, "b").await, None);
    }
    bench.clock.advance(TERM * 2);
    assert_eq!(lead(bench, "a").await, Some(1));
}

/// Not before its term is over; and when it comes back, it is the one that waits.
pub async fn a_silent_leader_is_followed_after_its_term(bench: &Bench) {
    assert_eq!(lead(bench, "a").await, Some(1));
    let rest = Duration::from_millis(1);
    bench.clock.advance(TERM.saturating_sub(rest));
    assert_eq!(lead(bench, "b").await, None);
    bench.clock.advance(rest);
    assert_eq!(lead(bench, "b").await, Some(2));
    assert_eq!(lead(bench, "a").await, None);
    step_down(bench, "a").await;
    assert_eq!(lead(bench, "c").await, None, "only who leads can step down");
    bench.clock.advance(TERM);
    assert_eq!(lead(bench, "a").await, Some(3));
}

/// A rolling update does not wait for a term to end.
pub async fn who_steps_down_is_followed_at_once(bench: &Bench) {
    step_down(bench, "a").await;
    assert_eq!(lead(bench, "a").await, Some(1));
    step_down(bench, "a").await;
    assert_eq!(lead(bench, "b").await, Some(2));
    step_down(bench, "b").await;
    step_down(bench, "b").await;
    assert_eq!(lead(bench, "b").await, Some(3), "it led anew");
}
