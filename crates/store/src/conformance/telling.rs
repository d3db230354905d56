//! Events, webhooks and the change feed.

use std::time::Duration;

use filejobs_core::failure::{Failure, FailureCode};
use filejobs_core::{JobId, JobState};
use serde_json::Value;
use tokio::sync::broadcast::Receiver;

use super::{Bench, effects};
use crate::{Change, ChangeKind, Delivery, DeliveryAttempt, Error, Job, NextDelivery};

const HOLD: Duration = Duration::from_secs(5);

async fn told(bench: &Bench, id: JobId) -> Vec<(String, String)> {
    let events = bench.store.events(id, 0, 100).await.expect("answers");
    for (n, event) in events.iter().enumerate() {
        assert_eq!(event.id, n as u64 + 1, "without a gap");
    }
    assert_eq!(bench.get(id).await.last_event, events.len() as u64);
    let status = |data: &Value| data["status"].as_str().unwrap_or_default().to_owned();
    events
        .iter()
        .map(|e| (e.kind.clone(), status(&e.data)))
        .collect()
}

/// One `state` for each change of state, `finished` after each end.
pub async fn every_transition_is_told_once(bench: &Bench) {
    let store = &bench.store;
    let id = bench.job().await.id;
    store.suspend(id).await.expect("suspended");
    store.suspend(id).await.expect("suspended");
    store.resume(id).await.expect("resumed");
    bench.claim_next().await;
    store.cancel(id).await.expect("cancelled");
    store.cancel(id).await.expect("cancelled");
    store.retry(id).await.expect("retried");
    let claimed = bench.claim_next().await;
    store.release(claimed.task, 1).await.expect("released");
    let claimed = bench.claim_next().await;
    bench.commit(&claimed, effects(10, 3)).await;
    let state = |s: JobState| ("state".to_owned(), s.as_str().to_owned());
    let finished = |s: JobState| ("finished".to_owned(), s.as_str().to_owned());
    let wanted = [
        state(JobState::Queued),
        state(JobState::Suspended),
        state(JobState::Queued),
        state(JobState::Processing),
        state(JobState::Cancelled),
        finished(JobState::Cancelled),
        state(JobState::Queued),
        state(JobState::Processing),
        state(JobState::Completed),
        finished(JobState::Completed),
    ];
    assert_eq!(told(bench, id).await, wanted);

    let later = store.events(id, 7, 2).await.expect("answers");
    assert_eq!(later.iter().map(|e| e.id).collect::<Vec<_>>(), [8, 9]);
    let last = store.events(id, 9, 10).await.expect("answers");
    assert_eq!(last[0].data["rows_processed"], 10);
    assert_eq!(last[0].data["rows_failed"], 3);
    assert_eq!(last[0].data["outcome"], "completed_with_errors");
    assert_eq!(store.events(id, 10, 10).await.expect("answers"), []);
}

async fn with_webhook(bench: &Bench) -> Job {
    let mut new = bench.new_job();
    new.webhook_url = Some("https://example.com/hook".to_owned());
    bench.hand_in(new).await
}

async fn due(bench: &Bench) -> Vec<Delivery> {
    let due = bench.store.due_deliveries(10, HOLD).await;
    due.expect("answers")
}

/// Each way to end has its type; the body holds the final counters.
pub async fn the_end_is_told_to_the_webhook(bench: &Bench) {
    let completed = with_webhook(bench).await;
    let claimed = bench.claim_next().await;
    assert_eq!(due(bench).await, [], "it has not ended");
    bench.commit(&claimed, effects(10, 3)).await;
    let failed = with_webhook(bench).await;
    let claimed = bench.claim_next().await;
    let failure = Failure::new(FailureCode::EmptyFile, "empty");
    let end = bench.store.fail(claimed.task, 1, failure, None).await;
    end.expect("failed");
    let cancelled = with_webhook(bench).await;
    bench.store.cancel(cancelled.id).await.expect("cancelled");
    bench.finished(bench.new_job(), effects(1, 0)).await;

    let due = due(bench).await;
    assert_eq!(due.len(), 3, "none for a job without a webhook");
    let wanted = [
        (completed.id, "filejob.completed", "COMPLETED", 10, 3),
        (failed.id, "filejob.failed", "FAILED", 0, 0),
        (cancelled.id, "filejob.cancelled", "CANCELLED", 0, 0),
    ];
    for (job, kind, status, rows, bad) in wanted {
        let delivery = due.iter().find(|d| d.job == job).expect("a delivery");
        assert_eq!(delivery.url, "https://example.com/hook");
        assert_eq!(
            (delivery.attempts, delivery.created_at),
            (0, bench.sources.now())
        );
        let body: Value = serde_json::from_str(&delivery.body).expect("JSON");
        let now = bench.sources.now().to_string();
        let wanted = serde_json::json!({
            "type": kind, "timestamp": now, "job_id": job, "status": status,
            "rows_processed": rows, "rows_failed": bad, "completed_at": now,
        });
        assert_eq!(body, wanted);
    }
}

