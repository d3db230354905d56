//! Carries a plan out.

use std::sync::Arc;
use std::time::Duration;

use filejobs_core::{ErrorClass, JobId, causes};
use filejobs_crd::{EventReason, Reason};
use filejobs_store::Job;
use filejobs_store_postgres::objects::{Linking, Seen};
use kube::api::{DeleteParams, Preconditions};
use tokio::time::timeout;

use crate::context::Context;
use crate::error::{Error, is_absent};
use crate::fetch::{self, Found};
use crate::finalizer;
use crate::object::Object;
use crate::plan::{Plan, Step};
use crate::source::Progress;
use crate::sweep;
use crate::validate::{Rejection, Wanted, steering};

/// How long one try to remove a job may take.
const REMOVAL: Duration = Duration::from_secs(10);

/// How an object stands after a plan was carried out. Only [`crate::report`] takes it.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) outcome: Outcome,
    /// What is told beside the status.
    pub(crate) told: Vec<(EventReason, String)>,
    /// When time alone changes something.
    pub(crate) again: Option<Duration>,
}

/// What there is for an object now.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is being deleted, or gone: nothing is reported any more.
    Gone,
    /// There will be no job.
    Rejected(Rejection),
    /// There is no job yet.
    Pending(Reason, String),
    /// It was cancelled before there was one.
    NeverBegun,
    /// There is a job.
    Job(Box<Job>),
    /// There was one.
    Removed,
}

/// Carries a plan out, step by step. What was done before a failure stays done, and the next run goes on from there.
pub(crate) async fn apply(
    context: &Arc<Context>,
    object: &Object,
    found: Found,
    wanted: Option<Result<Wanted, Rejection>>,
    plan: Plan,
) -> Result<Applied, Error> {
    let mut told = Vec::new();
    let mut changed = false;
    let mut linked = None;
    let mut again = plan.again;
    for step in plan.steps {
        match step {
            Step::AddFinalizer => finalizer::add(context, object).await?,
            Step::RemoveFinalizer => finalizer::remove(context, object).await?,
            Step::Link(_) => linked = Some(link(context, object).await?),
            Step::Fetch(wanted) => {
                let (progress, pause) = context.fetcher.ensure(context, object, *wanted);
                linked = Some(fetched(progress));
                again = pause;
            }
            Step::StopFetching => context.fetcher.stop(&object.reference.uid),
            Step::RemoveJob(job) => clean(context, object, job).await?,
            Step::DeleteObject => {
                delete(context, object).await?;
                linked = Some(Outcome::Gone);
            }
            Step::Tell(reason, text) => told.push((reason, text)),
            steering => {
                steer(context, &found, steering, &mut told).await?;
                changed = true;
            }
        }
    }
    let outcome = match (linked, found.link, found.job) {
        _ if object.is_deleted() => Outcome::Gone,
        (Some(outcome), _, _) => outcome,
        (None, Some(link), Some(_)) if changed => match fetch::job(context, link.job).await? {
            Some(job) => Outcome::Job(Box::new(job)),
            None => Outcome::Removed,
        },
        (None, Some(_), Some(job)) => Outcome::Job(Box::new(job)),
        (None, Some(_), None) => Outcome::Removed,
        (None, None, _) => match wanted {
            Some(Err(rejection)) => Outcome::Rejected(rejection),
            _ => Outcome::NeverBegun,
        },
    };
    Ok(Applied {
        outcome,
        told,
        again,
    })
}

fn fetched(progress: Progress) -> Outcome {
    match progress {
        Progress::UnderWay => Outcome::Pending(
            Reason::Fetching,
            "The file is on its way into the service's storage.".to_owned(),
        ),
        Progress::Failed(rejection) => Outcome::Pending(rejection.reason, rejection.message),
        Progress::Refused(rejection) => Outcome::Rejected(rejection),
    }
}

