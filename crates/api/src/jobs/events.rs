//! `GET /api/jobs/{id}/events`: the job's history, as a stream that goes on or as JSON.

use std::collections::VecDeque;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use filejobs_core::JobId;
use filejobs_store::{Change, Event, Job};
use futures::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::{Instant, timeout_at};
use utoipa::IntoParams;

use super::view::Speed;
use crate::App;
use crate::download::BodyError;
use crate::extract::accept::{JSON, negotiate};
use crate::extract::id::JobPath;
use crate::extract::query::Query;
use crate::problem::{Code, FieldError, Place, Problem, problems};

problems!(Problems: InvalidParameter, InvalidHeader, JobNotFound, TooManyStreams);

const STREAM: &str = "text/event-stream";
/// A silent stream says that it lives: proxies and clients drop silent connections.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Changes are hints that can be lost; this often the job is looked at in any case.
const POLL: Duration = Duration::from_secs(2);
/// Progress is told at most this often.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);
/// Events of the history read at a time.
const BATCH: u32 = 500;

/// The job's history.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct EventList {
    /// Oldest first; at most 500. Ask for more with `after`.
    events: Vec<EventItem>,
}

/// One thing that happened to the job.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Event)]
struct EventItem {
    /// Ascending within the job, from 1.
    id: u64,
    /// `state`, or `finished` for the end of the job.
    event: String,
    #[schema(value_type = String, format = "date-time")]
    at: Timestamp,
    /// What, in detail.
    #[schema(value_type = Object)]
    data: Value,
}

impl From<Event> for EventItem {
    fn from(event: Event) -> Self {
        Self {
            id: event.id,
            event: event.kind,
            at: event.at,
            data: event.data,
        }
    }
}

/// From where on.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters; `events` reads them")]
struct EventParams {
    /// Only events after the one with this id. `Last-Event-ID` wins over it.
    #[param(minimum = 0, maximum = 9_007_199_254_740_991u64, default = 0)]
    after: Option<u64>,
}

/// What happens to the job
///
/// A stream of `state`, `progress` and `finished` events until the job has ended. A client that comes back with
/// `Last-Event-ID` gets every `state` and `finished` it has missed; after the last of them the answer is 204, which
/// tells an `EventSource` to stop. With `Accept: application/json` the history so far.
#[utoipa::path(
    get,
    path = "/jobs/{id}/events",
    tag = "jobs",
    operation_id = "get_job_events",
    params(
        ("id" = String, Path, format = "uuid", description = "The job"),
        ("Last-Event-ID" = Option<String>, Header, description = "Id of the last event that was received", pattern = "^[0-9]{1,15}(\\.[0-9]{1,15})?$"),
        EventParams,
    ),
    responses(
        (status = 200, description = "The events", content((String = "text/event-stream"), (EventList = "application/json"))),
        (status = 204, description = "The job has ended and the last event was received"),
        Problems,
    )
)]
pub(super) async fn events(
    State(app): State<App>,
    path: JobPath,
    headers: HeaderMap,
    mut query: Query,
) -> Result<Response, Problem> {
    let after = query.number("after", 0, 9_007_199_254_740_991);
    query.finish()?;
    let after = last_event_id(&headers)?.or(after).unwrap_or(0);
    let job = path.find(&app).await?;
    let id = job.id;
    // The history only where JSON is asked for by name: all else, a blank `Accept` too, means the stream.
    if negotiate(&headers, &[STREAM, JSON]).is_ok_and(|media| media == JSON) {
        let events = app.store().events(id, after, BATCH).await?;
        let events = events.into_iter().map(EventItem::from).collect();
        return Ok(Json(EventList { events }).into_response());
    }
    if job.status.is_terminal() && job.last_event <= after {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let permit = std::sync::Arc::clone(app.streams())
        .try_acquire_owned()
        .map_err(|_| too_many())?;
    let feed = Feed::new(app, id, after, permit);
    let body = stream::try_unfold(feed, |mut feed| async move {
        Ok::<_, BodyError>(feed.next().await.map(|bytes| (bytes, feed)))
    });
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(STREAM)),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, Body::from_stream(body)).into_response())
}

