//! Finds jobs whose objects are gone without having been cleaned: deleted while the database was away, with a finalizer
//! that somebody took off, or with their namespace.
//!
//! Before a job is removed the API server is asked for its object, and only its word counts: what a watch does not show
//! may be there all the same.

use std::sync::Arc;

use filejobs_core::causes;
use filejobs_store_postgres::objects::{ObjectLink, ObjectRef};
use kube::api::PartialObjectMeta;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::drift::Comparison;
use crate::error::{Error, is_absent};
use crate::object::{self, metadata};
use filejobs_crd::FileJob;

/// Links looked at in one go.
const PAGE: u32 = 500;

/// Sweeps until `stop`: at once for each object that is seen to go, and for all links now and then.
pub(crate) async fn run(
    context: Arc<Context>,
    mut gone: mpsc::Receiver<String>,
    stop: CancellationToken,
) {
    let mut tick = tokio::time::interval(context.config.sweep_every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let done = tokio::select! {
            () = stop.cancelled() => return,
            Some(uid) = gone.recv() => one(&context, &uid).await,
            _ = tick.tick() => all(&context, &stop).await,
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
        Some(link) => remove_if_gone(context, &link).await,
        None => Ok(()),
    }
}

async fn all(context: &Context, stop: &CancellationToken) -> Result<(), Error> {
    let mut after = None;
    let mut comparison = Comparison::default();
    while !stop.is_cancelled() {
        let page = context.objects.links(after, PAGE).await;
        let page = page.map_err(Error::store("to list links"))?;
        for link in &page {
            let ours = context.config.watched.includes(&link.object.namespace);
            // Looked for after the links were read: an object is there before its link is.
            if ours && !is_there(context, &link.object) {
                let removed = async { remove_if_gone(context, link).await.map(|()| true) };
                comparison.mend(removed).await;
            }
        }
        after = page.last().map(|link| link.job);
        if page.len() < PAGE as usize {
            break;
        }
    }
    context.drift.links(comparison)
}

/// Whether the watch shows the very object.
fn is_there(context: &Context, object: &ObjectRef) -> bool {
    let found = context.reader.get(&object::key(object));
    found.is_some_and(|found| metadata(&found).uid.as_ref() == Some(&object.uid))
}

async fn remove_if_gone(context: &Context, link: &ObjectLink) -> Result<(), Error> {
    let api = context.api(&link.object.namespace);
    let found: Result<PartialObjectMeta<FileJob>, _> = api.get_metadata(&link.object.name).await;
    match found {
        Ok(found) if found.metadata.uid.as_deref() == Some(&link.object.uid) => return Ok(()),
        // Another of the same name, or none.
        Ok(_) => {}
        Err(error) if is_absent(&error) => {}
        Err(error) => return Err(Error::cluster("to look for an object")(error)),
    }
    tracing::info!(job.id = %link.job, "the job of an object that is gone is removed");
    context.fetcher.stop(&link.object.uid);
    let removed = context.objects.remove(link.job).await;
    removed.map_err(Error::store("to remove a job"))?;
    context.known.forget(link.job, &link.object.uid);
    context.backoff.forget(&link.object.uid);
    Ok(())
}