fn attempt(bench: &Bench, status: Option<u16>) -> DeliveryAttempt {
    DeliveryAttempt {
        at: bench.sources.now(),
        duration_ms: 12,
        status,
        error: status.is_none().then(|| "no answer".to_owned()),
    }
}

/// Two senders do not send at once; a sender that dies does not hold it for ever.
pub async fn a_delivery_is_hidden_while_it_is_tried(bench: &Bench) {
    let job = with_webhook(bench).await;
    bench.store.cancel(job.id).await.expect("cancelled");
    let first = due(bench).await;
    assert_eq!(first.len(), 1);
    assert_eq!(due(bench).await, []);
    bench.clock.advance(HOLD);
    assert_eq!(due(bench).await, first);
}

/// Attempts are kept; only what follows decides whether it comes again.
pub async fn a_delivery_ends_delivered_or_abandoned(bench: &Bench) {
    for (last, state) in [
        (NextDelivery::Delivered, "delivered"),
        (NextDelivery::Abandoned, "abandoned"),
    ] {
        let job = with_webhook(bench).await;
        bench.store.cancel(job.id).await.expect("cancelled");
        let delivery = due(bench).await.remove(0);
        let later = bench.sources.now() + Duration::from_secs(1);
        let record = |status, next| {
            let attempt = attempt(bench, status);
            bench.store.record_attempt(&delivery, attempt, next)
        };
        let first = attempt(bench, None);
        record(None, NextDelivery::At(later))
            .await
            .expect("recorded");
        assert_eq!(due(bench).await, []);
        bench.clock.advance(Duration::from_secs(1));
        let again = due(bench).await;
        assert_eq!(
            (again.len(), again[0].id, again[0].attempts),
            (1, delivery.id, 1)
        );
        record(Some(500), last).await.expect("recorded");
        bench.clock.advance(HOLD * 10);
        assert_eq!(due(bench).await, []);
        let records = bench.store.deliveries(job.id).await.expect("answers");
        assert_eq!((records.len(), records[0].state.as_str()), (1, state));
        assert_eq!(records[0].delivery.body, delivery.body);
        assert_eq!(records[0].attempts.len(), 2);
        assert_eq!(records[0].attempts[0], first);
        assert_eq!(records[0].attempts[1].status, Some(500));
    }
    let job = with_webhook(bench).await;
    bench.store.cancel(job.id).await.expect("cancelled");
    let mut unknown = due(bench).await.remove(0);
    unknown.id = bench.sources.job_id().as_uuid();
    let late = attempt(bench, None);
    let recorded = bench
        .store
        .record_attempt(&unknown, late, NextDelivery::Delivered);
    assert!(matches!(recorded.await, Err(Error::NotFound)));
}

/// A sender that stood still past its hold knows no better than the one that took over from it.
pub async fn what_has_been_delivered_stays_so(bench: &Bench) {
    let job = with_webhook(bench).await;
    bench.store.cancel(job.id).await.expect("cancelled");
    let delivery = due(bench).await.remove(0);
    for (status, next) in [
        (Some(200), NextDelivery::Delivered),
        (None, NextDelivery::Abandoned),
        (None, NextDelivery::At(bench.sources.now())),
    ] {
        let attempt = attempt(bench, status);
        let recorded = bench.store.record_attempt(&delivery, attempt, next).await;
        recorded.expect("recorded");
    }
    assert_eq!(due(bench).await, []);
    let records = bench.store.deliveries(job.id).await.expect("answers");
    assert_eq!(records[0].state, "delivered");
    assert_eq!(records[0].attempts.len(), 3);
}

