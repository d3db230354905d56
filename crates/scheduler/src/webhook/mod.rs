//! Tells receivers how jobs ended: at once, again three times when that fails, never later than ten seconds after. Only the
//! first attempt is made however late, when no scheduler worked in that time or no connection was free.
//!
//! Deliveries lie in the store's outbox, written by the transaction that ended the job, so that none is lost and none
//! is made up. What happens here changes no job.

mod keys;
mod schedule;
mod sender;
mod settings;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use filejobs_metrics::table;
use filejobs_store::{ChangeKind, Delivery, DeliveryAttempt, NextDelivery};
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

pub use crate::guard::{Allowed, InvalidAllowed};
pub use keys::{Keys, NoKey};
pub use sender::{ClientError, Sender};
pub use settings::{Config, InvalidSecret, Secret};

use crate::config::Backends;
use crate::pace::Wakes;
use crate::run::Step;
use schedule::{Answer, Schedule};

/// Retries of an earlier process raise no hint; the tick finds them.
const TICK: Duration = Duration::from_secs(1);

/// Under load several ended jobs share one look.
const GAP: Duration = Duration::from_millis(20);

/// Deliveries fetched in one go.
const BATCH: u32 = 128;

/// Connections open at a time, and those of them to one port of a host. A dead one keeps no more than its share busy.
const CONNECTIONS: usize = 256;
const CONNECTIONS_PER_HOST: usize = 16;

/// How long deliveries under way may take once the scheduler stops.
const LAST_ONES: Duration = Duration::from_secs(3);

/// Sends what is due until `stop`.
pub(crate) async fn run(
    backends: Backends,
    sender: Sender,
    config: Config,
    stop: CancellationToken,
) {
    let mut wakes = Wakes::new(&*backends.store, |kind| match kind {
        ChangeKind::State | ChangeKind::Missed => true,
        ChangeKind::Work | ChangeKind::Progress | ChangeKind::Deleted => false,
    });
    let dispatcher = Arc::new(Dispatcher {
        schedule: config.schedule(),
        connections: Arc::new(Semaphore::new(CONNECTIONS)),
        backends,
        sender,
    });
    let mut hosts = Hosts::default();
    let mut under_way = JoinSet::new();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Retries of this process, so that they are on time to a few milliseconds.
    let mut retries = Retries::default();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = under_way.join_next() => {
                match ended {
                    Ok(Some(pause)) => retries.add(pause),
                    Ok(None) => {}
                    // Its hold ends by itself.
                    Err(defect) => tracing::error!(%defect, "a webhook ended by a defect"),
                }
                continue;
            }
            () = retries.next() => {}
            () = wakes.next() => tokio::time::sleep(GAP).await,
            _ = tick.tick() => {}
        }
        wakes.clear();
        if let Err(step) = dispatch(&dispatcher, &mut hosts, &mut under_way).await {
            step.tell("webhooks could not be fetched");
        }
    }
    let all = async { while under_way.join_next().await.is_some() {} };
    if tokio::time::timeout(LAST_ONES, all).await.is_err() {
        tracing::warn!("webhooks under way are left to the next start");
    }
}

#[derive(Debug)]
struct Dispatcher {
    backends: Backends,
    sender: Sender,
    schedule: Schedule,
    connections: Arc<Semaphore>,
}

async fn dispatch(
    dispatcher: &Arc<Dispatcher>,
    hosts: &mut Hosts,
    under_way: &mut JoinSet<Option<Duration>>,
) -> Result<(), Step> {
    loop {
        let due = dispatcher
            .backends
            .store
            .due_deliveries(BATCH, dispatcher.schedule.hold())
            .await?;
        let count = due.len();
        for delivery in due {
            let host = hosts.of(&delivery);
            under_way.spawn(deliver(dispatcher.clone(), delivery, host));
        }
        if count < BATCH as usize {
            return Ok(());
        }
    }
}

