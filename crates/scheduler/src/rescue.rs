//! Takes on what got lost: tasks of dead workers, tickets that never arrived.

use filejobs_core::ErrorClass;
use filejobs_core::failure::{Failure, FailureCode};
use filejobs_metrics::table;
use filejobs_store::Expired;
use tokio_util::sync::CancellationToken;

use crate::config::{Backends, Config};
use crate::pace::{Pace, Wakes};
use crate::run::Step;

/// Tasks looked at in one go.
const BATCH: u32 = 100;

pub(crate) async fn run(backends: Backends, config: Config, stop: CancellationToken) {
    // Nothing that happens says that a worker has died: only the tick.
    let mut pace = Pace::new(Wakes::none(), config.rescue_every, config.rescue_every);
    while pace.next(&stop).await {
        if let Err(step) = rescue(&backends, &config).await {
            step.tell("lost tasks could not be taken on");
        }
        if let Err(step) = republish(&backends, &config).await {
            step.tell("lost tickets could not be published again");
        }
    }
}

async fn rescue(backends: &Backends, config: &Config) -> Result<(), Step> {
    loop {
        let expired = backends.store.expired_leases(BATCH).await?;
        for lost in &expired {
            take_on(backends, config, lost).await?;
        }
        if expired.len() < BATCH as usize {
            return Ok(());
        }
    }
}

async fn take_on(backends: &Backends, config: &Config, lost: &Expired) -> Result<(), Step> {
    let failure = Failure::new(
        FailureCode::AttemptsExhausted,
        format!(
            "The workers that had the file were lost, {} in all; retry the job, and look into their logs if that ends the same way.",
            lost.attempts_spent
        ),
    );
    let randomness = &*backends.sources.randomness;
    let pause = config.retry.pause_after(lost.attempts_spent, randomness);
    let store = &backends.store;
    let taken = match pause {
        Some(pause) => {
            let now = backends.sources.now();
            let not_before = now.checked_add(pause).unwrap_or(now);
            store
                .retry_task(lost.task, lost.attempt, &failure, not_before)
                .await
        }
        None => store
            .fail(lost.task, lost.attempt, failure, None)
            .await
            .map(drop),
    };
    match taken {
        Ok(()) => {
            let follows = if pause.is_some() {
                "attempt"
            } else {
                "failure"
            };
            table::LEASES_LOST.one([follows]);
            tracing::warn!(
                job.id = %lost.job,
                task.id = %lost.task,
                attempt = lost.attempt,
                worker.id = %lost.worker,
                last = pause.is_none(),
                "a worker lost a task"
            );
            Ok(())
        }
        // It was renewed, committed or cancelled meanwhile.
        Err(error) if error.class() == ErrorClass::Conflict => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Publishes again what nobody has claimed, unless the queue still has it all: then the workers are only busy.
async fn republish(backends: &Backends, config: &Config) -> Result<(), Step> {
    let Backends { store, queue, .. } = backends;
    if queue.depth().await? >= store.published().await? {
        return Ok(());
    }
    let tickets = store.republish(config.republish_after, BATCH).await?;
    if !tickets.is_empty() {
        tracing::info!(
            tickets = tickets.len(),
            "tickets that nobody claimed are published again"
        );
        queue.publish(&tickets).await?;
        table::REPUBLISHED.add([], tickets.len() as u64);
    }
    Ok(())
}
