//! Tells how things stand: the status, only when it differs, and then the events that go with it.

use std::time::Duration;

use filejobs_core::JobState;
use filejobs_core::waiting::WaitingReason;
use filejobs_crd::{ConditionType, FIELD_MANAGER, FileJob, FileJobStatus, Reason};
use filejobs_metrics::table;
use filejobs_store::{Job, Store as _};
use kube::Resource as _;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action;
use serde_json::json;

use crate::apply::{Applied, Outcome};
use crate::context::Context;
use crate::error::{Error, is_absent};
use crate::events;
use crate::object::Object;
use crate::status::{Standing, status};

/// How often an object that is not settled is looked at although nothing said that it has changed.
const SAFETY_NET: Duration = Duration::from_mins(2);

/// How often a file that is being fetched is asked for, although its coming has the object looked at.
const FETCHING: Duration = Duration::from_secs(15);

/// Reports, and answers when to look again at the latest.
pub(crate) async fn report(
    context: &Context,
    object: &Object,
    applied: Applied,
) -> Result<Action, Error> {
    let Applied {
        outcome,
        told,
        again,
    } = applied;
    let standing = match &outcome {
        Outcome::Gone => return Ok(Action::await_change()),
        Outcome::Rejected(rejection) => Standing::Rejected(rejection),
        Outcome::Pending(reason, message) => Standing::Pending(*reason, message),
        Outcome::NeverBegun => Standing::NeverBegun,
        Outcome::Job(job) => Standing::Job(job, waiting(context, job).await),
        Outcome::Removed => Standing::Removed,
    };
    let now = context.backends.sources.now();
    let new = status(object, &standing, context.config.public_url.as_ref(), now);
    let old = object.job.status.clone().unwrap_or_default();
    let mut soon = None;
    if new != old {
        soon = too_soon(context, object, &old, &new);
        if soon.is_none() {
            write(context, object, &new).await?;
            if let Outcome::Job(job) = &outcome {
                measure(context, &old, job);
            }
            for event in events::of(&old, &new) {
                context.teller.tell(object, event);
            }
        }
    }
    for (reason, text) in told {
        context.teller.tell(object, events::told(reason, text));
    }
    let settled = match &outcome {
        Outcome::Job(job) => job.status.is_terminal(),
        Outcome::Pending(..) => false,
        Outcome::Gone | Outcome::Rejected(_) | Outcome::NeverBegun | Outcome::Removed => true,
    };
    if settled {
        context.known.forget_write(&object.reference.uid);
    }
    let glance = match &outcome {
        _ if settled => None,
        Outcome::Pending(..) if again.is_none() => Some(FETCHING),
        _ => Some(SAFETY_NET),
    };
    let next = [soon, again, glance].into_iter().flatten().min();
    Ok(next.map_or_else(Action::await_change, Action::requeue))
}

/// Why a job waits, when it does.
async fn waiting(context: &Context, job: &Job) -> Option<(Reason, String)> {
    if job.status != JobState::Queued {
        return None;
    }
    match context.backends.store.why_waiting(job.id).await {
        // No place in line: it changes all the time, and every change would be a write.
        Ok(wait) => wait.map(|wait| (reason_of(wait.reason), wait.reason.sentence().to_owned())),
        Err(error) => {
            tracing::info!(job.id = %job.id, %error, "why a job waits is not known");
            None
        }
    }
}

fn reason_of(waiting: WaitingReason) -> Reason {
    match waiting {
        WaitingReason::Queued => Reason::Queued,
        WaitingReason::Suspended => Reason::SuspendedByOwner,
        WaitingReason::BackingOff => Reason::BackingOff,
        WaitingReason::NoWorkers => Reason::NoWorkers,
        WaitingReason::QueueUnavailable => Reason::QueueUnavailable,
        WaitingReason::TotalQuota => Reason::TotalQuota,
        WaitingReason::NamespaceJobQuota => Reason::NamespaceJobQuota,
        WaitingReason::NamespaceTaskQuota => Reason::NamespaceTaskQuota,
    }
}

/// Measures how long an end took to reach its object, which showed `old` before.
fn measure(context: &Context, old: &FileJobStatus, job: &Job) {
    let Some(ended) = job.completed_at else {
        return;
    };
    let shown = old.condition(ConditionType::Finished);
    if shown.is_some_and(|one| one.status == "True") {
        return;
    }
    let lag = context.backends.sources.now().duration_since(ended);
    // The end is by the database's clock, which may be ahead.
    table::MIRROR_LAG.observe([], lag.as_secs_f64().max(0.0));
}

/// How long to wait with a status that tells of nothing but progress; `None` for now.
fn too_soon(
    context: &Context,
    object: &Object,
    old: &FileJobStatus,
    new: &FileJobStatus,
) -> Option<Duration> {
    if !differs_in_progress_only(old, new) {
        return None;
    }
    let last = context.known.last_write(&object.reference.uid)?;
    let left = context.config.progress_every.checked_sub(last.elapsed())?;
    (!left.is_zero()).then_some(left)
}

fn differs_in_progress_only(old: &FileJobStatus, new: &FileJobStatus) -> bool {
    let still = FileJobStatus {
        progress: old.progress.clone(),
        rows: old.rows,
        tasks: old.tasks,
        attempt: old.attempt,
        errors_by_code: old.errors_by_code.clone(),
        ..new.clone()
    };
    still == *old
}

/// Writes a status by server-side apply. What others have put there and ours does not set is replaced, too.
async fn write(context: &Context, object: &Object, status: &FileJobStatus) -> Result<(), Error> {
    let api = context.api(&object.reference.namespace);
    let name = &object.reference.name;
    let patch = Patch::Apply(json!({
        "apiVersion": FileJob::api_version(&()),
        "kind": FileJob::kind(&()),
        // With the uid a namesake is a conflict, and one that is gone is not made again.
        "metadata": {"name": name, "uid": object.reference.uid},
        "status": status,
    }));
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let written = match api.patch_status(name, &parameters, &patch).await {
        Err(error) if is_absent(&error) => return Ok(()),
        written => written.map_err(Error::cluster("to write a status"))?,
    };
    context.known.note_write(&object.reference.uid);
    if written.status.as_ref() == Some(status) {
        return Ok(());
    }
    // Somebody else has written fields that an apply does not take away.
    let mut whole = written;
    whole.status = Some(status.clone());
    whole.metadata.managed_fields = None;
    let parameters = kube::api::PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..kube::api::PostParams::default()
    };
    let replaced = api.replace_status(name, &parameters, &whole).await;
    replaced
        .map(drop)
        .map_err(Error::cluster("to replace a status"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use filejobs_crd::{Phase, Rows};

    #[test]
    fn progress_is_told_apart_from_what_cannot_wait() {
        let old = FileJobStatus {
            phase: Some(Phase::Processing),
            ..FileJobStatus::default()
        };
        let mut new = FileJobStatus {
            progress: Some("42%".to_owned()),
            rows: Some(Rows::default()),
            ..old.clone()
        };
        assert!(differs_in_progress_only(&old, &new));
        new.phase = Some(Phase::Completed);
        assert!(!differs_in_progress_only(&old, &new));
    }
}
