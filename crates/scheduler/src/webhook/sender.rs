//! Sends one webhook once.

use std::sync::Arc;
use std::time::Duration;

use filejobs_core::{WebhookUrl, causes};
use filejobs_store::Delivery;
use jiff::Timestamp;
use reqwest::header::CONTENT_TYPE;

use super::keys::Keys;
use super::schedule::{Answer, Reason};
use super::settings::{Config, Secret};
use crate::guard::{Guard, Refused, Unresolved};

/// The client for webhooks could not be made.
#[derive(Debug, thiserror::Error)]
#[error("TLS could not be set up")]
pub struct ClientError(#[source] reqwest::Error);

/// Sends webhooks.
#[derive(Debug)]
pub struct Sender {
    client: reqwest::Client,
    guard: Guard,
    secrets: Vec<Secret>,
    keys: Option<Arc<dyn Keys>>,
}

impl Sender {
    /// A sender with its own connections: none is kept open, so that each is checked anew. `keys` are those of single
    /// jobs, where there may be some.
    pub fn new(config: &Config, keys: Option<Arc<dyn Keys>>) -> Result<Self, ClientError> {
        let guard = Guard::new(&config.allowed);
        // A machine without root certificates can still reach receivers that speak plain HTTP.
        let client = guard.client(|builder| builder, "webhooks to https addresses");
        Ok(Self {
            client: client.map_err(ClientError)?,
            guard,
            secrets: config.secrets.clone(),
            keys,
        })
    }

    /// Sends once and waits for the answer's head, for `budget` in all. The answer's body is not read.
    pub(crate) async fn send(
        &self,
        delivery: &Delivery,
        at: Timestamp,
        budget: Duration,
    ) -> Answer {
        match tokio::time::timeout(budget, self.post(delivery, at)).await {
            Ok(Ok(status)) => Answer::Status(status),
            Ok(Err(reason)) => Answer::None(reason),
            Err(_) => Answer::None(Reason::Timeout),
        }
    }

    async fn post(&self, delivery: &Delivery, at: Timestamp) -> Result<u16, Reason> {
        let url: WebhookUrl = delivery.url.parse().map_err(|_| Reason::Address)?;
        let host = url.as_url().host().ok_or(Reason::Address)?;
        self.guard
            .check_literal(&host)
            .map_err(|Refused| Reason::Refused)?;
        let id = delivery.id.to_string();
        let seconds = at.as_second();
        let mut request = self
            .client
            .post(url.as_url().clone())
            .header(CONTENT_TYPE, "application/json")
            .header(standardwebhooks::HEADER_WEBHOOK_ID, &id)
            .header(standardwebhooks::HEADER_WEBHOOK_TIMESTAMP, seconds);
        let own = match &self.keys {
            Some(keys) => keys.of_job(delivery.job).await?,
            None => None,
        };
        let signatures = own.as_ref().map_or(&*self.secrets, std::slice::from_ref);
        let signatures = signatures.iter();
        let signatures: Vec<_> = signatures
            .filter_map(|secret| secret.sign(&id, seconds, &delivery.body))
            .collect();
        if !signatures.is_empty() {
            // A blank between two: receivers take the message when any of them is right.
            let signatures = signatures.join(" ");
            request = request.header(standardwebhooks::HEADER_WEBHOOK_SIGNATURE, signatures);
        }
        let answer = request.body(delivery.body.clone()).send().await;
        // Dropping it closes the connection, however much of a body was to come.
        answer
            .map(|answer| answer.status().as_u16())
            .map_err(|error| reason(&error))
    }
}

/// Why there was no answer.
fn reason(error: &reqwest::Error) -> Reason {
    if causes::find::<Refused>(error).is_some() {
        Reason::Refused
    } else if causes::find::<Unresolved>(error).is_some() {
        Reason::Name
    } else if error.is_timeout() {
        Reason::Timeout
    } else if error.is_connect() {
        Reason::Connection
    } else if error.is_builder() {
        Reason::Address
    } else {
        Reason::Protocol
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use filejobs_core::{JobId, Sources};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use wiremock::matchers::{method, path};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;
    use crate::webhook::NoKey;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const NEXT_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    const LONG: Duration = Duration::from_mins(1);

    fn sender(allowed: &[&str]) -> Sender {
        let config = Config {
            secrets: vec![SECRET.parse().unwrap(), NEXT_SECRET.parse().unwrap()],
            allowed: allowed.iter().map(|text| text.parse().unwrap()).collect(),
            ..Config::default()
        };
        Sender::new(&config, None).unwrap()
    }

    fn delivery(url: &str) -> Delivery {
        let sources = Sources::system();
        Delivery {
            id: sources.job_id().as_uuid(),
            job: sources.job_id(),
            url: url.to_owned(),
            body: r#"{"type":"filejob.completed"}"#.to_owned(),
            attempts: 0,
            earlier_attempts: 0,
            created_at: sources.now(),
            since: sources.now(),
        }
    }

    async fn send(sender: &Sender, delivery: &Delivery) -> Answer {
        sender.send(delivery, Sources::system().now(), LONG).await
    }

    /// A receiver that reads a request's head and then does as it is told.
    async fn receiver<R>(respond: impl FnOnce(TcpStream) -> R + Send + 'static) -> SocketAddr
    where
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                let mut buffer = [0; 1024];
                let n = stream.read(&mut buffer).await.unwrap();
                head.extend_from_slice(&buffer[..n]);
            }
            respond(stream).await;
        });
        address
    }

    /// A receiver that takes whatever comes.
    async fn willing() -> MockServer {
        let server = MockServer::start().await;
        let taken = ResponseTemplate::new(204);
        let taking = Mock::given(method("POST")).respond_with(taken);
        taking.mount(&server).await;
        server
    }

    #[tokio::test]
    async fn a_receiver_can_verify_what_it_gets() {
        let server = willing().await;
        let delivery = delivery(&format!("{}/hook", server.uri()));

        let answer = send(&sender(&["127.0.0.0/8"]), &delivery).await;

        assert_eq!(answer, Answer::Status(204));
        let requests = server.received_requests().await.unwrap();
        let [request] = &requests[..] else {
            panic!("{} requests", requests.len())
        };
        assert_eq!(request.body, delivery.body.as_bytes());
        assert_eq!(request.headers["content-type"], "application/json");
        assert_eq!(request.headers["webhook-id"], delivery.id.to_string());
        // Whether the receiver has changed to the new key or not.
        for secret in [SECRET, NEXT_SECRET] {
            let receiver = standardwebhooks::Webhook::new(secret).unwrap();
            receiver.verify(&request.body, &request.headers).unwrap();
        }
    }

    /// One key for every job, or none for any.
    #[derive(Debug)]
    struct Own(Result<Option<Secret>, NoKey>);

    #[async_trait::async_trait]
    impl Keys for Own {
        async fn of_job(&self, _: JobId) -> Result<Option<Secret>, NoKey> {
            self.0.clone()
        }
    }

    #[tokio::test]
    async fn a_job_with_a_key_of_its_own_is_signed_by_that_and_by_nothing_else() {
        let server = willing().await;
        let delivery = delivery(&format!("{}/hook", server.uri()));
        let mut sender = sender(&["127.0.0.1"]);
        sender.secrets.truncate(1);

        // Unsigned it is not sent.
        sender.keys = Some(Arc::new(Own(Err(NoKey::Absent))));
        let answer = send(&sender, &delivery).await;
        assert_eq!(answer, Answer::None(Reason::Key(NoKey::Absent)));
        sender.keys = Some(Arc::new(Own(Ok(Some(NEXT_SECRET.parse().unwrap())))));
        assert_eq!(send(&sender, &delivery).await, Answer::Status(204));
        sender.keys = Some(Arc::new(Own(Ok(None))));
        assert_eq!(send(&sender, &delivery).await, Answer::Status(204));

        let requests = server.received_requests().await.unwrap();
        let signed = requests.iter().map(|request| {
            [SECRET, NEXT_SECRET].map(|secret| {
                let receiver = standardwebhooks::Webhook::new(secret).unwrap();
                receiver.verify(&request.body, &request.headers).is_ok()
            })
        });
        let signed: Vec<_> = signed.collect();
        assert_eq!(signed, [[false, true], [true, false]]);
    }

    #[tokio::test]
    async fn redirects_are_not_followed() {
        let server = MockServer::start().await;
        let elsewhere = format!("{}/elsewhere", server.uri());
        for status in [301, 302, 303, 307, 308] {
            let moved = ResponseTemplate::new(status).insert_header("location", &*elsewhere);
            let hook = format!("/{status}");
            Mock::given(path(&*hook))
                .respond_with(moved)
                .mount(&server)
                .await;
            let delivery = delivery(&format!("{}{hook}", server.uri()));
            let answer = send(&sender(&["127.0.0.1"]), &delivery).await;
            assert_eq!(answer, Answer::Status(status));
        }
        let requests = server.received_requests().await.unwrap();
        assert!(
            requests
                .iter()
                .all(|request| request.url.path() != "/elsewhere")
        );
    }

    #[tokio::test]
    async fn private_addresses_are_refused_before_any_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let sender = sender(&["10.0.0.0/8"]);
        for host in [
            "127.0.0.1",
            "localhost",
            "0x7f000001",
            "2130706433",
            "127.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "0.0.0.0",
        ] {
            let delivery = delivery(&format!("http://{host}:{port}/"));
            let answer = send(&sender, &delivery).await;
            assert_eq!(answer, Answer::None(Reason::Refused), "{host}");
        }
        let accepted = futures::FutureExt::now_or_never(listener.accept());
        assert!(accepted.is_none(), "a connection was made");
    }

    #[tokio::test]
    async fn a_silent_receiver_costs_no_more_than_the_budget() {
        let address = receiver(|stream| async move {
            std::future::pending::<()>().await;
            drop(stream);
        });
        let delivery = delivery(&format!("http://{}/", address.await));
        let budget = Duration::from_millis(100);
        let now = Sources::system().now();
        let answer = sender(&["127.0.0.1"]).send(&delivery, now, budget).await;
        assert_eq!(answer, Answer::None(Reason::Timeout));
    }

    #[tokio::test]
    async fn an_endless_answer_is_not_read() {
        let address = receiver(|mut stream| async move {
            let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            stream.write_all(head).await.unwrap();
            while stream.write_all(b"5\r\nabcde\r\n").await.is_ok() {}
        });
        let delivery = delivery(&format!("http://{}/", address.await));
        let answer = send(&sender(&["127.0.0.1"]), &delivery).await;
        assert_eq!(answer, Answer::Status(200));
    }

    #[tokio::test]
    async fn a_receiver_that_speaks_something_else_is_told_apart() {
        let address = receiver(|mut stream| async move {
            let _ = stream.write_all(b"220 smtp ready\r\n").await;
        });
        let delivery = delivery(&format!("http://{}/", address.await));
        let answer = send(&sender(&["127.0.0.1"]), &delivery).await;
        assert_eq!(answer, Answer::None(Reason::Protocol));
    }

    #[tokio::test]
    async fn a_closed_port_is_no_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let delivery = delivery(&format!("http://{address}/"));
        let answer = send(&sender(&["127.0.0.1"]), &delivery).await;
        assert_eq!(answer, Answer::None(Reason::Connection));
    }
}
