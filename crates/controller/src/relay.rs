//! Makes objects for jobs that were handed in by HTTP.
//!
//! The row comes first; its object follows at once when the change is heard, and otherwise with the next look for rows
//! that have none. A job whose namespace the cluster does not have gets no object. A namespace that takes none (it is not
//! there, is being deleted, or its quota is used up) holds up no other, and is asked again after a while only.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use filejobs_core::{JobId, JobState, causes};
use filejobs_crd::{
    FIELD_MANAGER, FINALIZER, FileJob, FileJobSpec, JOB_ID_LABEL, Source, UploadSource,
};
use filejobs_store::Job;
use filejobs_store_postgres::objects::Seen;
use kube::ResourceExt as _;
use kube::api::PostParams;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::drift::Comparison;
use crate::error::{Error, is_absent, is_conflict, is_forbidden};
use crate::fetch;
use crate::ids::object_name;

/// Jobs that ended longer ago get no object any more: a service that moves to a cluster does not fill it with its past.
const YOUNG: Duration = Duration::from_hours(1);

/// Rows looked at in one go.
const PAGE: u32 = 200;

/// How long a namespace that took no object is left alone.
const REFUSED: Duration = Duration::from_mins(5);

/// Namespaces that are remembered for having taken no object; beyond that all are asked again.
const REMEMBERED: usize = 10_000;

/// Why a namespace takes no object.
#[derive(Debug, Clone, Copy)]
enum Refusal {
    /// The cluster does not have it: its jobs are to have none.
    Absent,
    /// It is being deleted, its quota is used up, or the controller lacks a right.
    Forbidden,
}

/// Namespaces that took no object, why, and when.
#[derive(Debug, Default)]
struct Refusals(HashMap<String, (Refusal, Instant)>);

impl Refusals {
    fn note(&mut self, namespace: &str, why: Refusal) {
        if self.0.len() >= REMEMBERED {
            self.0.clear();
        }
        self.0.insert(namespace.to_owned(), (why, Instant::now()));
    }

    fn of(&self, namespace: &str) -> Option<Refusal> {
        let (why, at) = self.0.get(namespace)?;
        (at.elapsed() < REFUSED).then_some(*why)
    }
}

/// Makes objects until `stop`: for the jobs that come in, and for all that lack one now and then.
pub(crate) async fn run(
    context: Arc<Context>,
    mut jobs: mpsc::Receiver<JobId>,
    stop: CancellationToken,
) {
    let mut tick = tokio::time::interval(context.config.sweep_every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut refusals = Refusals::default();
    loop {
        let done = tokio::select! {
            () = stop.cancelled() => return,
            Some(job) = jobs.recv() => one(&context, &mut refusals, job).await,
            _ = tick.tick() => all(&context, &mut refusals, &stop).await,
        };
        if let Err(error) = done {
            tracing::warn!(
                reason = error.reason(),
                error = causes::chain(&error),
                "an upload's object could not be made; it is tried again"
            );
        }
    }
}

/// The object of one job, unless it has one or is to have none.
async fn one(context: &Context, refusals: &mut Refusals, id: JobId) -> Result<(), Error> {
    let Some(job) = fetch::job(context, id).await? else {
        return Ok(());
    };
    if !context.config.watched.includes(job.namespace.as_str()) {
        return Ok(());
    }
    let linked = context.objects.of_job(id).await;
    let linked = linked.map_err(Error::store("to read a link"))?;
    if linked.is_some_and(|link| link.seen != Seen::LetGo) {
        return Ok(());
    }
    make(context, refusals, &job).await.map(drop)
}

/// The objects of all jobs that lack one.
async fn all(
    context: &Context,
    refusals: &mut Refusals,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let begun = Instant::now();
    let now = context.backends.sources.now();
    let young = now.checked_sub(YOUNG).unwrap_or(now);
    let namespaces = match &context.config.watched {
        crate::Watched::All => None,
        crate::Watched::Namespace(own) => Some(vec![own.clone()]),
    };
    let (mut after, mut looked_at) = (None, 0);
    let mut comparison = Comparison::default();
    while !stop.is_cancelled() {
        let page = context
            .objects
            .without_object(namespaces.as_deref(), young, after, PAGE);
        let page = page
            .await
            .map_err(Error::store("to look for jobs without objects"))?;
        for job in &page {
            comparison.mend(make(context, refusals, job)).await;
            looked_at += 1;
        }
        after = page.last().map(|job| job.id);
        if page.len() < PAGE as usize {
            break;
        }
    }
    if looked_at > 0 {
        let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::debug!(
            jobs = looked_at,
            duration_ms,
            "jobs without objects were looked at"
        );
    }
    context.drift.jobs(comparison)
}

/// Makes the object of a job, unless its namespace takes none. One that is there is looked at by itself. Whether the job
/// has what it is to have.
async fn make(context: &Context, refusals: &mut Refusals, job: &Job) -> Result<bool, Error> {
    let namespace = job.namespace.as_str();
    match refusals.of(namespace) {
        Some(Refusal::Absent) => return Ok(true),
        Some(Refusal::Forbidden) => return Ok(false),
        None => {}
    }
    let object = object(job);
    let parameters = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    match context.api(namespace).create(&parameters, &object).await {
        Ok(_) => Ok(true),
        Err(error) if is_conflict(&error) => Ok(true),
        Err(error) if is_absent(&error) => {
            refusals.note(namespace, Refusal::Absent);
            tracing::debug!(job.id = %job.id, "the cluster has no namespace for a job's object");
            Ok(true)
        }
        Err(error) if is_forbidden(&error) => {
            refusals.note(namespace, Refusal::Forbidden);
            let error = causes::chain(&Error::cluster("to make an object")(error));
            tracing::warn!(job.id = %job.id, namespace, error, "a namespace takes no object");
            Ok(false)
        }
        Err(error) => Err(Error::cluster("to make an object")(error)),
    }
}

/// The object of a job, with its finalizer from the beginning: whoever deletes it deletes the job.
fn object(job: &Job) -> FileJob {
    let spec = FileJobSpec {
        source: Source {
            upload: Some(UploadSource {
                id: job.id.to_string(),
            }),
            ..Source::default()
        },
        priority: job.priority,
        suspend: job.status == JobState::Suspended,
        ..FileJobSpec::default()
    };
    let mut object = FileJob::new(&object_name(&job.filename, job.id), spec);
    object.metadata.namespace = Some(job.namespace.as_str().to_owned());
    object
        .labels_mut()
        .insert(JOB_ID_LABEL.to_owned(), job.id.to_string());
    object.finalizers_mut().push(FINALIZER.to_owned());
    object
}
