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

/// Waits until so many messages have come; the last of them.
async fn heard(receiver: &MockServer, count: usize) -> Request {
    let heard = wait::until("the webhook to come", DEADLINE, async || {
        let requests = receiver.received_requests().await.unwrap_or_default();
        Ok(requests.get(count - 1).cloned())
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

/// Has the end of a job be told again, and answers with what its last attempt came to.
async fn tell_again(place: &Place, crew: &Crew, id: &str) -> Value {
    let path = format!("jobs/{id}/webhooks");
    let attempts = async || {
        let answer = place.call(crew, Method::GET, &path).await.json();
        let attempts = answer["webhooks"][0]["attempts"].as_array().cloned();
        attempts.unwrap_or_default()
    };
    let before = attempts().await.len();
    let asked = place
        .call(crew, Method::POST, &format!("{path}/resend"))
        .await;
    asked.assert_status(202);
    let tried = wait::until("another attempt", DEADLINE, async || {
        Ok(attempts().await.get(before).cloned())
    });
    tried.await.unwrap()
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
    assert_eq!(signed_with(&heard(&receiver, 1).await), [TEAM]);

    // Others go on with the service's own.
    place
        .orders("plain", json!({"webhook": {"url": url}}))
        .await;
    let plain = completed(&place, "plain").await;
    assert_eq!(condition(&plain, "Accepted").0, "True");
    assert_eq!(signed_with(&heard(&receiver, 2).await), [SERVICE]);

    // Read whenever something is signed: a new key counts at once, and without one nothing is sent.
    let id = job_id(&object);
    secret(&place, WEBHOOK_SECRET_TYPE, NEXT).await;
    let told = tell_again(&place, &crew, &id).await;
    assert_eq!(told["status"], 204, "{told}");
    assert_eq!(signed_with(&heard(&receiver, 3).await), [NEXT]);
    may_read_secrets(&place, false).await;
    let refused = tell_again(&place, &crew, &id).await;
    let error = refused["error"].as_str().unwrap();
    assert!(error.contains("may not read the Secret"), "{error}");
    assert_eq!(receiver.received_requests().await.unwrap().len(), 3);
    let log = crew.controller.log();
    for key in [SERVICE, TEAM, NEXT] {
        assert!(!log.contains(key), "{log}");
    }
}
