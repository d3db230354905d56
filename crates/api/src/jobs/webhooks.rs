//! `GET /api/jobs/{id}/webhooks`.

use axum::Json;
use axum::extract::State;
use filejobs_store::{DeliveryAttempt, DeliveryRecord};
use jiff::Timestamp;
use serde::Serialize;

use crate::App;
use crate::extract::id::JobPath;
use crate::problem::{Problem, problems};

problems!(Problems: JobNotFound);

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
    JobPath(id): JobPath,
) -> Result<Json<WebhookList>, Problem> {
    super::find(&app, id).await?;
    let records = app.store().deliveries(id).await?;
    Ok(Json(WebhookList {
        webhooks: records.into_iter().map(Webhook::from).collect(),
    }))
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
            .record_attempt(due[0].id, attempt, NextDelivery::Abandoned)
            .await
            .unwrap();
        insta::assert_json_snapshot!(service.get(&path).await.json());
    }
}
