//! What is to be done about an object: decided from what there is, without doing anything.
//!
//! Whatever a plan holds may be done again after a crash at any point: each step is idempotent, guarded, or both.

use std::time::Duration;

use filejobs_core::failure::{Failure, FailureCode};
use filejobs_core::{JobId, JobState};
use filejobs_crd::EventReason;
use filejobs_store::Job;
use filejobs_store_postgres::objects::{Applied, ObjectLink};
use jiff::Timestamp;

use crate::finalizer;
use crate::object::Object;
use crate::validate::{Rejection, Wanted, steering};

/// What there is: the object, and what database and fetching say of it.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) object: &'a Object,
    pub(crate) link: Option<&'a ObjectLink>,
    pub(crate) job: Option<&'a Job>,
    /// The spec as it was read; `None` where nobody asked.
    pub(crate) wanted: Option<&'a Result<Wanted, Rejection>>,
    pub(crate) now: Timestamp,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// From here on the object does not go before it was cleaned.
    AddFinalizer,
    /// Nothing is left to clean.
    RemoveFinalizer,
    /// Link the job that the object names.
    Link(JobId),
    /// Fetch the file and make the job of it.
    Fetch(Box<Wanted>),
    /// Stop fetching.
    StopFetching,
    /// End the job.
    Cancel,
    /// Hold it back.
    Suspend,
    /// Let it go on.
    Resume,
    /// Change its priority.
    Prioritise(u8),
    /// Start it over.
    Retry(u32),
    /// Fail it.
    Fail(Failure),
    /// What is wanted of it has been carried out.
    Note(Applied),
    /// Remove the job.
    RemoveJob(JobId),
    /// Remove the object.
    DeleteObject,
    /// Tell of something that was not done.
    Tell(EventReason, String),
}

/// What is to be done, in this order, and when to look again at the latest.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    /// When time alone changes something.
    pub(crate) again: Option<Duration>,
}

impl Plan {
    fn of(steps: impl IntoIterator<Item = Step>) -> Self {
        Self {
            steps: steps.into_iter().collect(),
            again: None,
        }
    }
}

/// Plans.
pub(crate) fn plan(seen: &Seen<'_>) -> Plan {
    if seen.object.is_deleted() {
        return Plan::of(cleaning(seen));
    }
    match (seen.link, seen.job) {
        (None, _) => beginning(seen),
        (Some(_), None) => removed(seen),
        (Some(link), Some(job)) => standing(seen, link, job),
    }
}

/// A deleted object: nobody validates it any more, and what was never made is not missed.
fn cleaning(seen: &Seen<'_>) -> Vec<Step> {
    if !finalizer::is_on(&seen.object.job.metadata) {
        return Vec::new();
    }
    let job = seen.link.map_or(seen.object.id, |link| link.job);
    // An upload that was never linked is not this object's to remove, unless the upload made the object.
    let owned = seen.link.is_some()
        || seen.object.job.spec.source.upload.is_none()
        || seen.object.is_made_by_upload();
    let mut steps = vec![Step::StopFetching];
    steps.extend(owned.then_some(Step::RemoveJob(job)));
    steps.push(Step::RemoveFinalizer);
    steps
}

/// An object without a job.
fn beginning(seen: &Seen<'_>) -> Plan {
    let Some(Ok(wanted)) = seen.wanted else {
        return jobless(seen);
    };
    if seen.object.job.spec.cancel && seen.object.job.spec.source.upload.is_none() {
        return jobless(seen);
    }
    let mut steps = with_finalizer(seen.object);
    steps.push(if seen.object.job.spec.source.upload.is_some() {
        Step::Link(seen.object.id)
    } else {
        Step::Fetch(Box::new(wanted.clone()))
    });
    Plan::of(steps)
}

/// An object that gets no job: nothing will be made, so nothing is to be cleaned, and it goes when its time is over.
fn jobless(seen: &Seen<'_>) -> Plan {
    let mut steps = vec![Step::StopFetching];
    steps.extend(without_finalizer(seen.object));
    let mut plan = Plan::of(steps);
    expire(seen, seen.object.ended(), &mut plan);
    plan
}

/// An object whose job was removed by the API or by retention.
fn removed(seen: &Seen<'_>) -> Plan {
    let mut plan = Plan::of(without_finalizer(seen.object));
    if seen.object.is_made_by_upload() {
        plan.steps.push(Step::DeleteObject);
    } else {
        expire(seen, seen.object.ended(), &mut plan);
    }
    plan
}

