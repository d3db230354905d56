//! Removes what has had its time and what nobody refers to.

use std::collections::HashSet;
use std::time::Duration;

use filejobs_core::{ErrorClass, JobId};
use filejobs_metrics::table;
use filejobs_store::{ChangeKind, Remains, Tombstone};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::{Backends, Config};
use crate::pace::{Pace, Wakes};
use crate::run::Step;

const TICK: Duration = Duration::from_secs(30);

/// A wave of deletes is handled in few rounds.
const GAP: Duration = Duration::from_millis(100);

/// Between two sweeps of the store.
const SWEEP_STORE: Duration = Duration::from_mins(1);

/// Between two sweeps of the blobs, which list all uploads.
const SWEEP_BLOBS: Duration = Duration::from_mins(30);

/// Jobs handled in one go.
const BATCH: u32 = 100;

/// How long calls in vain may take in one round: a storage that is out of reach may let each wait for long, and there is
/// other work.
const TROUBLE: Duration = Duration::from_secs(10);

/// Rows removed in one go: short enough to hold up no other writer.
const ROWS: u32 = 2_000;

pub(crate) async fn run(backends: Backends, config: Config, stop: CancellationToken) {
    let wakes = Wakes::new(&*backends.store, |kind| match kind {
        ChangeKind::Deleted | ChangeKind::Missed => true,
        ChangeKind::Work | ChangeKind::State | ChangeKind::Progress => false,
    });
    let mut pace = Pace::new(wakes, TICK, GAP);
    let mut store_sweep = Every::new(SWEEP_STORE);
    let mut blob_sweep = Every::new(SWEEP_BLOBS);
    while pace.next(&stop).await {
        // Asking the token between the steps keeps a stop from waiting for a long sweep.
        if let Err(step) = expire(&backends, &config, &stop).await {
            step.tell("old jobs could not be removed");
        }
        if let Err(step) = bury(&backends, &config, &stop).await {
            step.tell("what is to go could not be removed from the storage");
        }
        if store_sweep.is_due()
            && let Err(step) = sweep_store(&backends, &stop).await
        {
            step.tell("the store could not be swept");
        }
        if blob_sweep.is_due() {
            sweep_blobs(&backends, &config, &stop).await;
        }
    }
}

/// Something that is due at the start and then after each period.
#[derive(Debug)]
struct Every {
    period: Duration,
    last: Option<Instant>,
}

impl Every {
    fn new(period: Duration) -> Self {
        Self { period, last: None }
    }

    fn is_due(&mut self) -> bool {
        let due = self.last.is_none_or(|last| last.elapsed() >= self.period);
        if due {
            self.last = Some(Instant::now());
        }
        due
    }
}