/// Links the job that the object names.
async fn link(context: &Context, object: &Object) -> Result<Outcome, Error> {
    let steering = steering(&object.job.spec);
    let link = || context.objects.link(&object.reference, steering, object.id);
    let mut linking = link().await;
    if matches!(linking, Ok(Linking::Taken)) && is_forgotten(context, object.id).await? {
        linking = link().await;
    }
    Ok(match linking {
        Ok(Linking::Linked(job)) => Outcome::Job(job),
        Ok(Linking::Removed(_)) => Outcome::Removed,
        Ok(Linking::Taken) => Outcome::Rejected(Rejection::new(
            Reason::UploadTaken,
            "The upload's job belongs to another FileJob; hand the file in again.",
        )),
        Err(filejobs_store::Error::NotFound) if object.is_made_by_upload() => {
            // Deleted by the API before its object was linked.
            finalizer::remove(context, object).await?;
            delete(context, object).await?;
            Outcome::Gone
        }
        Err(filejobs_store::Error::NotFound) => Outcome::Rejected(Rejection::new(
            Reason::UploadNotFound,
            "No job of this namespace has the upload's id.",
        )),
        Err(error) => return Err(Error::store("to link a job")(error)),
    })
}

/// Whether a job may be linked after all: its link is of an object that this cluster never had, and has been let go,
/// here or by the sweep.
async fn is_forgotten(context: &Context, id: JobId) -> Result<bool, Error> {
    let link = context.objects.of_job(id).await;
    match link.map_err(Error::store("to read a link"))? {
        Some(link) if link.seen == Seen::Elsewhere => sweep::settle(context, &link).await,
        link => Ok(link.is_none_or(|link| link.seen == Seen::LetGo)),
    }
}

/// Does to a job what its author wants. What its state does not allow, because it has changed meanwhile, is left: the
/// next look sees the state that it is in.
async fn steer(
    context: &Context,
    found: &Found,
    step: Step,
    told: &mut Vec<(EventReason, String)>,
) -> Result<(), Error> {
    let Some(link) = &found.link else {
        return Ok(());
    };
    let (job, objects) = (link.job, &context.objects);
    let done = match step {
        Step::Cancel => objects.cancel(job).await.map(drop),
        Step::Suspend => objects.suspend(job).await.map(|_| {
            told.push((EventReason::Suspended, "Held back by its spec.".to_owned()));
        }),
        Step::Resume => objects.resume(job).await.map(|_| {
            told.push((EventReason::Resumed, "Goes on by its spec.".to_owned()));
        }),
        Step::Prioritise(priority) => objects.set_priority(job, priority).await.map(drop),
        Step::Retry(retries) => objects.retry(job, retries).await.map(|did| {
            if did {
                told.push((EventReason::Retried, "Starts over.".to_owned()));
            }
        }),
        Step::Fail(failure) => objects.fail(job, &failure).await.map(drop),
        Step::Note(applied) => objects.note(job, applied).await,
        Step::AddFinalizer
        | Step::RemoveFinalizer
        | Step::Link(_)
        | Step::Fetch(_)
        | Step::StopFetching
        | Step::RemoveJob(_)
        | Step::DeleteObject
        | Step::Tell(..) => Ok(()),
    };
    match done {
        Err(filejobs_store::Error::Stale) => {
            Err(Error::store("to steer a job")(filejobs_store::Error::Stale))
        }
        Err(error) if matches!(error.class(), ErrorClass::Conflict | ErrorClass::Invalid) => {
            tracing::debug!(job.id = %job, %error, "a job has changed meanwhile");
            Ok(())
        }
        done => done.map_err(Error::store("to steer a job")),
    }
}

/// Removes the job of a deleted object. Once that has been tried for long enough the object goes without: the sweep
/// finds a link to an object that is gone.
async fn clean(context: &Context, object: &Object, job: JobId) -> Result<(), Error> {
    let removed = timeout(REMOVAL, context.objects.remove(&object.reference, job)).await;
    let error = match removed {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => Error::store("to remove a job")(error),
        Err(_) => Error::Slow {
            step: "removing a job",
        },
    };
    let deleted = object.job.metadata.deletion_timestamp.as_ref();
    let since = deleted.map(|time| context.backends.sources.now().duration_since(time.0));
    let waited = since
        .and_then(|since| Duration::try_from(since).ok())
        .unwrap_or_default();
    if waited < context.config.cleaning {
        return Err(error);
    }
    tracing::warn!(
        job.id = %job,
        error = causes::chain(&error),
        "a deleted object goes before its job, which is removed later"
    );
    Ok(())
}

/// Deletes this object and no namesake; one that is gone is fine.
pub(crate) async fn delete(context: &Context, object: &Object) -> Result<(), Error> {
    let parameters = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(object.reference.uid.clone()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    let api = context.api(&object.reference.namespace);
    match api.delete(&object.reference.name, &parameters).await {
        Err(error) if is_absent(&error) => Ok(()),
        done => done
            .map(drop)
            .map_err(Error::cluster("to delete an object")),
    }
}
