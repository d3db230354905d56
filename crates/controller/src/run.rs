//! The controller itself: waits for its turn, then runs the scheduler and all that keeps objects in step.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use filejobs_scheduler as scheduler;
use filejobs_store_postgres::objects::Objects;
use futures::{Stream, StreamExt as _};
use kube::Api;
use kube::runtime::controller::{self, Controller};
use kube::runtime::{PredicateConfig, WatchStreamExt as _, reflector, watcher};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::config::{Backends, Config, Watched};
use crate::context::{Context, Known};
use crate::drift::Drift;
use crate::error::Error;
use crate::feed::Wishes;
use crate::lease::Contest;
use crate::object::{Guarded, Key, Object, metadata};
use crate::reconcile::{error_policy, reconcile};
use crate::source::{Fetcher, Http};
use crate::turns::Turns;
use crate::webhook_secret::SecretKeys;
use crate::{events, feed, relay, sweep};

/// Looks that wait to be handed on; whoever asks for more waits.
const WISHES: usize = 4_096;

/// Objects that stand in line for their turn. Those beyond it are taken in no order: the library keeps them in a hash
/// table.
const IN_LINE: u16 = 2_048;

/// Objects in one page of a list.
const PAGE: u32 = 250;

/// Between two looks at whether the scheduler leads.
const LEADS: Duration = Duration::from_millis(50);

/// How long what is under way may take once the controller stops.
const STOP: Duration = Duration::from_secs(10);

/// Runs until `stop`. Stands by while another controller leads; an end of the lead is an error, so that the process
/// ends and nothing of it goes on.
pub async fn run(
    backends: Backends,
    config: Config,
    schedulers: (scheduler::Backends, scheduler::Config, scheduler::Election),
    stop: CancellationToken,
) -> Result<(), Error> {
    let (client, sources) = (backends.client.clone(), backends.sources.clone());
    let mut contest = Contest::new(client, sources, &config.holder, config.election.clone());
    tracing::info!(controller.id = %config.holder, "the controller stands by");
    let Some(renewed) = contest.win(&stop).await else {
        return Ok(());
    };
    tracing::info!(controller.id = %config.holder, "the controller leads");
    let working = stop.child_token();
    let objects = (backends.store).objects(config.holder.clone(), contest.cluster());
    let mut work = Box::pin(lead(backends, config, objects, schedulers, working.clone()));
    let ended = tokio::select! {
        ended = &mut work => ended,
        lost = contest.keep(renewed) => {
            tracing::error!(reason = lost.reason(), "{lost}");
            working.cancel();
            // Dropped, it ends at its next await.
            let _ = tokio::time::timeout(STOP, work).await;
            return Err(lost);
        }
    };
    // Nothing of it runs any more: who stopped by itself need not be waited for.
    contest.give_up().await;
    ended
}

/// All that the leader does, until `stop`.
async fn lead(
    backends: Backends,
    config: Config,
    objects: Objects,
    (mut parts, settings, election): (scheduler::Backends, scheduler::Config, scheduler::Election),
    stop: CancellationToken,
) -> Result<(), Error> {
    // Fires when one part breaks down, so that the others end as well.
    let stop = stop.child_token();
    let leads = election.leads.clone();
    let mut services: JoinSet<Result<(), Error>> = JoinSet::new();
    let keys = SecretKeys {
        client: backends.client.clone(),
        objects: objects.clone(),
    };
    parts.webhook_keys = Some(Arc::new(keys));
    let scheduling = scheduler::run_elected(parts, settings, election, stop.clone());
    services.spawn(async move { scheduling.await.map_err(Error::Scheduler) });
    // The database fences by the scheduler's lead; until it has it, nothing could be written.
    while !leads.load(Ordering::Relaxed)
        && !stop.is_cancelled()
        && services.try_join_next().is_none()
    {
        sleep(LEADS).await;
    }
    if !stop.is_cancelled() {
        mirror(backends, config, objects, &mut services, &stop)?;
    }
    let mut outcome = Ok(());
    while let Some(ended) = services.join_next().await {
        let ended = ended.unwrap_or_else(|defect| Err(Error::Loop(defect)));
        if let Err(error) = ended {
            stop.cancel();
            if outcome.is_ok() {
                outcome = Err(error);
            }
        }
    }
    outcome
}