fn too_many() -> Problem {
    Problem::new(
        Code::TooManyStreams,
        "The service holds as many event streams as it may. Try again later, or GET the job from time to time instead.",
    )
    .retry_after(10)
}

/// The id of the last event that the client has; what follows the `.` counts progress, which is not replayed.
fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let digits =
        |text: &str| (1..=15).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let id = value.to_str().ok().and_then(|text| {
        let (id, rest) = text.split_once('.').unwrap_or((text, "0"));
        (digits(id) && digits(rest))
            .then(|| id.parse().ok())
            .flatten()
    });
    id.map(Some).ok_or_else(|| {
        let detail = "must be the id of an event of this stream, unchanged";
        Problem::fields(
            Code::InvalidHeader,
            "The `Last-Event-ID` header cannot be used. Send the id of the last event received, or leave it out for all.",
            vec![FieldError::new(Place::Header, "Last-Event-ID", detail)],
        )
    })
}

/// One open stream.
struct Feed {
    app: App,
    id: JobId,
    changes: Receiver<Change>,
    /// Id of the last event sent.
    after: u64,
    /// Progress events sent since then.
    since: u64,
    /// What the last progress event said.
    told: Option<Value>,
    ready: VecDeque<Bytes>,
    last_sent: Instant,
    last_look: Option<Instant>,
    ended: bool,
    _permit: OwnedSemaphorePermit,
}

impl Feed {
    fn new(app: App, id: JobId, after: u64, permit: OwnedSemaphorePermit) -> Self {
        Self {
            changes: app.store().changes(),
            app,
            id,
            after,
            since: 0,
            told: None,
            ready: VecDeque::new(),
            last_sent: Instant::now(),
            last_look: None,
            ended: false,
            _permit: permit,
        }
    }

    /// The next bytes of the stream; `None` at its end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                self.last_sent = Instant::now();
                return Some(bytes);
            }
            if self.ended {
                return None;
            }
            if self.last_look.is_some() && !self.wait().await {
                self.last_sent = Instant::now();
                return Some(Bytes::from_static(b": still here\n\n"));
            }
            self.look().await;
        }
    }

    /// Waits until the job may have changed; false when the client wants to hear that the stream lives.
    async fn wait(&mut self) -> bool {
        let looked = self.last_look.unwrap_or_else(Instant::now);
        let closing = self.app.closing().clone();
        let heartbeat = self.last_sent + HEARTBEAT;
        let until = heartbeat.min(looked + POLL);
        let changed = async {
            loop {
                match self.changes.recv().await {
                    Ok(change) if !change.may_concern(self.id) => {}
                    // What was missed may have been about this job.
                    Ok(_) | Err(RecvError::Lagged(_)) => return,
                    Err(RecvError::Closed) => std::future::pending().await,
                }
            }
        };
        tokio::select! {
            () = closing.cancelled() => self.ended = true,
            changed = timeout_at(until, changed) => {
                if changed.is_ok() {
                    tokio::time::sleep_until(looked + PROGRESS_EVERY).await;
                }
            }
        }
        self.ended || Instant::now() < heartbeat
    }

    /// Reads what is new about the job. A database that does not answer is asked again at the next look.
    async fn look(&mut self) {
        self.last_look = Some(Instant::now());
        if self.ended {
            return;
        }
        let job = match self.app.store().job(self.id).await {
            Ok(Some(job)) => job,
            Ok(None) => {
                self.ended = true;
                return;
            }
            Err(error) => {
                tracing::warn!(job.id = %self.id, error = %error, "an event stream waits for the database");
                return;
            }
        };
        if job.last_event > self.after && !self.replay(&job).await {
            return;
        }
        if job.status.is_terminal() {
            self.ended = true;
        } else {
            self.progress(&job);
        }
    }

    /// Sends the events that the client has not seen; false when some are left.
    async fn replay(&mut self, job: &Job) -> bool {
        let events = match self.app.store().events(self.id, self.after, BATCH).await {
            Ok(events) => events,
            Err(error) => {
                tracing::warn!(job.id = %self.id, error = %error, "an event stream waits for the database");
                return false;
            }
        };
        if events.is_empty() {
            self.after = job.last_event;
        }
        for event in events {
            self.after = event.id;
            self.since = 0;
            let item = json!({"job_id": self.id, "at": event.at, "data": event.data});
            self.push(&event.kind, &event.id.to_string(), &flat(item));
        }
        self.after >= job.last_event
    }

    fn progress(&mut self, job: &Job) {
        let speed = Speed::of(job);
        let now = json!({
            "job_id": self.id,
            "status": job.status,
            "progress": job.progress(),
            "rows_total": job.rows_total,
            "rows_processed": job.rows_processed,
            "rows_failed": job.rows_failed,
            "rows_per_second": speed.rows_per_second,
            "eta_seconds": speed.eta_seconds,
        });
        if self.told.as_ref() == Some(&now) {
            return;
        }
        self.since += 1;
        let id = format!("{}.{}", self.after, self.since);
        self.push("progress", &id, &now);
        self.told = Some(now);
    }

    fn push(&mut self, kind: &str, id: &str, data: &Value) {
        // JSON on one line: nothing in it can end the event early.
        let text = format!("id: {id}\nevent: {kind}\ndata: {data}\n\n");
        self.ready.push_back(Bytes::from(text));
    }
}