/// A second end is another message.
pub async fn a_retried_job_tells_again_with_a_new_id(bench: &Bench) {
    let job = with_webhook(bench).await;
    bench.store.cancel(job.id).await.expect("cancelled");
    bench.store.retry(job.id).await.expect("retried");
    let claimed = bench.claim_next().await;
    bench.clock.advance(Duration::from_secs(1));
    bench.commit(&claimed, effects(1, 0)).await;
    let records = bench.store.deliveries(job.id).await.expect("answers");
    assert_eq!(records.len(), 2);
    assert_ne!(records[0].delivery.id, records[1].delivery.id);
    assert!(records[0].delivery.body.contains("filejob.cancelled"));
    assert!(records[1].delivery.body.contains("filejob.completed"));
}

/// The same message under the same id; the round has its own time limit and its own number of attempts.
pub async fn the_newest_delivery_is_sent_again_in_a_round_of_its_own(bench: &Bench) {
    let resend = |id| async move { bench.store.resend_delivery(id).await.expect("answers") };
    let job = with_webhook(bench).await.id;
    assert_eq!(resend(job).await, None, "it has not ended");
    assert_eq!(resend(bench.sources.job_id()).await, None, "no such job");
    bench.store.cancel(job).await.expect("cancelled");
    bench.store.retry(job).await.expect("retried");
    bench.clock.advance(Duration::from_secs(1));
    bench.store.cancel(job).await.expect("cancelled");
    let record = async |delivery: &Delivery, next| {
        let attempt = attempt(bench, Some(500));
        let recorded = bench.store.record_attempt(delivery, attempt, next).await;
        recorded.expect("recorded");
    };
    let mut both = due(bench).await;
    both.sort_by_key(|delivery| delivery.created_at);
    assert_eq!(both.len(), 2);
    let (old, new) = (&both[0], &both[1]);
    assert_eq!(resend(job).await, Some(new.id), "it is on its way");
    assert_eq!(due(bench).await, [], "and is not sent twice at a time");
    record(old, NextDelivery::Abandoned).await;
    record(new, NextDelivery::At(bench.sources.now())).await;
    assert_eq!(due(bench).await[0].attempts, 1);
    record(new, NextDelivery::Abandoned).await;

    bench.clock.advance(Duration::from_mins(10));
    let mut changes = bench.store.changes();
    assert_eq!(resend(job).await, Some(new.id));
    heard(&mut changes, job, ChangeKind::State).await;
    let again = due(bench).await;
    let wanted = Delivery {
        attempts: 0,
        earlier_attempts: 2,
        since: bench.sources.now(),
        ..new.clone()
    };
    assert_eq!(again, [wanted]);
    // Of somebody who stood still since the round before.
    for late in [NextDelivery::Abandoned, NextDelivery::Delivered] {
        record(new, late).await;
        let records = bench.store.deliveries(job).await.expect("answers");
        assert_eq!(records[1].state, "pending");
    }
    bench.clock.advance(HOLD);
    assert_eq!(due(bench).await, again, "nothing of its own was tried");
    record(&again[0], NextDelivery::Delivered).await;
    let records = bench.store.deliveries(job).await.expect("answers");
    assert_eq!(records[1].state, "delivered");
    assert_eq!(records[1].attempts.len(), 5, "all attempts are kept");
    assert_eq!(records[0].state, "abandoned", "the older end stays untold");
    bench.store.delete(job).await.expect("deleted");
    assert_eq!(resend(job).await, None);
}

async fn heard(changes: &mut Receiver<Change>, job: JobId, kind: ChangeKind) {
    let wanted = Change { job, kind };
    let listen = async { while changes.recv().await.expect("the store lives") != wanted {} };
    let heard = tokio::time::timeout(Duration::from_mins(1), listen).await;
    assert!(heard.is_ok(), "{wanted:?} was not told");
}

/// A listener learns of work, state, progress and the end of a job.
pub async fn listeners_hear_of_changes(bench: &Bench) {
    let mut changes = bench.store.changes();
    let job = bench.job().await.id;
    heard(&mut changes, job, ChangeKind::Work).await;
    let claimed = bench.claim_next().await;
    heard(&mut changes, job, ChangeKind::State).await;
    bench
        .store
        .release(claimed.task, 1)
        .await
        .expect("released");
    heard(&mut changes, job, ChangeKind::Work).await;
    let claimed = bench.claim_next().await;
    bench.commit(&claimed, effects(1, 0)).await;
    heard(&mut changes, job, ChangeKind::State).await;
    bench.store.delete(job).await.expect("deleted");
    heard(&mut changes, job, ChangeKind::Deleted).await;
}
