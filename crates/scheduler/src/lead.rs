//! Which of several schedulers works: the one that leads. The others stand by.
//!
//! Who leads says so every [`Election::renew`] and stops working before its term is over, however the database or the
//! process may have hung meanwhile. That keeps two from working at a time in all but contrived cases; those cost
//! nothing either, as every effect of a scheduler is a guarded update.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use filejobs_core::{ErrorClass, SchedulerId};
use filejobs_metrics::table;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::{Backends, Config};
use crate::run::{Error, run};

/// How long the work may take to stop once this scheduler no longer leads; what still runs then is dropped.
const STOP: Duration = Duration::from_secs(5);

/// How long the store may take to be told that nobody leads.
const STEP_DOWN: Duration = Duration::from_secs(3);

/// How leadership is won and held. After a leader that was killed another leads within `term + renew`.
#[derive(Debug, Clone)]
pub struct Election {
    /// This scheduler's name, new with every start.
    pub holder: SchedulerId,
    /// How long a leader counts as one that says nothing.
    pub term: Duration,
    /// Pause between two times that it says so, or that others ask.
    pub renew: Duration,
    /// How long before the end of its term a leader that was not heard stops working.
    pub margin: Duration,
    /// Whether this scheduler leads, for whoever looks.
    pub leads: Arc<AtomicBool>,
}

impl Election {
    /// The defaults: another leads at most twelve seconds after the leader was killed.
    #[must_use]
    pub fn new(holder: SchedulerId) -> Self {
        Self {
            holder,
            term: Duration::from_secs(10),
            renew: Duration::from_secs(2),
            margin: Duration::from_secs(2),
            leads: Arc::default(),
        }
    }
}

/// Schedules whenever this scheduler leads, until `stop` fires; then it steps down, so that another leads at once.
pub async fn run_elected(
    backends: Backends,
    config: Config,
    election: Election,
    stop: CancellationToken,
) -> Result<(), Error> {
    tracing::info!(scheduler.id = %election.holder, "the scheduler stands by");
    table::LEADS.set([], 0);
    while let Some(until) = stand_by(&backends, &election, &stop).await {
        election.leads.store(true, Ordering::Relaxed);
        let ended = work(&backends, &config, &election, until, &stop).await;
        election.leads.store(false, Ordering::Relaxed);
        // Nothing of it runs any more: who stopped by itself need not be waited for.
        step_down(&backends, &election).await;
        ended?;
    }
    Ok(())
}

/// Waits until this scheduler leads, and answers until when; `None` when it shall stop.
async fn stand_by(
    backends: &Backends,
    election: &Election,
    stop: &CancellationToken,
) -> Option<Instant> {
    let mut told = false;
    loop {
        let asked = Instant::now();
        let answer = or_stop(stop, ask(backends, election)).await?;
        match answer {
            Answer::Leads(epoch) => {
                tracing::info!(scheduler.id = %election.holder, epoch, "the scheduler leads");
                return Some(asked + election.term);
            }
            Answer::Other => told = false,
            Answer::None(error) => {
                // Once for each time that the database is away, not every two seconds.
                if !told {
                    tracing::warn!(error, "who leads cannot be told");
                }
                told = true;
            }
        }
        // Two that stand by do not ask at the same moment for ever.
        let jitter = election
            .renew
            .mul_f64(backends.sources.randomness.unit() / 4.0);
        let pause = election.renew.saturating_sub(jitter);
        or_stop(stop, tokio::time::sleep(pause)).await?;
    }
}

/// Works while it leads: until `stop`, until leadership is lost, or until the work itself ends.
async fn work(
    backends: &Backends,
    config: &Config,
    election: &Election,
    until: Instant,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let leading = stop.child_token();
    let mut work = Box::pin(run(backends.clone(), config.clone(), leading.clone()));
    let why = tokio::select! {
        ended = &mut work => return ended,
        why = keep(backends, election, until) => why,
    };
    tracing::warn!(scheduler.id = %election.holder, "the scheduler no longer leads: {why}");
    leading.cancel();
    // Dropped, it ends at its next await.
    timeout(STOP, work).await.unwrap_or(Ok(()))
}

/// Renews until leadership is lost; answers why.
async fn keep(backends: &Backends, election: &Election, mut until: Instant) -> &'static str {
    loop {
        let last_moment = until.checked_sub(election.margin).unwrap_or(until);
        let next = (Instant::now() + election.renew).min(last_moment);
        sleep_until(next).await;
        if Instant::now() >= last_moment {
            return "its term could not be renewed in time";
        }
        let asked = Instant::now();
        match tokio::time::timeout_at(last_moment, ask(backends, election)).await {
            Ok(Answer::Leads(_)) => until = asked + election.term,
            Ok(Answer::Other) => return "another does",
            Ok(Answer::None(error)) => tracing::warn!(error, "the term was not renewed"),
            Err(_) => {}
        }
    }
}

enum Answer {
    /// This scheduler leads.
    Leads(u64),
    /// Another does.
    Other,
    /// The store does not say.
    None(String),
}

async fn ask(backends: &Backends, election: &Election) -> Answer {
    let asked = backends.store.lead(&election.holder, election.term);
    match timeout(election.term, asked).await {
        Ok(Ok(Some(leadership))) => Answer::Leads(leadership.epoch),
        Ok(Ok(None)) => Answer::Other,
        Ok(Err(error)) if error.class() == ErrorClass::Conflict => Answer::Other,
        Ok(Err(error)) => Answer::None(error.to_string()),
        Err(_) => Answer::None("the store did not answer in time".to_owned()),
    }
}

async fn step_down(backends: &Backends, election: &Election) {
    let told = timeout(STEP_DOWN, backends.store.step_down(&election.holder)).await;
    if !matches!(told, Ok(Ok(()))) {
        tracing::warn!(scheduler.id = %election.holder, "the next scheduler leads when the term of this one is over");
    }
}

async fn or_stop<T>(stop: &CancellationToken, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        done = work => Some(done),
    }
}
