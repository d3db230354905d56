//! A receiver hears how its job ended.

use filejobs_testkit::wait::{self, DEADLINE};
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::small_upload;
use crate::topology::Topology;

run_on! {[dev, processes] [
    the_end_of_a_job_is_told_signed_and_tried_again,
    private_targets_are_refused_where_the_connection_is_made,
]}

/// 24 bytes and more, in base64, as Standard Webhooks has it.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

async fn heard(receiver: &MockServer, count: usize) -> Vec<Request> {
    wait::until("the webhooks to come", DEADLINE, async || {
        let requests = receiver.received_requests().await.unwrap_or_default();
        Ok((requests.len() >= count).then_some(requests))
    })
    .await
    .unwrap()
}

fn header<'a>(request: &'a Request, name: &str) -> &'a str {
    request
        .headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

async fn the_end_of_a_job_is_told_signed_and_tried_again(on: Topology) {
    let receiver = MockServer::start().await;
    Mock::given(method("POST"))
        .respond_with(ResponseTemplate::new(503))
        .up_to_n_times(1)
        .mount(&receiver)
        .await;
    Mock::given(method("POST"))
        .respond_with(ResponseTemplate::new(204))
        .mount(&receiver)
        .await;
    let service = on
        .with("FILEJOBS_WEBHOOK_ALLOW", "127.0.0.1/32")
        .with("FILEJOBS_WEBHOOK_SECRET", SECRET)
        .start()
        .await;
    let upload = small_upload().field("webhook_url", format!("{}/hook", receiver.uri()));
    let job = service.run(&upload).await.unwrap();
    let id = job["id"].as_str().unwrap();

    let requests = heard(&receiver, 2).await;
    let body: serde_json::Value = serde_json::from_slice(&requests[1].body).unwrap();
    let told =
        ["type", "job_id", "status"].map(|name| body[name].as_str().unwrap_or_default().to_owned());
    assert_eq!(told, ["filejob.completed", id, "COMPLETED"], "{body}");
    assert_eq!(
        (
            body["rows_processed"].as_u64(),
            body["rows_failed"].as_u64()
        ),
        (Some(3), Some(1))
    );
    assert_eq!(
        header(&requests[0], "webhook-id"),
        header(&requests[1], "webhook-id")
    );
    let verifier = standardwebhooks::Webhook::new(SECRET).unwrap();
    for request in &requests {
        verifier.verify(&request.body, &request.headers).unwrap();
    }

    let path = format!("/api/jobs/{id}/webhooks");
    let two_tries = |text: &str| text.contains("503") && text.contains("204");
    wait::until("both tries to be written down", DEADLINE, async || {
        let answer = service.get(&path).await?;
        Ok((answer.status == 200 && two_tries(&answer.text())).then_some(()))
    })
    .await
    .unwrap();
}

async fn private_targets_are_refused_where_the_connection_is_made(on: Topology) {
    let receiver = MockServer::start().await;
    let service = on.start().await;
    let port = receiver.address().port();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
        let url = format!("http://{host}:{port}/hook");
        let answer = service
            .upload(&small_upload().field("webhook_url", url))
            .await
            .unwrap();
        if answer.status == 400 {
            continue;
        }
        let id = filejobs_testkit::http::job_id(&answer).unwrap();
        let job = service.finished(&id).await.unwrap();
        assert_eq!(
            job["status"], "COMPLETED",
            "a webhook never changes a job's state"
        );
        wait::until("the refusal to be written down", DEADLINE, async || {
            let answer = service.get(&format!("/api/jobs/{id}/webhooks")).await?;
            Ok(answer.text().contains("\"error\":\"").then_some(()))
        })
        .await
        .unwrap();
    }
    assert_eq!(
        receiver.received_requests().await.unwrap_or_default().len(),
        0
    );
}
