//! One object: fetch, validate, plan, apply, report.

use std::sync::Arc;
use std::time::{Duration, Instant};

use filejobs_core::{ErrorClass, causes};
use filejobs_crd::{EventReason, FileJob};
use filejobs_metrics::table;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource as _;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::controller::Action;

use crate::apply::apply;
use crate::context::Context;
use crate::error::Error;
use crate::events;
use crate::fetch::fetch;
use crate::object::{self, Guarded, Key, Object};
use crate::plan::{Seen, plan};
use crate::report::report;
use crate::validate::validate;

/// Longest pause before the next look at a deleted object: whoever deleted it waits, and it is to be gone within a
/// minute even when the database is away.
const DELETED: Duration = Duration::from_secs(5);

/// Brings an object and its job one step nearer to each other, and counts what came of it.
pub(crate) async fn reconcile(
    guarded: Arc<Guarded>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let key = Key::from_obj(&*guarded);
    if object::metadata(&guarded).deletion_timestamp.is_some() {
        // Whoever deleted it waits.
        context.turns.go_first(&key);
    }
    let Some(turn) = context.turns.take(key.clone()).await else {
        // Whoever leads next looks at all of them.
        return Ok(Action::await_change());
    };
    // As it is now: it may have stood in line for long.
    let Some(guarded) = context.reader.get(&key) else {
        return Ok(Action::await_change());
    };
    // Thousands may stand in line: only who has a turn takes the room that a look needs.
    let looked = Box::pin(look(&guarded, &context)).await;
    drop(turn);
    let result = looked.as_ref().err().map_or("done", Error::result);
    table::RECONCILES.add([result], 1);
    if let Err(error) = &looked
        && error.is_forbidden()
    {
        let event = events::told(EventReason::Forbidden, causes::chain(error));
        context.teller.publish(event, reference(&guarded));
    }
    looked
}

async fn look(guarded: &Guarded, context: &Arc<Context>) -> Result<Action, Error> {
    let readable = match &guarded.0 {
        Ok(readable) => readable.clone(),
        Err(invalid) => {
            undecodable(context, invalid, reference(guarded));
            return Ok(Action::await_change());
        }
    };
    let object = Object::new(readable)?;
    let found = match fetch(context, &object).await {
        // A deleted object does not wait for the database.
        Err(error) if !object.is_deleted() => return Err(error),
        found => found.unwrap_or_default(),
    };
    if !object.is_deleted() {
        let linked = found.link.as_ref().map(|link| link.job);
        context.known.note(&object, linked);
    }
    let asked = found.link.is_none() && !object.is_deleted();
    let wanted = asked.then(|| match object.rejection() {
        Some(rejection) => Err(rejection),
        None => validate(&object.job.spec, &context.config.limits),
    });
    let plan = plan(&Seen {
        object: &object,
        link: found.link.as_ref(),
        job: found.job.as_ref(),
        wanted: wanted.as_ref(),
        now: context.backends.sources.now(),
    });
    let applied = apply(context, &object, found, wanted, plan).await?;
    let action = report(context, &object, applied).await?;
    context.backoff.forget(&object.reference.uid);
    Ok(action)
}

/// When to try again.
#[expect(clippy::needless_pass_by_value, reason = "as the controller calls it")]
pub(crate) fn error_policy(guarded: Arc<Guarded>, error: &Error, context: Arc<Context>) -> Action {
    let metadata = object::metadata(&guarded);
    let uid = metadata.uid.as_deref().unwrap_or_default();
    let random = &*context.backends.sources.randomness;
    let now = Instant::now();
    let mut pause = context.backoff.after(uid, error.class(), now, random);
    let passes = matches!(error.class(), ErrorClass::Transient | ErrorClass::Conflict);
    if metadata.deletion_timestamp.is_some() && passes {
        pause = pause.min(DELETED);
    }
    tracing::warn!(
        object.namespace = metadata.namespace,
        object.name = metadata.name,
        reason = error.reason(),
        error = causes::chain(error),
        retry_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
        "an object could not be reconciled"
    );
    Action::requeue(pause)
}

/// Tells that an object cannot be read, and leaves it alone.
fn undecodable(context: &Context, invalid: &InvalidObject, of: ObjectReference) {
    tracing::warn!(
        object.namespace = of.namespace,
        object.name = of.name,
        error = invalid.error,
        "an object cannot be read"
    );
    let event = events::told(EventReason::Undecodable, &*invalid.error);
    context.teller.publish(event, of);
}

/// An object as events name it, whether it can be read or not.
fn reference(guarded: &Guarded) -> ObjectReference {
    let metadata = object::metadata(guarded);
    ObjectReference {
        api_version: Some(FileJob::api_version(&()).into_owned()),
        kind: Some(FileJob::kind(&()).into_owned()),
        name: metadata.name.clone(),
        namespace: metadata.namespace.clone(),
        uid: metadata.uid.clone(),
        ..ObjectReference::default()
    }
}
