//! The event stream of a job, and its replay.

use filejobs_testkit::events::{Event, read_until};
use reqwest::Response;

use crate::topology::{Stage, Topology};
use crate::{sample_upload, small_upload};

run_on! {[dev, processes] [
    a_stream_tells_a_job_to_its_end,
    a_reader_that_comes_back_misses_no_state,
    the_history_can_be_had_as_json,
]}

async fn open(service: &Stage, id: &str, after: Option<&str>) -> Response {
    let mut request = service
        .client
        .get(format!("{}/api/jobs/{id}/events", service.url()));
    if let Some(after) = after {
        request = request.header("last-event-id", after);
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    let content_type = response.headers()["content-type"].to_str().unwrap();
    assert!(
        content_type.starts_with("text/event-stream"),
        "{content_type}"
    );
    response
}

fn names(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.name.as_str()).collect()
}

async fn a_stream_tells_a_job_to_its_end(on: Topology) {
    let service = on.start().await;
    let (_, upload) = sample_upload(300_000, 1.0);
    let id = service.submit(&upload).await.unwrap();
    let events = read_until(open(&service, &id, None).await, "finished")
        .await
        .unwrap();
    let names = names(&events);
    assert_eq!(names.last(), Some(&"finished"), "{events:?}");
    assert!(names.contains(&"state"), "{events:?}");
    let known = |name: &&str| ["progress", "state", "finished"].contains(name);
    assert!(names.iter().all(known), "{names:?}");
}

async fn a_reader_that_comes_back_misses_no_state(on: Topology) {
    let service = on.start().await;
    let id = service.submit(&small_upload()).await.unwrap();
    service.finished(&id).await.unwrap();
    let all = read_until(open(&service, &id, Some("0")).await, "finished")
        .await
        .unwrap();
    let told: Vec<&Event> = all
        .iter()
        .filter(|event| event.name != "progress")
        .collect();
    assert!(told.len() >= 2, "{all:?}");
    for (at, event) in told.iter().enumerate() {
        assert!(!event.id.is_empty(), "{event:?}");
        if at + 1 == told.len() {
            break;
        }
        let rest = read_until(open(&service, &id, Some(&event.id)).await, "finished")
            .await
            .unwrap();
        let rest: Vec<&Event> = rest
            .iter()
            .filter(|event| event.name != "progress")
            .collect();
        assert_eq!(rest, told[at + 1..], "after {event:?}");
    }
}

async fn the_history_can_be_had_as_json(on: Topology) {
    let service = on.start().await;
    let id = service.submit(&small_upload()).await.unwrap();
    service.finished(&id).await.unwrap();
    let answer = service
        .get_as(&format!("/api/jobs/{id}/events"), "application/json")
        .await
        .unwrap();
    answer.assert_status(200);
    let text = answer.json().to_string();
    assert!(
        text.contains("finished") && text.contains("QUEUED"),
        "{text}"
    );
}
