//! Hands waiting tasks to the queue.

use std::collections::HashSet;
use std::time::Duration;

use filejobs_core::Quotas;
use filejobs_core::waiting::ALIVE;
use filejobs_metrics::table;
use filejobs_store::{ChangeKind, Store, Waiting};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::admission::{admit, window};
use crate::config::{Backends, Config};
use crate::pace::{Pace, Wakes};
use crate::run::Step;

/// Tasks whose pause before the next attempt has ended raise no hint; the tick finds them.
const TICK: Duration = Duration::from_secs(1);

/// Under load several changes share one look: a window of tasks lasts longer than this.
const GAP: Duration = Duration::from_millis(10);

/// The part of the window that must be free before tasks are looked for: what is on its way keeps all slots busy until
/// then, and one look brings many tasks instead of one. Nothing waits longer for it, since it joins a shorter line.
const WORTH_A_LOOK: u64 = 4;

/// How long the number of the workers' slots is believed.
const SLOTS_FOR: Duration = Duration::from_secs(5);

pub(crate) async fn run(backends: Backends, config: Config, stop: CancellationToken) {
    let wanted = if config.quotas.any() {
        makes_room_in_quotas
    } else {
        makes_room
    };
    let wakes = Wakes::new(&*backends.store, wanted);
    let mut pace = Pace::new(wakes, TICK, GAP);
    let mut slots = Slots::default();
    let mut told = false;
    while pace.next(&stop).await {
        if !told {
            match backends.store.set_quotas(config.quotas).await {
                Ok(()) => told = true,
                Err(error) => Step::from(error).tell("the quotas could not be told"),
            }
        }
        if let Err(step) = fill(&backends, &config, &mut slots).await {
            step.tell("tasks could not be published");
        }
    }
}

fn makes_room(kind: ChangeKind) -> bool {
    match kind {
        // A claim changes the state, too, and makes room in the window.
        ChangeKind::Work | ChangeKind::State | ChangeKind::Missed => true,
        ChangeKind::Progress | ChangeKind::Deleted => false,
    }
}

/// The end of one task of many is progress of its job, and makes room for another task.
fn makes_room_in_quotas(kind: ChangeKind) -> bool {
    makes_room(kind) || kind == ChangeKind::Progress
}

/// The number of the workers' slots, asked for now and then.
#[derive(Debug, Default)]
struct Slots {
    known: Option<(Instant, u32)>,
}

impl Slots {
    async fn get(&mut self, backends: &Backends) -> Result<u32, Step> {
        if let Some((since, slots)) = self.known
            && since.elapsed() < SLOTS_FOR
        {
            return Ok(slots);
        }
        let workers = backends.store.workers(ALIVE).await?;
        let slots = workers.iter().map(|worker| worker.slots).sum();
        self.known = Some((Instant::now(), slots));
        Ok(slots)
    }
}

/// Fills the window.
async fn fill(backends: &Backends, config: &Config, slots: &mut Slots) -> Result<(), Step> {
    let Backends { store, queue, .. } = backends;
    let window = u64::from(window(slots.get(backends).await?));
    let room = window.saturating_sub(store.published().await?);
    if room < window / WORTH_A_LOOK {
        return Ok(());
    }
    let room = u32::try_from(room).unwrap_or(u32::MAX);
    let quotas = &config.quotas;
    // Counted first: what ends in between leaves room for the next round, and nothing begins but by this one.
    let running = if quotas.any() {
        store.running().await?
    } else {
        Vec::new()
    };
    let waiting = waiting(&**store, quotas, room).await?;
    if waiting.is_empty() {
        return Ok(());
    }
    let now = backends.sources.now();
    let admitted = admit(
        &waiting,
        &running,
        quotas,
        room as usize,
        now,
        &config.admission,
    );
    if admitted.is_empty() {
        return Ok(());
    }
    let tickets = store.publish(&admitted).await?;
    // What does not get through is published again: nobody claims it.
    queue.publish(&tickets).await?;
    table::PUBLISHED.add([], tickets.len() as u64);
    Ok(())
}

/// Enough of the tasks that wait to fill `room`, whatever quotas hold.
async fn waiting(store: &dyn Store, quotas: &Quotas, room: u32) -> Result<Vec<Waiting>, Step> {
    let mut waiting = store.waiting(room).await?;
    if quotas.bound_jobs() {
        let known: HashSet<_> = waiting.iter().map(|task| task.task).collect();
        let begun = store.waiting_of_begun(room).await?;
        waiting.extend(begun.into_iter().filter(|w| !known.contains(&w.task)));
    }
    Ok(waiting)
}
