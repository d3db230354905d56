//! A client as clients should be: without an answer, or with one that asks for it, it sends the same again.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{bail, ensure};
use filejobs_testkit::http::{self, Answer};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use tokio::time::Instant;

use crate::crew::Crew;
use crate::plan::{HandIn, Steering};

/// Longest wait for one answer; past it the client asks the next process.
const ANSWER: Duration = Duration::from_secs(20);

/// Pause before the next try, where the answer names no longer one.
const PAUSE: Duration = Duration::from_millis(300);

/// The longest pause that a client makes because it is asked to.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Longest time in which a client gets no usable answer. An idempotency key stays with a process that was killed for
/// twenty seconds; the rest is for outages in a row, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(4);

/// A file whose job exists, and what its client knows.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) file: HandIn,
    pub(crate) id: String,
    /// Uploads that were not answered with 202.
    pub(crate) repeats: u32,
    /// Whether the cancel came in time.
    pub(crate) cancelled: bool,
    /// Whether it was done again.
    pub(crate) retried: bool,
}

/// Hands a file in at its time, and steers its job as planned.
pub(crate) async fn send(
    crew: Arc<Crew>,
    begun: Instant,
    number: usize,
    file: HandIn,
    webhook: String,
) -> anyhow::Result<Sent> {
    tokio::time::sleep_until(begun + file.at).await;
    let mut upload = file.content.upload(&file.name);
    if file.webhook {
        upload = upload.field("webhook_url", webhook);
    }
    let request = |api: &str| upload.request(&crew.client, api);
    let (taken, repeats) = until_answered(&crew, number, request, |answer| {
        Ok((answer.status == 202).then(|| http::job_id(answer)))
    })
    .await?;
    let mut sent = Sent {
        id: taken?,
        repeats,
        cancelled: false,
        retried: false,
        file,
    };
    if sent.file.steering != Steering::None {
        tokio::time::sleep(sent.file.steered_after).await;
        sent.cancelled = cancel(&crew, number, &sent.id).await?;
    }
    if sent.cancelled && sent.file.steering == Steering::Retry {
        retry(&crew, number, &sent.id).await?;
        sent.retried = true;
    }
    Ok(sent)
}

/// Cancels a job; false when it had ended before.
async fn cancel(crew: &Crew, number: usize, id: &str) -> anyhow::Result<bool> {
    let request = |api: &str| post(crew, api, id, "cancel");
    let cancelled = until_answered(crew, number, request, |answer| {
        Ok(match answer.status {
            200 => Some(true),
            409 => Some(false),
            _ => None,
        })
    });
    Ok(cancelled.await?.0)
}

/// Has a cancelled job done again.
async fn retry(crew: &Crew, number: usize, id: &str) -> anyhow::Result<()> {
    let request = |api: &str| post(crew, api, id, "retry");
    let retried = until_answered(crew, number, request, |answer| {
        // 400: an earlier try, whose answer was lost, has done it.
        Ok(matches!(answer.status, 200 | 400).then_some(()))
    });
    retried.await?;
    let job = job(crew, number, id).await?;
    ensure!(job["generation"] == 1, "retried, but it is {job}");
    Ok(())
}

/// A job as some API process has it.
pub(crate) async fn job(crew: &Crew, number: usize, id: &str) -> anyhow::Result<Value> {
    let answer = get(crew, number, &format!("/api/jobs/{id}"), "application/json").await?;
    Ok(answer.json())
}

/// What some API process answers with 200.
pub(crate) async fn get(
    crew: &Crew,
    number: usize,
    path: &str,
    accept: &str,
) -> anyhow::Result<Answer> {
    let request = |api: &str| {
        let request = crew.client.request(Method::GET, format!("{api}{path}"));
        request.header("accept", accept)
    };
    let answer = until_answered(crew, number, request, |answer| match answer.status {
        200 => Ok(Some(answer.clone())),
        404 => bail!("{path}: {}", answer.text()),
        _ => Ok(None),
    });
    Ok(answer.await?.0)
}

/// Removes a job.
pub(crate) async fn delete(crew: &Crew, number: usize, id: &str) -> anyhow::Result<()> {
    let request = |api: &str| {
        let url = format!("{api}/api/jobs/{id}");
        crew.client.request(Method::DELETE, url)
    };
    let deleted = until_answered(crew, number, request, |answer| {
        Ok(matches!(answer.status, 204 | 404).then_some(()))
    });
    deleted.await.map(drop)
}

fn post(crew: &Crew, api: &str, id: &str, what: &str) -> RequestBuilder {
    crew.client.post(format!("{api}/api/jobs/{id}/{what}"))
}

/// Sends a request, to one API process after the other, until `usable` makes something of an answer. Also how often it
/// did not.
///
/// # Errors
/// When an answer is none that a client may be given for this, or when none was usable for too long.
async fn until_answered<T>(
    crew: &Crew,
    number: usize,
    request: impl Fn(&str) -> RequestBuilder,
    usable: impl Fn(&Answer) -> anyhow::Result<Option<T>>,
) -> anyhow::Result<(T, u32)> {
    let begun = Instant::now();
    let mut repeats = 0;
    let mut last = "nothing".to_owned();
    while begun.elapsed() < PATIENCE {
        let api = crew.api(number + repeats as usize);
        let mut pause = PAUSE;
        match http::answer(request(api).timeout(ANSWER)).await {
            Ok(answer) => {
                if let Some(usable) = usable(&answer)? {
                    return Ok((usable, repeats));
                }
                // Busy with the same upload, or out of order for a while and saying so. Anything else is wrong.
                ensure!(
                    matches!(answer.status, 409 | 503),
                    "HTTP {}: {}",
                    answer.status,
                    answer.text()
                );
                last = answer.text();
                let asked = answer.header("retry-after").parse();
                let asked = asked.map_or(PAUSE, Duration::from_secs);
                pause = asked.clamp(PAUSE, LONGEST_PAUSE);
            }
            Err(error) => {
                last = format!("{error:#}");
            }
        }
        repeats += 1;
        tokio::time::sleep(pause).await;
    }
    bail!("no usable answer within {PATIENCE:?}; the last was {last}")
}