/// The event's own data beside the members that every event has.
fn flat(mut item: Value) -> Value {
    let data = item.get_mut("data").map(Value::take);
    if let (Some(item), Some(Value::Object(data))) = (item.as_object_mut(), data) {
        item.shift_remove("data");
        item.extend(data);
    }
    item
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{Request, Service};

    #[test]
    fn the_last_event_id_is_one_of_ours() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("last-event-id", HeaderValue::from_str(text).unwrap());
            last_event_id(&headers).ok()
        };
        assert_eq!(read("3"), Some(Some(3)));
        assert_eq!(read("3.17"), Some(Some(3)));
        for bad in ["", "x", "-1", "3.", ".3", "1.2.3", "9999999999999999"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn the_history_as_json() {
        let service = Service::start().await;
        let job = service.completed("a.csv", "id\n1\n").await;
        let path = format!("/api/jobs/{job}/events");
        let history = Request::get(&path).header("accept", "application/json");
        let answer = service.send(history).await;
        insta::assert_json_snapshot!(answer.json());
    }

    #[tokio::test]
    async fn a_job_that_has_ended_is_told_from_the_beginning_and_then_no_more() {
        let service = Service::start().await;
        let job = service.completed("a.csv", "id\n1\n").await;
        let path = format!("/api/jobs/{job}/events");
        let all = service.get(&path).await;
        assert_eq!(all.header("content-type"), "text/event-stream");
        insta::assert_snapshot!(all.text());
        let last = all
            .text()
            .lines()
            .filter_map(|l| l.strip_prefix("id: "))
            .next_back()
            .unwrap()
            .to_owned();
        let rest = Request::get(&path).header("last-event-id", "1");
        let rest = service.send(rest).await.text();
        assert!(
            !rest.contains("id: 1\n") && rest.contains("event: finished"),
            "{rest}"
        );
        let nothing = Request::get(&path).header("last-event-id", &last);
        assert_eq!(service.send(nothing).await.status, 204);
    }

    #[tokio::test]
    async fn a_stream_goes_on_until_the_end_of_the_job() {
        let service = Service::start().await;
        let job = service.upload("a.csv", "id\n1\n").await;
        let path = format!("/api/jobs/{job}/events");
        let stream = service.get(&path);
        let (answer, ()) = tokio::join!(stream, service.work());
        let text = answer.text();
        let kinds: Vec<_> = text
            .lines()
            .filter_map(|l| l.strip_prefix("event: "))
            .collect();
        assert_eq!(kinds.first(), Some(&"state"));
        assert_eq!(kinds.last(), Some(&"finished"));
    }

    #[tokio::test]
    async fn only_so_many_streams_are_open_at_a_time() {
        let service = Service::start_with(|limits| limits.event_streams = 1).await;
        let job = service.upload("a.csv", "id\n1\n").await;
        let path = format!("/api/jobs/{job}/events");
        let open = service.open(Request::get(&path)).await;
        let answer = service.get(&path).await;
        assert_eq!(answer.problem(), (503, "too_many_streams".to_owned()));
        drop(open);
        let again = service.open(Request::get(&path)).await;
        assert_eq!(again.status(), 200);
    }
}
