//! Webhooks that are signed with a Secret of the object's own namespace.

use filejobs_crd::{EventReason, FileJob, WEBHOOK_SECRET_TYPE};
use filejobs_testkit::wait;
use k8s_openapi::api::core::v1::Secret;
use kube::api::DeleteParams;
use reqwest::Method;
use serde_json::{Value, json};
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::DEADLINE;
use crate::place::{Crew, Place, condition, job_id};
use crate::sources::{completed, pending};

/// The service's own key, one of the namespace, and the one that follows it.
const SERVICE: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const TEAM: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const NEXT: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";

/// Which of the keys a message is signed with.
fn signed_with(request: &Request) -> Vec<&'static str> {
    let mut keys = vec![SERVICE, TEAM, NEXT];
    keys.retain(|key| {
        let receiver = standardwebhooks::Webhook::new(key).unwrap();
        receiver.verify(&request.body, &request.headers).is_ok()
    });
    keys
}

/// Waits until a message about a job has come; the last of them.
async fn heard(receiver: &MockServer, job: &FileJob) -> Request {
    let id = job_id(job);
    let heard = wait::until("the webhook to come", DEADLINE, async || {
        let requests = receiver.received_requests().await.unwrap_or_default();
        let of_job = |request: &Request| String::from_utf8_lossy(&request.body).contains(&id);
        Ok(requests.into_iter().rfind(of_job))
    });
    heard.await.unwrap()
}

/// Puts a Secret in the place of whatever has its name: a type cannot be changed.
async fn secret(place: &Place, of_type: &str, value: &str) {
    let _ = place
        .all::<Secret>()
        .delete("hook", &DeleteParams::default())
        .await;
    let content = json!({"type": of_type, "stringData": {"signing": value}});
    place.apply::<Secret>("hook", content).await;
}

/// Lets the controller read Secrets, or no more.
async fn may_read_secrets(place: &Place, may: bool) {
    let rule = json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]});
    place
        .grant(|rules| {
            if may {
                rules.push(rule);
            }
        })
        .await;
    place.until_it_may("get", "", "secrets", may).await;
}

/// Waits until an object says that its webhook cannot be signed, and why.
async fn unsigned(place: &Place, name: &str, why: &str) -> FileJob {
    let says = |object: &FileJob| {
        let status = object.status.as_ref();
        let message = status.and_then(|status| status.message.as_deref());
        message.is_some_and(|message| message.contains(why))
    };
    place.until(name, why, says).await;
    pending(place, name, "WebhookSecretUnavailable").await
}

/// Has the end of a job be told again until an attempt comes to what is wanted: on a busy machine one may take too long.
async fn tell_again(place: &Place, crew: &Crew, id: &str, wanted: impl Fn(&Value) -> bool) {
    let path = format!("jobs/{id}/webhooks");
    let look = async || {
        let mut answer = place.call(crew, Method::GET, &path).await.json();
        let webhook = answer["webhooks"][0].take();
        let attempts = webhook["attempts"].as_array().cloned();
        let is_open = webhook["state"] == "pending";
        (is_open, attempts.unwrap_or_default())
    };
    let before = look().await.1.len();
    let mut told = Vec::new();
    let as_wanted = wait::until("an attempt as wanted", DEADLINE, async || {
        let (is_open, mut attempts) = look().await;
        told = attempts.split_off(before);
        if is_open || told.iter().any(&wanted) {
            return Ok((!is_open).then_some(()));
        }
        let resend = format!("{path}/resend");
        let asked = place.call(crew, Method::POST, &resend).await;
        asked.assert_status(202);
        Ok(None)
    });
    let as_wanted = as_wanted.await;
    assert!(as_wanted.is_ok(), "{told:?}");
}

#[tokio::test]
async fn a_webhook_is_signed_with_a_secret_of_its_namespace_that_is_meant_for_it() {
    let receiver = MockServer::start().await;
    let taken = Mock::given(method("POST")).respond_with(ResponseTemplate::new(204));
    taken.mount(&receiver).await;
    let mut place = Place::new().await;
    place.environment("FILEJOBS_WEBHOOK_ALLOW", "127.0.0.1/32");
    place.environment("FILEJOBS_WEBHOOK_SECRET", SERVICE);
    let crew = place.crew().await;
    let url = format!("{}/hook", receiver.uri());
    let own = json!({"url": url, "secretRef": {"name": "hook", "key": "signing"}});

    // Nothing runs whose end could not be told as its author wants it told.
    place.orders("orders", json!({"webhook": own})).await;
    unsigned(&place, "orders", "may not read Secrets").await;
    may_read_secrets(&place, true).await;
    unsigned(&place, "orders", "no Secret `hook`").await;
    secret(&place, "Opaque", TEAM).await;
    unsigned(&place, "orders", "not of the type `filejobs.dev/webhook`").await;
    secret(&place, WEBHOOK_SECRET_TYPE, "whsec_short").await;
    unsigned(&place, "orders", "is no webhook secret").await;
    place.told("orders", EventReason::SourceUnavailable).await;
    secret(&place, WEBHOOK_SECRET_TYPE, TEAM).await;
    let object = completed(&place, "orders").await;
    assert_eq!(signed_with(&heard(&receiver, &object).await), [TEAM]);

    // Others go on with the service's own.
    place
        .orders("plain", json!({"webhook": {"url": url}}))
        .await;
    let plain = completed(&place, "plain").await;
    assert_eq!(condition(&plain, "Accepted").0, "True");
    assert_eq!(signed_with(&heard(&receiver, &plain).await), [SERVICE]);

    // Read whenever something is signed: a new key counts at once, and without one nothing is sent.
    let id = job_id(&object);
    secret(&place, WEBHOOK_SECRET_TYPE, NEXT).await;
    tell_again(&place, &crew, &id, |attempt| attempt["status"] == 204).await;
    assert_eq!(signed_with(&heard(&receiver, &object).await), [NEXT]);
    may_read_secrets(&place, false).await;
    let so_far = receiver.received_requests().await.unwrap().len();
    let is_refused = |attempt: &Value| {
        let error = attempt["error"].as_str().unwrap_or_default();
        error.contains("may not read the Secret")
    };
    tell_again(&place, &crew, &id, is_refused).await;
    assert_eq!(receiver.received_requests().await.unwrap().len(), so_far);
    let log = crew.controller.log();
    for key in [SERVICE, TEAM, NEXT] {
        assert!(!log.contains(key), "{log}");
    }
}