/// Starts what keeps objects and jobs in step.
fn mirror(
    backends: Backends,
    config: Config,
    linked: Objects,
    services: &mut JoinSet<Result<(), Error>>,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let (objects_wanted, wanted_objects) = mpsc::channel(WISHES);
    let (jobs, wanted_jobs) = mpsc::channel(WISHES);
    let (gone, seen_to_go) = mpsc::channel(WISHES);
    let (teller, telling) = events::teller(backends.client.clone(), config.holder.as_str());
    let writer = reflector::store::Writer::default();
    let context = Arc::new(Context {
        reader: writer.as_reader(),
        objects: linked,
        fetcher: Fetcher::new(objects_wanted.clone(), Http::new(&config.allowed)?),
        teller,
        backoff: Backoff::default(),
        known: Known::default(),
        turns: Turns::new(config.concurrency),
        drift: Drift::default(),
        backends,
        config,
    });
    let (listed, mut has_listed) = watch::channel(false);
    let watched = objects(&context, writer, gone, listed);
    let wishes = Wishes {
        objects: objects_wanted,
        jobs,
    };
    let part = |part: futures::future::BoxFuture<'static, ()>| async move {
        part.await;
        Ok(())
    };
    services.spawn(part(Box::pin(telling.run(stop.clone()))));
    let to_look_at = wishes.objects.clone();
    let (c, s) = (context.clone(), stop.clone());
    services.spawn(part(Box::pin(feed::run(c, wishes, s))));
    let (c, s) = (context.clone(), stop.clone());
    services.spawn(part(Box::pin(relay::run(c, wanted_jobs, s))));
    let (c, s) = (context.clone(), stop.clone());
    services.spawn(part(Box::pin(async move {
        // Before the first list has come every object looks as if it were gone. `Store::wait_until_ready` wakes only
        // the last of those who wait, and the queue of objects waits there, too.
        let has_listed = async { has_listed.wait_for(|listed| *listed).await.is_ok() };
        tokio::select! {
            () = s.cancelled() => {}
            listed = has_listed => if listed {
                sweep::run(c, seen_to_go, to_look_at, s.clone()).await;
            }
        }
    })));
    let reconciling = reconcile_all(context, watched, wanted_objects, stop.clone());
    services.spawn(part(Box::pin(reconciling)));
    Ok(())
}

/// The objects as they come, without those that differ in nothing that concerns us.
fn objects(
    context: &Arc<Context>,
    writer: reflector::store::Writer<Guarded>,
    gone: mpsc::Sender<String>,
    listed: watch::Sender<bool>,
) -> impl Stream<Item = watcher::Result<Guarded>> + Send + 'static {
    let client = context.backends.watching_client.clone();
    let api: Api<Guarded> = match &context.config.watched {
        Watched::All => Api::all(client),
        Watched::Namespace(namespace) => Api::namespaced(client, namespace),
    };
    let config = watcher::Config::default().page_size(PAGE);
    let forget = context.clone();
    // Generation and finalizers together: an own finalizer raises no generation, and what waits for it must go on. The
    // status, too, so that what others write there is put right; our own writes cost one look that changes nothing.
    let concerns = |guarded: &Guarded| -> Option<u64> {
        use std::hash::{DefaultHasher, Hash as _, Hasher as _};
        let metadata = metadata(guarded);
        let mut hasher = DefaultHasher::new();
        metadata.generation.hash(&mut hasher);
        metadata.finalizers.hash(&mut hasher);
        metadata
            .deletion_timestamp
            .as_ref()
            .map(|time| time.0)
            .hash(&mut hasher);
        let status = guarded
            .0
            .as_ref()
            .ok()
            .and_then(|object| object.status.as_ref());
        let status = status.and_then(|status| serde_json::to_string(status).ok());
        status.hash(&mut hasher);
        Some(hasher.finish())
    };
    watcher::watcher(api, config)
        .default_backoff()
        .modify(|guarded| {
            // Half of an object, and nobody here looks at it.
            if let Ok(object) = &mut guarded.0 {
                object.metadata.managed_fields = None;
            }
        })
        .reflect(writer)
        .inspect(move |event| match event {
            Ok(watcher::Event::Delete(guarded)) => {
                if let Some(uid) = &metadata(guarded).uid {
                    forget.fetcher.stop(uid);
                    forget.backoff.forget(uid);
                    // A full channel is emptied by the next sweep.
                    let _ = gone.try_send(uid.clone());
                }
                if let Ok(Ok(object)) = guarded.0.as_ref().map(|job| Object::new(job.clone())) {
                    forget.known.forget(&object);
                }
            }
            Ok(watcher::Event::InitDone) => {
                listed.send_replace(true);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the watch of objects broke; it begins anew"),
        })
        .applied_objects()
        .predicate_filter(concerns, PredicateConfig::default())
}

/// Reconciles until `stop`.
async fn reconcile_all(
    context: Arc<Context>,
    watched: impl Stream<Item = watcher::Result<Guarded>> + Send + 'static,
    wanted: mpsc::Receiver<Key>,
    stop: CancellationToken,
) {
    let wanted = futures::stream::unfold(wanted, |mut wanted| async move {
        let key = wanted.recv().await?;
        Some((key, wanted))
    });
    let (shared, closing) = (context.clone(), context.clone());
    let stopped = async move {
        stop.cancelled().await;
        // What is under way is waited for, who stands in line is not.
        closing.turns.close();
    };
    let results = Controller::for_stream(watched, context.reader.clone())
        .with_config(controller::Config::default().concurrency(IN_LINE))
        .reconcile_on(wanted)
        .graceful_shutdown_on(stopped)
        .run(reconcile, error_policy, context);
    let mut results = std::pin::pin!(results);
    while let Some(result) = results.next().await {
        match result {
            // Failures were told where they were handled, by the error policy. Objects that were asked for may be gone.
            Ok(_)
            | Err(controller::Error::ReconcilerFailed(..) | controller::Error::ObjectNotFound(_)) =>
                {}
            Err(error) => tracing::warn!(%error, "the queue of objects met an error"),
        }
    }
    shared.fetcher.stop_all();
}
