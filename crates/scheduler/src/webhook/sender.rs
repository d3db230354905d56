//! Sends one webhook once.

use std::error::Error as StdError;
use std::sync::Once;
use std::time::Duration;

use filejobs_core::WebhookUrl;
use filejobs_store::Delivery;
use jiff::Timestamp;
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect;

use super::guard::{Guard, Refused, Unresolved};
use super::schedule::{Answer, Reason};
use super::settings::{Config, Secret};

/// The client for webhooks could not be made.
#[derive(Debug, thiserror::Error)]
#[error("TLS could not be set up")]
pub struct ClientError(#[source] reqwest::Error);

/// Sends webhooks.
#[derive(Debug)]
pub struct Sender {
    client: reqwest::Client,
    guard: Guard,
    secret: Option<Secret>,
}

impl Sender {
    /// A sender with its own connections: none is kept open, so that each is checked anew.
    pub fn new(config: &Config) -> Result<Self, ClientError> {
        install_tls();
        let guard = Guard::new(&config.allowed);
        let builder = || {
            reqwest::Client::builder()
                .user_agent(concat!("filejobs/", env!("CARGO_PKG_VERSION")))
                .redirect(redirect::Policy::none())
                .no_proxy()
                .http1_only()
                .pool_max_idle_per_host(0)
                .retry(reqwest::retry::never())
                .dns_resolver(guard.clone())
        };
        // A machine without root certificates can still reach receivers that speak plain HTTP.
        let client = builder().build().or_else(|error| {
            tracing::warn!(%error, "no root certificates were found: webhooks to https addresses will fail");
            builder().tls_certs_only([]).build()
        });
        Ok(Self {
            client: client.map_err(ClientError)?,
            guard,
            secret: config.secret.clone(),
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
        if let Some(secret) = &self.secret
            && let Some(signature) = secret.sign(&id, seconds, &delivery.body)
        {
            request = request.header(standardwebhooks::HEADER_WEBHOOK_SIGNATURE, signature);
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
    if has_cause::<Refused>(error) {
        Reason::Refused
    } else if has_cause::<Unresolved>(error) {
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

fn has_cause<T: StdError + 'static>(error: &reqwest::Error) -> bool {
    let mut next = error.source();
    while let Some(cause) = next {
        if cause.is::<T>() {
            return true;
        }
        next = cause.source();
    }
    false
}

/// Chooses the process' TLS library, unless that is done.
fn install_tls() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Fails when the program has chosen already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}
