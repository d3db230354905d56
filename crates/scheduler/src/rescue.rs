//! Takes on what got lost: tasks of dead workers, tickets that never arrived.

use std::time::Duration;

use filejobs_core::ErrorClass;
use filejobs_core::failure::{Failure, FailureCode};
use filejobs_metrics::table;
use filejobs_store::Expired;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::{Backends, Config};
use crate::pace::{Pace, Wakes};
use crate::run::Step;

/// Tasks looked at in one go.
const BATCH: u32 = 100;

/// How long calls in vain may take in one round: each waits for a lock, or for a database that is out of reach.
const TROUBLE: Duration = Duration::from_secs(20);

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
        each(expired.iter().map(|lost| take_on(backends, config, lost))).await?;
        if expired.len() < BATCH as usize {
            return Ok(());
        }
    }
}

/// Takes on all, though some cannot be: a job that somebody has locked may hold up no other. The first error.
async fn each<E>(all: impl Iterator<Item = impl Future<Output = Result<(), E>>>) -> Result<(), E> {
    let (mut done, mut in_vain) = (Ok(()), Duration::ZERO);
    for one in all {
        let begun = Instant::now();
        if let Err(error) = one.await {
            in_vain += begun.elapsed();
            done = done.and(Err(error));
        }
        if in_vain > TROUBLE {
            break;
        }
    }
    done
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
    let now = backends.sources.now();
    let not_before = pause.map(|pause| now.checked_add(pause).unwrap_or(now));
    let taken = store
        .rescue(lost.task, lost.attempt, &failure, not_before)
        .await;
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// How taking on five tasks ends, and which were tried, when the first few take long and end with an error.
    async fn taken(locked: u32, wait: Duration) -> (Result<(), u32>, Vec<u32>) {
        let tried = RefCell::new(Vec::new());
        let take_on = async |number: u32| {
            tried.borrow_mut().push(number);
            if number >= locked {
                return Ok(());
            }
            tokio::time::sleep(wait).await;
            Err(number)
        };
        let done = each((0..5).map(take_on)).await;
        (done, tried.take())
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_cannot_be_taken_on_holds_up_no_other_for_long() {
        let lock = Duration::from_secs(5);
        assert_eq!(taken(2, lock).await, (Err(0), vec![0, 1, 2, 3, 4]));
        assert_eq!(taken(5, TROUBLE + lock).await, (Err(0), vec![0]));
    }
}