fn with_finalizer(object: &Object) -> Vec<Step> {
    let absent = !finalizer::is_on(&object.job.metadata);
    absent.then_some(Step::AddFinalizer).into_iter().collect()
}

fn without_finalizer(object: &Object) -> Vec<Step> {
    let there = finalizer::is_on(&object.job.metadata);
    there.then_some(Step::RemoveFinalizer).into_iter().collect()
}

/// An object with its job: carries out what has changed in the spec since, and what time asks for.
fn standing(seen: &Seen<'_>, link: &ObjectLink, job: &Job) -> Plan {
    let mut steps = with_finalizer(seen.object);
    let wanted = steering(&seen.object.job.spec);
    let mut done = link.applied;
    let mut state = job.status;
    if wanted.retries > done.retries {
        steps.push(Step::Retry(wanted.retries));
        // As the step leaves it.
        done.cancel = false;
        if matches!(state, JobState::Failed | JobState::Cancelled) {
            state = JobState::Queued;
            done.suspend = false;
        } else {
            let told = format!("A job that is {state} cannot be retried.");
            steps.push(Step::Tell(EventReason::RetryRefused, told));
        }
    }
    if wanted.cancel && !done.cancel && !state.is_terminal() {
        steps.push(Step::Cancel);
        state = JobState::Cancelled;
    }
    if wanted.suspend != done.suspend && !state.is_terminal() {
        let step = if wanted.suspend {
            Step::Suspend
        } else {
            Step::Resume
        };
        state = if wanted.suspend {
            JobState::Suspended
        } else {
            JobState::Queued
        };
        steps.push(step);
    }
    if wanted.priority != done.priority && wanted.priority != job.priority {
        if matches!(state, JobState::Queued | JobState::Suspended) {
            steps.push(Step::Prioritise(wanted.priority));
        } else {
            let told = format!("The priority of a job that is {state} cannot be changed.");
            steps.push(Step::Tell(EventReason::PriorityRefused, told));
        }
    }
    let noted = Applied {
        retries: done.retries,
        ..wanted
    };
    if noted != done {
        steps.push(Step::Note(noted));
    }
    let changed = steps
        .iter()
        .any(|step| matches!(step, Step::Retry(_) | Step::Cancel));
    let mut plan = Plan::of(steps);
    if !changed {
        time(seen, job, &mut plan);
    }
    plan
}

/// Deadlines, and the end of an object that has had its time.
fn time(seen: &Seen<'_>, job: &Job, plan: &mut Plan) {
    let spec = &seen.object.job.spec;
    let (since, deadline, what) = match (job.status, job.started_at, job.completed_at) {
        (_, _, Some(ended)) => return expire(seen, Some(ended), plan),
        (JobState::Queued, None, None) => (
            job.queued_at,
            spec.queue_deadline_seconds,
            "waited for a worker",
        ),
        (_, Some(started), None) => (started, spec.active_deadline_seconds, "was active"),
        (_, None, None) => return,
    };
    let Some(deadline) = deadline else { return };
    match left(since, deadline, seen.now) {
        Some(left) => plan.again = Some(left),
        None => plan.steps.push(Step::Fail(overdue(what, deadline))),
    }
}

/// Has an object go that ended long enough ago by its spec.
fn expire(seen: &Seen<'_>, ended: Option<Timestamp>, plan: &mut Plan) {
    let ttl = seen.object.job.spec.ttl_seconds_after_finished;
    let (Some(ended), Some(ttl)) = (ended, ttl) else {
        return;
    };
    match left(ended, ttl, seen.now) {
        Some(left) => plan.again = Some(left),
        None => plan.steps.push(Step::DeleteObject),
    }
}

/// What is left of some seconds; `None` when they are over.
fn left(since: Timestamp, seconds: u32, now: Timestamp) -> Option<Duration> {
    let at = since
        .checked_add(Duration::from_secs(seconds.into()))
        .ok()?;
    let left = Duration::try_from(at.duration_since(now)).ok()?;
    (!left.is_zero()).then_some(left)
}

fn overdue(what: &str, seconds: u32) -> Failure {
    Failure::new(
        FailureCode::DeadlineExceeded,
        format!("The job {what} for longer than the {seconds} s that its FileJob allows."),
    )
}

#[cfg(test)]
mod tests;
