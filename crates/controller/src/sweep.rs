//! Finds jobs whose objects are gone without having been cleaned: deleted while the database was away, with a finalizer
//! that somebody took off, or with their namespace. And objects that show something else than their jobs: the database
//! tells of changes by hints, and one may get lost.
//!
//! Before a job is removed the API server is asked for its object, and only its word counts: what a watch does not show
//! may be there all the same.
//!
//! What is gone must have been here. A database that comes from another cluster knows objects that this one never had:
//! their jobs stay, and the objects are let go.

use std::collections::HashSet;
use std::sync::Arc;

use filejobs_core::{JobId, JobState, causes};
use filejobs_crd::{ConditionType, FileJob, Reason};
use filejobs_store_postgres::objects::{ObjectLink, ObjectRef, Seen};
use kube::api::PartialObjectMeta;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::drift::Comparison;
use crate::error::{Error, is_absent};
use crate::object::{self, Guarded, Key, metadata};
use crate::status::phase;

/// Links looked at in one go.
const PAGE: u32 = 500;

/// Sweeps until `stop`: at once for each object that is seen to go, and for all links now and then.
pub(crate) async fn run(
    context: Arc<Context>,
    mut gone: mpsc::Receiver<String>,
    objects: mpsc::Sender<Key>,
    stop: CancellationToken,
) {
    let mut behind = HashSet::new();
    let mut tick = tokio::time::interval(context.config.sweep_every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let done = tokio::select! {
            () = stop.cancelled() => return,
            Some(uid) = gone.recv() => one(&context, &uid).await,
            _ = tick.tick() => all(&context, &objects, &mut behind, &stop).await,
        };
        if let Err(error) = done {
            tracing::warn!(
                reason = error.reason(),
                error = causes::chain(&error),
                "jobs of objects that are gone could not be removed; it is tried again"
            );
        }
    }
}

async fn one(context: &Context, uid: &str) -> Result<(), Error> {
    let link = context.objects.of_object(uid).await;
    match link.map_err(Error::store("to read a link"))? {
        // It was seen to go, so that it was here.
        Some(link) if !is_there(context, &link.object).await? => remove(context, &link).await,
        _ => Ok(()),
    }
}

async fn all(
    context: &Context,
    objects: &mpsc::Sender<Key>,
    behind: &mut HashSet<JobId>,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let before = std::mem::take(behind);
    let mut after = None;
    let mut comparison = Comparison::default();
    while !stop.is_cancelled() {
        let page = context.objects.links(after, PAGE).await;
        let page = page.map_err(Error::store("to list links"))?;
        let jobs: Vec<_> = page.iter().map(|link| link.job).collect();
        let states = context.objects.states(&jobs).await;
        let states = states.map_err(Error::store("to read states"))?;
        let mut seen = Vec::new();
        for link in &page {
            if !context.config.watched.includes(&link.object.namespace) {
                continue;
            }
            // Looked for after the links were read: an object is there before its link is.
            let Some(object) = shown(context, &link.object) else {
                if link.seen == Seen::LetGo {
                    continue;
                }
                let settled = async { settle(context, link).await.map(|_| true) };
                comparison.mend(settled).await;
                continue;
            };
            if link.seen != Seen::Here {
                seen.push(link.job);
            }
            if !tells_otherwise(&object, states.get(&link.job).copied()) {
                continue;
            }
            behind.insert(link.job);
            // Once it may be on its way: a look meanwhile would tell of the same twice.
            if before.contains(&link.job) {
                // Nobody takes it once all of this ends.
                let _ = objects.send(object::key(&link.object)).await;
            }
        }
        if !seen.is_empty() {
            let noted = context.objects.seen(&seen).await;
            noted.map_err(Error::store("to note objects' cluster"))?;
        }
        after = page.last().map(|link| link.job);
        if page.len() < PAGE as usize {
            break;
        }
    }
    context.drift.links(comparison)
}

/// The very object, if the watch shows it.
fn shown(context: &Context, object: &ObjectRef) -> Option<Arc<Guarded>> {
    let found = context.reader.get(&object::key(object));
    found.filter(|found| metadata(found).uid.as_ref() == Some(&object.uid))
}

/// Whether an object shows something else than the state of its job, or not that this is gone.
fn tells_otherwise(object: &Guarded, job: Option<JobState>) -> bool {
    let status = object.0.as_ref().ok().and_then(|job| job.status.as_ref());
    let Some(status) = status else { return false };
    match job {
        Some(state) => status.phase != Some(phase(state)),
        None => status
            .condition(ConditionType::Synced)
            .is_none_or(|synced| synced.reason != Reason::JobRemoved.as_str()),
    }
}

/// Settles a link whose object is gone: the job goes as well, when the object was in this cluster. Whether it is gone.
pub(crate) async fn settle(context: &Context, link: &ObjectLink) -> Result<bool, Error> {
    if is_there(context, &link.object).await? {
        return Ok(false);
    }
    if link.seen == Seen::Here {
        remove(context, link).await?;
        return Ok(true);
    }
    let ObjectRef {
        namespace, name, ..
    } = &link.object;
    tracing::info!(job.id = %link.job, namespace, name, "the job of an object of another cluster is kept without it");
    let let_go = context.objects.let_go(&link.object, link.job).await;
    let_go.map_err(Error::store("to let an object go"))?;
    Ok(true)
}

/// Whether the cluster has this very object.
async fn is_there(context: &Context, object: &ObjectRef) -> Result<bool, Error> {
    let api = context.api(&object.namespace);
    let found: Result<PartialObjectMeta<FileJob>, _> = api.get_metadata(&object.name).await;
    match found {
        // Or another of the same name.
        Ok(found) => Ok(found.metadata.uid.as_deref() == Some(&object.uid)),
        Err(error) if is_absent(&error) => Ok(false),
        Err(error) => Err(Error::cluster("to look for an object")(error)),
    }
}

async fn remove(context: &Context, link: &ObjectLink) -> Result<(), Error> {
    tracing::info!(job.id = %link.job, "the job of an object that is gone is removed");
    context.fetcher.stop(&link.object.uid);
    let removed = context.objects.remove(&link.object, link.job).await;
    removed.map_err(Error::store("to remove a job"))
}

#[cfg(test)]
mod tests {
    use filejobs_crd::FileJobStatus;
    use kube::core::DeserializeGuard;
    use serde_json::json;

    use super::*;
    use crate::fixtures;

    fn shows(status: serde_json::Value) -> Guarded {
        let mut job = fixtures::object(json!({}), true);
        let status: FileJobStatus = serde_json::from_value(status).unwrap();
        job.status = Some(status);
        DeserializeGuard(Ok(job))
    }

    #[test]
    fn an_object_is_looked_at_when_it_tells_something_else_than_its_job() {
        let ended = shows(json!({"phase": "Failed"}));
        assert!(!tells_otherwise(&ended, Some(JobState::Failed)));
        assert!(tells_otherwise(&ended, Some(JobState::Queued)), "retried");
        assert!(tells_otherwise(&ended, None), "removed");
        let removed = json!({"type": "Synced", "status": "False", "reason": "JobRemoved",
            "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let told = shows(json!({"phase": "Failed", "conditions": [removed]}));
        assert!(!tells_otherwise(&told, None));
    }
}