/// One attempt, if a connection comes free for it. Answers how long until the next, when one follows.
async fn deliver(
    dispatcher: Arc<Dispatcher>,
    delivery: Delivery,
    host: Arc<Semaphore>,
) -> Option<Duration> {
    let schedule = &dispatcher.schedule;
    let clock = &dispatcher.backends.sources;
    let fetched = clock.now();
    let wait = if schedule.is_late(&delivery, fetched) {
        schedule.window
    } else {
        schedule.left(&delivery, fetched)
    };
    let permits = async {
        let host = host.acquire().await;
        (host, dispatcher.connections.acquire().await)
    };
    let permits = tokio::time::timeout(wait, permits).await;
    if permits.is_err() && delivery.attempts == 0 {
        let (job, id) = (delivery.job, delivery.id);
        tracing::info!(job.id = %job, delivery.id = %id, "webhook waits: its receiver's connections are all in use");
        // It is due again once its hold ends.
        return None;
    }
    let at = clock.now();
    let begin = Instant::now();
    let budget = if schedule.is_late(&delivery, at) {
        Some(schedule.whole_attempt())
    } else {
        schedule.budget(&delivery, at)
    };
    let answer = match (permits, budget) {
        (Ok(_permits), Some(budget)) => dispatcher.sender.send(&delivery, at, budget).await,
        (Err(_), _) | (_, None) => Answer::TooLate,
    };
    let took = begin.elapsed();
    let next = schedule.next(&delivery, answer, clock.now());
    let stood_still = budget.is_some_and(|budget| schedule::stood_still(answer, budget, took));
    // With time left it is tried again as after any failure.
    if stood_still && delivery.attempts == 0 && next == NextDelivery::Abandoned {
        let (job, id) = (delivery.job, delivery.id);
        tracing::warn!(job.id = %job, delivery.id = %id, ?took, "this process stood still while it sent a webhook; it is sent again");
        // It is due again once its hold ends.
        return None;
    }
    count(next, took);
    tell(&delivery, answer, next, took);
    let attempt = DeliveryAttempt {
        at,
        duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        status: answer.status(),
        error: answer.error(),
    };
    let store = &dispatcher.backends.store;
    if let Err(error) = store.record_attempt(&delivery, attempt, next).await {
        // Once the hold ends it is sent again, or given up: receivers know a repetition by its id.
        Step::from(error).tell("an attempt at a webhook could not be written down");
        return None;
    }
    match next {
        NextDelivery::At(at) => Some(pause_until(at, clock.now())),
        NextDelivery::Delivered | NextDelivery::Abandoned => None,
    }
}

fn pause_until(at: Timestamp, now: Timestamp) -> Duration {
    at.duration_since(now).try_into().unwrap_or(Duration::ZERO)
}

fn count(next: NextDelivery, took: Duration) {
    let result = match next {
        NextDelivery::Delivered => "delivered",
        NextDelivery::At(_) => "retried",
        NextDelivery::Abandoned => "abandoned",
    };
    table::WEBHOOK_ATTEMPTS.one([result]);
    table::WEBHOOK_DURATION.observe([], took);
}

fn tell(delivery: &Delivery, answer: Answer, next: NextDelivery, took: Duration) {
    let (status, error) = (answer.status(), answer.error());
    let number = delivery.attempts + 1;
    let duration_ms = took.as_millis();
    let (job, id) = (delivery.job, delivery.id);
    match next {
        NextDelivery::Delivered => {
            tracing::debug!(job.id = %job, delivery.id = %id, number, duration_ms, "webhook delivered");
        }
        NextDelivery::At(_) => {
            tracing::info!(job.id = %job, delivery.id = %id, number, status, error, "webhook failed; another try follows");
        }
        NextDelivery::Abandoned => {
            tracing::warn!(job.id = %job, delivery.id = %id, number, status, error, "webhook given up");
        }
    }
}

/// A share of the connections for each host and port that has deliveries under way.
#[derive(Debug, Default)]
struct Hosts {
    shares: HashMap<String, Arc<Semaphore>>,
}

impl Hosts {
    fn of(&mut self, delivery: &Delivery) -> Arc<Semaphore> {
        // Those that nobody holds any more are forgotten now and then.
        if self.shares.len() >= 1024 {
            self.shares.retain(|_, share| Arc::strong_count(share) > 1);
        }
        let host = url::Url::parse(&delivery.url)
            .ok()
            .and_then(|url| {
                let port = url.port_or_known_default()?;
                Some(format!("{}:{port}", url.host_str()?))
            })
            .unwrap_or_default();
        let new = || Arc::new(Semaphore::new(CONNECTIONS_PER_HOST));
        self.shares.entry(host).or_insert_with(new).clone()
    }
}

/// When the next retry of this process is due.
#[derive(Debug, Default)]
struct Retries {
    due: std::collections::BTreeSet<Instant>,
}

impl Retries {
    fn add(&mut self, pause: Duration) {
        // The store compares wall clocks: a moment later is safe, a moment earlier would find nothing.
        self.due
            .insert(Instant::now() + pause + Duration::from_millis(2));
    }

    /// Waits for the first, and takes off all that are due by then. Cancel-safe.
    async fn next(&mut self) {
        let Some(first) = self.due.first().copied() else {
            return std::future::pending().await;
        };
        tokio::time::sleep_until(first).await;
        self.due = self
            .due
            .split_off(&(Instant::now() + Duration::from_nanos(1)));
    }
}
