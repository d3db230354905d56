//! `GET /api/jobs/{id}/webhooks` and `POST /api/jobs/{id}/webhooks/resend`.

use axum::Json;
use axum::extract::State;
use filejobs_core::JobId;
use filejobs_store::{DeliveryAttempt, DeliveryRecord};
use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;

use crate::App;
use crate::extract::id::JobPath;
use crate::problem::{Code, Problem, problems};

problems!(Problems: JobNotFound);
problems!(ResendProblems: JobNotFound, NotReady, NoWebhook, StorageFull);

/// Where and how the job's end was told.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct WebhookList {
    /// Oldest first; a retried job tells its end again.
    webhooks: Vec<Webhook>,
}

/// One message and the attempts to deliver it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Webhook {
    /// The `webhook-id` that the receiver sees.
    #[schema(format = "uuid")]
    id: String,
    url: String,
    /// `pending`, `delivered` or `abandoned`.
    state: String,
    #[schema(value_type = String, format = "date-time")]
    created_at: Timestamp,
    /// Oldest first.
    attempts: Vec<Attempt>,
}

/// One try to deliver a message.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = WebhookAttempt)]
struct Attempt {
    #[schema(value_type = String, format = "date-time")]
    at: Timestamp,
    duration_ms: u64,
    /// The receiver's HTTP status; null when it gave none.
    #[schema(required)]
    status: Option<u16>,
    /// Why the attempt does not count; null when it does.
    #[schema(required)]
    error: Option<String>,
}

impl From<DeliveryRecord> for Webhook {
    fn from(record: DeliveryRecord) -> Self {
        Self {
            id: record.delivery.id.to_string(),
            url: record.delivery.url,
            state: record.state,
            created_at: record.delivery.created_at,
            attempts: record.attempts.into_iter().map(Attempt::from).collect(),
        }
    }
}

impl From<DeliveryAttempt> for Attempt {
    fn from(attempt: DeliveryAttempt) -> Self {
        Self {
            at: attempt.at,
            duration_ms: attempt.duration_ms,
            status: attempt.status,
            error: attempt.error,
        }
    }
}

/// The job's webhooks and the attempts to deliver them
#[utoipa::path(
    get,
    path = "/jobs/{id}/webhooks",
    tag = "jobs",
    operation_id = "get_job_webhooks",
    params(("id" = String, Path, format = "uuid", description = "The job")),
    responses((status = 200, description = "The webhooks; none before the job's end or without `webhook_url`", body = WebhookList), Problems)
)]
pub(super) async fn webhooks(
    State(app): State<App>,
    path: JobPath,
) -> Result<Json<WebhookList>, Problem> {
    list(&app, path.find(&app).await?.id).await
}

async fn list(app: &App, id: JobId) -> Result<Json<WebhookList>, Problem> {
    let records = app.store().deliveries(id).await?;
    Ok(Json(WebhookList {
        webhooks: records.into_iter().map(Webhook::from).collect(),
    }))
}

/// Sends the job's last webhook again
///
/// The same message under the same `webhook-id`, signed anew, so that a receiver that has it already can tell. It gets
/// as many attempts and as much time as the first time; earlier attempts stay listed. A message that is still being
/// sent is left alone.
#[utoipa::path(
    post,
    path = "/jobs/{id}/webhooks/resend",
    tag = "jobs",
    operation_id = "resend_job_webhook",
    params(("id" = String, Path, format = "uuid", description = "The job")),
    responses((status = 202, description = "The webhooks; the last one is `pending`", body = WebhookList), ResendProblems)
)]
pub(super) async fn resend(
    State(app): State<App>,
    path: JobPath,
) -> Result<(StatusCode, Json<WebhookList>), Problem> {
    let job = path.find(&app).await?;
    if app.store().resend_delivery(job.id).await?.is_some() {
        return Ok((StatusCode::ACCEPTED, list(&app, job.id).await?));
    }
    if job.status.is_terminal() || job.webhook_url.is_none() {
        return Err(Problem::new(
            Code::NoWebhook,
            "The job was handed in without a `webhook_url`, so there is nothing to send. Hand files in with one to be told of their end.",
        ));
    }
    Err(super::view::not_ready(&job))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use filejobs_store::{DeliveryAttempt, NextDelivery};

    use crate::tests::{Form, Service};

    #[tokio::test]
    async fn deliveries_are_shown_with_their_attempts() {
        let service = Service::start().await;
        let form = Form::file("a.csv", "id\n1\n").field("webhook_url", "https://example.org/hook");
        let job = service.send(form.request()).await.job();
        let path = format!("/api/jobs/{job}/webhooks");
        assert_eq!(service.get(&path).await.text(), r#"{"webhooks":[]}"#);
        service.work().await;
        let hold = Duration::from_secs(1);
        let due = service.store().due_deliveries(1, hold).await.unwrap();
        let attempt = DeliveryAttempt {
            at: service.now(),
            duration_ms: 12,
            status: Some(503),
            error: Some("the receiver answered 503".to_owned()),
        };
        service
            .store()
            .record_attempt(&due[0], attempt, NextDelivery::Abandoned)
            .await
            .unwrap();
        insta::assert_json_snapshot!(service.get(&path).await.json());

        let again = service.post(&format!("{path}/resend")).await;
        assert_eq!(again.status, 202);
        let sent = &again.json()["webhooks"][0];
        assert_eq!(sent["id"], due[0].id.to_string(), "the same message");
        assert_eq!(sent["state"], "pending");
        assert_eq!(sent["attempts"].as_array().map(Vec::len), Some(1));
        let due = service.store().due_deliveries(1, hold).await.unwrap();
        assert_eq!((due.len(), due[0].attempts), (1, 0));
    }

    #[tokio::test]
    async fn what_was_never_to_be_sent_cannot_be_sent_again() {
        let service = Service::start().await;
        let untold = service.completed("a.csv", "id\n1\n").await;
        let resend = |job| format!("/api/jobs/{job}/webhooks/resend");
        let answer = service.post(&resend(untold)).await;
        assert_eq!(answer.problem(), (409, "no_webhook".to_owned()));
        let form = Form::file("a.csv", "id\n1\n").field("webhook_url", "https://example.org/hook");
        let waiting = service.send(form.request()).await.job();
        let answer = service.post(&resend(waiting)).await;
        assert_eq!(answer.problem(), (409, "not_ready".to_owned()));
    }
}