/// Deletes jobs that ended long enough ago.
async fn expire(
    backends: &Backends,
    config: &Config,
    stop: &CancellationToken,
) -> Result<(), Step> {
    let Some(keep) = config.keep_ended else {
        return Ok(());
    };
    let Ok(before) = backends.sources.now().checked_sub(keep) else {
        return Ok(());
    };
    while !stop.is_cancelled() {
        let ended = backends.store.ended_before(before, BATCH).await?;
        let count = ended.len();
        for job in ended {
            match backends.store.expire(job, before).await {
                Ok(_) => {
                    table::JOBS_EXPIRED.one([]);
                    tracing::info!(job.id = %job, "an old job is removed");
                }
                // Retried or deleted meanwhile.
                Err(error) if is_gone(error.class()) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if count < BATCH as usize {
            break;
        }
    }
    Ok(())
}

fn is_gone(class: ErrorClass) -> bool {
    matches!(class, ErrorClass::Conflict | ErrorClass::Invalid)
}

/// Removes what is to go from the storage. What cannot be removed is tried again after a pause that grows, and does not
/// hold up the others.
async fn bury(backends: &Backends, config: &Config, stop: &CancellationToken) -> Result<(), Step> {
    let mut in_vain = Duration::ZERO;
    let mut failed = None;
    loop {
        let tombstones = backends.store.tombstones(BATCH).await?;
        for tombstone in &tombstones {
            if stop.is_cancelled() || in_vain > TROUBLE {
                return failed.map_or(Ok(()), Err);
            }
            let begun = Instant::now();
            match bury_one(backends, tombstone).await {
                Ok(()) => {}
                Err(refused @ Step::Blobs(_)) => {
                    in_vain += begun.elapsed();
                    postpone(backends, config, tombstone).await?;
                    failed = Some(refused);
                }
                Err(other) => return Err(other),
            }
        }
        if tombstones.len() < BATCH as usize {
            return failed.map_or(Ok(()), Err);
        }
    }
}

async fn bury_one(backends: &Backends, tombstone: &Tombstone) -> Result<(), Step> {
    let Backends { store, blobs, .. } = backends;
    blobs.delete(&tombstone.blob).await?;
    match tombstone.remains {
        Remains::Job => blobs.delete_results(tombstone.id, None).await?,
        Remains::Upload => {}
    }
    store.bury(tombstone).await?;
    Ok(())
}

async fn postpone(backends: &Backends, config: &Config, tombstone: &Tombstone) -> Result<(), Step> {
    let randomness = &*backends.sources.randomness;
    let tries = tombstone.tries.saturating_add(1);
    let pause = config.burials.pause_after(tries, randomness);
    let pause = pause.unwrap_or(config.burials.cap);
    backends.store.postpone_burial(tombstone, pause).await?;
    Ok(())
}

async fn sweep_store(backends: &Backends, stop: &CancellationToken) -> Result<(), Step> {
    while !stop.is_cancelled() {
        let removed = backends.store.sweep(ROWS).await?;
        if removed < u64::from(ROWS) {
            break;
        }
        // Other writers go first.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Removes parts of abandoned uploads, uploads whose job never came to be, and whatever else belongs to no job. The one
/// whatever comes of the other: a storage may refuse either for good, for want of a right.
async fn sweep_blobs(backends: &Backends, config: &Config, stop: &CancellationToken) {
    let staged = backends.blobs.sweep_staged(config.keep_staged).await;
    let parts = or_told(
        staged.map_err(Step::from),
        "unfinished uploads could not be swept",
    );
    let lost = match config.keep_orphans {
        Some(keep) => sweep_orphans(backends, keep, stop).await,
        None => Ok(0),
    };
    let orphans = or_told(lost, "blobs without a job could not be swept");
    if parts + orphans > 0 {
        tracing::info!(parts, orphans, "abandoned blobs are removed");
    }
}

/// How many were removed; a failure is told.
fn or_told(swept: Result<u64, Step>, what: &'static str) -> u64 {
    swept.unwrap_or_else(|step| {
        step.tell(what);
        0
    })
}

/// Removes uploads and results that belong to no job and have not been written to for `keep`. How many.
async fn sweep_orphans(
    backends: &Backends,
    keep: Duration,
    stop: &CancellationToken,
) -> Result<u64, Step> {
    let blobs = &backends.blobs;
    let uploads = blobs.uploads(keep).await?;
    let of_upload = |upload: &(JobId, String)| upload.0;
    let mut orphans = 0;
    for (_, key) in without_job(backends, uploads, of_upload, stop).await? {
        blobs.delete(&key).await?;
        table::ORPHANS.one([]);
        orphans += 1;
    }
    // What a worker stored for a job that was deleted meanwhile, when it died before it could take it back.
    let jobs = blobs.jobs_with_results().await?;
    for job in without_job(backends, jobs, |job| *job, stop).await? {
        if stop.is_cancelled() || !blobs.results_are_older(job, keep).await? {
            continue;
        }
        blobs.delete_results(job, None).await?;
        table::ORPHANS.one([]);
        orphans += 1;
    }
    Ok(orphans)
}

/// Those of `found` whose job does not exist; none of what was not looked at before `stop`.
async fn without_job<T>(
    backends: &Backends,
    found: Vec<T>,
    job: impl Fn(&T) -> JobId,
    stop: &CancellationToken,
) -> Result<Vec<T>, Step> {
    let jobs: Vec<_> = found.iter().map(&job).collect();
    let mut existing = HashSet::new();
    for jobs in jobs.chunks(BATCH as usize) {
        if stop.is_cancelled() {
            return Ok(Vec::new());
        }
        existing.extend(backends.store.existing(jobs).await?);
    }
    let lost = |found: &T| !existing.contains(&job(found));
    Ok(found.into_iter().filter(lost).collect())
}
