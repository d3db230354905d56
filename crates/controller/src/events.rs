//! Events: what happened, once, for `kubectl describe` and for whoever watches.
//!
//! An event follows the status that makes it unique. One that is lost by a crash between the two is not made up for:
//! the status says it all. Events go out beside reconciliations, which wait for none of them, and those of an object in
//! the order in which they happened.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use filejobs_crd::{ConditionType, EventReason, FileJobStatus, Phase, Reason};
use futures::future::join_all;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource as _;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::object::Object;

/// How long telling may take: nobody waits for an event.
const TELLING: Duration = Duration::from_secs(5);

/// Characters of a note; the API takes 1024 bytes.
const NOTE: usize = 250;

/// Events told at a time, each of another object.
const LANES: usize = 4;

/// Events that wait to be told in a lane; what comes beyond that is dropped.
const WAITING: usize = 1_024;

/// Events after which a recorder is replaced. It counts what happens again instead of telling it anew, so it remembers
/// each event for six minutes, two kilobytes of it, and looks through all of them for each new one.
const REMEMBERED: usize = 256;

type Told = (Event, ObjectReference);

/// Takes events in.
#[derive(Debug)]
pub(crate) struct Teller {
    lanes: Vec<mpsc::Sender<Told>>,
}

/// Tells them.
pub(crate) struct Telling {
    recorders: Recorders,
    lanes: Vec<mpsc::Receiver<Told>>,
}

/// Makes recorders.
struct Recorders {
    client: kube::Client,
    reporter: Reporter,
}

/// Both ends.
pub(crate) fn teller(client: kube::Client, instance: &str) -> (Teller, Telling) {
    let reporter = Reporter {
        controller: filejobs_crd::FIELD_MANAGER.to_owned(),
        instance: Some(instance.to_owned()),
    };
    let recorders = Recorders { client, reporter };
    let (senders, lanes) = (0..LANES).map(|_| mpsc::channel(WAITING)).unzip();
    (Teller { lanes: senders }, Telling { recorders, lanes })
}

impl Teller {
    /// Tells of an object.
    pub(crate) fn tell(&self, object: &Object, event: Event) {
        self.publish(event, object.job.object_ref(&()));
    }

    /// Tells of whatever the reference names.
    pub(crate) fn publish(&self, event: Event, of: ObjectReference) {
        let mut hash = DefaultHasher::new();
        (&of.namespace, &of.name).hash(&mut hash);
        let lane = usize::try_from(hash.finish() % LANES as u64).unwrap_or_default();
        if let Err(error) = self.lanes[lane].try_send((event, of)) {
            let why = match &error {
                TrySendError::Full(_) => "too many wait",
                TrySendError::Closed(_) => "the controller stops",
            };
            let (event, _) = error.into_inner();
            tracing::info!(reason = event.reason, "an event was dropped: {why}");
        }
    }
}

impl Telling {
    /// Tells until `stop`, and then what still waits, as far as there is time.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let Self { recorders, lanes } = self;
        let ends = async {
            stop.cancelled().await;
            sleep(TELLING).await;
        };
        let lanes = lanes.into_iter().map(|lane| tell(&recorders, lane, &stop));
        tokio::select! {
            _ = join_all(lanes) => {}
            () = ends => {}
        }
    }
}

impl Recorders {
    fn make(&self) -> Recorder {
        Recorder::new(self.client.clone(), self.reporter.clone())
    }
}

/// Tells what comes into a lane, one after the other.
async fn tell(recorders: &Recorders, mut lane: mpsc::Receiver<Told>, stop: &CancellationToken) {
    let mut recorder = recorders.make();
    let mut remembered = 0;
    loop {
        let next = tokio::select! {
            next = lane.recv() => next,
            () = stop.cancelled() => {
                lane.close();
                lane.recv().await
            }
        };
        let Some(told) = next else { return };
        if remembered == REMEMBERED {
            (recorder, remembered) = (recorders.make(), 0);
        }
        remembered += 1;
        publish(&recorder, told).await;
    }
}

async fn publish(recorder: &Recorder, (event, of): Told) {
    match timeout(TELLING, recorder.publish(&event, &of)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::info!(%error, reason = event.reason, "an event was not told"),
        Err(_) => tracing::info!(reason = event.reason, "an event was not told in time"),
    }
}

/// An event with its reason and a sentence.
pub(crate) fn told(reason: EventReason, note: impl Into<String>) -> Event {
    let warns = match reason {
        EventReason::Failed
        | EventReason::RetryRefused
        | EventReason::PriorityRefused
        | EventReason::Rejected
        | EventReason::SourceUnavailable
        | EventReason::Undecodable
        | EventReason::Forbidden
        | EventReason::JobRemoved => true,
        EventReason::JobCreated
        | EventReason::Started
        | EventReason::Completed
        | EventReason::Cancelled
        | EventReason::Suspended
        | EventReason::Resumed
        | EventReason::Retried => false,
    };
    let note: String = note.into();
    Event {
        type_: if warns {
            EventType::Warning
        } else {
            EventType::Normal
        },
        reason: reason.as_str().to_owned(),
        note: Some(note.chars().take(NOTE).collect()),
        action: reason.as_str().to_owned(),
        secondary: None,
    }
}

/// What has happened between two statuses.
pub(crate) fn of(old: &FileJobStatus, new: &FileJobStatus) -> Vec<Event> {
    let became = |kind, status: &str| {
        let new = new.condition(kind).filter(|now| now.status == status)?;
        let old = old.condition(kind);
        let same = old.is_some_and(|was| was.status == status && was.reason == new.reason);
        (!same).then_some(new)
    };
    let mut events = Vec::new();
    let mut happened = |reason, note: String| events.push(told(reason, note));
    if became(ConditionType::Accepted, "True").is_some() {
        let id = new.job_id.as_deref().unwrap_or_default();
        happened(EventReason::JobCreated, format!("The job is {id}."));
    }
    if let Some(condition) = became(ConditionType::Accepted, "False") {
        let rejected = new.phase == Some(Phase::Rejected);
        let reason = if rejected {
            EventReason::Rejected
        } else {
            EventReason::SourceUnavailable
        };
        happened(
            reason,
            format!("{}: {}", condition.reason, condition.message),
        );
    }
    if became(ConditionType::Admitted, "True").is_some() {
        happened(EventReason::Started, "A worker has it.".to_owned());
    }
    if let Some(condition) = became(ConditionType::Finished, "True") {
        let reason = match new.phase {
            Some(Phase::Completed) => Some(EventReason::Completed),
            Some(Phase::Failed) => Some(EventReason::Failed),
            Some(Phase::Cancelled) if condition.reason != Reason::JobRemoved.as_str() => {
                Some(EventReason::Cancelled)
            }
            // Told above or below.
            _ => None,
        };
        if let Some(reason) = reason {
            happened(
                reason,
                format!("{}: {}", condition.reason, condition.message),
            );
        }
    }
    let removed = became(ConditionType::Synced, "False");
    if removed.is_some_and(|one| one.reason == Reason::JobRemoved.as_str()) {
        happened(
            EventReason::JobRemoved,
            "The job and its results are gone.".to_owned(),
        );
    }
    events
}
