//! The service's refusals, told in its own words.

use std::time::Duration;

use reqwest::Response;
use reqwest::header::RETRY_AFTER;
use serde::Deserialize;
use serde_json::Value;

use crate::terminal;

/// Most of an error body that is read.
const BYTES: usize = 64 * 1024;

/// An error answer, after RFC 9457.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Problem {
    pub(crate) status: u16,
    pub(crate) title: String,
    pub(crate) detail: String,
    pub(crate) code: String,
    pub(crate) request_id: Option<String>,
    pub(crate) errors: Vec<Value>,
    /// How long the service asks to wait before the next try.
    #[serde(skip)]
    pub(crate) retry_after: Option<Duration>,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let said = if self.detail.is_empty() {
            &self.title
        } else {
            &self.detail
        };
        write!(f, "{} (HTTP {}", terminal::shown(said, 2_000), self.status)?;
        if let Some(id) = &self.request_id {
            write!(f, ", request {}", terminal::shown(id, 80))?;
        }
        write!(f, ")")?;
        for error in &self.errors {
            write!(f, "\n  - {}", terminal::shown(&field_error(error), 500))?;
        }
        Ok(())
    }
}

/// One entry of `errors[]`: its place and what is wrong there, whichever of the usual names they have.
fn field_error(error: &Value) -> String {
    let part = |names: &[&str]| names.iter().find_map(|name| error.get(name)?.as_str());
    match (
        part(&["field", "parameter", "pointer", "name"]),
        part(&["detail", "message"]),
    ) {
        (Some(field), Some(detail)) => format!("{field}: {detail}"),
        (None, Some(detail)) => detail.to_owned(),
        _ => error.to_string(),
    }
}

impl Problem {
    /// Reads it out of an answer that is no success.
    pub(crate) async fn of(mut response: Response) -> Self {
        let status = response.status();
        let retry_after = asked_wait(&response);
        let mut body = Vec::new();
        // A body that breaks off still has its status to tell.
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() > BYTES {
                break;
            }
        }
        let mut problem: Self = serde_json::from_slice(&body).unwrap_or_default();
        problem.status = status.as_u16();
        problem.retry_after = retry_after;
        if problem.title.is_empty() {
            status
                .canonical_reason()
                .unwrap_or("refused")
                .clone_into(&mut problem.title);
        }
        problem
    }

    /// Answers of a service, or of a proxy before it, that another moment may change.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self.status, 429 | 502 | 503 | 504)
    }

    /// Whether another upload has the idempotency key just now.
    pub(crate) fn is_key_in_flight(&self) -> bool {
        self.status == 409 && self.code == "idempotency_key_in_flight"
    }
}

/// How long an answer asks to wait before the next try. A date is for people's time, not for ours: it counts as nothing.
fn asked_wait(response: &Response) -> Option<Duration> {
    let header = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    header.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_may_ask_for_a_wait_in_seconds() {
        let asked = |value: &'static str| {
            let answer = axum::http::Response::builder().header(RETRY_AFTER, value);
            asked_wait(&answer.body("").unwrap().into())
        };
        assert_eq!(asked("5"), Some(Duration::from_secs(5)));
        assert_eq!(asked("Wed, 21 Oct 2026 07:28:00 GMT"), None);
        assert_eq!(asked("-1"), None);
    }

    #[test]
    fn a_problem_is_told_in_the_services_words() {
        let problem: Problem = serde_json::from_value(serde_json::json!({
            "status": 400, "detail": "Send CSV.\u{1b}[2J", "request_id": "r1",
            "errors": [{"field": "priority", "detail": "0 to 10"}],
        }))
        .unwrap();
        let text = problem.to_string();
        assert_eq!(
            text,
            "Send CSV.\\u{1b}[2J (HTTP 400, request r1)\n  - priority: 0 to 10"
        );
    }
}
